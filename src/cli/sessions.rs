//! The command `greenroom sessions`: lists, creates, shows and closes browser sessions.

use clap::{Args, Subcommand};
use serde_json::{Map, Value, json};

use super::Ending;
use super::client::{Client, Server, text_of};
use super::output::{Table, cell, say, say_json};
use super::session_egress;
use crate::domain::ids::SessionId;

const EXAMPLES: &str = "\
Examples:
  greenroom sessions list
  greenroom sessions create --start-url https://example.com --timeout 120
  greenroom sessions show pbs_123 --json
  greenroom sessions egress pbs_123 --deny ads.example --check https://ads.example
  greenroom sessions ticket pbs_123 --role drive --ttl 600 --single-use
  greenroom sessions rotate pbs_123
  greenroom sessions close pbs_123";

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Arguments {
    #[command(flatten)]
    server: Server,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// List the sessions that have not ended (the default).
    List,
    /// Create a session and wait until its browser can be driven.
    Create(Create),
    /// Show one browser session.
    Show {
        /// The id of the session, `pbs_…`.
        id: SessionId,
    },
    /// Show which targets a session's programs may reach, change them while it lives, or test a
    /// URL.
    Egress(session_egress::Egress),
    /// Make a ticket that opens one session to a viewer or a program, and print its address.
    Ticket(Ticket),
    /// End every ticket, lease, signed link and VNC password of a session, and show the new ones.
    Rotate {
        /// The id of the session, `pbs_…`.
        id: SessionId,
    },
    /// Close one session and wait until nothing of it is left.
    Close {
        /// The id of the session, `pbs_…`.
        id: SessionId,
    },
}

#[derive(Debug, Args)]
struct Create {
    /// The page that the browser opens first.
    #[arg(long, value_name = "URL")]
    start_url: Option<String>,
    /// The lifetime of the session, in minutes.
    #[arg(long, value_name = "MINUTES")]
    timeout: Option<u32>,
    /// The display's width, in pixels.
    #[arg(long)]
    width: Option<u32>,
    /// The display's height, in pixels.
    #[arg(long)]
    height: Option<u32>,
}

#[derive(Debug, Args)]
struct Ticket {
    /// The id of the session, `pbs_…`.
    id: SessionId,
    /// `watch`, `control`, or `drive` for a program.
    #[arg(long, default_value = "watch")]
    role: String,
    /// The life of the ticket, in seconds.
    #[arg(long, value_name = "SECONDS")]
    ttl: Option<u64>,
    /// Its owner, for people.
    #[arg(long)]
    label: Option<String>,
    /// Valid for the first use only.
    #[arg(long)]
    single_use: bool,
}

impl Ticket {
    fn body(&self) -> Value {
        let mut body = json!({ "role": self.role, "single_use": self.single_use });
        if let Some(members) = body.as_object_mut() {
            members.extend(self.ttl.map(|ttl| ("ttl_seconds".to_owned(), ttl.into())));
            let label = self.label.clone();
            members.extend(label.map(|label| ("label".to_owned(), label.into())));
        }
        body
    }
}

impl Create {
    fn body(&self) -> Value {
        let members = [
            ("url", self.start_url.clone().map(Value::from)),
            ("timeout", self.timeout.map(Value::from)),
            ("width", self.width.map(Value::from)),
            ("height", self.height.map(Value::from)),
        ];
        let given = members.into_iter().filter_map(|(name, value)| Some((name.into(), value?)));
        Value::Object(given.collect::<Map<_, _>>())
    }
}

/// Runs the command given by the flags.
pub(super) async fn sessions(arguments: Arguments) -> anyhow::Result<Ending> {
    let client = Client::new(&arguments.server)?;
    let as_json = arguments.server.json;
    match arguments.command.unwrap_or(Command::List) {
        Command::List => {
            let sessions = client.get("/v1/browser_sessions").await?;
            if as_json { say_json(&sessions) } else { list(&sessions) }
        }
        Command::Create(create) => {
            let session = client.post("/v1/browser_sessions", &create.body()).await?;
            if as_json { say_json(&session) } else { show(&client, &session) }
        }
        Command::Show { id } => {
            let session = client.get(&format!("/v1/browser_sessions/{id}")).await?;
            if as_json { say_json(&session) } else { show(&client, &session) }
        }
        Command::Egress(egress) => return session_egress::egress(&client, egress, as_json).await,
        Command::Ticket(ticket) => {
            let path = format!("/v1/browser_sessions/{}/viewers", ticket.id);
            let made = client.post(&path, &ticket.body()).await?;
            let address = text_of(&made, "cdp_url").or_else(|| text_of(&made, "link"));
            match address.filter(|_address| !as_json) {
                Some(address) => say(format_args!("{address}")),
                None => say_json(&made),
            }
        }
        Command::Rotate { id } => {
            let path = format!("/v1/browser_sessions/{id}/rotate");
            say_json(&client.post(&path, &json!({})).await?);
        }
        Command::Close { id } => {
            let path = format!("/v1/browser_sessions/{id}/close");
            let answer = client.post(&path, &json!({})).await?;
            if as_json { say_json(&answer) } else { say(format_args!("{id} is closed")) }
        }
    }
    Ok(Ending::Done)
}

fn list(sessions: &Value) {
    let sessions = sessions.as_array().map(Vec::as_slice).unwrap_or_default();
    if sessions.is_empty() {
        say("no sessions; `greenroom sessions create` creates one");
        return;
    }
    let mut table = Table::new(&["SESSION", "STATUS", "OCCUPANT", "DISPLAY", "VNC", "EXPIRES"]);
    for session in sessions {
        let display = session.get("display_number").and_then(Value::as_u64);
        table.row([
            cell(session, "browser_session_id"),
            cell(session, "status"),
            cell(session, "runnable_id"),
            display.map_or_else(|| "-".to_owned(), |number| format!(":{number}")),
            cell(session, "vnc_port"),
            cell(session, "expires_at"),
        ]);
    }
    table.print();
}

fn show(client: &Client, session: &Value) {
    let members = session.as_object().into_iter().flatten();
    let mut table = Table::new(&["", ""]);
    for (name, _) in members.filter(|(_, value)| !value.is_null()) {
        table.row([name.clone(), cell(session, name)]);
    }
    table.print();
    if let Some(id) = text_of(session, "browser_session_id") {
        say(format_args!("\nlive view: {}", client.link(&format!("/view/{id}"))));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_given_is_asked_for() {
        let create = Create { start_url: None, timeout: Some(5), width: None, height: None };
        assert_eq!(create.body(), json!({"timeout": 5}));
    }
}
