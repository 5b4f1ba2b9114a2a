//! Heads and downloads over SSH, from servers of every age: protocol v2 where they speak it, else the original one
//! (gitprotocol-pack(5)), with filters where they know them.
//!
//! git is not asked here: it would start `ssh`, which would have to be given the key. So what is concluded here is all
//! that is concluded.
//!
//! What a remote announced is remembered, so that the question can be sent at once; whoever answers as if he had announced
//! something else is asked once more, from the beginning.

use syncline_egress::Route;
use syncline_model::names::{BranchName, ObjectId};

use crate::error::{GitError, Trouble};
use crate::fetching::{MAX_HAVES, Wanted, arguments};
use crate::git::{Git, Place};
use crate::heads::{failed, too_many};
use crate::packets::{Held, Packets, Pumped, note_shallow};
use crate::protocol::{self, Capabilities};
use crate::remote::Remote;
use crate::ssh::{HostKeys, Talk};
use crate::verdict;
use syncline_egress::NoAnswer;

/// The end of what is asked.
const FLUSH: &str = "0000";

/// The first git whose `index-pack` takes exceptions from its checks.
const EXCEPTIONS_SINCE: (u32, u32) = (2, 45);

/// The checks that `git fetch` has it make here: old slips of honest clients are let through.
const LENIENT_CHECKS: &str = "--fsck-objects=zeroPaddedFilemode=ignore,badTimezone=ignore,badEmail=ignore,\
missingEmail=ignore,missingNameBeforeEmail=ignore,missingSpaceBeforeDate=ignore,missingSpaceBeforeEmail=ignore,\
zeroPaddedDate=ignore,gitmodulesMissing=ignore";

/// What a server says first.
#[derive(Debug)]
enum Greeting {
    /// It speaks protocol v2.
    V2(Capabilities),
    /// It speaks an older protocol: all of its refs, `<id> <ref>` each, and what it can do.
    Older { refs: Vec<String>, can: Vec<String> },
}

/// Why a conversation came to nothing.
#[derive(Debug)]
enum Stopped {
    /// What it means is known.
    Told(Trouble),
    /// The server ended it, or said what does not fit: its own words tell why.
    Ask(Box<Packets>),
}

impl From<GitError> for Stopped {
    fn from(error: GitError) -> Self {
        Self::Told(error.into())
    }
}

impl From<Trouble> for Stopped {
    fn from(trouble: Trouble) -> Self {
        Self::Told(trouble)
    }
}

impl Git {
    pub(crate) async fn introduce_by_ssh(&self, remote: &Remote) -> Result<HostKeys, GitError> {
        let route = self.settings.egress.admit(&remote.url).await?;
        let _leave = self.leave_to_ask(&route).await?;
        self.ssh.introduce(remote, &route).await
    }

    /// The branches that begin with a name asked for, or all of an older server's refs.
    pub(crate) async fn list_by_ssh(
        &self,
        remote: &Remote,
        route: &Route,
        branches: &[BranchName],
    ) -> Result<Vec<String>, GitError> {
        let _leave = self.leave_to_ask(route).await?;
        let known = self.ssh.announced(&route.url);
        if let Some(known) = known {
            match self.list_once(remote, route, branches, Some(known)).await {
                Err(Stopped::Ask(_)) => self.ssh.remember(&route.url, None),
                other => return ended(other, remote).await,
            }
        }
        ended(self.list_once(remote, route, branches, None).await, remote).await
    }

