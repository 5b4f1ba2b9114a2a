//! What is sent to a notification target, and how it is signed.

use std::fmt::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, Mac};
use serde_json::{Value, json};
use sha2::Sha256;
use syncline_seams::Secret;
use syncline_store::{StatusEvent, TargetKind};
use syncline_wire::Timestamp;

/// Who an event on a bus is from: EventBridge refuses the `aws.` that AWS's own have.
pub(super) const SOURCE: &str = "syncline.codeconnections";

/// The body of a request to a target of this kind; of an event bus, the event's detail.
pub(super) fn body(kind: TargetKind, id: &str, event: &StatusEvent) -> Vec<u8> {
    let body = match kind {
        TargetKind::Webhook => standard(event),
        TargetKind::Envelope => envelope(id, event),
        TargetKind::Slack => json!({ "text": text(event) }),
        TargetKind::EventBridge => detail(id, event),
    };
    serde_json::to_vec(&body).unwrap_or_default()
}

fn time(event: &StatusEvent) -> String {
    Timestamp::from_epoch_ms(event.time_ms).iso8601()
}

/// As Standard Webhooks recommends: type, timestamp, data.
fn standard(event: &StatusEvent) -> Value {
    let what = match event.detail_type.as_str() {
        "Git Sync Resource Sync Status Change" => "resource_sync.status_changed",
        "Git Sync Repository Sync Status Change" => "repository_sync.status_changed",
        _ => "test",
    };
    let mut data = json!({ "account": event.account, "region": event.region });
    if let Some(members) = data.as_object_mut() {
        if let Some(sync) = &event.sync {
            members.insert("resourceName".to_owned(), sync.as_str().into());
        }
        members.extend(event.detail.as_object().cloned().unwrap_or_default());
    }
    json!({ "type": what, "timestamp": time(event), "data": data })
}

/// As EventBridge delivers it to its targets (contract §5).
fn envelope(id: &str, event: &StatusEvent) -> Value {
    json!({
        "version": "0",
        "id": id,
        "detail-type": event.detail_type,
        "source": "aws.codeconnections",
        "account": event.account,
        "time": time(event),
        "region": event.region,
        "resources": [],
        "detail": event.detail,
    })
}

/// As AWS's own events have it (contract §5), and the id by which one that is told again is known: EventBridge gives each
/// that it takes an id of its own.
fn detail(id: &str, event: &StatusEvent) -> Value {
    let mut detail = event.detail.clone();
    if let Some(members) = detail.as_object_mut() {
        members.insert("notificationId".to_owned(), id.into());
    }
    detail
}

/// For people, in Slack's markup: what is between `&`, `<` and `>` is nothing of a repository's.
fn text(event: &StatusEvent) -> String {
    let member = |name: &str| escaped(event.detail[name].as_str().unwrap_or_default());
    let mut text = match event.status.as_str() {
        "SUCCEEDED" => ":white_check_mark: ",
        "FAILED" => ":x: ",
        "TEST" => return format!(":wave: Syncline: {}", member("message")),
        _ => ":hourglass_flowing_sand: ",
    }
    .to_owned();
    let what = match &event.sync {
        Some(sync) => format!("*{}*", escaped(sync)),
        None => "the repository".to_owned(),
    };
    let _ = write!(text, "{what} {}", escaped(&event.status));
    let commit: String = member("commit").chars().take(12).collect();
    if !commit.is_empty() {
        let _ = write!(text, " at `{commit}`");
    }
    let _ = write!(text, " of {} in {}", member("branch"), member("repositoryName"));
    let previous = member("previousStatus");
    if !previous.is_empty() {
        let _ = write!(text, ", was {previous}");
    }
    let _ = write!(text, " ({}, {})", escaped(&event.account), escaped(&event.region));
    text
}

/// A text as Slack shows it, without a link, a mention or markup of its own.
fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '*' | '`' | '~' => escaped.push('\''),
            c if c.is_control() => escaped.push(' '),
            c => escaped.push(c),
        }
    }
    escaped
}

/// `v1,<base64>` of the HMAC-SHA256 of `<id>.<timestamp in seconds>.<body>`, as Standard Webhooks has it; `None` if the key
/// is none.
pub(super) fn signature(key: &Secret, id: &str, timestamp: i64, body: &[u8]) -> Option<String> {
    let key = STANDARD.decode(key.expose().strip_prefix("whsec_")?).ok()?;
    let mut mac = Hmac::<Sha256>::new_from_slice(&key).ok()?;
    mac.update(format!("{id}.{timestamp}.").as_bytes());
    mac.update(body);
    Some(format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes())))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(sync: Option<&str>, status: &str) -> StatusEvent {
        StatusEvent {
            detail_type: "Git Sync Resource Sync Status Change".to_owned(),
            time_ms: 1_793_491_200_123,
            account: "111111111111".to_owned(),
            region: "eu-west-1".to_owned(),
            detail: json!({ "repositoryName": "in<fra>", "branch": "main", "commit": "0123456789abcdef",
                "status": status, "previousStatus": "IN_PROGRESS" }),
            sync: sync.map(str::to_owned),
            status: status.to_owned(),
        }
    }

    fn sent(kind: TargetKind, event: &StatusEvent) -> Value {
        serde_json::from_slice(&body(kind, "id-1", event)).expect("JSON")
    }

    #[test]
    fn each_kind_has_a_body_of_its_own() {
        let failed = event(Some("web"), "FAILED");
        assert_eq!(
            sent(TargetKind::Webhook, &failed),
            json!({ "type": "resource_sync.status_changed", "timestamp": "2026-11-01T00:00:00Z", "data": {
                "account": "111111111111", "region": "eu-west-1", "resourceName": "web", "repositoryName": "in<fra>",
                "branch": "main", "commit": "0123456789abcdef", "status": "FAILED", "previousStatus": "IN_PROGRESS" } })
        );
        assert_eq!(
            sent(TargetKind::Envelope, &failed),
            json!({ "version": "0", "id": "id-1", "detail-type": "Git Sync Resource Sync Status Change",
                "source": "aws.codeconnections", "account": "111111111111", "time": "2026-11-01T00:00:00Z",
                "region": "eu-west-1", "resources": [], "detail": failed.detail })
        );
        let on_a_bus = sent(TargetKind::EventBridge, &failed);
        assert_eq!((&on_a_bus["status"], &on_a_bus["notificationId"]), (&json!("FAILED"), &json!("id-1")));
        assert_eq!(
            sent(TargetKind::Slack, &failed),
            json!({ "text": ":x: *web* FAILED at `0123456789ab` of main in in&lt;fra&gt;, was IN_PROGRESS \
                (111111111111, eu-west-1)" })
        );
        assert_eq!(
            sent(TargetKind::Slack, &event(Some("<!channel> *b*"), "SUCCEEDED"))["text"],
            ":white_check_mark: *&lt;!channel&gt; 'b'* SUCCEEDED at `0123456789ab` of main in in&lt;fra&gt;, was \
             IN_PROGRESS (111111111111, eu-west-1)"
        );
    }

    #[test]
    fn the_signature_is_the_one_of_the_specification() {
        // The example of the Standard Webhooks specification's reference libraries.
        let key = Secret::new("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw");
        let signed =
            signature(&key, "msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, br#"{"test": 2432232314}"#);
        assert_eq!(signed.as_deref(), Some("v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="));
        assert_eq!(signature(&Secret::new("MfKQ9r8"), "a", 1, b""), None);
    }
}
