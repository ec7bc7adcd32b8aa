//! Tests that every run releases what it took, on a paused clock, with fake work.

use std::time::Duration;

use futures_util::future::BoxFuture;
use serde_json::{Value, json};
use tokio::time::{Instant, pause, sleep};

use super::*;
use crate::actors::registry::{CancelRun, NewRun, Route, RouteRun, RunAccepted, StartRun};
use crate::actors::session::{Begin, Beginner, Close};
use crate::actors::testing::{Outside, Stage, failure, occupant};
use crate::domain::ids::{ApiKeyId, RunId, WorkflowId, WorkflowPermanentId};
use crate::domain::run::BlockStatus;
use crate::domain::session::{SessionSpec, SessionStatus};
use crate::workflow::host::{BlockBegins, BlockEnded, Host};

mod endings;

/// The behavior of a test's work.
#[derive(Debug, Clone, Copy)]
enum Script {
    /// One block that takes two seconds.
    Block,
    /// Work that goes on until it is canceled.
    Endless,
    /// Work that ignores its cancellation.
    Deaf,
    Panics,
}

impl Work for Script {
    fn execute(
        self: Box<Self>,
        _: WorkContext,
        host: Arc<dyn Host>,
        cancel: CancellationToken,
    ) -> BoxFuture<'static, Finished> {
        Box::pin(async move {
            let block = BlockBegins {
                parent: None,
                label: "step".to_owned(),
                block_type: "wait".to_owned(),
                iteration: None,
            };
            let id = host.begin_block(block).await.expect("it may begin");
            match *self {
                Self::Block => sleep(Duration::from_secs(2)).await,
                Self::Endless => cancel.cancelled().await,
                Self::Deaf => sleep(Duration::from_secs(100_000)).await,
                Self::Panics => panic!("as the test wants it"),
            }
            let output = Some(json!({"done": true}));
            let end = BlockEnded { status: BlockStatus::Completed, output, failure: None };
            let _ = host.end_block(id, end).await;
            let outputs = json!({"step_output": {"done": true}});
            Finished { status: RunStatus::Completed, outputs, failure: None }
        })
    }
}

fn new_run(session: Option<SessionId>) -> NewRun {
    NewRun {
        organization: Stage::organization(),
        workflow: WorkflowId::from(1),
        workflow_permanent_id: WorkflowPermanentId::from(1),
        session,
        debug_session: None,
        title: None,
        parameters: Value::Null,
        request: Value::Null,
        api_key: None,
        id: None,
    }
}

async fn start(stage: &Stage, session: Option<SessionId>, script: Script) -> RunAccepted {
    start_with(stage, session, script, false).await
}

async fn start_with(
    stage: &Stage,
    session: Option<SessionId>,
    script: Script,
    sanitize: bool,
) -> RunAccepted {
    let assignment = Assignment {
        record: None,
        sanitize,
        work: Box::new(script),
        own_session: SessionSpec::default(),
        wait: Duration::from_secs(600),
        limit: Duration::from_secs(300),
        depth: 0,
        lent: None,
        lane: None,
    };
    let run = new_run(session);
    stage.registry.ask(StartRun { run, assignment }).await.unwrap().unwrap()
}

/// Waits for the end of a run, and returns its stored row.
async fn ended(stage: &Stage, RunAccepted { id, mut view }: RunAccepted) -> RunRecord {
    view.wait_for(|view| view.record.status.is_final()).await.expect("it says how it ended");
    stage.rows.run(id)
}

async fn reaches(accepted: &mut RunAccepted, status: RunStatus) {
    accepted.view.wait_for(|view| view.record.status == status).await.expect("it gets there");
}

async fn driving(accepted: &mut RunAccepted) {
    accepted.view.wait_for(|view| !view.blocks.is_empty()).await.expect("a block begins");
}

fn cancel(run: RunId) -> CancelRun {
    let message = Cancel { why: "the test wants it".to_owned() };
    RouteRun { organization: Stage::organization(), run, message }
}

fn code(record: &RunRecord) -> &str {
    record.failure.as_ref().map_or("", |failure| &failure.code)
}

#[track_caller]
fn vacant(stage: &Stage, session: SessionId) {
    let occupancy = stage.rows.session(session).occupancy;
    assert!(occupancy.holder().is_none(), "still held: {occupancy:?}");
}

