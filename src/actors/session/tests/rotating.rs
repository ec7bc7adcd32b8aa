//! Credentials are replaced, on a paused clock.

use std::sync::atomic::Ordering;

use super::*;
use crate::actors::registry::{Create, Start};
use crate::actors::tickets::Uses;
use crate::domain::session::SessionSpec;
use crate::domain::ticket::TicketRole;

async fn invited(stage: &Stage, id: SessionId) -> Invited {
    let ttl = Duration::from_secs(600);
    let (role, uses) = (TicketRole::Drive, Uses::Many);
    ask!(stage, id, Invite { key: 1.into(), role, label: None, ttl, uses })
        .expect("a ticket is made")
}

fn by(ticket: &Invited, name: &str) -> Begin {
    Begin { by: Beginner::Ticket(ticket.ticket.id), ..begin(name) }
}

fn rotation(stage: &Stage) -> i64 {
    stage.desktops.rotation.load(Ordering::SeqCst)
}

#[actix::test]
async fn the_holder_goes_on_with_another_lease_and_the_row_knows_before_the_answer() {
    pause();
    let stage = Stage::new(Outside::default());
    let (id, _view) = stage.running().await;
    let ticket = invited(&stage, id).await;
    ask!(stage, id, begin("ann")).unwrap();
    let report = ask!(stage, id, Rotate { key: 1.into() }).unwrap();
    assert_eq!((report.rotation, report.tickets, report.leases), (1, 1, 1));
    let lease = report.lease.expect("another lease");
    assert_eq!(lease.generation, Generation::new(2));
    let row = stage.rows.session(id);
    assert_eq!((row.spec.rotation, rotation(&stage)), (1, 1));
    assert_eq!(row.occupancy.holder().map(|held| held.lease), Some(lease.token.hash()));
    assert!(ticket.ticket.over.is_cancelled());
    let lost = ask!(stage, id, heartbeat("ann", 1));
    assert!(matches!(lost, Err(RouteError::Session(SessionError::Refused(Refusal::Lost { .. })))));
    let heartbeat =
        Heartbeat { generation: lease.generation, lease: lease.token.hash(), ttl: None, run: None };
    ask!(stage, id, heartbeat).unwrap();
}

#[actix::test]
async fn an_occupancy_that_was_taken_with_a_ticket_ends_with_it_and_another_holders_does_not() {
    pause();
    let stage = Stage::new(Outside::default());
    let (id, mut view) = stage.running().await;
    let is_vacant = |view: &SessionView| view.record.occupancy.holder().is_none();
    let ticket = invited(&stage, id).await;
    ask!(stage, id, by(&ticket, "ann")).unwrap();
    ask!(stage, id, Kick { viewer: ticket.ticket.id }).unwrap();
    timeout(Duration::from_secs(1), view.wait_for(is_vacant)).await.unwrap().unwrap();
    let refused = ask!(stage, id, by(&ticket, "ann"));
    assert!(matches!(refused, Err(RouteError::Session(SessionError::TicketEnded))));

    // Despite heartbeats, it lasts no longer than its ticket.
    let ticket = invited(&stage, id).await;
    let long = Begin { ttl: Duration::from_secs(3600), ..by(&ticket, "ann") };
    ask!(stage, id, long).unwrap();
    let since = Instant::now();
    view.wait_for(is_vacant).await.unwrap();
    assert!(since.elapsed() < Duration::from_secs(601), "after {:?}", since.elapsed());

    // A later holder is not touched.
    let ticket = invited(&stage, id).await;
    let grant = ask!(stage, id, by(&ticket, "ann")).unwrap();
    ask!(stage, id, release("ann", grant.generation.number())).unwrap();
    ask!(stage, id, begin("bob")).unwrap();
    ask!(stage, id, RevokeTickets).unwrap();
    sleep(Duration::from_secs(1)).await;
    assert!(!is_vacant(&view.borrow()), "bob has it");
}

