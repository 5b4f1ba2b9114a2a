//! One `git-upload-pack` at the other end of a connection.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use russh::client::Msg;
use russh::{Channel, ChannelMsg};
use syncline_egress::{NoAnswer, Route};
use syncline_seams::{Clock as _, SystemClock};

use super::session::{Session, Sessions};
use crate::error::GitError;
use crate::remote::Remote;
use crate::verdict;

/// How much of the host's complaints is kept.
const MAX_STDERR_BYTES: usize = 16 * 1024;

/// How much is read of what nobody waits for, before the connection is given up.
const MAX_REST_BYTES: usize = 64 * 1024;

/// How long the end of a process is waited for that has said all, or nothing of use; the machine's time, as it decides
/// about a connection alone.
const LONGEST_END: Duration = Duration::from_secs(2);

/// What a shell says of a program that it does not find.
const NOT_FOUND: u32 = 127;

/// A process at the host, its input and its output.
#[derive(Debug)]
pub(crate) struct Talk {
    sessions: Arc<Sessions>,
    session: Session,
    channel: Channel<Msg>,
    /// Output that came before it was said that the process runs.
    early: VecDeque<Bytes>,
    stderr: Vec<u8>,
    exit: Option<u32>,
    /// Whether it was told that there is no more input.
    is_told_all: bool,
    is_over: bool,
}

impl Talk {
    /// Starts `git-upload-pack` for the remote, on a kept connection if there is one.
    pub(crate) async fn start(
        sessions: &Arc<Sessions>,
        remote: &Remote,
        route: &Route,
    ) -> Result<Self, GitError> {
        let path = remote.url.ssh().map(|(_, path)| path).unwrap_or_default();
        let command = format!("git-upload-pack {}", quoted(path));
        let mut session = sessions.open(remote, route).await?;
        // A kept one may have been closed, or its host gives each connection one process.
        let channel = match session.handle.channel_open_session().await {
            Ok(channel) => channel,
            Err(_) => {
                session = sessions.open_anew(remote, route).await?;
                session.handle.channel_open_session().await.map_err(|error| unavailable(remote, &error))?
            }
        };
        let started = async {
            // A host that does not take it speaks an older protocol.
            channel.set_env(false, "GIT_PROTOCOL", "version=2").await?;
            channel.exec(true, command).await
        };
        started.await.map_err(|error| unavailable(remote, &error))?;
        let sessions = Arc::clone(sessions);
        let mut talk = Self {
            sessions,
            session,
            channel,
            early: VecDeque::new(),
            stderr: Vec::new(),
            exit: None,
            is_told_all: false,
            is_over: false,
        };
        let mut early_bytes = 0;
        // Until then it takes no input, and one that refuses never does.
        while !talk.is_over {
            match talk.channel.wait().await {
                Some(ChannelMsg::Success) => break,
                Some(ChannelMsg::Failure) => {
                    let message =
                        format!("the host of '{}' runs no git-upload-pack for this key", remote.url);
                    return Err(GitError::Unavailable { message });
                }
                Some(ChannelMsg::Data { data }) => {
                    // What holds a piece counts, too: a piece may be empty.
                    early_bytes += size_of::<Bytes>() + data.len();
                    if early_bytes > MAX_REST_BYTES {
                        let message = format!(
                            "unable to access '{}': its host talks without having said that git-upload-pack runs",
                            remote.url
                        );
                        return Err(GitError::Unavailable { message });
                    }
                    talk.early.push_back(data);
                }
                Some(other) => talk.note(&other),
                None => return Err(unavailable(remote, &russh::Error::Disconnect)),
            }
        }
        Ok(talk)
    }

    /// Takes down what is not output.
    fn note(&mut self, what: &ChannelMsg) {
        match what {
            ChannelMsg::ExtendedData { data, ext: 1 } => {
                let room = MAX_STDERR_BYTES - self.stderr.len();
                self.stderr.extend_from_slice(&data[..data.len().min(room)]);
            }
            ChannelMsg::ExitStatus { exit_status } => self.exit = Some(*exit_status),
            ChannelMsg::Close => self.is_over = true,
            _ => {}
        }
    }

