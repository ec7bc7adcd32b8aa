//! Events are numbered without gaps, in the order in which they become visible.

use std::collections::BTreeMap;
use std::slice;

use futures_util::future::join_all;
use serde_json::json;

use crate::db::events::{self, Extent};
use crate::db::outbox;
use crate::db::store::{Store as _, StoreError};
use crate::db::testing::{mint, on_both, time};
use crate::domain::event::{Event, EventKind, NewEvent, Subject};
use crate::domain::ids::{OrganizationId, SessionId};
use crate::domain::occupancy::{Generation, Occupancy};

fn event(organization: OrganizationId, session: SessionId, second: i64) -> NewEvent {
    NewEvent {
        id: mint(),
        subject: Subject { organization, session: Some(session), run: None },
        kind: EventKind::OccupancyBegun,
        data: json!({ "generation": second }),
        at: time(second),
    }
}

fn seqs(events: &[Event]) -> Vec<i64> {
    events.iter().map(|event| event.seq).collect()
}

#[test]
fn events_of_many_writers_have_no_gaps_and_are_read_back_as_they_were_written() {
    on_both(async |world| {
        let (ours, theirs): (OrganizationId, OrganizationId) = (mint(), mint());
        let (one, other): (SessionId, SessionId) = (mint(), mint());
        let batches = (0..12).map(|batch| {
            let event = |n: i64| event(ours, if n % 2 == 0 { one } else { other }, batch * 5 + n);
            let new: Vec<_> = (0..5).map(event).collect();
            events::append(&world.db, new)
        });
        for stored in join_all(batches).await {
            assert!(stored.unwrap()[&ours] <= 60);
        }
        let all = events::after(&world.db, ours, None, 0, 100).await.unwrap();
        assert_eq!(seqs(&all), (1..=60).collect::<Vec<i64>>());
        let page = events::after(&world.db, ours, None, 58, 100).await.unwrap();
        assert_eq!(seqs(&page), [59, 60]);
        let own = events::after(&world.db, ours, Some(one), 0, 100).await.unwrap();
        assert_eq!(own.len(), 36);
        assert!(own.iter().all(|event| event.event.subject.session == Some(one)));
        assert_eq!(events::after(&world.db, theirs, None, 0, 100).await.unwrap(), []);

        let stored = event(theirs, one, 9);
        let latest = events::append(&world.db, vec![stored.clone()]).await.unwrap();
        assert_eq!(latest, BTreeMap::from([(theirs, 1)]));
        // The write can safely be repeated.
        let latest = events::append(&world.db, vec![stored.clone()]).await.unwrap();
        assert_eq!(latest, BTreeMap::from([(theirs, 1)]));
        let read = events::after(&world.db, theirs, None, 0, 100).await.unwrap();
        assert_eq!(read, [Event { seq: 1, event: stored }]);
    });
}

#[test]
fn an_event_is_stored_with_its_change_and_numbered_later() {
    on_both(async |world| {
        let tenant = world.tenant().await;
        let id = tenant.stored_session(&world.db).await;
        let node = tenant.node;
        let (first, second) =
            (event(tenant.organization, id, 1), event(tenant.organization, id, 2));
        let vacant = Occupancy::Vacant { last: Generation::new(1), released: None };
        let occupy = async |expected: i64, event: &NewEvent| {
            let events = vec![event.clone()];
            world.db.occupy(id, Generation::new(expected), vacant.clone(), None, events).await
        };
        occupy(0, &first).await.unwrap();
        let refused = occupy(0, &second).await;
        assert!(matches!(refused, Err(StoreError::Conflict { .. })), "{refused:?}");
        assert_eq!(outbox::of_node(&world.db, node).await.unwrap(), slice::from_ref(&first));
        assert_eq!(outbox::of_node(&world.db, mint()).await.unwrap(), []);
        assert_eq!(outbox::from_before(&world.db, time(1)).await.unwrap(), []);
        assert_eq!(outbox::from_before(&world.db, time(2)).await.unwrap().len(), 1);

        let latest = events::append(&world.db, vec![first]).await.unwrap();
        assert_eq!(latest, BTreeMap::from([(tenant.organization, 1)]));
        assert_eq!(outbox::from_before(&world.db, time(9)).await.unwrap(), []);
    });
}

#[test]
fn old_events_are_forgotten_and_it_is_known_up_to_where() {
    on_both(async |world| {
        let (organization, session): (OrganizationId, SessionId) = (mint(), mint());
        let new = (0..10).map(|second| event(organization, session, second)).collect();
        events::append(&world.db, new).await.unwrap();
        let extent = async || events::extent(&world.db, organization).await.unwrap();
        assert_eq!(extent().await, Extent { last: 10, forgotten: 0 });

        assert_eq!(events::forget(&world.db, time(3), 100).await.unwrap(), 3);
        assert_eq!(extent().await, Extent { last: 10, forgotten: 3 });
        assert_eq!(events::forget(&world.db, time(3), 5).await.unwrap(), 2);
        assert_eq!(events::forget(&world.db, time(3), 5).await.unwrap(), 0);
        assert_eq!(extent().await, Extent { last: 10, forgotten: 5 });
        let left = events::after(&world.db, organization, None, 0, 100).await.unwrap();
        assert_eq!(seqs(&left), [6, 7, 8, 9, 10]);

        assert_eq!(events::forget(&world.db, time(60), 100).await.unwrap(), 5);
        let again = vec![event(organization, session, 61)];
        assert_eq!(events::append(&world.db, again).await.unwrap()[&organization], 11);
    });
}
