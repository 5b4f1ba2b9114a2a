//! Connections.

use syncline_store::{Connection as StoredConnection, CreateConnection, NewConnection};
use syncline_wire::{
    Connection, CreateConnectionInput, CreateConnectionOutput, DeleteConnectionInput, DeleteConnectionOutput,
    ErrorCode, GetConnectionInput, GetConnectionOutput, ListConnectionsInput, ListConnectionsOutput,
    ProviderType,
};
use uuid::Uuid;

use super::arns::{arn, id_in_scope};
use super::hosts::needs_host;
use super::paging::Listing;
use super::{Answer, ApiError, Call, stored, tags};

pub(in crate::server) async fn create_connection(
    call: &Call,
    input: CreateConnectionInput,
) -> Answer<CreateConnectionOutput> {
    let host_id = match (&input.provider_type, &input.host_arn) {
        (None, None) => {
            return Err(ApiError::validation(
                "Exactly one of ProviderType and HostArn must be given; neither is",
            ));
        }
        (Some(_), Some(_)) => {
            return Err(ApiError::validation(
                "Exactly one of ProviderType and HostArn must be given; both are",
            ));
        }
        (Some(provider_type), None) if needs_host(*provider_type) => {
            return Err(ApiError::validation(format!(
                "ProviderType {provider_type} is self-managed: create a host of it and give its HostArn instead"
            )));
        }
        (Some(_), None) => None,
        (None, Some(host_arn)) => {
            let id = id_in_scope(&call.scope, "host", host_arn)
                .ok_or_else(|| ApiError::not_found("host", host_arn))?;
            Some(id.to_owned())
        }
    };
    let tags = tags::to_store(input.tags.as_ref(), ApiError::validation)?;
    let id = Uuid::new_v4().to_string();
    let new = NewConnection {
        id: id.clone(),
        service: call.service.signing_name().to_owned(),
        name: input.connection_name.clone(),
        provider_type: input.provider_type.map(|provider_type| provider_type.as_str().to_owned()),
        host_id,
        tags,
    };
    let quota = call.front.quotas.connections;
    let connection_arn = arn(&call.scope, call.service.signing_name(), "connection", &id);
    let change = call.asked.creation(move |outcome| match outcome {
        CreateConnection::Created => Ok(CreateConnectionOutput { connection_arn, tags: input.tags }),
        CreateConnection::LimitExceeded => Err(ApiError::new(
            ErrorCode::LimitExceeded,
            format!("The account has {quota} connections in this region, which is its quota"),
        )),
        CreateConnection::NameTaken => Err(ApiError::validation(format!(
            "A connection named '{}' already exists in this account and region",
            input.connection_name
        ))),
        CreateConnection::HostNotFound => {
            Err(ApiError::not_found("host", input.host_arn.as_deref().unwrap_or_default()))
        }
    });
    call.front.store.create_connection(&call.scope, new, quota, change).await?
}

fn not_found(arn: &str) -> ApiError {
    ApiError::not_found("connection", arn)
}

fn shown(call: &Call, connection: StoredConnection) -> Answer<Connection> {
    Ok(Connection {
        connection_arn: Some(arn(&call.scope, &connection.service, "connection", &connection.id)),
        connection_name: Some(connection.name),
        provider_type: Some(stored::<ProviderType>(&connection.provider_type)?),
        owner_account_id: Some(call.scope.account.as_str().to_owned()),
        connection_status: Some(stored(connection.status.as_str())?),
        host_arn: connection.host.map(|(id, service)| arn(&call.scope, &service, "host", &id)),
    })
}

pub(in crate::server) async fn get_connection(
    call: &Call,
    input: GetConnectionInput,
) -> Answer<GetConnectionOutput> {
    let given = &input.connection_arn;
    let id = id_in_scope(&call.scope, "connection", given).ok_or_else(|| not_found(given))?;
    let connection = call.front.store.connection(&call.scope, id).await?.ok_or_else(|| not_found(given))?;
    Ok(GetConnectionOutput { connection: Some(shown(call, connection)?) })
}

pub(in crate::server) async fn list_connections(
    call: &Call,
    input: ListConnectionsInput,
) -> Answer<ListConnectionsOutput> {
    let provider_type = input.provider_type_filter.map(ProviderType::as_str);
    let listing = Listing::of(
        call,
        "ListConnections",
        &[provider_type.unwrap_or_default(), input.host_arn_filter.as_deref().unwrap_or_default()],
        input.max_results,
        input.next_token.as_deref(),
        ApiError::validation,
    )?;
    let host_id = match &input.host_arn_filter {
        None => None,
        Some(host_arn) => {
            let missing = || ApiError::not_found("host", host_arn);
            let id = id_in_scope(&call.scope, "host", host_arn).ok_or_else(missing)?;
            call.front.store.host(&call.scope, id).await?.ok_or_else(missing)?;
            Some(id)
        }
    };
    let page = call.front.store.connections(&call.scope, provider_type, host_id, &listing.page).await?;
    let connections =
        page.items.into_iter().map(|connection| shown(call, connection)).collect::<Answer<Vec<_>>>()?;
    Ok(ListConnectionsOutput { connections: Some(connections), next_token: listing.next(page.next.as_ref()) })
}

pub(in crate::server) async fn delete_connection(
    call: &Call,
    input: DeleteConnectionInput,
) -> Answer<DeleteConnectionOutput> {
    let given = &input.connection_arn;
    let id = id_in_scope(&call.scope, "connection", given).ok_or_else(|| not_found(given))?;
    let missing = not_found(given);
    let change =
        call.asked.change(|deleted| if deleted { Ok(DeleteConnectionOutput {}) } else { Err(missing) });
    call.front.store.delete_connection(&call.scope, id, change).await?
}
