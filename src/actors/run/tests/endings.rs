//! Property test of the endings of runs: in every phase and after every event a run ends. Its end
//! is stored, its session is free, a session of its own is closed, and a cancel is answered.

use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;
use tokio::time::{pause, sleep, timeout};

use super::*;
use crate::actors::ask::Unanswered;
use crate::actors::registry::{Drain, RegistryError, RunRouteError, Start, Undrain};
use crate::actors::session::Release;
use crate::actors::testing::{BreakRun, BreakSession};

/// The initial state of the run's session.
#[derive(Debug, Clone, Copy)]
enum Outcome {
    /// The run makes one for itself.
    Own,
    /// The run makes one whose browser does not start.
    OwnThatFails,
    /// The limit on sessions is reached.
    OwnWithoutPlace,
    Vacant,
    /// Another occupant holds it for so many seconds.
    Held(u64),
}

#[derive(Debug, Clone, Copy)]
enum Happens {
    Cancel,
    CloseSession,
    BreakSession,
    BreakRun,
    BrowserDies,
    Drain,
    /// The database is unavailable for so many milliseconds.
    Away(u64),
    /// The database writes, but reports errors, for so many milliseconds.
    Mute(u64),
    /// Each write takes so many milliseconds more, for so many milliseconds.
    Slow(u64, u64),
}

fn any_given() -> impl Strategy<Value = Outcome> {
    prop_oneof![
        3 => Just(Outcome::Own),
        1 => Just(Outcome::OwnThatFails),
        1 => Just(Outcome::OwnWithoutPlace),
        2 => Just(Outcome::Vacant),
        2 => (1..15_u64).prop_map(Outcome::Held),
    ]
}

fn any_script() -> impl Strategy<Value = Script> {
    prop_oneof![
        Just(Script::Block),
        Just(Script::Endless),
        Just(Script::Deaf),
        Just(Script::Panics)
    ]
}

fn any_happening() -> impl Strategy<Value = Happens> {
    prop_oneof![
        3 => Just(Happens::Cancel),
        2 => Just(Happens::CloseSession),
        1 => Just(Happens::BreakSession),
        1 => Just(Happens::BreakRun),
        1 => Just(Happens::BrowserDies),
        1 => Just(Happens::Drain),
        2 => (1..15_000_u64).prop_map(Happens::Away),
        2 => (1..3000_u64).prop_map(Happens::Mute),
        3 => (prop_oneof![1..1500_u64, 9000..15_000_u64], 1..4000_u64)
            .prop_map(|(by, during)| Happens::Slow(by, during)),
    ]
}

/// A moment within the first milliseconds, when a phase lasts milliseconds, or later.
fn any_moment() -> impl Strategy<Value = u64> {
    prop_oneof![3 => 0..12_u64, 2 => 990..1012_u64, 2 => 0..20_000_u64]
}

/// The time that a run waits for its session; `LIMIT` is that for its whole duration.
const WAIT: Duration = Duration::from_secs(10);
const LIMIT: Duration = Duration::from_secs(30);
/// The time after which everything is over, whatever happened: the limit, an outage, and leases
/// that lapse.
const OVER: Duration = Duration::from_secs(300);

/// The reasons why a cancel need not be answered in time.
#[derive(Debug, Clone, Copy)]
struct Excuses {
    /// True if the run's actor breaks.
    breaks: bool,
    /// True if the database or the session delays the run.
    delays: bool,
}

impl Excuses {
    fn of(events: &[(u64, Happens)]) -> Self {
        let any = |is: fn(&Happens) -> bool| events.iter().any(|(_, what)| is(what));
        Self {
            breaks: any(|what| matches!(what, Happens::BreakRun)),
            delays: any(|what| {
                matches!(
                    what,
                    Happens::Away(_) | Happens::Mute(_) | Happens::Slow(..) | Happens::BreakSession
                )
            }),
        }
    }
}

