//! Sessions whose browser starts at their first use, on a paused clock.

use tokio::sync::watch;

use super::*;
use crate::actors::registry::{Create, RegistryError, Start, awake};
use crate::actors::settings::Settings;
use crate::actors::views::SessionView;
use crate::domain::session::SessionSpec;

async fn dormant(stage: &Stage) -> (SessionId, watch::Receiver<SessionView>) {
    let create = Create {
        organization: Stage::organization(),
        spec: SessionSpec::default(),
        start: Start::FirstUse,
        run: None,
        id: None,
        must_write: false,
        storage_state: None,
    };
    let Created { id, view } = stage.registry.ask(create).await.unwrap().unwrap();
    assert!(view.borrow().record.is_dormant());
    (id, view)
}

async fn used(stage: &Stage, id: SessionId) -> Result<(), RegistryError> {
    let registry = stage.registry.downgrade();
    awake(&registry, &stage.world.views, Stage::organization(), id).await
}

#[actix::test]
async fn a_browser_starts_once_at_the_first_use_and_its_lifetime_counts_from_then() {
    pause();
    let stage = Stage::new(Outside::default());
    let (id, view) = dormant(&stage).await;
    sleep(Duration::from_secs(30 * 60)).await;
    assert_eq!(stage.desktops.launched(), 0);
    assert!(matches!(
        ask!(stage, id, begin("ann")),
        Err(RouteError::Session(SessionError::Starting))
    ));

    let (one, two) = tokio::join!(used(&stage, id), used(&stage, id));
    assert!(one.is_ok() && two.is_ok(), "{one:?} {two:?}");
    assert_eq!(stage.desktops.launched(), 1);
    let record = view.borrow().record.clone();
    assert_eq!(record.status, SessionStatus::Running);
    let left = record.deadlines.expires_at.unwrap() - stage.world.clock.now();
    assert!(left > chrono::Duration::minutes(59), "{left}");
    ask!(stage, id, begin("ann")).unwrap();
    used(&stage, id).await.unwrap();
    assert_eq!(stage.desktops.launched(), 1);
}

#[actix::test]
async fn all_first_uses_wait_for_one_start_whenever_they_come_and_take_one_place() {
    pause();
    let settings = Settings { max_sessions: 1, ..Settings::default() };
    let stage = Stage::new(Outside { settings, ..Outside::default() });
    let (id, view) = dormant(&stage).await;
    let late = async {
        let mut seen = view.clone();
        seen.wait_for(|view| !view.record.is_dormant()).await.unwrap();
        assert_eq!(seen.borrow().record.status, SessionStatus::Created);
        used(&stage, id).await.unwrap();
        assert_eq!(seen.borrow().record.status, SessionStatus::Running);
    };
    let (one, two, three, ()) =
        tokio::join!(used(&stage, id), used(&stage, id), used(&stage, id), late);
    assert!(one.is_ok() && two.is_ok() && three.is_ok(), "{one:?} {two:?} {three:?}");
    assert_eq!(stage.desktops.launched(), 1);
    ask!(stage, id, begin("ann")).unwrap();
}

#[actix::test]
async fn one_that_is_never_used_ends_at_its_time_and_by_a_close_without_a_browser() {
    pause();
    let stage = Stage::new(Outside::default());
    let (id, mut view) = dormant(&stage).await;
    let (closed, _) = dormant(&stage).await;
    ask!(stage, closed, Close { status: SessionStatus::Completed }).unwrap();
    assert_eq!(stage.rows.session(closed).status, SessionStatus::Completed);
    view.wait_for(|view| view.record.status.is_final()).await.unwrap();
    assert_eq!(stage.rows.session(id).status, SessionStatus::Timeout);
    assert_eq!(stage.desktops.launched(), 0);
}

#[actix::test]
async fn renewed_it_waits_longer_and_is_never_idle() {
    pause();
    let settings = Settings { idle_seconds: 60, ..Settings::default() };
    let stage = Stage::new(Outside { settings, ..Outside::default() });
    let (id, view) = dormant(&stage).await;
    ask!(stage, id, Renew { by: Duration::from_secs(2 * 60 * 60) }).unwrap();
    sleep(Duration::from_secs(90 * 60)).await;
    assert!(view.borrow().record.is_dormant());
    used(&stage, id).await.unwrap();
    assert_eq!(view.borrow().record.status, SessionStatus::Running);
}

