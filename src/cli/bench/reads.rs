//! Reads of a session, as a client that polls makes them.

use std::sync::Arc;
use std::time::{Duration, Instant};

use clap::Args;
use serde_json::json;

use super::client::BenchClient;
use super::report::{Durations, Report};
use super::{LONGEST, MOST_SESSIONS, at_once};

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// The number of clients, which read the same session.
    #[arg(long, default_value_t = 4, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=MOST_SESSIONS))]
    clients: u64,
    /// The time of the measurement.
    #[arg(long, default_value_t = 5, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=LONGEST))]
    seconds: u64,
}

/// Measures reads of one session.
pub(super) async fn measure(
    client: &Arc<BenchClient>,
    asked: &Arguments,
) -> anyhow::Result<Report> {
    let Arguments { clients, seconds } = asked;
    let session = client.create().await?.id;
    let path: Arc<str> = format!("/v1/browser_sessions/{session}").into();
    let began = Instant::now();
    let deadline = began + Duration::from_secs(*seconds);
    let work = (0..*clients).map(|_| {
        let (client, path) = (Arc::clone(client), Arc::clone(&path));
        async move {
            let mut reads = Durations::default();
            while Instant::now() < deadline {
                let began = Instant::now();
                if let Err(cause) = client.api.get(&path).await {
                    return (reads, Some(cause));
                }
                reads.add(began.elapsed());
            }
            (reads, None)
        }
    });
    let (mut all, mut errors) = (Durations::default(), Vec::new());
    for (mut reads, error) in at_once(work).await? {
        all.append(&mut reads);
        errors.extend(error.map(|error| error.to_string()));
    }
    let figures = vec![("reads per second", all.per_second(began.elapsed()))];
    Ok(Report {
        what: "reads",
        parameters: json!({ "clients": clients, "seconds": seconds }),
        steps: vec![("read".into(), all)],
        figures,
        errors,
        ..Report::default()
    })
}
