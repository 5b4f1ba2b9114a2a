//! What a caller may do: the policies of users against what an operation needs.
//!
//! **Architecture Invariant:** [`check`] runs before anything of the request is looked for, so that whoever may
//! not ask learns nothing about what exists. The operator's key is asked nothing.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};

use syncline_model::policy::{Context, Decision, Policy, Request, evaluate};
use syncline_store::{Scope, Store, StoreError, Tagged, User};
use syncline_wire::{ErrorCode, Timestamp};

use super::api::Call;
use super::caller::Principal;
use super::error::{Answer, ApiError};

/// Users whose policies are kept read; more of them are read anew.
const MOST_KEPT: usize = 10_000;

/// One permission that a request needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Need {
    /// `<service>:<action>`, under the name of the service that was called.
    action: String,
    /// The ARN of what it is done to.
    resource: String,
    /// Condition keys of this need with their values.
    keys: Vec<(String, String)>,
    /// What the tags of `aws:ResourceTag/…` are those of.
    tagged: Option<Tagged>,
    /// The repository link whose repository is meant, where the request does not name the repository.
    repository_of: Option<String>,
    /// The host whose provider type is meant, where the request names none.
    provider_of: Option<String>,
}

impl Need {
    /// The permission for `action` on `resource`.
    pub(super) fn new(action: impl Into<String>, resource: impl Into<String>) -> Self {
        Self {
            action: action.into(),
            resource: resource.into(),
            keys: Vec::new(),
            tagged: None,
            repository_of: None,
            provider_of: None,
        }
    }

    /// With a condition key, if it has a value.
    pub(super) fn key(mut self, key: impl Into<String>, value: Option<impl Into<String>>) -> Self {
        self.keys.extend(value.map(|value| (key.into(), value.into())));
        self
    }

    /// With the tags of a resource, if it is one of the caller's scope.
    pub(super) fn tags_of(mut self, resource: Option<Tagged>) -> Self {
        self.tagged = resource;
        self
    }

    /// With the provider type of a host, if it is one of the caller's scope.
    pub(super) fn provider_of(mut self, host_id: Option<impl Into<String>>) -> Self {
        self.provider_of = host_id.map(Into::into);
        self
    }

    /// With the repository of a link.
    pub(super) fn repository_of(mut self, link_id: impl Into<String>) -> Self {
        self.repository_of = Some(link_id.into());
        self
    }
}

/// The policies of users, read.
///
/// Kept by the count of their changes, which comes with the key of each request: a change counts from the next
/// request on.
#[derive(Debug, Default)]
pub struct Policies {
    kept: RwLock<HashMap<String, Kept>>,
}

#[derive(Debug)]
struct Kept {
    version: i64,
    policies: Arc<[Policy]>,
}

impl Policies {
    fn kept(&self, user: &User) -> Option<Arc<[Policy]>> {
        let kept = self.kept.read().unwrap_or_else(PoisonError::into_inner);
        let kept = kept.get(&user.id).filter(|kept| kept.version == user.policy_version)?;
        Some(Arc::clone(&kept.policies))
    }

    async fn of(&self, store: &Store, user: &User) -> Answer<Arc<[Policy]>> {
        if let Some(kept) = self.kept(user) {
            return Ok(kept);
        }
        let policies = store
            .policies(&user.id)
            .await?
            .into_iter()
            .map(|(name, document)| {
                document.parse().map_err(|error| {
                    StoreError::Corrupt(format!("the policy {name} of user {}: {error}", user.name))
                })
            })
            .collect::<Result<Arc<[Policy]>, _>>()?;
        let mut kept = self.kept.write().unwrap_or_else(PoisonError::into_inner);
        if kept.len() >= MOST_KEPT && !kept.contains_key(&user.id) {
            kept.clear();
        }
        kept.insert(user.id.clone(), Kept { version: user.policy_version, policies: Arc::clone(&policies) });
        Ok(policies)
    }
}

/// Refuses the call unless the caller's policies allow everything that it needs.
pub(super) fn check<'c>(
    call: &'c Call,
    needs: impl FnOnce() -> Vec<Need>,
) -> impl Future<Output = Answer<()>> + Send + 'c {
    let needs = match &call.asked.caller.principal {
        Principal::User(user) => Some((user, needs())),
        Principal::Root => None,
    };
    async move {
        let Some((user, needs)) = needs else { return Ok(()) };
        let policies = call.front.policies.of(&call.front.store, user).await?;
        for need in needs {
            check_one(call, user, &policies, &need).await?;
        }
        Ok(())
    }
}

async fn check_one(call: &Call, user: &User, policies: &[Policy], need: &Need) -> Answer<()> {
    let context = context(call, user, policies, need).await?;
    let request = Request { action: &need.action, resource: &need.resource, context: &context };
    let why = match evaluate(policies, &request) {
        Decision::Allowed => return Ok(()),
        Decision::ExplicitlyDenied { .. } => "with an explicit deny in an identity-based policy".to_owned(),
        Decision::NotAllowed => {
            format!("because no identity-based policy allows the {} action", need.action)
        }
    };
    Err(refusal(call, need, &why))
}

