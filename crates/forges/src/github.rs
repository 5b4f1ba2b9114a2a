//! GitHub and GitHub Enterprise Server.

use std::borrow::Cow;

use http::HeaderMap;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::lenient::{Object, Text};
use crate::received::{Meaning, Received, Repository, delivery_id, header, name};

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Event {
    #[serde(rename = "ref")]
    reference: Text,
    repository: Object<Repository>,
}

pub(crate) fn read(headers: &HeaderMap, body: &[u8]) -> Received {
    let event = name(header(headers, "x-github-event").unwrap_or_default());
    let id = delivery_id(headers, &["x-github-delivery"]);
    let Some(Object(said)) = json::<Object<Event>>(headers, body) else {
        return Received::unreadable(event, id);
    };
    let meaning = match &*event {
        // Of created and deleted branches, too.
        "push" => Meaning::pushed(said.reference.get()),
        "pull_request" => Meaning::PullRequest,
        "ping" => Meaning::Ping,
        "" => Meaning::nothing("the header X-GitHub-Event is missing"),
        other => Meaning::unknown(other),
    };
    Received { event, id, repository: said.repository.0.full_name(), meaning }
}

/// The JSON of a body, which may be the field `payload` of a form, as it is unless its sender is told otherwise.
pub(crate) fn json<T: DeserializeOwned>(headers: &HeaderMap, body: &[u8]) -> Option<T> {
    let content_type = header(headers, "content-type").unwrap_or_default().trim_start();
    let is_form = content_type.to_ascii_lowercase().starts_with("application/x-www-form-urlencoded");
    let body = if is_form {
        let payload = form_urlencoded::parse(body).find(|(field, _)| field == "payload")?.1;
        Cow::Owned(payload.into_owned().into_bytes())
    } else {
        Cow::Borrowed(body)
    };
    serde_json::from_slice(&body).ok()
}
