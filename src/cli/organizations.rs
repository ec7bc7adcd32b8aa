//! `greenroom organizations`.

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::Ending;
use super::client::{Client, Server};
use super::output::{Table, cell, say, say_json};
use crate::domain::ids::OrganizationId;
use crate::domain::secret::Secret;

const HELP: &str = "\
Examples:
  greenroom organizations create 'Team red'
  greenroom keys create ann --organization o_123
  greenroom organizations suspend o_123
  greenroom organizations resume o_123

Takes an operator key: that of the server's settings (keys.operator), or one whose role is `operator`.";

/// Flags of `organizations`.
#[derive(Debug, Args)]
#[command(after_help = HELP)]
pub(super) struct Arguments {
    #[command(flatten)]
    server: Server,
    /// The operator key of the server, or a key whose role is `operator`.
    #[arg(
        long,
        value_name = "KEY",
        env = "GREENROOM_OPERATOR_KEY",
        hide_env_values = true,
        global = true
    )]
    operator_key: Option<Secret>,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// List the organizations (the default).
    List,
    /// Make an organization; `greenroom keys create --organization` makes its keys.
    Create {
        /// Its name for people.
        name: String,
    },
    /// Give an organization another name.
    Rename {
        /// The id of the organization, `o_…`.
        id: OrganizationId,
        /// Its name for people.
        name: String,
    },
    /// Put an organization's keys out of force, and end its runs and sessions. What is stored is kept.
    Suspend {
        /// The id of the organization, `o_…`.
        id: OrganizationId,
    },
    /// Let the keys of a suspended organization in again.
    Resume {
        /// The id of the organization, `o_…`.
        id: OrganizationId,
    },
}

/// Does what the command says.
pub(super) async fn organizations(arguments: Arguments) -> anyhow::Result<Ending> {
    const PATH: &str = "/admin/organizations";
    let Arguments { server, operator_key, command } = arguments;
    let client = Client::new(&server)?.with_key(operator_key);
    let change = async |id: OrganizationId, change: Value| {
        client.patch(&format!("{PATH}/{id}"), &change).await
    };
    let changed = match command.unwrap_or(Command::List) {
        Command::List => client.get(PATH).await?,
        Command::Create { name } => client.post(PATH, &json!({ "name": name })).await?,
        Command::Rename { id, name } => change(id, json!({ "name": name })).await?,
        Command::Suspend { id } => change(id, json!({ "suspended": true })).await?,
        Command::Resume { id } => change(id, json!({ "suspended": false })).await?,
    };
    if server.json {
        say_json(&changed);
        return Ok(Ending::Done);
    }
    match changed.as_array() {
        Some(all) => list(all),
        None => {
            let (id, name) = (cell(&changed, "organization_id"), cell(&changed, "name"));
            say(format_args!("{id}  {name}"));
        }
    }
    Ok(Ending::Done)
}

fn list(all: &[Value]) {
    let mut table = Table::new(&["ID", "NAME", "SESSIONS", "SUSPENDED"]);
    for one in all {
        let columns = ["organization_id", "name", "live_sessions", "suspended_at"];
        table.row(columns.map(|name| cell(one, name)));
    }
    table.print();
}
