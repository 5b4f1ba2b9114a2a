//! `syncline demo`: a push becomes a stack, another one is refused, the next one puts it right.
//!
//! Everything is the real thing but CloudFormation: the server and the worker of `serve` in this process, a
//! Git repository and `git push`, the AWS SDK over HTTP. Progress goes to standard error; standard output has
//! nothing but the final GetResourceSyncStatus answer as JSON.

mod repository;
mod sdk;
mod story;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, anyhow, bail, ensure};
use aws_credential_types::Credentials;
use clap::Args;
use syncline_seams::Clock;
use syncline_wire::{GetResourceSyncStatusOutput, ResourceSyncStatus};
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::filter::LevelFilter;

use super::client::Client;
use super::follow::Followed;
use super::terminal::{self, BAD, BOLD, DIM, GOOD, TITLE, paint, short};
use super::{connection, serve};
use crate::config::{Config, LogFormat};
use crate::running::{self, Running, Seams};
use repository::{BRANCH, Pushed, Repository};
use sdk::{Aws, NewSync};

/// The repository's owner and name.
const OWNER: &str = "shop";
const REPOSITORY: &str = "orders";
/// The stack's name.
const STACK: &str = "orders";
/// Where the stack is said to be.
const REGION: &str = "us-east-1";
const ROLE_ARN: &str = "arn:aws:iam::000000000000:role/orders-git-sync";
/// How often the repository is asked for new commits.
const POLL_INTERVAL: Duration = Duration::from_secs(1);
/// How often the status is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// How long a push may take to be synced, in milliseconds.
const LONGEST_SYNC_MS: i64 = 30_000;

/// The flags of `syncline demo`.
#[derive(Debug, Args)]
pub(super) struct DemoArgs {
    /// End after the last push instead of staying up for looking around.
    #[arg(long)]
    exit: bool,
}

pub(super) fn run(args: &DemoArgs) -> anyhow::Result<ExitCode> {
    let seams = serve::seams();
    let began_ms = seams.clock.now_ms();
    // The demo's own words are the progress; only what goes wrong unforeseen is logged.
    serve::log(LogFormat::Text, LevelFilter::ERROR);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let directory = tempfile::Builder::new().prefix("syncline-demo-").tempdir()?;
        let mut interrupted = Interrupted::listen()?;
        let stage = Stage::set(directory.path(), &seams).await?;
        let told = tokio::select! {
            told = stage.perform(&seams, began_ms) => told,
            () = interrupted.wait() => Err(anyhow!("the demo was interrupted before its end")),
        };
        if told.is_ok() && !args.exit {
            tell(&stage.look_around())?;
            interrupted.wait().await;
            tell("\nStopping; the temporary directory is removed.\n")?;
        }
        stage.running.stop().await;
        let removed = directory.close().context("the temporary directory cannot be removed");
        told.and(removed).map(|()| ExitCode::SUCCESS)
    })
}

/// Ctrl-C or a polite kill.
struct Interrupted {
    terminate: tokio::signal::unix::Signal,
    interrupt: tokio::signal::unix::Signal,
}

