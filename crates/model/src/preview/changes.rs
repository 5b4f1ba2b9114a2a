//! The changes of a change set, as a comment shows them: counted, named, in a table, and line by line.

use std::fmt::Write as _;

use super::comment::{Extent, MAX_NAMED, Markdown, Room, close_fold, open_fold};
use super::escape::{MAX_NAME_CHARS, code, cut};
use super::values::{Shown, Sight};

/// A change as CloudFormation describes it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Change {
    /// `Add`, `Modify`, `Remove`, `Import` or `Dynamic`.
    pub action: String,
    /// The resource's name in the template.
    pub logical_id: String,
    /// The resource's type.
    pub resource_type: String,
    /// `True`, `False` or `Conditional`, of `Modify`.
    pub replacement: Option<String>,
    /// What becomes of the resource that is removed or replaced.
    pub policy_action: Option<String>,
    /// `Properties`, `Tags`, `Metadata` and so on.
    pub scope: Vec<String>,
    /// What is known of each.
    pub details: Vec<Detail>,
}

/// What changes in a resource.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Detail {
    /// The property, if it is one.
    pub property: Option<String>,
    /// Where in the resource, as `/Properties/Tags/0/Value`.
    pub path: Option<String>,
    /// What is there before, as text or JSON.
    pub before: Option<String>,
    /// What is there after.
    pub after: Option<String>,
    /// What causes the change.
    pub cause: Option<String>,
}

/// A property or parameter that changes, as it may be shown.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Line {
    name: String,
    before: Shown,
    after: Shown,
}

/// A change as it may be shown.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Row {
    kind: What,
    logical_id: String,
    resource_type: String,
    why: String,
    lines: Vec<Line>,
}

/// What happens to a resource; the gravest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum What {
    Replace,
    Remove,
    MayReplace,
    Modify,
    Add,
    Other,
}

impl What {
    const ALL: [Self; 6] =
        [Self::Replace, Self::Remove, Self::MayReplace, Self::Modify, Self::Add, Self::Other];

    fn of(change: &Change) -> Self {
        match (&*change.action, change.replacement.as_deref()) {
            ("Modify", Some("True")) => Self::Replace,
            ("Modify", Some("Conditional")) => Self::MayReplace,
            ("Modify", _) => Self::Modify,
            ("Remove", _) => Self::Remove,
            ("Add", _) => Self::Add,
            // Import, and what CloudFormation cannot tell before it is done.
            _ => Self::Other,
        }
    }

    fn counted(self) -> &'static str {
        match self {
            Self::Replace => "replaced",
            Self::Remove => "removed",
            Self::MayReplace => "perhaps replaced",
            Self::Modify => "modified",
            Self::Add => "added",
            Self::Other => "otherwise changed",
        }
    }

    fn sign(self) -> &'static str {
        match self {
            Self::Replace => "⚠️ replace",
            Self::Remove => "❌ remove",
            Self::MayReplace => "⚠️ perhaps replace",
            Self::Modify => "modify",
            Self::Add => "add",
            Self::Other => "other",
        }
    }
}

/// What a merge would change, as it may be shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Changes {
    rows: Vec<Row>,
    parameters: Vec<Line>,
}

impl Changes {
    /// Of what CloudFormation says of the resources, and of the parameters that the stack has and would have.
    #[must_use]
    pub fn seen(
        sight: &Sight<'_>,
        changes: &[Change],
        before: &[(String, String)],
        after: &[(String, String)],
    ) -> Self {
        let mut rows: Vec<Row> = changes.iter().map(|change| Row::seen(sight, change)).collect();
        rows.sort_by(|a, b| (a.kind, &a.logical_id).cmp(&(b.kind, &b.logical_id)));
        let value = |of: &[(String, String)], name: &str| {
            of.iter().find(|(key, _)| key == name).map(|(_, value)| value.clone())
        };
        let mut names: Vec<&String> = before.iter().chain(after).map(|(name, _)| name).collect();
        names.sort();
        names.dedup();
        let parameters = names.into_iter().filter_map(|name| {
            let (old, new) = (value(before, name), value(after, name));
            let line = Line {
                name: name.clone(),
                before: sight.parameter(name, old.as_deref()),
                after: sight.parameter(name, new.as_deref()),
            };
            // Whether a hidden one changes is not known: CloudFormation tells only its mask.
            let is_hidden = [&line.before, &line.after].contains(&&Shown::Hidden);
            (old != new && !is_hidden).then_some(line)
        });
        Self { parameters: parameters.collect(), rows }
    }

    /// One line: how many resources would be replaced, removed and so on.
    pub(super) fn summary(&self) -> String {
        let counts: Vec<String> = What::ALL
            .into_iter()
            .filter_map(|kind| {
                let count = self.rows.iter().filter(|row| row.kind == kind).count();
                (count > 0).then(|| format!("{count} {}", kind.counted()))
            })
            .collect();
        match counts.is_empty() {
            true => "no resource changed, only outputs, parameters or tags".to_owned(),
            false => counts.join(", "),
        }
    }
}

