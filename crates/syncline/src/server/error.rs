//! From what went wrong inside to what a client is told.

use syncline_store::StoreError;
use syncline_wire::{ErrorCode, Operation, WireError};
use tracing::error;

use super::limits::overloaded;

/// What an operation answers.
pub(super) type Answer<T> = Result<T, ApiError>;

/// What a client is told.
#[derive(Debug)]
pub(super) struct ApiError {
    pub(super) error: WireError,
    /// Whether the audit log has it already.
    pub(super) is_recorded: bool,
}

impl ApiError {
    pub(super) fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        WireError::new(code, message).into()
    }

    /// The same, once the audit log has it.
    pub(super) fn recorded(self) -> Self {
        Self { is_recorded: true, ..self }
    }

    /// The same under a code that the operation has: what it does not declare, a client of it cannot name.
    pub(super) fn of(mut self, operation: Operation) -> Self {
        if self.error.code == ErrorCode::InternalServer {
            self.error.code = operation.failure_code();
        }
        self
    }

    /// `Could not find <what>:<which>` (contract §5).
    pub(super) fn not_found(what: &str, which: &str) -> Self {
        Self::new(ErrorCode::ResourceNotFound, format!("Could not find {what}:{which}"))
    }

    pub(super) fn invalid_input(message: impl Into<String>) -> Self {
        Self::new(ErrorCode::InvalidInput, message)
    }

    pub(super) fn validation(message: impl Into<String>) -> Self {
        Self::new(ErrorCode::Validation, message)
    }
}

impl From<StoreError> for ApiError {
    fn from(error: StoreError) -> Self {
        if let StoreError::Busy { .. } = error {
            // Counted by the store; a flood must not fill the log.
            return overloaded().into();
        }
        error!(%error, "a request could not be answered");
        Self::new(
            ErrorCode::InternalServer,
            "the server could not complete the request; it is safe to try again",
        )
    }
}

impl From<WireError> for ApiError {
    fn from(error: WireError) -> Self {
        Self { error, is_recorded: false }
    }
}
