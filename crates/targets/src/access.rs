//! Whose authority a call carries, and what a role must say to let us in.

use serde_json::{Value, json};
use syncline_model::names::{AccountId, Region, RoleArn};

/// The service principal that AWS's own Git sync assumes roles as.
pub const SYNC_SERVICE_PRINCIPAL: &str = "cloudformation.sync.codeconnections.amazonaws.com";

/// On whose behalf, as whom and where a target is called.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Access {
    /// The owner of the sync; the role's session is named after it.
    pub account: AccountId,
    /// The role to assume; its account is where the stack lives.
    pub role: RoleArn,
    /// The owner's external id, which the role's trust policy must name.
    pub external_id: String,
    /// The stack's region.
    pub region: Region,
}

impl Access {
    /// `syncline-<owner>`: what the role's account sees in its CloudTrail.
    pub(crate) fn session_name(&self) -> String {
        format!("syncline-{}", self.account)
    }
}

/// Who we are to AWS before we assume a role.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CallerIdentity {
    /// Our account.
    pub account: AccountId,
    /// Our ARN as AWS states it; a session's ARN when our credentials are a role's.
    pub arn: String,
}

impl CallerIdentity {
    /// The ARN to name in a trust policy: a session's role instead of the session, which ends.
    ///
    /// AWS leaves a role's path out of its sessions' ARNs, so a role with a path needs it added by hand.
    #[must_use]
    pub fn principal_arn(&self) -> String {
        let role_of_session = || {
            let (head, session) = self.arn.split_once(":assumed-role/")?;
            let (role, _) = session.split_once('/')?;
            let head = head.replacen(":sts:", ":iam:", 1);
            Some(format!("{head}:role/{role}"))
        };
        role_of_session().unwrap_or_else(|| self.arn.clone())
    }
}

/// The statement that lets `principal_arn` assume a role with `external_id`, as JSON to be added to the
/// role's trust policy beside what it says already.
#[must_use]
pub fn trust_statement(principal_arn: &str, external_id: &str) -> String {
    pretty(&our_statement(principal_arn, external_id))
}

/// A whole trust policy, as JSON, for a role that AWS's own Git sync and `principal_arn` may assume.
#[must_use]
pub fn trust_policy(principal_arn: &str, external_id: &str) -> String {
    pretty(&json!({
        "Version": "2012-10-17",
        "Statement": [
            {
                "Sid": "CloudFormationGitSync",
                "Effect": "Allow",
                "Principal": { "Service": SYNC_SERVICE_PRINCIPAL },
                "Action": "sts:AssumeRole",
            },
            our_statement(principal_arn, external_id),
        ],
    }))
}

fn our_statement(principal_arn: &str, external_id: &str) -> Value {
    json!({
        "Sid": "Syncline",
        "Effect": "Allow",
        "Principal": { "AWS": principal_arn },
        "Action": "sts:AssumeRole",
        "Condition": { "StringEquals": { "sts:ExternalId": external_id } },
    })
}

fn pretty(document: &Value) -> String {
    format!("{document:#}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trust_policy_names_the_role_and_not_its_session() {
        let check = |arn: &str, principal: &str| {
            let account = "123456789012".parse().expect("valid");
            let caller = CallerIdentity { account, arn: arn.to_owned() };
            assert_eq!(caller.principal_arn(), principal);
        };
        check(
            "arn:aws-cn:sts::123456789012:assumed-role/syncline/i-0abc",
            "arn:aws-cn:iam::123456789012:role/syncline",
        );
        check("arn:aws:iam::123456789012:user/ops/syncline", "arn:aws:iam::123456789012:user/ops/syncline");
        check("arn:aws:iam::123456789012:root", "arn:aws:iam::123456789012:root");
        check("arn:aws:sts::123456789012:federated-user/x", "arn:aws:sts::123456789012:federated-user/x");
    }

    #[test]
    fn the_trust_policy_is_ready_to_paste() {
        let principal = "arn:aws:iam::123456789012:role/syncline";
        assert_eq!(
            trust_statement(principal, "an \"id\""),
            r#"{
  "Sid": "Syncline",
  "Effect": "Allow",
  "Principal": {
    "AWS": "arn:aws:iam::123456789012:role/syncline"
  },
  "Action": "sts:AssumeRole",
  "Condition": {
    "StringEquals": {
      "sts:ExternalId": "an \"id\""
    }
  }
}"#
        );
        let policy: Value = serde_json::from_str(&trust_policy(principal, "id")).expect("JSON");
        assert_eq!(policy["Statement"][0]["Principal"]["Service"], SYNC_SERVICE_PRINCIPAL);
        assert_eq!(policy["Statement"][1]["Principal"]["AWS"], principal);
        assert_eq!(policy["Statement"][1]["Condition"]["StringEquals"]["sts:ExternalId"], "id");
    }
}
