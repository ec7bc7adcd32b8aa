//! Answers that the asker did not receive: what they granted is taken back at once.

use super::*;
use crate::actors::ask::{Ask, Unanswered};
use crate::actors::tickets::Uses;
use crate::domain::control::Credential;
use crate::domain::ids::ApiKeyId;
use crate::domain::rfb::Role;
use crate::domain::ticket::TicketRole;

/// Asks, and goes away before the answer arrives.
macro_rules! goes_away {
    ($stage:expr, $session:expr, $message:expr) => {
        let asked = $stage.registry.ask(route($session, $message));
        let gone = tokio::time::timeout(Duration::from_millis(5), asked).await;
        assert!(gone.is_err(), "it was answered at once");
    };
}

#[actix::test]
async fn a_begin_whose_client_goes_away_while_it_is_stored_is_given_back() {
    pause();
    let stage = Stage::new(Outside::default());
    let (id, _) = stage.running().await;
    *stage.rows.slow.lock() = Duration::from_secs(3);
    let long = Begin { ttl: Duration::from_secs(3600), ..begin("gone") };
    goes_away!(stage, id, long);
    sleep(Duration::from_secs(1)).await;
    *stage.rows.slow.lock() = Duration::ZERO;
    sleep(Duration::from_secs(3)).await;
    assert!(stage.rows.session(id).occupancy.holder().is_none(), "no client knows its lease");
    ask!(stage, id, begin("next")).unwrap();
}

#[actix::test]
async fn a_begin_whose_asker_does_not_wait_so_long_is_given_back() {
    pause();
    let stage = Stage::new(Outside::default());
    let (id, _) = stage.running().await;
    *stage.rows.slow.lock() = Duration::from_secs(14);
    let late = stage.registry.ask(route(id, begin("late"))).await.unwrap();
    assert!(matches!(late, Err(RouteError::Unanswered(Unanswered::Late))), "{late:?}");
    *stage.rows.slow.lock() = Duration::ZERO;
    sleep(Duration::from_secs(6)).await;
    assert!(stage.rows.session(id).occupancy.holder().is_none(), "no client knows its lease");
}

#[actix::test]
async fn what_could_not_be_given_back_is_given_back_when_the_database_is_there_again() {
    pause();
    let stage = Stage::new(Outside::default());
    let (id, _) = stage.running().await;
    let long = Begin { ttl: Duration::from_secs(3600), ..begin("gone") };
    let rows = std::sync::Arc::clone(&stage.rows);
    *rows.slow.lock() = Duration::from_secs(1);
    goes_away!(stage, id, long);
    sleep(Duration::from_millis(500)).await;
    *rows.broken.lock() = true;
    *rows.slow.lock() = Duration::ZERO;
    sleep(Duration::from_secs(10)).await;
    assert!(rows.session(id).occupancy.holder().is_some());
    *rows.broken.lock() = false;
    sleep(Duration::from_secs(2)).await;
    assert!(rows.session(id).occupancy.holder().is_none());
}

#[actix::test]
async fn who_knows_the_lease_keeps_it_though_its_next_begin_is_not_heard() {
    pause();
    let stage = Stage::new(Outside::default());
    let (id, _) = stage.running().await;
    ask!(stage, id, begin("ann")).unwrap();
    *stage.rows.slow.lock() = Duration::from_secs(1);
    goes_away!(stage, id, begin("ann"));
    sleep(Duration::from_secs(5)).await;
    let held = stage.rows.session(id).occupancy.holder().cloned().expect("it is held");
    assert_eq!((held.occupant, held.generation), (occupant("ann"), Generation::new(2)));
}

#[actix::test]
async fn one_who_waits_and_goes_away_has_no_place_in_the_queue() {
    pause();
    let stage = Stage::new(Outside::default());
    let (id, view) = stage.running().await;
    ask!(stage, id, begin("ann")).unwrap();
    let (bob, _wait) = begin_or_wait("bob", 600);
    goes_away!(stage, id, bob);
    sleep(Duration::from_millis(1)).await;
    assert!(view.borrow().waiters.is_empty());
}

