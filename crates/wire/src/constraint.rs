//! The text in which broken constraints are told.

use std::fmt::Write as _;

use ciborium::Value;

use crate::shape::{Pattern, Shape};

/// The most characters of an error's text (the model's `ErrorMessage`).
pub(crate) const MAX_MESSAGE_CHARS: usize = 600;

/// The lengths to which values are cut, longest first, until the text fits.
const VALUE_CUTS: &[usize] = &[MAX_MESSAGE_CHARS, 256, 128, 64, 32, 16];

/// How many broken constraints are told; the text has no room for more, and a body could break thousands.
const MAX_TOLD: usize = 16;

/// The broken constraints of one input, in the order of the model's members.
#[derive(Debug, Default)]
pub(crate) struct Violations {
    count: usize,
    told: Vec<Violation>,
}

#[derive(Debug)]
struct Violation {
    /// `None` where the value is absent.
    value: Option<String>,
    path: String,
    rule: Rule,
}

/// A constraint that was broken.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Rule {
    NotNull,
    MinLength(usize),
    MaxLength(usize),
    Matches(&'static Pattern),
    OneOf(&'static [&'static str]),
    Min(i32),
    Max(i32),
}

impl Violations {
    pub(crate) fn is_empty(&self) -> bool {
        self.count == 0
    }

    pub(crate) fn add_null(&mut self, path: &str) {
        self.push(|| Violation { value: None, path: path.to_owned(), rule: Rule::NotNull });
    }

    /// Records that `value`, at `path`, breaks `rule`.
    pub(crate) fn add(&mut self, shape: &Shape, value: &Value, path: &str, rule: Rule) {
        self.push(|| {
            let mut text = String::new();
            write_value(&mut text, shape, value);
            Violation { value: Some(text), path: path.to_owned(), rule }
        });
    }

    fn push(&mut self, violation: impl FnOnce() -> Violation) {
        self.count += 1;
        if self.told.len() < MAX_TOLD {
            self.told.push(violation());
        }
    }

    /// `1 validation error detected: Value 'X' at 'connectionName' failed to satisfy constraint: …`
    pub(crate) fn message(&self) -> String {
        let texts = VALUE_CUTS.iter().map(|&cut| self.message_with(cut));
        let mut texts = texts.skip_while(|text| text.chars().count() > MAX_MESSAGE_CHARS);
        texts.next().unwrap_or_else(|| self.message_with(VALUE_CUTS[VALUE_CUTS.len() - 1]))
    }

    fn message_with(&self, max_value_chars: usize) -> String {
        let count = self.count;
        let mut text = format!("{count} validation error{} detected: ", if count == 1 { "" } else { "s" });
        for (i, violation) in self.told.iter().enumerate() {
            if i > 0 {
                text.push_str("; ");
            }
            match &violation.value {
                None => text.push_str("Value null"),
                Some(value) => {
                    push_formatted(&mut text, format_args!("Value '{}'", cut(value, max_value_chars)))
                }
            }
            push_formatted(
                &mut text,
                format_args!(" at '{}' failed to satisfy constraint: ", violation.path),
            );
            violation.rule.write(&mut text);
        }
        text
    }
}

impl Rule {
    fn write(self, text: &mut String) {
        match self {
            Self::NotNull => text.push_str("Member must not be null"),
            Self::MinLength(n) => {
                push_formatted(text, format_args!("Member must have length greater than or equal to {n}"));
            }
            Self::MaxLength(n) => {
                push_formatted(text, format_args!("Member must have length less than or equal to {n}"));
            }
            Self::Matches(pattern) => {
                let pattern = pattern.text();
                push_formatted(
                    text,
                    format_args!("Member must satisfy regular expression pattern: {pattern}"),
                );
            }
            Self::OneOf(values) => {
                let values = values.join(", ");
                push_formatted(text, format_args!("Member must satisfy enum value set: [{values}]"));
            }
            Self::Min(n) => {
                push_formatted(text, format_args!("Member must have value greater than or equal to {n}"));
            }
            Self::Max(n) => {
                push_formatted(text, format_args!("Member must have value less than or equal to {n}"));
            }
        }
    }
}

fn push_formatted(text: &mut String, arguments: std::fmt::Arguments<'_>) {
    // Writing to a String cannot fail.
    let _ = text.write_fmt(arguments);
}

/// Cuts a text to `max` characters, the last of which says that something is missing.
pub(crate) fn cut(text: &str, max: usize) -> String {
    if text.chars().count() <= max {
        return text.to_owned();
    }
    text.chars().take(max.saturating_sub(1)).chain(['…']).collect()
}

/// Writes a value for a person: texts as they are, lists in `[…]`, structures in `{…}`.
fn write_value(text: &mut String, shape: &Shape, value: &Value) {
    match (shape, value) {
        (_, Value::Text(value)) => text.push_str(value),
        (_, Value::Integer(value)) => push_formatted(text, format_args!("{}", i128::from(*value))),
        (_, Value::Bool(value)) => push_formatted(text, format_args!("{value}")),
        (_, Value::Float(value)) => push_formatted(text, format_args!("{value}")),
        (Shape::List(rule), Value::Array(items)) => {
            text.push('[');
            for (i, item) in items.iter().enumerate() {
                if i > 0 {
                    text.push_str(", ");
                }
                // A cut follows: what nobody will read is not written.
                if text.len() > 4 * MAX_MESSAGE_CHARS {
                    break;
                }
                write_value(text, rule.member, item);
            }
            text.push(']');
        }
        (Shape::Structure(members), Value::Map(entries)) => {
            text.push('{');
            let mut separator = "";
            for (key, item) in entries {
                let member = members.iter().find(|member| key.as_text() == Some(member.name));
                if let Some(member) = member {
                    push_formatted(text, format_args!("{separator}{}=", member.name));
                    write_value(text, member.shape, item);
                    separator = ", ";
                }
            }
            text.push('}');
        }
        _ => {}
    }
}
