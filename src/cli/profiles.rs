//! The command `greenroom profiles`: restores browser profiles from the object store.

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::Ending;
use super::client::{OperatorServer, text_of};
use super::output::{say, say_json};

const HELP: &str = "\
Examples:
  greenroom profiles restore
  greenroom profiles restore --organization o_123 --json

For a server whose database was lost and whose storage was not: the rows of all profiles are made from
what is stored beside their archives. Profiles that exist are left alone.";

#[derive(Debug, Args)]
#[command(after_help = HELP)]
pub(super) struct Arguments {
    #[command(flatten)]
    operator: OperatorServer,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Restore the profiles that the database does not have.
    Restore {
        /// The organization that gets all profiles; without it each goes to its own.
        #[arg(long, value_name = "ID")]
        organization: Option<String>,
    },
}

/// Runs the command given by the flags.
pub(super) async fn profiles(arguments: Arguments) -> anyhow::Result<Ending> {
    let Arguments { operator, command: Command::Restore { organization } } = arguments;
    let client = operator.client()?;
    let asked = json!({ "organization_id": organization });
    let outcome = client.post("/admin/profiles/restore", &asked).await?;
    if operator.server.json {
        say_json(&outcome);
        return Ok(Ending::Done);
    }
    let list =
        |name: &str| outcome.get(name).and_then(Value::as_array).cloned().unwrap_or_default();
    for skipped in list("skipped") {
        let text = |name: &str| text_of(&skipped, name).unwrap_or_default().to_owned();
        say(format!("skipped {}: {}", text("key"), text("reason")));
    }
    for id in list("restored") {
        say(format!("restored {}", id.as_str().unwrap_or_default()));
    }
    Ok(Ending::Done)
}
