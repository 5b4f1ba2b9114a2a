//! Texts from elsewhere, as they may stand in a comment: in code, and harmless there.

/// The longest name that is shown, in characters.
pub(crate) const MAX_NAME_CHARS: usize = 120;
/// What is shown of a value in a comment at the most: lines, and characters of each.
pub(crate) const VALUE_IN_COMMENT: (usize, usize) = (40, 300);
/// The longest reason that is shown, in characters.
const MAX_REASON_CHARS: usize = 2_000;

/// A text from elsewhere as it may stand in code: no forge takes a part of it for a mention, for HTML or for the end of the
/// code; it has no control characters, and none that turn the direction of text or are not seen. Line ends stay.
#[must_use]
pub fn neutral(text: &str) -> String {
    let mut clean = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\n' => clean.push('\n'),
            '\t' => clean.push(' '),
            '@' | '<' | '`' => clean.extend([c, '\u{200b}']),
            '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' => {}
            '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{e0000}'..='\u{e007f}' => {}
            c if c.is_control() => {}
            c => clean.push(c),
        }
    }
    clean
}

/// The first characters of a text.
pub(crate) fn cut(text: &str, most: usize) -> String {
    match text.char_indices().nth(most) {
        Some((at, _)) => format!("{}…", &text[..at]),
        None => text.to_owned(),
    }
}

/// A text from elsewhere, as code within a line, in a table or elsewhere.
pub(crate) fn code(text: &str) -> String {
    let one_line: String = cut(text, MAX_NAME_CHARS).split_whitespace().collect::<Vec<_>>().join(" ");
    // A `|` ends a cell even in code, and a backslash before one is shown by some.
    // It ends with the first backtick, whatever follows that.
    let text = neutral(&one_line.replace('`', "ˋ")).replace('|', "¦").replace('\\', "∖");
    if text.is_empty() { "(no name)".to_owned() } else { format!("`{text}`") }
}

/// Lines that stand in a fence, each after a prefix of two characters: so many, with so many characters each.
pub(crate) fn fenced_lines(prefix: &str, text: &str, (most, chars): (usize, usize)) -> Vec<String> {
    // Cut first: what follows a character that was neutralised must not be cut from it.
    let line = |line: &str| format!("{prefix}{}", neutral(&cut(line, chars)));
    let mut lines: Vec<String> = text.lines().take(most).map(line).collect();
    let more = text.lines().count().saturating_sub(most);
    if more > 0 {
        lines.push(format!("{prefix}… {more} more lines"));
    }
    lines
}

/// A text from elsewhere of several lines, in a fence of its own.
pub(crate) fn quoted(text: &str) -> String {
    let lines = fenced_lines("  ", &cut(text, MAX_REASON_CHARS), VALUE_IN_COMMENT);
    format!("```text\n{}\n```\n", lines.join("\n"))
}

/// A commit, shortened; whatever is no commit is left out.
pub(crate) fn short(commit: &str) -> String {
    let is_commit = commit.len() >= 7 && commit.bytes().all(|b| b.is_ascii_hexdigit());
    if is_commit { format!("`{}`", &commit[..7]) } else { "(unknown)".to_owned() }
}

/// Whether a link can stand in Markdown as it is.
pub(crate) fn is_plain_link(link: &str) -> bool {
    let is_plain = |b: u8| b.is_ascii_alphanumeric() || b"-._~:/?#&=%".contains(&b);
    link.len() <= 500
        && (link.starts_with("https://") || link.starts_with("http://"))
        && link.bytes().all(is_plain)
}
