//! The error a request ends with.

use thiserror::Error;

use crate::{ErrorCode, Operation};

/// What a client is told: a code of the API and a text for a person.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{}: {message}", code.name())]
pub struct WireError {
    /// The code, which also fixes the HTTP status.
    pub code: ErrorCode,
    /// The text, cut to 600 characters when it is sent.
    pub message: String,
}

impl WireError {
    /// An error of that code and text.
    pub fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }

    /// A refusal of the operation's input, under the code the operation has for it
    /// ([`Operation::validation_code`]).
    pub fn validation(operation: Operation, message: impl Into<String>) -> Self {
        Self::new(operation.validation_code(), message)
    }
}
