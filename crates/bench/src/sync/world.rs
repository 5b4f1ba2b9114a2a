//! A server that is measured, with everything around it: Git hosts and CloudFormation on loopback.

use std::fs;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use serde_json::{Value, json};
use syncline_seams::{Clock as _, SystemClock};
use syncline_testkit::git_host::GitHost;
use syncline_testkit::repository::Repository;
use tokio::runtime::Runtime;

use super::simulator::Simulated;
use crate::client::Client;
use crate::process::Server;
use crate::requests::Signer;
use crate::seeding::{ACCOUNT, REGION};

/// The first access key of the servers that are measured.
const KEY: (&str, &str) = ("AKIASYNCLINEBENCH000", "a-secret-of-the-bench");
/// The role of every sync.
pub(crate) const ROLE: &str = "arn:aws:iam::111111111111:role/deploy";
/// The most that anything may take for each stack, and at least.
const PATIENCE_EACH: Duration = Duration::from_millis(200);
const PATIENCE: Duration = Duration::from_secs(60);
/// How often it is looked whether something has happened.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// What runs beside the servers that are measured.
#[derive(Debug)]
pub(crate) struct Around {
    /// Where Git hosts and clients run.
    pub(crate) runtime: Runtime,
    /// The Git host.
    pub(crate) host: GitHost,
    /// CloudFormation.
    pub(crate) simulated: Simulated,
    /// The binary that is measured.
    pub(crate) syncline: PathBuf,
    /// The folder of data and logs.
    pub(crate) folder: PathBuf,
}

impl Around {
    /// Starts the Git host and the simulator.
    pub(crate) fn start(bench: &Path, syncline: PathBuf, folder: PathBuf) -> anyhow::Result<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
        let host = runtime.block_on(GitHost::start());
        let simulated = Simulated::start(bench, &folder)?;
        Ok(Self { runtime, host, simulated, syncline, folder })
    }

    /// An empty repository.
    pub(crate) fn repository(&self, full_name: &str) -> Repository {
        self.runtime.block_on(self.host.repository(full_name))
    }

    /// Commits files and pushes them; the commit's id.
    pub(crate) fn push(&self, repository: &Repository, files: &[(String, String)]) -> String {
        let files: Vec<_> = files.iter().map(|(path, text)| (path.as_str(), text.as_str())).collect();
        self.runtime.block_on(repository.commit_files(&files))
    }

    /// How many requests the Git host had since the last time this was called.
    pub(crate) fn remote_calls(&self) -> usize {
        let count = self.host.requests().len();
        self.host.clear_log();
        count
    }
}

/// A server, its database and the resources in it.
#[derive(Debug)]
pub(crate) struct World<'a> {
    around: &'a Around,
    server: Server,
}

/// A repository whose syncs are measured.
#[derive(Debug)]
pub(crate) struct Syncs {
    /// The repository.
    pub(crate) repository: Repository,
    /// Their stacks, whose files are found by their numbers.
    pub(crate) stacks: Vec<String>,
    link: String,
    /// Counts the commits, for contents that always differ.
    version: u32,
}

impl<'a> World<'a> {
    /// A server on a new database; the default one if `database_url` says nothing.
    pub(crate) fn new(
        around: &'a Around,
        name: &str,
        database_url: Option<String>,
        poll_interval: &str,
    ) -> anyhow::Result<Self> {
        let data = around.folder.join(name);
        if data.exists() {
            fs::remove_dir_all(&data).with_context(|| format!("removing {}", data.display()))?;
        }
        fs::create_dir_all(&data)?;
        let mut environment = environment(&around.simulated);
        if let Some(url) = database_url {
            environment.push(("SYNCLINE_DATABASE_URL", url));
        }
        let server = serve(&around.syncline, &data, poll_interval, &environment, &data.join("server.log"))?;
        Ok(Self { around, server })
    }

    /// The server's process.
    pub(crate) fn server(&self) -> &Server {
        &self.server
    }

    /// A client of the server.
    pub(crate) fn client(&self) -> Client {
        let address = self.server.address;
        let signer = Signer {
            access_key_id: KEY.0.to_owned(),
            secret: KEY.1.to_owned(),
            region: REGION.to_owned(),
            service: "codeconnections",
            target_prefix: "com.amazonaws.codeconnections.CodeConnections_20231201",
            content_type: "application/x-amz-json-1.0",
            host: address.to_string(),
        };
        Client::new(signer, address)
    }

    /// A connection to the Git host; its ARN.
    pub(crate) fn connection(&self, name: &str) -> anyhow::Result<String> {
        let mut client = self.client();
        let host = json!({
            "Name": name, "ProviderType": "Git", "ProviderEndpoint": self.around.host.endpoint()
        });
        let host = text(&client.operation("CreateHost", &host)?, "/HostArn")?;
        let connection = json!({ "ConnectionName": name, "HostArn": host });
        let arn = text(&client.operation("CreateConnection", &connection)?, "/ConnectionArn")?;
        let id = arn.rsplit('/').next().unwrap_or_default();
        client.post(&format!("/api/v1/connections/{id}/authorize"), &json!({}))?;
        Ok(arn)
    }

