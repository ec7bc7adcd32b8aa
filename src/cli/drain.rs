//! The command `greenroom drain`: refuses new work and waits for the present work to end.

use std::time::Duration;

use clap::Args;
use serde_json::{Value, json};
use tokio::time::sleep;

use super::Ending;
use super::client::{OperatorServer, text_of};
use super::output::{note, say, say_json};

/// The delay between two polls.
const EVERY: Duration = Duration::from_millis(500);

const HELP: &str = "\
Examples:
  greenroom drain --wait && systemctl restart greenroom
  greenroom drain --deadline 600
  greenroom drain --undo

Admits no new occupants and runs, and lets the present ones finish. The deadline ends nothing: --wait
returns, and a stop of the server then ends what is left.

Exit codes: 0 done, and with --wait everything has finished; 1 the deadline has passed.";

#[derive(Debug, Args)]
#[command(after_help = HELP)]
pub(super) struct Arguments {
    #[command(flatten)]
    operator: OperatorServer,
    /// Wait until no occupant and no run is left.
    #[arg(long)]
    wait: bool,
    /// The longest time that the remaining work may take.
    #[arg(long, value_name = "SECONDS")]
    deadline: Option<u64>,
    /// Only print the progress.
    #[arg(long, conflicts_with_all = ["undo", "wait", "deadline"])]
    status: bool,
    /// Accept new work again.
    #[arg(long, conflicts_with_all = ["wait", "deadline"])]
    undo: bool,
}

/// Runs the command given by the flags.
pub(super) async fn drain(arguments: Arguments) -> anyhow::Result<Ending> {
    const PATH: &str = "/admin/drain";
    let Arguments { operator, wait, deadline, status, undo } = arguments;
    let client = operator.client()?;
    let mut progress = if undo {
        client.delete(PATH).await?
    } else if status {
        client.get(PATH).await?
    } else {
        client.post(PATH, &json!({ "deadline_seconds": deadline })).await?
    };
    let is =
        |progress: &Value, what: &str| progress.get(what).and_then(Value::as_bool) == Some(true);
    let mut printed = String::new();
    while wait && !is(&progress, "drained") && !is(&progress, "overdue") {
        let line = line(&progress);
        if !operator.server.json && line != printed {
            note(&line);
            printed = line;
        }
        sleep(EVERY).await;
        progress = client.get(PATH).await?;
    }
    if operator.server.json {
        say_json(&progress)
    } else {
        say(line(&progress))
    }
    Ok(if wait && !is(&progress, "drained") { Ending::Failed } else { Ending::Done })
}

/// Returns `draining since …: 1 occupants, 2 runs, 0 viewers are left, until …`.
fn line(progress: &Value) -> String {
    let count = |what: &str| {
        progress.pointer(&format!("/left/{what}")).and_then(Value::as_u64).unwrap_or_default()
    };
    let state = text_of(progress, "state").unwrap_or("unknown");
    let since = text_of(progress, "since").map(|at| format!(" since {at}")).unwrap_or_default();
    let until = text_of(progress, "deadline").map(|at| format!(", until {at}")).unwrap_or_default();
    format!(
        "{state}{since}: {} occupants, {} runs and {} viewers in {} sessions{until}",
        count("occupants"),
        count("runs"),
        count("viewers"),
        count("sessions"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_stands_in_one_line() {
        let progress = json!({
            "state": "draining", "since": "2026-01-01T00:00:00Z", "deadline": null,
            "left": {"sessions": 3, "occupants": 1, "runs": 0, "viewers": 2},
        });
        assert_eq!(
            line(&progress),
            "draining since 2026-01-01T00:00:00Z: 1 occupants, 0 runs and 2 viewers in 3 sessions"
        );
    }
}
