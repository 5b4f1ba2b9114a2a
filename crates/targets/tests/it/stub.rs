//! An AWS endpoint that answers what a test tells it to, byte for byte, and remembers what it was asked.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use syncline_seams::{Outside, VirtualClock};
use syncline_targets::{Access, AwsSource, CloudFormation, Settings};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// 2026-11-23T00:00:00Z, when every test begins.
pub(crate) const START_MS: i64 = 1_795_392_000_000;

/// What the stub does with a request.
#[derive(Debug, Clone)]
pub(crate) enum Reply {
    /// A whole HTTP answer.
    Http { status: u16, headers: &'static str, body: String },
    /// These bytes, then the connection closes; none is a lost answer.
    Raw(Vec<u8>),
    /// Nothing, for as long as the stub lives.
    Hang,
}

impl Reply {
    /// A successful answer of `action` with `result` inside its result element.
    pub(crate) fn ok(action: &str, result: &str) -> Self {
        let body = format!(
            "<{action}Response xmlns=\"http://cloudformation.amazonaws.com/doc/2010-05-15/\">\
             <{action}Result>{result}</{action}Result>\
             <ResponseMetadata><RequestId>r-1</RequestId></ResponseMetadata></{action}Response>"
        );
        Self::Http { status: 200, headers: "content-type: text/xml\r\n", body }
    }

    /// An error as AWS words it.
    pub(crate) fn error(status: u16, code: &str, message: &str) -> Self {
        let body = format!(
            "<ErrorResponse xmlns=\"http://cloudformation.amazonaws.com/doc/2010-05-15/\">\
             <Error><Type>Sender</Type><Code>{code}</Code><Message>{message}</Message></Error>\
             <RequestId>r-1</RequestId></ErrorResponse>"
        );
        Self::Http { status, headers: "content-type: text/xml\r\n", body }
    }

    /// Credentials numbered `n` that end at `expiration` (ISO 8601).
    pub(crate) fn credentials(n: u32, expiration: &str) -> Self {
        Self::ok(
            "AssumeRole",
            &format!(
                "<Credentials><AccessKeyId>ASIA{n:016}</AccessKeyId><SecretAccessKey>secret-{n}</SecretAccessKey>\
                 <SessionToken>token-{n}</SessionToken><Expiration>{expiration}</Expiration></Credentials>"
            ),
        )
    }
}

/// A request as it came over the wire.
#[derive(Debug, Clone)]
pub(crate) struct Request {
    /// Header names in lower case, with their values.
    pub(crate) headers: HashMap<String, String>,
    /// The form's fields in the order sent.
    pub(crate) form: Vec<(String, String)>,
    /// The whole body.
    pub(crate) body: String,
}

impl Request {
    pub(crate) fn field(&self, name: &str) -> Option<&str> {
        self.form.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str())
    }

    pub(crate) fn action(&self) -> &str {
        let of_json = || self.headers.get("x-amz-target")?.split_once('.').map(|(_, action)| action);
        self.field("Action").or_else(of_json).unwrap_or_default()
    }

    /// The fields, sorted, one a line.
    pub(crate) fn fields(&self) -> String {
        let mut lines: Vec<_> = self.form.iter().map(|(name, value)| format!("{name}={value}")).collect();
        lines.sort();
        lines.join("\n")
    }
}

#[derive(Debug, Default)]
struct State {
    replies: HashMap<String, VecDeque<Reply>>,
    requests: Vec<Request>,
}

/// The stub; it stops when dropped.
#[derive(Debug)]
pub(crate) struct Stub {
    pub(crate) url: String,
    pub(crate) clock: Arc<VirtualClock>,
    state: Arc<Mutex<State>>,
    server: JoinHandle<()>,
}

impl Drop for Stub {
    fn drop(&mut self) {
        self.server.abort();
    }
}