#[actix::test]
async fn a_run_begins_a_given_session_records_its_blocks_and_releases_it() {
    pause();
    let stage = Stage::new(Outside::default());
    let (session, _) = stage.running().await;
    let mut run = start(&stage, Some(session), Script::Block).await;
    driving(&mut run).await;
    let held = stage.rows.session(session).occupancy.holder().cloned().expect("it is held");
    assert_eq!(held.occupant.runnable_id.to_string(), run.id.to_string());

    let record = ended(&stage, run).await;
    assert_eq!(record.status, RunStatus::Completed);
    assert_eq!(record.outputs, json!({"step_output": {"done": true}}));
    assert_eq!(record.session, Some(session), "kept after its end");
    vacant(&stage, session);
    assert_eq!(stage.rows.session(session).status, SessionStatus::Running, "it stays open");
    let blocks = stage.rows.blocks.lock().clone();
    let recorded: Vec<_> =
        blocks.iter().map(|block| (block.label.as_str(), block.status)).collect();
    assert_eq!(recorded, [("step", BlockStatus::Completed)]);
}

#[actix::test]
async fn a_run_has_its_session_sanitized_when_it_has_ended_if_its_workflow_wants_that() {
    use std::sync::atomic::Ordering;
    pause();
    let stage = Stage::new(Outside::default());
    let (session, _) = stage.running().await;
    for (sanitize, sanitized) in [(true, 1), (false, 1), (true, 2)] {
        let run = start_with(&stage, Some(session), Script::Block, sanitize).await;
        let record = ended(&stage, run).await;
        assert_eq!(record.status, RunStatus::Completed);
        sleep(Duration::from_secs(5)).await;
        assert_eq!(stage.desktops.sanitized.load(Ordering::SeqCst), sanitized);
    }
    // A session that the run makes is closed without being sanitized before.
    let run = start_with(&stage, None, Script::Block, true).await;
    assert_eq!(ended(&stage, run).await.status, RunStatus::Completed);
    assert_eq!(stage.desktops.sanitized.load(Ordering::SeqCst), 2);
}

#[actix::test]
async fn a_run_without_a_session_makes_one_and_closes_it() {
    pause();
    let stage = Stage::new(Outside::default());
    let run = start(&stage, None, Script::Block).await;
    let record = ended(&stage, run).await;
    assert_eq!(record.status, RunStatus::Completed);
    let session = record.session.expect("it had one");
    sleep(Duration::from_secs(5)).await;
    assert_eq!(stage.rows.session(session).status, SessionStatus::Completed);
    assert_eq!(stage.desktops.alive(), 0);
}

#[actix::test]
async fn runs_on_one_session_wait_for_one_another_in_order() {
    pause();
    let stage = Stage::new(Outside::default());
    let (session, _) = stage.running().await;
    let mut runs = Vec::new();
    for _ in 0..4 {
        runs.push(start(&stage, Some(session), Script::Block).await);
        sleep(Duration::from_millis(50)).await;
    }
    let mut finished = Vec::new();
    for run in runs {
        let record = ended(&stage, run).await;
        assert_eq!(record.status, RunStatus::Completed);
        finished.push((record.started_at, record.finished_at));
    }
    for pair in finished.windows(2) {
        assert!(pair[0].1 <= pair[1].0, "two drove at once: {pair:?}");
    }
    assert_eq!(stage.rows.session(session).occupancy.generation().number(), 4);
    vacant(&stage, session);
}

#[actix::test]
async fn a_run_that_is_canceled_stops_and_releases_within_a_second() {
    for script in [Script::Endless, Script::Deaf] {
        pause();
        let stage = Stage::new(Outside::default());
        let (session, _) = stage.running().await;
        let mut run = start(&stage, Some(session), script).await;
        driving(&mut run).await;
        let asked = Instant::now();
        let view = stage.registry.ask(cancel(run.id)).await.unwrap().unwrap();
        assert!(asked.elapsed() < Duration::from_secs(1), "{script:?}: {:?}", asked.elapsed());
        assert_eq!(view.record.status, RunStatus::Canceled);
        assert_eq!(
            view.blocks[0].status,
            if matches!(script, Script::Deaf) {
                BlockStatus::Canceled
            } else {
                BlockStatus::Completed
            }
        );
        assert_eq!(stage.rows.run(run.id).status, RunStatus::Canceled);
        vacant(&stage, session);
        tokio::time::resume();
    }
}

