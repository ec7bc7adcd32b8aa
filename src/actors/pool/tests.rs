//! The pool with fake desktops, on a paused clock.

use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::time::{pause, sleep};

use super::*;
use crate::actors::registry::{Create, Created, RegistryError, Start, Wake};
use crate::actors::session::Close;
use crate::actors::testing::{Outside, Stage, failure};
use crate::domain::quota::{Limits, Quota};
use crate::domain::session::{SessionStatus, Size, StartKind};

/// A stage whose pool keeps `ready` desktops, with a place for `max_sessions` sessions.
fn stage(ready: usize, max_sessions: usize) -> (Stage, CancellationToken) {
    stage_with(Settings { ready, max_age_seconds: 600, ..Settings::default() }, max_sessions)
}

fn stage_with(pool: Settings, max_sessions: usize) -> (Stage, CancellationToken) {
    let settings = crate::actors::Settings { max_sessions, ..crate::actors::Settings::default() };
    let stage = Stage::new(Outside { pool, settings, ..Outside::default() });
    let closing = CancellationToken::new();
    actix::spawn(keep_filled(Arc::clone(&stage.world), closing.clone()));
    (stage, closing)
}

async fn settle() {
    sleep(Duration::from_secs(20)).await;
}

fn ready(stage: &Stage) -> usize {
    stage.world.pool.status().shapes.iter().map(|shape| shape.ready).sum()
}

/// Creates a session, and returns its start.
async fn started(stage: &Stage, spec: SessionSpec) -> (SessionId, StartKind) {
    let organization = Stage::organization();
    let create = Create {
        organization,
        spec,
        start: Start::Now,
        run: None,
        id: None,
        must_write: false,
        storage_state: None,
    };
    let Created { id, mut view } = stage.registry.ask(create).await.unwrap().unwrap();
    view.wait_for(|view| view.record.status == SessionStatus::Running).await.unwrap();
    let desktop = view.borrow().record.desktop.clone().unwrap();
    (id, desktop.start.unwrap_or(StartKind::Cold))
}

async fn close(stage: &Stage, session: SessionId) {
    let message = Close { status: SessionStatus::Completed };
    let organization = Stage::organization();
    let route = crate::actors::registry::Route { organization, session, message };
    stage.registry.ask(route).await.unwrap().unwrap();
}

#[actix::test]
async fn a_session_gets_a_desktop_that_runs_and_another_one_is_started() {
    pause();
    let (stage, _closing) = stage(2, 10);
    settle().await;
    assert_eq!((ready(&stage), stage.desktops.launched()), (2, 2));
    let before = stage.world.clock.now();
    let waiting = stage.world.pool.sessions();
    let (id, start) = started(&stage, SessionSpec::default()).await;
    assert_eq!(start, StartKind::Warm);
    assert_eq!(Some(&(id, true)), waiting.first(), "the one that has waited longest");
    let took = stage.world.clock.now() - before;
    assert!(took < TimeDelta::milliseconds(100), "{took}");
    let row = stage.rows.session(id);
    assert!(row.created_at >= before && id.minted_at() < row.created_at);
    settle().await;
    assert_eq!((ready(&stage), stage.desktops.launched()), (2, 3));
    close(&stage, id).await;
    assert_eq!(stage.desktops.alive(), 2, "it is not used again");
    let status = stage.world.pool.status();
    assert_eq!((status.warm, status.started), (1, 3));
}

#[actix::test]
async fn a_session_has_the_machine_for_itself_at_first_unless_no_desktop_is_left() {
    pause();
    let (stage, _closing) = stage(2, 10);
    settle().await;
    let rest = stage.world.pool.rest.to_std().unwrap();
    started(&stage, SessionSpec::default()).await;
    sleep(rest / 2).await;
    assert_eq!(stage.desktops.launched(), 2);
    sleep(rest).await;
    assert_eq!(stage.desktops.launched(), 3);
    settle().await;
    started(&stage, SessionSpec::default()).await;
    started(&stage, SessionSpec::default()).await;
    sleep(rest / 2).await;
    assert_eq!(stage.desktops.launched(), 4, "none was ready");
}

