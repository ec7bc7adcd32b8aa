//! The order, races and endings of a session, on a paused clock.

use std::time::Duration;

use tokio::time::{Instant, pause, sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::*;
use crate::actors::registry::{Adopt, Created, DetachAll, Route, RouteError};
use crate::actors::testing::{Outside, Stage, failure, occupant};
use crate::db::store::StoreError;
use crate::domain::ids::{ApiKeyId, OrganizationId, SessionId};
use crate::domain::lease::LeaseToken;
use crate::domain::occupancy::{Generation, Refusal};
use crate::domain::session::SessionStatus;
use crate::system::desktop::{AdoptError, Files};

const TTL: Duration = Duration::from_secs(30);

fn token(name: &str) -> LeaseToken {
    LeaseToken::new(*blake3::hash(name.as_bytes()).as_bytes())
}

fn begin(name: &str) -> Begin {
    Begin {
        occupant: occupant(name),
        lease: token(name),
        ttl: TTL,
        wait: None,
        by: Beginner::Key(ApiKeyId::from(1)),
    }
}

fn begin_or_wait(name: &str, seconds: u64) -> (Begin, CancellationToken) {
    let gone = CancellationToken::new();
    let wait = Wait { patience: Duration::from_secs(seconds), gone: gone.clone() };
    (Begin { wait: Some(wait), ..begin(name) }, gone)
}

fn release(name: &str, generation: i64) -> Release {
    let lease = token(name).hash();
    Release { generation: Generation::new(generation), lease, run: None }
}

fn heartbeat(name: &str, generation: i64) -> Heartbeat {
    let lease = token(name).hash();
    Heartbeat { generation: Generation::new(generation), lease, ttl: None, run: None }
}

fn route<M>(session: SessionId, message: M) -> Route<M> {
    Route { organization: Stage::organization(), session, message }
}

/// Asks a session through the registry, and expects an answer.
macro_rules! ask {
    ($stage:expr, $session:expr, $message:expr) => {
        $stage.registry.ask(route($session, $message)).await.expect("an answer")
    };
}

// Below the macro, which it uses.
mod control;
mod deadlines;
mod dormant;
mod egress;
mod interleavings;
mod profiles;
mod receipts;
mod rotating;
mod sanitizing;

#[actix::test]
async fn of_two_that_begin_at_once_one_is_refused_and_told_who_holds_it() {
    pause();
    let stage = Stage::new(Outside::default());
    let (id, _) = stage.running().await;
    let (ann, bob) = tokio::join!(
        stage.registry.ask(route(id, begin("ann"))),
        stage.registry.ask(route(id, begin("bob")))
    );
    assert_eq!(ann.unwrap().unwrap().generation, Generation::new(1));
    let Err(RouteError::Session(SessionError::Refused(Refusal::Occupied { by, .. }))) =
        bob.unwrap()
    else {
        panic!("both began");
    };
    assert_eq!(by, occupant("ann"));
    assert_eq!(stage.rows.session(id).occupancy.generation(), Generation::new(1));
}

#[actix::test]
async fn of_two_hundred_that_begin_at_once_one_wins() {
    pause();
    let stage = Stage::new(Outside::default());
    let (id, _) = stage.running().await;
    let asked = (0..200).map(|n| stage.registry.ask(route(id, begin(&format!("client{n}")))));
    let answers = futures_util::future::join_all(asked).await;
    let won = answers.iter().filter(|answer| matches!(answer, Ok(Ok(_)))).count();
    let occupied = answers.iter().filter(|answer| {
        matches!(
            answer,
            Ok(Err(RouteError::Session(SessionError::Refused(Refusal::Occupied { .. }))))
        )
    });
    assert_eq!((won, occupied.count()), (1, 199));
}

#[actix::test]
async fn an_occupant_that_is_not_heard_of_loses_the_session_at_its_deadline() {
    pause();
    let stage = Stage::new(Outside::default());
    let (id, mut view) = stage.running().await;
    ask!(stage, id, begin("ann")).unwrap();
    sleep(TTL / 2).await;
    ask!(stage, id, heartbeat("ann", 1)).unwrap();
    let heard = Instant::now();
    view.wait_for(|view| view.record.occupancy.holder().is_none()).await.unwrap();
    let after = heard.elapsed();
    assert!(after >= TTL && after < TTL + Duration::from_secs(1), "lapsed after {after:?}");
    assert!(stage.rows.session(id).occupancy.holder().is_none());
    let Err(RouteError::Session(SessionError::Refused(refusal))) =
        ask!(stage, id, heartbeat("ann", 1))
    else {
        panic!("a lapsed lease was kept alive");
    };
    assert!(matches!(refusal, Refusal::Lost { .. }));
}

#[actix::test]
async fn waiters_are_served_in_order_of_arrival_before_who_comes_later() {
    pause();
    let stage = Stage::new(Outside::default());
    let (id, view) = stage.running().await;
    ask!(stage, id, begin("ann")).unwrap();
    let (bob, _bob_stays) = begin_or_wait("bob", 600);
    let (cyd, _cyd_stays) = begin_or_wait("cyd", 600);
    let bob = stage.registry.ask(route(id, bob));
    let cyd = stage.registry.ask(route(id, cyd));
    let (bob, cyd) = (tokio::spawn(bob), tokio::spawn(cyd));
    sleep(Duration::from_secs(1)).await;
    let waiting: Vec<_> =
        view.borrow().waiters.iter().map(|waiter| waiter.occupant.clone()).collect();
    assert_eq!(waiting, [occupant("bob"), occupant("cyd")]);

    let (released, late) = tokio::join!(
        stage.registry.ask(route(id, release("ann", 1))),
        stage.registry.ask(route(id, begin("dan")))
    );
    released.unwrap().unwrap();
    assert!(late.unwrap().is_err(), "a later request began before the waiters");
    assert_eq!(bob.await.unwrap().unwrap().unwrap().generation, Generation::new(2));
    ask!(stage, id, release("bob", 2)).unwrap();
    assert_eq!(cyd.await.unwrap().unwrap().unwrap().generation, Generation::new(3));
}

#[actix::test]
async fn the_next_waiter_begins_at_once_when_a_lease_lapses() {
    pause();
    let stage = Stage::new(Outside::default());
    let (id, _) = stage.running().await;
    ask!(stage, id, begin("ann")).unwrap();
    let began = Instant::now();
    let (bob, _stays) = begin_or_wait("bob", 600);
    let grant = ask!(stage, id, bob).unwrap();
    assert_eq!(grant.generation, Generation::new(2));
    assert!(began.elapsed() < TTL + Duration::from_secs(1), "after {:?}", began.elapsed());
}

#[actix::test]
async fn a_waiter_that_leaves_or_waits_in_vain_gives_its_place_up() {
    pause();
    let outside = Outside::default();
    let stage = Stage::new(outside);
    let (id, mut view) = stage.running().await;
    ask!(stage, id, Begin { ttl: Duration::from_secs(900), ..begin("ann") }).unwrap();
    let (bob, gone) = begin_or_wait("bob", 600);
    let bob = tokio::spawn(stage.registry.ask(route(id, bob)));
    view.wait_for(|view| view.waiters.len() == 1).await.unwrap();
    gone.cancel();
    view.wait_for(|view| view.waiters.is_empty()).await.unwrap();
    let answer = bob.await.unwrap().unwrap();
    assert!(matches!(answer, Err(RouteError::Session(SessionError::WaitCalledOff))), "{answer:?}");

    let (cyd, _stays) = begin_or_wait("cyd", 10);
    let answer = ask!(stage, id, cyd);
    let Err(RouteError::Session(SessionError::WaitedInVain { by, .. })) = answer else {
        panic!("{answer:?}")
    };
    assert_eq!(by, occupant("ann"));
}

#[actix::test]
async fn closing_answers_every_waiter() {
    pause();
    let stage = Stage::new(Outside::default());
    let (id, mut view) = stage.running().await;
    ask!(stage, id, begin("ann")).unwrap();
    let (bob, _stays) = begin_or_wait("bob", 600);
    let bob = tokio::spawn(stage.registry.ask(route(id, bob)));
    view.wait_for(|view| view.waiters.len() == 1).await.unwrap();
    ask!(stage, id, Close { status: SessionStatus::Completed }).unwrap();
    let answer = bob.await.unwrap().unwrap();
    assert!(matches!(answer, Err(RouteError::Session(SessionError::Closing))), "{answer:?}");
}

#[actix::test]
async fn closing_during_the_launch_does_not_wait_for_it_and_leaves_nothing_behind() {
    pause();
    let stage = Stage::new(Outside { up: Duration::from_secs(3600), ..Outside::default() });
    let Created { id, .. } = stage.create().await;
    sleep(Duration::from_secs(1)).await;
    let began = Instant::now();
    ask!(stage, id, Close { status: SessionStatus::Completed }).unwrap();
    assert!(began.elapsed() < Duration::from_secs(5), "waited for the launch");
    assert_eq!(stage.desktops.alive(), 0);
    assert_eq!(stage.rows.session(id).status, SessionStatus::Completed);
}

#[actix::test]
async fn closing_twice_is_answered_twice_when_nothing_is_left() {
    pause();
    let stage = Stage::new(Outside::default());
    let (id, _) = stage.running().await;
    let status = SessionStatus::Completed;
    let (one, other) = tokio::join!(
        stage.registry.ask(route(id, Close { status })),
        stage.registry.ask(route(id, Close { status: SessionStatus::Timeout }))
    );
    assert!(matches!((one, other), (Ok(Ok(())), Ok(Ok(())))));
    assert_eq!(stage.desktops.alive(), 0);
    assert_eq!(stage.rows.session(id).status, SessionStatus::Completed, "the first reason counts");
}

#[actix::test]
async fn a_launch_that_fails_ends_the_session_with_its_cause() {
    pause();
    let stage = Stage::new(Outside::default());
    *stage.desktops.fail.lock() = Some(failure("chromium_exited"));
    let Created { id, mut view } = stage.create().await;
    view.wait_for(|view| view.record.status.is_final()).await.unwrap();
    let stored = stage.rows.session(id);
    assert_eq!(stored.status, SessionStatus::Failed);
    assert_eq!(stored.failure, Some(failure("chromium_exited")));
    assert_eq!(stage.desktops.alive(), 0);
}

/// Kills the browser once a listener waits for that.
async fn kill(stage: &Stage) {
    sleep(Duration::from_millis(100)).await;
    stage.desktops.kill.notify_waiters();
}

#[actix::test]
async fn a_browser_that_dies_is_brought_back_and_its_occupant_stays() {
    pause();
    let stage = Stage::new(Outside::default());
    let (id, mut view) = stage.running().await;
    let grant = ask!(stage, id, begin("ann")).unwrap();
    let before = stage.rows.session(id);
    kill(&stage).await;
    view.wait_for(|view| view.record.status == SessionStatus::Retry).await.unwrap();
    assert_eq!(stage.rows.session(id).status, SessionStatus::Retry);
    let heard = ask!(stage, id, heartbeat("ann", 1)).unwrap();
    assert_eq!(heard.generation, grant.generation);
    let begun = ask!(stage, id, begin("bob"));
    assert!(matches!(begun, Err(RouteError::Session(SessionError::Starting))), "{begun:?}");

    view.wait_for(|view| view.record.status == SessionStatus::Running).await.unwrap();
    let stored = stage.rows.session(id);
    assert_ne!(stored.desktop, before.desktop, "the new browser is on record");
    assert_eq!(stored.deadlines, before.deadlines);
    assert_eq!(stage.desktops.alive(), 1);
    ask!(stage, id, release("ann", 1)).unwrap();
    let filter = crate::actors::journal::Filter {
        session: Some(id),
        kind: Some("recovered".to_owned()),
        ..Default::default()
    };
    let entries = stage.world.journal.messages(&filter, 10);
    assert_eq!(entries.len(), 1);
    assert_eq!(entries[0].summary["cause"], "chromium: chromium_died");
}

#[actix::test]
async fn a_browser_that_dies_again_and_again_ends_the_session_with_its_cause() {
    pause();
    let stage = Stage::new(Outside::default());
    let (id, mut view) = stage.running().await;
    let settings = &stage.world.settings;
    let began = Instant::now();
    for _ in 0..settings.max_recoveries {
        kill(&stage).await;
        view.wait_for(|view| view.record.status == SessionStatus::Retry).await.unwrap();
        view.wait_for(|view| view.record.status == SessionStatus::Running).await.unwrap();
    }
    // Waits of 0, 0.5, 1, 2 and 4 s, and one second for each start.
    assert!(began.elapsed() > Duration::from_millis(12_500), "no waiting in between");
    kill(&stage).await;
    view.wait_for(|view| view.record.status.is_final()).await.unwrap();
    let stored = stage.rows.session(id);
    let failure = stored.failure.unwrap();
    assert_eq!((stored.status, failure.code.as_str()), (SessionStatus::Failed, "chromium_died"));
    assert!(failure.message.contains("restarted 5 times"), "{}", failure.message);
    assert_eq!(stage.desktops.alive(), 0);
}

#[actix::test]
async fn a_browser_that_is_closed_again_and_again_is_restarted_and_fails_no_session() {
    pause();
    let stage = Stage::new(Outside::default());
    let (id, mut view) = stage.running().await;
    let times = 3 * stage.world.settings.max_recoveries;
    for _ in 0..times {
        sleep(Duration::from_millis(100)).await;
        stage.desktops.close.notify_waiters();
        view.wait_for(|view| view.record.status == SessionStatus::Retry).await.unwrap();
        view.wait_for(|view| view.record.status != SessionStatus::Retry).await.unwrap();
        assert_eq!(view.borrow().record.status, SessionStatus::Running);
    }
    // None of them has used up a recovery: a crash still restarts at once.
    let began = Instant::now();
    kill(&stage).await;
    view.wait_for(|view| view.record.status == SessionStatus::Retry).await.unwrap();
    view.wait_for(|view| view.record.status == SessionStatus::Running).await.unwrap();
    assert!(began.elapsed() < Duration::from_millis(1_500), "{:?}", began.elapsed());
    let filter = crate::actors::journal::Filter {
        session: Some(id),
        kind: Some("recovered".to_owned()),
        ..Default::default()
    };
    let entries = stage.world.journal.messages(&filter, 100);
    let closed =
        entries.iter().filter(|entry| entry.summary["cause"] == "chromium: chromium_closed");
    assert_eq!((closed.count(), entries.len()), (times, times + 1));
}

#[actix::test]
async fn a_recovery_that_fails_is_tried_again() {
    pause();
    let stage = Stage::new(Outside::default());
    let (id, mut view) = stage.running().await;
    stage.desktops.unrevived.store(2, std::sync::atomic::Ordering::SeqCst);
    kill(&stage).await;
    view.wait_for(|view| view.record.status == SessionStatus::Retry).await.unwrap();
    view.wait_for(|view| view.record.status == SessionStatus::Running).await.unwrap();
    assert_eq!(stage.rows.session(id).status, SessionStatus::Running);

    stage.desktops.unrevived.store(9, std::sync::atomic::Ordering::SeqCst);
    kill(&stage).await;
    view.wait_for(|view| view.record.status.is_final()).await.unwrap();
    let failure = stage.rows.session(id).failure.unwrap();
    assert_eq!(failure.code, "chromium_exited", "the last cause counts");
    assert_eq!(stage.desktops.alive(), 0);
}

#[actix::test]
async fn closing_during_a_recovery_does_not_wait_for_it_and_leaves_nothing_behind() {
    pause();
    let stage = Stage::new(Outside { up: Duration::from_secs(20), ..Outside::default() });
    let (id, mut view) = stage.running().await;
    kill(&stage).await;
    view.wait_for(|view| view.record.status == SessionStatus::Retry).await.unwrap();
    let began = Instant::now();
    ask!(stage, id, Close { status: SessionStatus::Completed }).unwrap();
    assert!(began.elapsed() < Duration::from_secs(5), "waited for the recovery");
    assert_eq!(stage.desktops.alive(), 0);
    assert_eq!(stage.rows.session(id).status, SessionStatus::Completed);
}

#[actix::test]
async fn a_recovery_that_cannot_be_stored_is_stored_later() {
    pause();
    let stage = Stage::new(Outside::default());
    let (id, mut view) = stage.running().await;
    let before = view.borrow().record.desktop.clone();
    *stage.rows.broken.lock() = true;
    kill(&stage).await;
    sleep(Duration::from_secs(5)).await;
    *stage.rows.broken.lock() = false;
    view.wait_for(|view| view.record.desktop != before).await.unwrap();
    let stored = stage.rows.session(id);
    assert_eq!((stored.status, stored.desktop != before), (SessionStatus::Running, true));
}

/// Lets a second server adopt the sessions that the first one detached from.
async fn handed_over(stage: &Stage) -> Stage {
    stage.registry.ask(DetachAll).await.unwrap();
    assert_eq!(stage.desktops.alive(), 1, "its desktop lives on");
    let next = Stage::new(Outside::default());
    let records: Vec<_> = stage.rows.sessions.lock().values().cloned().collect();
    next.rows.sessions.lock().extend(records.iter().map(|record| (record.id, record.clone())));
    // The identity that the machine would report of the desktop.
    *next.desktops.identity.lock() = records[0].desktop.clone();
    next.registry.ask(Adopt { records }).await.unwrap();
    next
}

#[actix::test]
async fn a_session_that_was_let_go_goes_on_with_the_next_server() {
    pause();
    let stage = Stage::new(Outside::default());
    let (id, _) = stage.running().await;
    let grant = ask!(stage, id, begin("ann")).unwrap();
    let before = stage.rows.session(id);
    let next = handed_over(&stage).await;

    let heard = ask!(next, id, heartbeat("ann", 1)).unwrap();
    assert_eq!(heard.generation, grant.generation);
    let mut view = next.world.views.session(Stage::organization(), id).unwrap();
    view.wait_for(|view| view.version > 2).await.unwrap();
    let after = next.rows.session(id);
    assert_eq!((after.status, after.deadlines), (SessionStatus::Running, before.deadlines));
    assert_eq!(after.desktop, before.desktop);
    ask!(next, id, release("ann", 1)).unwrap();
    assert_eq!(ask!(next, id, begin("bob")).unwrap().generation, Generation::new(2));
    ask!(next, id, Close { status: SessionStatus::Completed }).unwrap();
    assert_eq!(next.desktops.alive(), 0);
}

/// Adopts a row that `change` has modified, in a world that finds `found`.
async fn adopted(
    found: Option<AdoptError>,
    change: impl FnOnce(&mut SessionRecord),
) -> (Stage, SessionId, tokio::sync::watch::Receiver<SessionView>) {
    let former = Stage::new(Outside::default());
    let (id, _) = former.running().await;
    let mut record = former.rows.session(id);
    change(&mut record);
    let next = Stage::new(Outside::default());
    next.rows.sessions.lock().insert(id, record.clone());
    *next.desktops.identity.lock() = record.desktop.clone();
    *next.desktops.adopt.lock() = found;
    next.registry.ask(Adopt { records: vec![record] }).await.unwrap();
    let view = next.world.views.session(Stage::organization(), id).unwrap();
    (next, id, view)
}

#[actix::test]
async fn deadlines_that_passed_while_no_server_ran_are_honoured_at_once() {
    pause();
    let (stage, id, mut view) = adopted(None, |record| {
        record.deadlines.expires_at = Some(record.created_at - chrono::Duration::seconds(1));
    })
    .await;
    let began = Instant::now();
    view.wait_for(|view| view.record.status.is_final()).await.unwrap();
    assert_eq!(stage.rows.session(id).status, SessionStatus::Timeout);
    assert!(began.elapsed() < Duration::from_secs(3));
    assert_eq!(stage.desktops.alive(), 0);
}

#[actix::test]
async fn a_session_of_another_boot_fails_and_its_profile_is_kept() {
    pause();
    let (stage, id, mut view) = adopted(Some(AdoptError::OtherBoot), |_| {}).await;
    view.wait_for(|view| view.record.status.is_final()).await.unwrap();
    let stored = stage.rows.session(id);
    assert_eq!(stored.status, SessionStatus::Failed);
    assert_eq!(stored.failure.unwrap().code, "machine_restarted");
    assert_eq!(*stage.desktops.swept.lock(), [(id, Files::Kept)]);
}

#[actix::test]
async fn a_session_whose_launch_was_cut_off_is_launched_again() {
    pause();
    let (stage, id, mut view) = adopted(Some(AdoptError::NothingSaved), |record| {
        record.status = SessionStatus::Created;
        record.desktop = None;
        record.deadlines.start_by = Some(record.created_at + chrono::Duration::seconds(60));
    })
    .await;
    view.wait_for(|view| view.record.status == SessionStatus::Running).await.unwrap();
    assert_eq!(*stage.desktops.swept.lock(), [(id, Files::Kept)]);
    assert_eq!(
        (stage.rows.session(id).status, stage.desktops.alive()),
        (SessionStatus::Running, 1)
    );
}

#[actix::test]
async fn a_retry_that_was_cut_off_ends_as_running() {
    pause();
    let (stage, id, mut view) = adopted(None, |record| record.status = SessionStatus::Retry).await;
    view.wait_for(|view| view.record.status == SessionStatus::Running).await.unwrap();
    assert_eq!(stage.rows.session(id).status, SessionStatus::Running);
}

#[actix::test]
async fn a_session_ends_as_timeout_when_its_lifetime_is_over() {
    pause();
    let stage = Stage::new(Outside::default());
    let (id, mut view) = stage.running().await;
    let began = Instant::now();
    view.wait_for(|view| view.record.status.is_final()).await.unwrap();
    assert_eq!(stage.rows.session(id).status, SessionStatus::Timeout);
    let lived = began.elapsed().as_secs();
    assert!((3600..3603).contains(&lived), "lived {lived} s");
}

#[actix::test]
async fn renewing_lengthens_a_life_and_never_shortens_it() {
    pause();
    let stage = Stage::new(Outside::default());
    let (id, view) = stage.running().await;
    let before = view.borrow().record.deadlines.expires_at;
    ask!(stage, id, Renew { by: Duration::from_secs(60) }).unwrap();
    assert_eq!(view.borrow().record.deadlines.expires_at, before);
    ask!(stage, id, Renew { by: Duration::from_secs(7200) }).unwrap();
    assert!(view.borrow().record.deadlines.expires_at > before);
    assert_eq!(
        stage.rows.session(id).deadlines.expires_at,
        view.borrow().record.deadlines.expires_at
    );
}

#[actix::test]
async fn what_is_not_stored_is_not_acknowledged() {
    pause();
    let stage = Stage::new(Outside::default());
    let (id, _) = stage.running().await;
    *stage.rows.broken.lock() = true;
    let answer = ask!(stage, id, begin("ann"));
    assert!(matches!(answer, Err(RouteError::Session(SessionError::NotStored(_)))), "{answer:?}");
    *stage.rows.broken.lock() = false;
    assert_eq!(ask!(stage, id, begin("bob")).unwrap().generation, Generation::new(1));
}

#[actix::test]
async fn a_session_whose_end_cannot_be_stored_goes_on_trying() {
    pause();
    let stage = Stage::new(Outside::default());
    let (id, mut view) = stage.running().await;
    *stage.rows.broken.lock() = true;
    let answer = ask!(stage, id, Close { status: SessionStatus::Completed });
    assert!(matches!(answer, Err(RouteError::Session(SessionError::NotStored(_)))), "{answer:?}");
    assert_eq!(stage.desktops.alive(), 0, "the desktop does not wait for the database");
    *stage.rows.broken.lock() = false;
    view.wait_for(|view| view.record.status.is_final()).await.unwrap();
    assert_eq!(stage.rows.session(id).status, SessionStatus::Completed);
}

#[actix::test]
async fn a_session_whose_end_is_refused_is_not_written_for_ever() {
    pause();
    let stage = Stage::new(Outside::default());
    let (id, mut view) = stage.running().await;
    *stage.rows.refuses.lock() = true;
    let before = stage.rows.writes.load(std::sync::atomic::Ordering::Relaxed);
    let answer = ask!(stage, id, Close { status: SessionStatus::Completed });
    let Err(RouteError::Session(SessionError::NotStored(cause))) = answer else {
        panic!("{answer:?}")
    };
    assert!(matches!(cause, StoreError::Rejected(_)), "{cause:?}");
    assert_eq!(stage.desktops.alive(), 0);
    let ended =
        timeout(Duration::from_secs(60), view.wait_for(|view| view.record.status.is_final()));
    ended.await.expect("it ends all the same").unwrap();
    let tries = stage.rows.writes.load(std::sync::atomic::Ordering::Relaxed) - before;
    assert!(tries <= 2, "written {tries} times");
}

#[actix::test]
async fn a_session_of_another_organization_does_not_exist() {
    pause();
    let stage = Stage::new(Outside::default());
    let (id, _) = stage.running().await;
    let organization = OrganizationId::from(8);
    let message = Route { organization, session: id, message: begin("eve") };
    let answer = stage.registry.ask(message).await.unwrap();
    assert!(matches!(answer, Err(RouteError::Unknown(_))), "{answer:?}");
    assert!(stage.world.views.session(organization, id).is_none());
}

#[actix::test]
async fn every_message_is_on_record_with_its_cause_and_without_its_secret() {
    pause();
    let stage = Stage::new(Outside::default());
    let (id, _) = stage.running().await;
    ask!(stage, id, begin("ann")).unwrap();
    let _ = ask!(stage, id, begin("bob"));
    let filter = crate::actors::journal::Filter {
        session: Some(id),
        kind: Some("begin".to_owned()),
        ..Default::default()
    };
    let entries = stage.world.journal.messages(&filter, 10);
    let recorded: Vec<_> = entries
        .iter()
        .map(|entry| (&*entry.sender, &*entry.receiver, entry.outcome.map(|o| o.as_str())))
        .collect();
    let name = id.to_string();
    assert_eq!(
        recorded,
        [
            ("registry", name.as_str(), Some("refused")),
            ("test", "registry", Some("refused")),
            ("registry", name.as_str(), Some("done")),
            ("test", "registry", Some("done")),
        ]
    );
    assert_eq!(entries[0].cause, Some(entries[1].id));
    let everything = serde_json::to_string(&entries).unwrap();
    assert!(!everything.contains(&token("ann").reveal()[3..]), "a secret is in the journal");
}
