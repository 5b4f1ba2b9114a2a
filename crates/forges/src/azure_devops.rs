//! Azure DevOps: service hooks of the kind "Web Hooks".

use serde::Deserialize;

use crate::lenient::{Label, List, Object, Text};
use crate::received::{Branches, Meaning, Received, name};

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Event {
    subscription_id: Text,
    notification_id: Label,
    event_type: Text,
    resource: Object<Resource>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Resource {
    ref_updates: List<Object<RefUpdate>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct RefUpdate {
    name: Text,
}

pub(crate) fn read(body: &[u8]) -> Received {
    let Ok(Object(said)) = serde_json::from_slice::<Object<Event>>(body) else {
        return Received::unreadable(String::new(), None);
    };
    let event = name(said.event_type.get().unwrap_or_default());
    let id = said.subscription_id.get().zip(said.notification_id.get());
    let id = id.map(|(subscription, notification)| format!("{subscription}/{notification}"));
    let updates = &said.resource.0.ref_updates;
    let meaning = match &*event {
        // A subscription may leave the details out: something was pushed then, and nobody says where.
        "git.push" if updates.is_missing() || updates.is_cut() => Meaning::Pushed(Branches::All),
        "git.push" => Meaning::pushed(updates.items().iter().filter_map(|Object(update)| update.name.get())),
        "" => Meaning::nothing("the member eventType is missing"),
        other if other.starts_with("git.pullrequest.") => Meaning::PullRequest,
        other => Meaning::unknown(other),
    };
    // A repository is named by its project here, which is not how a link names it.
    Received { event, id, repository: None, meaning }
}
