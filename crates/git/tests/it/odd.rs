//! Servers whose answers are whole as HTTP and odd as Git's.

use syncline_git::{Egress, Git, GitError, Limits, Settings};
use syncline_seams::Outside;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use crate::world::{KEY, Way, both_ways, branch, id, remote};

both_ways! {
    an_odd_listing_is_unavailable,
    an_odd_pack_is_no_commit,
}

const ANNOUNCEMENT: &str = "application/x-git-upload-pack-advertisement";
const RESULT: &str = "application/x-git-upload-pack-result";

/// Text as pkt-lines; an empty one is a flush, `|` a delimiter.
fn packets(lines: &[&str]) -> String {
    let packet = |line: &&str| match *line {
        "" => "0000".to_owned(),
        "|" => "0001".to_owned(),
        line => format!("{:04x}{line}\n", line.len() + 5),
    };
    lines.iter().map(packet).collect()
}

fn announcement() -> String {
    let first = packets(&["# service=git-upload-pack", ""]);
    first + &packets(&["version 2", "ls-refs", "fetch=shallow filter", "object-format=sha1", ""])
}

/// A server that answers every GET and every POST of one kind with the same.
struct Odd {
    url: String,
    serving: tokio::task::JoinHandle<()>,
}

impl Odd {
    async fn serve(announced: String, listed: String, fetched: String) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a free port");
        let url = format!("http://{}/acme/infra.git", listener.local_addr().expect("its address"));
        let serving = tokio::spawn(async move {
            loop {
                let Ok((stream, _)) = listener.accept().await else { return };
                let answers = [announced.clone(), listed.clone(), fetched.clone()];
                tokio::spawn(async move { drop(converse(stream, answers).await) });
            }
        });
        Self { url, serving }
    }
}

impl Drop for Odd {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

async fn converse(mut stream: TcpStream, answers: [String; 3]) -> std::io::Result<()> {
    let [announced, listed, fetched] = answers;
    let mut read = Vec::new();
    loop {
        let text = String::from_utf8_lossy(&read).into_owned();
        let Some((head, body)) = text.split_once("\r\n\r\n") else {
            if stream.read_buf(&mut read).await? == 0 {
                return Ok(());
            }
            continue;
        };
        let length = head.lines().find_map(|line| {
            line.to_ascii_lowercase().strip_prefix("content-length:").map(|n| n.trim().parse::<usize>())
        });
        let length = length.and_then(Result::ok).unwrap_or(0);
        if body.len() < length {
            if stream.read_buf(&mut read).await? == 0 {
                return Ok(());
            }
            continue;
        }
        let (of_type, answer) = match head.starts_with("GET ") {
            true => (ANNOUNCEMENT, &announced),
            false if body.contains("command=ls-refs") => (RESULT, &listed),
            false => (RESULT, &fetched),
        };
        let head =
            format!("HTTP/1.1 200 OK\r\ncontent-type: {of_type}\r\ncontent-length: {}\r\n\r\n", answer.len());
        stream.write_all(head.as_bytes()).await?;
        stream.write_all(answer.as_bytes()).await?;
        read.clear();
    }
}

fn git(way: Way, directory: &tempfile::TempDir) -> Git {
    let mut settings = Settings::new(directory.path());
    settings.in_process = way.is_direct();
    settings.egress = Egress::new(vec!["127.0.0.1".parse().expect("a network")], Vec::new());
    settings.limits = Limits { max_heads_bytes: 100_000, ..Limits::default() };
    Git::new(settings, Outside::default())
}

async fn an_odd_listing_is_unavailable(way: Way) {
    let main = format!("{} refs/heads/main", "a".repeat(40));
    let whole = packets(&[&main, ""]);
    let long = packets(&vec![main.as_str(); 2_000]) + "0000";
    let cases = [
        ("honest", announcement(), whole.clone(), None),
        ("without an end", announcement(), packets(&[&main]), Some("")),
        ("no packets", announcement(), "<html>".to_owned(), Some("")),
        ("empty", announcement(), String::new(), Some("")),
        ("an error", announcement(), packets(&["ERR too many cooks"]), Some("too many cooks")),
        ("too long", announcement(), long, Some("exceeds 100000 bytes")),
        ("an odd id", announcement(), packets(&["x refs/heads/main", ""]), Some("points at something odd")),
        ("a section", announcement(), packets(&[&main, "|", &main, ""]), Some("")),
        ("announced without an end", packets(&["version 2", "ls-refs"]), whole.clone(), Some("")),
        ("announced at length", "0004".repeat(30_000), whole.clone(), Some("")),
        ("nothing announced", String::new(), whole, Some("")),
    ];
    for (what, announced, listed, expect) in cases {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let server = Odd::serve(announced, listed, String::new()).await;
        let git = git(way, &directory);
        for _ in 0..2 {
            let heads = git.heads(&remote(&server.url), &[branch("main")]).await;
            match (&heads, expect) {
                (Ok(heads), None) => assert_eq!(heads[&branch("main")].as_str(), "a".repeat(40)),
                (Err(GitError::Unavailable { message }), Some(text)) => {
                    assert!(message.contains(text), "{what}: {message}");
                }
                _ => panic!("{what}: {heads:?}"),
            }
        }
    }
}

async fn an_odd_pack_is_no_commit(way: Way) {
    let head = id(&"a".repeat(40));
    let shallow = format!("shallow {head}");
    let begun = packets(&["shallow-info", &shallow, "|", "packfile"]);
    let cases = [
        ("nothing", String::new()),
        ("no pack", packets(&["shallow-info", &shallow, ""])),
        ("half a pack", begun.clone() + "000d\u{1}PACK\0\0\0\u{2}"),
        ("an empty band", begun.clone() + "0004" + "0000"),
        ("an unknown band", begun.clone() + "0006\u{9}x" + "0000"),
        ("no objects", begun.clone() + "0009\u{1}PACK" + "0000"),
        ("an error on the way", begun + "0011\u{3}out of ideas" + "0000"),
        ("another section", packets(&["wanted-refs", "|", "packfile"]) + "0000"),
        ("an error", packets(&["ERR out of ideas"])),
    ];
    for (what, fetched) in cases {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let server =
            Odd::serve(announcement(), packets(&[&format!("{head} refs/heads/main"), ""]), fetched).await;
        let fetched = git(way, &directory).fetch(&remote(&server.url), KEY, &head).await;
        assert!(matches!(fetched, Err(GitError::Unavailable { .. })), "{what}: {fetched:?}");
        let mark = directory.path().join(format!("repositories/{KEY}.git/refs/syncline/{head}"));
        assert!(!mark.exists(), "{what}");
    }
}
