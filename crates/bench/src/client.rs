//! A client of Syncline's API for what a bench sets up and looks at: one connection, one request at a time.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context, bail};
use serde_json::Value;
use syncline_seams::{Clock as _, SystemClock};

use crate::requests::Signer;

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// A key, and a connection that is kept.
#[derive(Debug)]
pub(crate) struct Client {
    signer: Signer,
    address: SocketAddr,
    connection: Option<BufReader<TcpStream>>,
}

impl Client {
    /// Calls the server that the signer names.
    pub(crate) fn new(signer: Signer, address: SocketAddr) -> Self {
        Self { signer, address, connection: None }
    }

    /// Calls an operation of the AWS API.
    ///
    /// # Errors
    /// A server that cannot be reached or answers anything but success.
    pub(crate) fn operation(&mut self, operation: &str, input: &Value) -> anyhow::Result<Value> {
        let request = self.signer.request(SystemClock.now_ms(), operation, &input.to_string());
        self.send(&request).with_context(|| operation.to_owned())
    }

    /// Posts to the REST API.
    ///
    /// # Errors
    /// Those of [`Client::operation`].
    pub(crate) fn post(&mut self, path: &str, input: &Value) -> anyhow::Result<Value> {
        let request = self.signer.signed(SystemClock.now_ms(), "POST", path, "-", &input.to_string());
        self.send(&request).with_context(|| path.to_owned())
    }

    fn send(&mut self, request: &str) -> anyhow::Result<Value> {
        let is_new = self.connection.is_none();
        match self.exchange(request) {
            // One that was kept may have been closed for being idle; requests of a bench may be sent twice.
            Err(_) if !is_new && self.connection.is_none() => self.exchange(request),
            done => done,
        }
    }

    fn exchange(&mut self, request: &str) -> anyhow::Result<Value> {
        let mut connection = match self.connection.take() {
            Some(connection) => connection,
            None => {
                let stream = TcpStream::connect(self.address)?;
                stream.set_nodelay(true)?;
                stream.set_read_timeout(Some(PATIENCE))?;
                BufReader::new(stream)
            }
        };
        connection.get_mut().write_all(request.as_bytes())?;
        let (status, body) = answer(&mut connection)?;
        self.connection = Some(connection);
        let text = String::from_utf8_lossy(&body);
        if !status.starts_with('2') {
            bail!("it answered {status}: {text}");
        }
        serde_json::from_str(&text).with_context(|| format!("not JSON: {text}"))
    }
}

/// Reads one answer: its status and its body.
pub(crate) fn answer(connection: &mut BufReader<TcpStream>) -> anyhow::Result<(String, Vec<u8>)> {
    let mut line = String::new();
    connection.read_line(&mut line)?;
    let status = line.split(' ').nth(1).with_context(|| format!("not HTTP: {line:?}"))?.to_owned();
    let mut length = 0;
    loop {
        line.clear();
        connection.read_line(&mut line)?;
        let Some((name, value)) = line.trim_end().split_once(':') else { break };
        if name.eq_ignore_ascii_case("content-length") {
            length = value.trim().parse()?;
        }
    }
    let mut body = vec![0; length];
    connection.read_exact(&mut body)?;
    Ok((status, body))
}

/// Asks for a JSON document, without a signature and on a connection of its own.
///
/// # Errors
/// A server that cannot be reached or answers anything else.
pub(crate) fn get<T: serde::de::DeserializeOwned>(address: SocketAddr, path: &str) -> anyhow::Result<T> {
    let stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let mut connection = BufReader::new(stream);
    write!(connection.get_mut(), "GET {path} HTTP/1.1\r\nHost: {address}\r\n\r\n")?;
    let (status, body) = answer(&mut connection)?;
    if status != "200" {
        bail!("{address}{path} answered {status}: {}", String::from_utf8_lossy(&body));
    }
    serde_json::from_slice(&body).with_context(|| format!("{address}{path}"))
}
