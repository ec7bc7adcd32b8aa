//! Tests with the real Xvfb, x11vnc, Chromium, PostgreSQL, sample site and client libraries.
//!
//! A program that is missing fails a test, which names the script that installs it.

mod adoption;
mod automation;
mod bench;
mod blocks;
mod client_certificates;
mod confinement;
mod downloads;
mod egress;
mod faults;
mod files;
mod films;
mod isolation;
mod leases;
mod logins;
mod mcp;
mod network;
mod pages;
mod policies;
mod pool;
mod profiles;
mod rotating;
mod rules;
mod runs;
mod sanitizing;
mod sdk;
mod settings;
mod storage_state;
mod streams;
mod templates;
mod tls;
mod traces;
mod typing;
mod viewing;

use std::path::{Path, PathBuf};
use std::process::Stdio;

use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};
use tokio::time::timeout;

use crate::support::PATIENCE;
use crate::support::server::GREENROOM;

/// The directory of the sources.
fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The sample site, served until this is dropped.
#[derive(Debug)]
struct Site {
    url: String,
    _process: Child,
}

impl Site {
    async fn start() -> Self {
        let mut process = Command::new(GREENROOM)
            .args(["demo-site", "--listen", "127.0.0.1:0", "--dir"])
            .arg(root().join("demo/site"))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(process.stdout.take().unwrap()).lines();
        let line = timeout(PATIENCE, lines.next_line()).await.unwrap().unwrap().unwrap();
        let url = line.strip_prefix("listening on ").unwrap().to_owned();
        Self { url, _process: process }
    }

    fn page(&self, path: &str) -> String {
        format!("{}/{path}", self.url)
    }
}

/// The Python that `scripts/setup --test` has installed.
fn installed(path: &str) -> PathBuf {
    let path = root().join(path);
    assert!(path.exists(), "{} is missing; run `scripts/setup --test`", path.display());
    path
}

/// Runs a client's program, asserts its success, and returns its output.
async fn run(command: &mut Command) -> String {
    let output = command.stdin(Stdio::null()).kill_on_drop(true).output();
    let output = timeout(PATIENCE * 3, output).await.expect("it does not end").unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let (out, err) = (text(&output.stdout), text(&output.stderr));
    assert!(output.status.success(), "{}\n{out}\n{err}", output.status);
    out
}
