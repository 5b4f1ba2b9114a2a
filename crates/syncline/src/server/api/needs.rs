//! What each operation needs to be allowed: its action, the resource that it is on, its condition keys.
//!
//! Actions, resources and keys are those of the service authorization reference of AWS CodeConnections; a
//! resource is `…:*` where the reference has none. Ids are brought into the spelling in which they are looked up,
//! so that a denial of a resource cannot be passed by writing it otherwise.

use syncline_store::Tagged;
use syncline_wire::{
    CreateConnectionInput, CreateHostInput, CreateRepositoryLinkInput, CreateSyncConfigurationInput,
    DeleteConnectionInput, DeleteHostInput, DeleteRepositoryLinkInput, DeleteSyncConfigurationInput,
    GetConnectionInput, GetHostInput, GetRepositoryLinkInput, GetRepositorySyncStatusInput,
    GetResourceSyncStatusInput, GetSyncBlockerSummaryInput, GetSyncConfigurationInput, Input,
    ListConnectionsInput, ListHostsInput, ListRepositoryLinksInput, ListRepositorySyncDefinitionsInput,
    ListSyncConfigurationsInput, ListTagsForResourceInput, Tag, TagResourceInput, UntagResourceInput,
    UpdateHostInput, UpdateRepositoryLinkInput, UpdateSyncBlockerInput, UpdateSyncConfigurationInput,
};

use super::super::access::{Need, everything, repository_keys};
use super::Call;
use super::arns::{arn, id_in_scope};

/// The service to which a role, a connection or a repository link is passed: the one that syncs.
const SYNC_SERVICE: &str = "cloudformation.sync.codeconnections.amazonaws.com";

/// An input that says what it needs.
pub(in crate::server) trait Needs: Input {
    /// The permissions for the operation; all of them are needed.
    fn needs(&self, call: &Call) -> Vec<Need>;
}

/// An action of this service, under the name that was called.
fn action(call: &Call, name: &str) -> String {
    format!("{}:{name}", call.service.signing_name())
}

/// The operation itself, on no one resource.
fn on_all<I: Input>(call: &Call) -> Need {
    let service = call.service.signing_name();
    Need::new(action(call, I::OPERATION.name()), everything(&call.scope, service))
}

