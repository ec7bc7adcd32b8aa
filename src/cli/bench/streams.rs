//! The live view of a session: the first picture, the way of a click to the picture, and what an animation costs.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::ensure;
use clap::Args;
use rand::Rng as _;
use serde_json::json;

use super::client::BenchClient;
use super::report::{Durations, Report};
use super::rfb::Viewer;
use super::{LONGEST, MOST_SESSIONS, at_once, pages};

/// The width and height of the session's display.
const SIZE: (u16, u16) = (1280, 800);

const HELP: &str = "\
Figures:
  first pixel, first viewer   the VNC server starts, and the whole picture arrives
  first pixel                 the same for later viewers, one after the other
  input to pixel              from a click to the picture in which half of the page has changed its colour

Then each of --viewers watches for --seconds a page of which a quarter changes ten times in a second; with --sessions
so many watch each of several sessions. The viewers request pictures as noVNC does: Tight with JPEG. With --stalled, a
further viewer of the first session requests a picture and reads none: the figures of the others should not change.

  greenroom bench streams
  greenroom bench streams --viewers 20 --stalled --seconds 12
  greenroom bench streams --sessions 10 --viewers 2";

#[derive(Debug, Args)]
#[command(after_help = HELP)]
pub(super) struct Arguments {
    /// The number of first pictures, after that of the first viewer.
    #[arg(long, default_value_t = 20, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=MOST_SESSIONS))]
    rounds: u64,
    /// The number of clicks; 0 for a server on which viewers only watch.
    #[arg(long, default_value_t = 20, value_name = "N", value_parser = clap::value_parser!(u64).range(0..=MOST_SESSIONS))]
    clicks: u64,
    /// The number of sessions that are watched at the same time.
    #[arg(long, default_value_t = 1, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=MOST_SESSIONS))]
    sessions: u64,
    /// The number of viewers that watch each of them.
    #[arg(long, default_value_t = 1, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=MOST_SESSIONS))]
    viewers: u64,
    /// The time for which they watch.
    #[arg(long, default_value_t = 5, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=LONGEST))]
    seconds: u64,
    /// Add a viewer that does not read.
    #[arg(long)]
    stalled: bool,
}

/// Measures the first pictures of viewers that come one after the other.
async fn first_pixels(
    client: &BenchClient,
    session: &str,
    rounds: u64,
) -> anyhow::Result<Durations> {
    let mut durations = Durations::default();
    for _ in 0..rounds {
        let began = Instant::now();
        let mut viewer = Viewer::connect(client, session).await?;
        ensure!(viewer.pixels() > 0, "the display of session {session} has no size");
        viewer.updates(viewer.pixels()).await?;
        durations.add(began.elapsed());
    }
    Ok(durations)
}

/// Measures the time from clicks to pictures.
async fn clicks(client: &BenchClient, session: &str, rounds: u64) -> anyhow::Result<Durations> {
    let mut viewer = Viewer::connect(client, session).await?;
    viewer.updates(viewer.pixels()).await?;
    let mut random = client.random();
    let mut durations = Durations::default();
    for _ in 0..rounds {
        // Clicks that are not in step with the polling of the VNC server. The pictures until then, such as that of
        // the pointer, are received.
        let pause = Duration::from_millis(random.random_range(150..250));
        viewer.watch(Instant::now() + pause).await?;
        // On the page, and not on the bars of the browser above it.
        let (x, y) = (viewer.width / 4, viewer.height / 2);
        let x = random.random_range(x..=x.saturating_mul(3));
        let y = random.random_range(y..=y.saturating_add(y / 2));
        let began = Instant::now();
        viewer.click(x, y).await?;
        viewer.updates(viewer.pixels() / 2).await?;
        durations.add(began.elapsed());
    }
    Ok(durations)
}

/// The counts of one viewer.
#[derive(Debug, Default)]
struct Watched {
    updates: u64,
    bytes: u64,
    gap: Duration,
}

