//! The command `greenroom bench`: measures a running server as its clients see it.
//!
//! Each measurement is a client of the API. It ends the sessions that it has created, also
//! after an error or an interruption.

mod client;
mod lifecycle;
mod occupancy;
mod reads;
mod report;

use std::sync::Arc;

use anyhow::Context as _;
use clap::{Args, Subcommand};

use self::client::BenchClient;
use self::report::Report;
use super::Ending;
use super::client::Server;
use super::output::note;

const HELP: &str = "\
Examples:
  greenroom bench lifecycle                       create, connect, open a page, close: 20 times
  greenroom bench lifecycle --at-once 10          ten sessions at the same time
  greenroom bench occupancy --clients 4           begin and release, four clients on four sessions
  greenroom bench reads --clients 16 --json       GET of a session, as JSON for programs

Measures the server at --url from this machine. For figures that can be compared, let nothing else run, and
repeat: the spread of three runs says more than their best.";

/// The number of sessions that a measurement may create.
const MOST_SESSIONS: u64 = 1_000;

/// The longest time of a measurement, in seconds.
const LONGEST: u64 = 60 * 60;

#[derive(Debug, Args)]
#[command(after_help = HELP)]
pub(super) struct Arguments {
    #[command(flatten)]
    server: Server,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Create a session, connect to its DevTools, open a page, close the session.
    Lifecycle(lifecycle::Arguments),
    /// Begin and release sessions.
    Occupancy(occupancy::Arguments),
    /// Read a session again and again.
    Reads(reads::Arguments),
}

/// Runs the measurement given by the flags.
pub(super) async fn bench(arguments: Arguments) -> anyhow::Result<Ending> {
    let Arguments { server, command } = arguments;
    let client = Arc::new(BenchClient::new(&server)?);
    let measured = async {
        match command {
            Command::Lifecycle(arguments) => lifecycle::measure(&client, &arguments).await,
            Command::Occupancy(arguments) => occupancy::measure(&client, &arguments).await,
            Command::Reads(arguments) => reads::measure(&client, &arguments).await,
        }
    };
    let mut interrupted = super::run::interruptions()?;
    let outcome = tokio::select! {
        measured = measured => Some(measured),
        _ = interrupted.wait_for(|count| *count > 0) => None,
    };
    client.close_all().await;
    let Some(outcome) = outcome else { return Ok(Ending::Interrupted) };
    let report: Report = outcome?;
    report.print(server.json);
    for error in &report.errors {
        note(format_args!("a client has ended early: {error}"));
    }
    Ok(if report.errors.is_empty() { Ending::Done } else { Ending::Failed })
}

/// Runs the work of several clients, each in a task of its own. Resolves when all have ended.
async fn at_once<T: Send + 'static>(
    work: impl Iterator<Item = impl Future<Output = T> + Send + 'static>,
) -> anyhow::Result<Vec<T>> {
    let tasks: Vec<_> = work.map(tokio::spawn).collect();
    let mut done = Vec::new();
    for task in tasks {
        done.push(task.await.context("a client has panicked")?);
    }
    Ok(done)
}
