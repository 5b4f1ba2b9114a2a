use syncline_model::names::RoleArn;
use syncline_seams::CallError;
use thiserror::Error;

use crate::classify;

/// Why a target did not do what it was asked; each variant is something else for the caller to do.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum TargetError {
    /// What was asked is wrong (an invalid template, a quota): asking again will not help.
    #[error("{code}: {message}")]
    Refused {
        /// AWS's error code.
        code: String,
        /// AWS's message.
        message: String,
    },
    /// No usable answer (throttled, timed out, unreachable, credentials expired): ask again later. Whether a
    /// change took effect is unknown: observe first.
    #[error("{code}: {message}")]
    Unavailable {
        /// AWS's error code, or our own word where AWS said none: `Timeout`, `Interrupted`, `NoConnection`,
        /// `NoCredentials`, `MalformedAnswer`, `TooManyPages` or `HTTP <status>`.
        code: String,
        /// What happened.
        message: String,
        /// How long the other side asks us to wait, in milliseconds; at most an hour.
        retry_after_ms: Option<i64>,
    },
    /// The role was assumed but may not do this.
    #[error("{code}: {message}")]
    Denied {
        /// AWS's error code.
        code: String,
        /// AWS's message, which names the missing permission.
        message: String,
    },
    /// The role's trust policy does not let us in: show [`crate::trust_statement`].
    #[error("cannot assume {role}: {message}")]
    RoleNotAssumable {
        /// The role.
        role: RoleArn,
        /// AWS's message.
        message: String,
    },
    /// There is no such stack or change set.
    #[error("there is no such stack or change set")]
    NotFound,
    /// The stack has a change set of this name already: describe it.
    #[error("a change set of this name exists already")]
    AlreadyExists,
    /// This execution was begun before: watch it.
    #[error("an operation with this token exists already")]
    TokenAlreadyExists,
    /// The change set is not in a status in which this can be done to it (obsolete, executed, still being
    /// created): describe it.
    #[error("{message}")]
    InvalidChangeSetStatus {
        /// AWS's message.
        message: String,
    },
    /// The stack is not as the caller assumed (being changed, stuck, or there although it is to be created):
    /// describe it.
    #[error("{message}")]
    InvalidState {
        /// AWS's message.
        message: String,
    },
}

impl TargetError {
    /// Whether the other side answers, and wants to be asked less.
    #[must_use]
    pub fn is_throttled(&self) -> bool {
        match self {
            Self::Unavailable { code, retry_after_ms, .. } => {
                retry_after_ms.is_some() || classify::is_throttling(code)
            }
            Self::Refused { .. }
            | Self::Denied { .. }
            | Self::RoleNotAssumable { .. }
            | Self::NotFound
            | Self::AlreadyExists
            | Self::TokenAlreadyExists
            | Self::InvalidChangeSetStatus { .. }
            | Self::InvalidState { .. } => false,
        }
    }

    /// An `Unavailable` of our own making.
    pub(crate) fn unavailable(code: impl Into<String>, message: impl Into<String>) -> Self {
        Self::Unavailable { code: code.into(), message: message.into(), retry_after_ms: None }
    }
}

impl From<CallError> for TargetError {
    fn from(cut_short: CallError) -> Self {
        let code = match cut_short {
            CallError::TimedOut { .. } => "Timeout",
            CallError::Injected { .. } | CallError::Lost { .. } => "Interrupted",
        };
        Self::unavailable(code, cut_short.to_string())
    }
}
