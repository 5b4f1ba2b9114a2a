//! Servers without protocol v2, without filters, and behind SSH, beside the best that the git command line does with each.
//!
//! The command line is tried in every way that may be the best one there, and compared by its fastest of each round.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use anyhow::Context as _;
use serde_json::Value;
use syncline_git::{HostKeys, Remote, SshAccess};
use syncline_seams::Secret;

use super::{Bench, GitArgs, Measured};
use crate::git_host::{CHANGED, READ};
use crate::report::{Bound, Ratio};

/// How much slower than the best of the command line it may be.
const GOAL: f64 = 1.2;

/// What was measured with one kind of server.
#[derive(Debug)]
pub(super) struct Other {
    kind: &'static str,
    poll: Measured,
    no_op: Measured,
    first: Measured,
    /// The command line, in each way.
    first_cli: Vec<Measured>,
    update: Measured,
    update_cli: Measured,
}

impl Other {
    pub(super) fn measured(&self) -> Vec<&Measured> {
        let mut all = vec![&self.poll, &self.no_op, &self.first];
        all.extend(&self.first_cli);
        all.extend([&self.update, &self.update_cli]);
        all
    }

    pub(super) fn ratios(&self) -> Vec<Ratio> {
        let best = |round: usize| {
            self.first_cli.iter().map(|way| way.rounds[round].ms).fold(f64::INFINITY, f64::min)
        };
        let first = self.first.rounds.iter().enumerate().map(|(round, cost)| cost.ms / best(round)).collect();
        let ratio =
            |what: &str, rounds| Ratio::new(&format!("{}: {what}", self.kind), rounds, Bound::AtMost, GOAL);
        vec![
            ratio("poll, time / no-op fetch", self.poll.to(&self.no_op, |cost| cost.ms)),
            ratio("first sight, time / best of git", first),
            ratio("one commit more, time / git", self.update.to(&self.update_cli, |cost| cost.ms)),
        ]
    }
}

/// One kind of server.
struct Server {
    kind: &'static str,
    remote: Remote,
    /// What git starts to reach it, if that is not its own way.
    ssh_command: Option<String>,
    /// The filters of the command line that may be the best.
    filters: &'static [&'static str],
}

/// Measures every kind of server that there is here.
pub(super) fn measure(bench: &mut Bench, args: &GitArgs) -> anyhow::Result<Vec<Other>> {
    let told: Value = serde_json::from_str(&bench.host.ask("others")?)?;
    let by_http = |kind, index: usize| -> anyhow::Result<Server> {
        let url = told["urls"][index].as_str().context("a URL")?.parse()?;
        let remote = Remote { url, credential: None, ssh: None, extra_root_pem: None };
        Ok(Server { kind, remote, ssh_command: None, filters: &["--no-filter"] })
    };
    let mut servers = vec![by_http("without protocol v2", 0)?, by_http("without filters", 1)?];
    if told["ssh"].is_null() {
        eprintln!("skipped: SSH, since there is no OpenSSH server");
    } else {
        servers.push(by_ssh(bench, &told["ssh"])?);
    }
    servers.iter().enumerate().map(|(number, server)| one(bench, args, number, server)).collect()
}

fn by_ssh(bench: &Bench, told: &Value) -> anyhow::Result<Server> {
    let text = |name: &str| told[name].as_str().with_context(|| format!("no {name}"));
    let (key, known_hosts) = (bench.folder.join("key"), bench.folder.join("known_hosts"));
    fs::write(&key, text("key")?)?;
    fs::set_permissions(&key, fs::Permissions::from_mode(0o600))?;
    fs::write(&known_hosts, text("knownHosts")?)?;
    let ssh_command = format!(
        "ssh -F /dev/null -o BatchMode=yes -o IdentitiesOnly=yes -o StrictHostKeyChecking=yes \
         -o UserKnownHostsFile={} -i {}",
        known_hosts.display(),
        key.display()
    );
    let url = text("url")?.parse()?;
    let host_keys = HostKeys::read(text("knownHosts")?, &url)?;
    let ssh = Some(SshAccess { username: None, key: Secret::new(text("key")?), host_keys });
    Ok(Server {
        kind: "by SSH",
        remote: Remote { url, credential: None, ssh, extra_root_pem: None },
        ssh_command: Some(ssh_command),
        filters: &["--no-filter", "--filter=blob:none"],
    })
}

fn one(bench: &mut Bench, args: &GitArgs, number: usize, server: &Server) -> anyhow::Result<Other> {
    let kind = server.kind;
    let named = |what: &str| Measured::new(format!("{kind}: {what}"));
    let first_cli = |filter: &&str| named(&format!("first sight, git fetch {filter}"));
    let mut other = Other {
        kind,
        poll: named("poll, syncline"),
        no_op: named("poll, no-op git fetch"),
        first: named("first sight, syncline"),
        first_cli: server.filters.iter().map(first_cli).collect(),
        update: named("one commit more, syncline"),
        update_cli: named("one commit more, git fetch"),
    };
    let init = |bench: &Bench, name: &str| -> anyhow::Result<_> {
        let directory = bench.folder.join(name);
        bench.init_for(&directory, server.remote.url.as_str())?;
        if let Some(command) = &server.ssh_command {
            super::git(&directory, &["config", "core.sshCommand", command])?;
        }
        Ok(directory)
    };
    // In an update a file is one of the commit's own: a filter only costs another connection.
    let [unfiltered, ..] = server.filters else { anyhow::bail!("no way of the command line") };
    let clone = init(bench, &format!("other-{number}.git"))?;
    let ours = bench.reader(&format!("other-{number}"), true);
    let nothing = bench.folder.join("nothing");
    let remote = &server.remote;
    for round in 0..=args.rounds {
        let head = bench.host.ask(&format!("commit {number}"))?.parse()?;
        let update =
            bench.cost(1, &nothing, |bench| bench.look_at(remote, &ours, "updated", &head, &[CHANGED]))?;
        let update_cli = bench.cost(1, &nothing, |bench| {
            bench.fetch_with(&clone, unfiltered)?;
            bench.read(&clone, &[CHANGED])
        })?;
        let polls = args.polls.min(10);
        let poll = bench.cost(polls, &nothing, |bench| bench.poll_at(remote, &ours, &head))?;
        let no_op = bench.cost(polls, &nothing, |bench| bench.fetch_with(&clone, unfiltered))?;
        let name = format!("other-{number}-first-{round}");
        // One that has not met the server yet.
        let git = bench.reader(&name, true);
        let first = bench.cost(1, &nothing, |bench| bench.look_at(remote, &git, "first", &head, &READ))?;
        fs::remove_dir_all(bench.folder.join(&name))?;
        let mut ways = Vec::new();
        for filter in server.filters {
            let directory = init(bench, &format!("{name}.git"))?;
            ways.push(bench.cost(1, &nothing, |bench| {
                bench.fetch_with(&directory, filter)?;
                bench.read(&directory, &READ)
            })?);
            fs::remove_dir_all(directory)?;
        }
        // The first round only warms up.
        if round == 0 {
            continue;
        }
        let all =
            [&mut other.update, &mut other.update_cli, &mut other.poll, &mut other.no_op, &mut other.first];
        let costs = [update, update_cli, poll, no_op, first];
        for (measured, cost) in all.into_iter().chain(&mut other.first_cli).zip(costs.into_iter().chain(ways))
        {
            measured.rounds.push(cost);
        }
    }
    Ok(other)
}
