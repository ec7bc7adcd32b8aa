//! The profile of a session: what is stored from it, and what must not be, on a paused clock.

use std::path::PathBuf;
use std::sync::atomic::Ordering;

use super::*;
use crate::actors::profiles::ProfileError;
use crate::actors::registry::{Create, Start};
use crate::domain::event::EventKind;
use crate::domain::labels::Tags;
use crate::domain::profile::{ProfileAccess, ProfileUse};
use crate::domain::session::SessionSpec;

/// A directory of objects and of files in transit, removed on drop.
struct Data(PathBuf);

impl Data {
    fn new(name: &str) -> Self {
        let data = std::env::temp_dir().join(format!("profiles-{}-{name}", std::process::id()));
        let _ = std::fs::remove_dir_all(&data);
        std::fs::create_dir_all(&data).unwrap();
        Self(data)
    }

    fn stage(&self) -> Stage {
        Stage::new(Outside { data: self.0.clone(), ..Outside::default() })
    }

    /// The archives in the store and in transit.
    fn archives(&self) -> (usize, usize) {
        let mut folders = vec![self.0.clone()];
        let (mut stored, mut in_transit) = (0, 0);
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(&folder).unwrap().map(Result::unwrap) {
                let path = entry.path();
                let is_archive = path.extension().is_some_and(|it| it == "zst");
                match path.is_dir() {
                    true => folders.push(path),
                    false if is_archive && folder == self.0 => in_transit += 1,
                    false => stored += usize::from(is_archive),
                }
            }
        }
        (stored, in_transit)
    }
}

