//! The life of a session as a client sees it: create, connect, open a page, close.
//!
//! The stages of each start are those in the event `session.started` of the server. They are read after the
//! measurement, which they would disturb.

use std::borrow::Cow;
use std::time::{Duration, Instant};

use clap::Args;
use futures_util::future::try_join_all;
use serde_json::{Value, json};

use super::client::{BenchClient, check_count};
use super::report::{Durations, Report};

const HELP: &str = "\
Steps of a life:
  create      the request, until the session's browser can be driven
  connect     a WebSocket to its DevTools, by the address of the session
  open page   the first tab navigates, until the page is loaded
  close       the request, until no process of the session runs
  all         all of them

With --at-once, `all created` is the time until the last session of a group runs, and `group` that until the
last one is closed. `start: …` are the stages of a start as the server measured them: files, display,
settings, browser and page of a cold start, or equip of a start from the pool.

  greenroom bench lifecycle --at-once 10 --rounds 5
  greenroom bench lifecycle --pause 2000            a pool has time to fill between two sessions";

#[derive(Debug, Args)]
#[command(after_help = HELP)]
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
    #[arg(long, default_value = super::pages::EMPTY, value_name = "URL")]
    page: String,
}

/// The durations of one life.
struct Life {
    session: String,
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
    Ok(Life { session: created.id, is_warm: created.is_warm, steps })
}

/// Adds the stages of the starts of these sessions to the steps.
async fn add_stages(
    client: &BenchClient,
    sessions: &[String],
    steps: &mut Vec<(Cow<'static, str>, Durations)>,
) -> anyhow::Result<()> {
    for session in sessions {
        let started = client.event(session, "session.started").await?;
        let stages = started.get("stages_ms").and_then(Value::as_object);
        for (stage, took) in stages.into_iter().flatten() {
            let name = format!("start: {stage}");
            let took = Duration::from_millis(took.as_u64().unwrap_or_default());
            match steps.iter_mut().find(|(step, _)| *step == name) {
                Some((_, durations)) => durations.add(took),
                None => {
                    let mut durations = Durations::default();
                    durations.add(took);
                    steps.push((name.into(), durations));
                }
            }
        }
    }
    Ok(())
}

/// Measures lives of sessions.
pub(super) async fn measure(client: &BenchClient, asked: &Arguments) -> anyhow::Result<Report> {
    let Arguments { rounds, at_once, pause, page } = asked;
    check_count(rounds.saturating_mul(*at_once))?;
    let empty = |names: &[&'static str]| -> Vec<(Cow<'static, str>, Durations)> {
        names.iter().map(|name| ((*name).into(), Durations::default())).collect()
    };
    let (mut steps, mut creations) = (empty(&STEPS), empty(&CREATIONS));
    let (mut groups, mut created) = (Durations::default(), Durations::default());
    let mut sessions = Vec::new();
    let mut warm: u32 = 0;
    for round in 0..*rounds {
        if round > 0 && *pause > 0 {
            tokio::time::sleep(Duration::from_millis(*pause)).await;
        }
        let began = Instant::now();
        let lives = try_join_all((0..*at_once).map(|_| live(client, page))).await?;
        groups.add(began.elapsed());
        let last = lives.iter().map(|life| life.steps.first().copied().unwrap_or_default()).max();
        created.add(last.unwrap_or_default());
        for Life { session, is_warm, steps: took } in lives {
            sessions.push(session);
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
        steps.push(("all created".into(), created));
        steps.push(("group".into(), groups));
    }
    // Two kinds of starts in one distribution would say nothing of either.
    if creations.iter().all(|(_, creation)| creation.count() > 0) {
        steps.extend(creations);
    }
    add_stages(client, &sessions, &mut steps).await?;
    let parameters =
        json!({ "rounds": rounds, "at_once": at_once, "pause_milliseconds": pause, "page": page });
    let figures = vec![("warm starts", f64::from(warm))];
    Ok(Report { what: "lifecycle", parameters, steps, figures, ..Report::default() })
}
