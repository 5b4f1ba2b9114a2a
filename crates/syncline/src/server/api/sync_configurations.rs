//! Sync configurations and sync definitions.

use syncline_model::names::{BranchName, RepoPath, RoleArn, StackName};
use syncline_store::{
    Configuration, ConfigurationChange, ConfigurationQuotas, CreateConfiguration, NewConfiguration,
    UpdateConfiguration,
};
use syncline_wire::{
    CreateSyncConfigurationInput, CreateSyncConfigurationOutput, DeleteSyncConfigurationInput,
    DeleteSyncConfigurationOutput, ErrorCode, GetSyncConfigurationInput, GetSyncConfigurationOutput,
    ListRepositorySyncDefinitionsInput, ListRepositorySyncDefinitionsOutput, ListSyncConfigurationsInput,
    ListSyncConfigurationsOutput, PublishDeploymentStatus, PullRequestComment, RepositorySyncDefinition,
    SyncConfiguration, SyncConfigurationType, TriggerResourceUpdateOn, UpdateSyncConfigurationInput,
    UpdateSyncConfigurationOutput,
};

use super::links;
use super::paging::Listing;
use super::{Answer, ApiError, Call, stored};
use crate::worker::directory_of;

pub(in crate::server) fn not_found(name: &str) -> ApiError {
    ApiError::not_found("a sync configuration for resource", name)
}

pub(in crate::server) fn shown(configuration: Configuration) -> Answer<SyncConfiguration> {
    fn opt<T: std::str::FromStr<Err = syncline_wire::UnknownValue>>(
        text: Option<String>,
    ) -> Answer<Option<T>> {
        text.as_deref().map(stored).transpose()
    }
    Ok(SyncConfiguration {
        branch: configuration.branch,
        config_file: Some(configuration.config_file),
        owner_id: configuration.owner_id,
        provider_type: stored(&configuration.provider_type)?,
        repository_link_id: configuration.link_id,
        repository_name: configuration.repository_name,
        resource_name: configuration.resource_name,
        role_arn: configuration.role_arn,
        sync_type: stored(&configuration.sync_type)?,
        publish_deployment_status: opt::<PublishDeploymentStatus>(configuration.publish_deployment_status)?,
        trigger_resource_update_on: opt::<TriggerResourceUpdateOn>(configuration.trigger_resource_update_on)?,
        pull_request_comment: opt::<PullRequestComment>(configuration.pull_request_comment)?,
    })
}

fn quotas(call: &Call) -> ConfigurationQuotas {
    let quotas = &call.front.quotas;
    ConfigurationQuotas {
        per_account: quotas.sync_configurations,
        per_link: quotas.sync_configurations_per_link,
        per_branch: quotas.sync_configurations_per_branch,
    }
}

fn check_branch(branch: &str) -> Answer<()> {
    branch
        .parse::<BranchName>()
        .map(drop)
        .map_err(|error| ApiError::invalid_input(format!("Branch: {error}")))
}

fn check_config_file(path: &str) -> Answer<()> {
    path.parse::<RepoPath>()
        .map(drop)
        .map_err(|error| ApiError::invalid_input(format!("ConfigFile: {error}")))
}

/// A role of the region's partition and of the caller's own account, or of one the operator paired with it.
pub(in crate::server) fn check_role(call: &Call, role: &str) -> Answer<RoleArn> {
    let role: RoleArn = role.parse().map_err(|error| ApiError::invalid_input(format!("RoleArn: {error}")))?;
    let region = &call.scope.region;
    // Whoever asks may be denied a role under its own ARN, and no role of one partition can be assumed in another.
    if role.partition() != region.partition() {
        return Err(ApiError::invalid_input(format!(
            "RoleArn: the partition {} is not that of the region {region}, {}",
            role.partition(),
            region.partition()
        )));
    }
    let owner = &call.scope.account;
    let allowed = role.account() == owner
        || call.front.role_accounts.iter().any(|(from, to)| from == owner && to == role.account());
    if !allowed {
        // A role may be longer than the message: it is cut, not what to do about it.
        let shown: String = role.as_str().chars().take(256).collect();
        let account = role.account();
        return Err(ApiError::invalid_input(format!(
            "RoleArn: {shown} belongs to account {account}, not to {owner}; the operator can allow it with \
             --allow-role-account {owner}={account}"
        )));
    }
    Ok(role)
}

