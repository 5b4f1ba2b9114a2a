//! Repository links.

use std::sync::Arc;

use syncline_forges::Forge;
use syncline_store::{
    ConnectionStatus, CreateLink, DeleteLink, Link, LinkChange, NewLink, Scope, UpdateLink,
};
use syncline_wire::{
    CreateRepositoryLinkInput, CreateRepositoryLinkOutput, DeleteRepositoryLinkInput,
    DeleteRepositoryLinkOutput, ErrorCode, GetRepositoryLinkInput, GetRepositoryLinkOutput,
    ListRepositoryLinksInput, ListRepositoryLinksOutput, ProviderType, RepositoryLinkInfo,
    UpdateRepositoryLinkInput, UpdateRepositoryLinkOutput,
};
use uuid::Uuid;

use super::arns::{arn, id_in_scope};
use super::paging::Listing;
use super::{Answer, ApiError, Call, stored, tags};
use crate::server::hooks::Departing;
use crate::worker::clone_url;

pub(in crate::server) fn not_found(id: &str) -> ApiError {
    ApiError::not_found("repository link", id)
}

fn shown(scope: &Scope, link: Link) -> Answer<RepositoryLinkInfo> {
    Ok(RepositoryLinkInfo {
        connection_arn: link.connection_arn,
        encryption_key_arn: link.encryption_key_arn,
        owner_id: link.owner_id,
        provider_type: stored(&link.provider_type)?,
        repository_link_arn: arn(scope, &link.service, "repository-link", &link.id),
        repository_link_id: link.id,
        repository_name: link.repository_name,
    })
}

fn no_connection(arn: &str) -> ApiError {
    ApiError::invalid_input(format!("The connection {arn} does not exist"))
}

fn not_available(arn: &str, status: ConnectionStatus) -> ApiError {
    ApiError::invalid_input(format!(
        "The connection {arn} is {}, not AVAILABLE: complete it with `syncline connection authorize {arn}`",
        status.as_str()
    ))
}

fn already_exists(owner: &str, repository: &str) -> String {
    format!("A repository link of {owner}/{repository} on this connection already exists")
}

pub(in crate::server) async fn create_repository_link(
    call: &Call,
    input: CreateRepositoryLinkInput,
) -> Answer<CreateRepositoryLinkOutput> {
    let given = input.connection_arn;
    let connection_id =
        id_in_scope(&call.scope, "connection", &given).ok_or_else(|| no_connection(&given))?;
    // What cannot be part of a clone URL can never be read.
    syncline_git::RemoteUrl::of_repository("https://host", &input.owner_id, &input.repository_name)
        .map_err(|error| ApiError::invalid_input(format!("OwnerId and RepositoryName: {error}")))?;
    let tags = tags::to_store(input.tags.as_ref(), ApiError::invalid_input)?;
    if let Some(connection) = call.front.store.connection(&call.scope, connection_id).await?
        && connection.provider_type == ProviderType::AzureDevOps.as_str()
    {
        let place = clone_url(Forge::AzureDevOps, "https://host", &input.owner_id, &input.repository_name);
        place.map_err(|error| ApiError::invalid_input(format!("OwnerId and RepositoryName: {error}")))?;
    }
    let new = NewLink {
        id: Uuid::new_v4().to_string(),
        service: call.service.signing_name().to_owned(),
        connection_id: connection_id.to_owned(),
        owner_id: input.owner_id.clone(),
        repository_name: input.repository_name.clone(),
        encryption_key_arn: input.encryption_key_arn,
        tags,
    };
    let quota = call.front.quotas.repository_links;
    let scope = call.scope.clone();
    let change = call.asked.creation(move |outcome| match outcome {
        CreateLink::Created(link) => {
            Ok(CreateRepositoryLinkOutput { repository_link_info: shown(&scope, link)? })
        }
        CreateLink::ConnectionNotFound => Err(no_connection(&given)),
        CreateLink::ConnectionNotAvailable(status) => Err(not_available(&given, status)),
        CreateLink::AlreadyExists => Err(ApiError::new(
            ErrorCode::ResourceAlreadyExists,
            already_exists(&input.owner_id, &input.repository_name),
        )),
        CreateLink::LimitExceeded => Err(ApiError::new(
            ErrorCode::LimitExceeded,
            format!("The account has {quota} repository links in this region, which is its quota"),
        )),
    });
    call.front.store.create_link(&call.scope, new, quota, change).await?
}

