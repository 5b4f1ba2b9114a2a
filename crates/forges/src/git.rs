//! Whoever signs a body, whatever it says: something was pushed, all branches are meant.

use http::HeaderMap;

use crate::received::{Branches, Meaning, Received, delivery_id, header, name};

/// The headers in which a delivery may be named, the first that is there.
const DELIVERY: &[&str] = &[
    "x-github-delivery",
    "x-gitea-delivery",
    "x-gogs-delivery",
    "webhook-id",
    "x-request-uuid",
    "x-delivery-id",
    "idempotency-key",
];

pub(crate) fn read(headers: &HeaderMap) -> Received {
    let event = header(headers, "x-github-event").filter(|event| !event.is_empty()).unwrap_or("push");
    Received {
        event: name(event),
        id: delivery_id(headers, DELIVERY),
        repository: None,
        meaning: Meaning::Pushed(Branches::All),
    }
}
