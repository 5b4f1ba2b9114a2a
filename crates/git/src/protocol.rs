//! The words of Git's protocol v2 (gitprotocol-v2(5), gitprotocol-common(5)), without any network.

use syncline_model::names::BranchName;

/// More branches than this are asked for by their common prefix.
const MAX_PREFIXES: usize = 500;

/// The longest pkt-line, its length included (gitprotocol-common(5)).
pub(crate) const MAX_PACKET_BYTES: usize = 65_520;

/// What a server that speaks protocol v2 says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Capabilities {
    /// `object-format=…` as it was told; a server of another format than the one it is asked in refuses.
    pub(crate) object_format: Option<String>,
    /// Whether it gives out single commits without history.
    pub(crate) can_deepen: bool,
    /// Whether it gives out commits without files.
    pub(crate) can_filter: bool,
}

/// One pkt-line.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Packet<'a> {
    /// A line, or other bytes.
    Data(&'a [u8]),
    /// The end of a message.
    Flush,
    /// The end of a message's section.
    Delimiter,
}

/// An answer that no server speaking protocol v2 gives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Malformed;

/// The first packet of `bytes` and what follows it; `None` if there is not all of one.
pub(crate) fn packet(bytes: &[u8]) -> Result<Option<(Packet<'_>, &[u8])>, Malformed> {
    let Some((digits, rest)) = bytes.split_at_checked(4) else { return Ok(None) };
    let length = std::str::from_utf8(digits)
        .ok()
        .filter(|digits| digits.bytes().all(|digit| digit.is_ascii_hexdigit()))
        .and_then(|digits| usize::from_str_radix(digits, 16).ok());
    match length {
        Some(0) => Ok(Some((Packet::Flush, rest))),
        Some(1) => Ok(Some((Packet::Delimiter, rest))),
        Some(length @ 4..=MAX_PACKET_BYTES) => {
            Ok(rest.split_at_checked(length - 4).map(|(data, rest)| (Packet::Data(data), rest)))
        }
        _ => Err(Malformed),
    }
}

impl<'a> Packet<'a> {
    /// A packet of text, without its newline.
    fn line(self) -> Self {
        match self {
            Self::Data(data) => Self::Data(data.strip_suffix(b"\n").unwrap_or(data)),
            other => other,
        }
    }
}

/// A question as it is sent: its command with `capabilities`, then its arguments.
pub(crate) fn question<'a>(
    command: &str,
    capabilities: impl IntoIterator<Item = &'a str>,
    arguments: impl IntoIterator<Item = String>,
) -> String {
    let mut text = String::new();
    let mut say = |line: &str| text.push_str(&format!("{:04x}{line}\n", line.len() + 5));
    say(&format!("command={command}"));
    capabilities.into_iter().for_each(&mut say);
    text.push_str("0001");
    let mut say = |line: &str| text.push_str(&format!("{:04x}{line}\n", line.len() + 5));
    arguments.into_iter().for_each(|argument| say(&argument));
    text.push_str("0000");
    text
}

/// The question for branches that begin with those named.
pub(crate) fn ls_refs(object_format: Option<&str>, branches: &[BranchName]) -> String {
    let prefixes: Vec<String> = if branches.len() > MAX_PREFIXES {
        vec!["ref-prefix refs/heads/".to_owned()]
    } else {
        branches.iter().map(|branch| format!("ref-prefix {}", branch.full_ref())).collect()
    };
    question("ls-refs", object_format, prefixes)
}

/// The question for a pack.
pub(crate) fn fetch(object_format: Option<&str>, arguments: Vec<String>) -> String {
    question("fetch", object_format, arguments)
}

