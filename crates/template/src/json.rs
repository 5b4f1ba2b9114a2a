//! A strict JSON reader (RFC 8259) that keeps positions, numbers as written, and the order of keys.

use std::collections::HashMap;

use crate::parse::Flaw;
use crate::{Kind, Limits, Node, Span};

/// Reads one JSON value and nothing after it.
pub(crate) fn read(text: &str, limits: &Limits) -> Result<Node, Flaw> {
    let mut reader = Reader { rest: text, at: Span { line: 1, column: 1 }, nodes: 0, limits };
    reader.skip_space();
    let node = reader.value(0)?;
    reader.skip_space();
    match reader.rest.chars().next() {
        None => Ok(node),
        Some(c) => Err(reader.syntax(format!("found {c:?} after the end of the document"))),
    }
}

struct Reader<'a> {
    rest: &'a str,
    at: Span,
    nodes: usize,
    limits: &'a Limits,
}

impl Reader<'_> {
    fn syntax(&self, message: impl Into<String>) -> Flaw {
        Flaw::at(self.at, "syntax", format!("JSON is not well-formed: {}", message.into()))
    }

    fn unexpected(&self, wanted: &str) -> Flaw {
        match self.rest.chars().next() {
            Some(c) => self.syntax(format!("expected {wanted}, found {c:?}")),
            None => self.syntax(format!("expected {wanted}, found the end")),
        }
    }

    fn advance(&mut self, bytes: usize) {
        let (taken, rest) = self.rest.split_at(bytes);
        for c in taken.chars() {
            if c == '\n' {
                self.at = Span { line: self.at.line + 1, column: 1 };
            } else {
                self.at.column += 1;
            }
        }
        self.rest = rest;
    }

    fn skip_space(&mut self) {
        let space = self.rest.len() - self.rest.trim_start_matches([' ', '\t', '\r', '\n']).len();
        self.advance(space);
    }

    fn take(&mut self, wanted: char) -> bool {
        let found = self.rest.starts_with(wanted);
        if found {
            self.advance(wanted.len_utf8());
        }
        found
    }

    /// Recursion is bounded by the depth limit.
    fn value(&mut self, depth: usize) -> Result<Node, Flaw> {
        let span = self.at;
        self.nodes += 1;
        if self.nodes > self.limits.nodes {
            return Err(Flaw::too_many_nodes(span, self.limits));
        }
        if self.rest.starts_with(['{', '[']) && depth >= self.limits.depth {
            return Err(Flaw::too_deep(span, self.limits));
        }
        let kind = if self.take('{') {
            self.mapping(depth)?
        } else if self.take('[') {
            self.sequence(depth)?
        } else if self.rest.starts_with('"') {
            Kind::String(self.string()?)
        } else {
            self.word()?
        };
        Ok(Node { span, kind })
    }

    fn mapping(&mut self, depth: usize) -> Result<Kind, Flaw> {
        let mut entries = Vec::new();
        let mut seen: HashMap<String, Span> = HashMap::new();
        self.skip_space();
        if self.take('}') {
            return Ok(Kind::Mapping(entries));
        }
        loop {
            self.skip_space();
            let span = self.at;
            if !self.rest.starts_with('"') {
                return Err(self.unexpected("a key in double quotes"));
            }
            let key = self.string()?;
            if let Some(first) = seen.insert(key.clone(), span) {
                return Err(Flaw::duplicate_key(span, &key, first));
            }
            self.skip_space();
            if !self.take(':') {
                return Err(self.unexpected("':'"));
            }
            self.skip_space();
            let value = self.value(depth + 1)?;
            entries.push((key, span, value));
            self.skip_space();
            if self.take('}') {
                return Ok(Kind::Mapping(entries));
            }
            if !self.take(',') {
                return Err(self.unexpected("',' or '}'"));
            }
        }
    }

    fn sequence(&mut self, depth: usize) -> Result<Kind, Flaw> {
        let mut items = Vec::new();
        self.skip_space();
        if self.take(']') {
            return Ok(Kind::Sequence(items));
        }
        loop {
            self.skip_space();
            items.push(self.value(depth + 1)?);
            self.skip_space();
            if self.take(']') {
                return Ok(Kind::Sequence(items));
            }
            if !self.take(',') {
                return Err(self.unexpected("',' or ']'"));
            }
        }
    }

    /// A string; serde_json knows the escapes.
    fn string(&mut self) -> Result<String, Flaw> {
        let mut escaped = false;
        for (index, c) in self.rest.char_indices().skip(1) {
            match c {
                _ if escaped => escaped = false,
                '\\' => escaped = true,
                '"' => {
                    let literal = &self.rest[..=index];
                    let value = serde_json::from_str(literal).map_err(|_| {
                        self.syntax(format!("the string {} has a bad escape", shortened(literal)))
                    })?;
                    self.advance(index + 1);
                    return Ok(value);
                }
                c if c < ' ' => {
                    self.advance(index);
                    return Err(self.syntax(format!("the character {c:?} must be escaped in a string")));
                }
                _ => {}
            }
        }
        Err(self.syntax("the string does not end"))
    }

    fn word(&mut self) -> Result<Kind, Flaw> {
        let end = self
            .rest
            .find(|c: char| !(c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.')))
            .unwrap_or(self.rest.len());
        let word = &self.rest[..end];
        let text = word.to_owned();
        let kind = match word {
            "" => return Err(self.unexpected("a value")),
            "null" => Kind::Null,
            "true" => Kind::Bool { value: true, text },
            "false" => Kind::Bool { value: false, text },
            _ if is_number(word) => Kind::Number { text },
            _ => return Err(self.syntax(format!("{} is no value", shortened(word)))),
        };
        self.advance(end);
        Ok(kind)
    }
}

fn shortened(text: &str) -> String {
    let mut short: String = text.chars().take(40).collect();
    if short.len() < text.len() {
        short.push('…');
    }
    short
}

/// Whether the text is a number of JSON's grammar.
pub(crate) fn is_number(text: &str) -> bool {
    fn digits(text: &str) -> Option<&str> {
        let rest = text.trim_start_matches(|c: char| c.is_ascii_digit());
        (rest.len() < text.len()).then_some(rest)
    }
    let text = text.strip_prefix('-').unwrap_or(text);
    let Some(mut rest) = text.strip_prefix('0').or_else(|| digits(text)) else { return false };
    if let Some(fraction) = rest.strip_prefix('.') {
        let Some(after) = digits(fraction) else { return false };
        rest = after;
    }
    if let Some(exponent) = rest.strip_prefix(['e', 'E']) {
        let Some(after) = digits(exponent.strip_prefix(['-', '+']).unwrap_or(exponent)) else { return false };
        rest = after;
    }
    rest.is_empty()
}