/// A refusal in IAM's words.
fn refusal(call: &Call, need: &Need, why: &str) -> ApiError {
    let Need { action, resource, .. } = need;
    let who = call.asked.caller.arn();
    ApiError::new(
        ErrorCode::AccessDenied,
        format!("User: {who} is not authorized to perform: {action} on resource: {resource} {why}"),
    )
}

/// The condition keys of a need, as far as a policy asks for any.
async fn context(call: &Call, user: &User, policies: &[Policy], need: &Need) -> Answer<Context> {
    let asks_for = |prefix: &str| policies.iter().any(|policy| policy.asks_for(prefix));
    let mut context = Context::default();
    if !asks_for("") {
        return Ok(context);
    }
    let asked = &call.asked;
    let now_ms = call.front.clock.now_ms();
    context.add("aws:PrincipalType", "User");
    context.add("aws:PrincipalAccount", asked.caller.account.as_str());
    context.add("aws:PrincipalArn", asked.caller.arn());
    context.add("aws:userid", user.id.as_str());
    context.add("aws:username", user.name.as_str());
    context.add("aws:RequestedRegion", call.scope.region.as_str());
    let source = asked.origin.source.to_canonical();
    context.add("aws:SourceIp", source.to_string());
    context.add("aws:CurrentTime", Timestamp::from_epoch_ms(now_ms).iso8601());
    context.add("aws:EpochTime", now_ms.div_euclid(1000).to_string());
    if let Some(is_encrypted) = asked.origin.is_encrypted {
        context.add("aws:SecureTransport", if is_encrypted { "true" } else { "false" });
    }
    context.add("aws:PrincipalIsAWSService", "false");
    context.add("aws:ViaAWSService", "false");
    // Absent for lasting keys, as in IAM: a denial of sessions that began before a moment leaves them alone.
    if let Some(began_ms) = asked.caller.session_began_ms {
        context.add("aws:TokenIssueTime", Timestamp::from_epoch_ms(began_ms).iso8601());
        context.add("aws:MultiFactorAuthPresent", "false");
    }
    if let Some(agent) = &asked.origin.user_agent {
        context.add("aws:UserAgent", agent.as_str());
    }
    if let Some(account) = need.resource.split(':').nth(4).filter(|account| !account.is_empty()) {
        context.add("aws:ResourceAccount", account);
    }
    // Keys of tags that differ only in case are one condition key, which has one value: neither tag may lend the
    // other's key its own.
    let mut folded = Vec::new();
    for (key, value) in &need.keys {
        if key.starts_with("aws:RequestTag/") && context.has(key) {
            folded.push(key.clone());
        }
        context.add(key, value.as_str());
    }
    // What costs a read is read only if it is asked for.
    if let Some(resource) = &need.tagged
        && asks_for("aws:ResourceTag/")
    {
        for tag in call.front.store.tags(&call.scope, resource).await?.unwrap_or_default() {
            let key = format!("aws:ResourceTag/{}", tag.key);
            if context.has(&key) {
                folded.push(key.clone());
            }
            context.add(&key, tag.value);
        }
    }
    if let Some(key) = folded.iter().find(|key| policies.iter().any(|policy| policy.asks_for_key(key))) {
        let why = format!(
            "because several tags are {key}, which a policy asks for: their keys differ only in case"
        );
        return Err(refusal(call, need, &why));
    }
    if let Some(host_id) = &need.provider_of
        && asks_for("codeconnections:ProviderType")
        && let Some(host) = call.front.store.host(&call.scope, host_id).await?
    {
        context.add("codeconnections:ProviderType", host.provider_type);
    }
    if let Some(link_id) = &need.repository_of
        && asks_for("codeconnections:")
        && let Some(link) = call.front.store.link(&call.scope, link_id).await?
    {
        for (key, value) in repository_keys(&link.owner_id, &link.repository_name) {
            context.add(key, value);
        }
    }
    Ok(context)
}

/// The condition keys that name a repository.
pub(super) fn repository_keys(owner_id: &str, repository_name: &str) -> [(&'static str, String); 3] {
    [
        ("codeconnections:FullRepositoryId", format!("{owner_id}/{repository_name}")),
        ("codeconnections:OwnerId", owner_id.to_owned()),
        ("codeconnections:RepositoryName", repository_name.to_owned()),
    ]
}

/// The ARN of everything that a service has in the scope: what an action is on that is on no one resource.
pub(super) fn everything(scope: &Scope, service: &str) -> String {
    let Scope { account, region } = scope;
    format!("arn:{}:{service}:{}:{}:*", region.partition(), region.as_str(), account.as_str())
}
