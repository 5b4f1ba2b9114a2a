//! CloudFormation's status words. AWS adds some now and then, so each type has room for a word it does not
//! know instead of an error.

use std::fmt;

macro_rules! open_enum {
    ($(#[$doc:meta])* $name:ident { $($(#[$vdoc:meta])* $variant:ident = $text:literal,)+ }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, Hash)]
        pub enum $name {
            $($(#[$vdoc])* $variant,)+
            /// A word newer than this program.
            Unknown(String),
        }
        impl $name {
            /// CloudFormation's word.
            #[must_use]
            pub fn as_str(&self) -> &str {
                match self {
                    $(Self::$variant => $text,)+
                    Self::Unknown(word) => word,
                }
            }
        }
        impl From<&str> for $name {
            fn from(word: &str) -> Self {
                match word {
                    $($text => Self::$variant,)+
                    _ => Self::Unknown(word.to_owned()),
                }
            }
        }
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }
    };
}

open_enum! {
    /// The status of a stack.
    StackStatus {
        /// Created.
        CreateComplete = "CREATE_COMPLETE",
        /// Creation failed and was not rolled back.
        CreateFailed = "CREATE_FAILED",
        /// Being created.
        CreateInProgress = "CREATE_IN_PROGRESS",
        /// Deleted; only seen by stack id.
        DeleteComplete = "DELETE_COMPLETE",
        /// Deletion failed.
        DeleteFailed = "DELETE_FAILED",
        /// Being deleted.
        DeleteInProgress = "DELETE_IN_PROGRESS",
        /// Resources were imported.
        ImportComplete = "IMPORT_COMPLETE",
        /// Resources are being imported.
        ImportInProgress = "IMPORT_IN_PROGRESS",
        /// An import failed and was undone.
        ImportRollbackComplete = "IMPORT_ROLLBACK_COMPLETE",
        /// An import failed and so did undoing it.
        ImportRollbackFailed = "IMPORT_ROLLBACK_FAILED",
        /// An import failed and is being undone.
        ImportRollbackInProgress = "IMPORT_ROLLBACK_IN_PROGRESS",
        /// Only a CREATE change set exists: there is nothing in the stack yet.
        ReviewInProgress = "REVIEW_IN_PROGRESS",
        /// Creation failed and was rolled back; all that can be done is to delete the stack.
        RollbackComplete = "ROLLBACK_COMPLETE",
        /// Creation failed and so did rolling it back.
        RollbackFailed = "ROLLBACK_FAILED",
        /// Creation failed and is being rolled back.
        RollbackInProgress = "ROLLBACK_IN_PROGRESS",
        /// Updated.
        UpdateComplete = "UPDATE_COMPLETE",
        /// Updated; what it replaced is being removed.
        UpdateCompleteCleanupInProgress = "UPDATE_COMPLETE_CLEANUP_IN_PROGRESS",
        /// An update failed and was not rolled back.
        UpdateFailed = "UPDATE_FAILED",
        /// Being updated.
        UpdateInProgress = "UPDATE_IN_PROGRESS",
        /// An update failed and was rolled back.
        UpdateRollbackComplete = "UPDATE_ROLLBACK_COMPLETE",
        /// An update failed and was rolled back; what it created is being removed.
        UpdateRollbackCompleteCleanupInProgress = "UPDATE_ROLLBACK_COMPLETE_CLEANUP_IN_PROGRESS",
        /// An update failed and so did rolling it back.
        UpdateRollbackFailed = "UPDATE_ROLLBACK_FAILED",
        /// An update failed and is being rolled back.
        UpdateRollbackInProgress = "UPDATE_ROLLBACK_IN_PROGRESS",
    }
}

open_enum! {
    /// How far the making of a change set has come.
    ChangeSetStatus {
        /// Made.
        CreateComplete = "CREATE_COMPLETE",
        /// Being made.
        CreateInProgress = "CREATE_IN_PROGRESS",
        /// Waiting to be made.
        CreatePending = "CREATE_PENDING",
        /// Deleted.
        DeleteComplete = "DELETE_COMPLETE",
        /// Deletion failed.
        DeleteFailed = "DELETE_FAILED",
        /// Being deleted.
        DeleteInProgress = "DELETE_IN_PROGRESS",
        /// Waiting to be deleted.
        DeletePending = "DELETE_PENDING",
        /// Could not be made, or would change nothing.
        Failed = "FAILED",
    }
}

open_enum! {
    /// Whether a change set can be, is being or was executed.
    ExecutionStatus {
        /// Can be executed.
        Available = "AVAILABLE",
        /// Was executed.
        ExecuteComplete = "EXECUTE_COMPLETE",
        /// Was executed without success.
        ExecuteFailed = "EXECUTE_FAILED",
        /// Is being executed.
        ExecuteInProgress = "EXECUTE_IN_PROGRESS",
        /// The stack has changed since: cannot be executed any more.
        Obsolete = "OBSOLETE",
        /// Cannot be executed, or not yet.
        Unavailable = "UNAVAILABLE",
    }
}

open_enum! {
    /// What would happen to a resource.
    ChangeAction {
        /// It would be created.
        Add = "Add",
        /// Not known before the execution.
        Dynamic = "Dynamic",
        /// It would be taken into the stack.
        Import = "Import",
        /// It would be changed; see [`Replacement`].
        Modify = "Modify",
        /// It would leave the stack.
        Remove = "Remove",
        /// The stack's idea of it would be brought in line with it.
        SyncWithActual = "SyncWithActual",
    }
}

open_enum! {
    /// Whether a changed resource would be replaced by a new one.
    Replacement {
        /// Not known before the execution.
        Conditional = "Conditional",
        /// It would be changed in place.
        False = "False",
        /// It would be replaced.
        True = "True",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_survive_the_way_in_and_out_even_when_unknown() {
        assert_eq!(StackStatus::from("UPDATE_COMPLETE"), StackStatus::UpdateComplete);
        assert_eq!(StackStatus::from("NEW_WORD"), StackStatus::Unknown("NEW_WORD".to_owned()));
        assert_eq!(StackStatus::from("NEW_WORD").to_string(), "NEW_WORD");
        assert_eq!(ChangeSetStatus::from("FAILED").as_str(), "FAILED");
        assert_eq!(Replacement::from("True"), Replacement::True);
    }

    #[test]
    fn every_word_the_sdk_knows_is_known_here() {
        use aws_sdk_cloudformation::types as sdk;
        let unknown_stack = |w: &&&str| matches!(StackStatus::from(**w), StackStatus::Unknown(_));
        assert_eq!(sdk::StackStatus::values().iter().find(unknown_stack), None);
        let unknown_set = |w: &&&str| matches!(ChangeSetStatus::from(**w), ChangeSetStatus::Unknown(_));
        assert_eq!(sdk::ChangeSetStatus::values().iter().find(unknown_set), None);
        let unknown_execution = |w: &&&str| matches!(ExecutionStatus::from(**w), ExecutionStatus::Unknown(_));
        assert_eq!(sdk::ExecutionStatus::values().iter().find(unknown_execution), None);
        let unknown_action = |w: &&&str| matches!(ChangeAction::from(**w), ChangeAction::Unknown(_));
        assert_eq!(sdk::ChangeAction::values().iter().find(unknown_action), None);
        let unknown_replacement = |w: &&&str| matches!(Replacement::from(**w), Replacement::Unknown(_));
        assert_eq!(sdk::Replacement::values().iter().find(unknown_replacement), None);
    }
}