#[actix::test]
async fn a_run_that_is_canceled_while_it_waits_gives_its_place_up() {
    pause();
    let stage = Stage::new(Outside::default());
    let (session, mut view) = stage.running().await;
    let first = start(&stage, Some(session), Script::Endless).await;
    let mut second = start(&stage, Some(session), Script::Block).await;
    reaches(&mut second, RunStatus::Queued).await;
    view.wait_for(|view| view.waiters.len() == 1).await.unwrap();
    let canceled = stage.registry.ask(cancel(second.id)).await.unwrap().unwrap();
    assert_eq!(canceled.record.status, RunStatus::Canceled);
    assert!(view.borrow().waiters.is_empty());
    assert!(!first.view.borrow().record.status.is_final(), "the holder keeps the session");
}

#[actix::test]
async fn a_panic_of_the_work_fails_the_run_and_releases() {
    pause();
    let stage = Stage::new(Outside::default());
    let (session, _) = stage.running().await;
    let run = start(&stage, Some(session), Script::Panics).await;
    let record = ended(&stage, run).await;
    assert_eq!((record.status, code(&record)), (RunStatus::Failed, "execution_panicked"));
    vacant(&stage, session);
}

#[actix::test]
async fn a_run_that_takes_too_long_is_timed_out_and_releases() {
    pause();
    let stage = Stage::new(Outside::default());
    let (session, _) = stage.running().await;
    let began = Instant::now();
    let run = start(&stage, Some(session), Script::Endless).await;
    let record = ended(&stage, run).await;
    assert_eq!((record.status, code(&record)), (RunStatus::TimedOut, "run_timed_out"));
    let took = began.elapsed().as_secs();
    assert!((300..302).contains(&took), "after {took} s");
    vacant(&stage, session);
}

#[actix::test]
async fn a_run_whose_session_is_closed_or_breaks_fails_with_the_reason() {
    pause();
    let stage = Stage::new(Outside::default());
    let (session, _) = stage.running().await;
    let mut run = start(&stage, Some(session), Script::Endless).await;
    driving(&mut run).await;
    let message = Close { status: SessionStatus::Completed };
    let route = Route { organization: Stage::organization(), session, message };
    stage.registry.ask(route).await.unwrap().unwrap();
    let record = ended(&stage, run).await;
    assert_eq!((record.status, code(&record)), (RunStatus::Failed, "session_ended"));

    let (session, _) = stage.running().await;
    let mut run = start(&stage, Some(session), Script::Endless).await;
    driving(&mut run).await;
    stage.desktops.kill.notify_waiters();
    let record = ended(&stage, run).await;
    assert_eq!((record.status, code(&record)), (RunStatus::Failed, "browser_crashed"));
    let message = record.failure.map(|failure| failure.message).unwrap_or_default();
    assert!(message.contains("failed and was restarted"), "{message}");
}

#[actix::test]
async fn a_run_that_waits_in_vain_says_who_holds_the_session() {
    pause();
    let stage = Stage::new(Outside::default());
    let (session, _) = stage.running().await;
    let lease = stage.world.secrets.fresh_lease();
    let ttl = Duration::from_secs(3000);
    let message = Begin {
        occupant: occupant("ann"),
        lease,
        ttl,
        wait: None,
        by: Beginner::Key(ApiKeyId::from(1)),
    };
    let route = Route { organization: Stage::organization(), session, message };
    stage.registry.ask(route).await.unwrap().unwrap();

    let assignment = Assignment {
        record: None,
        sanitize: false,
        work: Box::new(Script::Block),
        own_session: SessionSpec::default(),
        wait: Duration::from_secs(5),
        limit: Duration::from_secs(300),
        depth: 0,
        lent: None,
        lane: None,
    };
    let run = new_run(Some(session));
    let run = stage.registry.ask(StartRun { run, assignment }).await.unwrap().unwrap();
    let record = ended(&stage, run).await;
    assert_eq!((record.status, code(&record)), (RunStatus::Failed, "session_occupied"));
    let message = record.failure.map(|failure| failure.message).unwrap_or_default();
    assert!(message.contains("external ann"), "{message}");
}

