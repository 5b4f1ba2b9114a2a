//! What a plain scalar is: the implicit types of YAML 1.1 as PyYAML and SnakeYAML resolve them.
//!
//! CloudFormation and cfn-lint both read YAML 1.1, where `yes` and `off` are booleans, `017` is octal, `1e3` is text
//! (a float has a dot and a signed exponent) and `22:30` is a number in base 60. What a scalar *is* decides only what is
//! accepted; what is sent is the text as written.

use crate::Kind;

/// Resolves an untagged plain scalar.
pub(crate) fn resolve(text: &str) -> Kind {
    if is_null(text) {
        Kind::Null
    } else if let Some(value) = as_bool(text) {
        Kind::Bool { value, text: text.to_owned() }
    } else if is_integer(text) || is_float(text) {
        Kind::Number { text: text.to_owned() }
    } else {
        Kind::String(text.to_owned())
    }
}

pub(crate) fn is_null(text: &str) -> bool {
    matches!(text, "" | "~" | "null" | "Null" | "NULL")
}

pub(crate) fn as_bool(text: &str) -> Option<bool> {
    match text {
        "yes" | "Yes" | "YES" | "true" | "True" | "TRUE" | "on" | "On" | "ON" => Some(true),
        "no" | "No" | "NO" | "false" | "False" | "FALSE" | "off" | "Off" | "OFF" => Some(false),
        _ => None,
    }
}

fn unsigned(text: &str) -> &str {
    text.strip_prefix(['-', '+']).unwrap_or(text)
}

fn all(text: &str, wanted: impl Fn(u8) -> bool) -> bool {
    !text.is_empty() && text.bytes().all(|b| b == b'_' || wanted(b))
}

pub(crate) fn is_integer(text: &str) -> bool {
    let digits = unsigned(text);
    if digits == "0" {
        return true;
    }
    if let Some(binary) = digits.strip_prefix("0b") {
        return all(binary, |b| matches!(b, b'0' | b'1'));
    }
    if let Some(hex) = digits.strip_prefix("0x") {
        return all(hex, |b| b.is_ascii_hexdigit());
    }
    if let Some(octal) = digits.strip_prefix('0') {
        return all(octal, |b| matches!(b, b'0'..=b'7'));
    }
    let (first, sixties) = match digits.split_once(':') {
        Some((first, rest)) => (first, Some(rest)),
        None => (digits, None),
    };
    first.starts_with(|c: char| c.is_ascii_digit())
        && all(first, |b| b.is_ascii_digit())
        && sixties.is_none_or(|rest| rest.split(':').all(is_sixtieth))
}

/// `0` to `59`, with one digit or two.
fn is_sixtieth(text: &str) -> bool {
    match text.as_bytes() {
        [ones] => ones.is_ascii_digit(),
        [tens, ones] => matches!(tens, b'0'..=b'5') && ones.is_ascii_digit(),
        _ => false,
    }
}

pub(crate) fn is_float(text: &str) -> bool {
    let number = unsigned(text);
    if matches!(number, ".inf" | ".Inf" | ".INF") || matches!(text, ".nan" | ".NaN" | ".NAN") {
        return true;
    }
    let Some((whole, rest)) = number.split_once('.') else { return false };
    let (fraction, exponent) = match rest.split_once(['e', 'E']) {
        Some((fraction, exponent)) => (fraction, Some(exponent)),
        None => (rest, None),
    };
    let exponent_ok = exponent.is_none_or(|e| {
        e.strip_prefix(['-', '+']).is_some_and(|d| !d.is_empty() && d.bytes().all(|b| b.is_ascii_digit()))
    });
    let fraction_ok = fraction.is_empty() || all(fraction, |b| b.is_ascii_digit());
    if !exponent_ok || !fraction_ok {
        return false;
    }
    if whole.is_empty() {
        // PyYAML takes no sign before a bare dot.
        return number.len() == text.len() && fraction.starts_with(|c: char| c.is_ascii_digit());
    }
    let (first, sixties) = match whole.split_once(':') {
        Some((first, rest)) => (first, Some(rest)),
        None => (whole, None),
    };
    first.starts_with(|c: char| c.is_ascii_digit())
        && all(first, |b| b.is_ascii_digit())
        && sixties.is_none_or(|rest| exponent.is_none() && rest.split(':').all(is_sixtieth))
}

/// Whether a plain scalar that [`resolve`] calls a string has a type of its own in YAML 1.1 for which a tree has no
/// kind: a timestamp, `=` (the default value) or `<<` (a merge).
pub(crate) fn is_no_string(text: &str) -> bool {
    matches!(text, "=" | "<<") || is_timestamp(text)
}

/// `2024-01-31`, or a date and a time such as `2024-1-31 1:02:03.5 +02:00`.
fn is_timestamp(text: &str) -> bool {
    let Some((year, rest)) = digits(text, 4, 4) else { return false };
    let month = rest.strip_prefix('-').and_then(|rest| digits(rest, 1, 2));
    let Some((month, rest)) = month else { return false };
    let day = rest.strip_prefix('-').and_then(|rest| digits(rest, 1, 2));
    let Some((day, rest)) = day else { return false };
    if rest.is_empty() {
        return year.len() + month.len() + day.len() == 8;
    }
    let time = rest.strip_prefix(['T', 't']).or_else(|| {
        let time = rest.trim_start_matches([' ', '\t']);
        (time.len() < rest.len()).then_some(time)
    });
    time.is_some_and(is_time)
}

/// `1:02:03`, with a fraction and a zone or without.
fn is_time(text: &str) -> bool {
    let Some((_, rest)) = digits(text, 1, 2) else { return false };
    let minutes = rest.strip_prefix(':').and_then(|rest| digits(rest, 2, 2));
    let Some((_, rest)) = minutes else { return false };
    let seconds = rest.strip_prefix(':').and_then(|rest| digits(rest, 2, 2));
    let Some((_, rest)) = seconds else { return false };
    let rest = match rest.strip_prefix('.') {
        Some(fraction) => fraction.trim_start_matches(|c: char| c.is_ascii_digit()),
        None => rest,
    };
    if rest.is_empty() {
        return true;
    }
    let zone = rest.trim_start_matches([' ', '\t']);
    if zone == "Z" {
        return true;
    }
    let Some((_, rest)) = zone.strip_prefix(['-', '+']).and_then(|zone| digits(zone, 1, 2)) else {
        return false;
    };
    rest.is_empty()
        || rest.strip_prefix(':').and_then(|rest| digits(rest, 2, 2)).is_some_and(|(_, rest)| rest.is_empty())
}

/// Splits off the leading digits, when there are `least` to `most` of them.
fn digits(text: &str, least: usize, most: usize) -> Option<(&str, &str)> {
    let count = text.bytes().take_while(u8::is_ascii_digit).count();
    (least..=most).contains(&count).then(|| text.split_at(count))
}
