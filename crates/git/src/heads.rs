//! Which commits branches point at, without downloading anything else.
//!
//! Over HTTP the branches are asked for by name, in protocol v2's own words (gitprotocol-v2(5)): by this process
//! (`asking`), or, where it cannot, through git's transport helper (gitremote-helpers(7), `stateless-connect`). Measured with `GIT_TRACE_PACKET`
//! against a repository of 5,000 branches: `git ls-remote --heads` can only name `refs/heads/` and downloads
//! 334 KB, this 200 bytes. It also does not mistake a web page for an empty
//! repository, which `git ls-remote` does when it falls back to the "dumb" protocol.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::path::Path;

use syncline_model::names::{BranchName, ObjectId};
use tokio::io::{AsyncBufReadExt as _, AsyncRead, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::process::{ChildStdin, ChildStdout};

use crate::asking::Asked;
use crate::error::{GitError, Trouble};
use crate::git::Git;
use crate::protocol::{self, MAX_PACKET_BYTES};
use crate::remote::Remote;
use crate::verdict;
use syncline_egress::Route;

/// What the server said to a question in protocol v2.
#[derive(Debug)]
enum Said {
    /// Lines `<id> <ref>`.
    Refs(Vec<String>),
    /// It does not speak protocol v2, or is no Git server at all.
    NotV2,
    /// `ERR` and why.
    Refusal(String),
    /// More than we take.
    TooMuch,
}

impl Git {
    pub(crate) async fn list_heads(
        &self,
        remote: &Remote,
        branches: &[BranchName],
    ) -> Result<BTreeMap<BranchName, ObjectId>, GitError> {
        let route = self.settings.egress.admit(&remote.url).await?;
        let listed = if route.protocol == "file" {
            self.list_all(remote).await?
        } else if route.protocol == "ssh" {
            self.list_by_ssh(remote, &route, branches).await?
        } else {
            let told = match self.ask_directly(remote, &route, branches).await? {
                Asked::Listed(listed) => Some(listed),
                Asked::Older => None,
                Asked::Unasked => self.ask_by_name(remote, &route, branches).await?,
            };
            match told {
                Some(listed) => listed,
                // An older server, or none: in an empty list these look the same.
                None => self.list_all(remote).await.and_then(|listed| match listed.as_slice() {
                    [] => Err(GitError::Unavailable {
                        message: "it answers without any branch, or is not a Git server".to_owned(),
                    }),
                    _ => Ok(listed),
                })?,
            }
        };
        let heads: HashMap<&str, &str> = listed
            .iter()
            .filter_map(|line| line.split_once([' ', '\t']))
            .filter_map(|(id, name)| Some((name.split(' ').next()?.strip_prefix("refs/heads/")?, id)))
            .collect();
        let found = branches.iter().filter_map(|branch| Some((branch, heads.get(branch.as_str())?)));
        found
            .map(|(branch, id)| {
                let odd = |error| GitError::Unavailable {
                    message: format!("branch '{branch}' points at something odd: {error}"),
                };
                Ok((branch.clone(), id.parse().map_err(odd)?))
            })
            .collect()
    }

    /// Every branch, by `git ls-remote`.
    async fn list_all(&self, remote: &Remote) -> Result<Vec<String>, GitError> {
        self.check_program().await?;
        let limit = self.settings.limits.max_heads_bytes;
        let arguments = ["ls-remote", "--heads", "--", "origin"];
        let nowhere = Path::new("/dev/null");
        let finished = self.remote(nowhere, remote, &arguments, String::new(), limit, None).await?;
        if finished.is_cut {
            return Err(too_many(limit));
        }
        if !finished.is_success {
            return Err(failed(&finished.stderr, remote));
        }
        Ok(String::from_utf8_lossy(&finished.stdout).lines().map(str::to_owned).collect())
    }

    /// The branches that begin with a name asked for; `None` when the server does not speak protocol v2.
    async fn ask_by_name(
        &self,
        remote: &Remote,
        route: &Route,
        branches: &[BranchName],
    ) -> Result<Option<Vec<String>>, GitError> {
        self.check_program().await?;
        let config = self.configuration(remote, route)?;
        let limit = self.settings.limits.max_heads_bytes;
        // The url is a parsed one that begins with http: it cannot be an option.
        let arguments = [&format!("remote-{}", route.protocol), "origin", &route.url];
        let _leave = self.leave(Some(route)).await?;
        let run = self.run(Path::new("/dev/null"), &arguments, &config);
        let (said, ended) = run.converse(|stdin, stdout| ask(stdin, stdout, branches, limit)).await?;
        match said {
            Ok(Said::Refs(refs)) => Ok(Some(refs)),
            Ok(Said::NotV2) => Ok(None),
            Ok(Said::TooMuch) => Err(too_many(limit)),
            Ok(Said::Refusal(why)) => Err(failed(&format!("remote error: {why}"), remote)),
            Err(error) => {
                let stderr = if ended.stderr.is_empty() { error.to_string() } else { ended.stderr };
                Err(failed(&stderr, remote))
            }
        }
    }
}

pub(crate) fn too_many(limit: usize) -> GitError {
    GitError::Unavailable { message: format!("its list of branches exceeds {limit} bytes") }
}

pub(crate) fn failed(stderr: &str, remote: &Remote) -> GitError {
    match verdict::of_conversation(stderr, remote.credential.as_ref(), None) {
        Trouble::Told(error) => error,
        // No cache is involved: whatever git did not like came from the remote.
        Trouble::BrokenCache(message) => GitError::Unavailable { message },
    }
}

/// Holds one `ls-refs` conversation with git's transport helper.
async fn ask(
    mut stdin: ChildStdin,
    stdout: ChildStdout,
    branches: &[BranchName],
    limit: usize,
) -> io::Result<Said> {
    let mut answers = BufReader::new(stdout.take(limit as u64));
    stdin.write_all(b"stateless-connect git-upload-pack\n").await?;
    let mut ready = String::new();
    answers.read_line(&mut ready).await?;
    match ready.as_str() {
        "\n" => {}
        "fallback\n" => return Ok(Said::NotV2),
        _ => return Err(io::ErrorKind::UnexpectedEof.into()),
    }
    let mut capabilities = Vec::new();
    while let Some(line) = packet(&mut answers).await? {
        capabilities.push(line);
    }
    // A server of another object format than the one it is asked in refuses.
    let object_format = capabilities.iter().find(|text| text.starts_with("object-format="));
    let question = protocol::ls_refs(object_format.map(String::as_str), branches);
    if branches.is_empty() {
        return Ok(Said::Refs(Vec::new()));
    }
    stdin.write_all(question.as_bytes()).await?;
    let mut refs = Vec::new();
    loop {
        match packet(&mut answers).await {
            Ok(Some(line)) => match line.strip_prefix("ERR ") {
                Some(why) => return Ok(Said::Refusal(why.to_owned())),
                None => refs.push(line),
            },
            Ok(None) => return Ok(Said::Refs(refs)),
            Err(_) if answers.get_ref().limit() == 0 => return Ok(Said::TooMuch),
            Err(error) => return Err(error),
        }
    }
}

/// The next pkt-line without its newline; `None` at a flush packet.
async fn packet(answers: &mut (impl AsyncRead + Unpin)) -> io::Result<Option<String>> {
    let malformed = || io::Error::new(io::ErrorKind::InvalidData, "protocol error: a malformed packet");
    let mut digits = [0; 4];
    answers.read_exact(&mut digits).await?;
    let digits = std::str::from_utf8(&digits).map_err(|_| malformed())?;
    let length = usize::from_str_radix(digits, 16).map_err(|_| malformed())?;
    match length {
        0 => Ok(None),
        5..=MAX_PACKET_BYTES => {
            let mut line = vec![0; length - 4];
            answers.read_exact(&mut line).await?;
            let line = String::from_utf8_lossy(&line);
            Ok(Some(line.strip_suffix('\n').unwrap_or(&line).to_owned()))
        }
        _ => Err(malformed()),
    }
}