impl Row {
    fn seen(sight: &Sight<'_>, change: &Change) -> Self {
        let mut why: Vec<&str> = change.scope.iter().map(String::as_str).collect();
        why.extend(change.policy_action.as_deref());
        why.extend(change.details.iter().filter_map(|detail| detail.cause.as_deref()));
        let mut known = std::collections::BTreeSet::new();
        why.retain(|text| known.insert(*text));
        let lines = change.details.iter().filter_map(|detail| {
            let property = detail.property.as_deref()?;
            let below = detail.path.as_deref().and_then(|path| path.strip_prefix("/Properties/"));
            Some(Line {
                name: below.map_or_else(|| property.to_owned(), |path| path.replace('/', ".")),
                before: sight.value(&change.logical_id, property, detail.before.as_deref()),
                after: sight.value(&change.logical_id, property, detail.after.as_deref()),
            })
        });
        let mut lines: Vec<Line> = lines.collect();
        // CloudFormation says of one property once for each of its causes.
        lines.dedup();
        Self {
            kind: What::of(change),
            logical_id: change.logical_id.clone(),
            resource_type: change.resource_type.clone(),
            why: why.join(", "),
            lines,
        }
    }
}

/// Writes the gravest changes, the table and the difference; how many lines had no room.
pub(super) fn write_changes(
    text: &mut String,
    changes: &Changes,
    markdown: Markdown,
    extent: Extent,
) -> usize {
    let is_grave = |row: &&Row| matches!(row.kind, What::Replace | What::Remove | What::MayReplace);
    let grave: Vec<&Row> = changes.rows.iter().filter(is_grave).collect();
    if !grave.is_empty() {
        text.push('\n');
    }
    for row in grave.iter().take(MAX_NAMED) {
        let _ =
            writeln!(text, "- {} {} ({})", row.kind.sign(), code(&row.logical_id), code(&row.resource_type));
    }
    if grave.len() > MAX_NAMED {
        let _ = writeln!(text, "- and {} more of these", grave.len() - MAX_NAMED);
    }
    let mut room = Room::after(text, extent);
    // Half of it, so that something of the difference is seen in any case.
    let kept = room.left / 2;
    room.left -= kept;
    if !changes.rows.is_empty() {
        open_fold(text, &format!("All {} changes", changes.rows.len()), markdown);
        text.push_str("| | Resource | Type | Because of |\n|---|---|---|---|\n");
        for row in &changes.rows {
            let why = if row.why.is_empty() { String::new() } else { code(&row.why) };
            let line = format!(
                "| {} | {} | {} | {why} |",
                row.kind.sign(),
                code(&row.logical_id),
                code(&row.resource_type)
            );
            room.add(text, &line);
        }
        close_fold(text, markdown);
    }
    let table_omitted = room.omitted;
    let mut room = Room { left: room.left + kept, omitted: 0, ..room };
    let has_lines = !changes.parameters.is_empty() || changes.rows.iter().any(|row| !row.lines.is_empty());
    if has_lines {
        text.push_str("\n```diff\n");
        if !changes.parameters.is_empty() {
            room.add(text, "  Parameters");
            changes.parameters.iter().for_each(|line| write_line(text, &mut room, line));
        }
        for row in changes.rows.iter().filter(|row| !row.lines.is_empty()) {
            let title = format!("{} ({})", row.logical_id, row.resource_type).replace('\n', " ");
            room.add_fenced(text, "  ", &title);
            row.lines.iter().for_each(|line| write_line(text, &mut room, line));
        }
        text.push_str("```\n");
    }
    table_omitted + room.omitted
}

/// A value as it is read best: JSON over several lines.
fn spread(value: &str) -> String {
    let parsed = serde_json::from_str::<serde_json::Value>(value).ok();
    let is_tree = |value: &serde_json::Value| value.is_object() || value.is_array();
    parsed
        .filter(is_tree)
        .and_then(|value| serde_json::to_string_pretty(&value).ok())
        .unwrap_or_else(|| value.to_owned())
}

fn write_line(text: &mut String, room: &mut Room, line: &Line) {
    let name = cut(&line.name, MAX_NAME_CHARS).replace('\n', " ");
    match (&line.before, &line.after) {
        (Shown::Text(before), Shown::Text(after)) => {
            let (before, after) = (spread(before), spread(after));
            let (before, after): (Vec<&str>, Vec<&str>) = (before.lines().collect(), after.lines().collect());
            let same =
                |pairs: &mut dyn Iterator<Item = (&&str, &&str)>| pairs.take_while(|(a, b)| a == b).count();
            let head = same(&mut before.iter().zip(&after));
            let most = before.len().min(after.len()) - head;
            let tail = same(&mut before.iter().rev().zip(after.iter().rev())).min(most);
            let of = |lines: &[&str]| lines[head..lines.len() - tail].join("\n    ");
            let name = if head + tail > 0 { format!("{name} (where it differs)") } else { name };
            for (prefix, value) in [("- ", of(&before)), ("+ ", of(&after))] {
                let value = format!("  {name}: {value}");
                room.add_fenced(text, prefix, &value);
            }
        }
        (Shown::Nothing, Shown::Nothing) => {
            room.add_fenced(text, "  ", &format!("  {name}"));
        }
        (before, after) => {
            for (prefix, value) in [("- ", before), ("+ ", after)] {
                let value = match value {
                    Shown::Nothing => continue,
                    Shown::Hidden => format!("  {name}: (hidden)"),
                    Shown::Text(value) => format!("  {name}: {}", spread(value).replace('\n', "\n    ")),
                };
                room.add_fenced(text, prefix, &value);
            }
        }
    }
}
