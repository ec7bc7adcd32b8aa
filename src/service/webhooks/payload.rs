//! The bodies of messages, and their signatures.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use chrono::{DateTime, Utc};
use serde_json::{Value, json};

use crate::db;
use crate::domain::hmac::{Signer, hex};
use crate::domain::ids::RunId;
use crate::domain::webhook::{Webhook, WebhookMessage};
use crate::service::core::Core;
use crate::service::error::ServiceError;
use crate::service::keys::Caller;
use crate::service::lookup;
use crate::service::resources::event::EventResource;
use crate::service::resources::links::Links;
use crate::service::resources::run::{RunBaseResource, RunResource};

/// The headers of a request, as names and values.
pub(super) type Headers = Vec<(&'static str, String)>;

/// Returns the body that reports an event; none if the event is no longer kept.
pub(super) async fn of_event(
    core: &Core,
    message: &WebhookMessage,
    seq: i64,
) -> Result<Option<String>, ServiceError> {
    let event = db::events::by_seq(&core.db, message.organization, seq).await?;
    Ok(event.map(|event| {
        let data = EventResource::from(&event);
        json!({ "type": data.kind, "timestamp": data.at, "data": data }).to_string()
    }))
}

/// Returns the body that reports a run: its older form, overlaid with the members of the newer one.
/// Links in the body are signed with the run's key.
pub async fn of_run(core: &Core, signing: Caller, id: RunId) -> Result<String, ServiceError> {
    let (older, newer) = both_forms(core, signing, id).await?;
    let mut body = json(&older);
    if let (Some(members), Value::Object(newer)) = (body.as_object_mut(), json(&newer)) {
        members.extend(newer);
    }
    Ok(whole(body).to_string())
}

/// Returns a run in its older and its newer form, as its webhook reports it. Links are signed with
/// the caller's key.
///
/// # Errors
///
/// Those of [`lookup::run`], and of the database.
async fn both_forms(
    core: &Core,
    caller: Caller,
    id: RunId,
) -> Result<(RunBaseResource, RunResource), ServiceError> {
    let view = lookup::run(core, caller.organization, id).await?;
    let artifacts = lookup::artifacts_of(core, &view.record).await?;
    let links = Links { core, caller };
    let older = RunBaseResource::of(&view, &artifacts, &links);
    Ok((older, RunResource::of(&view, &artifacts, &links)))
}

fn json<T: serde::Serialize>(value: &T) -> Value {
    serde_json::to_value(value).unwrap_or_default()
}

/// Writes whole numbers without a fraction, as the compatible API signs them.
fn whole(value: Value) -> Value {
    match value {
        Value::Number(number) if number.is_f64() => {
            let float = number.as_f64().unwrap_or_default();
            let text = format!("{float:.0}");
            match text.parse::<i64>() {
                Ok(integer) if float.fract() == 0.0 => Value::from(integer),
                Ok(_) | Err(_) => Value::Number(number),
            }
        }
        Value::Array(items) => items.into_iter().map(whole).collect(),
        Value::Object(members) => {
            members.into_iter().map(|(name, value)| (name, whole(value))).collect()
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => value,
    }
}

/// Returns the headers of a message about a run, as the compatible API sends them.
pub fn headers_of_run(
    signer: &Signer,
    body: &str,
    now: DateTime<Utc>,
) -> Vec<(&'static str, String)> {
    vec![
        ("content-type", "application/json".to_owned()),
        ("x-skyvern-timestamp", now.timestamp().to_string()),
        ("x-skyvern-signature", hex(&signer.sign(body.as_bytes()))),
    ]
}

/// Returns the headers of a message about an event, as <https://www.standardwebhooks.com> specifies.
/// While a secret is being replaced, there are two signatures.
pub(super) fn headers_of_event(
    webhook: &Webhook,
    message: &WebhookMessage,
    body: &str,
    now: DateTime<Utc>,
) -> Headers {
    let timestamp = now.timestamp();
    let signed = format!("{}.{timestamp}.{body}", message.id);
    let former = webhook.former.as_ref().filter(|(_, until)| *until > now);
    let signers = std::iter::once(&webhook.signer).chain(former.map(|(signer, _)| signer));
    let signatures: Vec<String> = signers
        .map(|signer| format!("v1,{}", STANDARD.encode(signer.sign(signed.as_bytes()))))
        .collect();
    vec![
        ("content-type", "application/json".to_owned()),
        ("webhook-id", message.id.to_string()),
        ("webhook-timestamp", timestamp.to_string()),
        ("webhook-signature", signatures.join(" ")),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_numbers_are_written_without_a_fraction_wherever_they_are() {
        let value = json!({"a": [1.0, 1.5, {"b": -3.0}], "c": 7, "d": 1e300, "e": "1.0"});
        let written = whole(value).to_string();
        assert!(written.starts_with(r#"{"a":[1,1.5,{"b":-3}],"c":7,"d":1e+300,"#), "{written}");
    }
}
