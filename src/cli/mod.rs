//! The command line: one file per command.
//!
//! Results go to standard output, as lines for people, or as JSON with `--json`. Logs and errors go
//! to standard error. Exit codes: 0 success; 1 failure, including that of a followed run; 2 wrong
//! usage; 130 interrupted.

mod bench;
mod changelog;
mod checks;
mod client;
mod config;
mod demo_site;
mod doctor;
mod drain;
mod egress;
mod events;
mod explain;
mod generate;
mod keys;
mod leaks;
pub mod logging;
mod mcp;
mod organizations;
mod output;
mod profiles;
mod run;
mod runs;
mod serve;
mod session_egress;
mod sessions;
mod upgrade_check;

use std::process::ExitCode;

use clap::{CommandFactory as _, Parser, Subcommand};

use crate::app;
use crate::config::Environment;
use crate::system::confine;
use output::say_error;

pub use checks::{Check, State};

const EXAMPLES: &str = "\
Examples:
  greenroom doctor                            programs and settings that are missing
  greenroom serve                             serve on http://127.0.0.1:8787
  greenroom run flow.yaml --param city=Bonn   run a workflow and follow it
  greenroom sessions list --json              live sessions, as JSON for programs
  greenroom events --follow                   events of sessions and runs
  greenroom explain pbs_123                   why a session is in its state
  greenroom upgrade-check                     before this version takes over from a former one

Exit codes: 0 done; 1 failed; 2 wrong usage; 130 interrupted.
Settings are described by `greenroom config`.";

/// Keeps persistent, watchable browsers ready for automation.
#[derive(Debug, Parser)]
#[command(name = "greenroom", version, after_help = EXAMPLES, max_term_width = 100)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve the API and the pages until stopped.
    Serve(serve::Arguments),
    /// Print the settings in force and the origin of each.
    Config(config::Arguments),
    /// Check whether this machine has everything that is needed.
    Doctor(doctor::Arguments),
    /// Check whether this version can take over the settings, the database and the sessions of a former one.
    UpgradeCheck(upgrade_check::Arguments),
    /// Run a workflow on a server and follow it to its end.
    Run(run::Arguments),
    /// List, create, show and close browser sessions.
    Sessions(sessions::Arguments),
    /// Print the events of sessions and runs.
    Events(events::Arguments),
    /// Say why a session or a run is in its state.
    Explain(explain::Arguments),
    /// List, show and cancel workflow runs.
    Runs(runs::Arguments),
    /// List, create, replace and revoke API keys.
    Keys(keys::Arguments),
    /// List, create, rename, suspend and delete organizations.
    Organizations(organizations::Arguments),
    /// Refuse new work and wait for the present work to end; for use before a restart.
    Drain(drain::Arguments),
    /// Restore browser profiles from the object store.
    Profiles(profiles::Arguments),
    /// List what ended sessions have left behind, and remove it.
    Leaks(leaks::Arguments),
    /// Measure a running server as its clients see it.
    Bench(bench::Arguments),
    /// Connect an agent's host to a server, by the Model Context Protocol over standard input and output.
    Mcp(mcp::Arguments),
    /// Serve a directory of files on loopback, as a site to try workflows on.
    DemoSite(demo_site::Arguments),
    /// Write shell completions and manual pages, for packages.
    #[command(hide = true)]
    Generate(generate::Arguments),
}

/// The ending of a command that returned no error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ending {
    /// The command has succeeded.
    Done,
    /// The followed run or the checks did not succeed; the command has printed that itself.
    Failed,
    /// A signal has interrupted the command.
    Interrupted,
}

impl From<Ending> for ExitCode {
    fn from(ending: Ending) -> Self {
        match ending {
            Ending::Done => Self::SUCCESS,
            Ending::Failed => Self::FAILURE,
            Ending::Interrupted => Self::from(130),
        }
    }
}

/// Runs the program: parses the command line, runs the command and returns the exit code.
pub fn main() -> ExitCode {
    if let Some(code) = confined() {
        return code;
    }
    let Arguments { command } = Arguments::parse();
    let environment = Environment::of_this_process();
    let outcome = app::block_on(async {
        match command {
            Command::Serve(arguments) => serve::serve(arguments, &environment).await,
            Command::Config(arguments) => config::config(&arguments, &environment),
            Command::Doctor(arguments) => doctor::doctor(&arguments, &environment).await,
            Command::UpgradeCheck(arguments) => {
                upgrade_check::upgrade_check(&arguments, &environment).await
            }
            Command::Run(arguments) => run::run(arguments).await,
            Command::Sessions(arguments) => sessions::sessions(arguments).await,
            Command::Events(arguments) => events::events(arguments).await,
            Command::Explain(arguments) => explain::explain(arguments).await,
            Command::Runs(arguments) => runs::runs(arguments).await,
            Command::Keys(arguments) => keys::keys(arguments).await,
            Command::Organizations(arguments) => organizations::organizations(arguments).await,
            Command::Drain(arguments) => drain::drain(arguments).await,
            Command::Profiles(arguments) => profiles::profiles(arguments).await,
            Command::Leaks(arguments) => leaks::leaks(&arguments, &environment).await,
            Command::Bench(arguments) => bench::bench(arguments).await,
            Command::Mcp(arguments) => mcp::mcp(arguments).await,
            Command::DemoSite(arguments) => demo_site::demo_site(&arguments).await,
            Command::Generate(arguments) => generate::generate(&arguments, Arguments::command()),
        }
    });
    match outcome.flatten() {
        Ok(ending) => ending.into(),
        Err(cause) => {
            say_error(&cause);
            ExitCode::FAILURE
        }
    }
}

/// Runs the internal commands of a process that becomes a program of a session. They must run
/// before any thread is created.
fn confined() -> Option<ExitCode> {
    let mut arguments = std::env::args_os().skip(1);
    let (command, text) = (arguments.next()?, arguments.next());
    match (command.to_str()?, text) {
        ("confine", None) => Some(confine::main()),
        ("egress", _) => Some(egress::main()),
        ("confine-probe", Some(targets)) => Some(confine::probe::main(targets.to_str()?)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        Arguments::command().debug_assert();
    }
}