async fn happen(
    stage: Arc<Stage>,
    run: RunId,
    session: Option<SessionId>,
    what: Happens,
    excuses: Excuses,
) {
    let session = || {
        let made = stage.world.views.run(Stage::organization(), run)?.borrow().record.session;
        session.or(made)
    };
    let organization = Stage::organization();
    match what {
        Happens::Cancel => {
            let answer = stage.registry.ask(cancel(run)).await.expect("an answer");
            let is_fit = match &answer {
                Ok(_) | Err(RunRouteError::Unknown(_)) => true,
                Err(
                    RunRouteError::Unanswered(cause)
                    | RunRouteError::Run(RunError::Unanswered(cause)),
                ) => match cause {
                    Unanswered::Gone => excuses.breaks,
                    Unanswered::Late => excuses.delays,
                },
                Err(RunRouteError::Run(_)) => false,
            };
            assert!(is_fit, "{answer:?}");
        }
        Happens::CloseSession => {
            let Some(session) = session() else { return };
            let message = Close { status: SessionStatus::Completed };
            let _ = stage.registry.ask(Route { organization, session, message }).await;
        }
        Happens::BreakSession => {
            let Some(session) = session() else { return };
            let _ =
                stage.registry.ask(Route { organization, session, message: BreakSession }).await;
        }
        Happens::BreakRun => {
            let _ = stage.registry.ask(RouteRun { organization, run, message: BreakRun }).await;
        }
        Happens::BrowserDies => stage.desktops.kill.notify_waiters(),
        Happens::Drain => {
            let drain = Drain { within: None, stopping: false };
            stage.registry.ask(drain).await.expect("an answer").expect("it drains");
        }
        Happens::Away(during) => {
            *stage.rows.broken.lock() = true;
            sleep(Duration::from_millis(during)).await;
            *stage.rows.broken.lock() = false;
        }
        Happens::Mute(during) => {
            *stage.rows.mute.lock() = true;
            sleep(Duration::from_millis(during)).await;
            *stage.rows.mute.lock() = false;
        }
        Happens::Slow(by, during) => {
            *stage.rows.slow.lock() = Duration::from_millis(by);
            sleep(Duration::from_millis(during)).await;
            *stage.rows.slow.lock() = Duration::ZERO;
        }
    }
}

