//! The command `greenroom organizations`: manages the organizations of a server.

use std::time::Duration;

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::Ending;
use super::client::{Client, Server};
use super::output::{Table, cell, note, say, say_json};
use crate::domain::ids::OrganizationId;
use crate::domain::secret::Secret;

const HELP: &str = "\
Examples:
  greenroom organizations create 'Team red'
  greenroom keys create ann --organization o_123
  greenroom organizations suspend o_123
  greenroom organizations resume o_123
  greenroom organizations delete o_123 --yes

Takes an operator key: that of the server's settings (keys.operator), or one whose role is `operator`.";

/// The delay between two polls of an organization that is being deleted.
const ASK_AGAIN: Duration = Duration::from_millis(500);

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
    /// Create an organization; `greenroom keys create --organization` creates its keys.
    Create {
        /// The display name of the organization.
        name: String,
        /// The id of the organization, if API keys of a Skyvern server name it
        /// (`keys.skyvern_secret`); by default a new one.
        #[arg(long, value_name = "ID")]
        id: Option<OrganizationId>,
    },
    /// Change the name of an organization.
    Rename {
        /// The id of the organization, `o_…`.
        id: OrganizationId,
        /// The new display name.
        name: String,
    },
    /// Suspend an organization's keys, and end its runs and sessions. Its stored data is kept.
    Suspend {
        /// The id of the organization, `o_…`.
        id: OrganizationId,
    },
    /// Make the keys of a suspended organization valid again.
    Resume {
        /// The id of the organization, `o_…`.
        id: OrganizationId,
    },
    /// Delete an organization with its keys, sessions, workflows, runs, files and webhooks.
    Delete {
        /// The id of the organization, `o_…`.
        id: OrganizationId,
        /// Confirm the deletion: without this flag, the command only prints what would be deleted.
        #[arg(long)]
        yes: bool,
        /// Do not wait until its sessions have ended and its files are removed.
        #[arg(long)]
        no_wait: bool,
    },
}

/// Runs the command given by the flags.
pub(super) async fn organizations(arguments: Arguments) -> anyhow::Result<Ending> {
    const PATH: &str = "/admin/organizations";
    let Arguments { server, operator_key, command } = arguments;
    let client = Client::new(&server)?.with_key(operator_key);
    let change = async |id: OrganizationId, change: Value| {
        client.patch(&format!("{PATH}/{id}"), &change).await
    };
    let changed = match command.unwrap_or(Command::List) {
        Command::List => client.get(PATH).await?,
        Command::Create { name, id } => {
            client.post(PATH, &json!({ "name": name, "organization_id": id })).await?
        }
        Command::Rename { id, name } => change(id, json!({ "name": name })).await?,
        Command::Suspend { id } => change(id, json!({ "suspended": true })).await?,
        Command::Resume { id } => change(id, json!({ "suspended": false })).await?,
        Command::Delete { id, yes, no_wait } => {
            let path = format!("{PATH}/{id}");
            let there = client.get(&path).await?;
            let (name, sessions) = (cell(&there, "name"), cell(&there, "live_sessions"));
            anyhow::ensure!(
                yes,
                "this deletes organization {id} ({name}) with its {sessions} live sessions and all keys, \
                 workflows, runs, files and webhooks for good; say --yes to do it"
            );
            let deleted = client.delete(&path).await?;
            if !no_wait {
                until_gone(&client, &path).await?;
            }
            deleted
        }
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

/// Waits until the organization, whose deletion has begun, no longer exists.
async fn until_gone(client: &Client, path: &str) -> anyhow::Result<()> {
    let mut sessions = None;
    loop {
        match client.get(path).await {
            Err(cause) if cause.is_not_found() => return Ok(()),
            Err(cause) if cause.is_passing() => {}
            Err(cause) => return Err(cause.into()),
            Ok(there) => {
                let left = cell(&there, "live_sessions");
                if sessions.as_ref() != Some(&left) {
                    note(format_args!("{left} live sessions left"));
                    sessions = Some(left);
                }
            }
        }
        tokio::time::sleep(ASK_AGAIN).await;
    }
}

fn list(all: &[Value]) {
    let mut table = Table::new(&["ID", "NAME", "SESSIONS", "SUSPENDED", "DELETED"]);
    for one in all {
        let columns = ["organization_id", "name", "live_sessions", "suspended_at", "deleted_at"];
        table.row(columns.map(|name| cell(one, name)));
    }
    table.print();
}
