use std::fmt;

use crate::Span;

/// What is wrong with a document, where, and by which rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// The document's path in the repository.
    pub file: String,
    /// Where it stands, when it can be said.
    pub span: Option<Span>,
    /// A stable name of the rule, such as `syntax`, `duplicate-key`, `unknown-key`, `null-value`.
    pub rule: &'static str,
    /// What is wrong and what to do, with the offending value.
    pub message: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.file)?;
        if let Some(span) = self.span {
            write!(f, ":{}:{}", span.line, span.column)?;
        }
        write!(f, ": {} [{}]", self.message, self.rule)
    }
}

impl std::error::Error for Finding {}