    async fn list_once(
        &self,
        remote: &Remote,
        route: &Route,
        branches: &[BranchName],
        known: Option<Capabilities>,
    ) -> Result<Vec<String>, Stopped> {
        let limit = self.settings.limits.max_heads_bytes;
        // Without a branch the question is only whether the repository may be read.
        let question = |of: &Capabilities| match branches {
            [] => FLUSH.to_owned(),
            _ => protocol::ls_refs(of.object_format.as_deref(), branches) + FLUSH,
        };
        let mut packets = Packets::of_talk(Talk::start(&self.ssh, remote, route).await?);
        if let Some(known) = &known {
            packets.say(question(known), true).await.map_err(|why| cut(remote, &why))?;
        }
        let listed = match greeting(&mut packets, remote, limit).await {
            Ok(Greeting::Older { refs, .. }) => {
                self.ssh.remember(&route.url, None);
                if known.is_none() {
                    packets.say(FLUSH, true).await.map_err(|why| cut(remote, &why))?;
                }
                refs
            }
            Ok(Greeting::V2(announced)) => {
                if known.is_none() {
                    packets.say(question(&announced), true).await.map_err(|why| cut(remote, &why))?;
                }
                let refs = match branches {
                    [] => Vec::new(),
                    _ => match lines(&mut packets, remote, limit).await {
                        Ok(refs) => refs,
                        Err(stopped) => return Err(stopped.of(packets)),
                    },
                };
                self.ssh.remember(&route.url, Some(announced));
                refs
            }
            Err(stopped) => return Err(stopped.of(packets)),
        };
        packets.keep(&self.asking.connections).await;
        Ok(listed)
    }

    /// Downloads into the place's cache, `max_bytes` of a pack at most; without files, if that `is_filtered` and the server
    /// can.
    pub(crate) async fn download_by_ssh(
        &self,
        at: &Place<'_>,
        wanted: Wanted<'_>,
        is_filtered: bool,
        max_bytes: u64,
    ) -> Result<(), Trouble> {
        let route = self.settings.egress.admit(&at.remote.url).await.map_err(GitError::from)?;
        // One of each for all of it: the process is started while the connection is in use.
        let _leave = self.leave(Some(&route)).await?;
        at.cache.sweep();
        let known = self.ssh.announced(&route.url);
        if let Some(known) = known {
            match self.download_once(at, &route, wanted, is_filtered, max_bytes, Some(known)).await {
                Err(Stopped::Ask(_)) => self.ssh.remember(&route.url, None),
                other => return concluded(other, at.remote).await,
            }
        }
        let downloaded = self.download_once(at, &route, wanted, is_filtered, max_bytes, None).await;
        concluded(downloaded, at.remote).await
    }

    async fn download_once(
        &self,
        at: &Place<'_>,
        route: &Route,
        wanted: Wanted<'_>,
        is_filtered: bool,
        max_bytes: u64,
        known: Option<Capabilities>,
    ) -> Result<(), Stopped> {
        let question = |of: &Capabilities| {
            let arguments = arguments(at, wanted, is_filtered && of.can_filter);
            protocol::fetch(of.object_format.as_deref(), arguments) + FLUSH
        };
        let limit = self.settings.limits.max_heads_bytes;
        let mut packets = Packets::of_talk(Talk::start(&self.ssh, at.remote, route).await?);
        if let Some(known) = &known {
            packets.say(question(known), true).await.map_err(|why| cut(at.remote, &why))?;
        }
        let shallow = match greeting(&mut packets, at.remote, limit).await {
            Ok(Greeting::V2(announced)) => {
                if known.is_none() {
                    packets.say(question(&announced), true).await.map_err(|why| cut(at.remote, &why))?;
                }
                self.ssh.remember(&route.url, Some(announced));
                packets.until_pack().await
            }
            Ok(Greeting::Older { .. }) if known.is_some() => return Err(Stopped::Ask(Box::new(packets))),
            Ok(Greeting::Older { can, .. }) => {
                let question = older_question(at, wanted, is_filtered, &can)?;
                packets.say(question, true).await.map_err(|why| cut(at.remote, &why))?;
                older_until_pack(&mut packets).await
            }
            Err(stopped) => return Err(stopped.of(packets)),
        };
        let shallow = match shallow {
            Ok(shallow) => shallow,
            Err(Pumped::Fatal(why)) => return Err(self.refused(at, &why).into()),
            Err(Pumped::Cut(why)) => return Err(cut(at.remote, &why).into()),
            Err(Pumped::All | Pumped::TooMuch | Pumped::Odd) => return Err(Stopped::Ask(Box::new(packets))),
        };
        let is_lenient = self.version.get().is_some_and(|version| *version >= EXCEPTIONS_SINCE);
        let checks = if is_lenient { LENIENT_CHECKS } else { "--fsck-objects" };
        let (pumped, ended) = self.index(at, &mut packets, checks, max_bytes).await?;
        match pumped {
            Pumped::TooMuch => Err(GitError::CommitTooLarge { limit: max_bytes }.into()),
            Pumped::Fatal(why) => Err(self.refused(at, &why).into()),
            Pumped::Cut(why) => Err(cut(at.remote, &why).into()),
            Pumped::All if ended.is_success => {
                // First of all: whoever waits may be gone before the process is.
                if let Wanted::Commit = wanted {
                    at.cache.add(at.commit, &shallow)?;
                }
                packets.keep(&self.asking.connections).await;
                Ok(())
            }
            // A pack that cannot be written: what is in the cache, or in the pack, is not what it should be.
            Pumped::All | Pumped::Odd if !ended.stderr.is_empty() => {
                Err(verdict::of_conversation(&ended.stderr, None, Some(at.commit)).into())
            }
            Pumped::All | Pumped::Odd => {
                Err(GitError::Unavailable { message: "the download broke off".to_owned() }.into())
            }
        }
    }
}