#[actix::test]
async fn the_network_of_a_desktop_is_that_of_its_session_before_it_runs() {
    pause();
    let (stage, _closing) = stage(1, 10);
    settle().await;
    let lists = |deny: &str| crate::domain::egress::EgressLists {
        deny: vec![deny.to_owned()],
        ..crate::domain::egress::EgressLists::default()
    };
    *stage.rows.egress.lock() = lists("evil.example");
    let egress = stage.desktops.egress.lock().clone().unwrap();
    assert!(egress.in_force().organization.deny.is_empty());
    let spec = SessionSpec { egress: lists("*.test"), ..SessionSpec::default() };
    let (_, start) = started(&stage, spec).await;
    assert_eq!(start, StartKind::Warm);
    let in_force = egress.in_force();
    assert_eq!((in_force.organization, in_force.session), (lists("evil.example"), lists("*.test")));
}

#[actix::test]
async fn a_session_that_no_desktop_fits_starts_cold_and_the_reason_is_counted() {
    pause();
    let (stage, _closing) = stage(1, 10);
    settle().await;
    let size = Size::new(800, 600).unwrap();
    let (_, start) = started(&stage, SessionSpec { size, ..SessionSpec::default() }).await;
    assert_eq!(start, StartKind::Cold);
    let (_, first) = started(&stage, SessionSpec::default()).await;
    let (_, second) = started(&stage, SessionSpec::default()).await;
    assert_eq!((first, second), (StartKind::Warm, StartKind::Cold));
    let cold = stage.world.pool.status().cold;
    assert_eq!(cold.get("other_shape"), Some(&1));
    assert_eq!(cold.get("empty"), Some(&1));
}

#[actix::test]
async fn a_desktop_that_cannot_be_given_is_ended_and_its_session_starts_cold() {
    pause();
    let (stage, _closing) = stage(1, 10);
    settle().await;
    stage.desktops.unequipped.store(true, Ordering::SeqCst);
    let (_, start) = started(&stage, SessionSpec::default()).await;
    assert_eq!(start, StartKind::Cold);
    settle().await;
    assert_eq!(stage.desktops.alive(), 2, "the session's own, and the next of the pool");
    assert_eq!(stage.world.pool.status().warm, 0);
}

#[actix::test]
async fn a_desktop_that_dies_is_replaced_and_no_session_gets_it() {
    pause();
    let (stage, _closing) = stage(1, 10);
    settle().await;
    let dead = stage.world.pool.sessions();
    stage.desktops.kill.notify_waiters();
    settle().await;
    let status = stage.world.pool.status();
    assert_eq!((ready(&stage), status.died, stage.desktops.alive()), (1, 1, 1));
    assert_ne!(stage.world.pool.sessions(), dead);
}

#[actix::test]
async fn a_desktop_that_waits_too_long_is_replaced() {
    pause();
    let (stage, _closing) = stage(1, 10);
    settle().await;
    let old = stage.world.pool.sessions();
    sleep(Duration::from_secs(700)).await;
    assert_ne!(stage.world.pool.sessions(), old);
    let status = stage.world.pool.status();
    assert_eq!((ready(&stage), status.aged, stage.desktops.alive()), (1, 1, 1));
}

#[actix::test]
async fn desktops_of_the_pool_take_no_place_from_sessions() {
    pause();
    let (stage, _closing) = stage(5, 2);
    settle().await;
    assert_eq!(ready(&stage), 2, "not more than there are places");
    let size = Size::new(800, 600).unwrap();
    let other = SessionSpec { size, ..SessionSpec::default() };
    let (first, _) = started(&stage, other.clone()).await;
    let (_second, _) = started(&stage, other.clone()).await;
    settle().await;
    assert_eq!((ready(&stage), stage.desktops.alive()), (0, 2));
    assert!(stage.world.pool.status().yielded >= 2);
    close(&stage, first).await;
    settle().await;
    assert_eq!(ready(&stage), 1, "the place is free again");
}

#[actix::test]
async fn a_desktop_that_is_being_started_makes_room_as_well() {
    pause();
    let (stage, _closing) = stage(1, 1);
    sleep(Duration::from_millis(500)).await;
    assert_eq!((ready(&stage), stage.world.pool.len()), (0, 1), "it is being started");
    let (id, start) = started(&stage, SessionSpec::default()).await;
    settle().await;
    assert_eq!((start, stage.desktops.alive(), stage.world.pool.len()), (StartKind::Cold, 1, 0));
    close(&stage, id).await;
    sleep(Duration::from_millis(500)).await;
    stage.world.pool.yield_all().await;
    assert_eq!((stage.desktops.alive(), stage.world.pool.len()), (0, 0), "nothing is left of it");
    settle().await;
    assert_eq!(ready(&stage), 0, "the room is the sessions' for a while");
    sleep(Duration::from_secs(40)).await;
    assert_eq!(ready(&stage), 1);
}

