//! The command `greenroom events`: prints past and new events.

use std::time::Duration;

use clap::Args;
use serde_json::Value;

use super::Ending;
use super::client::{Client, Server, text_of};
use super::output::{cell, note, say};
use crate::domain::ids::SessionId;

const EXAMPLES: &str = "\
Examples:
  greenroom events                              all stored events
  greenroom events --follow --session pbs_123   the events of one session
  greenroom events --follow --json | jq .kind   one JSON object a line, for programs";

/// The delay before a server that does not respond is asked again.
const RETRY_DELAY: Duration = Duration::from_secs(1);

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Arguments {
    #[command(flatten)]
    server: Server,
    /// Print only the events of this session.
    #[arg(long, value_name = "ID")]
    session: Option<SessionId>,
    /// Keep printing new events until interrupted.
    #[arg(long, short)]
    follow: bool,
    /// Start after the event with this number; `latest` prints only new events.
    #[arg(long, value_name = "SEQ", default_value = "0")]
    after: String,
}

/// Runs the command given by the flags.
pub(super) async fn events(arguments: Arguments) -> anyhow::Result<Ending> {
    let client = Client::new(&arguments.server)?;
    let as_json = arguments.server.json;
    let path = match arguments.session {
        Some(session) => format!("/v1/browser_sessions/{session}/events"),
        None => "/v1/events".to_owned(),
    };
    let mut after = arguments.after;
    loop {
        let wait = if arguments.follow { 25 } else { 0 };
        let query = format!("{path}?limit=500&wait_seconds={wait}&after={after}");
        let page = match client.get(&query).await {
            Ok(page) => page,
            Err(cause) if arguments.follow && cause.is_passing() => {
                note(format_args!("{cause}; retrying"));
                tokio::time::sleep(RETRY_DELAY).await;
                continue;
            }
            Err(cause) => return Err(cause.into()),
        };
        if page.get("reset").is_some_and(|reset| !reset.is_null()) {
            note("some events in between are no longer stored");
        }
        let events = page.get("events").and_then(Value::as_array).map(Vec::as_slice);
        let events = events.unwrap_or_default();
        for event in events {
            if as_json { say(event) } else { say(line(event)) }
        }
        if let Some(next) = page.get("next") {
            after = next.to_string();
        }
        if events.is_empty() && !arguments.follow {
            return Ok(Ending::Done);
        }
    }
}

/// Returns `12  2026-11-26T10:00:00Z  session.started  pbs_1  display_number=99`.
fn line(event: &Value) -> String {
    let details = event.get("data").and_then(Value::as_object).into_iter().flatten();
    let details = details.filter(|(_, value)| !value.is_null()).map(|(name, value)| match value {
        Value::String(text) => format!("{name}={text}"),
        Value::Object(_) => {
            let shown = text_of(value, "message").map_or_else(|| value.to_string(), str::to_owned);
            format!("{name}={shown}")
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) => {
            format!("{name}={value}")
        }
    });
    let subject = ["run_id", "browser_session_id"].map(|name| cell(event, name));
    let subject = subject.into_iter().find(|id| id != "-").unwrap_or_default();
    let words = [cell(event, "seq"), cell(event, "at"), cell(event, "kind"), subject];
    words.into_iter().chain(details).collect::<Vec<_>>().join("  ")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_event_is_told_in_one_line() {
        let event = json!({
            "seq": 12, "at": "2026-11-26T10:00:00Z", "kind": "session.closing",
            "browser_session_id": "pbs_1", "run_id": null,
            "data": {"status": "failed", "failure": {"code": "x", "message": "it broke"}},
        });
        assert_eq!(
            line(&event),
            "12  2026-11-26T10:00:00Z  session.closing  pbs_1  status=failed  failure=it broke"
        );
    }
}
