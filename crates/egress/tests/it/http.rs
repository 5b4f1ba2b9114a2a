//! What is sent, to whom, how often, and what is read of the answer.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use syncline_egress::{Egress, Http, NoAnswer, NotAdmitted, Proxy};
use syncline_seams::{Outside, Secret};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpListener;

/// A server that answers each connection's requests with the next texts, and closes it after them.
struct Stranger {
    url: String,
    /// The first line and the headers of each request, and its body.
    heard: Arc<Mutex<Vec<String>>>,
}

impl Stranger {
    /// One list of answers for each connection, in their order.
    async fn answering(connections: &'static [&'static [&'static str]]) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a free port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let heard: Arc<Mutex<Vec<String>>> = Arc::default();
        let log = Arc::clone(&heard);
        drop(tokio::spawn(async move {
            for answers in connections {
                let Ok((stream, _)) = listener.accept().await else { return };
                let mut stream = BufReader::new(stream);
                for answer in *answers {
                    let (mut said, mut length) = (String::new(), 0);
                    while !said.ends_with("\r\n\r\n") {
                        if stream.read_line(&mut said).await.unwrap_or(0) == 0 {
                            break;
                        }
                        let last = said.lines().last().unwrap_or_default();
                        if let Some(value) = last.strip_prefix("content-length: ") {
                            length = value.parse().expect("a length");
                        }
                    }
                    let mut body = vec![0; length];
                    stream.read_exact(&mut body).await.expect("a body");
                    said.push_str(&String::from_utf8_lossy(&body));
                    log.lock().expect("not poisoned").push(said);
                    stream.write_all(answer.as_bytes()).await.expect("written");
                }
            }
        }));
        Self { url, heard }
    }

    fn heard(&self) -> Vec<String> {
        self.heard.lock().expect("not poisoned").clone()
    }
}

fn allowing(networks: &[&str]) -> Http {
    let networks = networks.iter().map(|network| network.parse().expect("a network")).collect();
    Http::new(Egress::new(networks, Vec::new()))
}

async fn ask(http: &Http, method: &str, url: &str) -> Result<Response<Bytes>, NoAnswer> {
    let request = Request::builder().method(method).uri(url).body(Bytes::from_static(b"{}"));
    http.send(None, request.expect("a request"), 64).await
}

const FINE: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nOK";

#[tokio::test]
async fn a_request_goes_to_its_host_and_its_answer_comes_back() {
    let stranger = Stranger::answering(&[&[FINE, FINE]]).await;
    let http = allowing(&["127.0.0.1"]);
    for _ in 0..2 {
        let answer = ask(&http, "POST", &format!("{}/a%20b?c=d", stranger.url)).await.expect("an answer");
        assert_eq!((answer.status().as_u16(), &answer.body()[..]), (200, &b"OK"[..]));
    }
    let heard = stranger.heard();
    assert_eq!(heard.len(), 2, "both on one connection");
    let host = stranger.url.trim_start_matches("http://");
    assert!(heard[0].starts_with("POST /a%20b?c=d HTTP/1.1\r\n"), "{}", heard[0]);
    assert!(heard[0].contains(&format!("\r\nhost: {host}\r\n")) && heard[0].ends_with("{}"), "{}", heard[0]);
}

#[tokio::test]
async fn redirects_are_answers() {
    let stranger =
        Stranger::answering(&[&["HTTP/1.1 302 Found\r\nlocation: /b\r\ncontent-length: 0\r\n\r\n"]]).await;
    let answer = ask(&allowing(&["127.0.0.1"]), "GET", &stranger.url).await.expect("an answer");
    assert_eq!((answer.status().as_u16(), stranger.heard().len()), (302, 1));
}

#[tokio::test]
async fn nothing_is_sent_where_it_may_not_go() {
    let stranger = Stranger::answering(&[&[FINE]]).await;
    let port = stranger.url.rsplit(':').next().expect("a port");
    let refused = async |networks: &[&str], url: &str| ask(&allowing(networks), "GET", url).await;
    for (networks, url) in [
        (&[][..], format!("http://127.0.0.1:{port}/")),
        (&[], format!("https://127.0.0.1:{port}/")),
        (&[], format!("https://[::ffff:127.0.0.1]:{port}/")),
        (&[], "https://169.254.169.254/latest".to_owned()),
        (&["127.0.0.1"], "http://1.1.1.1/".to_owned()),
    ] {
        let answer = refused(networks, &url).await;
        assert!(
            matches!(answer, Err(NoAnswer::NotAdmitted(NotAdmitted::Policy { .. }))),
            "{url}: {answer:?}"
        );
    }
    for url in ["/nowhere", "ftp://127.0.0.1/", "http://2130706433/", "http://me:pass@127.0.0.1/"] {
        let answer = refused(&["127.0.0.1"], url).await;
        assert!(matches!(answer, Err(NoAnswer::Here(_))), "{url}: {answer:?}");
        assert!(!format!("{answer:?}").contains("pass@"), "{answer:?}");
    }
    assert_eq!(stranger.heard().len(), 0);
}

#[tokio::test]
async fn where_nobody_listens_nothing_was_sent() {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a free port");
    let url = format!("http://{}/", listener.local_addr().expect("bound"));
    drop(listener);
    let unreachable = ask(&allowing(&["127.0.0.1"]), "POST", &url).await;
    assert!(matches!(unreachable, Err(NoAnswer::Unreachable(_))), "{unreachable:?}");
}

#[tokio::test]
async fn long_and_broken_answers_are_none() {
    const LONG: &str = "HTTP/1.1 200 OK\r\ncontent-length: 65\r\n\r\n\
        12345678901234567890123456789012345678901234567890123456789012345";
    let stranger =
        Stranger::answering(&[&[LONG], &["HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhalf"]]).await;
    let http = allowing(&["127.0.0.1"]);
    assert_eq!(ask(&http, "GET", &stranger.url).await.expect_err("too long"), NoAnswer::TooLong(64));
    let broken = ask(&http, "GET", &stranger.url).await;
    assert!(matches!(broken, Err(NoAnswer::Broken(_))), "{broken:?}");
}

#[tokio::test]
async fn what_may_not_be_repeated_is_sent_once() {
    // The second request of the first connection is read, and the connection closed instead of an answer.
    for (method, tellings) in [("GET", 3), ("POST", 2)] {
        let stranger = Stranger::answering(&[&[FINE, ""], &[FINE]]).await;
        let http = allowing(&["127.0.0.1"]);
        assert!(ask(&http, method, &stranger.url).await.is_ok());
        let second = ask(&http, method, &stranger.url).await;
        assert_eq!(second.is_ok(), method == "GET", "{method}: {second:?}");
        assert_eq!(stranger.heard().len(), tellings, "{method}");
    }
}

/// A client that goes through the proxy with this login before its host.
fn through(proxy: &Stranger, login: &str) -> Http {
    let url = proxy.url.replace("http://", &format!("http://{login}"));
    let proxy = Proxy::parse(&Secret::new(url)).expect("a proxy");
    let networks =
        vec!["192.0.2.0/24".parse().expect("a network"), "2001:db8::/32".parse().expect("a network")];
    Http::new(Egress::new(networks, Vec::new()).through_proxy(proxy))
}

const OPEN: &str = "HTTP/1.1 200 Connection established\r\nvia: a proxy\r\n\r\n";

#[tokio::test]
async fn everything_goes_through_the_operator_s_proxy() {
    let proxy = Stranger::answering(&[&[OPEN, FINE, FINE], &[OPEN, FINE]]).await;
    let http = through(&proxy, "me:p%40ss@");
    for path in ["/a", "/b"] {
        let answer = ask(&http, "POST", &format!("http://192.0.2.7:8080{path}")).await.expect("an answer");
        assert_eq!(&answer.body()[..], b"OK");
    }
    assert!(ask(&http, "GET", "http://[2001:db8::7]/c").await.is_ok());
    let heard = proxy.heard();
    let connect = "CONNECT 192.0.2.7:8080 HTTP/1.1\r\nhost: 192.0.2.7:8080\r\nproxy-authorization: Basic bWU6cEBzcw==\r\n\r\n";
    assert_eq!(heard[0], connect);
    // What is said through the tunnel is the peer's, without what the proxy was told.
    assert!(heard[1].starts_with("POST /a HTTP/1.1\r\n") && !heard[1].contains("proxy-"), "{}", heard[1]);
    assert!(heard[2].starts_with("POST /b HTTP/1.1\r\n"), "on the same connection: {}", heard[2]);
    assert!(heard[3].starts_with("CONNECT [2001:db8::7]:80 HTTP/1.1\r\n"), "{}", heard[3]);
}

#[tokio::test]
async fn a_proxy_that_does_not_lead_there_is_told_of_without_its_password() {
    let cases: [(&[&[&str]], &str); 7] = [
        (&[&["HTTP/1.1 407 Proxy Authentication Required\r\n\r\n"]], "wants a login, or another one"),
        (&[&["HTTP/1.1 403 Forbidden\r\ncontent-length: 4\r\n\r\nnope"]], "status 403"),
        (&[&["HTTP/1.1 502 Bad Gateway\r\n\r\n"]], "status 502"),
        (&[&["SSH-2.0-OpenSSH\r\n\r\n"]], "not HTTP"),
        (&[&[""]], "closed the connection"),
        (&[&["HTTP/1.1 200 OK\r\n"]], "closed the connection"),
        (&[&["HTTP/1.1 200 OK\r\n\r\nHTTP/1.1 200 OK\r\n\r\n"]], "before it is asked"),
    ];
    for (says, expect) in cases {
        let proxy = Stranger::answering(says).await;
        let refused = ask(&through(&proxy, "me:canary@"), "GET", "https://forge.example.com/").await;
        let refused = refused.expect_err(expect);
        assert!(matches!(refused, NoAnswer::NotAdmitted(NotAdmitted::Unresolved { .. })), "{refused:?}");
        let told = refused.to_string();
        assert!(told.contains("forge.example.com:443") && told.contains(expect), "{told}");
        assert!(!format!("{refused:?}").contains("canary"), "{refused:?}");
        assert_eq!(proxy.heard().len(), 1, "nothing is asked of whoever might be there");
    }
    let nobody = Stranger { url: "http://127.0.0.1:1".to_owned(), heard: Arc::default() };
    let refused = ask(&through(&nobody, ""), "GET", "https://forge.example.com/").await.expect_err("nobody");
    assert!(refused.to_string().contains("the egress proxy 127.0.0.1:1 cannot be reached"), "{refused}");
}

#[tokio::test]
async fn the_rules_hold_behind_a_proxy_as_far_as_they_can() {
    let proxy = Stranger::answering(&[]).await;
    for url in [
        "https://127.0.0.1/",
        "https://[::ffff:127.0.0.1]/",
        "https://169.254.169.254/latest",
        "https://10.0.0.1/",
        "https://localhost/",
        "https://me.localhost:8443/",
        "http://192.0.3.1/",
        // What is there is known to the proxy alone.
        "http://forge.example.com/",
    ] {
        let answer = ask(&through(&proxy, ""), "GET", url).await;
        let is_policy = matches!(answer, Err(NoAnswer::NotAdmitted(NotAdmitted::Policy { .. })));
        assert!(is_policy, "{url}: {answer:?}");
    }
    assert_eq!(proxy.heard().len(), 0);
}

#[tokio::test]
async fn a_proxy_that_hangs_is_waited_for_as_long_as_the_caller_says() {
    // Whoever connects is taken by the system, and never answered.
    let silent = TcpListener::bind(("127.0.0.1", 0)).await.expect("a free port");
    let url = format!("http://{}", silent.local_addr().expect("an address"));
    let proxy = Stranger { url, heard: Arc::default() };
    let http = through(&proxy, "");
    let request = Request::get("https://forge.example.com/").body(Bytes::new()).expect("a request");
    let sent = http.send(None, request, 64);
    let answer = Outside::default().call("tests.proxy", Duration::from_millis(100), sent).await;
    let told = answer.expect_err("no answer").to_string();
    assert!(told.contains("tests.proxy"), "{told}");
}