#[actix::test]
async fn a_session_that_is_used_first_takes_the_place_of_a_desktop_that_waits() {
    pause();
    let (stage, _closing) = stage(1, 1);
    settle().await;
    assert_eq!(ready(&stage), 1);
    let organization = Stage::organization();
    let create = Create {
        organization,
        spec: SessionSpec::default(),
        start: Start::FirstUse,
        run: None,
        id: None,
        must_write: false,
        storage_state: None,
    };
    let Created { id: session, .. } = stage.registry.ask(create).await.unwrap().unwrap();
    settle().await;
    assert_eq!(ready(&stage), 1, "it needs no place yet");
    stage.registry.ask(Wake { organization, session }).await.unwrap().unwrap();
    settle().await;
    assert_eq!((ready(&stage), stage.desktops.alive()), (0, 1));
}

#[actix::test]
async fn a_desktop_of_a_session_that_was_refused_waits_again() {
    pause();
    let (stage, _closing) = stage(1, 10);
    settle().await;
    let mut limits = Limits::default();
    limits.set(Quota::Sessions, Some(1));
    stage.world.quotas.set_limits(Stage::organization(), limits.clone());
    // A session of another server, which only the database knows.
    let (id, _) = started(&stage, SessionSpec::default()).await;
    let mut other = stage.rows.session(id);
    close(&stage, id).await;
    other.id = stage.world.mint.mint(stage.world.clock.now());
    let organization = other.organization;
    assert!(
        stage
            .world
            .store
            .insert_session(other.clone(), limits, Vec::new())
            .await
            .unwrap()
            .is_none()
    );
    settle().await;
    let waiting = stage.world.pool.sessions();
    let create = Create {
        organization: Stage::organization(),
        spec: SessionSpec::default(),
        start: Start::Now,
        run: None,
        id: None,
        must_write: false,
        storage_state: None,
    };
    let refused = stage.registry.ask(create).await.unwrap();
    assert!(matches!(refused, Err(RegistryError::Quota(_))), "{refused:?}");
    settle().await;
    assert_eq!(stage.world.pool.sessions(), waiting, "and not the one that was to take its place");
    stage.world.quotas.set_limits(organization, Limits::default());
    let (id, start) = started(&stage, SessionSpec::default()).await;
    assert_eq!((Some(&(id, true)), start), (waiting.first(), StartKind::Warm));
}

#[actix::test]
async fn a_desktop_whose_row_may_be_stored_is_ended() {
    pause();
    let (stage, _closing) = stage(1, 10);
    settle().await;
    *stage.rows.broken.lock() = true;
    let create = Create {
        organization: Stage::organization(),
        spec: SessionSpec::default(),
        start: Start::Now,
        run: None,
        id: None,
        must_write: false,
        storage_state: None,
    };
    let waiting = stage.world.pool.sessions();
    assert!(matches!(stage.registry.ask(create).await.unwrap(), Err(RegistryError::NotStored(_))));
    settle().await;
    assert_ne!(stage.world.pool.sessions(), waiting);
    assert_eq!(stage.desktops.alive(), 1);
}

#[actix::test]
async fn failed_starts_are_repeated_ever_more_seldom() {
    pause();
    let (stage, _closing) = stage(1, 10);
    *stage.desktops.fail.lock() = Some(failure("xvfb_exited"));
    sleep(Duration::from_millis(1_500)).await;
    let status = stage.world.pool.status();
    assert_eq!((status.failed, ready(&stage)), (1, 0));
    assert_eq!(only(&stage).failed, 1);
    assert!(status.paused_until.is_some() && status.last_failure.is_some());
    settle().await;
    assert_eq!(ready(&stage), 1);
}

#[actix::test]
async fn a_pool_that_is_closed_leaves_nothing() {
    pause();
    let (stage, closing) = stage(2, 10);
    sleep(Duration::from_millis(1_500)).await;
    assert_eq!((ready(&stage), stage.desktops.alive()), (1, 2), "the second one is being started");
    closing.cancel();
    stage.world.pool.close().await;
    settle().await;
    assert_eq!((stage.desktops.alive(), stage.world.pool.len()), (0, 0));
}

