//! What Syncline tells EventBridge.

use std::fmt::Debug;

use syncline_model::names::EventBusArn;

use crate::{Access, Answer};

/// An event to be put on a bus.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BusEvent {
    /// The bus.
    pub bus: EventBusArn,
    /// Who says so. EventBridge refuses what begins with `aws.`.
    pub source: String,
    /// What kind of event it is.
    pub detail_type: String,
    /// A JSON object.
    pub detail: String,
    /// When it happened, in milliseconds since the Unix epoch; EventBridge keeps seconds.
    pub time_ms: i64,
}

/// Something that events are put on. As with a [`crate::Target`], nothing is tried again here, and a future that is
/// dropped leaves it unknown whether the event was put.
pub trait EventBus: Debug + Send + Sync {
    /// Puts one event on its bus as the role of `access`, whose region is the bus's; the id that EventBridge gave it.
    fn put_event<'a>(&'a self, access: &'a Access, event: &'a BusEvent) -> Answer<'a, String>;
}
