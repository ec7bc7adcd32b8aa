//! The restart of sessions whose actor breaks, on a paused clock.

use std::time::Duration;

use tokio::time::{pause, sleep};

use super::*;
use crate::actors::session::{Begin, Beginner, Invite, Look, SessionError};
use crate::actors::testing::{BreakSession, Outside, Stage, occupant};
use crate::actors::tickets::Uses;
use crate::domain::profile::{ProfileAccess, ProfileUse};
use crate::domain::session::{SessionSpec, SessionStatus};
use crate::domain::ticket::TicketRole;

fn route<M>(session: SessionId, message: M) -> Route<M> {
    Route { organization: Stage::organization(), session, message }
}

#[actix::test]
async fn a_session_whose_actor_breaks_goes_on_from_its_row_under_its_name_with_its_tickets() {
    pause();
    let stage = Stage::new(Outside::default());
    let (id, _) = stage.running().await;
    let invite = Invite {
        key: 1.into(),
        role: TicketRole::Watch,
        label: None,
        ttl: Duration::from_secs(600),
        uses: Uses::Many,
    };
    let invited = stage.registry.ask(route(id, invite)).await.unwrap().unwrap();
    for _ in 0..2 {
        // The begin is being stored when the actor breaks: no view has shown it.
        let lease = stage.world.secrets.fresh_lease();
        let hash = lease.hash();
        let ttl = Duration::from_secs(30);
        let message = Begin {
            occupant: occupant("ann"),
            lease,
            ttl,
            wait: None,
            by: Beginner::Key(1.into()),
        };
        let begun = stage.registry.ask(route(id, message));
        let broken = stage.registry.ask(route(id, BreakSession));
        assert!(begun.await.unwrap().is_err() && broken.await.unwrap().is_err());

        let mut shown = stage.world.views.session(Stage::organization(), id);
        for _ in 0..100 {
            let view = shown.clone().expect("it is there all the while");
            if view.borrow().record.occupancy.holder().is_some_and(|held| held.lease == hash) {
                break;
            }
            if let Err(cause) = stage.registry.ask(route(id, Look)).await.unwrap() {
                let is_coming = matches!(
                    cause,
                    RouteError::Session(SessionError::Starting | SessionError::Unanswered(_))
                );
                assert!(is_coming, "{cause}");
            }
            sleep(Duration::from_millis(100)).await;
            shown = stage.world.views.session(Stage::organization(), id);
        }
        let view = shown.expect("it is there");
        let held = view.borrow().record.occupancy.holder().cloned().expect("as its row says");
        assert_eq!(held.lease, hash);
        sleep(Duration::from_secs(40)).await;
        let view = stage.world.views.session(Stage::organization(), id).expect("it continues");
        assert!(view.borrow().record.occupancy.holder().is_none(), "the lease lapses");
    }
    let now = stage.world.clock.now();
    let secret = invited.secret.reveal();
    assert!(stage.world.views.tickets.opened(id, secret, now).is_some(), "its tickets are good");
}

#[actix::test]
async fn a_session_whose_actor_breaks_waits_for_the_database() {
    pause();
    let stage = Stage::new(Outside::default());
    let (id, _) = stage.running().await;
    *stage.rows.broken.lock() = true;
    assert!(stage.registry.ask(route(id, BreakSession)).await.unwrap().is_err());
    sleep(Duration::from_secs(5)).await;
    let asked = stage.registry.ask(route(id, Look)).await.unwrap();
    assert!(matches!(asked, Err(RouteError::Session(SessionError::Starting))), "{asked:?}");
    *stage.rows.broken.lock() = false;
    sleep(Duration::from_secs(5)).await;
    let view = stage.registry.ask(route(id, Look)).await.unwrap().unwrap();
    assert_eq!(view.record.status, SessionStatus::Running);
}

#[actix::test]
async fn a_session_that_could_not_claim_its_profile_leaves_no_live_row() {
    pause();
    let stage = Stage::new(Outside::default());
    let profile = stage.world.mint.mint(stage.world.clock.now());
    let id = stage.world.mint.mint(stage.world.clock.now());
    let create = || Create {
        organization: Stage::organization(),
        spec: SessionSpec { profile: Some(ProfileUse::made(profile)), ..SessionSpec::default() },
        start: Start::Now,
        run: None,
        id: Some(id),
        must_write: true,
        storage_state: None,
    };
    *stage.rows.slow.lock() = Duration::from_secs(1);
    let refused = stage.registry.ask(create());
    let outage = async {
        sleep(Duration::from_millis(500)).await;
        *stage.rows.broken.lock() = true;
        // Inserted in one write with the place of the writer.
        let used = stage.rows.session(id).spec.profile.unwrap();
        assert_eq!(used.access, ProfileAccess::Write);
    };
    let (refused, ()) = tokio::join!(refused, outage);
    assert!(matches!(refused.unwrap(), Err(RegistryError::NotStored(_))));
    let again = stage.registry.ask(create()).await.unwrap();
    assert!(matches!(again, Err(RegistryError::UnderWay)), "{again:?}");
    assert!(!stage.rows.session(id).status.is_final());
    sleep(Duration::from_secs(60)).await;
    *stage.rows.broken.lock() = false;
    sleep(Duration::from_secs(5)).await;
    assert_eq!(stage.rows.session(id).status, SessionStatus::Failed);
    assert_eq!(stage.desktops.launched(), 0);
}