/// The only pool of a stage.
fn only(stage: &Stage) -> ShapeStatus {
    let shapes = stage.world.pool.status().shapes;
    assert_eq!(shapes.len(), 1, "{shapes:#?}");
    shapes.into_iter().next().unwrap()
}

#[actix::test]
async fn sessions_that_find_none_raise_the_number_until_no_more_come() {
    pause();
    let elastic = Settings { ready: 1, maximum: 3, max_age_seconds: 6_000, ..Settings::default() };
    let (stage, _closing) = stage_with(elastic, 20);
    settle().await;
    assert_eq!((only(&stage).wanted, only(&stage).ready), (1, 1));
    for _ in 0..5 {
        started(&stage, SessionSpec::default()).await;
    }
    settle().await;
    let pool = only(&stage);
    assert_eq!((pool.minimum, pool.wanted, pool.ready, pool.maximum), (1, 3, 3, 3));
    let before = stage.desktops.alive();
    sleep(Duration::from_secs(250)).await;
    assert_eq!(ready(&stage), 3, "not yet");
    sleep(Duration::from_secs(60)).await;
    assert_eq!((only(&stage).wanted, ready(&stage)), (2, 2));
    sleep(Duration::from_secs(600)).await;
    assert_eq!((only(&stage).wanted, ready(&stage)), (1, 1));
    assert_eq!(stage.desktops.alive(), before - 2, "they are shut down");
}

#[actix::test]
async fn a_pool_without_a_minimum_starts_with_the_first_session_that_needs_it() {
    pause();
    let (stage, _closing) = stage_with(Settings { maximum: 1, ..Settings::default() }, 20);
    settle().await;
    assert_eq!(ready(&stage), 0);
    let (_, first) = started(&stage, SessionSpec::default()).await;
    settle().await;
    let (_, second) = started(&stage, SessionSpec::default()).await;
    assert_eq!((first, second), (StartKind::Cold, StartKind::Warm));
}

#[actix::test]
async fn no_more_desktops_are_started_in_a_minute_than_the_settings_say() {
    pause();
    let slow = Settings { ready: 5, starts_per_minute: 2, ..Settings::default() };
    let (stage, _closing) = stage_with(slow, 20);
    sleep(Duration::from_secs(50)).await;
    assert_eq!(ready(&stage), 2);
    sleep(Duration::from_secs(60)).await;
    assert_eq!(ready(&stage), 4);
    sleep(Duration::from_secs(60)).await;
    assert_eq!((ready(&stage), stage.desktops.launched()), (5, 5));
}

#[actix::test]
async fn a_pool_knows_what_was_taken_and_missed_and_how_long_it_took() {
    pause();
    let (stage, _closing) = stage(1, 10);
    settle().await;
    started(&stage, SessionSpec::default()).await;
    started(&stage, SessionSpec::default()).await;
    settle().await;
    let pool = only(&stage);
    assert_eq!((pool.taken, pool.missed, pool.failed), (1, 1, 0), "{pool:#?}");
    assert_eq!((pool.figures.fill.snapshot().count, pool.started), (2, 2));
    let fill = pool.fill_seconds.median.unwrap();
    assert!((0.5..=2.5).contains(&fill), "each start takes a second: {fill}");
    let waited = pool.waited_seconds.p95.unwrap();
    assert!((15.0..=60.0).contains(&waited), "it has waited for 19 seconds: {waited}");
}

