//! Events are numbered without gaps, in the order in which they become visible.

use std::collections::BTreeMap;
use std::slice;

use futures_util::future::join_all;
use serde_json::json;

use crate::db::events::{self, Extent};
use crate::db::outbox;
use crate::db::store::{Ended, Occupied, RunChange, Started, Store as _, StoreError};
use crate::db::testing::{mint, on_both, time};
use crate::db::tests::round_trips::desktop;
use crate::domain::deadlines::Deadlines;
use crate::domain::event::{Event, EventKind, NewEvent, Subject};
use crate::domain::ids::{OrganizationId, SessionId};
use crate::domain::occupancy::{Generation, Occupancy};
use crate::domain::quota::{Limits, Quota};
use crate::domain::run::RunStatus;
use crate::domain::session::SessionStatus;

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
            assert!(stored.unwrap().latest[&ours] <= 60);
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
        let latest = events::append(&world.db, vec![stored.clone()]).await.unwrap().latest;
        assert_eq!(latest, BTreeMap::from([(theirs, 1)]));
        // The write can safely be repeated.
        let latest = events::append(&world.db, vec![stored.clone()]).await.unwrap().latest;
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
            let change = Occupied::new(Generation::new(expected), vacant.clone());
            world.db.occupy(id, Occupied { events, ..change }).await
        };
        occupy(0, &first).await.unwrap();
        let refused = occupy(0, &second).await;
        assert!(matches!(refused, Err(StoreError::Conflict { .. })), "{refused:?}");
        assert_eq!(outbox::of_node(&world.db, node).await.unwrap(), slice::from_ref(&first));
        assert_eq!(outbox::of_node(&world.db, mint()).await.unwrap(), []);
        assert_eq!(outbox::from_before(&world.db, time(1)).await.unwrap(), []);
        assert_eq!(outbox::from_before(&world.db, time(2)).await.unwrap().len(), 1);

        let latest = events::append(&world.db, vec![first]).await.unwrap().latest;
        assert_eq!(latest, BTreeMap::from([(tenant.organization, 1)]));
        assert_eq!(outbox::from_before(&world.db, time(9)).await.unwrap(), []);
    });
}

#[test]
fn an_event_is_stored_with_the_change_that_it_reports_or_not_at_all() {
    on_both(async |world| {
        let db = &world.db;
        let tenant = world.tenant().await;
        let (session, run) = (tenant.session(0), tenant.run(0));
        let (organization, id) = (tenant.organization, session.id);
        let mut seconds = 1..;
        let mut event = || event(organization, id, seconds.next().unwrap());
        let waiting = async || outbox::of_node(db, tenant.node).await.unwrap();
        let one = |event: &NewEvent| vec![event.clone()];

        let created = event();
        for _repeated in 0..2 {
            db.insert_session(session.clone(), Limits::default(), one(&created)).await.unwrap();
        }
        let mut none = Limits::default();
        none.set(Quota::Sessions, Some(0));
        let other = tenant.session(1);
        assert!(db.insert_session(other, none, one(&event())).await.unwrap().is_some());
        let started = event();
        let start = Started {
            desktop: desktop(),
            at: time(10),
            deadlines: Deadlines::default(),
            events: one(&started),
        };
        db.start_session(id, start.clone()).await.unwrap();
        let renewed = event();
        let later = Deadlines { expires_at: Some(time(90)), ..Deadlines::default() };
        db.extend_deadlines(id, later.clone(), one(&renewed)).await.unwrap();

        db.insert_run(run.clone(), Limits::default()).await.unwrap();
        let (ran, late) = (event(), event());
        let change = |status, event: &NewEvent| RunChange {
            status: Some(status),
            events: one(event),
            ..RunChange::default()
        };
        db.change_run(run.id, change(RunStatus::Completed, &ran)).await.unwrap();
        db.change_run(run.id, change(RunStatus::Failed, &late)).await.unwrap_err();

        let ended = event();
        let end = |event: &NewEvent| Ended {
            events: one(event),
            ..Ended::new(SessionStatus::Completed, time(20))
        };
        db.end_session(id, end(&ended)).await.unwrap();
        // A row that is final takes neither the change nor its event.
        db.end_session(id, end(&event())).await.unwrap_err();
        db.start_session(id, Started { events: one(&event()), ..start }).await.unwrap_err();
        db.extend_deadlines(id, later, one(&event())).await.unwrap_err();
        let all = [created, started, renewed, ran, ended];
        let mut waiting = waiting().await;
        waiting.sort_unstable_by_key(|event| event.at);
        assert_eq!(waiting, all);
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
        assert_eq!(events::append(&world.db, again).await.unwrap().latest[&organization], 11);
    });
}
