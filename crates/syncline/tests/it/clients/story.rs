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
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Story {
    /// Four pushes: the stack is created, changed, not broken by a file with a mistake, and the mistake is mended.
    Mended,
    /// Two more: CloudFormation itself refuses a template, and the revert syncs.
    Refused,
    /// One more: a resource cannot be made, and the stack is rolled back.
    RolledBack,
}

/// How the sync of a commit must end.
#[derive(Debug, Clone, Copy)]
enum Ends<'a> {
    /// SUCCEEDED, with at least these types of events.
    Synced { events: &'a [&'a str] },
    /// FAILED, with a last event but one of this type and an ACTIVE blocker that says this.
    Blocked { event: &'a str, reason: &'a str },
}

/// What became of the commits so far.
#[derive(Debug, Clone, Copy)]
struct Commits<'a> {
    /// The newest one, which is to be synced.
    at: &'a str,
    /// The one that the sync starts from.
    from: &'a str,
    /// The newest one that succeeded.
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
    let good = walk.first_push(&repository).await;
    let good = walk.change_break_and_mend(&repository, &good).await;
    if story >= Story::Refused {
        let good = walk.be_refused_and_revert(&repository, &good).await;
        if story >= Story::RolledBack {
            walk.be_rolled_back(&repository, &good).await;
        }
    }
    walk.run(&["teardown", "--state", &walk.state()]).await;
}

/// A change set was made and executed, and CloudFormation told about it.
const EXECUTED: Ends<'_> = Ends::Synced {
    events: &["FILES_READ", "CHANGE_SET_CREATED", "EXECUTION_STARTED", "STACK_EVENT", "SUCCEEDED"],
};

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

    /// The stack is created; answers the commit.
    async fn first_push(&self, repository: &Repository) -> String {
        let files = [("deploy/prod.yaml", deployment("one")), ("templates/web.yaml", TEMPLATE.to_owned())];
        let first =
            repository.commit_files(&files.each_ref().map(|(path, text)| (*path, text.as_str()))).await;
        self.expect(Commits { at: &first, from: &first, last_good: &first }, EXECUTED).await;
        first
    }

    /// The stack is changed; a file with a mistake leaves it alone; the mended file syncs by itself. Answers
    /// the newest commit.
    async fn change_break_and_mend(&self, repository: &Repository, first: &str) -> String {
        let second = repository.commit("deploy/prod.yaml", deployment("two")).await;
        self.expect(Commits { at: &second, from: first, last_good: &second }, EXECUTED).await;

        let broken = repository.commit("templates/web.yaml", BROKEN_TEMPLATE).await;
        let refused = Ends::Blocked { event: "INVALID_FILE", reason: "templates/web.yaml:6:" };
        self.expect(Commits { at: &broken, from: &second, last_good: &second }, refused).await;

        let fix = repository.commit("templates/web.yaml", MENDED_TEMPLATE).await;
        self.expect(Commits { at: &fix, from: &second, last_good: &fix }, EXECUTED).await;
        fix
    }

    /// Nothing is wrong with a file, but CloudFormation refuses it; the revert syncs by itself. Answers the
    /// newest commit.
    async fn be_refused_and_revert(&self, repository: &Repository, good: &str) -> String {
        let lacking = repository.commit("templates/web.yaml", LACKING_TEMPLATE).await;
        let refused = Ends::Blocked { event: "CHANGE_SET_FAILED", reason: "Owner" };
        self.expect(Commits { at: &lacking, from: good, last_good: good }, refused).await;

        let revert = repository.commit("templates/web.yaml", MENDED_TEMPLATE).await;
        let unchanged = Ends::Synced { events: &["NO_CHANGES", "SUCCEEDED"] };
        self.expect(Commits { at: &revert, from: good, last_good: &revert }, unchanged).await;
        revert
    }

    /// The blocker names the resource that could not be made.
    async fn be_rolled_back(&self, repository: &Repository, good: &str) {
        let failing = repository.commit("templates/web.yaml", FAILING_TEMPLATE).await;
        let failed =
            Ends::Blocked { event: "EXECUTION_FAILED", reason: "Bucket (AWS::S3::Bucket) CREATE_FAILED: " };
        self.expect(Commits { at: &failing, from: good, last_good: good }, failed).await;
    }

    async fn expect(&self, commits: Commits<'_>, ends: Ends<'_>) {
        let status = match ends {
            Ends::Synced { .. } => "SUCCEEDED",
            Ends::Blocked { .. } => "FAILED",
        };
        let Commits { at, from, last_good } = commits;
        let seen = self
            .run(&[
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
            .await;
        let types = event_types(&seen);
        match ends {
            Ends::Synced { events } => {
                let mut told = types.iter();
                let in_order = events.iter().all(|event| told.any(|told| told == event));
                assert!(in_order, "{}: {events:?} are not all in {types:?}, in this order", self.client.name);
            }
            Ends::Blocked { event, reason } => {
                assert!(
                    types.ends_with(&[event, "FAILED"]),
                    "{}: {event} is not in {types:?}",
                    self.client.name
                );
                let told = seen["reason"].as_str().unwrap_or_default();
                assert!(
                    told.contains(reason),
                    "{}: the blocker says '{told}', not '{reason}'",
                    self.client.name
                );
            }
        }
    }

    async fn run(&self, arguments: &[&str]) -> Value {
        self.client.run(&self.serve.endpoint, TOKEN, arguments).await
    }

    fn state(&self) -> String {
        self.folder.path().join("state").to_str().expect("a UTF-8 path").to_owned()
    }
}

/// The types of the newest sync's events: the AWS CLI prints them in one line.
fn event_types(seen: &Value) -> Vec<&str> {
    match &seen["events"] {
        Value::String(line) => line.split_whitespace().collect(),
        events => events.as_array().into_iter().flatten().filter_map(Value::as_str).collect(),
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

/// The deployment file gives no value to its second parameter.
const LACKING_TEMPLATE: &str = "\
Parameters:
  Team: {Type: String}
  Owner: {Type: String}
Resources:
  Topic:
    Type: AWS::SNS::Topic
    Properties:
      DisplayName: !Sub 'the topic of ${Team} and ${Owner}'
  Queue:
    Type: AWS::SQS::Queue
Outputs:
  Topic: {Value: !Ref Topic}
";

/// No bucket may have such a name.
const FAILING_TEMPLATE: &str = "\
Parameters:
  Team: {Type: String}
Resources:
  Topic:
    Type: AWS::SNS::Topic
    Properties:
      DisplayName: !Sub 'the topic of ${Team}'
  Queue:
    Type: AWS::SQS::Queue
  Bucket:
    Type: AWS::S3::Bucket
    Properties: {BucketName: A_B}
Outputs:
  Topic: {Value: !Ref Topic}
";
