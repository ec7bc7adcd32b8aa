//! The end of sessions at their deadlines, and the warnings before.

use std::time::Duration;

use serde_json::Value;
use tokio::time::{pause, sleep};

use super::*;
use crate::actors::session::{KeepProfile, Renew};
use crate::actors::settings::Settings;
use crate::domain::deadlines::DeadlineKind;
use crate::domain::event::{EventKind, NewEvent};
use crate::domain::profile::ProfileAccess;

/// The events that were recorded so far.
async fn recorded(stage: &mut Stage) -> Vec<NewEvent> {
    // Events are recorded at once, so that none is missing here.
    stage.recorded.next(1_000).await
}

fn minutes(count: u64) -> Duration {
    Duration::from_secs(60 * count)
}

#[actix::test]
async fn a_session_warns_five_minutes_and_one_before_its_end_and_again_when_renewed() {
    pause();
    let mut stage = Stage::new(Outside::default());
    let (id, view) = stage.running().await;
    recorded(&mut stage).await;
    sleep(minutes(59) + Duration::from_secs(5)).await;
    let left = |event: &NewEvent| event.data["seconds_left"].as_i64().unwrap();
    let warnings = recorded(&mut stage).await;
    assert_eq!(
        warnings.iter().map(|event| event.kind).collect::<Vec<_>>(),
        [EventKind::SessionExpiring, EventKind::SessionExpiring]
    );
    assert_eq!(warnings.iter().map(left).collect::<Vec<_>>(), [300, 60]);
    assert_eq!(warnings[0].data["reason"], "lifetime");

    let before = view.borrow().record.deadlines.expires_at.unwrap();
    ask!(stage, id, Renew { by: Duration::from_secs(1) }).unwrap();
    assert_eq!(view.borrow().record.deadlines.expires_at, Some(before), "it was shortened");
    ask!(stage, id, Renew { by: minutes(10) }).unwrap();
    assert!(view.borrow().record.deadlines.expires_at.unwrap() > before);
    assert_eq!(stage.rows.session(id).deadlines, view.borrow().record.deadlines);
    sleep(minutes(9) + Duration::from_secs(5)).await;
    let kinds: Vec<_> = recorded(&mut stage).await.iter().map(|event| event.kind).collect();
    let expiring = EventKind::SessionExpiring;
    assert_eq!(kinds, [EventKind::SessionRenewed, expiring, expiring]);
    sleep(minutes(2)).await;
    assert_eq!(stage.rows.session(id).status, SessionStatus::Timeout);
}

#[actix::test]
async fn of_renewals_at_once_the_longest_counts_in_the_row_too() {
    pause();
    let stage = Stage::new(Outside::default());
    let (id, view) = stage.running().await;
    let renewals = [90, 200, 70].map(|by| stage.registry.ask(route(id, Renew { by: minutes(by) })));
    for renewed in futures_util::future::join_all(renewals).await {
        renewed.unwrap().unwrap();
    }
    let expires_at = view.borrow().record.deadlines.expires_at.unwrap();
    assert!(expires_at >= stage.world.clock.now() + minutes(199));
    assert_eq!(stage.rows.session(id).deadlines.expires_at, Some(expires_at));
}

#[actix::test]
async fn a_browser_that_does_not_run_in_time_is_given_up_and_nothing_is_left() {
    pause();
    let settings = Settings { start_seconds: 20, ..Settings::default() };
    let stage = Stage::new(Outside { up: minutes(60), settings, ..Outside::default() });
    let Created { id, mut view } = stage.create().await;
    let next = {
        let view = view.borrow();
        view.record.deadlines.next(&view.record.occupancy).unwrap()
    };
    assert_eq!(next.kind, DeadlineKind::StartUp);
    view.wait_for(|view| view.record.status.is_final()).await.unwrap();
    assert!(stage.world.clock.now() >= next.at);
    let session = stage.rows.session(id);
    assert_eq!(session.failure.unwrap().code, "start_timed_out");
    assert_eq!(stage.desktops.alive(), 0);
}

#[actix::test]
async fn when_a_vacant_session_ends_is_stored_with_the_release() {
    pause();
    let settings = Settings { idle_seconds: 600, ..Settings::default() };
    let stage = Stage::new(Outside { settings, ..Outside::default() });
    let (id, view) = stage.running().await;
    ask!(stage, id, begin("ann")).unwrap();
    sleep(Duration::from_secs(20)).await;
    ask!(stage, id, release("ann", 1)).unwrap();
    sleep(Duration::from_secs(1)).await;
    let stored = stage.rows.session(id).deadlines.idle_expires_at;
    assert_eq!(stored, view.borrow().record.deadlines.idle_expires_at);
    assert!(stored.unwrap() > stage.world.clock.now() + Duration::from_secs(590));
}

#[actix::test]
async fn a_deadline_that_passed_while_the_server_was_down_is_honoured_at_once() {
    pause();
    let mut stage = Stage::new(Outside::default());
    let (id, mut view) = stage.running().await;
    let record = view.borrow().record.clone();
    let Ok(()) = stage.registry.ask(DetachAll).await else { panic!("they are not released") };
    recorded(&mut stage).await;
    sleep(minutes(61)).await;
    stage.registry.ask(Adopt { records: vec![record] }).await.unwrap();
    view = stage.world.views.session(Stage::organization(), id).unwrap();
    view.wait_for(|view| view.record.status.is_final()).await.unwrap();
    assert_eq!(stage.rows.session(id).status, SessionStatus::Timeout);
    assert_eq!(stage.desktops.alive(), 0);
    let kinds: Vec<_> = recorded(&mut stage).await.iter().map(|event| event.kind).collect();
    assert_eq!(kinds, [EventKind::SessionClosing, EventKind::SessionEnded]);
}

#[actix::test]
async fn a_session_tells_its_whole_life_in_order() {
    pause();
    let mut stage = Stage::new(Outside::default());
    let (id, _) = stage.running().await;
    ask!(stage, id, begin("ann")).unwrap();
    sleep(Duration::from_secs(10)).await;
    ask!(stage, id, release("ann", 1)).unwrap();
    ask!(stage, id, begin("bob")).unwrap();
    sleep(TTL + Duration::from_secs(1)).await;
    ask!(stage, id, KeepProfile { keep: true }).unwrap();
    let stored = stage.rows.session(id).spec.profile.unwrap();
    assert_eq!((stored.version, stored.access), (None, ProfileAccess::Write));
    ask!(stage, id, Close { status: SessionStatus::Completed }).unwrap();
    let recorded = recorded(&mut stage).await;
    let kinds: Vec<_> = recorded.iter().map(|event| event.kind.as_str()).collect();
    assert_eq!(
        kinds,
        [
            "session.created",
            "session.started",
            "occupancy.begun",
            "occupancy.released",
            "occupancy.begun",
            "occupancy.lapsed",
            "session.closing",
            // There is no directory for its archive.
            "profile.not_stored",
            "session.ended",
        ]
    );
    assert!(recorded.iter().all(|event| event.subject.session == Some(id)));
    assert_eq!(recorded[4].data["runnable_id"], "bob");
    assert_eq!(recorded[8].data["status"], Value::from("completed"));
}
