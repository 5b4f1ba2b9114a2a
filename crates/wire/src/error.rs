//! The error a request ends with.

use std::time::Duration;

use http::header::{HeaderName, HeaderValue, RETRY_AFTER};
use thiserror::Error;

use crate::{ErrorCode, Operation};

const X_AMZ_RETRY_AFTER: HeaderName = HeaderName::from_static("x-amz-retry-after");

/// What a client is told: a code of the API and a text for a person.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{}: {message}", code.name())]
pub struct WireError {
    /// The code, which also fixes the HTTP status.
    pub code: ErrorCode,
    /// The text, cut to 600 characters when it is sent.
    pub message: String,
    /// When the same request may succeed, if the refusal is only for now; sent as `x-amz-retry-after` and
    /// `Retry-After`.
    pub retry_after: Option<Duration>,
}

impl WireError {
    /// An error of that code and text.
    pub fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), retry_after: None }
    }

    /// The same error, which may be gone after `wait`.
    #[must_use]
    pub fn retry_after(mut self, wait: Duration) -> Self {
        self.retry_after = Some(wait);
        self
    }

    /// The headers that tell a client how long to wait, if the error is only for now: `x-amz-retry-after` in
    /// milliseconds, which the AWS SDKs read (`aws-runtime` for Rust, `botocore.retries.standard` for Python), and
    /// HTTP's own `Retry-After` in seconds. Both are rounded up.
    #[must_use]
    pub fn retry_headers(&self) -> Vec<(HeaderName, HeaderValue)> {
        let Some(wait) = self.retry_after else { return Vec::new() };
        let milliseconds = u64::try_from(wait.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX);
        vec![
            (X_AMZ_RETRY_AFTER, HeaderValue::from(milliseconds)),
            (RETRY_AFTER, HeaderValue::from(milliseconds.div_ceil(1000))),
        ]
    }

    /// A refusal of a key, or of its session token, that is not accepted here. Whatever the reason is, it is told in
    /// the same words, so that nobody learns which keys there are.
    #[must_use]
    pub fn unknown_key() -> Self {
        Self::new(ErrorCode::UnrecognizedClient, "The security token included in the request is invalid.")
    }

    /// A refusal of the operation's input, under the code the operation has for it
    /// ([`Operation::validation_code`]).
    pub fn validation(operation: Operation, message: impl Into<String>) -> Self {
        Self::new(operation.validation_code(), message)
    }
}
