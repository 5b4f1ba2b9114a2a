//! The AWS front door: route, authenticate, decode, dispatch, encode.

use std::sync::atomic::AtomicBool;
use std::sync::{Arc, OnceLock};

use axum::body::Body;
use axum::extract::State;
use bytes::{Bytes, BytesMut};
use http::request::Parts;
use http::{HeaderValue, Request, Response};
use http_body_util::BodyExt;
use syncline_model::names::Region;
use syncline_seams::chance;
use syncline_store::Scope;
use syncline_wire::{
    ErrorCode, MAX_BODY_BYTES, Operation, Routed, Service, WireError, decode, encode_error, encode_output,
    protocol_of, route,
};
use tracing::info;

use super::api::needs::Needs;
use super::api::{self, Call};
use super::audit::{Asked, Origin};
use super::caller::Caller;
use super::error::{Answer, ApiError};
use super::{Front, SourceAddress, access, audit, auth};

/// Bodies up to this length are received as many as come; larger ones need a place.
const ORDINARY_BODY_BYTES: usize = 16 * 1024;

/// How much of a body that is too large is still read, so that its sender reads the answer.
const MAX_DRAINED_BYTES: usize = 8 * MAX_BODY_BYTES;

/// Answers one request to the AWS API.
pub(super) async fn answer(State(front): State<Arc<Front>>, request: Request<Body>) -> Response<Body> {
    let request_id = chance::uuid().to_string();
    let (parts, body) = request.into_parts();
    let protocol = protocol_of(parts.uri.path(), &parts.headers);
    let mut response = match admitted(&front, &parts, body, &request_id).await {
        Ok(response) => response,
        Err(ApiError { error, .. }) => {
            // What is refused only for now is counted instead: a flood must not fill the log.
            if error.retry_after.is_none() {
                info!(request_id, code = error.code.name(), message = error.message, "refused");
            }
            encode_error(protocol, &error, &request_id)
        }
    };
    stamp(&front, &mut response);
    response.map(Body::from)
}

async fn admitted(
    front: &Arc<Front>,
    parts: &Parts,
    body: Body,
    request_id: &str,
) -> Answer<Response<Bytes>> {
    front.gate.admit(SourceAddress::of(&parts.extensions))?;
    let body = read_body(front, parts, body).await?;
    front.gate.in_time(operate(front, parts, &body, request_id)).await
}

/// Reads a request's body, up to the API's limit.
pub(super) async fn read_body(front: &Front, parts: &Parts, body: Body) -> Result<Bytes, WireError> {
    read_body_of(front, parts, body, MAX_BODY_BYTES).await
}

/// Reads a request's body, up to `most` bytes.
pub(super) async fn read_body_of(
    front: &Front,
    parts: &Parts,
    body: Body,
    most: usize,
) -> Result<Bytes, WireError> {
    let source = SourceAddress::of(&parts.extensions);
    front.gate.body_in_time(source, collect(front, source, body, most)).await
}

async fn collect(
    front: &Front,
    source: SourceAddress,
    mut body: Body,
    most: usize,
) -> Result<Bytes, WireError> {
    let mut whole = Bytes::new();
    let mut pieces = BytesMut::new();
    let (mut large, mut larger) = (None, None);
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| {
            WireError::new(ErrorCode::Serialization, format!("the body could not be read: {error}"))
        })?;
        let Ok(data) = frame.into_data() else { continue };
        let length = whole.len() + pieces.len() + data.len();
        if length > most {
            drop((whole, pieces));
            drain(body, data.len()).await;
            let message = format!("the body has more than {most} bytes");
            return Err(WireError::new(ErrorCode::RequestEntityTooLarge, message));
        }
        if length > ORDINARY_BODY_BYTES && large.is_none() {
            large = Some(front.gate.large_body(source)?);
        }
        if length > MAX_BODY_BYTES && larger.is_none() {
            larger = Some(front.gate.large_webhook()?);
        }
        if length == data.len() {
            // The usual body is one piece, which need not be copied.
            whole = data;
            continue;
        }
        if pieces.is_empty() {
            pieces.extend_from_slice(&std::mem::take(&mut whole));
        }
        pieces.extend_from_slice(&data);
    }
    Ok(if pieces.is_empty() { whole } else { pieces.freeze() })
}

/// Reads on for a while, keeping nothing: a client that is still sending when its connection is closed may
/// lose the answer.
async fn drain(mut body: Body, mut read: usize) {
    while read < MAX_DRAINED_BYTES
        && let Some(Ok(frame)) = body.frame().await
    {
        read += frame.data_ref().map_or(0, Bytes::len);
    }
}

/// The `Date` that clients correct their clocks by, from the server's own clock.
fn stamp(front: &Front, response: &mut Response<Bytes>) {
    let seconds = u64::try_from(front.clock.now_ms() / 1000).unwrap_or(0);
    let time = std::time::UNIX_EPOCH + std::time::Duration::from_secs(seconds);
    if let Ok(date) = HeaderValue::from_str(&httpdate::fmt_http_date(time)) {
        response.headers_mut().insert(http::header::DATE, date);
    }
}

