//! The recovery of a session after a program of it was killed.

use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use clap::Args;
use serde_json::{Value, json};
use tokio::time::sleep;

use super::MOST_SESSIONS;
use super::client::BenchClient;
use super::local::{self, Part};
use super::report::{Durations, Report};

/// The longest time for a recovery.
const RECOVERS: Duration = Duration::from_secs(90);

/// The pause after an attempt to reach the browser that has failed.
const RETRY_DELAY: Duration = Duration::from_millis(10);

const HELP: &str = "\
Each round creates a session, kills one of its programs with SIGKILL, and connects to its DevTools until the new
browser answers a command. `…: by the server` is the time that the server reports for the same recovery.

The programs must be on this machine, and this user must be allowed to kill them: run the command as root or as
the user of the server.

  greenroom bench recovery --rounds 10
  greenroom bench recovery --part xvfb --json";

#[derive(Debug, Args)]
#[command(after_help = HELP)]
pub(super) struct Arguments {
    /// The number of recoveries of each part.
    #[arg(long, default_value_t = 5, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=MOST_SESSIONS))]
    rounds: u64,
    /// The program to kill; may be repeated. All by default.
    #[arg(long = "part", value_name = "PART")]
    parts: Vec<Part>,
}

/// Kills a program of a session, and returns the time until a new browser answers.
async fn recovered(client: &BenchClient, session: &str, part: Part) -> anyhow::Result<Duration> {
    client.connect(session).await?.version().await?;
    let before = local::browser(session)?;
    local::kill(session, part)?;
    let began = Instant::now();
    loop {
        let answered = async { client.connect(session).await?.version().await }.await;
        let took = began.elapsed();
        // Killed with its display, the former browser may still answer.
        if answered.is_ok() && local::browser(session)? != before {
            return Ok(took);
        }
        if took > RECOVERS {
            let name = part.name();
            let error = format!("session {session} has not recovered from the end of its {name}");
            return answered.context(error.clone()).and_then(|()| bail!("{error}"));
        }
        sleep(RETRY_DELAY).await;
    }
}

/// Measures recoveries of sessions.
pub(super) async fn measure(client: &BenchClient, asked: &Arguments) -> anyhow::Result<Report> {
    let Arguments { rounds, parts } = asked;
    let parts: &[Part] =
        if parts.is_empty() { &[Part::Chromium, Part::Xvfb] } else { parts.as_slice() };
    let mut steps = Vec::new();
    for part in parts {
        let (mut seen, mut reported) = (Durations::default(), Durations::default());
        for _ in 0..*rounds {
            let session = client.create().await?.id;
            seen.add(recovered(client, &session, *part).await?);
            let event = client.event(&session, "session.recovered").await?;
            let took = event.get("took_ms").and_then(Value::as_u64);
            reported.add(Duration::from_millis(took.context("the server reports no time")?));
            if event.get("what").and_then(Value::as_str) == Some("adopted") {
                bail!("the server was restarted meanwhile");
            }
            client.close(&session).await?;
        }
        let name = part.name();
        steps.push((format!("{name}: DevTools answers").into(), seen));
        steps.push((format!("{name}: by the server").into(), reported));
    }
    let names: Vec<_> = parts.iter().map(|part| part.name()).collect();
    let parameters = json!({ "rounds": rounds, "parts": names });
    Ok(Report { what: "recovery", parameters, steps, ..Report::default() })
}