impl Stub {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let url = format!("http://{}", listener.local_addr().expect("bound"));
        let state = Arc::<Mutex<State>>::default();
        let serving = Arc::clone(&state);
        let server = tokio::spawn(async move {
            // Connections end with the stub.
            let mut connections = tokio::task::JoinSet::new();
            while let Ok((connection, _)) = listener.accept().await {
                connections.spawn(serve(connection, Arc::clone(&serving)));
            }
        });
        Self { url, clock: Arc::new(VirtualClock::starting_at(START_MS)), state, server }
    }

    /// The next request for `action` that has no other reply yet gets this one.
    pub(crate) fn reply(&self, action: &str, reply: Reply) -> &Self {
        self.state
            .lock()
            .expect("not poisoned")
            .replies
            .entry(action.to_owned())
            .or_default()
            .push_back(reply);
        self
    }

    /// Roles can be assumed, once, for an hour.
    pub(crate) fn assumable(&self) -> &Self {
        self.reply("AssumeRole", Reply::credentials(1, "2026-11-23T01:00:00Z"))
    }

    pub(crate) fn requests(&self) -> Vec<Request> {
        self.state.lock().expect("not poisoned").requests.clone()
    }

    pub(crate) fn actions(&self) -> Vec<String> {
        self.requests().iter().map(|request| request.action().to_owned()).collect()
    }

    pub(crate) fn last(&self) -> Request {
        self.requests().pop().expect("a request was made")
    }

    pub(crate) async fn target(&self) -> CloudFormation {
        self.target_with(Outside::default(), Settings::default()).await
    }

    pub(crate) async fn target_with(&self, outside: Outside, settings: Settings) -> CloudFormation {
        let source = AwsSource::Fixed {
            endpoint_url: self.url.clone(),
            access_key_id: "AKIA0000000000000000".to_owned(),
            secret_access_key: syncline_seams::Secret::new("server-secret"),
        };
        let clock = Arc::clone(&self.clock);
        CloudFormation::new(source, outside, clock, settings).await
    }
}

/// Settings under which something that never answers is given up before long.
pub(crate) fn impatient() -> Settings {
    Settings { call_timeout: Duration::from_secs(2), ..Settings::default() }
}

pub(crate) fn access() -> Access {
    Access {
        account: "111111111111".parse().expect("valid"),
        role: "arn:aws:iam::222222222222:role/deploy".parse().expect("valid"),
        external_id: "external-1".to_owned(),
        region: "eu-west-1".parse().expect("valid"),
    }
}

async fn serve(mut connection: TcpStream, state: Arc<Mutex<State>>) {
    let mut buffer = Vec::new();
    while let Some(request) = read_request(&mut connection, &mut buffer).await {
        let action = request.action().to_owned();
        let reply = {
            let mut state = state.lock().expect("not poisoned");
            state.requests.push(request);
            state.replies.get_mut(&action).and_then(VecDeque::pop_front)
        };
        let bytes = match reply.unwrap_or_else(|| Reply::error(400, "Unscripted", &action)) {
            Reply::Http { status, headers, body } => {
                format!("HTTP/1.1 {status} X\r\n{headers}content-length: {}\r\n\r\n{body}", body.len())
                    .into_bytes()
            }
            Reply::Raw(bytes) => {
                let _ = connection.write_all(&bytes).await;
                return;
            }
            Reply::Hang => std::future::pending().await,
        };
        if connection.write_all(&bytes).await.is_err() {
            return;
        }
    }
}

/// The next request of a kept-alive connection; `None` once it is closed.
async fn read_request(connection: &mut TcpStream, buffer: &mut Vec<u8>) -> Option<Request> {
    loop {
        if let Some(head_end) = buffer.windows(4).position(|w| w == b"\r\n\r\n") {
            let head = String::from_utf8_lossy(&buffer[..head_end]).into_owned();
            let headers: HashMap<String, String> = head
                .lines()
                .skip(1)
                .filter_map(|line| line.split_once(':'))
                .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
                .collect();
            let length: usize = headers.get("content-length").map_or(0, |l| l.parse().expect("a length"));
            let end = head_end + 4 + length;
            if buffer.len() >= end {
                let form = form_urlencoded::parse(&buffer[head_end + 4..end]).into_owned().collect();
                let body = String::from_utf8_lossy(&buffer[head_end + 4..end]).into_owned();
                buffer.drain(..end);
                return Some(Request { headers, form, body });
            }
        }
        let read = connection.read_buf(buffer).await.ok()?;
        // A TLS handshake, say, is not for us.
        if read == 0 || !buffer[0].is_ascii_uppercase() {
            return None;
        }
    }
}