async fn watch(client: &BenchClient, session: &str, seconds: u64) -> anyhow::Result<Watched> {
    let mut viewer = Viewer::connect(client, session).await?;
    // The first picture is a whole one, and not part of the animation.
    viewer.updates(viewer.pixels()).await?;
    let before = viewer.received;
    let (updates, gap) = viewer.watch(Instant::now() + Duration::from_secs(seconds)).await?;
    Ok(Watched { updates, bytes: viewer.received - before, gap })
}

/// Measures the live view of sessions.
pub(super) async fn measure(
    client: &Arc<BenchClient>,
    asked: &Arguments,
) -> anyhow::Result<Report> {
    let Arguments { rounds, clicks: times, sessions: count, viewers, seconds, stalled } = asked;
    let (width, height) = SIZE;
    let request = json!({ "width": width, "height": height });
    let session = client.create_of(&request).await?.id;
    client.connect(&session).await?.open_page(&pages::clicked()).await?;
    let first = first_pixels(client, &session, 1).await?;
    let later = first_pixels(client, &session, *rounds).await?;
    let clicked = clicks(client, &session, *times).await?;

    let mut sessions: Vec<Arc<str>> = vec![session.into()];
    for _ in 1..*count {
        sessions.push(client.create_of(&request).await?.id.into());
    }
    for session in &sessions {
        client.connect(session).await?.open_page(&pages::moving(client.seed)).await?;
    }
    let idle = match sessions.first().filter(|_first| *stalled) {
        Some(session) => Some(Viewer::connect(client, session).await?),
        None => None,
    };
    let watched = sessions.iter().flat_map(|session| (0..*viewers).map(move |_| session));
    let work = watched.map(|session| {
        let (client, session, seconds) = (Arc::clone(client), Arc::clone(session), *seconds);
        async move { watch(&client, &session, seconds).await }
    });
    let (mut seen, mut errors) = (Vec::new(), Vec::new());
    for watched in at_once(work).await? {
        match watched {
            Ok(watched) => seen.push(watched),
            Err(cause) => errors.push(format!("{cause:#}")),
        }
    }
    drop(idle);
    let steps = vec![
        ("first pixel, first viewer".into(), first),
        ("first pixel".into(), later),
        ("input to pixel".into(), clicked),
    ];
    let parameters = json!({
        "rounds": rounds, "clicks": times, "sessions": count, "viewers": viewers, "seconds": seconds,
        "stalled": stalled, "width": width, "height": height,
    });
    let figures = figures(&seen, *seconds);
    Ok(Report { what: "streams", parameters, steps, figures, errors, ..Report::default() })
}

/// The figures of viewers that have watched for this time.
fn figures(seen: &[Watched], seconds: u64) -> Vec<(&'static str, f64)> {
    let number = |value: u64| f64::from(u32::try_from(value).unwrap_or(u32::MAX));
    let seconds = number(seconds);
    let rates = seen.iter().map(|watched| number(watched.updates) / seconds);
    let (slowest, fastest) =
        rates.fold((f64::MAX, 0.0_f64), |(low, high), rate| (low.min(rate), high.max(rate)));
    let bytes: u64 = seen.iter().map(|watched| watched.bytes).sum();
    let gap = seen.iter().map(|watched| watched.gap).max().unwrap_or_default();
    let viewers = f64::from(u32::try_from(seen.len()).unwrap_or(u32::MAX)).max(1.0);
    vec![
        ("pictures per second, slowest viewer", if seen.is_empty() { 0.0 } else { slowest }),
        ("pictures per second, fastest viewer", fastest),
        ("longest gap in ms", gap.as_secs_f64() * 1000.0),
        ("KiB per second and viewer", number(bytes / 1024) / seconds / viewers),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_figures_of_viewers_are_those_of_a_second_and_of_the_slowest() {
        let watched =
            |updates, bytes, gap| Watched { updates, bytes, gap: Duration::from_millis(gap) };
        let figures = figures(&[watched(20, 4096, 120), watched(16, 8192, 300)], 2);
        let values: Vec<f64> = figures.into_iter().map(|(_, value)| value).collect();
        assert_eq!(values, [8.0, 10.0, 300.0, 3.0]);
    }
}