    /// A repository with files for `count` stacks, and a sync configuration for each of them.
    pub(crate) fn syncs(
        &self,
        connection: &str,
        repository: Repository,
        stacks: Vec<String>,
    ) -> anyhow::Result<Syncs> {
        let link = json!({
            "ConnectionArn": connection, "OwnerId": repository.owner(), "RepositoryName": repository.name()
        });
        let link = self.client().operation("CreateRepositoryLink", &link)?;
        let link = text(&link, "/RepositoryLinkInfo/RepositoryLinkId")?;
        let mut syncs = Syncs { repository, stacks: Vec::new(), link, version: 0 };
        self.add(&mut syncs, stacks)?;
        Ok(syncs)
    }

    /// Sync configurations for more stacks of a repository whose files are there.
    pub(crate) fn add(&self, syncs: &mut Syncs, stacks: Vec<String>) -> anyhow::Result<()> {
        let mut client = self.client();
        for stack in stacks {
            let number = syncs.stacks.len();
            let sync = json!({
                "SyncType": "CFN_STACK_SYNC", "RepositoryLinkId": syncs.link, "Branch": "main",
                "ConfigFile": deployment_path(number), "ResourceName": stack, "RoleArn": ROLE,
                "TriggerResourceUpdateOn": "FILE_CHANGE"
            });
            client.operation("CreateSyncConfiguration", &sync)?;
            syncs.stacks.push(stack);
        }
        Ok(())
    }

    /// Has the repository of a sync looked at now, as if its poll were due.
    pub(crate) fn wake(&self, stack: &str) -> anyhow::Result<()> {
        self.client().post(&format!("/api/v1/syncs/{stack}/sync-now"), &json!({}))?;
        Ok(())
    }

    /// Waits until each of the stacks is at the commit, and says when the last of them came there, in milliseconds since
    /// the Unix epoch.
    pub(crate) fn settled_ms(&self, stacks: &[String], sha: &str) -> anyhow::Result<i64> {
        let mut client = self.client();
        let mut last_ms = 0;
        let begun = Instant::now();
        let patience = PATIENCE + PATIENCE_EACH * u32::try_from(stacks.len())?;
        for stack in stacks {
            loop {
                let asked = json!({ "ResourceName": stack, "SyncType": "CFN_STACK_SYNC" });
                let status = client.operation("GetResourceSyncStatus", &asked);
                let status = status.unwrap_or(Value::Null);
                if let Some(ended_ms) = ended_ms(&status, sha)? {
                    last_ms = last_ms.max(ended_ms);
                    break;
                }
                if begun.elapsed() > patience {
                    let latest = status.pointer("/LatestSync/TargetRevision/Sha").unwrap_or(&Value::Null);
                    bail!("{stack} is at {latest} and not at {sha} after {} s", patience.as_secs());
                }
                thread::sleep(LOOK_EVERY);
            }
        }
        Ok(last_ms)
    }

    /// The same once so many executions have begun that nobody has to be asked for long: who asks takes processor time
    /// from the server.
    pub(crate) fn settled_after_ms(
        &self,
        stacks: &[String],
        sha: &str,
        executions_before: u64,
    ) -> anyhow::Result<i64> {
        let wanted = executions_before + stacks.len() as u64;
        let begun = Instant::now();
        let patience = PATIENCE + PATIENCE_EACH * u32::try_from(stacks.len())?;
        while self.around.simulated.count("ExecuteChangeSet")? < wanted && begun.elapsed() < patience {
            thread::sleep(LOOK_EVERY);
        }
        self.settled_ms(stacks, sha)
    }
}

impl Syncs {
    /// The files of the stacks `numbers`, as they are in the next commit.
    pub(crate) fn files(&mut self, numbers: std::ops::Range<usize>) -> Vec<(String, String)> {
        self.version += 1;
        let version = self.version;
        numbers.flat_map(|number| files(number, version)).collect()
    }
}

/// The environment of a server that finds CloudFormation here and nothing of this machine's own AWS settings.
pub(crate) fn environment(simulated: &Simulated) -> Vec<(&'static str, String)> {
    let mut environment = aws_environment(&simulated.endpoint());
    environment.extend([
        ("SYNCLINE_ROOT_ACCESS_KEY_ID", KEY.0.to_owned()),
        ("SYNCLINE_ROOT_SECRET_ACCESS_KEY", KEY.1.to_owned()),
        ("SYNCLINE_ROOT_ACCOUNT_ID", ACCOUNT.to_owned()),
    ]);
    environment
}