/// Why a conversation stopped, while it is still held.
#[derive(Debug)]
enum Stop {
    Told(GitError),
    Ask,
}

impl Stop {
    fn of(self, packets: Packets) -> Stopped {
        match self {
            Self::Told(error) => error.into(),
            Self::Ask => Stopped::Ask(Box::new(packets)),
        }
    }
}

async fn concluded<T>(result: Result<T, Stopped>, remote: &Remote) -> Result<T, Trouble> {
    match result {
        Ok(value) => Ok(value),
        Err(Stopped::Told(trouble)) => Err(trouble),
        Err(Stopped::Ask(packets)) => {
            let odd = || GitError::Unavailable { message: format!("'{}' is no Git server", remote.url) };
            Err(packets.failure(remote).await.unwrap_or_else(odd).into())
        }
    }
}

async fn ended<T>(result: Result<T, Stopped>, remote: &Remote) -> Result<T, GitError> {
    concluded(result, remote).await.map_err(crate::git::told)
}

fn cut(remote: &Remote, why: &NoAnswer) -> GitError {
    GitError::Unavailable { message: format!("unable to access '{}': {why}", remote.url) }
}

/// Reads what the server says first, `limit` bytes of it at most.
async fn greeting(packets: &mut Packets, remote: &Remote, limit: usize) -> Result<Greeting, Stop> {
    let all = lines(packets, remote, limit).await?;
    let first = all.first().map(String::as_str);
    if first == Some("version 2") {
        let announced: String = all.iter().map(|line| format!("{:04x}{line}\n", line.len() + 5)).collect();
        return match protocol::capabilities((announced + FLUSH).as_bytes()) {
            Ok(Some(announced)) if announced.can_deepen => Ok(Greeting::V2(announced)),
            Ok(Some(_)) => Err(Stop::Told(cannot_deepen())),
            Ok(None) | Err(protocol::Malformed) => Err(Stop::Ask),
        };
    }
    let (mut refs, mut can) = (Vec::new(), Vec::new());
    for line in all {
        let (named, features) = line.split_once('\0').unwrap_or((&line, ""));
        can.extend(features.split(' ').filter(|feature| !feature.is_empty()).map(str::to_owned));
        match named.split_once(' ') {
            // gitprotocol-pack(5): a version of its own, a repository without refs, a commit that history is cut at.
            Some(("version", "1")) | Some((_, "capabilities^{}")) | Some(("shallow", _)) => {}
            Some((id, _)) if id.parse::<ObjectId>().is_ok() => refs.push(named.to_owned()),
            _ => return Err(Stop::Ask),
        }
    }
    Ok(Greeting::Older { refs, can })
}