/// Plays a scenario, and returns an error that describes what is wrong in the end.
async fn play(given: Outcome, script: Script, events: Vec<(u64, Happens)>) -> Result<(), String> {
    pause();
    let mut outside = Outside::default();
    outside.settings.max_runs = 1;
    if matches!(given, Outcome::OwnWithoutPlace) {
        outside.settings.max_sessions = 0;
    }
    let stage = Arc::new(Stage::new(outside));
    let organization = Stage::organization();
    let mut session = None;
    match given {
        Outcome::Own | Outcome::OwnWithoutPlace => {}
        Outcome::OwnThatFails => *stage.desktops.fail.lock() = Some(failure("chromium_exited")),
        Outcome::Vacant => session = Some(stage.running().await.0),
        Outcome::Held(seconds) => {
            let id = stage.running().await.0;
            session = Some(id);
            let lease = stage.world.secrets.fresh_lease();
            let hash = lease.hash();
            let ttl = Duration::from_secs(60);
            let message = Begin {
                occupant: occupant("ann"),
                lease,
                ttl,
                wait: None,
                by: Beginner::Key(1.into()),
            };
            let route = Route { organization, session: id, message };
            let grant = stage.registry.ask(route).await.unwrap().unwrap();
            let registry = stage.registry.clone();
            tokio::spawn(async move {
                sleep(Duration::from_secs(seconds)).await;
                let message = Release { generation: grant.generation, lease: hash, run: None };
                let _ = registry.ask(Route { organization, session: id, message }).await;
            });
        }
    }
    let assignment = Assignment {
        record: None,
        sanitize: false,
        work: Box::new(script),
        own_session: SessionSpec::default(),
        wait: WAIT,
        limit: LIMIT,
        depth: 0,
        lent: None,
        lane: None,
    };
    let run = new_run(session);
    let RunAccepted { id, view } =
        stage.registry.ask(StartRun { run, assignment }).await.unwrap().unwrap();
    let excuses = Excuses::of(&events);
    let all = events.into_iter().map(|(at, what)| {
        let stage = Arc::clone(&stage);
        async move {
            sleep(Duration::from_millis(at)).await;
            happen(stage, id, session, what, excuses).await;
        }
    });
    timeout(OVER, futures_util::future::join_all(all)).await.map_err(|_late| "an event hangs")?;

    let ended = timeout(OVER, stage.world.views.runs_ended()).await;
    ended.map_err(|_late| format!("it does not end: {:?}", view.borrow().record.status))?;
    sleep(OVER).await;
    let row = stage.rows.run(id);
    if !row.status.is_final() {
        return Err(format!("its end is not stored: {:?}", row.status));
    }
    let blocks = stage.rows.blocks.lock().clone();
    if let Some(open) = blocks.iter().find(|block| block.status == BlockStatus::Running) {
        return Err(format!("a block stays open: {open:?}"));
    }
    let sessions = stage.rows.sessions.lock().clone();
    for (session, row) in sessions {
        if let Some(held) = row.occupancy.holder() {
            return Err(format!("{session} is held by {}", held.occupant));
        }
        let is_own = matches!(given, Outcome::Own | Outcome::OwnThatFails);
        if is_own && !row.status.is_final() {
            return Err(format!("the session of the run stays open: {:?}", row.status));
        }
    }
    let _ = stage.registry.ask(Undrain).await;
    let assignment = Assignment {
        record: None,
        sanitize: false,
        work: Box::new(Script::Block),
        own_session: SessionSpec::default(),
        wait: WAIT,
        limit: LIMIT,
        depth: 0,
        lent: None,
        lane: None,
    };
    match stage.registry.ask(StartRun { run: new_run(None), assignment }).await.unwrap() {
        Ok(_) => Ok(()),
        Err(RegistryError::TooManyRuns { .. }) => Err("its place is not free".to_owned()),
        Err(cause) => Err(format!("no other run starts: {cause}")),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]
    #[test]
    fn every_phase_of_a_run_ends_from_every_event(
        given in any_given(),
        script in any_script(),
        events in prop::collection::vec((any_moment(), any_happening()), 0..5),
    ) {
        let played = actix::System::new().block_on(play(given, script, events));
        prop_assert_eq!(played, Ok(()));
    }
}

#[actix::test]
async fn a_run_whose_session_is_refused_fails_and_gives_its_place_up() {
    let played = play(Outcome::OwnWithoutPlace, Script::Block, Vec::new()).await;
    assert_eq!(played, Ok(()));
}

#[actix::test]
async fn a_run_whose_session_is_refused_says_why() {
    pause();
    let mut outside = Outside::default();
    outside.settings.max_sessions = 0;
    let stage = Stage::new(outside);
    let run = start(&stage, None, Script::Block).await;
    let record = ended(&stage, run).await;
    assert_eq!((record.status, code(&record)), (RunStatus::Failed, "session_not_made"));
    let message = record.failure.map(|failure| failure.message).unwrap_or_default();
    assert!(message.contains("0 sessions live"), "{message}");
}

/// The database is late with the session's row: the run has failed by then, and no client knows of
/// the session.
#[actix::test]
async fn a_session_that_comes_too_late_for_its_run_is_closed() {
    pause();
    let stage = Stage::new(Outside::default());
    *stage.rows.slow.lock() = Duration::from_secs(12);
    let organization = Stage::organization();
    let spec = SessionSpec::default();
    let late = stage
        .registry
        .ask(Create {
            organization,
            spec,
            start: Start::Now,
            run: None,
            id: None,
            must_write: false,
            storage_state: None,
        })
        .await;
    assert!(matches!(late, Err(Unanswered::Late)), "{late:?}");
    *stage.rows.slow.lock() = Duration::ZERO;
    sleep(Duration::from_secs(10)).await;
    let rows = stage.rows.sessions.lock().clone();
    let stored: Vec<_> = rows.values().map(|row| row.status).collect();
    assert_eq!(stored, [SessionStatus::Completed]);
    assert_eq!(stage.desktops.alive(), 0);
}