fn no_link(id: &str) -> ApiError {
    ApiError::invalid_input(format!("The repository link {id} does not exist"))
}

fn stack_taken(name: &str) -> ApiError {
    ApiError::new(
        ErrorCode::ResourceAlreadyExists,
        format!("The stack {name} of the role's account and region is driven by another sync configuration"),
    )
}

fn limit(which: &str) -> ApiError {
    ApiError::new(ErrorCode::LimitExceeded, format!("The quota of {which} is reached"))
}

pub(in crate::server) async fn create_sync_configuration(
    call: &Call,
    input: CreateSyncConfigurationInput,
) -> Answer<CreateSyncConfigurationOutput> {
    input
        .resource_name
        .parse::<StackName>()
        .map_err(|error| ApiError::invalid_input(format!("ResourceName: {error}")))?;
    check_branch(&input.branch)?;
    check_config_file(&input.config_file)?;
    let role_arn = check_role(call, &input.role_arn)?;
    // The ExternalId that the role is assumed with exists before anything can need it.
    call.front.store.account(&call.scope.account).await?;
    let new = NewConfiguration {
        sync_type: input.sync_type.as_str().to_owned(),
        resource_name: input.resource_name.clone(),
        link_id: input.repository_link_id.to_ascii_lowercase(),
        branch: input.branch,
        config_file: input.config_file,
        role_arn,
        publish_deployment_status: input.publish_deployment_status.map(|value| value.as_str().to_owned()),
        trigger_resource_update_on: input.trigger_resource_update_on.map(|value| value.as_str().to_owned()),
        pull_request_comment: input.pull_request_comment.map(|value| value.as_str().to_owned()),
    };
    let change = call.asked.creation(move |outcome| match outcome {
        CreateConfiguration::Created(configuration) => {
            Ok(CreateSyncConfigurationOutput { sync_configuration: shown(*configuration)? })
        }
        CreateConfiguration::LinkNotFound => Err(no_link(&input.repository_link_id)),
        CreateConfiguration::AlreadyExists => Err(ApiError::new(
            ErrorCode::ResourceAlreadyExists,
            format!("A sync configuration for resource {} already exists", input.resource_name),
        )),
        CreateConfiguration::StackTaken => Err(stack_taken(&input.resource_name)),
        CreateConfiguration::LimitExceeded(which) => Err(limit(which)),
    });
    call.front.store.create_configuration(&call.scope, new, quotas(call), change).await?
}

pub(in crate::server) async fn get_sync_configuration(
    call: &Call,
    input: GetSyncConfigurationInput,
) -> Answer<GetSyncConfigurationOutput> {
    let configuration = call
        .front
        .store
        .configuration(&call.scope, input.sync_type.as_str(), &input.resource_name)
        .await?
        .ok_or_else(|| not_found(&input.resource_name))?;
    Ok(GetSyncConfigurationOutput { sync_configuration: shown(configuration)? })
}

/// One page of the configurations of a link, and the token of the next.
async fn of_link(
    call: &Call,
    operation: &str,
    link_id: &str,
    sync_type: SyncConfigurationType,
    max_results: Option<i32>,
    next_token: Option<&str>,
) -> Answer<(Vec<Configuration>, Option<String>)> {
    let (id, sync_type) = (link_id.to_ascii_lowercase(), sync_type.as_str());
    let filters = [id.as_str(), sync_type];
    let listing = Listing::of(call, operation, &filters, max_results, next_token, ApiError::invalid_input)?;
    let page = call
        .front
        .store
        .configurations(&call.scope, Some(&id), sync_type, &listing.page)
        .await?
        .ok_or_else(|| links::not_found(link_id))?;
    Ok((page.items, listing.next(page.next.as_ref())))
}

