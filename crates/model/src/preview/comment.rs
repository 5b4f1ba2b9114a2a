//! The comment on a pull request, as Markdown.
//!
//! **Invariant:** whatever was not written here stands in code, neutralised by [`neutral`](super::escape::neutral): it mentions nobody, is no HTML,
//! ends no code and turns no text around. The comment has at most [`MAX_BYTES`] bytes, whatever it tells.

use std::fmt::Write as _;

use super::changes::write_changes;
pub use super::changes::{Change, Changes, Detail};
use super::escape::{VALUE_IN_COMMENT, code, fenced_lines, is_plain_link, quoted, short};

/// The longest comment, in bytes; Bitbucket's limit of 32,768 characters is the least of the forges'.
pub const MAX_BYTES: usize = 30_000;

/// The longest text of a whole preview, in bytes.
pub const MAX_WHOLE_BYTES: usize = 1 << 20;

/// Bytes kept for what follows the parts that may be cut.
const RESERVED_BYTES: usize = 4_000;
/// Replacements and removals that are named one by one before the table.
pub(super) const MAX_NAMED: usize = 20;

/// How much is written.
#[derive(Debug, Clone, Copy)]
pub(super) struct Extent {
    /// Bytes at the most.
    pub(super) bytes: usize,
    /// Of one value: lines, and characters of each.
    pub(super) value: (usize, usize),
}

const OF_COMMENT: Extent = Extent { bytes: MAX_BYTES, value: VALUE_IN_COMMENT };
const WHOLE: Extent = Extent { bytes: MAX_WHOLE_BYTES, value: (usize::MAX, 100_000) };

/// The text that is hidden in a preview's comment, by which it is found again. Whoever writes a pull request must not know it
/// before the comment is there, or it would be found in one of his own: the id of a preview is random, and told nowhere else
/// at the forge.
#[must_use]
pub fn marker(preview: &str) -> String {
    format!("syncline-preview {}", plain_id(preview))
}

fn plain_id(preview: &str) -> String {
    preview.chars().filter(|c| c.is_ascii_alphanumeric() || *c == '-').collect()
}

/// What a forge makes of Markdown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Markdown {
    /// HTML comments are hidden and `<details>` folds.
    WithHtml,
    /// HTML is shown as it is written (Bitbucket).
    Plain,
}

/// A comment to be written.
#[derive(Debug, Clone)]
pub struct Comment<'a> {
    /// The id of the preview that it tells of.
    pub preview: &'a str,
    /// What the forge makes of Markdown.
    pub markdown: Markdown,
    /// The stack's name.
    pub stack: &'a str,
    /// The stack's region.
    pub region: &'a str,
    /// The commit at the head of the pull request.
    pub head: &'a str,
    /// Files that both the branch and the pull request changed since they parted.
    pub both_changed: &'a [String],
    /// What it tells.
    pub tells: Tells,
    /// Where more is to be read.
    pub link: Option<&'a str>,
}

/// What a comment tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Tells {
    /// What the merge would change.
    Changes(Changes),
    /// The merge would make the stack, of resources with these names and types.
    Creates(Vec<(String, String)>),
    /// The merge would change nothing of the stack.
    Nothing,
    /// The files cannot be used, for this reason.
    Unusable(String),
    /// CloudFormation refuses them, for this reason.
    Fails(String),
    /// The stack is in a status that no change set can start from.
    Stuck(String),
    /// The template calls these macros, and such are not previewed.
    Macros(Vec<String>),
    /// The pull request does not touch the sync any more.
    Untouched,
    /// Comments were switched off, or the sync is gone.
    Off,
    /// It was closed.
    Closed,
    /// It was merged, and this became of it.
    Merged(Merged),
}

/// What became of a merge.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Merged {
    /// It waits to be synced.
    Waits,
    /// The stack is at this commit.
    Synced(String),
    /// The sync of this commit failed, for this reason.
    Failed(String, String),
    /// There was nothing to sync.
    Nothing,
}

/// The whole comment.
#[must_use]
pub fn render(comment: &Comment<'_>) -> String {
    let marker = marker(comment.preview);
    let first = match comment.markdown {
        Markdown::WithHtml => format!("<!-- {marker} -->\n"),
        Markdown::Plain => format!("[//]: # ({marker})\n\n"),
    };
    write(comment, first, OF_COMMENT)
}

/// The whole of what a comment tells, without its hidden marker, in at most [`MAX_WHOLE_BYTES`] bytes.
#[must_use]
pub fn render_whole(comment: &Comment<'_>) -> String {
    write(comment, String::new(), WHOLE)
}

/// A comment without its hidden marker.
#[must_use]
pub fn without_marker(comment: &str) -> &str {
    match comment.split_once('\n') {
        Some((first, rest)) if first.contains("syncline-preview ") => rest.trim_start_matches('\n'),
        _ => comment,
    }
}