impl Drop for Data {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// A session that makes a profile at its end. `sanitizes` has it sanitized after each occupant.
async fn writer(stage: &Stage, sanitizes: bool) -> SessionId {
    let id = stage.world.mint.mint(stage.world.clock.now());
    let spec = SessionSpec {
        profile: Some(ProfileUse::made(id)),
        sanitize_after: sanitizes.then(Generation::default),
        ..SessionSpec::default()
    };
    let create = Create {
        organization: Stage::organization(),
        spec,
        start: Start::Now,
        run: None,
        id: None,
        must_write: false,
        storage_state: None,
    };
    let Created { id, mut view } = stage.registry.ask(create).await.unwrap().unwrap();
    view.wait_for(|view| view.record.status == SessionStatus::Running).await.unwrap();
    id
}

fn store() -> StoreProfile {
    StoreProfile { name: None, description: None, tags: Tags::default() }
}

/// The kinds of the events of profiles so far.
async fn reported(stage: &mut Stage) -> Vec<EventKind> {
    let recorded = stage.recorded.next(1_000).await;
    let kinds = recorded.iter().map(|event| event.kind);
    kinds
        .filter(|it| matches!(it, EventKind::ProfileStored | EventKind::ProfileNotStored))
        .collect()
}

#[actix::test]
async fn a_session_that_ends_while_it_is_cleared_stores_nothing_over_the_logins() {
    pause();
    let data = Data::new("cleared");
    let mut stage = data.stage();
    let id = writer(&stage, false).await;
    let asked = stage.registry.ask(route(id, Sanitize { holder: None }));
    let closed = async {
        sleep(Duration::from_millis(100)).await;
        assert_eq!(stage.rows.session(id).spec.profile, None, "given up before it is cleared");
        let close = Close { status: SessionStatus::Completed };
        stage.registry.ask(route(id, close)).await.unwrap().unwrap();
    };
    let (asked, ()) = tokio::join!(asked, closed);
    assert!(matches!(asked.unwrap(), Err(RouteError::Session(SessionError::Closing))));
    assert_eq!(stage.desktops.alive(), 0);

    // One that cannot be cleared.
    let id = writer(&stage, false).await;
    stage.desktops.unrevived.store(3, Ordering::SeqCst);
    assert!(ask!(stage, id, Sanitize { holder: None }).is_err());
    let mut view = stage.world.views.session(Stage::organization(), id);
    if let Some(view) = &mut view {
        let _ = view.wait_for(|view| view.record.status.is_final()).await;
    }
    assert_eq!(stage.rows.session(id).failure.unwrap().code, "sanitize_failed");
    assert!(stage.rows.versions.lock().is_empty());
    assert_eq!((data.archives(), reported(&mut stage).await), ((0, 0), vec![]));
}

#[actix::test]
async fn a_restart_that_completes_a_former_clearing_gives_the_profile_up() {
    pause();
    let data = Data::new("restart");
    let stage = data.stage();
    let id = writer(&stage, false).await;
    stage.desktops.marked.store(true, Ordering::SeqCst);
    let mut view = stage.world.views.session(Stage::organization(), id).unwrap();
    stage.desktops.kill.notify_waiters();
    view.wait_for(|view| view.record.status == SessionStatus::Retry).await.unwrap();
    view.wait_for(|view| view.record.status == SessionStatus::Running).await.unwrap();
    ask!(stage, id, Close { status: SessionStatus::Completed }).unwrap();
    assert_eq!(stage.rows.session(id).spec.profile, None);
    assert!(stage.rows.versions.lock().is_empty());
}

#[actix::test]
async fn a_session_is_cleared_when_its_profile_is_stored_and_not_before() {
    pause();
    let data = Data::new("order");
    let stage = data.stage();
    let id = writer(&stage, true).await;
    let sanitized = || stage.desktops.sanitized.load(Ordering::SeqCst);
    ask!(stage, id, begin("ann")).unwrap();
    *stage.desktops.packing.lock() = Duration::from_secs(5);
    let stored = stage.registry.ask(route(id, store()));
    let released = async {
        sleep(Duration::from_millis(100)).await;
        stage.registry.ask(route(id, release("ann", 1))).await.unwrap().unwrap();
        sleep(Duration::from_secs(3)).await;
        let early = stage.registry.ask(route(id, begin("bob"))).await.unwrap();
        (sanitized(), early)
    };
    let (stored, (before, early)) = tokio::join!(stored, released);
    assert_eq!(stored.unwrap().unwrap().number, 1);
    assert_eq!(before, 0, "it was cleared under the packer");
    assert!(matches!(early, Err(RouteError::Session(SessionError::Starting))), "{early:?}");
    let (message, _gone) = begin_or_wait("bob", 60);
    ask!(stage, id, message).unwrap();
    assert_eq!((sanitized(), data.archives()), (1, (1, 0)));
    assert_eq!(stage.rows.session(id).spec.profile, None);
}

#[actix::test]
async fn an_outage_of_the_database_at_the_end_costs_no_logins() {
    pause();
    let data = Data::new("outage");
    let mut stage = data.stage();
    let id = writer(&stage, false).await;
    *stage.rows.broken.lock() = true;
    let close = Close { status: SessionStatus::Completed };
    let closed = stage.registry.ask(route(id, close));
    let back = async {
        sleep(Duration::from_secs(60)).await;
        *stage.rows.broken.lock() = false;
    };
    let (_late, ()) = tokio::join!(closed, back);
    sleep(Duration::from_secs(10)).await;
    assert_eq!(stage.rows.session(id).status, SessionStatus::Completed);
    let versions = stage.rows.versions.lock().clone();
    assert_eq!(versions.iter().map(|it| it.number).collect::<Vec<_>>(), [1]);
    assert_eq!(data.archives(), (1, 0));
    assert_eq!(reported(&mut stage).await, [EventKind::ProfileStored]);
}

#[actix::test]
async fn an_archive_whose_row_may_be_stored_stays_and_one_whose_row_is_refused_goes() {
    pause();
    let data = Data::new("unknown");
    let stage = data.stage();
    let id = writer(&stage, false).await;
    *stage.rows.mute.lock() = true;
    let unknown = ask!(stage, id, store());
    *stage.rows.mute.lock() = false;
    assert!(
        matches!(
            unknown,
            Err(RouteError::Session(SessionError::Profile(ProfileError::Row(
                StoreError::Unavailable(_)
            ))))
        ),
        "{unknown:?}"
    );
    assert_eq!((stage.rows.versions.lock().len(), data.archives()), (1, (1, 0)));

    *stage.rows.refuses.lock() = true;
    let refused = ask!(stage, id, store());
    *stage.rows.refuses.lock() = false;
    assert!(refused.is_err() && data.archives() == (1, 0), "{refused:?}");

    // Another server has given the profile to another session.
    stage.rows.sessions.lock().get_mut(&id).unwrap().spec.profile = None;
    let refused = ask!(stage, id, store());
    assert!(
        matches!(
            refused,
            Err(RouteError::Session(SessionError::Profile(ProfileError::NotWriter(_))))
        ),
        "{refused:?}"
    );
    assert_eq!(data.archives(), (1, 0));
}

#[actix::test]
async fn changes_of_the_profile_are_stored_in_their_order() {
    pause();
    let data = Data::new("changes");
    let stage = data.stage();
    let (id, _) = stage.running().await;
    let keep = || stage.registry.ask(route(id, KeepProfile { keep: true }));
    let (one, other) = tokio::join!(keep(), keep());
    let of = |view: SessionView| view.record.spec.profile.unwrap();
    let (one, other) = (of(one.unwrap().unwrap()), of(other.unwrap().unwrap()));
    assert_eq!(one, other, "the second has made another profile");
    assert_eq!(one.access, ProfileAccess::Write);
    ask!(stage, id, KeepProfile { keep: false }).unwrap();

    // A clearing comes after the change that is being stored, and undoes it.
    *stage.rows.slow.lock() = Duration::from_secs(10);
    let kept = keep();
    let cleared = async {
        sleep(Duration::from_millis(100)).await;
        *stage.rows.slow.lock() = Duration::ZERO;
        stage.registry.ask(route(id, Sanitize { holder: None })).await.unwrap().unwrap();
        let view = stage.registry.ask(route(id, Look)).await;
        view.unwrap().unwrap()
    };
    let (kept, view) = tokio::join!(kept, cleared);
    assert_eq!(kept.unwrap().unwrap().record.spec.profile, None);
    assert_eq!((view.record.spec.profile, stage.rows.session(id).spec.profile), (None, None));
    ask!(stage, id, Close { status: SessionStatus::Completed }).unwrap();
    assert!(stage.rows.versions.lock().is_empty());
}
