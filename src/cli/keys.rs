//! The command `greenroom keys`: lists, creates, replaces and revokes API keys.

use clap::builder::PossibleValuesParser;
use clap::{Args, Subcommand};
use serde_json::{Map, Value, json};

use super::Ending;
use super::client::{Client, OperatorServer, text_of};
use super::output::{Table, cell, note, say, say_json};
use crate::domain::ids::{ApiKeyId, OrganizationId, SessionId};
use crate::domain::tenancy::KeyRole;

const HELP: &str = "\
Examples:
  greenroom keys list
  greenroom keys create ci --expires-in 90
  greenroom keys create screen --role watch --session pbs_123
  greenroom keys rotate oat_123 --overlap-hours 2
  greenroom keys revoke oat_123
  greenroom keys create ann --organization o_123 --operator-key …

A key is printed once, alone on standard output. Revoking a key ends at once
whatever the key has opened: requests, DevTools, streams, tickets, leases, links and pages' tokens.";

#[derive(Debug, Args)]
#[command(after_help = HELP)]
pub(super) struct Arguments {
    #[command(flatten)]
    operator: OperatorServer,
    /// Use the keys of this organization; this requires an operator key.
    #[arg(long, value_name = "ID", global = true)]
    organization: Option<OrganizationId>,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// List the keys, including expired and revoked ones (the default).
    List,
    /// Create a key and print it once.
    Create {
        /// Its owner or purpose, for people.
        label: String,
        /// `watch` permits viewing sessions, `drive` also occupying them and using their DevTools,
        /// `organization` everything within the organization, `operator` also everything that
        /// operators may do.
        #[arg(
            long,
            value_parser = PossibleValuesParser::new(KeyRole::ALL.map(KeyRole::as_str)),
            default_value = KeyRole::Organization.as_str()
        )]
        role: String,
        /// Limit the key to this session, with the roles `drive` and `watch`. May be repeated.
        #[arg(long = "session", value_name = "ID")]
        sessions: Vec<SessionId>,
        /// The number of days until the key expires; by default it does not expire.
        #[arg(long, value_name = "DAYS", value_parser = clap::value_parser!(u32).range(1..=3660))]
        expires_in: Option<u32>,
    },
    /// Replace a key by a new one and print that. The previous key stays valid for a while.
    Rotate {
        /// The id of the key, `oat_…`.
        id: ApiKeyId,
        /// The number of hours for which the previous key stays valid; 0 revokes it at once.
        #[arg(long, value_name = "HOURS", default_value_t = 24, value_parser = clap::value_parser!(u32).range(0..=720))]
        overlap_hours: u32,
    },
    /// Revoke a key at once, and end everything that it has opened.
    Revoke {
        /// The id of the key, `oat_…`.
        id: ApiKeyId,
    },
}

/// Runs the command given by the flags.
pub(super) async fn keys(arguments: Arguments) -> anyhow::Result<Ending> {
    let Arguments { operator, organization, command } = arguments;
    let (client, path) = match organization {
        Some(id) => (operator.client()?, format!("/admin/organizations/{id}/api_keys")),
        None => (Client::new(&operator.server)?, "/v1/api_keys".to_owned()),
    };
    match command.unwrap_or(Command::List) {
        Command::List => {
            let keys = client.get(&path).await?;
            if operator.server.json { say_json(&keys) } else { list(&keys) }
        }
        Command::Create { label, role, sessions, expires_in } => {
            let mut body = Map::from_iter([
                ("label".to_owned(), label.into()),
                ("role".to_owned(), role.into()),
            ]);
            if !sessions.is_empty() {
                let ids: Vec<String> = sessions.iter().map(ToString::to_string).collect();
                body.insert("sessions".to_owned(), json!(ids));
            }
            if let Some(days) = expires_in {
                body.insert("expires_in_seconds".to_owned(), (u64::from(days) * 86_400).into());
            }
            once(&client.post(&path, &Value::Object(body)).await?, operator.server.json);
        }
        Command::Rotate { id, overlap_hours } => {
            let body = json!({ "overlap_seconds": u64::from(overlap_hours) * 3600 });
            once(&client.post(&format!("{path}/{id}/rotate"), &body).await?, operator.server.json);
        }
        Command::Revoke { id } => {
            let key = client.delete(&format!("{path}/{id}")).await?;
            if operator.server.json { say_json(&key) } else { say(format_args!("{id} is revoked")) }
        }
    }
    Ok(Ending::Done)
}

/// Prints a new key, which is shown only once.
fn once(made: &Value, as_json: bool) {
    if as_json {
        return say_json(made);
    }
    let (id, role) = (cell(made, "api_key_id"), cell(made, "role"));
    note(format_args!("{id}, role {role}; this is shown once:"));
    say(text_of(made, "key").unwrap_or_default());
}

fn list(keys: &Value) {
    let mut table = Table::new(&["ID", "LABEL", "ROLE", "STATUS", "EXPIRES", "LAST USED", "FROM"]);
    for key in keys.as_array().into_iter().flatten() {
        let columns = ["api_key_id", "label", "role", "status"].map(|name| cell(key, name));
        let seconds = |name| cell(key, name).chars().take("2026-01-01T00:00:00".len()).collect();
        let times = [seconds("expires_at"), seconds("last_used_at"), cell(key, "last_used_from")];
        table.row(columns.into_iter().chain(times));
    }
    table.print();
}