#[actix::test]
async fn a_session_that_ends_with_its_holder_ends_when_a_rotation_ends_the_holders_lease() {
    pause();
    let stage = Stage::new(Outside::default());
    let echo = serde_json::json!({ (ENDS_VACANT): true });
    let create = Create {
        organization: Stage::organization(),
        spec: SessionSpec { echo, ..SessionSpec::default() },
        start: Start::Now,
        run: None,
        id: None,
        must_write: false,
        storage_state: None,
    };
    let Created { id, mut view } = stage.registry.ask(create).await.unwrap().unwrap();
    view.wait_for(|view| view.record.status == SessionStatus::Running).await.unwrap();
    let ticket = invited(&stage, id).await;
    ask!(stage, id, by(&ticket, "ann")).unwrap();
    let _ended_first = ask!(stage, id, Rotate { key: 1.into() });
    let ended = view.wait_for(|view| view.record.status.is_final());
    timeout(Duration::from_secs(60), ended).await.unwrap().unwrap();
}

#[actix::test]
async fn one_whose_actor_breaks_still_ends_with_its_ticket() {
    pause();
    let stage = Stage::new(Outside::default());
    let (id, _view) = stage.running().await;
    let ticket = invited(&stage, id).await;
    ask!(stage, id, Begin { ttl: Duration::from_secs(3600), ..by(&ticket, "ann") }).unwrap();
    assert!(ask!(stage, id, crate::actors::testing::BreakSession).is_err());
    sleep(Duration::from_secs(5)).await;
    let mut view = stage.world.views.session(Stage::organization(), id).expect("it is back");
    view.wait_for(|view| view.record.status == SessionStatus::Running).await.unwrap();
    assert!(view.borrow().record.occupancy.holder().is_some());
    ask!(stage, id, RevokeTickets).unwrap();
    let vacant = view.wait_for(|view| view.record.occupancy.holder().is_none());
    timeout(Duration::from_secs(1), vacant).await.unwrap().unwrap();
}

#[actix::test]
async fn a_rotation_waits_for_a_desktop_that_is_brought_back() {
    pause();
    let stage = Stage::new(Outside::default());
    let (id, view) = stage.running().await;
    stage.desktops.kill.notify_waiters();
    sleep(Duration::from_millis(100)).await;
    assert_eq!(view.borrow().record.status, SessionStatus::Retry);
    let report = ask!(stage, id, Rotate { key: 1.into() }).unwrap();
    assert_eq!(view.borrow().record.status, SessionStatus::Running);
    assert!(report.vnc_password.is_some());
    assert_eq!(rotation(&stage), 1);
}

#[actix::test]
async fn a_rotation_that_is_not_stored_ends_nothing_and_the_next_one_counts_on() {
    pause();
    let stage = Stage::new(Outside::default());
    let (id, _view) = stage.running().await;
    let ticket = invited(&stage, id).await;
    let grant = ask!(stage, id, begin("ann")).unwrap();
    *stage.rows.broken.lock() = true;
    let refused = ask!(stage, id, Rotate { key: 1.into() });
    assert!(matches!(refused, Err(RouteError::Session(SessionError::NotStored(_)))), "{refused:?}");
    *stage.rows.broken.lock() = false;
    assert!(!ticket.ticket.over.is_cancelled());
    ask!(stage, id, heartbeat("ann", grant.generation.number())).unwrap();
    assert_eq!(rotation(&stage), 0);

    // A rotation that was stored without an answer is detected, and the next one follows it.
    *stage.rows.mute.lock() = true;
    assert!(ask!(stage, id, Rotate { key: 1.into() }).is_err());
    *stage.rows.mute.lock() = false;
    let conflict = ask!(stage, id, Rotate { key: 1.into() });
    assert!(matches!(
        conflict,
        Err(RouteError::Session(SessionError::NotStored(StoreError::Conflict { .. })))
    ));
    let report = ask!(stage, id, Rotate { key: 1.into() }).unwrap();
    assert!(report.rotation > 2 && report.lease.is_some(), "{report:?}");
    assert_eq!(stage.rows.session(id).spec.rotation, report.rotation);
}

#[actix::test]
async fn another_server_replaces_a_password_of_an_earlier_rotation() {
    pause();
    let stage = Stage::new(Outside::default());
    let (id, _view) = stage.running().await;
    stage.rows.sessions.lock().get_mut(&id).unwrap().spec.rotation = 4;
    let next = handed_over(&stage).await;
    let mut view = next.world.views.session(Stage::organization(), id).unwrap();
    view.wait_for(|view| view.record.status == SessionStatus::Running).await.unwrap();
    sleep(Duration::from_secs(5)).await;
    assert_eq!(rotation(&next), 4);
}
