//! The life of a session as a client sees it: create, connect, open a page, close.

use std::time::{Duration, Instant};

use clap::Args;
use futures_util::future::try_join_all;
use serde_json::json;

use super::client::{BenchClient, check_count};
use super::report::{Durations, Report};

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// The number of sessions, or of groups of sessions with --at-once.
    #[arg(long, default_value_t = 20, value_name = "N")]
    rounds: u64,
    /// The number of sessions that are created at the same time.
    #[arg(long, default_value_t = 1, value_name = "N")]
    at_once: u64,
    /// The time between two rounds, in milliseconds: a pool fills meanwhile.
    #[arg(long, default_value_t = 0, value_name = "MS")]
    pause: u64,
    /// The page that each session opens.
    #[arg(long, default_value = "data:text/html,<title>bench</title>", value_name = "URL")]
    page: String,
}

/// The durations of one life.
struct Life {
    is_warm: bool,
    steps: [Duration; 5],
}

/// The steps of a life, and the whole.
const STEPS: [&str; 5] = ["create", "connect", "open page", "close", "all"];

/// The creations of sessions that got a running browser, and of those that did not.
const CREATIONS: [&str; 2] = ["create (warm)", "create (cold)"];

async fn live(client: &BenchClient, page: &str) -> anyhow::Result<Life> {
    let began = Instant::now();
    let created = client.create().await?;
    let connecting = Instant::now();
    let mut devtools = client.connect(&created.id).await?;
    let opening = Instant::now();
    devtools.open_page(page).await?;
    let closing = Instant::now();
    drop(devtools);
    client.close(&created.id).await?;
    let steps =
        [created.took, opening - connecting, closing - opening, closing.elapsed(), began.elapsed()];
    Ok(Life { is_warm: created.is_warm, steps })
}

/// Measures lives of sessions.
pub(super) async fn measure(client: &BenchClient, asked: &Arguments) -> anyhow::Result<Report> {
    let Arguments { rounds, at_once, pause, page } = asked;
    check_count(rounds.saturating_mul(*at_once))?;
    let empty = |names: &[&'static str]| -> Vec<(&'static str, Durations)> {
        names.iter().map(|name| (*name, Durations::default())).collect()
    };
    let (mut steps, mut creations) = (empty(&STEPS), empty(&CREATIONS));
    let mut groups = Durations::default();
    let mut warm: u32 = 0;
    for round in 0..*rounds {
        if round > 0 && *pause > 0 {
            tokio::time::sleep(Duration::from_millis(*pause)).await;
        }
        let began = Instant::now();
        let lives = try_join_all((0..*at_once).map(|_| live(client, page))).await?;
        groups.add(began.elapsed());
        for Life { is_warm, steps: took } in lives {
            warm += u32::from(is_warm);
            let [create, ..] = took;
            if let Some((_, creation)) = creations.get_mut(usize::from(!is_warm)) {
                creation.add(create);
            }
            for ((_, durations), took) in steps.iter_mut().zip(took) {
                durations.add(took);
            }
        }
    }
    if *at_once > 1 {
        steps.push(("group", groups));
    }
    // Two kinds of starts in one distribution would say nothing of either.
    if creations.iter().all(|(_, creation)| creation.count() > 0) {
        steps.extend(creations);
    }
    let parameters =
        json!({ "rounds": rounds, "at_once": at_once, "pause_milliseconds": pause, "page": page });
    let figures = vec![("warm starts", f64::from(warm))];
    Ok(Report { what: "lifecycle", parameters, steps, figures, errors: Vec::new() })
}