pub(in crate::server) async fn get_repository_link(
    call: &Call,
    input: GetRepositoryLinkInput,
) -> Answer<GetRepositoryLinkOutput> {
    let id = input.repository_link_id.to_ascii_lowercase();
    let link =
        call.front.store.link(&call.scope, &id).await?.ok_or_else(|| not_found(&input.repository_link_id))?;
    Ok(GetRepositoryLinkOutput { repository_link_info: shown(&call.scope, link)? })
}

pub(in crate::server) async fn list_repository_links(
    call: &Call,
    input: ListRepositoryLinksInput,
) -> Answer<ListRepositoryLinksOutput> {
    let listing = Listing::of(
        call,
        "ListRepositoryLinks",
        &[],
        input.max_results,
        input.next_token.as_deref(),
        ApiError::invalid_input,
    )?;
    let page = call.front.store.links(&call.scope, &listing.page).await?;
    let repository_links =
        page.items.into_iter().map(|link| shown(&call.scope, link)).collect::<Answer<Vec<_>>>()?;
    Ok(ListRepositoryLinksOutput { repository_links, next_token: listing.next(page.next.as_ref()) })
}

pub(in crate::server) async fn update_repository_link(
    call: &Call,
    input: UpdateRepositoryLinkInput,
) -> Answer<UpdateRepositoryLinkOutput> {
    let id = input.repository_link_id.to_ascii_lowercase();
    let given = input.repository_link_id;
    // An ARN of another scope names no connection; whether there is such a link is looked at first all the same.
    let id_of = |arn: &str| id_in_scope(&call.scope, "connection", arn).unwrap_or_default().to_owned();
    let to = LinkChange {
        connection_id: input.connection_arn.as_deref().map(id_of),
        encryption_key_arn: input.encryption_key_arn,
    };
    let connection_arn = input.connection_arn.unwrap_or_default();
    let scope = call.scope.clone();
    let change = call.asked.change(move |outcome| match outcome {
        UpdateLink::Updated(link) => {
            Ok(UpdateRepositoryLinkOutput { repository_link_info: shown(&scope, link)? })
        }
        UpdateLink::NotFound => Err(not_found(&given)),
        UpdateLink::ConnectionNotFound => Err(no_connection(&connection_arn)),
        UpdateLink::ConnectionNotAvailable(status) => Err(not_available(&connection_arn, status)),
        UpdateLink::OtherProviderType { connection, link } => Err(ApiError::invalid_input(format!(
            "The connection {connection_arn} is of provider type {connection}, the repository link of {link}"
        ))),
        // UpdateRepositoryLink does not declare ResourceAlreadyExists.
        UpdateLink::AlreadyExists(link) => {
            Err(ApiError::invalid_input(already_exists(&link.owner_id, &link.repository_name)))
        }
    });
    call.front.store.update_link(&call.scope, &id, to, change).await?
}

pub(in crate::server) async fn delete_repository_link(
    call: &Call,
    input: DeleteRepositoryLinkInput,
) -> Answer<DeleteRepositoryLinkOutput> {
    let id = input.repository_link_id.to_ascii_lowercase();
    let given = input.repository_link_id;
    let (store, forges) = (&call.front.store, &call.front.forges);
    let departing = Departing::of(store, forges, &call.scope, &id).await;
    let change = call.asked.change(move |outcome| match outcome {
        DeleteLink::Deleted => Ok(DeleteRepositoryLinkOutput {}),
        DeleteLink::NotFound => Err(not_found(&given)),
        DeleteLink::InUse => Err(ApiError::new(
            ErrorCode::SyncConfigurationStillExists,
            format!("The repository link {given} has sync configurations: delete them first"),
        )),
    });
    let deleted = store.delete_link(&call.scope, &id, change).await??;
    if let Some(departing) = departing {
        // Nobody waits for the forge.
        drop(tokio::spawn(departing.forget(Arc::clone(forges))));
    }
    Ok(deleted)
}