pub(in crate::server) async fn list_sync_configurations(
    call: &Call,
    input: ListSyncConfigurationsInput,
) -> Answer<ListSyncConfigurationsOutput> {
    let (configurations, next_token) = of_link(
        call,
        "ListSyncConfigurations",
        &input.repository_link_id,
        input.sync_type,
        input.max_results,
        input.next_token.as_deref(),
    )
    .await?;
    let sync_configurations = configurations.into_iter().map(shown).collect::<Answer<Vec<_>>>()?;
    Ok(ListSyncConfigurationsOutput { sync_configurations, next_token })
}

pub(in crate::server) async fn list_repository_sync_definitions(
    call: &Call,
    input: ListRepositorySyncDefinitionsInput,
) -> Answer<ListRepositorySyncDefinitionsOutput> {
    let (configurations, next_token) = of_link(
        call,
        "ListRepositorySyncDefinitions",
        &input.repository_link_id,
        input.sync_type,
        input.max_results,
        input.next_token.as_deref(),
    )
    .await?;
    let definition = |configuration: Configuration| RepositorySyncDefinition {
        directory: directory_of(&configuration.config_file),
        branch: configuration.branch,
        parent: configuration.resource_name.clone(),
        target: configuration.resource_name,
    };
    Ok(ListRepositorySyncDefinitionsOutput {
        repository_sync_definitions: configurations.into_iter().map(definition).collect(),
        next_token,
    })
}

pub(in crate::server) async fn update_sync_configuration(
    call: &Call,
    input: UpdateSyncConfigurationInput,
) -> Answer<UpdateSyncConfigurationOutput> {
    input.branch.as_deref().map(check_branch).transpose()?;
    input.config_file.as_deref().map(check_config_file).transpose()?;
    let role_arn = input.role_arn.as_deref().map(|role| check_role(call, role)).transpose()?;
    let wanted = ConfigurationChange {
        link_id: input.repository_link_id.as_deref().map(str::to_ascii_lowercase),
        branch: input.branch,
        config_file: input.config_file,
        role_arn,
        publish_deployment_status: input.publish_deployment_status.map(|value| value.as_str().to_owned()),
        trigger_resource_update_on: input.trigger_resource_update_on.map(|value| value.as_str().to_owned()),
        pull_request_comment: input.pull_request_comment.map(|value| value.as_str().to_owned()),
    };
    let (sync_type, name) = (input.sync_type.as_str(), input.resource_name.clone());
    let change = call.asked.change(move |outcome| match outcome {
        UpdateConfiguration::Updated(configuration) => {
            Ok(UpdateSyncConfigurationOutput { sync_configuration: shown(*configuration)? })
        }
        UpdateConfiguration::NotFound => Err(not_found(&name)),
        UpdateConfiguration::LinkNotFound => {
            Err(no_link(input.repository_link_id.as_deref().unwrap_or_default()))
        }
        // UpdateSyncConfiguration declares neither ResourceAlreadyExists nor LimitExceeded.
        UpdateConfiguration::StackTaken => Err(ApiError::invalid_input(stack_taken(&name).error.message)),
        UpdateConfiguration::LimitExceeded(which) => Err(ApiError::invalid_input(limit(which).error.message)),
    });
    let name = &input.resource_name;
    call.front.store.update_configuration(&call.scope, sync_type, name, wanted, quotas(call), change).await?
}

pub(in crate::server) async fn delete_sync_configuration(
    call: &Call,
    input: DeleteSyncConfigurationInput,
) -> Answer<DeleteSyncConfigurationOutput> {
    let change = call.asked.change(|()| Ok(DeleteSyncConfigurationOutput {}));
    let (sync_type, name) = (input.sync_type.as_str(), &input.resource_name);
    call.front.store.delete_configuration(&call.scope, sync_type, name, change).await?
}
