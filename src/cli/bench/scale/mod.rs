//! The server with many sessions in one process: memory, latency of requests, and starts.
//!
//! The sessions have stand-ins for desktops, so that only the server is measured: see `system::stand_ins`. For each
//! size the command starts a server of its own, and ends it again.

mod chart;
mod server;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use chrono::Utc;
use clap::Args;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use rand::Rng as _;
use rand::SeedableRng as _;
use rand::rngs::StdRng;
use serde_json::{Value, json};
use tokio::time::sleep;

use self::chart::Panel;
use self::server::OwnServer;
use super::report::{Durations, Report, Rows, milliseconds};
use crate::cli::client::{Client, text_of};
use crate::cli::output::note;

/// The most sessions of one server.
const MOST: u64 = 50_000;

/// The time after the last request until a server counts as idle, and that for which it is measured then.
const QUIET: Duration = Duration::from_secs(1);
const IDLE: Duration = Duration::from_secs(4);

/// The number of sessions that are created at the same time.
const CREATED_AT_ONCE: usize = 32;

/// The sessions that are created and closed before anything is measured, so that the first figures do not
/// include the filling of caches.
const WARM_UP: u64 = 20;

/// The most queries for all actors, whose answer has an element for each.
const MOST_OF_ALL: u64 = 20;

const HELP: &str = "\
For each of --sizes the command starts a server of its own, in a directory of its own below TMPDIR, whose sessions
have stand-ins without programs in place of desktops. It needs no running server and no key: --url and --api-key
have no effect. The columns, latencies in milliseconds:

  sessions        live sessions in the process
  created/s       sessions that were created in a second, by 32 clients
  KiB/session     resident memory of the server, less that before the sessions, for each session
  begin p50, p99  begin of a random session, by one client
  list p50        a page of 100 sessions
  show p50        one random session
  idle CPU %      of one core, by the server while nobody sends a request
  actors p50      GET /admin/actors: every actor, so it grows with their number
  start ms        start of a server on a database with so many live sessions, until it listens
  ready ms        the same, until a random session answers a begin

--svg writes the curves as a picture.

  greenroom bench scale --sizes 10,100,1000
  greenroom bench scale --svg scale.svg --json > scale.json";

/// The curves of the picture.
const PANELS: [Panel; 6] = [
    Panel { title: "Memory of the server, KiB a session", lines: &[("KiB/session", "resident")] },
    Panel { title: "Begin, ms", lines: &[("begin p50", "p50"), ("begin p99", "p99")] },
    Panel { title: "Page of 100 sessions, ms", lines: &[("list p50", "p50")] },
    Panel { title: "One session, ms", lines: &[("show p50", "p50")] },
    Panel { title: "All actors, ms", lines: &[("actors p50", "p50")] },
    Panel {
        title: "Start with so many sessions, ms",
        lines: &[("start ms", "listens"), ("ready ms", "first begin")],
    },
];

#[derive(Debug, Args)]
#[command(after_help = HELP)]
pub(super) struct Arguments {
    /// The numbers of sessions to measure with.
    #[arg(
        long,
        value_name = "N,N,…",
        value_delimiter = ',',
        default_value = "10,100,1000,10000",
        value_parser = clap::value_parser!(u64).range(1..=MOST)
    )]
    sizes: Vec<u64>,
    /// The number of requests of each kind.
    #[arg(long, default_value_t = 200, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=100_000))]
    queries: u64,
    /// The file for the curves.
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,
}

/// Creates a session with a stand-in, and returns its id.
async fn create(client: &Client) -> anyhow::Result<String> {
    // Longer than the measurement takes.
    let request = json!({ "timeout": 240 });
    let session = client.post("/v1/browser_sessions", &request).await?;
    let id = text_of(&session, "browser_session_id").context("the answer has no session")?;
    let status = text_of(&session, "status").unwrap_or_default();
    anyhow::ensure!(status == "running", "session {id} is {status}");
    Ok(id.to_owned())
}

/// Creates this many sessions.
async fn create_all(client: &Client, count: u64) -> anyhow::Result<Vec<String>> {
    let creating = stream::iter(0..count).map(|_| create(client));
    creating.buffer_unordered(CREATED_AT_ONCE).try_collect().await
}

/// Begins a session and releases it. Returns the time of the begin.
async fn begin(client: &Client, session: &str) -> anyhow::Result<Duration> {
    let path = |what: &str| format!("/v1/browser_sessions/{session}/{what}");
    let began = Instant::now();
    let body = json!({ "runnable_id": "bench", "ttl_seconds": 60 });
    let begun = client.post(&path("begin"), &body).await?;
    let took = began.elapsed();
    let member = |name: &str| begun.get(name).cloned().unwrap_or(Value::Null);
    let proof = json!({ "generation": member("generation"), "lease_token": member("lease_token") });
    client.post(&path("release"), &proof).await?;
    Ok(took)
}

