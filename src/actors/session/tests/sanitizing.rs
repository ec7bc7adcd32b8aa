//! The sanitizing between occupants, on a paused clock.

use std::sync::atomic::Ordering;

use super::*;
use crate::actors::registry::Start;
use crate::domain::event::EventKind;
use crate::domain::session::SessionSpec;

fn sanitized(stage: &Stage) -> usize {
    stage.desktops.sanitized.load(Ordering::SeqCst)
}

fn sanitize(holder: Option<(&str, i64)>) -> Sanitize {
    let proof = |(name, number): (&str, i64)| (Generation::new(number), token(name).hash());
    Sanitize { holder: holder.map(proof) }
}

/// A session that is sanitized after each occupant.
async fn cleaned(stage: &Stage) -> (SessionId, watch::Receiver<SessionView>) {
    let organization = Stage::organization();
    let spec =
        SessionSpec { sanitize_after: Some(Generation::default()), ..SessionSpec::default() };
    let create = crate::actors::registry::Create {
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
    (id, view)
}

async fn grant(stage: &Stage, id: SessionId, name: &str) -> Grant {
    let (message, _gone) = begin_or_wait(name, 600);
    ask!(stage, id, message).unwrap()
}

#[actix::test]
async fn nobody_begins_while_a_session_is_sanitized_and_what_was_cleared_is_reported() {
    pause();
    let mut stage = Stage::new(Outside::default());
    let (id, view) = stage.running().await;
    let second = async {
        sleep(Duration::from_millis(100)).await;
        let early = stage.registry.ask(route(id, begin("bob"))).await.unwrap();
        let joined = stage.registry.ask(route(id, sanitize(None)));
        let waits = grant(&stage, id, "cy");
        let (joined, cy) = tokio::join!(joined, waits);
        (early, joined.unwrap().unwrap(), cy, sanitized(&stage))
    };
    let asked = stage.registry.ask(route(id, sanitize(None)));
    let (report, (early, joined, cy, before_cy)) = tokio::join!(asked, second);
    let report = report.unwrap().unwrap();
    assert!(matches!(early, Err(RouteError::Session(SessionError::Starting))), "{early:?}");
    assert_eq!((report.cleared.cookies, report.cleared.tabs, report.tries), (Some(3), Some(2), 1));
    assert_eq!(joined, report, "the second request joins the first");
    assert_eq!((cy.generation, before_cy), (Generation::new(1), 1));
    assert_eq!(stage.rows.session(id).status, SessionStatus::Running);
    assert_eq!(view.borrow().record.status, SessionStatus::Running);

    let recorded = stage.recorded.next(1_000).await;
    let events: Vec<_> =
        recorded.iter().filter(|event| event.kind == EventKind::SessionSanitized).collect();
    assert_eq!(events.len(), 1);
    assert_eq!(events[0].data["by"], "request");
    assert_eq!(events[0].data["cleared"]["cookies"], 3);
    assert!(recorded.iter().all(|event| event.kind != EventKind::SessionRecovered));
}

#[actix::test]
async fn a_session_that_is_held_is_sanitized_for_its_holder_only() {
    pause();
    let stage = Stage::new(Outside::default());
    let (id, _) = stage.running().await;
    ask!(stage, id, begin("ann")).unwrap();
    let refused = ask!(stage, id, sanitize(None));
    assert!(matches!(
        refused,
        Err(RouteError::Session(SessionError::Refused(Refusal::Occupied { .. })))
    ));
    let refused = ask!(stage, id, sanitize(Some(("bob", 1))));
    assert!(matches!(
        refused,
        Err(RouteError::Session(SessionError::Refused(Refusal::WrongLease { .. })))
    ));
    assert_eq!(sanitized(&stage), 0);
    ask!(stage, id, sanitize(Some(("ann", 1)))).unwrap();
    assert_eq!(sanitized(&stage), 1);
    ask!(stage, id, heartbeat("ann", 1)).unwrap();
    ask!(stage, id, release("ann", 1)).unwrap();
    let refused = ask!(stage, id, sanitize(Some(("ann", 1))));
    assert!(matches!(
        refused,
        Err(RouteError::Session(SessionError::Refused(Refusal::Lost { .. })))
    ));
    ask!(stage, id, sanitize(None)).unwrap();
    assert_eq!(sanitized(&stage), 2);
}

#[actix::test]
async fn after_each_release_and_each_lapse_the_session_is_clean_before_the_next_begins() {
    pause();
    let mut stage = Stage::new(Outside::default());
    let (id, _) = cleaned(&stage).await;
    assert_eq!(grant(&stage, id, "ann").await.generation, Generation::new(1));
    assert_eq!(sanitized(&stage), 0, "no occupant has left data");
    let next = async {
        let bob = grant(&stage, id, "bob").await;
        (bob.generation, sanitized(&stage))
    };
    let released = async {
        sleep(Duration::from_millis(100)).await;
        stage.registry.ask(route(id, release("ann", 1))).await.unwrap().unwrap();
    };
    let (served, ()) = tokio::join!(next, released);
    assert_eq!(served, (Generation::new(2), 1));
    assert_eq!(stage.rows.session(id).spec.sanitize_after, Some(Generation::new(1)));

    // Bob sends no heartbeat.
    assert_eq!(grant(&stage, id, "cy").await.generation, Generation::new(3));
    assert_eq!(sanitized(&stage), 2);
    // A begin that does not wait is refused from the moment in which the lease ends.
    sleep(TTL).await;
    let early = ask!(stage, id, begin("dee"));
    assert!(matches!(early, Err(RouteError::Session(_))), "{early:?}");
    sleep(Duration::from_secs(5)).await;
    assert_eq!(sanitized(&stage), 3);
    ask!(stage, id, begin("dee")).unwrap();
    let recorded = stage.recorded.next(1_000).await;
    let by = recorded.iter().filter(|event| event.kind == EventKind::SessionSanitized);
    assert_eq!(by.map(|event| event.data["by"].clone()).collect::<Vec<_>>(), ["release"; 3]);
}

#[actix::test]
async fn a_session_that_cannot_be_cleaned_fails_and_goes_to_nobody() {
    pause();
    let stage = Stage::new(Outside::default());
    let (id, _) = cleaned(&stage).await;
    ask!(stage, id, begin("ann")).unwrap();
    stage.desktops.unrevived.store(2, Ordering::SeqCst);
    ask!(stage, id, release("ann", 1)).unwrap();
    assert_eq!(grant(&stage, id, "bob").await.generation, Generation::new(2), "the third attempt");
    assert_eq!(sanitized(&stage), 1);

    stage.desktops.unrevived.store(3, Ordering::SeqCst);
    let (waits, _gone) = begin_or_wait("cy", 600);
    let next = stage.registry.ask(route(id, waits));
    let released = async {
        sleep(Duration::from_millis(100)).await;
        stage.registry.ask(route(id, release("bob", 2))).await.unwrap().unwrap();
    };
    let (next, ()) = tokio::join!(next, released);
    assert!(matches!(next.unwrap(), Err(RouteError::Session(SessionError::Closing))));
    sleep(Duration::from_secs(5)).await;
    let row = stage.rows.session(id);
    assert_eq!(row.status, SessionStatus::Failed);
    assert_eq!(row.failure.unwrap().code, "sanitize_failed");
    assert_eq!(stage.desktops.alive(), 0);
}

#[actix::test]
async fn what_a_former_server_owed_is_done_before_anybody_begins() {
    pause();
    let (stage, id, _) = adopted(None, |record| {
        record.spec.sanitize_after = Some(Generation::default());
        record.occupancy = crate::domain::occupancy::Occupancy::Vacant {
            last: Generation::new(4),
            released: None,
        };
    })
    .await;
    assert_eq!(grant(&stage, id, "ann").await.generation, Generation::new(5));
    assert_eq!(sanitized(&stage), 1);
    assert_eq!(stage.rows.session(id).spec.sanitize_after, Some(Generation::new(4)));
}

#[actix::test]
async fn one_occupant_may_ask_for_it_and_the_next_are_left_alone() {
    pause();
    let stage = Stage::new(Outside::default());
    let (id, _) = stage.running().await;
    let asks = |name: &str, number| {
        let (generation, lease) = (Generation::new(number), token(name).hash());
        SanitizeWhenLeft { generation, lease }
    };
    let early = ask!(stage, id, asks("ann", 1));
    assert!(matches!(early, Err(RouteError::Session(SessionError::Refused(_)))), "{early:?}");
    ask!(stage, id, begin("ann")).unwrap();
    let foreign = ask!(stage, id, asks("bob", 1));
    assert!(matches!(foreign, Err(RouteError::Session(SessionError::Refused(_)))), "{foreign:?}");
    ask!(stage, id, asks("ann", 1)).unwrap();
    ask!(stage, id, release("ann", 1)).unwrap();
    assert_eq!(grant(&stage, id, "bob").await.generation, Generation::new(2));
    assert_eq!(sanitized(&stage), 1);
    assert_eq!(stage.rows.session(id).spec.sanitize_due, None);
    ask!(stage, id, release("bob", 2)).unwrap();
    grant(&stage, id, "cy").await;
    assert_eq!(sanitized(&stage), 1, "bob did not ask");
    // A holder that sends no heartbeat has asked as well.
    ask!(stage, id, asks("cy", 3)).unwrap();
    sleep(TTL).await;
    grant(&stage, id, "dee").await;
    assert_eq!(sanitized(&stage), 2);
}

#[actix::test]
async fn it_is_switched_on_and_off_and_a_close_ends_what_is_under_way() {
    pause();
    let stage = Stage::new(Outside::default());
    let (id, _) = stage.running().await;
    ask!(stage, id, begin("ann")).unwrap();
    ask!(stage, id, release("ann", 1)).unwrap();
    ask!(stage, id, SanitizeOnRelease { on: true }).unwrap();
    sleep(Duration::from_secs(5)).await;
    assert_eq!(sanitized(&stage), 0, "ann has left before");
    ask!(stage, id, SanitizeOnRelease { on: false }).unwrap();
    ask!(stage, id, begin("bob")).unwrap();
    let view = ask!(stage, id, SanitizeOnRelease { on: true }).unwrap();
    assert!(view.record.spec.sanitize_after.is_some());
    ask!(stage, id, release("bob", 2)).unwrap();
    sleep(Duration::from_secs(5)).await;
    assert_eq!(sanitized(&stage), 1, "bob was there when it was switched on");
    ask!(stage, id, SanitizeOnRelease { on: false }).unwrap();
    ask!(stage, id, begin("cy")).unwrap();
    ask!(stage, id, release("cy", 3)).unwrap();
    ask!(stage, id, begin("dee")).unwrap();
    ask!(stage, id, release("dee", 4)).unwrap();
    assert_eq!(sanitized(&stage), 1);

    let asked = stage.registry.ask(route(id, sanitize(None)));
    let closed = async {
        sleep(Duration::from_millis(100)).await;
        let close = Close { status: SessionStatus::Completed };
        stage.registry.ask(route(id, close)).await.unwrap().unwrap();
    };
    let (asked, ()) = tokio::join!(asked, closed);
    assert!(matches!(asked.unwrap(), Err(RouteError::Session(SessionError::Closing))));
    assert_eq!((sanitized(&stage), stage.desktops.alive()), (1, 0));
}
