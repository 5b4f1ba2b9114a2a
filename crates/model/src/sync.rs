//! The nouns of a sync: revisions, attempts, events and blockers.

use serde::{Deserialize, Serialize};

/// One commit of a repository's branch, as CodeConnections' `Revision` names it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Revision {
    /// The branch's short name.
    pub branch: String,
    /// The deployment file's directory; `.` at the repository's root.
    pub directory: String,
    /// The owner of the repository: a user, an organisation or a path of groups.
    pub owner_id: String,
    /// The repository's name.
    pub repository_name: String,
    /// The provider type, such as `GitHub` or `Git`.
    pub provider_type: String,
    /// The full commit id.
    pub sha: String,
}

macro_rules! text_enum {
    ($(#[$doc:meta])* $name:ident { $($(#[$vdoc:meta])* $variant:ident = $text:literal,)+ }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
        pub enum $name { $($(#[$vdoc])* #[serde(rename = $text)] $variant,)+ }
        impl $name {
            /// Every value, in the order of declaration.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];
            /// The text under which it is stored and shown.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text),+ }
            }
            /// The value of a stored text; `None` if there is no such value.
            #[must_use]
            pub fn from_text(text: &str) -> Option<Self> {
                match text { $($text => Some(Self::$variant),)+ _ => None }
            }
        }
        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.as_str())
            }
        }
    };
}

text_enum! {
    /// How far an attempt to drive one stack to one revision has come.
    AttemptStatus {
        /// Opened; nothing has been executed.
        Initiated = "INITIATED",
        /// Its change set is being executed.
        InProgress = "IN_PROGRESS",
        /// The stack is at the revision.
        Succeeded = "SUCCEEDED",
        /// The stack is not at the revision; the events say why.
        Failed = "FAILED",
    }
}

impl AttemptStatus {
    /// Whether the attempt has ended; an ended attempt never changes again.
    #[must_use]
    pub fn is_terminal(self) -> bool {
        matches!(self, Self::Succeeded | Self::Failed)
    }
}

text_enum! {
    /// How far the reading of one commit has come.
    RepositoryAttemptStatus {
        /// Opened.
        Initiated = "INITIATED",
        /// The commit is being read.
        InProgress = "IN_PROGRESS",
        /// Every sync configuration of the branch has been told.
        Succeeded = "SUCCEEDED",
        /// The commit could not be read; the events say why.
        Failed = "FAILED",
        /// A newer commit arrived while this one was being read.
        Queued = "QUEUED",
    }
}

text_enum! {
    /// What a sync event is about: stable constants for programs; the event's text is for people.
    EventKind {
        /// A new head of the branch was seen.
        HeadObserved = "HEAD_OBSERVED",
        /// A commit is being read.
        CommitRead = "COMMIT_READ",
        /// A sync configuration wants this commit.
        ResourceChanged = "RESOURCE_CHANGED",
        /// A sync configuration's files are the same as before.
        ResourceUnchanged = "RESOURCE_UNCHANGED",
        /// A newer commit is waiting.
        NewerCommitQueued = "NEWER_COMMIT_QUEUED",
        /// The branch does not exist.
        BranchMissing = "BRANCH_MISSING",
        /// The Git host refuses or does not answer.
        RepositoryUnavailable = "REPOSITORY_UNAVAILABLE",
        /// An attempt has begun.
        AttemptStarted = "ATTEMPT_STARTED",
        /// The deployment file and the template were read and checked.
        FilesRead = "FILES_READ",
        /// The deployment file or the template is missing, invalid or unreadable.
        InvalidFile = "INVALID_FILE",
        /// The stack is being changed by something else; the attempt waits.
        StackBusy = "STACK_BUSY",
        /// A change set was asked for.
        ChangeSetCreating = "CHANGE_SET_CREATING",
        /// The change set is ready.
        ChangeSetCreated = "CHANGE_SET_CREATED",
        /// The change set is of no use any more and another one follows.
        ChangeSetReplaced = "CHANGE_SET_REPLACED",
        /// CloudFormation refused the change set.
        ChangeSetFailed = "CHANGE_SET_FAILED",
        /// The stack is at the revision already.
        NoChanges = "NO_CHANGES",
        /// The change set is being executed.
        ExecutionStarted = "EXECUTION_STARTED",
        /// CloudFormation's own event of the stack or of a resource of it.
        StackEvent = "STACK_EVENT",
        /// The stack was changed by someone else since the last sync.
        StackChangedOutside = "STACK_CHANGED_OUTSIDE",
        /// An outside call failed and will be made again.
        Retrying = "RETRYING",
        /// An outside call works again.
        Recovered = "RECOVERED",
        /// The execution failed and was rolled back.
        ExecutionFailed = "EXECUTION_FAILED",
        /// The stack is in a state no change set can leave.
        StackStuck = "STACK_STUCK",
        /// The stack was deleted by someone else.
        StackDeleted = "STACK_DELETED",
        /// The attempt was given up for a newer revision or a changed configuration.
        Superseded = "SUPERSEDED",
        /// The attempt has succeeded.
        Succeeded = "SUCCEEDED",
        /// The attempt has failed.
        Failed = "FAILED",
    }
}

