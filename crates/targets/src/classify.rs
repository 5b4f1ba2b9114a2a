//! From AWS's error codes to the caller's decisions. Codes and sentences are those that AWS answers with;
//! where only the sentence tells cases apart, it is matched from its beginning, because a template's own
//! errors quote names and say "does not exist" too.

use syncline_model::names::RoleArn;

use crate::TargetError;
use crate::scrub::scrub;

/// The longest wait that another side may ask of us, in milliseconds.
const MAX_RETRY_AFTER_MS: i64 = 3_600_000;

/// A call this crate makes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Operation {
    DescribeStacks,
    CreateChangeSet,
    DescribeChangeSet,
    DeleteChangeSet,
    ExecuteChangeSet,
    DescribeStackEvents,
    ListStacks,
    GetTemplate,
    PutEvents,
    AssumeRole,
    GetCallerIdentity,
}

impl Operation {
    const ALL: [Self; 11] = [
        Self::DescribeStacks,
        Self::CreateChangeSet,
        Self::DescribeChangeSet,
        Self::DeleteChangeSet,
        Self::ExecuteChangeSet,
        Self::DescribeStackEvents,
        Self::ListStacks,
        Self::GetTemplate,
        Self::PutEvents,
        Self::AssumeRole,
        Self::GetCallerIdentity,
    ];

    /// The name of its fault point.
    pub(crate) fn point(self) -> &'static str {
        match self {
            Self::DescribeStacks => "cloudformation.DescribeStacks",
            Self::CreateChangeSet => "cloudformation.CreateChangeSet",
            Self::DescribeChangeSet => "cloudformation.DescribeChangeSet",
            Self::DeleteChangeSet => "cloudformation.DeleteChangeSet",
            Self::ExecuteChangeSet => "cloudformation.ExecuteChangeSet",
            Self::DescribeStackEvents => "cloudformation.DescribeStackEvents",
            Self::ListStacks => "cloudformation.ListStacks",
            Self::GetTemplate => "cloudformation.GetTemplate",
            Self::PutEvents => "eventbridge.PutEvents",
            Self::AssumeRole => "sts.AssumeRole",
            Self::GetCallerIdentity => "sts.GetCallerIdentity",
        }
    }

    /// Whether what the caller sent can be what is wrong; where it only asked, an error says nothing about
    /// the revision.
    fn carries_content(self) -> bool {
        matches!(self, Self::CreateChangeSet | Self::ExecuteChangeSet | Self::PutEvents)
    }
}

/// What went wrong with one call, before anybody judges it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Failure {
    /// There was no usable answer.
    NoAnswer { code: &'static str, message: String },
    /// The other side answered with an error.
    Answered { status: u16, code: Option<String>, message: Option<String>, retry_after_ms: Option<i64> },
}

/// What the caller is to do about a failed call. `role` is the one to be assumed, for `AssumeRole`.
pub(crate) fn classify(operation: Operation, failure: Failure, role: Option<&RoleArn>) -> TargetError {
    let (status, code, message, retry_after_ms) = match failure {
        Failure::NoAnswer { code, message } => return TargetError::unavailable(code, scrub(&message)),
        Failure::Answered { status, code, message, retry_after_ms } => {
            (status, code, message, retry_after_ms)
        }
    };
    let retry_after_ms = retry_after_ms.map(|ms| ms.clamp(0, MAX_RETRY_AFTER_MS));
    let Some(code) = code else {
        return TargetError::Unavailable {
            code: format!("HTTP {status}"),
            message: match message {
                Some(message) => scrub(&message),
                None => format!("{} was answered without an AWS error code", operation.point()),
            },
            retry_after_ms,
        };
    };
    let message = message.map_or_else(|| format!("{} answered {code}", operation.point()), |m| scrub(&m));
    let code = scrub(&code);
    match meaning(operation, status, &code, &message) {
        Meaning::Refused => TargetError::Refused { code, message },
        Meaning::Unavailable => TargetError::Unavailable { code, message, retry_after_ms },
        Meaning::Denied => match (operation, role) {
            (Operation::AssumeRole, Some(role)) => {
                TargetError::RoleNotAssumable { role: role.clone(), message }
            }
            _ => TargetError::Denied { code, message },
        },
        Meaning::NotFound => TargetError::NotFound,
        Meaning::AlreadyExists => TargetError::AlreadyExists,
        Meaning::TokenAlreadyExists => TargetError::TokenAlreadyExists,
        Meaning::InvalidChangeSetStatus => TargetError::InvalidChangeSetStatus { message },
        Meaning::InvalidState => TargetError::InvalidState { message },
    }
}

