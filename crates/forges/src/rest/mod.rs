//! What is asked of forges through their REST APIs, and what their answers mean.
//!
//! **Architecture Invariant:** no I/O and no clock. A [`Question`] makes one HTTP request and reads its answer; somebody else
//! sends it, bounds it and has the time. What is asked is in a file for each topic, with every forge's way of it side by
//! side.
//!
//! **Architecture Invariant:** a token is in the headers of a request and nowhere else: no message of a [`Refusal`] has it,
//! whatever the forge says. A question goes to the forge's own base URL, even where an answer names another for its next
//! page.
//!
//! Sources: the forges' public REST references; each fact is pinned by a test against a double that refuses anything else.

mod access;
mod comments;
mod deliveries;
mod github_app;
mod hooks;
mod oauth;
mod pull_requests;
mod question;
mod refusal;
mod statuses;
mod whoami;

pub use access::{Access, Endpoint, Endpoints, git_username};
pub use comments::{PullComment, create_comment, list_comments, update_comment};
pub use deliveries::{HookDelivery, has_deliveries, list_deliveries, redeliver};
pub use github_app::{
    AppKey, INSTALLATION_TOKEN_MS, Installation, Manifest, NewApp, NoAppKey, convert_manifest, installation,
    mint_token,
};
pub use hooks::{Hook, NewHook, Repository, azure_ids, create_hook, delete_hook, list_hooks, update_hook};
pub use oauth::{OAuthClient, OAuthPlace, OAuthToken, is_grant_over};
pub use pull_requests::{Pull, PullState, commit, merge_base, open_pulls, pull};
pub use question::{Page, Question, segment};
pub use refusal::Refusal;
pub use statuses::{
    CommitStatus, Deployment, State, create_deployment, find_deployment, has_deployments, is_there_already,
    set_commit_status, set_deployment_status,
};
pub use whoami::{is_only_narrow, whoami};
