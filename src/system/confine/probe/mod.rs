//! The probe runs as a kind of program under its ruleset and tests what a hostile program would
//! try. It prints each outcome as a line of JSON, and harms nothing that it reaches.
//!
//! Everything outside of the session must be `refused`; an integration test compares the lines.

mod display;
mod files;
mod network;
mod processes;

use std::io::{self, Write as _};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use serde::{Deserialize, Serialize};

/// The targets that a probe tests.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Targets {
    /// The pid of the server.
    pub server: Option<i32>,
    /// Files and directories of others, which the probe reads.
    pub read: Vec<PathBuf>,
    /// Directories of others, in which the probe creates a file.
    pub write: Vec<PathBuf>,
    /// A directory of the session, in which the probe creates a program and executes it.
    pub execute: Option<PathBuf>,
    /// Unix sockets by path, such as those of PostgreSQL, an ssh-agent or a session bus.
    pub sockets: Vec<PathBuf>,
    /// Abstract Unix sockets, by name.
    pub abstracts: Vec<String>,
    /// X displays of other sessions.
    pub displays: Vec<Display>,
    /// TCP services, to which the probe connects.
    pub tcp: Vec<SocketAddr>,
    /// UDP services, to which the probe sends.
    pub udp: Vec<SocketAddr>,
    /// TCP addresses to listen on.
    pub listen: Vec<SocketAddr>,
}

/// A display of another session.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Display {
    /// The number of the display.
    pub number: u16,
    /// The cookie in hexadecimal, for a test with stolen credentials.
    pub cookie: Option<String>,
}

/// The outcome of a test.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// The access was not possible.
    Refused,
    /// The access was possible.
    Reached,
}

/// One line of the probe's output.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Try {
    /// The name of the test.
    pub r#try: String,
    /// The outcome of the test.
    pub outcome: Outcome,
    /// The error of the system, or the finding.
    pub detail: String,
}

impl Try {
    fn new(name: impl Into<String>, outcome: io::Result<String>) -> Self {
        let (outcome, detail) = match outcome {
            Ok(found) => (Outcome::Reached, found),
            Err(cause) => (Outcome::Refused, cause.to_string()),
        };
        Self { r#try: name.into(), outcome, detail }
    }
}

/// Runs all tests against the targets.
pub fn run(targets: &Targets) -> Vec<Try> {
    let mut tries = files::run(targets);
    tries.extend(processes::run(targets));
    tries.extend(display::run(targets));
    tries.extend(network::run(targets));
    tries
}

/// Runs all tests with the targets in the JSON `text`, and prints the outcomes to standard output.
pub fn main(text: &str) -> ExitCode {
    let targets: Targets = match serde_json::from_str(text) {
        Ok(targets) => targets,
        Err(cause) => {
            let _ = writeln!(io::stderr(), "the targets cannot be read: {cause}");
            return ExitCode::from(2);
        }
    };
    let mut output = io::stdout().lock();
    for line in run(&targets) {
        let text = serde_json::to_string(&line).unwrap_or_default();
        if writeln!(output, "{text}").is_err() {
            return ExitCode::FAILURE;
        }
    }
    ExitCode::SUCCESS
}
