//! Screenshots of a session, as a client requests them.

use std::sync::Arc;
use std::time::{Duration, Instant};

use clap::{Args, ValueEnum};
use serde_json::json;

use super::client::BenchClient;
use super::report::{Durations, Report};
use super::{LONGEST, MOST_SESSIONS, at_once, pages};

const HELP: &str = "\
Each client requests pictures of a session of its own, one after the other. With --animated the session shows a
page that changes ten times in a second, which the seed determines; without it, an empty page.

  greenroom bench screenshots --format jpeg
  greenroom bench screenshots --clients 10 --animated";

#[derive(Debug, Args)]
#[command(after_help = HELP)]
pub(super) struct Arguments {
    /// The number of clients, each with a session of its own.
    #[arg(long, default_value_t = 1, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=MOST_SESSIONS))]
    clients: u64,
    /// The time of the measurement.
    #[arg(long, default_value_t = 5, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=LONGEST))]
    seconds: u64,
    /// The encoding of the pictures.
    #[arg(long, value_enum, default_value_t = Encoding::Png)]
    format: Encoding,
    /// Show a page that changes all the time.
    #[arg(long)]
    animated: bool,
}

/// The encoding of a picture.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum Encoding {
    /// Lossless, and about three times the size of JPEG.
    Png,
    /// Lossy, with quality 80.
    Jpeg,
}

impl Encoding {
    fn name(self) -> &'static str {
        match self {
            Self::Png => "png",
            Self::Jpeg => "jpeg",
        }
    }
}

#[derive(Debug, Default)]
struct Pictures {
    took: Durations,
    bytes: usize,
}

/// Measures screenshots of sessions.
pub(super) async fn measure(
    client: &Arc<BenchClient>,
    asked: &Arguments,
) -> anyhow::Result<Report> {
    let Arguments { clients, seconds, format, animated } = asked;
    let sessions = client.create_all(*clients).await?;
    if *animated {
        for session in &sessions {
            client.connect(session).await?.open_page(&pages::moving(client.seed)).await?;
        }
    }
    let began = Instant::now();
    let deadline = began + Duration::from_secs(*seconds);
    let format = format.name();
    let work = sessions.into_iter().map(|session| {
        let client = Arc::clone(client);
        async move {
            let path = format!("/v1/browser_sessions/{session}/screenshot?format={format}");
            let mut pictures = Pictures::default();
            while Instant::now() < deadline {
                let began = Instant::now();
                match client.api.size_of(&path).await {
                    Ok(bytes) => pictures.bytes += bytes,
                    Err(cause) => return (pictures, Some(cause)),
                }
                pictures.took.add(began.elapsed());
            }
            (pictures, None)
        }
    });
    let (mut all, mut errors) = (Pictures::default(), Vec::new());
    for (mut pictures, error) in at_once(work).await? {
        all.took.append(&mut pictures.took);
        all.bytes += pictures.bytes;
        errors.extend(error.map(|error| error.to_string()));
    }
    let count = all.took.count().max(1);
    let kibibytes = f64::from(u32::try_from(all.bytes / count).unwrap_or(u32::MAX)) / 1024.0;
    let figures = vec![
        ("pictures per second", all.took.per_second(began.elapsed())),
        ("KiB of a picture", kibibytes),
    ];
    let parameters = json!({
        "clients": clients, "seconds": seconds, "format": format, "animated": animated,
    });
    Ok(Report {
        what: "screenshots",
        parameters,
        steps: vec![("screenshot".into(), all.took)],
        figures,
        errors,
        ..Report::default()
    })
}