/// The lines up to a flush, `limit` bytes of them at most.
async fn lines(packets: &mut Packets, remote: &Remote, limit: usize) -> Result<Vec<String>, Stop> {
    let (mut all, mut bytes) = (Vec::new(), 0);
    loop {
        match packets.next().await {
            Ok(Held::Data(line)) => {
                // Git says nothing in no bytes, and whoever does could go on for ever.
                if line.is_empty() {
                    return Err(Stop::Ask);
                }
                // Counted as it came, as over HTTP: with its length before it.
                bytes += 4 + line.len();
                if bytes > limit {
                    return Err(Stop::Told(too_many(limit)));
                }
                let line = String::from_utf8_lossy(&line).trim_end_matches('\n').to_owned();
                if let Some(why) = line.strip_prefix("ERR ") {
                    let told = failed(&format!("remote error: {why}"), remote);
                    return Err(Stop::Told(match told {
                        // Forges say here, too, that there is no such repository.
                        GitError::Unavailable { .. } => verdict::of_host(why, &remote.url),
                        told => told,
                    }));
                }
                all.push(line);
            }
            Ok(Held::Flush) => return Ok(all),
            Err(Pumped::Cut(why)) => return Err(Stop::Told(cut(remote, &why))),
            Ok(Held::Delimiter) | Err(_) => return Err(Stop::Ask),
        }
    }
}

fn cannot_deepen() -> GitError {
    GitError::Unavailable {
        message: "its Git server cannot give out a commit without its history".to_owned(),
    }
}

/// The question for a pack in the original protocol, all of it: what is wanted, what there is, and that this is all.
fn older_question(
    at: &Place<'_>,
    wanted: Wanted<'_>,
    is_filtered: bool,
    can: &[String],
) -> Result<String, GitError> {
    let has = |feature: &str| can.iter().any(|one| one == feature);
    if !has("side-band-64k") || !has("shallow") {
        return Err(cannot_deepen());
    }
    // A server that gives out nothing but heads would keep the files to itself afterwards.
    let gives_files = has("allow-tip-sha1-in-want") && has("allow-reachable-sha1-in-want");
    let is_filtered = is_filtered && has("filter") && gives_files;
    let is_commit = matches!(wanted, Wanted::Commit);
    let haves = if is_commit { at.cache.newest(MAX_HAVES) } else { Vec::new() };
    let mut features = vec!["side-band-64k", "ofs-delta", "no-progress"];
    features.extend((!haves.is_empty()).then_some("thin-pack"));
    features.extend(is_filtered.then_some("filter"));
    features.extend(can.iter().map(String::as_str).filter(|one| one.starts_with("object-format=")));
    features.retain(|feature| has(feature));
    let wants: Vec<&str> = match wanted {
        Wanted::Commit => vec![at.commit.as_str()],
        Wanted::Blobs(blobs) => blobs.iter().map(|blob| blob.as_str()).collect(),
    };
    let mut text = String::new();
    let mut say = |line: &str| text.push_str(&format!("{:04x}{line}\n", line.len() + 5));
    for (index, want) in wants.iter().enumerate() {
        match index {
            0 => say(&format!("want {want} {}", features.join(" "))),
            _ => say(&format!("want {want}")),
        }
    }
    haves.iter().for_each(|have| say(&format!("shallow {have}")));
    if is_commit {
        say("deepen 1");
    }
    if is_filtered {
        say("filter blob:none");
    }
    text.push_str(FLUSH);
    let mut say = |line: &str| text.push_str(&format!("{:04x}{line}\n", line.len() + 5));
    haves.iter().for_each(|have| say(&format!("have {have}")));
    say("done");
    Ok(text)
}

/// Reads up to the pack in the original protocol; answers the commits beyond which there is nothing.
async fn older_until_pack(packets: &mut Packets) -> Result<Vec<ObjectId>, Pumped> {
    let mut shallow = Vec::new();
    loop {
        let line = match packets.next().await? {
            Held::Data(line) => String::from_utf8_lossy(&line).trim_end().to_owned(),
            Held::Flush => continue,
            Held::Delimiter => return Err(Pumped::Odd),
        };
        match line.split_once(' ').unwrap_or((&line, "")) {
            ("ERR", why) => return Err(Pumped::Fatal(why.to_owned())),
            ("NAK" | "ACK", _) => return Ok(shallow),
            ("shallow", commit) => note_shallow(commit, &mut shallow)?,
            ("unshallow", _) => {}
            _ => return Err(Pumped::Odd),
        }
    }
}