    /// Gives the process input, which is all there is of it if it `is_last`.
    pub(crate) async fn say(&mut self, what: impl Into<Bytes>, is_last: bool) -> Result<(), NoAnswer> {
        self.is_told_all |= is_last;
        let said = async {
            self.channel.data_bytes(what).await?;
            if is_last { self.channel.eof().await } else { Ok(()) }
        };
        // Its process may have ended: what it said until then is what counts.
        match said.await {
            Err(_) if self.session.handle.is_closed() => Err(closed()),
            _ => Ok(()),
        }
    }

    /// More of its output; `None` at the end.
    pub(crate) async fn more(&mut self) -> Result<Option<Bytes>, NoAnswer> {
        if let Some(data) = self.early.pop_front() {
            return Ok(Some(data));
        }
        while !self.is_over {
            match self.channel.wait().await {
                Some(ChannelMsg::Data { data }) => return Ok(Some(data)),
                Some(other) => self.note(&other),
                None => return Err(closed()),
            }
        }
        Ok(None)
    }

    /// Waits for the end of the process, a moment and no longer: whether it came, so that the connection is free again.
    async fn ended(&mut self) -> bool {
        let rest = async {
            if !self.is_told_all {
                let _ = self.channel.eof().await;
            }
            let mut rest = 0;
            while let Ok(Some(data)) = self.more().await {
                rest += data.len();
                if rest > MAX_REST_BYTES {
                    return;
                }
            }
        };
        tokio::select! {
            () = rest => {}
            () = SystemClock.sleep(LONGEST_END) => {}
        }
        self.is_over
    }

    /// Keeps the connection if the process ends now, as it should. All that it had to say is known.
    pub(crate) async fn keep(mut self) {
        if self.ended().await {
            self.sessions.keep(self.session);
        }
    }

    /// Why the process did not answer, as far as it says so.
    pub(crate) async fn failure(mut self, remote: &Remote) -> GitError {
        let is_over = self.ended().await;
        let stderr = String::from_utf8_lossy(&self.stderr).into_owned();
        let error = match self.exit {
            Some(NOT_FOUND) => {
                let message = format!(
                    "the host of '{}' has no git-upload-pack on its PATH: {}",
                    remote.url,
                    verdict::scrubbed(&stderr, None)
                );
                GitError::Unavailable { message }
            }
            _ if stderr.is_empty() && !is_over => {
                let message = format!("what answers at '{}' does not speak Git's protocol", remote.url);
                GitError::Unavailable { message }
            }
            _ => verdict::of_host(&stderr, &remote.url),
        };
        if is_over {
            self.sessions.keep(self.session);
        }
        error
    }
}

fn closed() -> NoAnswer {
    NoAnswer::Broken("the connection was closed".to_owned())
}

fn unavailable(remote: &Remote, error: &russh::Error) -> GitError {
    GitError::Unavailable { message: format!("unable to access '{}': {error}", remote.url) }
}

/// A word for the host's shell, as git quotes it: nothing in it means anything to a shell.
fn quoted(path: &str) -> String {
    let mut word = String::with_capacity(path.len() + 2);
    word.push('\'');
    for c in path.chars() {
        match c {
            // Some shells expand what follows an exclamation mark even here.
            '\'' | '!' => word.extend(['\'', '\\', c, '\'']),
            _ => word.push(c),
        }
    }
    word.push('\'');
    word
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_one_word_of_a_shell() {
        let check = |path: &str, expect: &str| assert_eq!(quoted(path), expect);
        check("/a b", "'/a b'");
        check("/$(touch x)`touch y`;&|<>*?\"\\", "'/$(touch x)`touch y`;&|<>*?\"\\'");
        check("/a'b!", r"'/a'\''b'\!''");
    }
}
