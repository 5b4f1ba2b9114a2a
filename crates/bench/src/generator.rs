//! The load: keep-alive HTTP/1.1 on a fixed number of connections, each with one request under way, all on the calling
//! thread.
//!
//! It shares the machine with the server it measures, so it does as little as it can: requests are written out
//! beforehand, a reply is looked at just far enough to know its status and its end, and there is one thread, one
//! `epoll` and no runtime. Latency is from the send to the reply's last byte.

use std::io::{self, Read as _, Write as _};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use hdrhistogram::Histogram;
use memchr::memmem;
use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};

use crate::requests::{Kind, Requests};

/// The longest latency that is told apart, in microseconds.
const LONGEST_US: u64 = 60_000_000;
/// How long nothing may be heard from a server.
const PATIENCE: Duration = Duration::from_secs(30);

/// What to send, and for how long.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Load<'r> {
    /// The server.
    pub(crate) address: SocketAddr,
    /// How many requests are under way at any time.
    pub(crate) connections: usize,
    /// The requests, sent in this order from number `first` on.
    pub(crate) requests: &'r Requests,
    /// The number of the first.
    pub(crate) first: usize,
    /// How long requests are sent before they count.
    pub(crate) warm_up: Duration,
    /// How long they count.
    pub(crate) duration: Duration,
}

/// What came of a load.
#[derive(Debug)]
pub(crate) struct Outcome {
    /// How long it took, in seconds.
    pub(crate) seconds: f64,
    /// The latencies of reads, in microseconds.
    pub(crate) reads: Histogram<u64>,
    /// The latencies of writes, in microseconds.
    pub(crate) writes: Histogram<u64>,
    /// The bytes of all bodies.
    pub(crate) body_bytes: u64,
    /// The number of the next request that was not sent.
    pub(crate) next: usize,
}

impl Outcome {
    /// The replies that counted.
    pub(crate) fn replies(&self) -> u64 {
        self.reads.len() + self.writes.len()
    }

    /// Replies in a second.
    pub(crate) fn rate(&self) -> f64 {
        self.replies() as f64 / self.seconds
    }
}

/// One connection.
struct Connection {
    stream: TcpStream,
    request: usize,
    sent: usize,
    since: Instant,
    reply: Vec<u8>,
    filled: usize,
}

/// A reply that is there, wholly or so far.
enum Reply {
    Partial,
    /// Its body's length, and whether the server closes the connection.
    Whole(usize, bool),
}

impl Load<'_> {
    /// Sends the requests and waits for every reply.
    ///
    /// # Errors
    /// A server that cannot be reached, falls silent, or answers anything but 200.
    pub(crate) fn run(&self) -> anyhow::Result<Outcome> {
        let mut poll = Poll::new()?;
        let mut events = Events::with_capacity(self.connections);
        let histogram = || Histogram::new_with_max(LONGEST_US, 3).context("a histogram");
        let mut outcome = Outcome {
            seconds: 0.0,
            reads: histogram()?,
            writes: histogram()?,
            body_bytes: 0,
            next: self.first,
        };
        let begun = Instant::now();
        let counted_from = begun + self.warm_up;
        let until = counted_from + self.duration;
        let mut connections = (0..self.connections)
            .map(|index| {
                let mut connection = Connection::open(&poll, self.address, index)?;
                connection.begin(self.requests, &mut outcome.next)?;
                Ok(connection)
            })
            .collect::<anyhow::Result<Vec<_>>>()?;
        let mut under_way = connections.len();
        let mut last = counted_from;
        while under_way > 0 {
            poll.poll(&mut events, Some(PATIENCE)).context("waiting for replies")?;
            if events.is_empty() {
                bail!("{} did not reply for {} s", self.address, PATIENCE.as_secs());
            }
            for event in &events {
                let Token(index) = event.token();
                let connection = &mut connections[index];
                connection.send(self.requests)?;
                let Reply::Whole(body, closes) = connection.receive()? else { continue };
                let now = Instant::now();
                // On a machine that is too busy the load lasts longer: one reply there must be.
                let over = now > until && outcome.replies() > 0;
                if now >= counted_from && !over {
                    let (_, kind) = self.requests.get(connection.request);
                    let latencies = if kind == Kind::Read { &mut outcome.reads } else { &mut outcome.writes };
                    let us = (now - connection.since).as_micros();
                    latencies.saturating_record(u64::try_from(us).unwrap_or(LONGEST_US));
                    outcome.body_bytes += body as u64;
                    last = now;
                }
                if over {
                    under_way -= 1;
                    continue;
                }
                if closes {
                    *connection = Connection::open(&poll, self.address, index)?;
                }
                connection.begin(self.requests, &mut outcome.next)?;
            }
        }
        outcome.seconds = (last - counted_from).as_secs_f64();
        Ok(outcome)
    }
}

impl Connection {
    fn open(poll: &Poll, address: SocketAddr, index: usize) -> anyhow::Result<Self> {
        let stream =
            std::net::TcpStream::connect(address).with_context(|| format!("connecting to {address}"))?;
        stream.set_nonblocking(true)?;
        stream.set_nodelay(true)?;
        let mut stream = TcpStream::from_std(stream);
        poll.registry().register(&mut stream, Token(index), Interest::READABLE | Interest::WRITABLE)?;
        Ok(Self { stream, request: 0, sent: 0, since: Instant::now(), reply: vec![0; 64 << 10], filled: 0 })
    }