/// What the caller is to do about an answer with one of AWS's errors; for those that stand in for AWS.
///
/// `action` is the call's name, such as `CreateChangeSet`; `role`, the one to be assumed, for `AssumeRole`. `None` if
/// this crate makes no such call.
#[must_use]
pub fn refusal(
    action: &str,
    status: u16,
    code: &str,
    message: &str,
    role: Option<&RoleArn>,
) -> Option<TargetError> {
    let operation =
        Operation::ALL.into_iter().find(|operation| operation.point().ends_with(&format!(".{action}")))?;
    let (code, message) = (Some(code.to_owned()), Some(message.to_owned()));
    let answered = Failure::Answered { status, code, message, retry_after_ms: None };
    Some(classify(operation, answered, role))
}

/// Whether the other side no longer takes the credentials of this call.
pub(crate) fn rejects_credentials(error: &TargetError) -> bool {
    matches!(error, TargetError::Unavailable { code, .. } if CREDENTIALS_REJECTED.contains(&code.as_str()))
}

/// Whether a code, or our word for an answer without one, says that there were too many requests.
pub(crate) fn is_throttling(code: &str) -> bool {
    THROTTLING.contains(&code)
}

/// What AWS's SDKs count as throttling, and the status that says so without a code.
const THROTTLING: &[&str] = &[
    "Throttling",
    "ThrottlingException",
    "ThrottledException",
    "RequestThrottled",
    "RequestThrottledException",
    "RequestLimitExceeded",
    "TooManyRequestsException",
    "BandwidthLimitExceeded",
    "SlowDown",
    "PriorRequestNotComplete",
    "HTTP 429",
];

const CREDENTIALS_REJECTED: &[&str] = &[
    "ExpiredToken",
    "ExpiredTokenException",
    "InvalidClientTokenId",
    "InvalidToken",
    "InvalidAccessKeyId",
    "TokenRefreshRequired",
    "UnrecognizedClientException",
];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Meaning {
    Refused,
    Unavailable,
    Denied,
    NotFound,
    AlreadyExists,
    TokenAlreadyExists,
    InvalidChangeSetStatus,
    InvalidState,
}

fn meaning(operation: Operation, status: u16, code: &str, message: &str) -> Meaning {
    match code {
        "ChangeSetNotFound" | "ChangeSetNotFoundException" => return Meaning::NotFound,
        "InvalidChangeSetStatus" | "InvalidChangeSetStatusException" => {
            return Meaning::InvalidChangeSetStatus;
        }
        "TokenAlreadyExistsException" | "TokenAlreadyExists" => return Meaning::TokenAlreadyExists,
        "AlreadyExistsException" => return Meaning::AlreadyExists,
        "OperationInProgressException" | "OperationInProgress" | "StaleRequestException" => {
            return Meaning::InvalidState;
        }
        "AccessDenied"
        | "AccessDeniedException"
        | "NotAuthorized"
        | "UnauthorizedOperation"
        | "AuthFailure"
        | "OptInRequired"
        | "SubscriptionRequiredException" => return Meaning::Denied,
        "RequestTimeout"
        | "RequestTimeoutException"
        | "ServiceUnavailable"
        | "ServiceUnavailableException"
        | "InternalFailure"
        | "InternalError"
        | "InternalException"
        | "InternalServerError"
        | "SignatureDoesNotMatch"
        | "IncompleteSignature"
        | "MissingAuthenticationToken"
        | "MissingAuthenticationTokenException"
        | "RequestExpired"
        | "RequestTimeTooSkewed"
        | "RegionDisabledException" => {
            return Meaning::Unavailable;
        }
        _ if is_throttling(code) || CREDENTIALS_REJECTED.contains(&code) => return Meaning::Unavailable,
        "ValidationError" | "ValidationException" => match told_by(message) {
            Some(meaning) => return meaning,
            None if operation == Operation::AssumeRole => return Meaning::Refused,
            None => {}
        },
        _ => {}
    }
    let is_transient = status >= 500 || status == 429 || status == 408 || !operation.carries_content();
    if is_transient { Meaning::Unavailable } else { Meaning::Refused }
}