#[actix::test]
async fn a_pool_is_made_changed_and_ended_at_run_time() {
    pause();
    let (stage, _closing) = stage(0, 20);
    let pool = &stage.world.pool;
    settle().await;
    assert!(!pool.is_used() && pool.status().shapes.is_empty());
    let small = |ready, maximum| {
        let (width, height) = (800, 600);
        ShapeSettings { ready, maximum, width, height, executable: None }
    };
    let made = pool.put("small".to_owned(), small(2, 4)).await.unwrap();
    assert_eq!((made.shapes[0].source, made.shapes[0].wanted), (Source::Api, 2));
    settle().await;
    let spec = SessionSpec { size: Size::new(800, 600).unwrap(), ..SessionSpec::default() };
    let (_, start) = started(&stage, spec).await;
    settle().await;
    assert_eq!((start, ready(&stage)), (StartKind::Warm, 2));
    pool.put("small".to_owned(), small(1, 1)).await.unwrap();
    assert_eq!((ready(&stage), only(&stage).taken), (1, 1), "its figures go on");
    let taken = pool.put("other".to_owned(), small(1, 1)).await;
    assert!(matches!(taken, Err(PoolError::ShapeTaken { by }) if by == "small"));
    let taken = pool.put("other".to_owned(), ShapeSettings::default()).await;
    assert!(matches!(taken, Err(PoolError::ShapeTaken { by }) if by == "default"));
    pool.remove("small").await.unwrap();
    settle().await;
    assert_eq!((pool.len(), stage.desktops.alive()), (0, 1), "the session goes on");
    assert!(matches!(pool.remove("small").await, Err(PoolError::Unknown(_))));
}

#[actix::test]
async fn a_desktop_that_is_being_started_for_a_pool_that_ends_is_called_off() {
    pause();
    let (stage, _closing) = stage(0, 20);
    let pool = &stage.world.pool;
    let small = ShapeSettings { width: 800, ..ShapeSettings::default() };
    pool.put("small".to_owned(), small).await.unwrap();
    sleep(Duration::from_millis(500)).await;
    assert_eq!((ready(&stage), pool.len()), (0, 1), "it is being started");
    pool.remove("small").await.unwrap();
    settle().await;
    assert_eq!((pool.len(), stage.desktops.alive()), (0, 0));
}

#[actix::test]
async fn a_pool_of_the_settings_has_other_numbers_for_a_while_and_is_never_deleted() {
    pause();
    let (stage, _closing) = stage(1, 20);
    let pool = &stage.world.pool;
    settle().await;
    assert!(matches!(pool.remove("default").await, Err(PoolError::InSettings(_))));
    let numbers = ShapeSettings { ready: 3, ..ShapeSettings::default() };
    pool.put("default".to_owned(), numbers).await.unwrap();
    settle().await;
    assert_eq!((only(&stage).source, ready(&stage)), (Source::Api, 3));
    let none = ShapeSettings { ready: 0, ..ShapeSettings::default() };
    pool.put("default".to_owned(), none).await.unwrap();
    assert_eq!((ready(&stage), only(&stage).maximum), (0, 0), "it is switched off, and shown");
    pool.remove("default").await.unwrap();
    settle().await;
    assert_eq!((only(&stage).source, ready(&stage)), (Source::Settings, 1));
}

#[actix::test]
async fn pools_of_the_api_are_bounded_and_outlive_the_server() {
    let folder = std::env::temp_dir().join(format!("greenroom-pools-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let file = folder.join("pools.json");
    let runtime = Handle::current();
    let new = || {
        let (settings, kept) = (Settings::default(), KeptPools::at(file.clone()));
        Pool::new(&settings, kept, String::new(), Clock::start(), runtime.clone())
    };
    let pool = new();
    for width in 0..50 {
        let small = ShapeSettings { width: 800 + width, ..ShapeSettings::default() };
        pool.put(format!("p{width}"), small).await.unwrap();
    }
    let small = ShapeSettings { width: 700, ..ShapeSettings::default() };
    assert!(matches!(pool.put("more".to_owned(), small.clone()).await, Err(PoolError::TooMany)));
    pool.put("p0".to_owned(), small).await.unwrap();
    pool.remove("p1").await.unwrap();
    let next = new();
    let widths: Vec<_> = next.status().shapes.iter().map(|it| it.width).collect();
    assert_eq!((widths.len(), widths[0]), (49, 700));
    // Fields of a later version are ignored.
    let later = r#"{"later": 1, "pools": {"s": {"ready": 1, "maximum": 0, "width": 800, "height": 600, "later": 2}}}"#;
    std::fs::write(&file, later).unwrap();
    assert_eq!(new().status().shapes[0].name, "s");
    // One that cannot be stored does not come in force.
    std::fs::remove_dir_all(&folder).unwrap();
    assert!(matches!(next.remove("p0").await, Err(PoolError::NotStored(_))));
    assert_eq!(next.status().shapes.len(), 49);
    // A file that nothing can read is none.
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(&file, "{").unwrap();
    assert_eq!(new().status().shapes.len(), 0);
    std::fs::remove_dir_all(&folder).unwrap();
}
