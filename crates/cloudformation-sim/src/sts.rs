//! AssumeRole and GetCallerIdentity.

use crate::faults::RoleFaults;
use crate::query::Form;
use crate::refusal::Refusal;
use crate::xml::Xml;

/// Who holds an access key that AssumeRole gave out.
#[derive(Debug, Clone)]
pub(crate) struct AssumedRole {
    pub(crate) account: String,
    pub(crate) arn: String,
    pub(crate) role_id: String,
    pub(crate) expires_ms: i64,
}

/// Who makes a call.
#[derive(Debug, Clone)]
pub(crate) struct Caller {
    pub(crate) account: String,
    pub(crate) arn: String,
    pub(crate) user_id: String,
}

/// AssumeRole: the new access key id and who holds it.
pub(crate) fn assume_role(
    form: &Form,
    roles: &RoleFaults,
    caller: &Caller,
    now_ms: i64,
    xml: &mut Xml,
) -> Result<(String, AssumedRole), Refusal> {
    let role_arn = form.required("RoleArn")?;
    let session = form.required("RoleSessionName")?;
    let parts: Vec<&str> = role_arn.splitn(6, ':').collect();
    let (partition, account, role) = match parts.as_slice() {
        ["arn", partition, "iam", "", account, resource]
            if account.len() == 12 && account.bytes().all(|b| b.is_ascii_digit()) =>
        {
            match resource.strip_prefix("role/") {
                Some(path) if !path.is_empty() && !path.ends_with('/') => {
                    (*partition, *account, path.rsplit('/').next().unwrap_or(path))
                }
                _ => return Err(Refusal::validation(format!("{role_arn} is invalid"))),
            }
        }
        _ => return Err(Refusal::validation(format!("{role_arn} is invalid"))),
    };
    let valid_session = (2..=64).contains(&session.len())
        && session.bytes().all(|b| b.is_ascii_alphanumeric() || b"_=,.@-".contains(&b));
    if !valid_session {
        return Err(Refusal::validation(format!(
            "1 validation error detected: Value '{session}' at 'roleSessionName' failed to satisfy constraint: Member must satisfy regular expression pattern: [\\w+=,.@-]*"
        )));
    }
    let seconds: i64 = form.filled("DurationSeconds").unwrap_or("3600").parse().unwrap_or(0);
    if !(900..=43_200).contains(&seconds) {
        return Err(Refusal::validation(format!(
            "1 validation error detected: Value '{seconds}' at 'durationSeconds' failed to satisfy constraint: Member must have value between 900 and 43200"
        )));
    }
    let wrong_id = roles.external_ids.get(role_arn).is_some_and(|id| form.get("ExternalId") != Some(id));
    if roles.denied.contains(role_arn) || wrong_id {
        return Err(Refusal::new(
            403,
            "AccessDenied",
            format!(
                "User: {} is not authorized to perform: sts:AssumeRole on resource: {role_arn}",
                caller.arn
            ),
        ));
    }
    let random = syncline_seams::chance::uuid().simple().to_string().to_uppercase();
    let key = format!("ASIA{}", &random[..16]);
    let role_id = format!("AROA{}:{session}", &random[16..]);
    let holder = AssumedRole {
        account: account.to_owned(),
        arn: format!("arn:{partition}:sts::{account}:assumed-role/{role}/{session}"),
        role_id: role_id.clone(),
        expires_ms: now_ms + seconds * 1_000,
    };
    xml.element("Credentials", |xml| {
        xml.leaf("AccessKeyId", &key);
        xml.leaf("SecretAccessKey", &syncline_seams::chance::uuid().simple().to_string());
        xml.leaf("SessionToken", &format!("simulated-{}", syncline_seams::chance::uuid().simple()));
        xml.leaf("Expiration", &crate::time::iso8601(holder.expires_ms));
    });
    xml.element("AssumedRoleUser", |xml| {
        xml.leaf("AssumedRoleId", &role_id);
        xml.leaf("Arn", &holder.arn);
    });
    xml.leaf("PackedPolicySize", "0");
    Ok((key, holder))
}

/// GetCallerIdentity.
pub(crate) fn get_caller_identity(caller: &Caller, xml: &mut Xml) {
    xml.leaf("Arn", &caller.arn);
    xml.leaf("UserId", &caller.user_id);
    xml.leaf("Account", &caller.account);
}