/// What a validation error says about the stack or change set it is about, if it is about one.
fn told_by(message: &str) -> Option<Meaning> {
    let message = message.trim().trim_end_matches('.');
    if !(message.starts_with("Stack") || message.starts_with("ChangeSet")) {
        return None;
    }
    if message.ends_with("does not exist") {
        return Some(Meaning::NotFound);
    }
    if message.contains("already exists and cannot be created again") {
        return Some(Meaning::InvalidState);
    }
    names_a_state(message).then_some(Meaning::InvalidState)
}

/// Whether it says "… is in UPDATE_IN_PROGRESS state …": what state forbids what.
fn names_a_state(message: &str) -> bool {
    message.split(" is in ").skip(1).any(|after| {
        let mut words = after.split_whitespace();
        let state = words.next().unwrap_or_default().trim_matches(['[', ']', '\'', '"']);
        let is_state_word = state.contains('_') && state.bytes().all(|b| b.is_ascii_uppercase() || b == b'_');
        is_state_word
            && words.next().is_some_and(|word| word.starts_with("state") || word.starts_with("status"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use Meaning as M;
    use Operation as O;

    #[test]
    fn every_code_has_its_decision() {
        let in_progress = "Stack:arn:aws:cloudformation:eu-west-1:123456789012:stack/web/1 is in UPDATE_IN_PROGRESS state and can not be updated.";
        let cases: &[(O, u16, &str, &str, M)] = &[
            // Wait and try again.
            (O::CreateChangeSet, 400, "Throttling", "Rate exceeded", M::Unavailable),
            (O::DescribeStacks, 400, "ThrottlingException", "Rate exceeded", M::Unavailable),
            (O::ExecuteChangeSet, 503, "RequestLimitExceeded", "", M::Unavailable),
            (O::CreateChangeSet, 503, "ServiceUnavailable", "", M::Unavailable),
            (O::CreateChangeSet, 500, "InternalFailure", "", M::Unavailable),
            (O::CreateChangeSet, 403, "ExpiredToken", "", M::Unavailable),
            (O::CreateChangeSet, 403, "ExpiredTokenException", "", M::Unavailable),
            (O::CreateChangeSet, 403, "InvalidClientTokenId", "", M::Unavailable),
            (O::CreateChangeSet, 400, "RequestExpired", "", M::Unavailable),
            (O::CreateChangeSet, 403, "SignatureDoesNotMatch", "", M::Unavailable),
            (O::CreateChangeSet, 500, "SomethingNew", "", M::Unavailable),
            (O::CreateChangeSet, 429, "SomethingNew", "", M::Unavailable),
            (O::DescribeStacks, 400, "SomethingNew", "", M::Unavailable),
            (O::DescribeStacks, 400, "ValidationError", "1 validation error detected", M::Unavailable),
            (O::AssumeRole, 403, "InvalidClientTokenId", "", M::Unavailable),
            (O::AssumeRole, 403, "RegionDisabledException", "", M::Unavailable),
            (O::AssumeRole, 400, "SomethingNew", "", M::Unavailable),
            // The content is wrong.
            (O::CreateChangeSet, 400, "SomethingNew", "", M::Refused),
            (O::CreateChangeSet, 400, "ValidationError", "Template format error: bad", M::Refused),
            (O::CreateChangeSet, 400, "InsufficientCapabilitiesException", "", M::Refused),
            (O::CreateChangeSet, 400, "LimitExceededException", "", M::Refused),
            (
                O::CreateChangeSet,
                400,
                "ValidationError",
                "Parameter validation failed: parameter value vpc-1 for parameter name Vpc does not exist",
                M::Refused,
            ),
            (
                O::CreateChangeSet,
                400,
                "ValidationError",
                "Template error: resource X already exists and cannot be created again",
                M::Refused,
            ),
            (
                O::CreateChangeSet,
                400,
                "ValidationError",
                "Template error: Foo is in UPDATE_IN_PROGRESS state",
                M::Refused,
            ),
            (O::AssumeRole, 400, "ValidationError", "bad external id", M::Refused),
            // Not allowed.
            (O::DescribeStacks, 403, "AccessDenied", "User: x is not authorized", M::Denied),
            (O::CreateChangeSet, 400, "AccessDeniedException", "", M::Denied),
            // Not there.
            (O::DescribeStacks, 400, "ValidationError", "Stack with id web does not exist", M::NotFound),
            (O::DescribeStackEvents, 400, "ValidationError", "Stack [web] does not exist", M::NotFound),
            (O::ExecuteChangeSet, 400, "ValidationError", "Stack 'web' does not exist.", M::NotFound),
            (O::CreateChangeSet, 400, "ValidationError", "Stack [web] does not exist", M::NotFound),
            (O::DescribeChangeSet, 404, "ChangeSetNotFound", "ChangeSet [a] does not exist", M::NotFound),
            (O::DescribeChangeSet, 404, "ChangeSetNotFoundException", "", M::NotFound),
            (O::DescribeChangeSet, 400, "ValidationError", "ChangeSet [a-1] does not exist", M::NotFound),
            // There already, or not in the right state.
            (O::CreateChangeSet, 400, "AlreadyExistsException", "ChangeSet a exists", M::AlreadyExists),
            (O::ExecuteChangeSet, 400, "TokenAlreadyExistsException", "", M::TokenAlreadyExists),
            (O::ExecuteChangeSet, 400, "InvalidChangeSetStatus", "OBSOLETE", M::InvalidChangeSetStatus),
            (O::CreateChangeSet, 400, "OperationInProgressException", "", M::InvalidState),
            (O::CreateChangeSet, 400, "ValidationError", in_progress, M::InvalidState),
            (O::ExecuteChangeSet, 400, "ValidationError", in_progress, M::InvalidState),
            (
                O::CreateChangeSet,
                400,
                "ValidationError",
                "Stack [web] already exists and cannot be created again with the changeSet [a-1].",
                M::InvalidState,
            ),
        ];
        for (operation, status, code, message, expect) in cases {
            assert_eq!(
                meaning(*operation, *status, code, message),
                *expect,
                "{operation:?} answered {status} {code}: {message}"
            );
        }
    }

    #[test]
    fn throttling_is_told_from_other_outages() {
        let check = |status: u16, code: Option<&str>, retry_after_ms: Option<i64>, expect: bool| {
            let code = code.map(str::to_owned);
            let failure = Failure::Answered { status, code: code.clone(), message: None, retry_after_ms };
            let error = classify(Operation::DescribeStacks, failure, None);
            assert_eq!(error.is_throttled(), expect, "{status} {code:?} {retry_after_ms:?}");
        };
        check(400, Some("Throttling"), None, true);
        check(503, Some("SlowDown"), None, true);
        check(429, None, None, true);
        check(503, Some("ServiceUnavailable"), Some(2_000), true);
        check(503, Some("ServiceUnavailable"), None, false);
        check(500, None, None, false);
        check(403, Some("AccessDenied"), None, false);
        let hangs = Failure::NoAnswer { code: "Timeout", message: String::new() };
        assert!(!classify(Operation::DescribeStacks, hangs, None).is_throttled());
    }

    #[test]
    fn a_denied_assume_role_names_the_role() {
        let role: RoleArn = "arn:aws:iam::123456789012:role/deploy".parse().expect("valid");
        let denied = Failure::Answered {
            status: 403,
            code: Some("AccessDenied".to_owned()),
            message: Some("not authorized to perform: sts:AssumeRole".to_owned()),
            retry_after_ms: None,
        };
        let message = "not authorized to perform: sts:AssumeRole".to_owned();
        assert_eq!(
            classify(Operation::AssumeRole, denied.clone(), Some(&role)),
            TargetError::RoleNotAssumable { role, message: message.clone() }
        );
        assert_eq!(
            classify(Operation::GetCallerIdentity, denied, None),
            TargetError::Denied { code: "AccessDenied".to_owned(), message }
        );
    }

    #[test]
    fn an_answer_that_is_not_from_aws_is_no_verdict() {
        let check = |status: u16, retry_after_ms: Option<i64>, expect_ms: Option<i64>| {
            let failure = Failure::Answered { status, code: None, message: None, retry_after_ms };
            let TargetError::Unavailable { code, retry_after_ms, .. } =
                classify(Operation::CreateChangeSet, failure, None)
            else {
                panic!("HTTP {status} without a code should be no verdict");
            };
            assert_eq!((code, retry_after_ms), (format!("HTTP {status}"), expect_ms));
        };
        check(500, None, None);
        check(502, Some(2_000), Some(2_000));
        check(503, Some(i64::MAX), Some(MAX_RETRY_AFTER_MS));
        check(404, Some(-1), Some(0));
    }
}
