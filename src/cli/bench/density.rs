//! The memory and the processor time of a session: idle, and with a page that changes all the time.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use clap::Args;
use serde_json::{Value, json};
use tokio::time::sleep;

use super::client::{BenchClient, check_count};
use super::report::{Durations, Report};
use super::{LONGEST, local, pages};

const HELP: &str = "\
Creates --sessions sessions, waits for --settle, and measures for --seconds what their programs use; then the same
with a page of which a quarter changes ten times in a second. Nobody watches meanwhile.

Where the programs are on this machine and may be read, memory is PSS: what several processes share is counted once.
Otherwise it is the memory of the sessions' control groups, as the server reports it, which has the page cache of
their files as well. The JSON names the source. What the server itself needs is not included.

  greenroom bench density --sessions 10 --seconds 30";

#[derive(Debug, Args)]
#[command(after_help = HELP)]
pub(super) struct Arguments {
    /// The number of sessions.
    #[arg(long, default_value_t = 4, value_name = "N")]
    sessions: u64,
    /// The time of each of the two measurements.
    #[arg(long, default_value_t = 10, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=LONGEST))]
    seconds: u64,
    /// The time that browsers get to become quiet before each measurement.
    #[arg(long, default_value_t = 5, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(0..=LONGEST))]
    settle: u64,
}

/// The source of the figures.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Source {
    /// The processes on this machine.
    Processes,
    /// The usage that the server reports, from control groups.
    Server,
}

impl Source {
    fn name(self) -> &'static str {
        match self {
            Self::Processes => "processes (PSS)",
            Self::Server => "control groups, by the server",
        }
    }
}

/// The use of resources by all sessions at one moment.
#[derive(Debug)]
struct Usage {
    bytes: u64,
    /// The processor time of each process, or of each session.
    used: HashMap<String, Duration>,
}

impl Usage {
    /// The processor time that was used since an earlier moment. What has ended since is not counted.
    fn since(&self, before: &Self) -> Duration {
        let used = self.used.iter().map(|(of, used)| {
            used.saturating_sub(before.used.get(of).copied().unwrap_or_default())
        });
        used.sum()
    }
}

/// Reads the usage from the processes on this machine. `None` if they cannot be seen.
fn of_processes(sessions: &[String]) -> anyhow::Result<Option<Usage>> {
    let mut usage = Usage { bytes: 0, used: HashMap::new() };
    for session in sessions {
        let processes = local::processes(session)?;
        let mut is_seen = false;
        for process in processes {
            // A process may end meanwhile, and that of another user is not shown.
            if let Some(bytes) = process.memory() {
                is_seen = true;
                usage.bytes += bytes;
                usage.used.insert(process.pid.to_string(), process.used);
            }
        }
        if !is_seen {
            return Ok(None);
        }
    }
    Ok(Some(usage))
}

/// Reads the usage that the server reports. `None` if it counts none.
async fn of_server(client: &BenchClient, sessions: &[String]) -> anyhow::Result<Option<Usage>> {
    let mut usage = Usage { bytes: 0, used: HashMap::new() };
    for session in sessions {
        let shown = client.api.get(&format!("/v1/browser_sessions/{session}")).await?;
        let bytes = shown.pointer("/usage/memory_bytes").and_then(Value::as_u64);
        let seconds = shown.pointer("/usage/cpu_seconds").and_then(Value::as_f64);
        let (Some(bytes), Some(seconds)) = (bytes, seconds) else { return Ok(None) };
        usage.bytes += bytes;
        usage.used.insert(session.clone(), Duration::try_from_secs_f64(seconds)?);
    }
    Ok(Some(usage))
}

async fn read(
    client: &BenchClient,
    sessions: &[String],
    source: Source,
) -> anyhow::Result<Option<Usage>> {
    match source {
        Source::Processes => of_processes(sessions),
        Source::Server => of_server(client, sessions).await,
    }
}

/// The use of resources by one session, on average.
#[derive(Debug)]
struct Cost {
    bytes: f64,
    cores: f64,
}

