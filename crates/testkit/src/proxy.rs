//! An HTTP proxy as companies put one before the internet: it leads where CONNECT asks, hands on what is asked in absolute
//! form, resolves names itself, and wants a login if told to.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// The longest head of a request, in bytes.
const MAX_HEAD_BYTES: usize = 64 * 1024;

/// What goes wrong with a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProxyFault {
    /// It is answered with this status.
    Status(u16),
    /// It is never answered.
    Hang,
    /// Its connection is closed.
    Close,
}

#[derive(Debug, Default)]
struct Memory {
    login: Option<String>,
    names: BTreeMap<String, SocketAddr>,
    faults: VecDeque<ProxyFault>,
    asked: Vec<String>,
    misunderstood: Vec<String>,
}

/// A proxy on loopback, until it is dropped.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    memory: Arc<Mutex<Memory>>,
    serving: JoinHandle<()>,
}

impl Proxy {
    /// Starts one that leads to addresses, and to names once it is told [where](Self::lead) they are.
    ///
    /// # Panics
    /// Without a free port.
    pub async fn start() -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a free port");
        let address = listener.local_addr().expect("an address");
        let memory = Arc::<Mutex<Memory>>::default();
        let of_connections = Arc::clone(&memory);
        let serving = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                drop(tokio::spawn(attend(stream, Arc::clone(&of_connections))));
            }
        });
        Self { address, memory, serving }
    }

    /// Where it is, for whoever logs in so: `user:password@`, percent-encoded, or nothing.
    #[must_use]
    pub fn url(&self, login: &str) -> String {
        format!("http://{login}{}", self.address)
    }

    /// Leads nobody anywhere from now on who is not this user.
    pub fn require_login(&self, user: &str, password: &str) {
        self.memory().login = Some(format!("Basic {}", STANDARD.encode(format!("{user}:{password}"))));
    }

    /// Resolves `name:port`.
    pub fn lead(&self, name: &str, to: SocketAddr) {
        self.memory().names.insert(name.to_owned(), to);
    }

    /// Goes wrong at the next request; several faults, one after the other.
    pub fn fail(&self, fault: ProxyFault) {
        self.memory().faults.push_back(fault);
    }

    /// What it was asked, oldest first: method and `host:port`.
    #[must_use]
    pub fn asked(&self) -> Vec<String> {
        self.memory().asked.clone()
    }

    fn memory(&self) -> MutexGuard<'_, Memory> {
        of(&self.memory)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.serving.abort();
        let misunderstood = std::mem::take(&mut self.memory().misunderstood);
        if !std::thread::panicking() {
            assert!(misunderstood.is_empty(), "what no proxy understands: {misunderstood:#?}");
        }
    }
}

fn of(memory: &Mutex<Memory>) -> MutexGuard<'_, Memory> {
    memory.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What becomes of a request.
enum Verdict {
    /// It is led there.
    Lead(SocketAddr),
    /// It is refused with this status.
    Refuse(u16),
    Hang,
    Close,
}

/// A request's method and `host:port`, and what becomes of it.
fn judge(memory: &mut Memory, head: &str) -> (bool, Verdict) {
    let mut words = head.lines().next().unwrap_or_default().split(' ');
    let (method, target) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let authority = match method {
        "CONNECT" => Some(target.to_owned()),
        _ => target.strip_prefix("http://").map(|rest| {
            let authority = rest.split('/').next().unwrap_or_default();
            if authority.contains(':') { authority.to_owned() } else { format!("{authority}:80") }
        }),
    };
    let is_connect = method == "CONNECT";
    let Some(authority) = authority.filter(|authority| authority.contains(':')) else {
        memory.misunderstood.push(head.to_owned());
        return (is_connect, Verdict::Refuse(400));
    };
    memory.asked.push(format!("{method} {authority}"));
    match memory.faults.pop_front() {
        None => {}
        Some(ProxyFault::Status(status)) => return (is_connect, Verdict::Refuse(status)),
        Some(ProxyFault::Hang) => return (is_connect, Verdict::Hang),
        Some(ProxyFault::Close) => return (is_connect, Verdict::Close),
    }
    let header = |wanted: &str| {
        let found = head.lines().filter_map(|line| line.split_once(':'));
        let mut found = found.filter(|(name, _)| name.eq_ignore_ascii_case(wanted));
        found.next().map(|(_, value)| value.trim().to_owned())
    };
    if memory.login.is_some() && header("proxy-authorization") != memory.login {
        return (is_connect, Verdict::Refuse(407));
    }
    // What is meant for the host must not be told the proxy.
    if is_connect && header("authorization").is_some() {
        memory.misunderstood.push(head.to_owned());
    }
    let to = memory.names.get(&authority).copied().or_else(|| authority.parse().ok());
    (is_connect, to.map_or(Verdict::Refuse(502), Verdict::Lead))
}

/// Answers one connection's first request; what follows is for whoever it leads to.
async fn attend(mut stream: TcpStream, memory: Arc<Mutex<Memory>>) {
    let mut read = Vec::new();
    let end = loop {
        if let Some(end) = read.windows(4).position(|four| four == b"\r\n\r\n") {
            break end + 4;
        }
        if read.len() > MAX_HEAD_BYTES || stream.read_buf(&mut read).await.unwrap_or(0) == 0 {
            return;
        }
    };
    let (is_connect, verdict) = judge(&mut of(&memory), &String::from_utf8_lossy(&read[..end]));
    let address = match verdict {
        Verdict::Lead(address) => address,
        Verdict::Hang => return std::future::pending().await,
        Verdict::Close => return,
        Verdict::Refuse(status) => {
            let challenge = if status == 407 { "proxy-authenticate: Basic realm=\"out\"\r\n" } else { "" };
            let answer = format!(
                "HTTP/1.1 {status} No\r\n{challenge}content-length: 3\r\nconnection: close\r\n\r\nno\n"
            );
            let _ = stream.write_all(answer.as_bytes()).await;
            return;
        }
    };
    let Ok(mut beyond) = TcpStream::connect(address).await else {
        let _ = stream.write_all(b"HTTP/1.1 502 Nobody there\r\ncontent-length: 0\r\n\r\n").await;
        return;
    };
    let begun = if is_connect {
        let open = stream.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n").await;
        open.and(beyond.write_all(&read[end..]).await)
    } else {
        // Servers take the absolute form, too.
        beyond.write_all(&read).await
    };
    if begun.is_ok() {
        let _ = copy_bidirectional(&mut stream, &mut beyond).await;
    }
}
