//! The probe: run as a kind of program under its ruleset, it tries what a hostile program would, and
//! prints what came of each try as a line of JSON. It harms nothing that it reaches.
//!
//! What belongs to nobody of the session must be `refused`; a test compares the lines.

mod display;
mod files;
mod network;
mod processes;

use std::io::{self, Write as _};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use serde::{Deserialize, Serialize};

/// The targets of a probe.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Targets {
    /// The server's process.
    pub server: Option<i32>,
    /// Files and directories of others, to be read.
    pub read: Vec<PathBuf>,
    /// Directories of others, to make a file in.
    pub write: Vec<PathBuf>,
    /// A directory of its own, to make a program in and execute that.
    pub execute: Option<PathBuf>,
    /// Sockets by path: PostgreSQL, an ssh-agent, a session bus.
    pub sockets: Vec<PathBuf>,
    /// Abstract sockets, by name.
    pub abstracts: Vec<String>,
    /// Displays of others.
    pub displays: Vec<Display>,
    /// TCP services.
    pub tcp: Vec<SocketAddr>,
    /// UDP services.
    pub udp: Vec<SocketAddr>,
    /// TCP ports to listen on.
    pub listen: Vec<SocketAddr>,
}

/// A display of another session.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Display {
    /// Its number.
    pub number: u16,
    /// Its cookie, in hexadecimal, as a thief would have it.
    pub cookie: Option<String>,
}

/// The outcome of a try.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// It was not possible.
    Refused,
    /// It was.
    Reached,
}

/// One line of the probe.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Try {
    /// The name of the try.
    pub r#try: String,
    /// The outcome of the try.
    pub outcome: Outcome,
    /// The system's error, or the finding.
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

/// Tries everything.
pub fn run(targets: &Targets) -> Vec<Try> {
    let mut tries = files::run(targets);
    tries.extend(processes::run(targets));
    tries.extend(display::run(targets));
    tries.extend(network::run(targets));
    tries
}

/// Tries everything that the JSON `text` names, and prints the outcomes to standard output.
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
