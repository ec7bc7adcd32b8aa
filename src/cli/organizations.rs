//! The command `greenroom organizations`: manages the organizations of a server.

use std::str::FromStr;
use std::time::Duration;

use clap::{Args, Subcommand};
use serde_json::{Map, Value, json};

use super::Ending;
use super::client::{Client, OperatorServer};
use super::output::{Table, cell, note, say, say_json};
use crate::domain::ids::OrganizationId;
use crate::domain::quota::{Quota, checked_limit};

const HELP: &str = "\
Examples:
  greenroom organizations create 'Team red'
  greenroom keys create ann --organization o_123
  greenroom organizations suspend o_123
  greenroom organizations resume o_123
  greenroom organizations delete o_123 --yes
  greenroom organizations quotas o_123 sessions=5 viewers=20 egress_mib_per_day=default

Needs an operator key: that of the server's settings (keys.operator), or a key whose role is `operator`.";

/// The delay between two polls of an organization that is being deleted.
const ASK_AGAIN: Duration = Duration::from_millis(500);

#[derive(Debug, Args)]
#[command(after_help = HELP)]
pub(super) struct Arguments {
    #[command(flatten)]
    operator: OperatorServer,
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
    /// Show the quotas of an organization and their use, or change limits. A new limit applies at once to new
    /// requests; nothing that runs is ended.
    Quotas {
        /// The id of the organization, `o_…`.
        id: OrganizationId,
        /// Limits to set: sessions, creates_per_minute, runs, waiters, viewers, devtools_connections,
        /// event_streams, storage_mib, egress_mib_per_day or requests, with a number, or `default` for the limit of
        /// the server's settings (section `quotas`).
        #[arg(value_name = "NAME=LIMIT")]
        limits: Vec<NewLimit>,
    },
}

/// A limit as the command line has it.
#[derive(Debug, Clone)]
struct NewLimit {
    quota: Quota,
    limit: Option<u64>,
}

impl FromStr for NewLimit {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, limit) = text.split_once('=').ok_or("expected NAME=LIMIT, as in sessions=5")?;
        let quota = name.parse::<Quota>().map_err(|cause| cause.to_string())?;
        let limit = match limit {
            "default" => None,
            number => {
                let number = number.parse().ok().and_then(|number| checked_limit(number).ok());
                Some(number.ok_or("expected a whole number from 0 to 1000000000, or `default`")?)
            }
        };
        Ok(Self { quota, limit })
    }
}

/// Runs the command given by the flags.
pub(super) async fn organizations(arguments: Arguments) -> anyhow::Result<Ending> {
    const PATH: &str = "/admin/organizations";
    let Arguments { operator, command } = arguments;
    let client = operator.client()?;
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
                 workflows, runs, files and webhooks for good; repeat with --yes to confirm"
            );
            let deleted = client.delete(&path).await?;
            if !no_wait {
                until_gone(&client, &path).await?;
            }
            deleted
        }
        Command::Quotas { id, limits } => {
            let shown = match limits.is_empty() {
                true => client.get(&format!("{PATH}/{id}")).await?,
                false => {
                    let limits = limits.iter().map(|it| (it.quota.to_string(), json!(it.limit)));
                    change(id, json!({ "quotas": limits.collect::<Map<_, _>>() })).await?
                }
            };
            let quotas = shown.get("quotas").cloned().unwrap_or_default();
            match operator.server.json {
                true => say_json(&quotas),
                false => table_of(&quotas),
            }
            return Ok(Ending::Done);
        }
    };
    if operator.server.json {
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

fn table_of(quotas: &Value) {
    let mut table = Table::new(&["QUOTA", "LIMIT", "USED", "RESETS"]);
    for quota in Quota::ALL {
        let Some(shown) = quotas.get(quota.as_str()) else { continue };
        let [limit, used, resets] = ["limit", "used", "resets_at"].map(|name| cell(shown, name));
        table.row([quota.to_string(), limit, used, resets]);
    }
    table.print();
}

fn list(all: &[Value]) {
    let mut table = Table::new(&["ID", "NAME", "SESSIONS", "SUSPENDED", "DELETED"]);
    for one in all {
        let columns = ["organization_id", "name", "live_sessions", "suspended_at", "deleted_at"];
        table.row(columns.map(|name| cell(one, name)));
    }
    table.print();
}