/// Measures requests, each for one of the sessions.
async fn requests(
    client: &Client,
    count: u64,
    mut path: impl FnMut() -> String,
) -> anyhow::Result<Durations> {
    let mut durations = Durations::default();
    for _ in 0..count {
        let path = path();
        let began = Instant::now();
        client.get(&path).await?;
        durations.add(began.elapsed());
    }
    Ok(durations)
}

/// Measures the processor time of a server that has nothing to do, in percent of one core.
async fn idle(server: &OwnServer) -> anyhow::Result<f64> {
    sleep(QUIET).await;
    let (before, began) = (server.used()?, Instant::now());
    sleep(IDLE).await;
    let used = server.used()?.saturating_sub(before);
    Ok(used.as_secs_f64() / began.elapsed().as_secs_f64() * 100.0)
}

/// The columns of the result, in the order of the figures that [`row`] returns.
const COLUMNS: [&str; 11] = [
    "sessions",
    "created/s",
    "KiB/session",
    "begin p50",
    "begin p99",
    "list p50",
    "show p50",
    "actors p50",
    "idle CPU %",
    "start ms",
    "ready ms",
];

/// Measures a server with this many sessions.
async fn row(size: u64, queries: u64, random: &mut StdRng) -> anyhow::Result<Vec<f64>> {
    let mut server = OwnServer::new(size.max(WARM_UP))?;
    server.start().await?;
    let client = server.client()?;
    for session in create_all(&client, WARM_UP).await? {
        begin(&client, &session).await?;
        client.post(&format!("/v1/browser_sessions/{session}/close"), &json!({})).await?;
    }
    let empty = server.memory()?;
    let creating = Instant::now();
    let sessions = create_all(&client, size).await?;
    let created = creating.elapsed();
    let number = |value: u64| f64::from(u32::try_from(value).unwrap_or(u32::MAX));
    let memory = number(server.memory()?.saturating_sub(empty) / 1024) / number(size);

    let mut any = || -> anyhow::Result<&String> {
        sessions.get(random.random_range(0..sessions.len())).context("there is no session")
    };
    let mut begins = Durations::default();
    for _ in 0..queries {
        begins.add(begin(&client, any()?).await?);
    }
    let list = || "/v1/browser_sessions?page_size=100".to_owned();
    let lists = requests(&client, queries, list).await?;
    let mut chosen = (0..queries).map(|_| any().cloned()).collect::<anyhow::Result<Vec<_>>>()?;
    let show = || format!("/v1/browser_sessions/{}", chosen.pop().unwrap_or_default());
    let shows = requests(&client, queries, show).await?;
    let actors = || "/admin/actors".to_owned();
    let actors = requests(&server.operator()?, queries.min(MOST_OF_ALL), actors).await?;

    let idle = idle(&server).await?;

    let last = any()?.clone();
    server.stop().await?;
    let starting = Instant::now();
    let started = server.start().await?;
    begin(&server.client()?, &last).await?;
    let ready = starting.elapsed();
    let row = vec![
        number(size),
        number(size) / created.as_secs_f64(),
        memory,
        begins.at(50),
        begins.at(99),
        lists.at(50),
        shows.at(50),
        actors.at(50),
        idle,
        milliseconds(started),
        milliseconds(ready),
    ];
    Ok(row)
}

/// Measures servers with these numbers of sessions.
pub(super) async fn measure(seed: u64, asked: &Arguments) -> anyhow::Result<Report> {
    let Arguments { sizes, queries, svg } = asked;
    let mut random = StdRng::seed_from_u64(seed);
    let mut rows = Rows { columns: COLUMNS.to_vec(), rows: Vec::new() };
    for size in sizes {
        note(format_args!("measuring a server with {size} sessions"));
        rows.rows.push(row(*size, *queries, &mut random).await?);
    }
    if let Some(file) = svg {
        let (at, version) = (Utc::now().format("%Y-%m-%d"), env!("CARGO_PKG_VERSION"));
        let caption = format!(
            "Greenroom {version}, {at}, seed {seed}; sessions with stand-ins for desktops; latencies of one client"
        );
        std::fs::write(file, chart::svg(&rows, &PANELS, &caption))
            .with_context(|| format!("{} cannot be written", file.display()))?;
    }
    let parameters = json!({ "sizes": sizes, "queries": queries, "desktops": "stand-ins" });
    Ok(Report { what: "scale", parameters, rows: Some(rows), ..Report::default() })
}
