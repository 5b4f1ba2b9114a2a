//! Hosts.

use syncline_git::RemoteUrl;
use syncline_store::{CreateHost, DeleteHost, Host as StoredHost, HostChange, NewHost, UpdateHost};
use syncline_wire::{
    CreateHostInput, CreateHostOutput, DeleteHostInput, DeleteHostOutput, ErrorCode, GetHostInput,
    GetHostOutput, Host, ListHostsInput, ListHostsOutput, ProviderType, UpdateHostInput, UpdateHostOutput,
    VpcConfiguration,
};
use uuid::Uuid;

use super::arns::{arn, id_in_scope};
use super::paging::Listing;
use super::{Answer, ApiError, Call, tags};

/// The provider types that are reached through a host (contract §3; the last two are ours).
pub(super) fn needs_host(provider_type: ProviderType) -> bool {
    matches!(
        provider_type,
        ProviderType::GitHubEnterpriseServer
            | ProviderType::GitLabSelfManaged
            | ProviderType::Gitea
            | ProviderType::Git
    )
}

pub(in crate::server) async fn create_host(call: &Call, input: CreateHostInput) -> Answer<CreateHostOutput> {
    if !needs_host(input.provider_type) {
        return Err(ApiError::validation(format!(
            "ProviderType {} is not self-managed: create a connection of it without a host",
            input.provider_type
        )));
    }
    check_endpoint(call, input.provider_type, &input.provider_endpoint)?;
    let tags = tags::to_store(input.tags.as_ref(), ApiError::validation)?;
    let suffix = Uuid::new_v4().simple().to_string();
    let id = format!("{}-{}", input.name, &suffix[..8]);
    let vpc_configuration = input.vpc_configuration.as_ref().and_then(|vpc| serde_json::to_string(vpc).ok());
    let new = NewHost {
        id: id.clone(),
        service: call.service.signing_name().to_owned(),
        name: input.name,
        provider_type: input.provider_type.as_str().to_owned(),
        provider_endpoint: input.provider_endpoint,
        vpc_configuration,
        tags,
    };
    let quota = call.front.quotas.hosts;
    let host_arn = Some(arn(&call.scope, call.service.signing_name(), "host", &id));
    let change = call.asked.creation(move |outcome| match outcome {
        CreateHost::Created => Ok(CreateHostOutput { host_arn, tags: input.tags }),
        CreateHost::LimitExceeded => Err(ApiError::new(
            ErrorCode::LimitExceeded,
            format!("The account has {quota} hosts in this region, which is its quota"),
        )),
    });
    call.front.store.create_host(&call.scope, new, quota, change).await?
}

pub(in crate::server) async fn update_host(call: &Call, input: UpdateHostInput) -> Answer<UpdateHostOutput> {
    let host = find(call, &input.host_arn).await?;
    if let Some(endpoint) = &input.provider_endpoint {
        check_endpoint(call, provider_type(&host.provider_type)?, endpoint)?;
    }
    let to = HostChange {
        provider_endpoint: input.provider_endpoint,
        vpc_configuration: input.vpc_configuration.as_ref().and_then(|vpc| serde_json::to_string(vpc).ok()),
    };
    let change = call.asked.change(move |outcome| match outcome {
        UpdateHost::Updated => Ok(UpdateHostOutput {}),
        UpdateHost::NotFound => Err(not_found(&input.host_arn)),
    });
    call.front.store.update_host(&call.scope, &host.id, to, change).await?
}

/// Syntax, literal addresses and directories only: names are resolved and checked at every call.
fn check_endpoint(call: &Call, provider_type: ProviderType, endpoint: &str) -> Answer<()> {
    let refused = |why: &dyn std::fmt::Display| ApiError::validation(format!("ProviderEndpoint: {why}"));
    let url = RemoteUrl::of_repository(endpoint, "owner", "repository").map_err(|error| refused(&error))?;
    if url.is_file() && provider_type != ProviderType::Git {
        return Err(refused(&"file:// remotes are for hosts of ProviderType Git only"));
    }
    if url.ssh().is_some() && provider_type != ProviderType::Git {
        return Err(refused(&"ssh:// remotes are for hosts of ProviderType Git only"));
    }
    call.front.egress.check_literal(&url).map_err(|error| refused(&error))
}

fn not_found(arn: &str) -> ApiError {
    ApiError::not_found("host", arn)
}

async fn find(call: &Call, host_arn: &str) -> Answer<StoredHost> {
    let id = id_in_scope(&call.scope, "host", host_arn).ok_or_else(|| not_found(host_arn))?;
    call.front.store.host(&call.scope, id).await?.ok_or_else(|| not_found(host_arn))
}

fn provider_type(text: &str) -> Answer<ProviderType> {
    super::stored(text)
}

fn vpc(host: &StoredHost) -> Option<VpcConfiguration> {
    serde_json::from_str(host.vpc_configuration.as_deref()?).ok()
}

pub(in crate::server) async fn get_host(call: &Call, input: GetHostInput) -> Answer<GetHostOutput> {
    let host = find(call, &input.host_arn).await?;
    Ok(GetHostOutput {
        vpc_configuration: vpc(&host),
        name: Some(host.name),
        status: Some(host.status),
        provider_type: Some(provider_type(&host.provider_type)?),
        provider_endpoint: Some(host.provider_endpoint),
    })
}

pub(in crate::server) async fn list_hosts(call: &Call, input: ListHostsInput) -> Answer<ListHostsOutput> {
    let listing = Listing::of(
        call,
        "ListHosts",
        &[],
        input.max_results,
        input.next_token.as_deref(),
        ApiError::validation,
    )?;
    let page = call.front.store.hosts(&call.scope, &listing.page).await?;
    let hosts = page
        .items
        .into_iter()
        .map(|host| {
            Ok(Host {
                host_arn: Some(arn(&call.scope, &host.service, "host", &host.id)),
                vpc_configuration: vpc(&host),
                name: Some(host.name),
                provider_type: Some(provider_type(&host.provider_type)?),
                provider_endpoint: Some(host.provider_endpoint),
                status: Some(host.status),
                status_message: None,
            })
        })
        .collect::<Answer<Vec<_>>>()?;
    Ok(ListHostsOutput { hosts: Some(hosts), next_token: listing.next(page.next.as_ref()) })
}

pub(in crate::server) async fn delete_host(call: &Call, input: DeleteHostInput) -> Answer<DeleteHostOutput> {
    let id = id_in_scope(&call.scope, "host", &input.host_arn).ok_or_else(|| not_found(&input.host_arn))?;
    let given = input.host_arn.clone();
    let change = call.asked.change(move |outcome| match outcome {
        DeleteHost::Deleted => Ok(DeleteHostOutput {}),
        DeleteHost::NotFound => Err(not_found(&given)),
        DeleteHost::InUse => Err(ApiError::new(
            ErrorCode::ResourceUnavailable,
            format!("The host {given} has connections: delete them first"),
        )),
    });
    call.front.store.delete_host(&call.scope, id, change).await?
}
