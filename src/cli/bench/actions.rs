//! Commands of a driver: evaluations and navigations, by the server and directly to the browser.

use std::time::{Duration, Instant};

use clap::Args;
use serde_json::json;

use super::client::{BenchClient, connect};
use super::devtools::Devtools;
use super::report::{Durations, Report};
use super::{LONGEST, local, pages};

/// The time for which one way is measured before the other one is.
const TURN: Duration = Duration::from_millis(500);

const HELP: &str = "\
One driver sends one command after the other, first evaluations of an expression in the page, then navigations to
a page without content. Each kind takes --seconds for each way, and the two ways take turns of half a second, so
that other load affects both.

The second way goes to the browser itself, and shows what the server adds. It needs a browser on this machine whose
address this user can read: run the command as root or as the user of the server. A browser with a network of its
own cannot be reached directly (`isolation.network`); the report then says so.

  greenroom bench actions --seconds 10";

#[derive(Debug, Args)]
#[command(after_help = HELP)]
pub(super) struct Arguments {
    /// The time of each kind of command and each way.
    #[arg(long, default_value_t = 5, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=LONGEST))]
    seconds: u64,
}

/// A way from the driver to the browser.
#[derive(Debug, Clone)]
enum Way {
    /// By the server, as clients have it.
    Server { session: String },
    /// To the browser's own DevTools at this address.
    Direct { url: String },
}

impl Way {
    fn name(&self) -> &'static str {
        match self {
            Self::Server { .. } => "server",
            Self::Direct { .. } => "direct",
        }
    }

    async fn connect(&self, client: &BenchClient) -> anyhow::Result<Devtools> {
        match self {
            Self::Server { session } => client.connect(session).await,
            Self::Direct { url } => Ok(Devtools::new(connect(url, None).await?)),
        }
    }
}

/// A kind of command.
#[derive(Debug, Clone, Copy)]
enum Action {
    Evaluate,
    Navigate,
}

impl Action {
    const ALL: [Self; 2] = [Self::Evaluate, Self::Navigate];

    fn name(self) -> &'static str {
        match self {
            Self::Evaluate => "evaluate",
            Self::Navigate => "navigate",
        }
    }

    async fn perform(self, devtools: &mut Devtools) -> anyhow::Result<()> {
        match self {
            Self::Evaluate => {
                let value = devtools.evaluate("6 * 7").await?;
                anyhow::ensure!(value == 42, "the page evaluates 6 * 7 to {value}");
                Ok(())
            }
            Self::Navigate => devtools.open_page(pages::EMPTY).await,
        }
    }
}

/// Repeats a command for one turn. Returns the time that it took altogether.
async fn turn(
    client: &BenchClient,
    way: &Way,
    action: Action,
    durations: &mut Durations,
) -> anyhow::Result<Duration> {
    let mut devtools = way.connect(client).await?;
    // The first command attaches to the page.
    action.perform(&mut devtools).await?;
    let began = Instant::now();
    while began.elapsed() < TURN {
        let began = Instant::now();
        action.perform(&mut devtools).await?;
        durations.add(began.elapsed());
    }
    Ok(began.elapsed())
}

/// Returns the direct way to the browser of a session, or the reason for which there is none.
async fn direct(client: &BenchClient, session: &str) -> anyhow::Result<Result<Way, String>> {
    let Some(url) = local::devtools(session)? else {
        return Ok(Err("the browser is not to be seen on this machine by this user".to_owned()));
    };
    let way = Way::Direct { url };
    let reached = async { way.connect(client).await?.version().await }.await;
    Ok(match reached {
        Ok(()) => Ok(way),
        Err(cause) => Err(format!("the browser cannot be reached directly: {cause:#}")),
    })
}

/// Measures commands of one driver.
pub(super) async fn measure(client: &BenchClient, asked: &Arguments) -> anyhow::Result<Report> {
    let Arguments { seconds } = asked;
    let session = client.create().await?.id;
    let mut ways = vec![Way::Server { session: session.clone() }];
    let mut notes = Vec::new();
    match direct(client, &session).await? {
        Ok(way) => ways.push(way),
        Err(why) => notes.push(format!("only the way by the server was measured: {why}")),
    }
    let (mut steps, mut figures) = (Vec::new(), Vec::new());
    let turns = seconds.saturating_mul(2);
    for action in Action::ALL {
        let mut measured: Vec<_> =
            ways.iter().map(|way| (way, Durations::default(), Duration::ZERO)).collect();
        for _ in 0..turns {
            for (way, durations, all) in &mut measured {
                *all += turn(client, way, action, durations).await?;
            }
        }
        for (way, durations, all) in measured {
            figures.push((per_second(action, way), durations.per_second(all)));
            steps.push((format!("{}, {}", action.name(), way.name()).into(), durations));
        }
    }
    let parameters = json!({ "seconds": seconds });
    Ok(Report { what: "actions", parameters, steps, figures, notes, ..Report::default() })
}

/// The name of a rate.
fn per_second(action: Action, way: &Way) -> &'static str {
    match (action, way) {
        (Action::Evaluate, Way::Server { .. }) => "evaluations per second, server",
        (Action::Evaluate, Way::Direct { .. }) => "evaluations per second, direct",
        (Action::Navigate, Way::Server { .. }) => "navigations per second, server",
        (Action::Navigate, Way::Direct { .. }) => "navigations per second, direct",
    }
}
