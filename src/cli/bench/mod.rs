//! The command `greenroom bench`: measures a running server as its clients see it, and a server alone with
//! many sessions in one process.
//!
//! Each measurement is a client of the API. It ends the sessions that it has created, also
//! after an error or an interruption.

mod actions;
mod client;
mod density;
mod devtools;
mod lifecycle;
mod local;
mod occupancy;
mod pages;
mod reads;
mod recovery;
mod report;
mod rfb;
mod scale;
mod screenshots;
mod streams;

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
  greenroom bench screenshots --format jpeg       pictures of a session
  greenroom bench streams --viewers 20            first pixel, input to pixel, bytes of the live view
  greenroom bench actions                         evaluations and navigations, beside a direct connection
  greenroom bench density --sessions 10           sessions per GB and per core, idle and animated
  greenroom bench recovery                        a killed browser or X server, until DevTools answers again
  greenroom bench scale --svg scale.svg           10 to 10,000 sessions without browsers in one server

Each has a --help with the meaning of its figures. `scale` and `recovery` act on this machine; the others need only
the address of a server, and the two figures that need more say so.

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
    /// The seed of what is random in a measurement, to repeat it; a new one by default.
    #[arg(long, value_name = "N", global = true)]
    seed: Option<u32>,
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
    /// Take pictures of sessions.
    Screenshots(screenshots::Arguments),
    /// Watch a session: first pixel, input to pixel, bytes.
    Streams(streams::Arguments),
    /// Evaluate in a page and navigate, through the server and directly.
    Actions(actions::Arguments),
    /// Measure the memory and the processor time of sessions.
    Density(density::Arguments),
    /// Kill programs of sessions, and wait until each session is back.
    Recovery(recovery::Arguments),
    /// Measure a server with up to 10,000 sessions that have no browsers.
    Scale(scale::Arguments),
}

/// Runs the measurement given by the flags.
pub(super) async fn bench(arguments: Arguments) -> anyhow::Result<Ending> {
    let Arguments { server, seed, command } = arguments;
    let seed = u64::from(seed.unwrap_or_else(rand::random));
    let client = Arc::new(BenchClient::new(&server, seed)?);
    let measured = async {
        match command {
            Command::Lifecycle(arguments) => lifecycle::measure(&client, &arguments).await,
            Command::Occupancy(arguments) => occupancy::measure(&client, &arguments).await,
            Command::Reads(arguments) => reads::measure(&client, &arguments).await,
            Command::Screenshots(arguments) => screenshots::measure(&client, &arguments).await,
            Command::Streams(arguments) => streams::measure(&client, &arguments).await,
            Command::Actions(arguments) => actions::measure(&client, &arguments).await,
            Command::Density(arguments) => density::measure(&client, &arguments).await,
            Command::Recovery(arguments) => recovery::measure(&client, &arguments).await,
            Command::Scale(arguments) => scale::measure(seed, &arguments).await,
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
    report.print(seed, server.json);
    for lacks in &report.notes {
        note(lacks);
    }
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
