//! The one way in: bytes to a tree, within limits.

use std::collections::HashSet;

use crate::{Finding, Node, Span, json, yaml};

/// How much of a document is read; beyond any of them the document is refused, never cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// The most bytes of a document.
    pub bytes: usize,
    /// The deepest nesting of mappings and sequences. Everything that walks a tree may recurse this deep.
    pub depth: usize,
    /// The most nodes of a tree, the copies that aliases make included.
    pub nodes: usize,
    /// The most bytes of text that aliases may copy.
    pub copied_bytes: usize,
}

impl Default for Limits {
    /// A template's limits: 1 MiB is CloudFormation's, the others are ours and wider than 1 MiB of honest text needs.
    fn default() -> Self {
        Self { bytes: 1 << 20, depth: 100, nodes: 700_000, copied_bytes: 4 << 20 }
    }
}

/// Which readers a document goes through, and how tolerant they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Dialect {
    /// As CloudFormation reads a template: what begins with `{` is JSON, or else a YAML flow mapping.
    Template,
    /// As cfn-lint reads a deployment file: YAML, and JSON where YAML fails (tabs before a key).
    DeploymentFile,
}

/// A tree and what the text said that the tree does not show.
#[derive(Debug)]
pub(crate) struct Document {
    pub(crate) root: Node,
    /// The first alias; CloudFormation refuses templates that have one.
    pub(crate) first_alias: Option<Span>,
    /// The plain scalars that are strings in the tree and something else in YAML 1.1: timestamps, `=` and `<<`.
    pub(crate) not_strings: HashSet<Span>,
}

impl Document {
    fn plain(root: Node) -> Self {
        Self { root, first_alias: None, not_strings: HashSet::new() }
    }
}

/// Reads a template: strict JSON when its first character that is no white space is `{`, else YAML.
///
/// What begins with `{` and is not JSON gets a second chance as a YAML flow mapping: CloudFormation has answered
/// malformed JSON with "YAML not well-formed", so it has such a second chance, and a template it accepts must
/// not be refused here. When both fail, the finding is JSON's.
///
/// # Errors
/// One finding, with a position wherever one can be said: the document is too large, too deep or too wide, is not
/// UTF-8, is empty, has several documents, is malformed, repeats a key, has a key that is no scalar, or has an unknown tag.
pub fn parse(file: &str, bytes: &[u8], limits: &Limits) -> Result<Node, Finding> {
    read(file, bytes, limits, Dialect::Template).map(|document| document.root)
}

pub(crate) fn read(file: &str, bytes: &[u8], limits: &Limits, dialect: Dialect) -> Result<Document, Finding> {
    read_text(bytes, limits, dialect).map_err(|flaw| flaw.in_file(file))
}

fn read_text(bytes: &[u8], limits: &Limits, dialect: Dialect) -> Result<Document, Flaw> {
    if bytes.len() > limits.bytes {
        let message = format!("the document has {} bytes; at most {} are allowed", bytes.len(), limits.bytes);
        return Err(Flaw { span: None, rule: "too-large", message });
    }
    let text = text_of(bytes)?;
    let looks_like_json = text.trim_start_matches([' ', '\t', '\r', '\n']).starts_with('{');
    match (dialect, looks_like_json) {
        (_, false) => yaml::read(text, limits, dialect),
        (Dialect::Template, true) => match json::read(text, limits) {
            Err(flaw) if flaw.rule == "syntax" => yaml::read(text, limits, dialect).map_err(|_| flaw),
            read => read.map(Document::plain),
        },
        (Dialect::DeploymentFile, true) => yaml::read(text, limits, dialect)
            .or_else(|flaw| json::read(text, limits).map(Document::plain).map_err(|_| flaw)),
    }
}

/// The text without its byte order mark.
fn text_of(bytes: &[u8]) -> Result<&str, Flaw> {
    let text = match std::str::from_utf8(bytes) {
        Ok(text) => text,
        Err(error) => {
            let (before, rest) = bytes.split_at(error.valid_up_to());
            let before = String::from_utf8_lossy(before);
            let byte = rest.first().copied().unwrap_or_default();
            let message = format!("the document is not UTF-8: it has the byte 0x{byte:02x}");
            return Err(Flaw::at(position_after(&before), "not-utf8", message));
        }
    };
    Ok(text.strip_prefix('\u{feff}').unwrap_or(text))
}

/// The position of the character that follows `before`.
pub(crate) fn position_after(before: &str) -> Span {
    let last = before.rsplit('\n').next().unwrap_or_default();
    Span { line: before.matches('\n').count() + 1, column: last.chars().count() + 1 }
}

