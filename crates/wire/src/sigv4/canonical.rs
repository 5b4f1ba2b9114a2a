//! The canonical request: the one text that both sides hash.

use std::fmt::Write as _;

use http::{HeaderMap, HeaderName};

use super::SignedParts;

/// The canonical request over the headers in `signed`. Bytes, because a header's value may be any.
pub(super) fn request(
    parts: SignedParts<'_>,
    signed: &[HeaderName],
    body_hash: &str,
    normalize_path: bool,
) -> Vec<u8> {
    let mut text = Vec::with_capacity(1024);
    for line in [parts.method, &path(parts.path, normalize_path), &query(parts.query)] {
        text.extend_from_slice(line.as_bytes());
        text.push(b'\n');
    }
    for name in signed {
        text.extend_from_slice(name.as_str().as_bytes());
        text.push(b':');
        push_values(&mut text, parts.headers, name);
        text.push(b'\n');
    }
    text.push(b'\n');
    for (place, name) in signed.iter().enumerate() {
        if place > 0 {
            text.push(b';');
        }
        text.extend_from_slice(name.as_str().as_bytes());
    }
    text.push(b'\n');
    text.extend_from_slice(body_hash.as_bytes());
    text
}

/// Percent-encodes the path as it was received, so that what was encoded is encoded twice.
fn path(path: &str, normalize: bool) -> String {
    let path = if normalize { normalized(path) } else { path.to_owned() };
    let mut encoded = String::with_capacity(path.len() + 8);
    percent_encode(&mut encoded, path.as_bytes(), b"/");
    if encoded.is_empty() { "/".to_owned() } else { encoded }
}

/// Resolves `.`, `..` and empty segments; a slash at the end stays.
fn normalized(path: &str) -> String {
    let mut segments: Vec<&str> = Vec::new();
    for segment in path.split('/') {
        match segment {
            "" | "." => {}
            ".." => {
                segments.pop();
            }
            _ => segments.push(segment),
        }
    }
    let directory = ["/", "/.", "/.."].iter().any(|end| path.ends_with(end)) && !segments.is_empty();
    format!("/{}{}", segments.join("/"), if directory { "/" } else { "" })
}

/// Sorts the parameters by encoded name, then encoded value.
fn query(query: &str) -> String {
    let encode = |text: &str| {
        let mut encoded = String::with_capacity(text.len());
        // A plus is a space to every parser of queries, so it is one to the signature.
        percent_encode(&mut encoded, &percent_decode(&text.replace('+', " ")), b"");
        encoded
    };
    let parameters = query.split('&').filter(|parameter| !parameter.is_empty());
    let mut parameters: Vec<(String, String)> = parameters
        .map(|parameter| {
            let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
            (encode(name), encode(value))
        })
        .collect();
    parameters.sort();
    let parameters: Vec<String> = parameters.iter().map(|(name, value)| format!("{name}={value}")).collect();
    parameters.join("&")
}

/// The values of a header, comma-separated, each trimmed and with runs of spaces as one.
fn push_values(text: &mut Vec<u8>, headers: &HeaderMap, name: &HeaderName) {
    for (i, value) in headers.get_all(name).iter().enumerate() {
        if i > 0 {
            text.push(b',');
        }
        if !value.as_bytes().contains(&b' ') {
            text.extend_from_slice(value.as_bytes());
            continue;
        }
        let start = text.len();
        for &b in value.as_bytes() {
            if b != b' ' || text[start..].last().is_some_and(|&last| last != b' ') {
                text.push(b);
            }
        }
        if text[start..].last() == Some(&b' ') {
            text.pop();
        }
    }
}

/// Encodes all but RFC 3986's unreserved characters and those in `kept`.
fn percent_encode(encoded: &mut String, bytes: &[u8], kept: &[u8]) {
    for &b in bytes {
        if b.is_ascii_alphanumeric() || b"-._~".contains(&b) || kept.contains(&b) {
            encoded.push(char::from(b));
        } else {
            // Writing to a String cannot fail.
            let _ = write!(encoded, "%{b:02X}");
        }
    }
}

/// Decodes `%XX`; what is no such triple stays.
pub(super) fn percent_decode(text: &str) -> Vec<u8> {
    let bytes = text.as_bytes();
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut i = 0;
    while let Some(&b) = bytes.get(i) {
        let hex = bytes.get(i + 1..i + 3).filter(|hex| b == b'%' && hex.iter().all(u8::is_ascii_hexdigit));
        let value = hex.and_then(|hex| u8::from_str_radix(std::str::from_utf8(hex).ok()?, 16).ok());
        decoded.push(value.unwrap_or(b));
        i += if value.is_some() { 3 } else { 1 };
    }
    decoded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_normalised_and_encoded_once_more() {
        let check = |given: &str, expect: &str| assert_eq!(path(given, true), expect, "{given}");
        check("", "/");
        check("/", "/");
        check("//", "/");
        check("/a/./b/../c", "/a/c");
        check("/a/..", "/");
        check("/a/b/..", "/a/");
        check("/../a", "/a");
        check("//a//", "/a/");
        check("/a%20b", "/a%2520b");
        check("/ሴ", "/%E1%88%B4");
        assert_eq!(path("//a/../b", false), "//a/../b");
    }

    #[test]
    fn queries_are_decoded_encoded_and_sorted() {
        let check = |given: &str, expect: &str| assert_eq!(query(given), expect, "{given}");
        check("", "");
        check("b=2&a=1&a=0&&c", "a=0&a=1&b=2&c=");
        check("a=%7e&b=%2F&c=a=b", "a=~&b=%2F&c=a%3Db");
        check("a=%zz&b=%", "a=%25zz&b=%25");
        check("a=x+y&b=%2B", "a=x%20y&b=%2B");
    }
}
