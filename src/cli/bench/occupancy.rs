//! Begin and release: the two requests of every client that uses a session.

use std::sync::Arc;
use std::time::{Duration, Instant};

use clap::Args;
use serde_json::{Value, json};

use super::client::BenchClient;
use super::report::{Durations, Report};
use super::{LONGEST, MOST_SESSIONS, at_once};
use crate::cli::client::RequestError;

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// The number of clients, each with a session of its own.
    #[arg(long, default_value_t = 1, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=MOST_SESSIONS))]
    clients: u64,
    /// The time of the measurement.
    #[arg(long, default_value_t = 5, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=LONGEST))]
    seconds: u64,
}

#[derive(Debug, Default)]
struct Pairs {
    begins: Durations,
    releases: Durations,
}

async fn pair(client: &BenchClient, session: &str, pairs: &mut Pairs) -> Result<(), RequestError> {
    let path = |what: &str| format!("/v1/browser_sessions/{session}/{what}");
    let began = Instant::now();
    let body = json!({ "runnable_id": "bench", "ttl_seconds": 60 });
    let begun = client.api.post(&path("begin"), &body).await?;
    pairs.begins.add(began.elapsed());
    let member = |name: &str| begun.get(name).cloned().unwrap_or(Value::Null);
    let proof = json!({ "generation": member("generation"), "lease_token": member("lease_token") });
    let began = Instant::now();
    client.api.post(&path("release"), &proof).await?;
    pairs.releases.add(began.elapsed());
    Ok(())
}

/// Measures pairs of begin and release.
pub(super) async fn measure(
    client: &Arc<BenchClient>,
    asked: &Arguments,
) -> anyhow::Result<Report> {
    let Arguments { clients, seconds } = asked;
    let sessions = client.create_all(*clients).await?;
    let began = Instant::now();
    let deadline = began + Duration::from_secs(*seconds);
    let work = sessions.into_iter().map(|session| {
        let client = Arc::clone(client);
        async move {
            let mut pairs = Pairs::default();
            let mut outcome = Ok(());
            while Instant::now() < deadline && outcome.is_ok() {
                outcome = pair(&client, &session, &mut pairs).await;
            }
            (pairs, outcome.err())
        }
    });
    let mut all = Pairs::default();
    let mut errors = Vec::new();
    for (mut pairs, error) in at_once(work).await? {
        all.begins.append(&mut pairs.begins);
        all.releases.append(&mut pairs.releases);
        errors.extend(error.map(|error| error.to_string()));
    }
    let figures = vec![("pairs per second", all.releases.per_second(began.elapsed()))];
    Ok(Report {
        what: "occupancy",
        parameters: json!({ "clients": clients, "seconds": seconds }),
        steps: vec![("begin".into(), all.begins), ("release".into(), all.releases)],
        figures,
        errors,
        ..Report::default()
    })
}
