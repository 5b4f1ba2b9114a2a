//! Packets as they come, from whoever sends them.

use bytes::{Buf as _, Bytes, BytesMut};
use syncline_egress::{Answer, Connections, NoAnswer, Reading};
use syncline_model::names::ObjectId;
use tokio::io::AsyncWriteExt as _;
use tokio::process::ChildStdin;

use crate::error::GitError;
use crate::protocol::{self, Malformed, Packet};
use crate::remote::Remote;
use crate::ssh::Talk;

/// The most commits beyond which there is nothing, in one answer: what is asked for cuts history at one.
const MAX_SHALLOW: usize = 1_000;

/// How a pack came.
#[derive(Debug)]
pub(crate) enum Pumped {
    /// Whole.
    All,
    /// The server says why it goes no further.
    Fatal(String),
    /// There is more of it than the limit.
    TooMuch,
    /// The connection broke: why.
    Cut(NoAnswer),
    /// It is not what a server says, or nobody takes it here.
    Odd,
}

/// Where packets come from.
#[derive(Debug)]
enum Source {
    /// The answer to a question over HTTP.
    Answer(Reading),
    /// A process at the other end of an SSH connection.
    Talk(Box<Talk>),
}

/// The packets of an answer that is being read.
#[derive(Debug)]
pub(crate) struct Packets {
    source: Source,
    buffer: BytesMut,
}

/// One packet, of which the bytes are held by themselves.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Held {
    Data(Bytes),
    Flush,
    Delimiter,
}

/// Takes down a commit beyond which there is nothing.
pub(crate) fn note_shallow(commit: &str, shallow: &mut Vec<ObjectId>) -> Result<(), Pumped> {
    if shallow.len() >= MAX_SHALLOW {
        return Err(Pumped::Odd);
    }
    shallow.push(commit.parse().map_err(|_| Pumped::Odd)?);
    Ok(())
}

impl Packets {
    pub(crate) fn of_answer(answer: Answer) -> Self {
        Self { source: Source::Answer(answer.reading()), buffer: BytesMut::new() }
    }

    pub(crate) fn of_talk(talk: Talk) -> Self {
        Self { source: Source::Talk(Box::new(talk)), buffer: BytesMut::new() }
    }

    /// Says something to the process that they are of, if they are of one.
    pub(crate) async fn say(&mut self, what: impl Into<Bytes>, is_last: bool) -> Result<(), NoAnswer> {
        match &mut self.source {
            Source::Answer(_) => Ok(()),
            Source::Talk(talk) => talk.say(what, is_last).await,
        }
    }

    /// Keeps the connection that they came by, if nothing is left of them.
    pub(crate) async fn keep(self, connections: &Connections) {
        match self.source {
            Source::Answer(reading) => reading.keep(connections).await,
            Source::Talk(talk) => talk.keep().await,
        }
    }

    /// Why the process that they are of ended too early; `None` if they are of none.
    pub(crate) async fn failure(self, remote: &Remote) -> Option<GitError> {
        match self.source {
            Source::Answer(_) => None,
            Source::Talk(talk) => Some(talk.failure(remote).await),
        }
    }

    async fn more(&mut self) -> Result<Option<Bytes>, NoAnswer> {
        match &mut self.source {
            Source::Answer(reading) => reading.more().await,
            Source::Talk(talk) => talk.more().await,
        }
    }

    pub(crate) async fn next(&mut self) -> Result<Held, Pumped> {
        loop {
            match protocol::packet(&self.buffer) {
                Err(Malformed) => return Err(Pumped::Odd),
                Ok(None) => {}
                Ok(Some((Packet::Data(data), _))) => {
                    let length = data.len();
                    self.buffer.advance(4);
                    return Ok(Held::Data(self.buffer.split_to(length).freeze()));
                }
                Ok(Some((packet, _))) => {
                    let held = if packet == Packet::Flush { Held::Flush } else { Held::Delimiter };
                    self.buffer.advance(4);
                    return Ok(held);
                }
            }
            match self.more().await {
                Ok(Some(data)) => self.buffer.extend_from_slice(&data),
                Ok(None) => return Err(Pumped::Odd),
                Err(why) => return Err(Pumped::Cut(why)),
            }
        }
    }

    /// Reads up to the pack; answers the commits beyond which there is nothing.
    pub(crate) async fn until_pack(&mut self) -> Result<Vec<ObjectId>, Pumped> {
        let mut shallow = Vec::new();
        let mut section = String::new();
        loop {
            let line = match self.next().await? {
                Held::Data(line) => String::from_utf8_lossy(&line).trim_end().to_owned(),
                Held::Delimiter => {
                    section.clear();
                    continue;
                }
                Held::Flush => return Err(Pumped::Odd),
            };
            if let Some(why) = line.strip_prefix("ERR ") {
                return Err(Pumped::Fatal(why.to_owned()));
            }
            match section.as_str() {
                "" if line == "packfile" => return Ok(shallow),
                "" => section = line,
                "shallow-info" => {
                    let commit = line.strip_prefix("shallow ").ok_or(Pumped::Odd)?;
                    note_shallow(commit, &mut shallow)?;
                }
                _ => return Err(Pumped::Odd),
            }
        }
    }

    /// Hands the pack on (gitprotocol-v2(5), "packfile": each packet begins with its band).
    pub(crate) async fn pump(&mut self, to: &mut ChildStdin, max_bytes: u64) -> Pumped {
        let mut left = max_bytes;
        loop {
            let mut data = match self.next().await {
                Ok(Held::Data(data)) if !data.is_empty() => data,
                Ok(Held::Flush) => return Pumped::All,
                Ok(_) => return Pumped::Odd,
                Err(other) => return other,
            };
            match data.get_u8() {
                1 => {
                    match left.checked_sub(data.len() as u64) {
                        Some(rest) => left = rest,
                        None => return Pumped::TooMuch,
                    }
                    if to.write_all(&data).await.is_err() {
                        return Pumped::Odd;
                    }
                }
                2 => {}
                3 => return Pumped::Fatal(String::from_utf8_lossy(&data).trim_end().to_owned()),
                _ => return Pumped::Odd,
            }
        }
    }
}
