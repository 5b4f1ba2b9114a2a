//! Gitea and Forgejo.

use http::HeaderMap;
use serde::Deserialize;

use crate::github::json;
use crate::lenient::{Object, Text};
use crate::received::{Meaning, Received, Repository, delivery_id, header, name};

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Event {
    #[serde(rename = "ref")]
    reference: Text,
    ref_type: Text,
    repository: Object<Repository>,
}

pub(crate) fn read(headers: &HeaderMap, body: &[u8]) -> Received {
    let event = name(header(headers, "x-gitea-event").unwrap_or_default());
    let id = delivery_id(headers, &["x-gitea-delivery"]);
    let Some(Object(said)) = json::<Object<Event>>(headers, body) else {
        return Received::unreadable(event, id);
    };
    let meaning = match &*event {
        "push" => Meaning::pushed(said.reference.get()),
        // These name the branch alone, not the ref.
        "create" | "delete" => match said.ref_type.get() {
            Some("branch") => Meaning::branch(said.reference.get().unwrap_or_default()),
            Some(_) => Meaning::nothing("the event is about tags or other refs, not about a branch"),
            None => Meaning::nothing("the event names no branch"),
        },
        "" => Meaning::nothing("the header X-Gitea-Event is missing"),
        other if other.starts_with("pull_request") => Meaning::PullRequest,
        other => Meaning::unknown(other),
    };
    Received { event, id, repository: said.repository.0.full_name(), meaning }
}