#[actix::test]
async fn settings_that_are_being_stored_at_the_first_use_are_those_of_the_browser() {
    pause();
    let stage = Stage::new(Outside::default());
    let (id, _) = dormant(&stage).await;
    *stage.rows.slow.lock() = Duration::from_secs(2);
    let patch = |factor: u32| ChangeSettings {
        patch: serde_json::from_value(serde_json::json!({ "device_scale_factor": factor }))
            .unwrap(),
    };
    let changed = stage.registry.ask(route(id, patch(2)));
    let waiting = stage.registry.ask(route(id, patch(3)));
    let ((changed, waiting), started) =
        tokio::join!(async { tokio::join!(changed, waiting) }, async {
            sleep(Duration::from_secs(1)).await; // While the first change is being stored.
            used(&stage, id).await
        });
    started.unwrap();
    changed.unwrap().unwrap();
    let refused = waiting.unwrap();
    assert!(matches!(refused, Err(RouteError::Session(SessionError::Starting))), "{refused:?}");
    let factors: Vec<_> =
        stage.desktops.settings.lock().iter().map(|it| it.device_scale_factor).collect();
    assert_eq!(factors, [Some(2.0)]);

    // A session that is closed meanwhile starts no browser.
    let (id, view) = dormant(&stage).await;
    let (changed, started, closed) = tokio::join!(
        stage.registry.ask(route(id, patch(2))),
        async {
            sleep(Duration::from_secs(1)).await;
            used(&stage, id).await
        },
        async {
            sleep(Duration::from_millis(1_500)).await;
            stage.registry.ask(route(id, Close { status: SessionStatus::Completed })).await
        }
    );
    closed.unwrap().unwrap();
    drop((changed, started));
    assert!(view.borrow().record.status.is_final());
    assert_eq!(stage.desktops.launched(), 1);
}

#[actix::test]
async fn it_takes_no_place_until_it_is_used_and_then_it_needs_one() {
    pause();
    let settings = Settings { max_sessions: 1, ..Settings::default() };
    let stage = Stage::new(Outside { settings, ..Outside::default() });
    let (first, _) = dormant(&stage).await;
    let (second, view) = dormant(&stage).await;
    used(&stage, first).await.unwrap();
    let refused = used(&stage, second).await;
    assert!(matches!(refused, Err(RegistryError::TooManySessions { limit: 1 })), "{refused:?}");
    assert!(view.borrow().record.is_dormant());
    ask!(stage, first, Close { status: SessionStatus::Completed }).unwrap();
    while stage.world.views.session(Stage::organization(), first).is_some() {
        sleep(Duration::from_millis(10)).await;
    }
    used(&stage, second).await.unwrap();
    assert_eq!(stage.desktops.launched(), 2);
}

#[actix::test]
async fn it_waits_for_its_first_use_under_the_next_server_too() {
    pause();
    let stage = Stage::new(Outside::default());
    let (id, _) = dormant(&stage).await;
    stage.registry.ask(DetachAll).await.unwrap();
    let next = Stage::new(Outside::default());
    let record = stage.rows.session(id);
    next.rows.sessions.lock().insert(id, record.clone());
    *next.desktops.adopt.lock() = Some(AdoptError::NothingSaved);
    next.registry.ask(Adopt { records: vec![record] }).await.unwrap();
    sleep(Duration::from_secs(60)).await;
    let view = next.world.views.session(Stage::organization(), id).unwrap();
    assert!(view.borrow().record.is_dormant());
    assert_eq!(next.desktops.launched(), 0);
    used(&next, id).await.unwrap();
    assert_eq!(view.borrow().record.status, SessionStatus::Running);

    // Used while the remains of the former server are not known yet.
    let last = Stage::new(Outside::default());
    let record = stage.rows.session(id);
    last.rows.sessions.lock().insert(id, record.clone());
    *last.desktops.adopt.lock() = Some(AdoptError::NothingSaved);
    last.registry.ask(Adopt { records: vec![record] }).await.unwrap();
    used(&last, id).await.unwrap();
    assert_eq!(last.desktops.launched(), 1);
}
