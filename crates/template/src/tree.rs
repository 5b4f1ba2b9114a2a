/// Where a node begins: line and column, both from 1; columns count characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Span {
    /// The line, from 1.
    pub line: usize,
    /// The column, from 1.
    pub column: usize,
}

/// A node of a document.
///
/// CloudFormation's short tags (`!Ref x`, `!GetAtt a.b`, …) are already in their long form
/// (`{"Ref": "x"}`, `{"Fn::GetAtt": ["a", "b"]}`), so that whoever walks the tree sees one spelling.
#[derive(Debug, Clone, PartialEq)]
pub struct Node {
    /// Where the node begins.
    pub span: Span,
    /// What it is.
    pub kind: Kind,
}

/// What a node is.
#[derive(Debug, Clone, PartialEq)]
pub enum Kind {
    /// `null`, `~` or nothing at all.
    Null,
    /// A plain boolean; `text` is as written (`true`, `True`).
    Bool {
        /// The value.
        value: bool,
        /// As written.
        text: String,
    },
    /// A plain number, kept as written (`012345678901` keeps its zero).
    Number {
        /// As written.
        text: String,
    },
    /// A string: quoted, a block, or plain text that is nothing else.
    String(String),
    /// A sequence.
    Sequence(Vec<Node>),
    /// A mapping in the order of the document; keys are scalars, as text, each with where it stands.
    Mapping(Vec<(String, Span, Node)>),
}

impl Node {
    /// The value of a key, when this is a mapping that has it.
    pub fn get(&self, key: &str) -> Option<&Node> {
        self.entries()?.iter().find(|(name, ..)| name == key).map(|(_, _, value)| value)
    }

    /// The node at a path of keys and of indices written in decimal (`["Resources", "Web", "Type"]`).
    pub fn at(&self, path: &[&str]) -> Option<&Node> {
        path.iter().try_fold(self, |node, step| match &node.kind {
            Kind::Sequence(items) => items.get(step.parse::<usize>().ok()?),
            _ => node.get(step),
        })
    }

    /// The entries, when this is a mapping.
    pub fn entries(&self) -> Option<&[(String, Span, Node)]> {
        match &self.kind {
            Kind::Mapping(entries) => Some(entries),
            _ => None,
        }
    }

    /// The items, when this is a sequence.
    pub fn items(&self) -> Option<&[Node]> {
        match &self.kind {
            Kind::Sequence(items) => Some(items),
            _ => None,
        }
    }

    /// The text, when this is a string (not a number or boolean, see [`Node::scalar_text`]).
    pub fn as_str(&self) -> Option<&str> {
        match &self.kind {
            Kind::String(text) => Some(text),
            _ => None,
        }
    }

    /// The text as written of a string, number or boolean: what CloudFormation gets as a parameter's value.
    pub fn scalar_text(&self) -> Option<&str> {
        match &self.kind {
            Kind::String(text) | Kind::Number { text } | Kind::Bool { text, .. } => Some(text),
            _ => None,
        }
    }

    /// Whether this is a null.
    pub fn is_null(&self) -> bool {
        matches!(self.kind, Kind::Null)
    }

    /// What this is, in words for a message: `a string`, `a mapping`, ….
    pub fn kind_name(&self) -> &'static str {
        match self.kind {
            Kind::Null => "null",
            Kind::Bool { .. } => "a boolean",
            Kind::Number { .. } => "a number",
            Kind::String(_) => "a string",
            Kind::Sequence(_) => "a list",
            Kind::Mapping(_) => "a mapping",
        }
    }

    /// The tree as JSON, keys in the order of the document. Numbers that JSON can write become numbers, all others
    /// (`0x1f`, `1_000`, `012`, integers beyond 64 bits) stay text.
    pub fn to_json(&self) -> serde_json::Value {
        use serde_json::Value;
        match &self.kind {
            Kind::Null => Value::Null,
            Kind::Bool { value, .. } => Value::Bool(*value),
            Kind::Number { text } => {
                exact_number(text).map_or_else(|| Value::String(text.clone()), Value::Number)
            }
            Kind::String(text) => Value::String(text.clone()),
            Kind::Sequence(items) => Value::Array(items.iter().map(Node::to_json).collect()),
            Kind::Mapping(entries) => {
                Value::Object(entries.iter().map(|(key, _, value)| (key.clone(), value.to_json())).collect())
            }
        }
    }

    /// Calls `visit` for this node and every node below it, in the order of the document.
    pub fn walk<'a>(&'a self, visit: &mut impl FnMut(&'a Node)) {
        let mut waiting = vec![self];
        while let Some(node) = waiting.pop() {
            visit(node);
            match &node.kind {
                Kind::Sequence(items) => waiting.extend(items.iter().rev()),
                Kind::Mapping(entries) => waiting.extend(entries.iter().rev().map(|(_, _, value)| value)),
                _ => {}
            }
        }
    }
}

/// The JSON number a text writes, if JSON can write it and 64 bits hold it; serde_json alone rounds some floats wrongly.
fn exact_number(text: &str) -> Option<serde_json::Number> {
    if !crate::json::is_number(text) {
        return None;
    }
    if text.contains(['.', 'e', 'E']) {
        return text.parse().ok().and_then(serde_json::Number::from_f64);
    }
    let signed = text.parse::<i64>().map(serde_json::Number::from);
    signed.or_else(|_| text.parse::<u64>().map(serde_json::Number::from)).ok()
}
