//! The command `greenroom runs`: lists, shows and cancels workflow runs.

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::Ending;
use super::client::{Client, Server};
use super::output::{Table, cell, duration, say, say_json};
use super::run::progress::{Step, refusals, steps};
use crate::domain::ids::RunId;

const EXAMPLES: &str = "\
Examples:
  greenroom runs list --limit 50
  greenroom runs show wr_123
  greenroom runs cancel wr_123";

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
    /// List runs, the newest first (the default).
    List {
        /// The most runs to list.
        #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=100))]
        limit: u32,
        /// List only the runs with this status: `running`, `failed`, …
        #[arg(long)]
        status: Option<crate::domain::run::RunStatus>,
    },
    /// Show one run and its blocks.
    Show {
        /// The id of the run, `wr_…`.
        id: RunId,
    },
    /// Cancel one workflow run.
    Cancel {
        /// The id of the run, `wr_…`.
        id: RunId,
    },
}

/// Runs the command given by the flags.
pub(super) async fn runs(arguments: Arguments) -> anyhow::Result<Ending> {
    let client = Client::new(&arguments.server)?;
    let as_json = arguments.server.json;
    match arguments.command.unwrap_or(Command::List { limit: 20, status: None }) {
        Command::List { limit, status } => {
            let status = status.map(|status| format!("&status={status}")).unwrap_or_default();
            let runs = client.get(&format!("/v1/runs?page_size={limit}{status}")).await?;
            if as_json { say_json(&runs) } else { list(&runs) }
        }
        Command::Show { id } => {
            let run = client.get(&format!("/v1/runs/{id}")).await?;
            let timeline = client.get(&format!("/v1/runs/{id}/timeline")).await?;
            if as_json {
                say_json(&json!({"run": run, "timeline": timeline}));
            } else {
                show(&run, &timeline);
            }
        }
        Command::Cancel { id } => {
            let answer = client.post(&format!("/v1/runs/{id}/cancel"), &json!({})).await?;
            if as_json { say_json(&answer) } else { say(format_args!("{id} is canceled")) }
        }
    }
    Ok(Ending::Done)
}

fn list(runs: &Value) {
    let runs = runs.as_array().map(Vec::as_slice).unwrap_or_default();
    if runs.is_empty() {
        say("no runs; `greenroom run FILE` starts one");
        return;
    }
    let mut table = Table::new(&["RUN", "STATUS", "TITLE", "CREATED", "FINISHED"]);
    for run in runs {
        let names = ["run_id", "status", "title", "created_at", "finished_at"];
        table.row(names.map(|name| cell(run, name)));
    }
    table.print();
}

fn show(run: &Value, timeline: &Value) {
    let mut table = Table::new(&["RUN", &cell(run, "run_id")]);
    let names = [
        "status",
        "browser_session_id",
        "created_at",
        "started_at",
        "finished_at",
        "failure_reason",
        "output",
    ];
    for name in names.into_iter().filter(|name| run.get(name).is_some_and(|it| !it.is_null())) {
        table.row([name.to_owned(), cell(run, name)]);
    }
    table.print();

    let mut blocks = Table::new(&["BLOCK", "TYPE", "STATUS", "TOOK", ""]);
    for Step { depth, label, block_type, status, seconds, failure, .. } in steps(timeline) {
        blocks.row([
            format!("{:indent$}{label}", "", indent = depth * 2),
            block_type,
            status,
            seconds.map(duration).unwrap_or_default(),
            failure.unwrap_or_default(),
        ]);
    }
    say("");
    blocks.print();
    for refusal in refusals(run) {
        say(format_args!("\nthe network policy refused {refusal}"));
    }
}