/// A finding that does not know its file yet.
#[derive(Debug)]
pub(crate) struct Flaw {
    pub(crate) span: Option<Span>,
    pub(crate) rule: &'static str,
    pub(crate) message: String,
}

impl Flaw {
    pub(crate) fn at(span: Span, rule: &'static str, message: impl Into<String>) -> Self {
        Self { span: Some(span), rule, message: message.into() }
    }

    pub(crate) fn too_deep(span: Span, limits: &Limits) -> Self {
        Self::at(span, "too-deep", format!("nested more than {} levels deep", limits.depth))
    }

    pub(crate) fn too_many_nodes(span: Span, limits: &Limits) -> Self {
        Self::at(span, "too-many-values", format!("more than {} values, aliases expanded", limits.nodes))
    }

    pub(crate) fn duplicate_key(span: Span, key: &str, first: Span) -> Self {
        let message = format!("key {key:?} appears twice; the first is on line {}", first.line);
        Self::at(span, "duplicate-key", message)
    }

    pub(crate) fn empty() -> Self {
        Self::at(Span { line: 1, column: 1 }, "empty-document", "the document is empty")
    }

    pub(crate) fn in_file(self, file: &str) -> Finding {
        Finding { file: file.to_owned(), span: self.span, rule: self.rule, message: self.message }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn json(text: &str) -> String {
        match parse("t", text.as_bytes(), &Limits::default()) {
            Ok(node) => node.to_json().to_string(),
            Err(finding) => finding.to_string(),
        }
    }

    #[test]
    fn templates_are_read_in_their_long_form() {
        let cases = [
            ("a: !Ref b", r#"{"a":{"Ref":"b"}}"#),
            ("a: !GetAtt b.c.d", r#"{"a":{"Fn::GetAtt":["b","c.d"]}}"#),
            ("a: !GetAtt [b, c]", r#"{"a":{"Fn::GetAtt":["b","c"]}}"#),
            ("a: !Sub '${x}'", r#"{"a":{"Fn::Sub":"${x}"}}"#),
            ("a: !Join ['-', [!Ref b, 1]]", r#"{"a":{"Fn::Join":["-",[{"Ref":"b"},1]]}}"#),
            (
                "a: !If\n  - c\n  - !Ref AWS::NoValue\n  - x: y\n",
                r#"{"a":{"Fn::If":["c",{"Ref":"AWS::NoValue"},{"x":"y"}]}}"#,
            ),
            ("a: !GetAZs", r#"{"a":{"Fn::GetAZs":""}}"#),
            (
                "a: !Transform {Name: M, Parameters: {x: 1}}",
                r#"{"a":{"Fn::Transform":{"Name":"M","Parameters":{"x":1}}}}"#,
            ),
            ("a: !Condition c", r#"{"a":{"Condition":"c"}}"#),
            ("a: !Ref 123", r#"{"a":{"Ref":"123"}}"#),
            ("a: 2010-09-09", r#"{"a":"2010-09-09"}"#),
            ("a: 012345678901", r#"{"a":"012345678901"}"#),
            ("a: 0x1f", r#"{"a":"0x1f"}"#),
            ("a: yes\nb: y", r#"{"a":true,"b":"y"}"#),
            ("a: !!str 1", r#"{"a":"1"}"#),
            ("a: ! 1", r#"{"a":1}"#),
            ("a: &x {b: 1}\nc: *x", r#"{"a":{"b":1},"c":{"b":1}}"#),
            ("{\n\t\"a\": 1.50\n}", r#"{"a":1.5}"#),
            ("{a: 1,}", r#"{"a":1}"#),
            ("{\"a\": ]}", "t:1:7: JSON is not well-formed: expected a value, found ']' [syntax]"),
            ("a: !Nope x", "t:1:4: the tag !Nope is not one CloudFormation knows [unknown-tag]"),
            ("a: 1\na: 2", "t:2:1: key \"a\" appears twice; the first is on line 1 [duplicate-key]"),
            (
                "<<: {a: 1}",
                "t:1:1: CloudFormation does not support merge keys (<<); write the keys out [merge-key]",
            ),
            ("", "t:1:1: the document is empty [empty-document]"),
            ("# x\n", "t:1:1: the document is empty [empty-document]"),
            (
                "--- a\n--- b\n",
                "t:2:1: a second document begins here; only one is allowed [several-documents]",
            ),
            ("a: &x [*x]", "t:1:8: the alias stands inside the value that it names [recursive-alias]"),
        ];
        for (text, expected) in cases {
            assert_eq!(json(text), expected, "{text:?}");
        }
    }
}
