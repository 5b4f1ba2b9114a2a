//! What every operation has beside its generated part.

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::shape::Shape;
use crate::{Answered, ErrorCode, Operation, Service};

/// The typed input of an operation; implemented by the generated structures.
pub trait Input: Serialize + DeserializeOwned {
    /// The operation.
    const OPERATION: Operation;
    /// What the operation answers.
    type Output: Output;
    /// The same as the server answers it: long ones are already written.
    type Answer: Answered;
    /// The shape with its constraints.
    fn shape() -> &'static Shape;
}

/// The typed output of an operation; implemented by the generated structures.
pub trait Output: Serialize + DeserializeOwned {
    /// The shape with its constraints.
    fn shape() -> &'static Shape;
}

impl Operation {
    /// True where the operation changes nothing.
    #[must_use]
    pub fn is_read_only(self) -> bool {
        self.name().starts_with("Get") || self.name().starts_with("List")
    }

    /// True where the model declares the error for this operation.
    #[must_use]
    pub fn declares(self, code: ErrorCode) -> bool {
        self.declared_errors().contains(&code)
    }

    /// The code under which a bad input is refused: `InvalidInputException` where it is declared, else
    /// `ValidationException`.
    #[must_use]
    pub fn validation_code(self) -> ErrorCode {
        if self.declares(ErrorCode::InvalidInput) { ErrorCode::InvalidInput } else { ErrorCode::Validation }
    }

    /// The code under which a failure of the server is told: `InternalServerException` where it is declared, else
    /// `InternalFailure`, which every AWS service may answer.
    #[must_use]
    pub fn failure_code(self) -> ErrorCode {
        if self.declares(ErrorCode::InternalServer) {
            ErrorCode::InternalServer
        } else {
            ErrorCode::InternalFailure
        }
    }
}

impl Service {
    /// The service's name in an rpc-v2-cbor path and in a short `X-Amz-Target`.
    #[must_use]
    pub fn short_name(self) -> &'static str {
        let prefix = self.target_prefix();
        prefix.rsplit_once('.').map_or(prefix, |(_, name)| name)
    }
}
