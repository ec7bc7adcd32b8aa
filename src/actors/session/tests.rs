//! Order, races and endings of a session, on a paused clock.

use std::time::Duration;

use tokio::time::{Instant, pause, sleep};
use tokio_util::sync::CancellationToken;

use super::*;
use crate::actors::registry::{Created, Route, RouteError};
use crate::actors::testing::{Outside, Stage, failure, occupant};
use crate::domain::ids::{OrganizationId, SessionId};
use crate::domain::lease::LeaseToken;
use crate::domain::occupancy::{Generation, Refusal};
use crate::domain::session::SessionStatus;

const TTL: Duration = Duration::from_secs(30);

fn token(name: &str) -> LeaseToken {
    LeaseToken::new(*blake3::hash(name.as_bytes()).as_bytes())
}

fn begin(name: &str) -> Begin {
    Begin { occupant: occupant(name), lease: token(name), ttl: TTL, wait: None }
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
    assert!(late.unwrap().is_err(), "who came later began before the waiters");
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

#[actix::test]
async fn a_browser_that_dies_ends_the_session_with_its_cause() {
    pause();
    let stage = Stage::new(Outside::default());
    let (id, mut view) = stage.running().await;
    sleep(Duration::from_secs(1)).await;
    stage.desktops.kill.notify_waiters();
    view.wait_for(|view| view.record.status.is_final()).await.unwrap();
    let stored = stage.rows.session(id);
    assert_eq!(stored.status, SessionStatus::Failed);
    assert_eq!(stored.failure, Some(failure("chromium_died")));
    assert_eq!(stage.desktops.alive(), 0);
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
    let told: Vec<_> = entries
        .iter()
        .map(|entry| (&*entry.sender, &*entry.receiver, entry.outcome.map(|o| o.as_str())))
        .collect();
    let name = id.to_string();
    assert_eq!(
        told,
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