/// The environment of a client of AWS that finds CloudFormation at the endpoint.
pub(crate) fn aws_environment(endpoint: &str) -> Vec<(&'static str, String)> {
    let pairs = [
        ("AWS_ENDPOINT_URL", endpoint),
        ("AWS_ACCESS_KEY_ID", "AKIASIMULATED"),
        ("AWS_SECRET_ACCESS_KEY", "simulated"),
        ("AWS_REGION", REGION),
        ("AWS_DEFAULT_REGION", REGION),
        ("AWS_EC2_METADATA_DISABLED", "true"),
        ("AWS_CONFIG_FILE", "/dev/null"),
        ("AWS_SHARED_CREDENTIALS_FILE", "/dev/null"),
    ];
    pairs.map(|(name, value)| (name, value.to_owned())).into()
}

/// Starts the product, with quotas and rates far above what is asked of it.
pub(crate) fn serve(
    program: &Path,
    data: &Path,
    poll_interval: &str,
    environment: &[(&str, String)],
    log: &Path,
) -> anyhow::Result<Server> {
    let config = data.join("syncline.toml");
    let quotas = [
        "repository_links",
        "sync_configurations",
        "sync_configurations_per_link",
        "sync_configurations_per_branch",
    ]
    .map(|quota| format!("{quota} = 1_000_000\n"));
    let limits = ["reads_per_second", "reads_burst", "writes_per_second", "writes_burst"]
        .map(|limit| format!("account_{limit} = 10_000_000\n"));
    let text = format!("[quotas]\n{}[limits]\n{}", quotas.concat(), limits.concat());
    fs::write(&config, text).with_context(|| format!("writing {}", config.display()))?;
    let arguments = [
        "serve".as_ref(),
        "--listen=127.0.0.1:0".as_ref(),
        "--admin-listen=127.0.0.1:0".as_ref(),
        "--allow-network=127.0.0.0/8".as_ref(),
        "--poll-interval".as_ref(),
        poll_interval.as_ref(),
        "--data-dir".as_ref(),
        data.as_os_str(),
        "--config".as_ref(),
        config.as_os_str(),
    ];
    let environment: Vec<_> = environment.iter().map(|(name, value)| (*name, value.as_str())).collect();
    Server::start(program, arguments, &environment, log)
}

/// When the newest attempt succeeded, if it is the commit's; an error if it failed.
fn ended_ms(status: &Value, sha: &str) -> anyhow::Result<Option<i64>> {
    let text = |pointer: &str| status.pointer(pointer).and_then(Value::as_str);
    if text("/LatestSync/TargetRevision/Sha") != Some(sha) {
        return Ok(None);
    }
    match text("/LatestSync/Status") {
        Some("SUCCEEDED") => {}
        Some("FAILED") => bail!("a sync failed: {status}"),
        _ => return Ok(None),
    }
    let events = status.pointer("/LatestSync/Events").and_then(Value::as_array);
    let time = events.and_then(|events| events.last()?.get("Time")?.as_f64()).context("no event's time")?;
    Ok(Some((time * 1000.0).round() as i64))
}

/// The text at a place in an answer.
fn text(answer: &Value, pointer: &str) -> anyhow::Result<String> {
    let text = answer.pointer(pointer).and_then(Value::as_str);
    Ok(text.with_context(|| format!("no {pointer} in {answer}"))?.to_owned())
}

/// Where a stack's deployment file is.
fn deployment_path(number: usize) -> String {
    format!("services/{number:05}/deploy.yaml")
}

/// A stack's files; another version is another template.
pub(crate) fn files(number: usize, version: u32) -> [(String, String); 2] {
    let template_path = format!("services/{number:05}/template.yaml");
    let deployment = format!(
        "template-file-path: {template_path}\nparameters:\n  Stage: production\n  Service: service-{number:05}\ntags:\n  \
         team: payments\n"
    );
    [(deployment_path(number), deployment), (template_path, template(version))]
}

/// A template of three resources, of which one differs from version to version.
pub(crate) fn template(version: u32) -> String {
    let seconds = 30 + version % 40_000;
    format!(
        r#"AWSTemplateFormatVersion: "2010-09-09"
Description: What one service of the bench needs
Parameters:
  Stage:
    Type: String
    AllowedValues: [staging, production]
  Service:
    Type: String
Resources:
  Jobs:
    Type: AWS::SQS::Queue
    Properties:
      VisibilityTimeout: {seconds}
      MessageRetentionPeriod: 1209600
      Tags:
        - Key: stage
          Value: !Ref Stage
        - Key: service
          Value: !Ref Service
  Alarms:
    Type: AWS::SNS::Topic
    Properties:
      DisplayName: !Sub "${{Service}} in ${{Stage}}"
  Log:
    Type: AWS::Logs::LogGroup
    Properties:
      RetentionInDays: 30
Outputs:
  Jobs:
    Description: Where the jobs of the service wait
    Value: !GetAtt Jobs.Arn
  Alarms:
    Value: !Ref Alarms
"#
    )
}

/// Now, in milliseconds since the Unix epoch: the clock of the servers.
pub(crate) fn now_ms() -> i64 {
    SystemClock.now_ms()
}
