//! Every fault point that a history can pass, and how often it does.

/// How often a point is passed in one history, which says how likely each passing goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Often {
    /// A hundred times and more.
    Always,
    /// Some ten times.
    Commonly,
    /// A few times.
    Sometimes,
    /// Not in every history.
    Rarely,
}

impl Often {
    /// How many of 10,000 passings go wrong, on either side of the point.
    pub(crate) fn of_ten_thousand(self) -> u32 {
        match self {
            Self::Always => 12,
            Self::Commonly => 50,
            Self::Sometimes => 250,
            Self::Rarely => 1500,
        }
    }
}

use Often::{Always, Commonly, Rarely, Sometimes};

/// The points. One that is passed and not named here fails the run, and so does one that is not hit often enough.
pub const POINTS: &[(&str, Often)] = &[
    ("cloudformation.CreateChangeSet", Commonly),
    ("cloudformation.DeleteChangeSet", Sometimes),
    ("cloudformation.DescribeChangeSet", Always),
    ("cloudformation.DescribeStackEvents", Commonly),
    ("cloudformation.DescribeStacks", Always),
    ("cloudformation.ExecuteChangeSet", Commonly),
    ("cloudformation.ListStacks", Rarely),
    ("git.diff_trees", Commonly),
    ("git.fetch", Commonly),
    ("git.heads", Always),
    ("git.read_blob", Always),
    ("git.read_tree", Commonly),
    ("store.authorize_connection", Rarely),
    ("store.begin_rotation", Rarely),
    ("store.claim", Always),
    ("store.create_access_key", Rarely),
    ("store.create_account", Rarely),
    ("store.create_configuration", Rarely),
    ("store.create_connection", Rarely),
    ("store.create_host", Rarely),
    ("store.create_link", Rarely),
    ("store.create_user", Rarely),
    ("store.delete_access_key", Rarely),
    ("store.delete_configuration", Rarely),
    ("store.delete_connection", Rarely),
    ("store.delete_host", Rarely),
    ("store.delete_link", Rarely),
    ("store.delete_policy", Rarely),
    ("store.delete_user", Rarely),
    ("store.end_attempt", Commonly),
    ("store.finish_rotation", Rarely),
    ("store.forget_sync", Rarely),
    ("store.forget_work", Rarely),
    ("store.hand_over", Rarely),
    ("store.open_attempt", Commonly),
    ("store.open_repository_attempt", Commonly),
    ("store.put_policy", Rarely),
    ("store.record_abandoning", Rarely),
    ("store.record_change_set", Commonly),
    ("store.record_considered", Commonly),
    ("store.record_credential", Rarely),
    ("store.record_events", Sometimes),
    ("store.record_execution", Commonly),
    ("store.record_heads", Commonly),
    ("store.record_plan", Commonly),
    ("store.record_read_trouble", Sometimes),
    ("store.record_recovery", Sometimes),
    ("store.record_remote_trouble", Sometimes),
    ("store.record_replan", Rarely),
    ("store.record_root_account", Rarely),
    ("store.record_throttled", Rarely),
    ("store.record_trouble", Sometimes),
    ("store.record_unchanged", Rarely),
    ("store.release", Always),
    ("store.renew", Sometimes),
    ("store.reseal_secrets", Rarely),
    ("store.resolve_blocker", Rarely),
    ("store.resume", Rarely),
    ("store.rewrap_data_keys", Rarely),
    ("store.sequence_audit", Rarely),
    ("store.set_access_key_active", Rarely),
    ("store.suspend", Rarely),
    ("store.sync_now", Rarely),
    ("store.tag", Rarely),
    ("store.untag", Rarely),
    ("store.update_configuration", Rarely),
    ("store.update_host", Rarely),
    ("store.update_link", Rarely),
    ("sts.AssumeRole", Sometimes),
];

/// The product's other points, which no history passes: a program is asked for its version, and who we are is asked of
/// AWS, for people; keys come from a program, and many configurations are made at once, before anything is served; and of
/// webhooks, and of keys that are shown to hosts, no history tells.
pub const ELSEWHERE: &[&str] = &[
    "cloudformation.GetTemplate",
    "eventbridge.PutEvents",
    "git.introduce",
    "git.version",
    "keyring.command",
    "store.accept_delivery",
    "store.authorize_with_grant",
    "store.begin_handshake",
    "store.begin_redeliveries",
    "store.begin_renewal",
    "store.continue_handshake",
    "store.create_notification_target",
    "store.delete_notification_target",
    "store.forget_grant",
    "store.open_handshake",
    "store.probe",
    "store.record_hook_look",
    "store.record_no_renewal",
    "store.record_preview_change_set",
    "store.record_preview_phase",
    "store.record_preview_plan",
    "store.record_preview_told",
    "store.record_preview_trouble",
    "store.record_preview_wanted",
    "store.record_pull_request",
    "store.record_renewal",
    "store.record_sent",
    "store.record_unsent",
    "store.replay_delivery",
    "store.rotate_webhook",
    "store.seed",
    "store.sweep_handshake",
    "store.take_handshake",
    "store.wake_redeliveries",
    "store.want",
    "store.want_token",
    "sts.GetCallerIdentity",
];

/// How often a point is passed; `None` if the simulation does not know it.
pub(crate) fn often(point: &str) -> Option<Often> {
    POINTS.binary_search_by(|(known, _)| (*known).cmp(point)).ok().map(|at| POINTS[at].1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_points_are_sorted_and_found() {
        assert!(POINTS.is_sorted_by(|a, b| a.0 < b.0));
        assert_eq!(often("store.release"), Some(Often::Always));
        assert_eq!(often("store.nothing"), None);
    }
}