#[actix::test]
async fn a_run_whose_session_does_not_start_fails_with_that_cause() {
    pause();
    let stage = Stage::new(Outside::default());
    *stage.desktops.fail.lock() = Some(failure("chromium_exited"));
    let run = start(&stage, None, Script::Block).await;
    let record = ended(&stage, run).await;
    assert_eq!(record.status, RunStatus::Failed);
    let message = record.failure.map(|failure| failure.message).unwrap_or_default();
    assert!(message.contains("chromium_exited"), "{message}");
    assert_eq!(stage.desktops.alive(), 0);
}

#[actix::test]
async fn the_journal_tells_a_runs_begin_its_blocks_and_its_release() {
    pause();
    let stage = Stage::new(Outside::default());
    let (session, _) = stage.running().await;
    let run = start(&stage, Some(session), Script::Block).await;
    let id = run.id;
    ended(&stage, run).await;
    let filter = crate::actors::journal::Filter { run: Some(id), ..Default::default() };
    let mut kinds: Vec<_> =
        stage.world.journal.messages(&filter, 100).iter().map(|entry| entry.kind).collect();
    kinds.reverse();
    kinds.dedup();
    assert_eq!(kinds, ["begin", "begin_block", "end_block", "wrap", "release", "gone"]);
}

async fn start_in(stage: &Stage, lane: &str, script: Script) -> RunAccepted {
    let lane = stage.world.lanes.lane(Stage::organization(), lane.to_owned());
    let assignment = Assignment {
        record: None,
        sanitize: false,
        work: Box::new(script),
        own_session: SessionSpec::default(),
        wait: Duration::from_secs(600),
        limit: Duration::from_secs(300),
        depth: 0,
        lent: None,
        lane: Some(lane),
    };
    let run = new_run(None);
    stage.registry.ask(StartRun { run, assignment }).await.unwrap().unwrap()
}

#[actix::test]
async fn runs_in_one_lane_begin_when_those_before_them_have_ended_however_these_end() {
    pause();
    let stage = Stage::new(Outside::default());
    let mut runs = Vec::new();
    for script in [Script::Block, Script::Panics, Script::Block] {
        runs.push(start_in(&stage, "a", script).await);
    }
    let beside = ended(&stage, start_in(&stage, "b", Script::Block).await).await;
    let mut times = Vec::new();
    for run in runs {
        let record = ended(&stage, run).await;
        times.push((record.started_at.expect("it ran"), record.finished_at.expect("it ended")));
    }
    for pair in times.windows(2) {
        assert!(pair[0].1 <= pair[1].0, "two at once: {pair:?}");
    }
    assert!(beside.started_at.expect("it ran") < times[0].1, "another lane waited");
    sleep(Duration::from_secs(5)).await;
    assert_eq!(stage.desktops.alive(), 0);
}

#[actix::test]
async fn a_run_that_waits_in_its_lane_is_canceled_at_once_and_makes_no_session() {
    pause();
    let stage = Stage::new(Outside::default());
    let mut first = start_in(&stage, "a", Script::Endless).await;
    driving(&mut first).await;
    let second = start_in(&stage, "a", Script::Block).await;
    let third = start_in(&stage, "a", Script::Block).await;
    let asked = Instant::now();
    let view = stage.registry.ask(cancel(second.id)).await.unwrap().unwrap();
    assert!(asked.elapsed() < Duration::from_secs(1), "{:?}", asked.elapsed());
    assert_eq!((view.record.status, view.record.session), (RunStatus::Canceled, None));
    stage.registry.ask(cancel(first.id)).await.unwrap().unwrap();
    assert_eq!(ended(&stage, third).await.status, RunStatus::Completed);
}

#[actix::test]
async fn a_run_whose_end_is_refused_ends_without_its_outputs_or_without_its_row() {
    pause();
    let stage = Stage::new(Outside::default());
    let (session, _) = stage.running().await;
    let mut run = start(&stage, Some(session), Script::Endless).await;
    driving(&mut run).await;
    *stage.rows.refuses.lock() = true;
    let mut view = run.view.clone();
    stage.registry.ask(cancel(run.id)).await.unwrap().unwrap();
    let ended = view.wait_for(|view| view.record.status.is_final());
    let ended = tokio::time::timeout(Duration::from_secs(60), ended).await;
    let record = ended.expect("it ends all the same").unwrap().record.clone();
    assert_eq!((record.status, code(&record)), (RunStatus::Failed, "not_stored"));
    assert_eq!(stage.rows.run(run.id).status, RunStatus::Running, "the row is what it was");
}