/// What the answer to `info/refs` says; `None` if it is that of a server of an older protocol.
pub(crate) fn capabilities(answer: &[u8]) -> Result<Option<Capabilities>, Malformed> {
    let mut rest = answer;
    let mut next = || -> Result<Packet<'_>, Malformed> {
        let (packet, after) = packet(rest)?.ok_or(Malformed)?;
        rest = after;
        Ok(packet.line())
    };
    let mut first = next()?;
    if matches!(first, Packet::Data(line) if line.starts_with(b"# service=")) {
        if next()? != Packet::Flush {
            return Err(Malformed);
        }
        first = next()?;
    }
    if first != Packet::Data(b"version 2") {
        return Ok(None);
    }
    let mut told = Capabilities { object_format: None, can_deepen: false, can_filter: false };
    let mut lists_refs = false;
    loop {
        match next()? {
            Packet::Data(line) => match line {
                b"ls-refs" => lists_refs = true,
                b"object-format=sha1" | b"object-format=sha256" => {
                    told.object_format = Some(String::from_utf8_lossy(line).into_owned());
                }
                _ if line.starts_with(b"ls-refs=") => lists_refs = true,
                _ if line.starts_with(b"fetch=") => {
                    let features: Vec<_> = line[6..].split(|byte| *byte == b' ').collect();
                    told.can_deepen = features.contains(&&b"shallow"[..]);
                    told.can_filter = features.contains(&&b"filter"[..]);
                }
                _ if line.starts_with(b"object-format=") => return Err(Malformed),
                _ => {}
            },
            Packet::Flush if lists_refs => return Ok(Some(told)),
            Packet::Flush | Packet::Delimiter => return Err(Malformed),
        }
    }
}

/// Whether the answer to `info/refs` of a server of an older protocol says that it gives out any object by its id
/// (gitprotocol-capabilities(5)); it has both words, or gives out commits alone.
pub(crate) fn older_gives_objects(answer: &[u8]) -> bool {
    let mut rest = answer;
    while let Ok(Some((packet, after))) = packet(rest) {
        rest = after;
        let Packet::Data(line) = packet.line() else { continue };
        // The first ref has what the server can do behind it.
        let Some(at) = line.iter().position(|byte| *byte == 0) else { continue };
        let can: Vec<_> = line[at + 1..].split(|byte| *byte == b' ').collect();
        let both = [&b"allow-tip-sha1-in-want"[..], b"allow-reachable-sha1-in-want"];
        return both.iter().all(|one| can.contains(one));
    }
    false
}