async fn cost(
    client: &BenchClient,
    sessions: &[String],
    source: Source,
    asked: &Arguments,
) -> anyhow::Result<Cost> {
    sleep(Duration::from_secs(asked.settle)).await;
    let lost = "the programs of the sessions cannot be seen any more";
    let (before, began) = (read(client, sessions, source).await?.context(lost)?, Instant::now());
    sleep(Duration::from_secs(asked.seconds)).await;
    let (after, took) = (read(client, sessions, source).await?.context(lost)?, began.elapsed());
    let count = f64::from(u32::try_from(sessions.len())?);
    let kibibytes = f64::from(u32::try_from(after.bytes / 1024)?);
    let cores = after.since(&before).as_secs_f64() / took.as_secs_f64() / count;
    Ok(Cost { bytes: kibibytes * 1024.0 / count, cores })
}

/// Measures what sessions cost.
pub(super) async fn measure(client: &BenchClient, asked: &Arguments) -> anyhow::Result<Report> {
    let Arguments { sessions: count, seconds, settle } = asked;
    check_count(*count)?;
    let (mut created, mut sessions) = (Durations::default(), Vec::new());
    for _ in 0..*count {
        let session = client.create().await?;
        created.add(session.took);
        sessions.push(session.id);
    }
    let is_local = of_processes(&sessions)?.is_some();
    let source = if is_local { Source::Processes } else { Source::Server };
    ensure!(
        is_local || of_server(client, &sessions).await?.is_some(),
        "the memory of the sessions is not known: the server does not count it (see `greenroom doctor`), and this \
         user cannot see their programs on this machine; run the command as root or as the user of the server"
    );
    let idle = cost(client, &sessions, source, asked).await?;
    for session in &sessions {
        client.connect(session).await?.open_page(&pages::moving(client.seed)).await?;
    }
    let animated = cost(client, &sessions, source, asked).await?;
    let parameters = json!({
        "sessions": count, "seconds": seconds, "settle": settle, "source": source.name(),
    });
    let mut figures = Vec::new();
    figures.extend(figures_of(
        &idle,
        [
            "idle: MiB of a session",
            "idle: sessions per GB",
            "idle: cores of a session",
            "idle: sessions per core",
        ],
    ));
    figures.extend(figures_of(
        &animated,
        [
            "animated: MiB of a session",
            "animated: sessions per GB",
            "animated: cores of a session",
            "animated: sessions per core",
        ],
    ));
    let steps = vec![("create".into(), created)];
    Ok(Report { what: "density", parameters, steps, figures, ..Report::default() })
}

/// The figures of a cost, by these names: memory, sessions in a GB, cores, sessions on a core. A rate of sessions that
/// use nothing measurable is 0.
fn figures_of(cost: &Cost, names: [&'static str; 4]) -> [(&'static str, f64); 4] {
    let [memory, in_memory, cores, on_core] = names;
    let fit = |whole: f64, part: f64| if part > 0.0 { whole / part } else { 0.0 };
    [
        (memory, cost.bytes / f64::from(1 << 20)),
        (in_memory, fit(1e9, cost.bytes)),
        (cores, cost.cores),
        (on_core, fit(1.0, cost.cores)),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn density_is_what_fits_and_what_uses_nothing_fits_no_number_of_times() {
        let names = ["memory", "per GB", "cores", "per core"];
        let figures = figures_of(&Cost { bytes: 250e6, cores: 0.05 }, names);
        assert!((figures[1].1 - 4.0).abs() < 1e-9 && (figures[3].1 - 20.0).abs() < 1e-9);
        let idle = figures_of(&Cost { bytes: 250e6, cores: 0.0 }, names);
        assert_eq!(idle[3], ("per core", 0.0));
    }

    #[test]
    fn processor_time_counts_from_the_start_of_a_process_that_is_new() {
        let usage = |used: &[(&str, u64)]| Usage {
            bytes: 0,
            used: used.iter().map(|(of, ms)| ((*of).into(), Duration::from_millis(*ms))).collect(),
        };
        let (before, after) = (usage(&[("1", 500), ("2", 9)]), usage(&[("1", 800), ("3", 40)]));
        assert_eq!(after.since(&before), Duration::from_millis(340));
    }
}
