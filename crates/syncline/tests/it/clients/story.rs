//! The story that every client tells.

use serde_json::Value;
use syncline_testkit::git_host::GitHost;
use syncline_testkit::repository::Repository;
use tempfile::TempDir;

use super::client::Client;
use crate::serving::{ACCOUNT, Serve};

/// The only token that the Git host admits.
const TOKEN: &str = "a-token-of-the-tests";

/// How much of the story is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Story {
    /// Everything is created, the first push is synced, everything is deleted.
    FirstPush,
    /// Four pushes: the stack is created, changed, not broken, and mended.
    Whole,
}

/// What is asked of the newest sync.
#[derive(Debug, Clone, Copy)]
struct Ends<'a> {
    status: &'a str,
    at: &'a str,
    from: &'a str,
    last_good: &'a str,
}

struct Walk<'a> {
    serve: &'a Serve,
    client: &'a Client,
    folder: TempDir,
}

/// Walks the story with a repository and a stack of its own.
///
/// # Panics
/// When anything is not as the API promises.
pub(crate) async fn walk(serve: &Serve, client: &Client, story: Story) {
    let git = GitHost::start().await;
    let repository = git.repository("acme/infra").await;
    repository.require_tokens(&[TOKEN]);
    let walk = Walk { serve, client, folder: tempfile::tempdir().expect("a temporary folder") };

    walk.set_up(&git, &repository).await;
    let first = repository
        .commit_files(&[("deploy/prod.yaml", &deployment("one")), ("templates/web.yaml", TEMPLATE)])
        .await;
    walk.expect(Ends { status: "SUCCEEDED", at: &first, from: &first, last_good: &first }).await;
    if story == Story::Whole {
        let second = repository.commit("deploy/prod.yaml", deployment("two")).await;
        walk.expect(Ends { status: "SUCCEEDED", at: &second, from: &first, last_good: &second }).await;

        let broken = repository.commit("templates/web.yaml", BROKEN_TEMPLATE).await;
        walk.expect(Ends { status: "FAILED", at: &broken, from: &second, last_good: &second }).await;

        let fix = repository.commit("templates/web.yaml", MENDED_TEMPLATE).await;
        walk.expect(Ends { status: "SUCCEEDED", at: &fix, from: &second, last_good: &fix }).await;
    }
    walk.run(&["teardown", "--state", &walk.state()]).await;
}

impl Walk<'_> {
    async fn set_up(&self, git: &GitHost, repository: &Repository) {
        let role = format!("arn:aws:iam::{ACCOUNT}:role/sync");
        let name = self.client.name;
        self.run(&[
            "setup",
            "--state",
            &self.state(),
            "--name",
            name,
            "--provider-endpoint",
            &git.endpoint(),
            "--owner",
            repository.owner(),
            "--repository",
            repository.name(),
            "--branch",
            "main",
            "--config-file",
            "deploy/prod.yaml",
            "--stack",
            &format!("web-{name}"),
            "--role-arn",
            &role,
        ])
        .await;
    }

    async fn expect(&self, ends: Ends<'_>) -> Value {
        let Ends { status, at, from, last_good } = ends;
        self.run(&[
            "wait",
            "--state",
            &self.state(),
            "--expect",
            status,
            "--sha",
            at,
            "--initial-sha",
            from,
            "--last-good-sha",
            last_good,
        ])
        .await
    }

    async fn run(&self, arguments: &[&str]) -> Value {
        self.client.run(&self.serve.endpoint, TOKEN, arguments).await
    }

    fn state(&self) -> String {
        self.folder.path().join("state").to_str().expect("a UTF-8 path").to_owned()
    }
}

fn deployment(team: &str) -> String {
    format!("template-file-path: templates/web.yaml\nparameters:\n  Team: {team}\ntags:\n  team: {team}\n")
}

const TEMPLATE: &str = "\
Parameters:
  Team: {Type: String}
Resources:
  Topic:
    Type: AWS::SNS::Topic
    Properties:
      DisplayName: !Sub 'the topic of ${Team}'
Outputs:
  Topic: {Value: !Ref Topic}
";

const BROKEN_TEMPLATE: &str = "\
Parameters:
  Team: {Type: String}
Resources:
  Topic:
    Type: AWS::SNS::Topic
   Properties: {}
";

const MENDED_TEMPLATE: &str = "\
Parameters:
  Team: {Type: String}
Resources:
  Topic:
    Type: AWS::SNS::Topic
    Properties:
      DisplayName: !Sub 'the topic of ${Team}'
  Queue:
    Type: AWS::SQS::Queue
Outputs:
  Topic: {Value: !Ref Topic}
";