/// What the answer to [`ls_refs`] says: lines `<id> <ref>`, or why the server refuses.
pub(crate) fn listed(answer: &[u8]) -> Result<Result<Vec<String>, String>, Malformed> {
    let mut refs = Vec::new();
    let mut rest = answer;
    loop {
        let (packet, after) = packet(rest)?.ok_or(Malformed)?;
        rest = after;
        match packet.line() {
            Packet::Data(line) => {
                let line = String::from_utf8_lossy(line);
                if let Some(why) = line.strip_prefix("ERR ") {
                    return Ok(Err(why.to_owned()));
                }
                refs.push(line.into_owned());
            }
            Packet::Flush => return Ok(Ok(refs)),
            Packet::Delimiter => return Err(Malformed),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packets_are_whole_or_not_there() {
        let check = |bytes: &[u8], expect: Result<Option<(Packet<'_>, &[u8])>, Malformed>| {
            assert_eq!(packet(bytes), expect, "{}", String::from_utf8_lossy(bytes));
        };
        check(b"0009main\n0000", Ok(Some((Packet::Data(b"main\n"), b"0000"))));
        check(b"0008main", Ok(Some((Packet::Data(b"main"), b""))));
        check(b"0004", Ok(Some((Packet::Data(b""), b""))));
        check(b"0000x", Ok(Some((Packet::Flush, b"x"))));
        check(b"0001", Ok(Some((Packet::Delimiter, b""))));
        for part in [&b""[..], b"0", b"000", b"0009", b"0009main"] {
            check(part, Ok(None));
        }
        for odd in [&b"0003"[..], b"0002", b"+004", b"<!doctype html>", b"fff1", b"\xff\xff\xff\xff"] {
            check(odd, Err(Malformed));
        }
    }

    fn line(text: &str) -> String {
        format!("{:04x}{text}\n", text.len() + 5)
    }

    fn lines(texts: &[&str]) -> String {
        texts.iter().map(|text| line(text)).collect()
    }

    #[test]
    fn only_whole_announcements_of_protocol_v2_count() {
        let service = line("# service=git-upload-pack") + "0000";
        let v2 = lines(&["version 2", "agent=git/2", "ls-refs=unborn"]);
        let told = |object_format: Option<&str>, can_fetch: &str| {
            let (can_deepen, can_filter) = (can_fetch.contains("shallow"), can_fetch.contains("filter"));
            Ok(Some(Capabilities { object_format: object_format.map(str::to_owned), can_deepen, can_filter }))
        };
        let check = |answer: &str, expect| assert_eq!(capabilities(answer.as_bytes()), expect, "{answer}");
        let with = |more: &str| format!("{v2}{}0000", line(more));
        check(&format!("{service}{v2}0000"), told(None, ""));
        check(&format!("{v2}0000"), told(None, ""));
        check(&format!("{}0000", lines(&["version 2", "ls-refs"])), told(None, ""));
        check(&with("object-format=sha1"), told(Some("object-format=sha1"), ""));
        check(&with("object-format=sha256"), told(Some("object-format=sha256"), ""));
        check(&with("object-format=sha12"), Err(Malformed));
        check(&with("fetch=shallow wait-for-done filter"), told(None, "shallow filter"));
        check(&with("fetch=shallow"), told(None, "shallow"));
        check(&with("fetch"), told(None, ""));
        check(&format!("{}0000", line("version 2")), Err(Malformed));
        check(&v2, Err(Malformed));
        check(&service, Err(Malformed));
        check("", Err(Malformed));
        check(&format!("{service}{}0000", line("version 1")), Ok(None));
        let v0 = line(&format!("{} refs/heads/main", "a".repeat(40)));
        check(&format!("{service}{v0}0000"), Ok(None));
        check(v0.split_at(20).0, Err(Malformed));
    }

    #[test]
    fn an_older_server_says_whether_it_gives_out_objects() {
        let answer = |can: &str| {
            let first = line(&format!("{} refs/heads/main\0{can}", "a".repeat(40)));
            line("# service=git-upload-pack") + "0000" + &first + "0000"
        };
        let both = "multi_ack allow-tip-sha1-in-want allow-reachable-sha1-in-want filter";
        for (can, expect) in [(both, true), ("allow-tip-sha1-in-want filter", false), ("", false)] {
            assert_eq!(older_gives_objects(answer(can).as_bytes()), expect, "{can}");
        }
        assert!(!older_gives_objects(b"0000") && !older_gives_objects(b"<html>"));
    }

    #[test]
    fn questions_name_what_they_are_about() {
        let branches = |count: usize| -> Vec<BranchName> {
            (0..count).map(|number| format!("b{number}").parse().expect("a branch")).collect()
        };
        assert_eq!(
            ls_refs(Some("object-format=sha1"), &branches(2)),
            "0014command=ls-refs\n0017object-format=sha1\n0001\
             001dref-prefix refs/heads/b0\n001dref-prefix refs/heads/b1\n0000"
        );
        assert!(ls_refs(None, &branches(MAX_PREFIXES + 1)).ends_with("0001001bref-prefix refs/heads/\n0000"));
    }

    #[test]
    fn a_listing_ends_with_its_flush() {
        let main = format!("{} refs/heads/main", "a".repeat(40));
        let told = line(&main);
        let listed = |answer: &str| listed(answer.as_bytes());
        assert_eq!(listed("0000"), Ok(Ok(Vec::new())));
        assert_eq!(listed(&format!("{told}0000")), Ok(Ok(vec![main.clone()])));
        assert_eq!(listed(&line("ERR busy")), Ok(Err("busy".to_owned())));
        for odd in [told.as_str(), "", "0001", "<html>"] {
            assert_eq!(listed(odd), Err(Malformed), "{odd}");
        }
    }
}