/// One thing that happened in an attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SyncEvent {
    /// Milliseconds since the Unix epoch.
    pub time_ms: i64,
    /// What it is about.
    pub kind: EventKind,
    /// For people.
    pub text: String,
    /// The change set's ARN, the stack event's id or the commit.
    pub external_id: Option<String>,
}

text_enum! {
    /// Why a sync is blocked.
    BlockerKind {
        /// The deployment file or template is missing, invalid or unreadable.
        InvalidFile = "INVALID_FILE",
        /// CloudFormation refused the change set.
        ChangeSetFailed = "CHANGE_SET_FAILED",
        /// The execution failed and was rolled back.
        ExecutionFailed = "EXECUTION_FAILED",
        /// The stack is in a state no change set can leave.
        StackStuck = "STACK_STUCK",
        /// The stack was deleted by someone else.
        StackDeleted = "STACK_DELETED",
        /// The role cannot be assumed.
        RoleNotAssumable = "ROLE_NOT_ASSUMABLE",
        /// The role lacks a permission.
        AccessDenied = "ACCESS_DENIED",
        /// CloudFormation does not answer.
        TargetUnavailable = "TARGET_UNAVAILABLE",
        /// The branch does not exist.
        BranchMissing = "BRANCH_MISSING",
        /// The Git host does not answer.
        RepositoryUnavailable = "REPOSITORY_UNAVAILABLE",
        /// The Git host has no such repository.
        RepositoryNotFound = "REPOSITORY_NOT_FOUND",
        /// The Git host refuses the connection's credential.
        CredentialRefused = "CREDENTIAL_REFUSED",
        /// The connection was deleted or is not complete.
        ConnectionUnavailable = "CONNECTION_UNAVAILABLE",
    }
}

/// What ends a blocker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Release {
    /// A newer attempt that succeeds, or `UpdateSyncBlocker`.
    Success,
    /// The outage is over: the call that failed works again.
    Recovery,
    /// `UpdateSyncBlocker` alone; until then newer commits wait.
    Operator,
}

impl BlockerKind {
    /// What ends a blocker of this kind.
    #[must_use]
    pub fn release(self) -> Release {
        match self {
            Self::InvalidFile | Self::ChangeSetFailed | Self::ExecutionFailed | Self::StackStuck => {
                Release::Success
            }
            Self::StackDeleted => Release::Operator,
            Self::RoleNotAssumable
            | Self::AccessDenied
            | Self::TargetUnavailable
            | Self::BranchMissing
            | Self::RepositoryUnavailable
            | Self::RepositoryNotFound
            | Self::CredentialRefused
            | Self::ConnectionUnavailable => Release::Recovery,
        }
    }

    /// Whether the blocker speaks of the repository's side, and ends when its branch is read again.
    #[must_use]
    pub fn is_of_repository(self) -> bool {
        matches!(
            self,
            Self::BranchMissing
                | Self::RepositoryUnavailable
                | Self::RepositoryNotFound
                | Self::CredentialRefused
                | Self::ConnectionUnavailable
        )
    }

    /// What an operator can do about it.
    #[must_use]
    pub fn suggested_fix(self) -> &'static str {
        match self {
            Self::InvalidFile => "correct the file and push; the next commit is tried by itself",
            Self::ChangeSetFailed => {
                "correct the template, its parameters or the role's permissions and push, or resolve this blocker to try the same commit again"
            }
            Self::ExecutionFailed => {
                "correct what made the resource fail and push, or resolve this blocker to try the same commit again"
            }
            Self::StackStuck => {
                "bring the stack back into a state that can be updated (continue-update-rollback, or delete it if it never was complete), then resolve this blocker"
            }
            Self::StackDeleted => {
                "resolve this blocker to have the stack created again, or delete the sync configuration"
            }
            Self::RoleNotAssumable => {
                "add the statement of `syncline account trust-policy` to the role's trust policy"
            }
            Self::AccessDenied => "grant the role the missing permission",
            Self::TargetUnavailable => "wait: the call is tried again at least every 15 minutes",
            Self::BranchMissing => "push the branch, or point the sync configuration at another one",
            Self::RepositoryUnavailable => {
                "wait for the Git host: it is asked again at least every 15 minutes"
            }
            Self::RepositoryNotFound => {
                "check the repository link's owner and name, and what the credential may read"
            }
            Self::CredentialRefused => {
                "authorize the connection again with a credential that may read the repository"
            }
            Self::ConnectionUnavailable => {
                "authorize the connection; if it was deleted, link the repository through another one and point the sync configuration at that link"
            }
        }
    }
}

text_enum! {
    /// Whether a blocker still stands.
    BlockerStatus {
        /// It stands.
        Active = "ACTIVE",
        /// It does not.
        Resolved = "RESOLVED",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_round_trip() {
        for kind in EventKind::ALL {
            assert_eq!(EventKind::from_text(kind.as_str()), Some(*kind));
        }
        for kind in BlockerKind::ALL {
            assert_eq!(BlockerKind::from_text(kind.as_str()), Some(*kind));
            assert!(!kind.suggested_fix().is_empty());
        }
        assert_eq!(AttemptStatus::from_text("SYNCED"), None);
    }
}
