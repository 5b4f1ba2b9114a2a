//! What is printed, and how: colours only where a terminal shows them, columns that line up, and nothing of
//! a server's or a repository's text that could drive the terminal.

use std::io::{self, Write as _};

use anstyle::{AnsiColor, Style};
use aws_smithy_types::date_time::{DateTime, Format};
use syncline_wire::{ResourceSyncEvent, ResourceSyncStatus, Timestamp};

pub(super) const BOLD: Style = Style::new().bold();
pub(super) const DIM: Style = Style::new().dimmed();
pub(super) const GOOD: Style = AnsiColor::Green.on_default();
pub(super) const BAD: Style = AnsiColor::Red.on_default();
pub(super) const BUSY: Style = AnsiColor::Yellow.on_default();
pub(super) const TITLE: Style = AnsiColor::Cyan.on_default().bold();

/// Prints to standard output. A reader that has gone away (`| head`) is no failure.
pub(super) fn print(text: &str) -> io::Result<()> {
    unless_gone(anstream::stdout().write_all(text.as_bytes()))
}

/// Prints to standard error.
pub(super) fn print_aside(text: &str) -> io::Result<()> {
    unless_gone(anstream::stderr().write_all(text.as_bytes()))
}

fn unless_gone(written: io::Result<()>) -> io::Result<()> {
    match written {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        other => other,
    }
}

/// The text in a style; what is printed elsewhere than on a terminal loses it again.
pub(super) fn paint(style: Style, text: &str) -> String {
    format!("{style}{text}{style:#}")
}

/// A text from elsewhere without what would move the cursor or change colours.
pub(super) fn plain(text: &str) -> String {
    text.chars().map(|c| if c.is_control() && c != '\n' { char::REPLACEMENT_CHARACTER } else { c }).collect()
}

/// The same, with every line but the first indented by `by` columns.
pub(super) fn indented(text: &str, by: usize) -> String {
    plain(text.trim_end()).replace('\n', &format!("\n{:by$}", ""))
}

/// The text's first line, cut to `width` characters.
pub(super) fn cut(text: &str, width: usize) -> String {
    let line = plain(text.lines().next().unwrap_or_default());
    if line.chars().count() <= width {
        return line;
    }
    let kept: String = line.chars().take(width.saturating_sub(1)).collect();
    format!("{}…", kept.trim_end())
}

/// Enough of a commit's id to recognize it.
pub(super) fn short(sha: &str) -> &str {
    sha.get(..12).unwrap_or(sha)
}

/// A moment of today, in UTC: `14:02:03`.
pub(super) fn time_of_day(time: Timestamp) -> String {
    date_time(time).get(11..19).unwrap_or_default().to_owned()
}

/// A moment in UTC: `2026-11-23 14:02:03Z`.
pub(super) fn date_time(time: Timestamp) -> String {
    let whole_seconds = time.epoch_ms().div_euclid(1000);
    match DateTime::from_secs(whole_seconds).fmt(Format::DateTime) {
        Ok(text) => text.replacen('T', " ", 1),
        Err(_) => time.to_string(),
    }
}

/// How a status looks.
pub(super) fn style_of(status: ResourceSyncStatus) -> Style {
    match status {
        ResourceSyncStatus::Succeeded => GOOD,
        ResourceSyncStatus::Failed => BAD,
        ResourceSyncStatus::Initiated | ResourceSyncStatus::InProgress => BUSY,
    }
}

/// An event with when it was: good news and bad news stand out, the rest is a quiet list.
pub(super) fn event_line(when: &str, event: &ResourceSyncEvent, text: &str) -> String {
    let style = match &*event.r#type {
        "SUCCEEDED" | "RECOVERED" => GOOD,
        "FAILED" | "CHANGE_SET_FAILED" | "INVALID_FILE" | "BLOCKER_RAISED" => BAD,
        "RETRYING" | "STACK_BUSY" | "SUPERSEDED" | "STACK_CHANGED_OUTSIDE" => BUSY,
        _ => Style::new(),
    };
    let kind = plain(&event.r#type);
    let text = indented(text, when.chars().count() + 25);
    format!("  {}  {}  {text}\n", paint(DIM, when), paint(style, &format!("{kind:<19}")))
}

/// Rows in columns, each as wide as its widest text; the first row is the heading.
pub(super) fn table(rows: &[Vec<(Style, String)>]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| {
        rows.iter().filter_map(|row| row.get(column)).map(|(_, text)| text.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let mut out = String::new();
    for row in rows {
        let last = row.len().saturating_sub(1);
        for (column, (style, text)) in row.iter().enumerate() {
            out.push_str(&paint(*style, text));
            if column < last {
                let gap = widths[column] - text.chars().count() + 2;
                out.push_str(&" ".repeat(gap));
            }
        }
        out.push('\n');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up_whatever_their_colours() {
        let row = |cells: [&str; 3]| cells.map(|text| (GOOD, text.to_owned())).to_vec();
        let text = table(&[row(["NAME", "A", "B"]), row(["x", "étoile", "-"]), row(["longer", "", "end"])]);
        let text = anstream::adapter::strip_str(&text).to_string();
        assert_eq!(text, "NAME    A       B\nx       étoile  -\nlonger          end\n");
    }

    #[test]
    fn foreign_text_cannot_drive_the_terminal() {
        let check = |text: &str, expect: &str| assert_eq!(plain(text), expect);
        check("two\nlines", "two\nlines");
        check("\u{1b}]0;title\u{7}", "\u{fffd}]0;title\u{fffd}");
        check("a\rb\u{9b}31m", "a\u{fffd}b\u{fffd}31m");
        assert_eq!(cut("\u{1b}[2Jfirst\nsecond", 4), "\u{fffd}[2…");
        assert_eq!(cut("short", 5), "short");
        assert_eq!(indented("a\nb\n", 2), "a\n  b");
    }

    #[test]
    fn moments_are_in_utc() {
        let time = Timestamp::from_epoch_ms(1_700_000_000_987);
        assert_eq!(date_time(time), "2023-11-14 22:13:20Z");
        assert_eq!(time_of_day(time), "22:13:20");
    }
}