fn write(comment: &Comment<'_>, mut text: String, extent: Extent) -> String {
    let (stack, region, head) = (code(comment.stack), code(comment.region), short(comment.head));
    let _ = write!(text, "**Syncline** · stack {stack} in {region} · ");
    let mut omitted = 0;
    match &comment.tells {
        Tells::Changes(changes) => {
            let _ = writeln!(text, "merging {head} would leave **{}**.", changes.summary());
            omitted = write_changes(&mut text, changes, comment.markdown, extent);
        }
        Tells::Creates(resources) => {
            let _ = writeln!(
                text,
                "merging {head} would **make the stack**, of **{} resources**. It does not exist yet, so this is read from the \
                 template alone.",
                resources.len()
            );
            omitted = write_resources(&mut text, resources, comment.markdown, extent);
        }
        Tells::Nothing => {
            let _ = writeln!(text, "merging {head} would **change nothing**.");
        }
        Tells::Unusable(reason) => {
            let _ = writeln!(text, "{head} **cannot be synced**: its files are not what a sync needs.\n");
            text.push_str(&quoted(reason));
        }
        Tells::Fails(reason) => {
            let _ = writeln!(text, "merging {head} **would fail**. CloudFormation says:\n");
            text.push_str(&quoted(reason));
        }
        Tells::Stuck(status) => {
            let _ = writeln!(
                text,
                "merging {head} **would fail**: the stack is in status {}, which no change set can leave.",
                code(status)
            );
        }
        Tells::Macros(names) => {
            let names: Vec<String> = names.iter().take(MAX_NAMED).map(|name| code(name)).collect();
            let _ = writeln!(
                text,
                "{head} is **not previewed**, because its template calls macros ({}), and this server runs none for a pull \
                 request.",
                names.join(", ")
            );
        }
        Tells::Untouched => {
            let _ = writeln!(text, "this pull request **does not touch** the stack's files any more.");
        }
        Tells::Off => {
            let _ = writeln!(text, "this stack is **not previewed** here any more.");
        }
        Tells::Closed => {
            let _ = writeln!(text, "**closed without a merge**: the stack was left as it is.");
        }
        Tells::Merged(Merged::Waits) => {
            let _ = writeln!(text, "**merged**, and waits to be synced.");
        }
        Tells::Merged(Merged::Synced(commit)) => {
            let _ = writeln!(text, "**merged and synced**: the stack is at {}.", short(commit));
        }
        Tells::Merged(Merged::Failed(commit, reason)) => {
            let _ = writeln!(text, "**merged, but the sync of {} failed**:\n", short(commit));
            text.push_str(&quoted(reason));
        }
        Tells::Merged(Merged::Nothing) => {
            let _ = writeln!(text, "**merged**; there was nothing to sync.");
        }
    }
    if matches!(comment.tells, Tells::Changes(_) | Tells::Creates(_) | Tells::Nothing | Tells::Fails(_)) {
        for path in comment.both_changed.iter().take(4) {
            let _ = writeln!(
                text,
                "\nThe branch has changed {} as well since this pull request left it; shown is the pull request's version.",
                code(path)
            );
        }
    }
    if omitted > 0 {
        let _ = write!(text, "\n{omitted} more lines are left out");
        let shown = format!("`syncline preview show {}` prints", plain_id(comment.preview));
        let _ = match comment.link {
            // There is no more than this.
            _ if extent.bytes == MAX_WHOLE_BYTES => writeln!(text, "."),
            Some(link) if is_plain_link(link) => {
                writeln!(text, ": [the whole preview]({link}), which {shown}.")
            }
            _ => writeln!(text, ": {shown} the whole preview."),
        };
    }
    text
}

/// Lines up to a number of bytes; counts those that did not fit.
pub(super) struct Room {
    pub(super) left: usize,
    pub(super) omitted: usize,
    pub(super) value: (usize, usize),
}

impl Room {
    pub(super) fn after(text: &str, extent: Extent) -> Self {
        let left = extent.bytes.saturating_sub(RESERVED_BYTES).saturating_sub(text.len());
        Self { left, omitted: 0, value: extent.value }
    }

    /// Adds the lines of a text from elsewhere, each after a prefix, as far as they fit.
    pub(super) fn add_fenced(&mut self, text: &mut String, prefix: &str, value: &str) {
        fenced_lines(prefix, value, self.value).iter().for_each(|line| self.add(text, line));
    }

    /// Adds a line if it fits; once one did not, none does.
    pub(super) fn add(&mut self, text: &mut String, line: &str) {
        if self.omitted > 0 || line.len() + 1 > self.left {
            self.omitted += 1;
            return;
        }
        self.left -= line.len() + 1;
        text.push_str(line);
        text.push('\n');
    }
}

pub(super) fn open_fold(text: &mut String, title: &str, markdown: Markdown) {
    let _ = match markdown {
        Markdown::WithHtml => writeln!(text, "\n<details><summary>{title}</summary>\n"),
        Markdown::Plain => writeln!(text, "\n{title}:\n"),
    };
}

pub(super) fn close_fold(text: &mut String, markdown: Markdown) {
    if markdown == Markdown::WithHtml {
        text.push_str("\n</details>\n");
    }
}

/// Writes the resources of a stack to be; how many had no room.
fn write_resources(
    text: &mut String,
    resources: &[(String, String)],
    markdown: Markdown,
    extent: Extent,
) -> usize {
    if resources.is_empty() {
        return 0;
    }
    open_fold(text, &format!("All {} resources", resources.len()), markdown);
    text.push_str("| Resource | Type |\n|---|---|\n");
    let mut room = Room::after(text, extent);
    for (logical_id, kind) in resources {
        room.add(text, &format!("| {} | {} |", code(logical_id), code(kind)));
    }
    close_fold(text, markdown);
    room.omitted
}
