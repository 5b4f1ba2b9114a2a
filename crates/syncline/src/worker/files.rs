//! The files of one attempt: read at its commit and checked before anything is sent.

use std::sync::Arc;

use syncline_git::GitError;
use syncline_model::names::{ObjectId, RepoPath};
use syncline_model::plan::Trouble;
use syncline_model::sync::BlockerKind;
use syncline_store::{OpenAttempt, StoreError};
use syncline_targets::MAX_INLINE_TEMPLATE_BYTES;
use syncline_template::{DeploymentFile, Finding, Node, check_limits, check_template, parse_deployment_file};

use super::Worker;
use super::remote::{remote, trouble_of};

/// The largest deployment file that is read, in bytes.
pub(super) const MAX_DEPLOYMENT_FILE_BYTES: u64 = 1 << 20;

/// What an attempt sends.
pub(super) struct Files {
    pub(super) deployment: DeploymentFile,
    pub(super) template: Arc<str>,
    pub(super) parsed: Node,
}

/// Findings shown in one event; a file wrong in more places is told the first ones.
const MOST_FINDINGS: usize = 10;

fn invalid(reason: impl Into<String>) -> Trouble {
    Trouble::Refused { blocker: BlockerKind::InvalidFile, reason: reason.into() }
}

fn found(findings: &[Finding]) -> Trouble {
    let mut lines: Vec<String> = findings.iter().take(MOST_FINDINGS).map(Finding::to_string).collect();
    if findings.len() > MOST_FINDINGS {
        lines.push(format!("and {} more", findings.len() - MOST_FINDINGS));
    }
    invalid(lines.join("\n"))
}

impl Worker {
    /// Reads and checks the deployment file and the template at the attempt's commit.
    pub(super) async fn read_files(
        &self,
        attempt: &OpenAttempt,
    ) -> Result<Result<Files, Trouble>, StoreError> {
        let sha = &attempt.target.sha;
        self.read_files_at(&attempt.link_id, &attempt.config_file, (sha, sha)).await
    }

    /// Reads and checks a deployment file at one commit and its template at another.
    pub(super) async fn read_files_at(
        &self,
        link_id: &str,
        config_file: &str,
        commits: (&str, &str),
    ) -> Result<Result<Files, Trouble>, StoreError> {
        let Some(link) = self.store.link_record(link_id).await? else {
            let reason = "the repository link was deleted".to_owned();
            return Ok(Err(Trouble::Refused { blocker: BlockerKind::ConnectionUnavailable, reason }));
        };
        if link.connection.is_none() {
            let reason = format!("the connection {} was deleted", link.link.connection_arn);
            return Ok(Err(Trouble::Refused { blocker: BlockerKind::ConnectionUnavailable, reason }));
        }
        let remote = match remote(&self.store, self.forges.endpoints(), &link).await {
            Ok(remote) => remote,
            Err(trouble) => return Ok(Err(trouble)),
        };
        let parsed = |commit: &str| {
            commit.parse::<ObjectId>().map_err(|error| invalid(format!("the revision is unusable: {error}")))
        };
        let (config_commit, template_commit) = match (parsed(commits.0), parsed(commits.1)) {
            (Ok(config), Ok(template)) => (config, template),
            (Err(trouble), _) | (_, Err(trouble)) => return Ok(Err(trouble)),
        };
        let read = async |commit: &ObjectId, path: &RepoPath, limit: u64| {
            self.git.read(&remote, &link.link.id, commit, path, limit).await.map_err(|error| match &error {
                GitError::CommitGone { .. } => Trouble::Gone { reason: error.to_string() },
                _ => trouble_of(&error),
            })
        };
        Ok(async {
            let config_path: RepoPath =
                config_file.parse().map_err(|error| invalid(format!("ConfigFile: {error}")))?;
            let config = read(&config_commit, &config_path, MAX_DEPLOYMENT_FILE_BYTES).await?;
            let deployment =
                parse_deployment_file(config_path.as_str(), &config).map_err(|findings| found(&findings))?;
            let beyond = check_limits(config_path.as_str(), &deployment);
            if !beyond.is_empty() {
                return Err(found(&beyond));
            }
            let template_path: RepoPath = deployment.template_file_path.parse().map_err(|error| {
                let at = deployment.template_file_path_span;
                invalid(format!("{config_path}:{}:{}: template-file-path {error}", at.line, at.column))
            })?;
            let limit = u64::try_from(MAX_INLINE_TEMPLATE_BYTES).unwrap_or(u64::MAX);
            let template = read(&template_commit, &template_path, limit).await?;
            let parsed =
                check_template(template_path.as_str(), &template).map_err(|findings| found(&findings))?;
            let template = String::from_utf8(template).map_err(|error| {
                invalid(format!("{template_path}: not UTF-8 at byte {}", error.utf8_error().valid_up_to()))
            })?;
            Ok(Files { deployment, template: template.into(), parsed })
        }
        .await)
    }
}