    /// Takes the next request.
    fn begin(&mut self, requests: &Requests, next: &mut usize) -> anyhow::Result<()> {
        self.request = *next;
        *next += 1;
        (self.sent, self.filled, self.since) = (0, 0, Instant::now());
        self.send(requests)
    }

    /// Sends what the connection takes of the request's rest.
    fn send(&mut self, requests: &Requests) -> anyhow::Result<()> {
        let (bytes, _) = requests.get(self.request);
        if self.sent < bytes.len() {
            self.sent += self.write(&bytes[self.sent..])?;
        }
        Ok(())
    }

    /// Sends what the connection takes of `bytes`, and returns how many these are.
    fn write(&mut self, bytes: &[u8]) -> anyhow::Result<usize> {
        let mut sent = 0;
        while sent < bytes.len() {
            match self.stream.write(&bytes[sent..]) {
                Ok(more) => sent += more,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(error).context("sending a request"),
            }
        }
        Ok(sent)
    }

    /// Reads what is there of the reply. A read that does not fill the buffer has emptied the socket: the next byte
    /// is another event.
    fn receive(&mut self) -> anyhow::Result<Reply> {
        loop {
            if self.filled == self.reply.len() {
                self.reply.resize(self.reply.len() * 2, 0);
            }
            let room = self.reply.len() - self.filled;
            match self.stream.read(&mut self.reply[self.filled..]) {
                Ok(0) => return self.look(true),
                Ok(read) => {
                    self.filled += read;
                    if read < room {
                        return self.look(false);
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(Reply::Partial),
                Err(error) => return Err(error).context("reading a reply"),
            }
        }
    }

    fn look(&self, ended: bool) -> anyhow::Result<Reply> {
        let reply = &self.reply[..self.filled];
        let Some(head) = memmem::find(reply, b"\r\n\r\n") else {
            if ended {
                bail!("the server closed a connection before it replied");
            }
            return Ok(Reply::Partial);
        };
        let status = reply.get(9..12).unwrap_or_default();
        let body = reply.len() - head - 4;
        let length = header(&reply[..head + 2], b"content-length: ")
            .map(|value| std::str::from_utf8(value).unwrap_or_default().trim().parse::<usize>())
            .transpose()
            .context("the reply's Content-Length")?;
        // Without a length, the connection's end is the body's.
        let whole = length.map_or(ended, |length| body >= length);
        if ended && !whole {
            bail!("the server closed a connection within a reply");
        }
        if !whole {
            return Ok(Reply::Partial);
        }
        if status != b"200" {
            bail!("the server replied {}", String::from_utf8_lossy(reply));
        }
        let closes = ended
            || reply.starts_with(b"HTTP/1.0")
            || header(&reply[..head + 2], b"connection: ").is_some_and(|value| value == b"close");
        Ok(Reply::Whole(body, closes))
    }
}

/// Sends one request on a connection of its own, and returns the body of its reply.
///
/// # Errors
/// A server that cannot be reached or answers anything but 200.
pub(crate) fn probe(address: SocketAddr, request: &[u8]) -> anyhow::Result<Vec<u8>> {
    let mut poll = Poll::new()?;
    let mut events = Events::with_capacity(1);
    let mut connection = Connection::open(&poll, address, 0)?;
    let mut sent = 0;
    loop {
        poll.poll(&mut events, Some(PATIENCE)).context("waiting for a reply")?;
        if events.is_empty() {
            bail!("{address} did not reply for {} s", PATIENCE.as_secs());
        }
        sent += connection.write(&request[sent..])?;
        if let Reply::Whole(body, _) = connection.receive()? {
            return Ok(connection.reply[connection.filled - body..connection.filled].to_vec());
        }
    }
}

/// A header's value: the servers that are measured write names in lower case or in capitals at each word's beginning.
fn header<'h>(head: &'h [u8], name: &[u8]) -> Option<&'h [u8]> {
    // The colon and the space are rare enough to look for, and the same in every spelling.
    let mut lines = memmem::find_iter(head, b"\r\n").map(|end| end + 2);
    lines.find_map(|start| {
        let line = head.get(start..start + name.len())?;
        let value = &head[start + name.len()..];
        line.eq_ignore_ascii_case(name).then(|| &value[..memchr::memchr(b'\r', value).unwrap_or(value.len())])
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_are_found_in_every_spelling() {
        let check = |head: &str, expect: Option<&str>| {
            let found = header(head.as_bytes(), b"content-length: ");
            assert_eq!(found, expect.map(str::as_bytes), "{head}");
        };
        check("HTTP/1.1 200 OK\r\ncontent-length: 12\r\n", Some("12"));
        check("HTTP/1.1 200 OK\r\nDate: x\r\nContent-Length: 7\r\nServer: y\r\n", Some("7"));
        check("HTTP/1.1 200 OK\r\nDate: content-length: 3\r\n", None);
        check("HTTP/1.1 200 OK\r\n", None);
    }
}
