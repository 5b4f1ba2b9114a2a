//! The Git server of `bench git`: one repository, served by `git http-backend`.

use std::fmt::Write as _;
use std::io::BufRead as _;

use anyhow::{Context as _, bail};
use clap::Args;
use serde_json::{Value, json};
use syncline_testkit::git_host::GitHost;
use syncline_testkit::repository::Repository;
use syncline_testkit::ssh_host::SshHost;

/// The file that every new commit changes.
pub(crate) const CHANGED: &str = "teams/007/service-007/template.yaml";

/// Files that no commit changes.
pub(crate) const READ: [&str; 2] =
    ["teams/013/service-013/template.yaml", "teams/014/service-014/template.yaml"];

/// Services in a directory of a team.
const TEAM: u32 = 25;

/// The arguments of `git-host`.
#[derive(Debug, Args)]
pub(crate) struct GitHostArgs {
    /// Files of the repository.
    #[arg(long)]
    files: u32,
    /// Its commits.
    #[arg(long)]
    commits: u32,
}

/// Serves the repository, prints its URL, and does what it is told on its standard input until that ends.
pub(crate) fn run(args: &GitHostArgs) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let host = GitHost::start().await;
        let repository = host.repository("bench/large").await;
        let history = history(args.files, args.commits);
        repository.served_git(&["fast-import", "--quiet", "--done"], history.as_bytes()).await;
        // As a forge keeps it.
        repository.served_git(&["repack", "-a", "-d", "-q", "--write-bitmap-index"], b"").await;
        println!("{}", repository.url());
        let mut number = args.commits;
        let mut others = None;
        for line in std::io::stdin().lock().lines() {
            match line?.as_str() {
                "commit" => {
                    number += 1;
                    println!("{}", commit(&repository, number).await);
                }
                "others" => {
                    let made = Others::of(&host, &repository).await;
                    println!("{}", made.told());
                    others = Some(made);
                }
                other if let (Some(at), Some(others)) = (other.strip_prefix("commit "), &others) => {
                    number += 1;
                    println!("{}", commit(others.at(at)?, number).await);
                }
                "spent" => {
                    let requests = host.requests();
                    let bytes: usize = requests.iter().map(|request| request.answered_bytes).sum();
                    host.clear_log();
                    println!("{} {bytes}", requests.len());
                }
                other => bail!("unknown word {other:?}"),
            }
        }
        Ok(())
    })
}

/// The same repository on servers of other kinds, in the order of their numbers.
struct Others {
    repositories: Vec<Repository>,
    ssh: Option<(SshHost, String)>,
}

impl Others {
    async fn of(host: &GitHost, repository: &Repository) -> Self {
        let older = repository.copy("bench/older").await;
        older.speak_only_v0();
        let plain = repository.copy("bench/plain").await;
        plain.configure("uploadpack.allowFilter", "false").await;
        let mut repositories = vec![older, plain];
        let ssh = match SshHost::start(host).await {
            Some(ssh) => {
                repositories.push(repository.copy("bench/ssh").await);
                let key = ssh.key("ed25519").await;
                Some((ssh, key))
            }
            None => None,
        };
        Self { repositories, ssh }
    }

    fn at(&self, number: &str) -> anyhow::Result<&Repository> {
        self.repositories.get(number.parse::<usize>()?).context("no such server")
    }

    /// Everything about them in one line of JSON.
    fn told(&self) -> Value {
        let urls: Vec<String> = self.repositories.iter().take(2).map(Repository::url).collect();
        let ssh = self.ssh.as_ref().map(|(ssh, key)| {
            json!({"url": ssh.url(&self.repositories[2]), "key": key, "knownHosts": ssh.known_hosts()})
        });
        json!({"urls": urls, "ssh": ssh})
    }
}

async fn commit(repository: &Repository, number: u32) -> String {
    let mut stream = String::new();
    write_commit(&mut stream, number, true);
    write_file(&mut stream, CHANGED, number);
    stream.push_str("done\n");
    repository.served_git(&["fast-import", "--quiet", "--done"], stream.as_bytes()).await;
    repository.served_git(&["rev-parse", "refs/heads/main"], b"").await
}

/// A stream for `git fast-import`: all files in the first commit, one changed file in each of the others.
fn history(files: u32, commits: u32) -> String {
    let path = |number: u32| format!("teams/{:03}/service-{number:03}/template.yaml", number / TEAM);
    let mut stream = String::new();
    write_commit(&mut stream, 0, false);
    for number in 0..files {
        write_file(&mut stream, &path(number), number);
    }
    for (number, name) in (files + commits..).zip(READ.into_iter().chain([CHANGED])) {
        write_file(&mut stream, name, number);
    }
    for number in 1..commits {
        write_commit(&mut stream, number, false);
        write_file(&mut stream, &path(number.wrapping_mul(2_654_435_761) % files.max(1)), files + number);
    }
    stream.push_str("done\n");
    stream
}

/// The first commit of a stream on what is there already says so; others follow the one before in the stream.
fn write_commit(stream: &mut String, number: u32, continues: bool) {
    let at = 1_700_000_000 + u64::from(number) * 60;
    let message = format!("commit {number}\n");
    // Writing to a String cannot fail.
    let _ = writeln!(stream, "commit refs/heads/main\ncommitter Ada <ada@example.com> {at} +0000");
    let _ = writeln!(stream, "data {}\n{message}", message.len());
    if continues {
        stream.push_str("from refs/heads/main^0\n");
    }
}

/// A template of some 2 KB, of which half does not compress.
fn write_file(stream: &mut String, path: &str, seed: u32) {
    let mut content = String::from("Resources:\n");
    let mut state = u64::from(seed).wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    for resource in 0..20 {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        let other = state.rotate_left(21).wrapping_mul(0xD6E8_FEB8_6659_FD93);
        let _ = writeln!(
            content,
            "  Topic{resource}:\n    Type: AWS::SNS::Topic\n    Properties:\n      TopicName: {state:016x}{other:016x}"
        );
    }
    let _ = writeln!(stream, "M 100644 inline {path}\ndata {}\n{content}", content.len());
}
