//! What the model says of a shape: its type and its constraints.
//!
//! The API itself uses texts, enumerations, 32-bit integers, timestamps, lists and structures. The other types are
//! those of the two protocols, so that the protocols' own test vectors run through the same code.

use std::sync::OnceLock;

use regex_automata::dfa::{Automaton as _, StartKind, dense};
use regex_automata::{Anchored, Input};

/// A type with its constraints.
#[derive(Debug)]
pub enum Shape {
    /// True or false.
    Boolean,
    /// A 32-bit integer within bounds.
    Integer(IntegerRule),
    /// A 64-bit integer.
    Long,
    /// A floating-point number.
    Double,
    /// Bytes: base64 text in JSON, a byte string in CBOR.
    Blob,
    /// A point in time.
    Timestamp,
    /// A text.
    Text(TextRule),
    /// A text out of a fixed set.
    Enum(&'static [&'static str]),
    /// A list.
    List(ListRule),
    /// A map from texts.
    Map(MapRule),
    /// A structure; unknown members are ignored.
    Structure(&'static [Member]),
}

/// The bounds of an integer, inclusive.
#[derive(Debug)]
pub struct IntegerRule {
    /// The smallest value.
    pub min: i32,
    /// The largest value.
    pub max: i32,
}

/// The constraints of a text. Lengths count Unicode code points.
#[derive(Debug)]
pub struct TextRule {
    /// The smallest length.
    pub min: usize,
    /// The largest length.
    pub max: Option<usize>,
    /// The pattern that the whole text matches.
    pub pattern: Option<&'static Pattern>,
}

/// The constraints of a list.
#[derive(Debug)]
pub struct ListRule {
    /// The type of its items.
    pub member: &'static Shape,
    /// The smallest length.
    pub min: usize,
    /// The largest length.
    pub max: Option<usize>,
    /// Whether an item may be null.
    pub sparse: bool,
}

/// The constraints of a map.
#[derive(Debug)]
pub struct MapRule {
    /// The type of its values.
    pub value: &'static Shape,
    /// Whether a value may be null.
    pub sparse: bool,
}

/// A member of a structure.
#[derive(Debug)]
pub struct Member {
    /// The member's name on the wire.
    pub name: &'static str,
    /// The member's type.
    pub shape: &'static Shape,
    /// Whether it must be there.
    pub required: bool,
}

impl Member {
    /// A member that must be there.
    #[must_use]
    pub const fn required(name: &'static str, shape: &'static Shape) -> Self {
        Self { name, shape, required: true }
    }

    /// A member that may be absent.
    #[must_use]
    pub const fn optional(name: &'static str, shape: &'static Shape) -> Self {
        Self { name, shape, required: false }
    }
}

/// A regular expression of the model, compiled on first use.
///
/// The model's expressions are Java's, matched against the whole value: `.` matches no line terminator
/// (`\n`, `\r`, U+0085, U+2028, U+2029), and `\w`, `\d`, `\s` and `\b` know ASCII only.
#[derive(Debug)]
pub struct Pattern {
    text: &'static str,
    compiled: OnceLock<dense::DFA<Vec<u32>>>,
}

impl Pattern {
    /// The longest text a pattern is tried on, in bytes; longer ones do not match. No text of the model that has a
    /// pattern may be longer, and matching takes time in proportion.
    pub(crate) const MAX_MATCHED_BYTES: usize = 4 * 16_384;

    /// The pattern of that text.
    #[must_use]
    pub const fn new(text: &'static str) -> Self {
        Self { text, compiled: OnceLock::new() }
    }

    /// The pattern as the model spells it.
    #[must_use]
    pub const fn text(&self) -> &'static str {
        self.text
    }

    /// True where the whole value matches.
    ///
    /// # Panics
    ///
    /// Panics where the pattern is not a regular expression; a test compiles every generated one.
    #[must_use]
    pub fn matches(&self, value: &str) -> bool {
        let text = Input::new(value).anchored(Anchored::Yes).earliest(true);
        // The automaton is whole, so that no search of it fails.
        value.len() <= Self::MAX_MATCHED_BYTES
            && self.automaton().try_search_fwd(&text).is_ok_and(|found| found.is_some())
    }

    fn automaton(&self) -> &dense::DFA<Vec<u32>> {
        self.compiled.get_or_init(|| {
            dense::Builder::new()
                .configure(dense::Config::new().start_kind(StartKind::Anchored))
                .build(&format!("^(?:{})$", translate(self.text)))
                .unwrap_or_else(|error| panic!("the model's pattern {}: {error}", self.text))
        })
    }
}

/// Gives `.` and the classes of one letter Java's meaning.
fn translate(java: &str) -> String {
    let mut translated = String::with_capacity(2 * java.len());
    let mut in_class = false;
    let mut characters = java.chars();
    while let Some(c) = characters.next() {
        match c {
            '\\' => match characters.next() {
                Some('w') => translated.push_str("[0-9A-Za-z_]"),
                Some('d') => translated.push_str("[0-9]"),
                Some('s') => translated.push_str(r"[ \t\n\x0B\f\r]"),
                Some('S') => translated.push_str(r"[^ \t\n\x0B\f\r]"),
                Some('b') => translated.push_str(r"(?-u:\b)"),
                escaped => translated.extend(std::iter::once('\\').chain(escaped)),
            },
            '.' if !in_class => translated.push_str(r"[^\n\r\x{85}\x{2028}\x{2029}]"),
            _ => {
                in_class = c == '[' || in_class && c != ']';
                translated.push(c);
            }
        }
    }
    translated
}

#[cfg(test)]
mod tests {
    use super::Pattern;

    #[test]
    fn patterns_match_as_java_does() {
        let check = |pattern: &'static str, value: &str, expect: bool| {
            assert_eq!(Pattern::new(pattern).matches(value), expect, "{pattern} on {value:?}");
        };
        check(".*", "", true);
        check(".*", "a b\u{e4}\u{1f600}", true);
        for terminator in ["\n", "\r", "\u{85}", "\u{2028}", "\u{2029}"] {
            check(".*", terminator, false);
            check("^.*$", &format!("a{terminator}"), false);
            check(r"[\s\S]*", &format!("a{terminator}b"), true);
        }
        check("[.]", "x", false);
        check(r"\.", "x", false);
        check(r"\.", ".", true);
        check("ab|cd", "abx", false);
        check(r"\w", "\u{e4}", false);
        check(r"\d", "\u{663}", false);
        check(r"[\w-]+\d\b", "a-b_9", true);
        check(r"[\w-]+\d\b", "a-b_", false);
        check(r"a\b-\bb", "a-b", true);
        check(".*", &"a".repeat(65_536), true);
        check(".*", &"a".repeat(65_537), false);
    }
}
