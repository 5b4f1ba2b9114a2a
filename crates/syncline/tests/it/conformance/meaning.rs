//! Values that keep every constraint of the model and are refused all the same, with the code and the text.

use serde_json::Value;
use syncline_wire::{ErrorCode, Operation as Op, ProviderType};

use super::cases::Case;

/// How a call within the model's bounds is refused; `None` where it succeeds. `input` is the whole of it.
pub(super) fn refusal(operation: Op, case: &Case, input: &Value) -> Option<(ErrorCode, String)> {
    let invalid = |message: String| Some((operation.validation_code(), message));
    let not_found = |what: &str, which: &str| {
        let message = format!("Could not find {what}:{which}");
        // An ARN may be longer than a message.
        let is_cut = message.chars().count() > 600;
        let message = if is_cut { message.chars().take(599).chain(['…']).collect() } else { message };
        Some((ErrorCode::ResourceNotFound, message))
    };
    let (site, text) = (case.site.as_str(), case.text());
    if case.is_absent() {
        return match (operation, site) {
            (Op::CreateConnection, "ProviderType" | "HostArn") => {
                invalid("Exactly one of ProviderType and HostArn must be given; neither is".to_owned())
            }
            _ => None,
        };
    }
    let text = text?;
    match (operation, site) {
        // What is named does not exist: the cases know no names but made-up ones.
        (Op::CreateRepositoryLink | Op::UpdateRepositoryLink, "ConnectionArn") => {
            invalid(format!("The connection {text} does not exist"))
        }
        (_, "ResourceArn") => not_found("resource", text),
        (_, "ConnectionArn") => not_found("connection", text),
        (_, "HostArn" | "HostArnFilter") => not_found("host", text),
        (Op::CreateSyncConfiguration | Op::UpdateSyncConfiguration, "RepositoryLinkId") => {
            invalid(format!("The repository link {text} does not exist"))
        }
        (Op::GetRepositorySyncStatus, "RepositoryLinkId") => {
            not_found("a sync status for repository link", text)
        }
        (Op::GetRepositorySyncStatus, "Branch") => {
            let link = input["RepositoryLinkId"].as_str().expect("a text");
            not_found("a sync status for repository link", link)
        }
        (_, "RepositoryLinkId") => not_found("repository link", text),
        (Op::GetResourceSyncStatus, "ResourceName") => not_found("a sync status for resource", text),
        (
            Op::GetSyncConfiguration
            | Op::GetSyncBlockerSummary
            | Op::UpdateSyncBlocker
            | Op::UpdateSyncConfiguration,
            "ResourceName",
        ) => not_found("a sync configuration for resource", text),
        (Op::UpdateSyncBlocker, "Id") => Some((
            ErrorCode::SyncBlockerDoesNotExist,
            format!("The sync blocker {text} does not exist for resource web"),
        )),
        (_, "NextToken") => {
            invalid("NextToken is not one that this listing gave out, or it has expired".to_owned())
        }
        (_, "ProviderEndpoint") if !text.starts_with("https://") => {
            let rule = match text {
                _ if text.len() > 2000 => "it must have at most 2048 bytes",
                _ if text.contains(|c: char| !c.is_ascii_graphic()) => {
                    r"it must hold only visible ASCII characters other than '\'"
                }
                _ => "it must begin with https://, http://, ssh:// or file://, or be user@host:path",
            };
            invalid(no_repository_url("ProviderEndpoint", &format!("{text}/owner/repository.git"), rule))
        }
        (Op::CreateRepositoryLink, "OwnerId") if text.len() == 4 * 255 => {
            let url = format!("https://host/{}", "%F0%9D%84%9E".repeat(255));
            invalid(no_repository_url("OwnerId and RepositoryName", &url, "it must have at most 2048 bytes"))
        }
        (Op::CreateSyncConfiguration | Op::UpdateSyncConfiguration, "Branch") if text.len() > 255 => {
            invalid(format!("Branch: '{text}' is not a branch name: it must have 1 to 255 bytes"))
        }
        (Op::CreateSyncConfiguration | Op::UpdateSyncConfiguration, "ConfigFile") if text.is_empty() => {
            invalid(
                "ConfigFile: '' is not a path inside the repository: it must have 1 to 4096 bytes".to_owned(),
            )
        }
        (Op::CreateConnection, "ProviderType") if self_managed(text) => invalid(format!(
            "ProviderType {text} is self-managed: create a host of it and give its HostArn instead"
        )),
        (Op::CreateHost, "ProviderType") if !self_managed(text) => invalid(format!(
            "ProviderType {text} is not self-managed: create a connection of it without a host"
        )),
        _ => None,
    }
}

/// A long URL is shown by its beginning.
fn no_repository_url(member: &str, url: &str, rule: &str) -> String {
    let shown: String = url.chars().take(300).collect();
    format!("{member}: '{shown}' is not a repository url: {rule}")
}

fn self_managed(provider_type: &str) -> bool {
    use ProviderType::{
        AzureDevOps, Bitbucket, Git, GitHub, GitHubEnterpriseServer, GitLab, GitLabSelfManaged, Gitea,
    };
    match provider_type.parse::<ProviderType>().expect("a provider type") {
        Bitbucket | GitHub | GitLab | AzureDevOps => false,
        GitHubEnterpriseServer | GitLabSelfManaged | Gitea | Git => true,
    }
}
