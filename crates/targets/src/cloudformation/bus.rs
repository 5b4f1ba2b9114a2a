//! PutEvents, with the same sessions as CloudFormation's calls.

use aws_config::Region as SdkRegion;
use aws_sdk_eventbridge::primitives::DateTime;
use aws_sdk_eventbridge::types::{PutEventsRequestEntry, PutEventsResultEntry};

use super::{CloudFormation, answers, sdk};
use crate::classify::{Failure, Operation, classify, rejects_credentials};
use crate::{Access, Answer, BusEvent, EventBus, TargetError};

/// The status that stands for an event that was refused within an answer that was not.
const REFUSED_WITHIN: u16 = 400;

impl CloudFormation {
    async fn put(&self, access: &Access, event: &BusEvent) -> Result<String, TargetError> {
        let session = self.session(access).await?;
        let config = self.events.to_builder().region(SdkRegion::new(access.region.to_string()));
        // Rare enough for a client of its own; connections are shared all the same.
        let client =
            self.guard.event_bridge(config.credentials_provider(session.credentials.clone()).build());
        let entry = PutEventsRequestEntry::builder()
            .event_bus_name(event.bus.as_str())
            .source(&event.source)
            .detail_type(&event.detail_type)
            .detail(&event.detail)
            .time(DateTime::from_millis(event.time_ms))
            .build();
        let operation = Operation::PutEvents;
        let call = async |client: aws_sdk_eventbridge::Client| {
            client.put_events().entries(entry).send().await.map_err(|error| {
                let whereabouts = self.whereabouts("EventBridge", access.region.as_str());
                classify(operation, sdk::failure(&error, &whereabouts), None)
            })
        };
        let put = client.call(operation, call).await.and_then(|answer| id_of(answer.entries));
        if put.as_ref().is_err_and(rejects_credentials) {
            self.sessions.forget(access, &session).await;
        }
        put
    }
}

/// What became of the only event of a call that was answered.
fn id_of(entries: Option<Vec<PutEventsResultEntry>>) -> Result<String, TargetError> {
    let Some(put) = entries.unwrap_or_default().into_iter().next() else {
        return Err(answers::missing("PutEvents", "Entries"));
    };
    match (put.event_id, put.error_code) {
        (_, Some(code)) => {
            let (code, message) = (Some(code), put.error_message);
            let refused = Failure::Answered { status: REFUSED_WITHIN, code, message, retry_after_ms: None };
            Err(classify(Operation::PutEvents, refused, None))
        }
        (Some(id), None) => Ok(id),
        (None, None) => Err(answers::missing("PutEvents", "EventId")),
    }
}

impl EventBus for CloudFormation {
    fn put_event<'a>(&'a self, access: &'a Access, event: &'a BusEvent) -> Answer<'a, String> {
        Box::pin(self.put(access, event))
    }
}
