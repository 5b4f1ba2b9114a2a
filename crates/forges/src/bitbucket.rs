//! Bitbucket Cloud.

use http::HeaderMap;
use serde::Deserialize;

use crate::lenient::{List, Object, Text};
use crate::received::{Branches, Meaning, Received, Repository, delivery_id, header, name};

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Event {
    push: Object<Push>,
    repository: Object<Repository>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Push {
    changes: List<Object<Change>>,
}

/// Of a created ref `old` is null, of a deleted one `new`.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Change {
    new: Object<Target>,
    old: Object<Target>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Target {
    #[serde(rename = "type")]
    kind: Text,
    name: Text,
}

pub(crate) fn read(headers: &HeaderMap, body: &[u8]) -> Received {
    let event = name(header(headers, "x-event-key").unwrap_or_default());
    let id = delivery_id(headers, &["x-request-uuid"]);
    let Ok(Object(said)) = serde_json::from_slice::<Object<Event>>(body) else {
        return Received::unreadable(event, id);
    };
    let meaning = match &*event {
        "repo:push" => pushed(&said.push.0.changes),
        "diagnostics:ping" => Meaning::Ping,
        "" => Meaning::nothing("the header X-Event-Key is missing"),
        other if other.starts_with("pullrequest:") => Meaning::PullRequest,
        other => Meaning::unknown(other),
    };
    Received { event, id, repository: said.repository.0.full_name(), meaning }
}

fn pushed(changes: &List<Object<Change>>) -> Meaning {
    if changes.is_cut() {
        return Meaning::Pushed(Branches::All);
    }
    let refs: Vec<String> = changes.items().iter().filter_map(|Object(change)| full_name(change)).collect();
    Meaning::pushed(refs.iter().map(String::as_str))
}

/// The ref that changed, as Git names it.
fn full_name(change: &Change) -> Option<String> {
    [&change.new.0, &change.old.0].into_iter().find_map(|target| {
        match (target.kind.get()?, target.name.get()?) {
            ("branch" | "named_branch", name) => Some(format!("refs/heads/{name}")),
            (_, name) => Some(format!("refs/tags/{name}")),
        }
    })
}