impl Interrupted {
    fn listen() -> std::io::Result<Self> {
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    async fn wait(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

fn tell(text: &str) -> anyhow::Result<()> {
    Ok(terminal::print_aside(text)?)
}

fn headline(number: usize, text: &str) -> anyhow::Result<()> {
    tell(&format!("\n{}\n", paint(TITLE, &format!("{number}. {text}"))))
}

/// Where the demo happens: a repository and a running server.
struct Stage {
    repositories: PathBuf,
    repository: Repository,
    data_dir: PathBuf,
    running: Running,
}

impl Stage {
    async fn set(directory: &Path, seams: &Seams) -> anyhow::Result<Self> {
        tell(&format!(
            "{}\nCloudFormation is simulated in this process: nothing is provisioned, no AWS account is called.\n",
            paint(BOLD, "Syncline demo: a Git repository, a stack, and three pushes.")
        ))?;
        let repositories = directory.join("repositories");
        let repository =
            Repository::create(directory, &repositories, OWNER, REPOSITORY, &seams.outside).await?;
        let data_dir = directory.join("data");
        let mut config = Config::on_loopback(&data_dir);
        config.poll_interval = POLL_INTERVAL;
        config.allow_file_remotes = vec![repositories.clone()];
        let running = running::start(&config, seams).await?;
        tell(&format!("Syncline serves the AWS API at http://{}.\n", running.address))?;
        Ok(Self { repositories, repository, data_dir, running })
    }

    /// The three pushes, and the final answer.
    async fn perform(&self, seams: &Seams, began_ms: i64) -> anyhow::Result<()> {
        let endpoint = format!("http://{}", self.running.address);
        let key = Credentials::new(
            &self.running.key.access_key_id,
            self.running.key.secret_access_key.expose(),
            None,
            None,
            "syncline-demo",
        );
        let mut demo = Demo {
            aws: Aws::new(&endpoint, REGION, key.clone(), &seams.outside),
            rest: Client::new(&endpoint, REGION, key, "the demo".to_owned(), seams),
            clock: &*seams.clock,
            began_ms,
            followed: Followed::default(),
        };

        headline(1, "The first push, and a sync that brings it to a stack")?;
        let files = [(story::CONFIG_FILE, story::DEPLOYMENT), (story::TEMPLATE_FILE, story::FIRST)];
        let first = demo.push(&self.repository, "Give orders a topic and a queue", &files, false).await?;
        demo.set_up(&self.repositories).await?;
        let status = demo.settle(&first.sha, ResourceSyncStatus::Succeeded).await?;
        demo.good(&format!("stack {STACK} was created from commit {}", short(&first.sha)))?;
        check(&status, &first.sha, &first.sha)?;

        headline(2, "A push with a mistake")?;
        let broken = [(story::TEMPLATE_FILE, &*story::broken())];
        let broken =
            demo.push(&self.repository, "Keep the orders that nobody can handle", &broken, true).await?;
        let status = demo.settle(&broken.sha, ResourceSyncStatus::Failed).await?;
        let succeeded = status.latest_successful_sync.as_ref().map(|sync| &*sync.target_revision.sha);
        ensure!(succeeded == Some(&first.sha), "the first commit is not the last successful one any more");
        demo.show_blocker().await?;
        tell(&format!("     The stack is as commit {} left it.\n", short(&first.sha)))?;

        headline(3, "The fix: one more push, no other step")?;
        let fixed = [(story::TEMPLATE_FILE, &*story::fixed())];
        let fixed = demo
            .push(&self.repository, "Spell the name of the dead letters' queue right", &fixed, true)
            .await?;
        let status = demo.settle(&fixed.sha, ResourceSyncStatus::Succeeded).await?;
        check(&status, &fixed.sha, &first.sha)?;
        let left = demo.aws.active_blockers(STACK).await?;
        ensure!(left.is_empty(), "the fix has left a blocker ACTIVE: {}", left[0].reason);
        demo.good(&format!("stack {STACK} is at commit {}; the blocker is resolved", short(&fixed.sha)))?;
        tell(&format!("\n{}\n", paint(DIM, "The final GetResourceSyncStatus answer:")))?;
        terminal::print(&format!("{}\n", serde_json::to_string_pretty(&status)?))?;
        Ok(())
    }

    /// How to go on, in the words of another terminal.
    fn look_around(&self) -> String {
        let endpoint = format!("http://{}", self.running.address);
        let title = paint(TITLE, "Look around: the server stays up until Ctrl-C. In another terminal:");
        let (data_dir, clone) = (self.data_dir.display(), self.repository.clone_path().display());
        let template = story::TEMPLATE_FILE;
        let program = std::env::current_exe().unwrap_or_else(|_| PathBuf::from("syncline"));
        [
            "",
            &title,
            "",
            &format!("  alias syncline={}", program.display()),
            &format!("  export SYNCLINE_ENDPOINT={endpoint} SYNCLINE_DATA_DIR={data_dir}"),
            "  syncline sync list",
            &format!("  syncline sync status {STACK}"),
            &format!("  syncline sync watch {STACK} --forever"),
            "",
            &format!("  export AWS_SHARED_CREDENTIALS_FILE={data_dir}/credentials AWS_PROFILE=syncline"),
            &format!("  aws codeconnections get-resource-sync-status --endpoint-url {endpoint} --region {REGION} \\"),
            &format!("      --sync-type CFN_STACK_SYNC --resource-name {STACK}"),
            "",
            &format!("  cd {clone}"),
            &format!("  # change {template}, then: git commit --all --message 'Try it' && git push"),
            "",
            "",
        ]
        .join("\n")
    }
}

/// Checks that `sha` is desired, synced and the last success, and that `initial` was applied before.
fn check(status: &GetResourceSyncStatusOutput, sha: &str, initial: &str) -> anyhow::Result<()> {
    let desired = status.desired_state.as_ref().map(|desired| &*desired.sha);
    ensure!(desired == Some(sha), "DesiredState is {desired:?}, not commit {sha}");
    ensure!(
        status.latest_successful_sync.as_ref() == Some(&status.latest_sync),
        "LatestSuccessfulSync is not the sync that succeeded just now"
    );
    let from = &status.latest_sync.initial_revision.sha;
    ensure!(from == initial, "InitialRevision is {from}, not commit {initial}");
    Ok(())
}

struct Demo<'a> {
    aws: Aws,
    rest: Client,
    clock: &'a dyn Clock,
    began_ms: i64,
    followed: Followed,
}

impl Demo<'_> {
    /// Seconds since the demo began.
    fn elapsed(&self) -> f64 {
        let ms = u32::try_from(self.clock.now_ms() - self.began_ms).unwrap_or(0);
        f64::from(ms) / 1000.0
    }

    fn good(&self, text: &str) -> anyhow::Result<()> {
        let after = format!("({:.1} s after the start)", self.elapsed());
        tell(&format!("   {} {} {}\n", paint(GOOD, "✔"), paint(BOLD, text), paint(DIM, &after)))
    }

    async fn push(
        &self,
        repository: &Repository,
        message: &str,
        files: &[(&str, &str)],
        with_lines: bool,
    ) -> anyhow::Result<Pushed> {
        let pushed = repository.push(message, files).await?;
        tell(&format!(
            "   {} {} {}\n     {}\n",
            paint(BOLD, "git push"),
            short(&pushed.sha),
            paint(BOLD, message),
            pushed.files.join(", "),
        ))?;
        if with_lines {
            for line in &pushed.lines {
                let style = if line.starts_with('+') { GOOD } else { BAD };
                tell(&format!("     {}\n", paint(style, line)))?;
            }
        }
        Ok(pushed)
    }

    fn made(&self, what: &str, which: &str) -> anyhow::Result<()> {
        tell(&format!("   {what:<23}  {}\n", paint(DIM, which)))
    }

    /// What an operator does once per repository and stack.
    async fn set_up(&self, repositories: &Path) -> anyhow::Result<()> {
        let host_arn = self.aws.create_host("demo", &format!("file://{}", repositories.display())).await?;
        self.made("CreateHost", &host_arn)?;
        let connection_arn = self.aws.create_connection("demo", &host_arn).await?;
        self.made("CreateConnection", &connection_arn)?;
        let body = b"{}".to_vec().into();
        let authorized = connection::authorize(&self.rest, &connection_arn, body).await?;
        self.made(
            "connection authorize",
            &format!("{} (no token: a local remote)", authorized.connection_status),
        )?;
        let link_id = self.aws.create_repository_link(&connection_arn, OWNER, REPOSITORY).await?;
        self.made("CreateRepositoryLink", &format!("{link_id} ({OWNER}/{REPOSITORY})"))?;
        let new = NewSync {
            link_id: &link_id,
            branch: BRANCH,
            config_file: story::CONFIG_FILE,
            stack: STACK,
            role_arn: ROLE_ARN,
        };
        self.aws.create_sync_configuration(&new).await?;
        self.made(
            "CreateSyncConfiguration",
            &format!("stack {STACK} follows {} of branch {BRANCH}", story::CONFIG_FILE),
        )?;
        tell("\n")
    }

    /// Shows the sync's events as they come, until the sync of `sha` has ended; it must end as expected.
    async fn settle(
        &mut self,
        sha: &str,
        expect: ResourceSyncStatus,
    ) -> anyhow::Result<GetResourceSyncStatusOutput> {
        let deadline_ms = self.clock.now_ms() + LONGEST_SYNC_MS;
        loop {
            let status = self.aws.resource_sync_status(STACK).await?;
            if let Some(status) = status.filter(|status| status.latest_sync.target_revision.sha == sha) {
                for event in self.followed.look(&status.latest_sync).events {
                    let when = format!("{:6.2} s", self.seconds_at(event.time.epoch_ms()));
                    tell(&terminal::event_line(&when, event, &event.event.replace(sha, short(sha))))?;
                }
                match status.latest_sync.status {
                    ended if ended == expect => return Ok(status),
                    ResourceSyncStatus::Initiated | ResourceSyncStatus::InProgress => {}
                    ended => bail!("the sync of commit {sha} ended {ended}, not {expect}"),
                }
            }
            if self.clock.now_ms() > deadline_ms {
                let blockers = self.aws.active_blockers(STACK).await?;
                let why = blockers.first().map_or("no blocker says why", |blocker| &*blocker.reason);
                bail!("the sync of commit {sha} has not ended after {} s: {why}", LONGEST_SYNC_MS / 1000);
            }
            self.clock.sleep(LOOK_EVERY).await;
        }
    }

    fn seconds_at(&self, time_ms: i64) -> f64 {
        f64::from(u32::try_from(time_ms - self.began_ms).unwrap_or(0)) / 1000.0
    }

    async fn show_blocker(&self) -> anyhow::Result<()> {
        let blockers = self.aws.active_blockers(STACK).await?;
        let [blocker] = &blockers[..] else {
            bail!("the failed sync has {} ACTIVE blockers, not one", blockers.len());
        };
        tell(&format!(
            "   {} {}\n     {}\n",
            paint(BAD, "✘"),
            paint(BOLD, "the sync is blocked:"),
            terminal::indented(&blocker.reason, 5)
        ))?;
        if let Some(fix) = &blocker.suggested_fix {
            tell(&format!("     {} {}\n", paint(BOLD, "suggested fix:"), terminal::indented(fix, 5)))?;
        }
        Ok(())
    }
}
