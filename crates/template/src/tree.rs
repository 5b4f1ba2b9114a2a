/// Where a node begins: line and column, both from 1; columns count characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
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
