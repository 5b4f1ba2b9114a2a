//! Telling an EventBridge bus, as a role that its owner gave.

use http::StatusCode;
use syncline_model::names::{EventBusArn, InvalidName, RoleArn};
use syncline_store::{StatusEvent, TargetKind, TargetRecord};
use syncline_targets::{Access, BusEvent, TargetError};

use super::message::{self, SOURCE};
use super::{NotTold, Notifier};

/// A bus, and as whom it is told.
#[derive(Debug, Clone)]
pub(crate) struct Bus {
    /// The bus.
    pub(crate) arn: EventBusArn,
    /// The role that is assumed.
    pub(crate) role: RoleArn,
}

impl Bus {
    /// The bus and the role of these ARNs.
    pub(crate) fn parse(arn: &str, role: &str) -> Result<Self, InvalidName> {
        Ok(Self { arn: arn.parse()?, role: role.parse()? })
    }
}

impl Notifier {
    /// Puts an event on a target's bus. Nothing of what may go wrong is for good: a role, a policy or a bus can be mended.
    pub(super) async fn put(
        &self,
        target: &TargetRecord,
        id: &str,
        event: &StatusEvent,
    ) -> Result<StatusCode, NotTold> {
        let unreadable = |error: &dyn std::fmt::Display| NotTold::here(error.to_string(), true);
        let role = target.target.role_arn.as_deref().unwrap_or_default();
        let bus = Bus::parse(&target.target.shown, role).map_err(|error| unreadable(&error))?;
        let access = Access {
            account: target.account.parse().map_err(|error| unreadable(&error))?,
            role: bus.role,
            external_id: target.external_id.clone(),
            region: bus.arn.region().clone(),
        };
        let body = message::body(TargetKind::EventBridge, id, event);
        let put = BusEvent {
            bus: bus.arn,
            source: SOURCE.to_owned(),
            detail_type: event.detail_type.clone(),
            detail: String::from_utf8_lossy(&body).into_owned(),
            time_ms: event.time_ms,
        };
        match self.buses.put_event(&access, &put).await {
            Ok(_) => Ok(StatusCode::OK),
            Err(error) => Err(not_told(&error)),
        }
    }
}

fn not_told(error: &TargetError) -> NotTold {
    let throttled = match error {
        TargetError::Unavailable { retry_after_ms, .. } if error.is_throttled() => Some(*retry_after_ms),
        _ => None,
    };
    let reason = match error {
        TargetError::Denied { .. } => format!("{error}: the role needs events:PutEvents on the bus"),
        TargetError::RoleNotAssumable { .. } => {
            format!("{error}: syncline account trust-policy shows what its trust policy must say")
        }
        _ => error.to_string(),
    };
    NotTold { throttled, ..NotTold::here(reason, false) }
}