/// A kind of resource as it stands in an ARN, and its tags' owner.
type Kind = (&'static str, fn(String) -> Tagged);
const CONNECTION: Kind = ("connection", Tagged::Connection);
const HOST: Kind = ("host", Tagged::Host);
const LINK: Kind = ("repository-link", Tagged::Link);

/// An action on what an ARN of this kind names.
fn on(call: &Call, name: &str, (kind, tagged): Kind, arn: &str) -> Need {
    let id = id_in_scope(&call.scope, kind, arn);
    Need::new(action(call, name), arn).tags_of(id.map(|id| tagged(id.to_owned())))
}

/// An action on a repository link.
fn on_link(call: &Call, name: &str, id: &str) -> Need {
    let id = id.to_ascii_lowercase();
    let arn = arn(&call.scope, call.service.signing_name(), LINK.0, &id);
    Need::new(action(call, name), arn).tags_of(Some(Tagged::Link(id)))
}

/// An action on what an ARN of any kind names.
fn on_any(call: &Call, name: &str, arn: &str) -> Need {
    let id = |(kind, _): &Kind| id_in_scope(&call.scope, kind, arn);
    match [CONNECTION, HOST, LINK].into_iter().find(|kind| id(kind).is_some()) {
        Some(kind) if kind.0 == LINK.0 => {
            let id = id(&LINK).unwrap_or_default();
            let arn = format!("{}{}", &arn[..arn.len() - id.len()], id.to_ascii_lowercase());
            on(call, name, LINK, &arn)
        }
        Some(kind) => on(call, name, kind, arn),
        None => Need::new(action(call, name), arn),
    }
}

/// With the tags that a request brings.
fn with_tags(mut need: Need, tags: Option<&Vec<Tag>>) -> Need {
    for tag in tags.into_iter().flatten() {
        need = need
            .key(format!("aws:RequestTag/{}", tag.key), Some(tag.value.as_str()))
            .key("aws:TagKeys", Some(tag.key.as_str()));
    }
    need
}

/// A creation, which is also a tagging where it brings tags.
fn creation(call: &Call, need: Need, (kind, _): Kind, tags: Option<&Vec<Tag>>) -> Vec<Need> {
    let mut needs = vec![with_tags(need, tags)];
    if tags.is_some_and(|tags| !tags.is_empty()) {
        let made = arn(&call.scope, call.service.signing_name(), kind, "*");
        needs.push(with_tags(Need::new(action(call, "TagResource"), made), tags));
    }
    needs
}

/// Passing on a resource of ours.
fn passing(need: Need) -> Need {
    need.key("codeconnections:PassedToService", Some(SYNC_SERVICE))
}

/// Passing on a role.
pub(in crate::server) fn passing_role(role_arn: &str) -> Need {
    Need::new("iam:PassRole", role_arn).key("iam:PassedToService", Some(SYNC_SERVICE))
}

impl Needs for CreateConnectionInput {
    fn needs(&self, call: &Call) -> Vec<Need> {
        let need = on_all::<Self>(call)
            .key("codeconnections:ProviderType", self.provider_type.as_ref().map(|kind| kind.as_str()))
            .key("codeconnections:HostArn", self.host_arn.as_deref());
        // A host has a provider type, which a connection on it has too.
        let host = self.host_arn.as_deref().filter(|_| self.provider_type.is_none());
        let need = need.provider_of(host.and_then(|arn| id_in_scope(&call.scope, HOST.0, arn)));
        creation(call, need, CONNECTION, self.tags.as_ref())
    }
}

impl Needs for CreateHostInput {
    fn needs(&self, call: &Call) -> Vec<Need> {
        let vpc = self.vpc_configuration.as_ref().map(|vpc| vpc.vpc_id.as_str());
        let need = on_all::<Self>(call)
            .key("codeconnections:ProviderType", Some(self.provider_type.as_str()))
            .key("codeconnections:VpcId", vpc);
        creation(call, need, HOST, self.tags.as_ref())
    }
}

impl Needs for CreateRepositoryLinkInput {
    fn needs(&self, call: &Call) -> Vec<Need> {
        let connection = |name| on(call, name, CONNECTION, &self.connection_arn);
        let mut needs = creation(call, connection("CreateRepositoryLink"), LINK, self.tags.as_ref());
        needs.push(passing(connection("PassConnection")));
        let mut using = connection("UseConnection");
        for (key, value) in repository_keys(&self.owner_id, &self.repository_name) {
            using = using.key(key, Some(value));
        }
        needs.push(using);
        needs
    }
}

impl Needs for UpdateRepositoryLinkInput {
    fn needs(&self, call: &Call) -> Vec<Need> {
        let mut needs = vec![on_link(call, "UpdateRepositoryLink", &self.repository_link_id)];
        if let Some(given) = &self.connection_arn {
            let connection = |name| on(call, name, CONNECTION, given);
            needs.push(passing(connection("PassConnection")));
            let link_id = self.repository_link_id.to_ascii_lowercase();
            needs.push(connection("UseConnection").repository_of(link_id));
        }
        needs
    }
}

impl Needs for CreateSyncConfigurationInput {
    fn needs(&self, call: &Call) -> Vec<Need> {
        let link = |name| on_link(call, name, &self.repository_link_id);
        vec![
            link("CreateSyncConfiguration").key("codeconnections:Branch", Some(self.branch.as_str())),
            passing(link("PassRepository")),
            passing_role(&self.role_arn),
        ]
    }
}

impl Needs for UpdateSyncConfigurationInput {
    fn needs(&self, call: &Call) -> Vec<Need> {
        let mut needs = vec![on_all::<Self>(call).key("codeconnections:Branch", self.branch.as_deref())];
        needs.extend(self.repository_link_id.iter().map(|id| passing(on_link(call, "PassRepository", id))));
        needs.extend(self.role_arn.iter().map(|role| passing_role(role)));
        needs
    }
}

impl Needs for GetRepositorySyncStatusInput {
    fn needs(&self, call: &Call) -> Vec<Need> {
        let need = on_link(call, "GetRepositorySyncStatus", &self.repository_link_id);
        vec![need.key("codeconnections:Branch", Some(self.branch.as_str()))]
    }
}

impl Needs for ListConnectionsInput {
    fn needs(&self, call: &Call) -> Vec<Need> {
        let all = arn(&call.scope, call.service.signing_name(), "connection", "*");
        let filter = self.provider_type_filter.as_ref().map(|kind| kind.as_str());
        vec![
            Need::new(action(call, "ListConnections"), all).key("codeconnections:ProviderTypeFilter", filter),
        ]
    }
}

impl Needs for UpdateHostInput {
    fn needs(&self, call: &Call) -> Vec<Need> {
        let vpc = self.vpc_configuration.as_ref().map(|vpc| vpc.vpc_id.as_str());
        vec![on(call, "UpdateHost", HOST, &self.host_arn).key("codeconnections:VpcId", vpc)]
    }
}

impl Needs for TagResourceInput {
    fn needs(&self, call: &Call) -> Vec<Need> {
        vec![with_tags(on_any(call, "TagResource", &self.resource_arn), Some(&self.tags))]
    }
}

impl Needs for UntagResourceInput {
    fn needs(&self, call: &Call) -> Vec<Need> {
        let need = on_any(call, "UntagResource", &self.resource_arn);
        vec![self.tag_keys.iter().fold(need, |need, key| need.key("aws:TagKeys", Some(key.as_str())))]
    }
}

impl Needs for ListTagsForResourceInput {
    fn needs(&self, call: &Call) -> Vec<Need> {
        vec![on_any(call, "ListTagsForResource", &self.resource_arn)]
    }
}

/// Operations that need their own action alone: on the resource in a member, or on no one resource.
macro_rules! alone {
    ($($input:ident $(: $kind:ident $member:ident)?,)+) => {$(
        impl Needs for $input {
            fn needs(&self, call: &Call) -> Vec<Need> {
                vec![alone!(@ self, call $(, $kind $member)?)]
            }
        }
    )+};
    (@ $self:ident, $call:ident) => { on_all::<Self>($call) };
    (@ $self:ident, $call:ident, LINK $member:ident) => {
        on_link($call, Self::OPERATION.name(), &$self.$member)
    };
    (@ $self:ident, $call:ident, $kind:ident $member:ident) => {
        on($call, Self::OPERATION.name(), $kind, &$self.$member)
    };
}

alone! {
    DeleteConnectionInput: CONNECTION connection_arn,
    DeleteHostInput: HOST host_arn,
    DeleteRepositoryLinkInput: LINK repository_link_id,
    DeleteSyncConfigurationInput,
    GetConnectionInput: CONNECTION connection_arn,
    GetHostInput: HOST host_arn,
    GetRepositoryLinkInput: LINK repository_link_id,
    GetResourceSyncStatusInput,
    GetSyncBlockerSummaryInput,
    GetSyncConfigurationInput,
    ListHostsInput,
    ListRepositoryLinksInput,
    ListRepositorySyncDefinitionsInput,
    ListSyncConfigurationsInput,
    UpdateSyncBlockerInput,
}
