//! How broken constraints are told (contract §1), written down a second time.

use serde_json::Value;

/// The most characters of a message.
const MOST: usize = 600;
/// The most constraints that are told in full; all are counted.
const TOLD: usize = 16;

/// A broken constraint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Violation {
    /// The value, as it is told; `None` where there is none.
    pub(super) value: Option<String>,
    pub(super) path: String,
    pub(super) rule: String,
}

impl Violation {
    pub(super) fn null(path: &str) -> Self {
        Self { value: None, path: path.to_owned(), rule: "Member must not be null".to_owned() }
    }

    pub(super) fn of(value: &Value, path: &str, rule: String) -> Self {
        Self { value: Some(shown(value)), path: path.to_owned(), rule }
    }
}

/// A value for a person.
fn shown(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Array(items) => format!("[{}]", items.iter().map(shown).collect::<Vec<_>>().join(", ")),
        Value::Object(members) => {
            let members = members.iter().map(|(name, value)| format!("{name}={}", shown(value)));
            format!("{{{}}}", members.collect::<Vec<_>>().join(", "))
        }
        other => other.to_string(),
    }
}

fn told(violation: &Violation, value: Option<&str>) -> String {
    let value = value.map_or("Value null".to_owned(), |value| format!("Value '{value}'"));
    format!("{value} at '{}' failed to satisfy constraint: {}", violation.path, violation.rule)
}

fn head(count: usize) -> String {
    format!("{count} validation error{} detected: ", if count == 1 { "" } else { "s" })
}

/// The whole text, if it is not too long.
fn whole(violations: &[Violation]) -> String {
    let told = violations.iter().take(TOLD).map(|violation| told(violation, violation.value.as_deref()));
    head(violations.len()) + &told.collect::<Vec<_>>().join("; ")
}

/// Why `message` does not tell these violations; a text beyond 600 characters has its values cut, and only where
/// that is not enough its end.
pub(super) fn misfit(violations: &[Violation], message: &str) -> Option<String> {
    let whole = whole(violations);
    let expected = |what: &str| Some(format!("{what}: expected '{whole}', told '{message}'"));
    if whole.chars().count() <= MOST {
        return if message == whole { None } else { expected("another text") };
    }
    let length = message.chars().count();
    if length > MOST {
        return expected("too long");
    }
    let Some(mut rest) = message.strip_prefix(&head(violations.len())) else { return expected("head") };
    for (i, violation) in violations.iter().take(TOLD).enumerate() {
        if i > 0 {
            rest = rest.strip_prefix("; ").unwrap_or(rest);
        }
        match after(violation, rest) {
            Some(after) => rest = after,
            // With every value cut to the least the text is still too long: its end is cut.
            None if length == MOST && least(violation).starts_with(rest.strip_suffix('…').unwrap_or("-")) =>
            {
                return None;
            }
            None => return expected(&format!("at {}", violation.path)),
        }
    }
    if rest.is_empty() { None } else { expected("more than expected") }
}

/// The violation with its value cut to the least.
fn least(violation: &Violation) -> String {
    let value = violation.value.as_ref().map(|value| match value.char_indices().nth(16) {
        None => value.clone(),
        Some(_) => value.chars().take(15).chain(['…']).collect(),
    });
    told(violation, value.as_deref())
}

/// What follows the violation at the beginning of `text`, its value in full or cut.
fn after<'t>(violation: &Violation, text: &'t str) -> Option<&'t str> {
    let Some(value) = &violation.value else { return text.strip_prefix(&told(violation, None)) };
    if let Some(after) = text.strip_prefix(&told(violation, Some(value))) {
        return Some(after);
    }
    // A value says its first 15 characters at the least.
    let (cut, _) = text.strip_prefix("Value '")?.split_once("…'")?;
    let kept = cut.chars().count() >= 15 && value.starts_with(cut);
    kept.then(|| text.strip_prefix(&told(violation, Some(&format!("{cut}…"))))).flatten()
}

#[test]
fn a_misfit_is_noticed() {
    let long = Violation::of(&"x".repeat(700).into(), "a.b", "Member must be short".to_owned());
    let short = Violation::of(&1.into(), "c", "Member must be 2".to_owned());
    let check = |violations: &[&Violation], message: &str, fits: bool| {
        let violations: Vec<_> = violations.iter().map(|&violation| violation.clone()).collect();
        assert_eq!(misfit(&violations, message).is_none(), fits, "{message}");
    };
    let one = "1 validation error detected: Value '1' at 'c' failed to satisfy constraint: Member must be 2";
    check(&[&short], one, true);
    check(&[&short], &format!("{one}."), false);
    check(&[&short, &short], one, false);
    let cut = |kept: usize| {
        let value = "x".repeat(kept);
        format!(
            "2 validation errors detected: Value '{value}…' at 'a.b' failed to satisfy constraint: Member must be \
             short; Value '1' at 'c' failed to satisfy constraint: Member must be 2"
        )
    };
    check(&[&long, &short], &cut(255), true);
    check(&[&long, &short], &cut(15), true);
    check(&[&long, &short], &cut(14), false);
    check(&[&long, &short], &cut(15).replace("'a.b'", "'a'"), false);
    check(&[&long, &short], &cut(15).replace("must be short", "must be"), false);
    check(&[&long, &short], &cut(700), false);
    check(&[&long], &cut(15), false);
}