async fn operate(
    front: &Arc<Front>,
    parts: &Parts,
    body: &Bytes,
    request_id: &str,
) -> Answer<Response<Bytes>> {
    let routed = route(&parts.method, parts.uri.path(), &parts.headers)?;
    let is_read_only = routed.operation.is_read_only();
    let mut turn = front.gate.turn(&parts.headers, is_read_only)?;
    let (caller, region) = auth::authenticate(front, parts, body, routed.service.signing_name())
        .await
        .map_err(|refusal| refusal.of(routed.operation))?;
    front.gate.charge(&mut turn, &caller, is_read_only)?;
    let origin = Origin::of(parts, request_id);
    dispatch(Incoming { front, caller, region, origin, routed, body }).await
}

/// An authenticated request.
struct Incoming<'r> {
    front: &'r Arc<Front>,
    caller: Caller,
    region: Region,
    origin: Origin,
    routed: Routed,
    body: &'r [u8],
}

async fn run<I: Needs>(
    request: Incoming<'_>,
    handler: impl AsyncFnOnce(&Call, I) -> Answer<I::Answer>,
) -> Answer<Response<Bytes>> {
    let Incoming { front, caller, region, origin, routed, body } = request;
    let is_read_only = I::OPERATION.is_read_only();
    let decoded = decode::<I>(routed.protocol, body);
    let parameters = match &decoded {
        Ok(input) if !is_read_only => audit::lower_camel(&serde_json::to_value(input).unwrap_or_default()),
        _ => serde_json::Value::Null,
    };
    let scope = Scope { account: caller.account.clone(), region: region.clone() };
    let asked = Arc::new(Asked {
        account: caller.account.clone(),
        caller,
        region,
        origin,
        event_source: match routed.service {
            Service::CodeConnections => "codeconnections.amazonaws.com",
            Service::CodeStarConnections => "codestar-connections.amazonaws.com",
        },
        event_name: I::OPERATION.name(),
        is_read_only,
        parameters,
        body: OnceLock::new(),
        body_hash: if is_read_only { String::new() } else { audit::hash(body) },
        is_recorded: AtomicBool::new(false),
    });
    let call = Call { front: Arc::clone(front), scope, service: routed.service, asked };
    let answered = match decoded {
        Ok(input) => match access::check(&call, || input.needs(&call)).await {
            Ok(()) => handler(&call, input).await,
            Err(denied) => Err(denied),
        },
        Err(error) => Err(error.into()),
    };
    match answered {
        Ok(output) => {
            call.asked.done(front, &output).await;
            Ok(encode_output(routed, output, &call.asked.origin.request_id))
        }
        Err(refusal) => {
            let refusal = refusal.of(I::OPERATION);
            call.asked.refused(front, &refusal).await;
            Err(refusal)
        }
    }
}

/// The API's table of contents.
async fn dispatch(r: Incoming<'_>) -> Answer<Response<Bytes>> {
    use api::{blockers, connections, hosts, links, sync_configurations, sync_status, tags};
    match r.routed.operation {
        Operation::CreateConnection => run(r, connections::create_connection).await,
        Operation::CreateHost => run(r, hosts::create_host).await,
        Operation::CreateRepositoryLink => run(r, links::create_repository_link).await,
        Operation::CreateSyncConfiguration => run(r, sync_configurations::create_sync_configuration).await,
        Operation::DeleteConnection => run(r, connections::delete_connection).await,
        Operation::DeleteHost => run(r, hosts::delete_host).await,
        Operation::DeleteRepositoryLink => run(r, links::delete_repository_link).await,
        Operation::DeleteSyncConfiguration => run(r, sync_configurations::delete_sync_configuration).await,
        Operation::GetConnection => run(r, connections::get_connection).await,
        Operation::GetHost => run(r, hosts::get_host).await,
        Operation::GetRepositoryLink => run(r, links::get_repository_link).await,
        Operation::GetRepositorySyncStatus => run(r, sync_status::get_repository_sync_status).await,
        Operation::GetResourceSyncStatus => run(r, sync_status::get_resource_sync_status).await,
        Operation::GetSyncBlockerSummary => run(r, blockers::get_sync_blocker_summary).await,
        Operation::GetSyncConfiguration => run(r, sync_configurations::get_sync_configuration).await,
        Operation::ListConnections => run(r, connections::list_connections).await,
        Operation::ListHosts => run(r, hosts::list_hosts).await,
        Operation::ListRepositoryLinks => run(r, links::list_repository_links).await,
        Operation::ListRepositorySyncDefinitions => {
            run(r, sync_configurations::list_repository_sync_definitions).await
        }
        Operation::ListSyncConfigurations => run(r, sync_configurations::list_sync_configurations).await,
        Operation::ListTagsForResource => run(r, tags::list_tags_for_resource).await,
        Operation::TagResource => run(r, tags::tag_resource).await,
        Operation::UntagResource => run(r, tags::untag_resource).await,
        Operation::UpdateHost => run(r, hosts::update_host).await,
        Operation::UpdateRepositoryLink => run(r, links::update_repository_link).await,
        Operation::UpdateSyncBlocker => run(r, blockers::update_sync_blocker).await,
        Operation::UpdateSyncConfiguration => run(r, sync_configurations::update_sync_configuration).await,
    }
}