#[actix::test]
async fn a_begin_that_was_stored_unsaid_does_not_keep_the_next_one_out() {
    pause();
    let stage = Stage::new(Outside::default());
    let (id, _) = stage.running().await;
    *stage.rows.mute.lock() = true;
    let unsaid = ask!(stage, id, Begin { ttl: Duration::from_secs(3600), ..begin("ann") });
    let Err(RouteError::Session(SessionError::NotStored(_))) = unsaid else {
        panic!("{unsaid:?}");
    };
    assert!(stage.rows.session(id).occupancy.holder().is_some(), "it was stored all the same");
    *stage.rows.mute.lock() = false;
    let grant = ask!(stage, id, begin("bob")).unwrap();
    let held = stage.rows.session(id).occupancy.holder().cloned().expect("it is held");
    assert_eq!((held.occupant, held.generation), (occupant("bob"), grant.generation));
}

/// Asks, and goes away once `done`, but before it has received the answer.
async fn unheard<M, T>(stage: &Stage, id: SessionId, message: M, done: impl Fn() -> bool)
where
    M: Ask<Answer = Result<T, SessionError>>,
    T: Send + 'static,
    Session: Handle<M>,
{
    let asked = stage.registry.ask(route(id, message));
    while !done() {
        tokio::task::yield_now().await;
    }
    drop(asked);
    sleep(Duration::from_millis(1)).await;
}

#[actix::test]
async fn a_ticket_that_nobody_heard_of_is_revoked() {
    pause();
    let stage = Stage::new(Outside::default());
    let (id, _) = stage.running().await;
    let hour = Duration::from_secs(3600);
    let invite =
        Invite { key: 1.into(), role: TicketRole::Watch, label: None, ttl: hour, uses: Uses::Many };
    let tickets = || stage.world.views.tickets.of(id, stage.world.clock.now()).len();
    unheard(&stage, id, invite, || tickets() == 1).await;
    assert_eq!(tickets(), 0, "no client has its secret");
}

#[actix::test]
async fn control_that_nobody_heard_of_is_ceded_unless_it_was_had_before() {
    pause();
    let stage = Stage::new(Outside::default());
    let (id, view) = stage.running().await;
    let visit = Visit {
        credential: Credential::Key(ApiKeyId::from(1)),
        role: Role::Control,
        label: None,
        client: Some("page-of-ann".parse().unwrap()),
    };
    let ann = ask!(stage, id, Join { visit, kind: ViewerKind::Messages }).unwrap();
    let has_control = || view.borrow().control.user().is_some();
    unheard(&stage, id, TakeControl { viewer: ann.id }, has_control).await;
    assert!(!has_control(), "no viewer knows that it has control");
    ask!(stage, id, TakeControl { viewer: ann.id }).unwrap();
    unheard(&stage, id, TakeControl { viewer: ann.id }, has_control).await;
    assert!(has_control(), "the first answer was received");
}

/// A heartbeat whose write takes longer than the lease lasts.
#[actix::test]
async fn nothing_is_shown_while_a_change_is_being_stored() {
    pause();
    let stage = Stage::new(Outside::default());
    let (id, view) = stage.running().await;
    ask!(stage, id, Begin { ttl: Duration::from_secs(2), ..begin("ann") }).unwrap();
    *stage.rows.slow.lock() = Duration::from_secs(4);
    sleep(Duration::from_secs(1)).await;
    let before = view.borrow().version;
    let heard = stage.registry.ask(route(id, heartbeat("ann", 1)));
    sleep(Duration::from_millis(3500)).await;
    assert_eq!(view.borrow().version, before, "nothing has changed");
    heard.await.unwrap().unwrap();
    *stage.rows.slow.lock() = Duration::ZERO;
    let mut view = view;
    view.wait_for(|view| view.record.occupancy.holder().is_none()).await.unwrap();
}
