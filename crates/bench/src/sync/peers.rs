//! The job that users write instead: clone, and deploy each stack with the AWS CLI or Sceptre.

use std::fmt::Write as _;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context, ensure};
use rustix::process::{Pid, WaitId, WaitIdOptions, waitid};

use super::world::{Around, aws_environment, files};
use crate::process::cpu_seconds_with_children;
use crate::seeding::REGION;

/// What driving one stack cost.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Cost {
    /// Wall time, in seconds.
    pub(crate) wall: f64,
    /// Processor time of the programs, in seconds.
    pub(crate) cpu: f64,
}

impl Cost {
    /// The share of one stack of `count`.
    pub(crate) fn each(self, count: usize) -> Self {
        Self { wall: self.wall / count as f64, cpu: self.cpu / count as f64 }
    }

    fn and(self, other: Self) -> Self {
        Self { wall: self.wall + other.wall, cpu: self.cpu + other.cpu }
    }
}

/// A program that deploys stacks.
#[derive(Debug)]
pub(crate) struct Peer {
    /// Its name, and what it does.
    pub(crate) name: &'static str,
    program: PathBuf,
    deploy: fn(&Peer, &Around, &Path, usize) -> anyhow::Result<Cost>,
}

impl Peer {
    /// `aws cloudformation deploy` for each stack.
    pub(crate) fn aws(program: PathBuf) -> Self {
        Self { name: "git clone --depth 1, aws cloudformation deploy", program, deploy: Self::with_aws }
    }

    /// `sceptre launch` for all stacks.
    pub(crate) fn sceptre(program: PathBuf) -> Self {
        Self { name: "git clone --depth 1, sceptre launch", program, deploy: Self::with_sceptre }
    }

    /// Clones the repository and deploys `count` stacks of it.
    pub(crate) fn run(&self, around: &Around, url: &str, count: usize) -> anyhow::Result<Cost> {
        let clone = around.folder.join("peer");
        if clone.exists() {
            fs::remove_dir_all(&clone)?;
        }
        let mut git = Command::new("git");
        git.args(["clone", "--quiet", "--depth=1", "--", url]).arg(&clone);
        git.env("GIT_CONFIG_NOSYSTEM", "1").env("GIT_CONFIG_GLOBAL", "/dev/null");
        let cloned = cost(&mut git, &around.folder.join("peer.log"))?;
        Ok(cloned.and((self.deploy)(self, around, &clone, count)?))
    }

    fn command(&self, around: &Around, folder: &Path) -> Command {
        let mut command = Command::new(&self.program);
        command
            .current_dir(folder)
            .env_clear()
            .env("PATH", "/usr/local/bin:/usr/bin:/bin")
            .env("HOME", folder)
            .envs(aws_environment(&around.simulated.endpoint()));
        command
    }

    fn with_aws(&self, around: &Around, clone: &Path, count: usize) -> anyhow::Result<Cost> {
        let mut total = Cost { wall: 0.0, cpu: 0.0 };
        for number in 0..count {
            let [_, (template, _)] = files(number, 0);
            let mut deploy = self.command(around, clone);
            deploy
                .args([
                    "cloudformation",
                    "deploy",
                    "--no-fail-on-empty-changeset",
                    "--template-file",
                    &template,
                ])
                .args([
                    "--stack-name",
                    &format!("aws-{number:05}"),
                    "--parameter-overrides",
                    "Stage=production",
                ])
                .arg(format!("Service=service-{number:05}"))
                .args(["--tags", "team=payments"]);
            total = total.and(cost(&mut deploy, &around.folder.join("peer.log"))?);
        }
        Ok(total)
    }

    /// Sceptre wants a folder of its own kind; that a user would keep it in the repository, and so it costs nothing.
    fn with_sceptre(&self, around: &Around, clone: &Path, count: usize) -> anyhow::Result<Cost> {
        let config = clone.join("config").join("bench");
        fs::create_dir_all(&config)?;
        fs::create_dir_all(clone.join("templates"))?;
        fs::write(
            clone.join("config").join("config.yaml"),
            format!("project_code: sceptre\nregion: {REGION}\n"),
        )?;
        for number in 0..count {
            let [_, (template, _)] = files(number, 0);
            fs::copy(clone.join(&template), clone.join("templates").join(format!("{number}.yaml")))?;
            let mut text = String::new();
            // Writing to a String cannot fail.
            let _ = write!(
                text,
                "template:\n  type: file\n  path: {number}.yaml\nparameters:\n  Stage: production\n  Service: \
                 service-{number:05}\nstack_tags:\n  team: payments\n"
            );
            fs::write(config.join(format!("s{number:05}.yaml")), text)?;
        }
        let mut launch = self.command(around, clone);
        launch.args(["launch", "-y", "bench"]);
        cost(&mut launch, &around.folder.join("peer.log"))
    }
}

/// Runs a program to its end; what it and its children cost.
fn cost(command: &mut Command, log: &Path) -> anyhow::Result<Cost> {
    let name = format!("{command:?}");
    let output = File::create(log)?;
    let begun = Instant::now();
    let mut child = command
        .stdin(Stdio::null())
        .stdout(output.try_clone()?)
        .stderr(output)
        .spawn()
        .with_context(|| format!("{name}: could not be started"))?;
    let pid = Pid::from_child(&child);
    // It has ended then, and still says what it cost.
    waitid(WaitId::Pid(pid), WaitIdOptions::EXITED | WaitIdOptions::NOWAIT)?;
    let wall = begun.elapsed().as_secs_f64();
    let cpu = cpu_seconds_with_children(child.id())?;
    let status = child.wait()?;
    ensure!(status.success(), "{name}: {status}: {}", fs::read_to_string(log).unwrap_or_default());
    Ok(Cost { wall, cpu })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_costs_what_it_and_its_children_use() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let log = folder.path().join("log");
        let busy = "sh -c 'i=0; while [ $i -lt 200000 ]; do i=$((i+1)); done'; true";
        let used = cost(Command::new("sh").args(["-c", busy]), &log).expect("it runs");
        assert!(used.cpu > 0.0 && used.wall > 0.0, "{used:?}");
        let error =
            cost(Command::new("sh").args(["-c", "echo out of order; exit 3"]), &log).expect_err("it fails");
        assert!(error.to_string().contains("out of order"), "{error}");
    }
}
