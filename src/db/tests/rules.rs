//! Rules that hold in spite of concurrent writers.

use futures_util::future::join_all;
use serde_json::json;

use crate::db::store::{Ended, Occupied, RunChange, Started, Store as _, StoreError};
use crate::db::testing::{Tenant, mint, on_both, time, workflow};
use crate::db::{
    Db, DbError, api_keys, audit_events, blocks, debug_sessions, idempotency, leases, nodes, runs,
    sessions, workflows,
};
use crate::domain::audit::AuditEvent;
use crate::domain::deadlines::Deadlines;
use crate::domain::debug_session::{DebugSession, DebugSessionStatus};
use crate::domain::lease::{LeaseToken, TakenLease};
use crate::domain::occupancy::{Event, Generation, Occupancy, Occupant, RunnableType};
use crate::domain::quota::Limits;
use crate::domain::run::{BlockRecord, BlockStatus, RunStatus};
use crate::domain::session::SessionStatus;
use crate::domain::tenancy::ApiKey;

use super::round_trips::{desktop, failure};

fn begun(occupancy: &Occupancy, who: &str) -> Occupancy {
    let occupant =
        Occupant { runnable_type: RunnableType::External, runnable_id: who.parse().unwrap() };
    let lease = LeaseToken::new([9; 32]).hash();
    let begin = Event::Begin { occupant, lease, now: time(1), expires_at: time(31) };
    occupancy.after(begin).unwrap()
}

async fn occupancy(db: &Db, tenant: &Tenant, id: crate::domain::ids::SessionId) -> Occupancy {
    sessions::by_id(db, tenant.organization, id).await.unwrap().unwrap().occupancy
}

#[test]
fn of_many_that_occupy_at_once_one_wins_and_the_others_learn_who() {
    on_both(async |world| {
        let tenant = world.tenant().await;
        let id = tenant.stored_session(&world.db).await;
        let vacant = Occupancy::default();
        let attempts =
            (0..40).map(|number| {
                let next = begun(&vacant, &format!("client-{number}"));
                let db = world.db.clone();
                async move {
                    (next.clone(), db.occupy(id, Occupied::new(Generation::new(0), next)).await)
                }
            });
        let outcomes = join_all(attempts).await;
        let (won, lost): (Vec<_>, Vec<_>) =
            outcomes.into_iter().partition(|(_next, outcome)| outcome.is_ok());
        assert_eq!((won.len(), lost.len()), (1, 39));
        let winner = &won[0].0;
        assert_eq!(&occupancy(&world.db, &tenant, id).await, winner);
        for (_next, outcome) in lost {
            let Err(StoreError::Conflict { stored }) = outcome else { panic!("{outcome:?}") };
            assert_eq!(&stored, winner);
        }
    });
}

#[test]
fn a_change_is_stored_together_with_its_lease_and_its_message_or_not_at_all() {
    on_both(async |world| {
        let tenant = world.tenant().await;
        let id = tenant.stored_session(&world.db).await;
        let message = |number: i64| AuditEvent {
            id: mint(),
            message_id: number,
            cause: None,
            kind: "begin".to_owned(),
            sender: "http".to_owned(),
            receiver: id.to_string(),
            organization: Some(tenant.organization),
            session: Some(id),
            run: None,
            outcome: "done".to_owned(),
            summary: json!({}),
            key: None,
            address: None,
            request: None,
            at: time(1),
        };
        let taken = |byte: u8| TakenLease {
            session: id,
            organization: tenant.organization,
            lease: LeaseToken::new([byte; 32]).hash(),
            key: mint(),
            ends_at: Some(time(9)),
        };
        let occupy = async |expected: i64, message: &AuditEvent, taken: TakenLease| {
            let next = begun(&Occupancy::default(), "ann");
            let change = Occupied::new(Generation::new(expected), next);
            let (taken, audit) = (Some(taken), Some(message.clone()));
            world.db.occupy(id, Occupied { taken, audit, ..change }).await
        };
        let (first, second, granted) = (message(1), message(2), taken(1));
        occupy(0, &first, granted).await.unwrap();
        let refused = occupy(0, &second, taken(2)).await;
        assert!(matches!(refused, Err(StoreError::Conflict { .. })), "{refused:?}");
        assert_eq!(leases::live(&world.db).await.unwrap(), [granted]);
        let filter = audit_events::Filter { session: Some(id), ..Default::default() };
        let stored = audit_events::list(&world.db, filter, None, 9).await.unwrap();
        assert_eq!(stored, [first]);
    });
}

#[test]
fn a_stale_generation_changes_nothing_and_a_heartbeat_keeps_its_generation() {
    on_both(async |world| {
        let tenant = world.tenant().await;
        let id = tenant.stored_session(&world.db).await;
        let first = begun(&Occupancy::default(), "ann");
        world.db.occupy(id, Occupied::new(Generation::new(0), first.clone())).await.unwrap();

        let heartbeat = Event::Heartbeat {
            generation: Generation::new(1),
            lease: LeaseToken::new([9; 32]).hash(),
            now: time(5),
            expires_at: time(35),
        };
        let beaten = first.after(heartbeat).unwrap();
        world.db.occupy(id, Occupied::new(Generation::new(1), beaten.clone())).await.unwrap();
        assert_eq!(occupancy(&world.db, &tenant, id).await, beaten);

        let stale = begun(&Occupancy::default(), "bob");
        let refused = world.db.occupy(id, Occupied::new(Generation::new(0), stale)).await;
        assert!(matches!(refused, Err(StoreError::Conflict { stored }) if stored == beaten));
        assert_eq!(occupancy(&world.db, &tenant, id).await, beaten);
    });
}

#[test]
fn a_session_that_has_ended_is_not_written_again() {
    on_both(async |world| {
        let tenant = world.tenant().await;
        let id = tenant.stored_session(&world.db).await;
        let held = begun(&Occupancy::default(), "ann");
        world.db.occupy(id, Occupied::new(Generation::new(0), held)).await.unwrap();
        let end = |status| Ended { failure: Some(failure()), ..Ended::new(status, time(9)) };
        world.db.end_session(id, end(SessionStatus::Failed)).await.unwrap();
        let ended = sessions::by_id(&world.db, tenant.organization, id).await.unwrap().unwrap();
        assert_eq!(ended.status, SessionStatus::Failed);
        assert_eq!(ended.occupancy, Occupancy::Closed { last: Generation::new(1) });
        assert_eq!((ended.failure.clone(), ended.completed_at), (Some(failure()), Some(time(9))));

        let started = Started {
            desktop: desktop(),
            at: time(10),
            deadlines: Deadlines::default(),
            events: Vec::new(),
        };
        let next = begun(&Occupancy::default(), "bob");
        let writes = [
            world.db.end_session(id, end(SessionStatus::Completed)).await,
            world.db.occupy(id, Occupied::new(Generation::new(1), next.clone())).await,
            world.db.occupy(id, Occupied::new(Generation::new(0), next.clone())).await,
            world.db.start_session(id, started.clone()).await,
            world.db.extend_deadlines(id, Deadlines::default(), Vec::new()).await,
        ];
        for outcome in writes {
            assert!(matches!(outcome, Err(StoreError::Final)), "{outcome:?}");
        }
        let after = sessions::by_id(&world.db, tenant.organization, id).await.unwrap().unwrap();
        assert_eq!(after, ended);

        let unknown = mint();
        let writes = [
            world.db.end_session(unknown, end(SessionStatus::Completed)).await,
            world.db.occupy(unknown, Occupied::new(Generation::new(0), next)).await,
            world.db.start_session(unknown, started).await,
            world.db.extend_deadlines(unknown, Deadlines::default(), Vec::new()).await,
        ];
        for outcome in writes {
            assert!(matches!(outcome, Err(StoreError::Missing)), "{outcome:?}");
        }
    });
}

#[test]
fn a_session_that_is_brought_back_keeps_when_it_first_started() {
    on_both(async |world| {
        let tenant = world.tenant().await;
        let id = tenant.stored_session(&world.db).await;
        let started = |second| Started {
            desktop: desktop(),
            at: time(second),
            deadlines: Deadlines {
                start_by: None,
                expires_at: Some(time(second + 60)),
                idle_expires_at: Some(time(second + 20)),
            },
            events: Vec::new(),
        };
        world.db.start_session(id, started(1)).await.unwrap();
        world.db.start_session(id, started(50)).await.unwrap();
        let session = sessions::by_id(&world.db, tenant.organization, id).await.unwrap().unwrap();
        assert_eq!(session.started_at, Some(time(1)));
        assert_eq!(session.desktop, Some(desktop()));
        assert_eq!(session.deadlines, started(50).deadlines);

        let at = |expires_at, idle_expires_at| Deadlines {
            start_by: None,
            expires_at: Some(time(expires_at)),
            idle_expires_at: Some(time(idle_expires_at)),
        };
        for (asked, stored) in
            [(at(900, 90), at(900, 90)), (at(800, 95), at(900, 95)), (at(901, 10), at(901, 95))]
        {
            world.db.extend_deadlines(id, asked, Vec::new()).await.unwrap();
            let session = sessions::by_id(&world.db, tenant.organization, id).await.unwrap();
            assert_eq!(session.unwrap().deadlines, stored);
        }

        // The write that makes the session vacant also sets the time of its idle deadline.
        let vacant = Occupancy::default();
        let idle = Some(time(700));
        world
            .db
            .occupy(id, Occupied::new(Generation::new(0), begun(&vacant, "ann")))
            .await
            .unwrap();
        let change = Occupied::new(Generation::new(1), vacant);
        world.db.occupy(id, Occupied { idle, ..change }).await.unwrap();
        let session = sessions::by_id(&world.db, tenant.organization, id).await.unwrap().unwrap();
        assert_eq!(session.deadlines.idle_expires_at, idle);
    });
}

#[test]
fn a_run_changes_in_part_until_it_has_ended() {
    on_both(async |world| {
        let tenant = world.tenant().await;
        let run = tenant.run(0);
        world.db.insert_run(run.clone(), Limits::default()).await.unwrap();
        world.db.insert_run(run.clone(), Limits::default()).await.unwrap();
        let running = RunChange {
            status: Some(RunStatus::Running),
            started_at: Some(time(2)),
            outputs: Some(json!({"open_output": [1]})),
            ..RunChange::default()
        };
        world.db.change_run(run.id, running).await.unwrap();
        let ending = RunChange {
            status: Some(RunStatus::Failed),
            failure: Some(failure()),
            finished_at: Some(time(3)),
            ..RunChange::default()
        };
        let block = BlockRecord {
            id: mint(),
            run: run.id,
            organization: tenant.organization,
            parent: None,
            position: 0,
            label: "open".to_owned(),
            block_type: "goto_url".to_owned(),
            status: BlockStatus::Running,
            output: None,
            failure: None,
            started_at: time(1),
            finished_at: None,
        };
        let done = BlockRecord { id: mint(), position: 1, ..block.clone() };
        let done =
            BlockRecord { status: BlockStatus::Completed, finished_at: Some(time(2)), ..done };
        world.db.insert_block(block.clone()).await.unwrap();
        world.db.insert_block(done.clone()).await.unwrap();
        let (ended_as, ended_at) = (ending.status.unwrap(), ending.finished_at);
        world.db.change_run(run.id, ending).await.unwrap();
        let cut_off = BlockRecord {
            status: BlockStatus::cut_off_by(ended_as),
            finished_at: ended_at,
            ..block
        };
        let read = blocks::of_run(&world.db, tenant.organization, run.id).await.unwrap();
        assert_eq!(read, [cut_off, done], "a block that is open ends with its run");
        let ended = runs::by_id(&world.db, tenant.organization, run.id).await.unwrap().unwrap();
        assert_eq!(ended.status, RunStatus::Failed);
        assert_eq!((ended.started_at, ended.finished_at), (Some(time(2)), Some(time(3))));
        assert_eq!(ended.outputs, json!({"open_output": [1]}));

        let late = RunChange { status: Some(RunStatus::Running), ..RunChange::default() };
        let outcome = world.db.change_run(run.id, late.clone()).await;
        assert!(matches!(outcome, Err(StoreError::Final)), "{outcome:?}");
        let after = runs::by_id(&world.db, tenant.organization, run.id).await.unwrap().unwrap();
        assert_eq!(after, ended);
        let outcome = world.db.change_run(mint(), late).await;
        assert!(matches!(outcome, Err(StoreError::Missing)), "{outcome:?}");
    });
}

#[test]
fn of_fifty_debug_sessions_made_at_once_one_is() {
    on_both(async |world| {
        let tenant = world.tenant().await;
        let workflow = tenant.workflow.permanent_id;
        let new = || DebugSession {
            id: mint(),
            organization: tenant.organization,
            user: "ann".to_owned(),
            workflow_permanent_id: workflow,
            session: mint(),
            status: DebugSessionStatus::Created,
            expires_at: time(100),
            created_at: time(0),
            modified_at: time(0),
        };
        let attempts = (0..50).map(|_number| {
            let (db, session) = (world.db.clone(), new());
            async move { (session.clone(), debug_sessions::insert(&db, &session).await) }
        });
        let outcomes = join_all(attempts).await;
        let won: Vec<_> = outcomes.iter().filter(|(_session, outcome)| outcome.is_ok()).collect();
        assert_eq!(won.len(), 1);
        let conflicts =
            outcomes.iter().filter(|(_session, outcome)| matches!(outcome, Err(DbError::Conflict)));
        assert_eq!(conflicts.count(), 49);
        let find = || debug_sessions::live(&world.db, tenant.organization, "ann", workflow);
        assert_eq!(find().await.unwrap().as_ref(), Some(&won[0].0));

        let id = won[0].0.id;
        assert!(debug_sessions::touch(&world.db, id, time(300)).await.unwrap());
        assert!(debug_sessions::touch(&world.db, id, time(200)).await.unwrap());
        assert_eq!(find().await.unwrap().unwrap().expires_at, time(300));

        let earlier = chrono::Utc::now() - chrono::TimeDelta::hours(1);
        let unused = debug_sessions::complete_unused(&world.db, id, earlier).await.unwrap();
        assert!(!unused, "it was touched since");
        assert!(debug_sessions::complete(&world.db, id).await.unwrap());
        assert!(!debug_sessions::complete(&world.db, id).await.unwrap());
        assert!(!debug_sessions::touch(&world.db, id, time(400)).await.unwrap());
        assert_eq!(find().await.unwrap(), None);
        debug_sessions::insert(&world.db, &new()).await.unwrap();
        assert!(find().await.unwrap().is_some());
    });
}

#[test]
fn of_two_that_store_the_same_version_one_is_told() {
    on_both(async |world| {
        let tenant = world.tenant().await;
        let mut next = tenant.workflow.clone();
        (next.id, next.version) = (mint(), 2);
        workflows::insert(&world.db, &next).await.unwrap();
        next.id = mint();
        let outcome = workflows::insert(&world.db, &next).await;
        assert!(matches!(outcome, Err(DbError::Conflict)), "{outcome:?}");
        let other = workflow(tenant.organization, "Another");
        workflows::insert(&world.db, &other).await.unwrap();
    });
}

#[test]
fn a_repeated_request_finds_its_key_taken_and_then_its_answer() {
    on_both(async |world| {
        let tenant = world.tenant().await;
        let key = idempotency::Key {
            organization: tenant.organization,
            scope: "POST /v1/run/workflows".to_owned(),
            key: "k-1".to_owned(),
        };
        let claim = |node: u64, resource: &str| idempotency::Claim {
            request_hash: "hash".to_owned(),
            resource: resource.to_owned(),
            node: node.into(),
        };
        let attempts = (0..20_u64).map(|number| {
            let (db, key, claim) =
                (world.db.clone(), key.clone(), claim(1, &format!("wr_{number}")));
            async move { idempotency::reserve(&db, &key, &claim).await.unwrap() }
        });
        let new = join_all(attempts).await;
        let new = new.iter().filter(|outcome| **outcome == idempotency::Reservation::New);
        assert_eq!(new.count(), 1);

        // Another node takes over only an old request, and only one of many does. A node can always
        // take over its own.
        let found = idempotency::find(&world.db, &key).await.unwrap().unwrap();
        let resource = found.resource.unwrap();
        let (young, old) =
            (found.created_at, found.created_at + chrono::TimeDelta::microseconds(1));
        let take = |node: u64, before| {
            let (db, key, claim) = (world.db.clone(), key.clone(), claim(node, &resource));
            async move { idempotency::reclaim(&db, &key, &claim, before).await.unwrap() }
        };
        assert!(!take(2, young).await);
        let taken = join_all((2..22).map(|node| take(node, old))).await;
        assert_eq!(taken.into_iter().filter(|taken| *taken).count(), 1);
        assert!(!take(1, young).await, "it is another's now");
        idempotency::forget(&world.db, &key, 1.into()).await.unwrap();
        assert!(idempotency::find(&world.db, &key).await.unwrap().is_some());

        let response = idempotency::Response { status: 200, body: json!({"run_id": "wr_1"}) };
        idempotency::complete(&world.db, &key, response.clone()).await.unwrap();
        for node in 1..22_u64 {
            assert!(!take(node, chrono::Utc::now()).await, "it has its answer");
            idempotency::forget(&world.db, &key, node.into()).await.unwrap();
        }
        let found = idempotency::find(&world.db, &key).await.unwrap().unwrap();
        assert_eq!((found.request_hash.as_str(), found.response), ("hash", Some(response)));
        assert_eq!(idempotency::expire(&world.db, found.created_at).await.unwrap(), 0);
        let later = found.created_at + chrono::TimeDelta::microseconds(1);
        assert_eq!(idempotency::expire(&world.db, later).await.unwrap(), 1);
        assert_eq!(idempotency::find(&world.db, &key).await.unwrap(), None);
    });
}

#[test]
fn a_revoked_key_opens_nothing() {
    on_both(async |world| {
        let tenant = world.tenant().await;
        let (hash, label) = ("c0ffee".to_owned(), "first".to_owned());
        let key = ApiKey::new(mint(), tenant.organization, hash, label, time(0));
        api_keys::insert(&world.db, &key).await.unwrap();
        let again = ApiKey { id: mint(), ..key.clone() };
        let outcome = api_keys::insert(&world.db, &again).await;
        assert!(matches!(outcome, Err(DbError::Conflict)), "{outcome:?}");
        let (found, organization) = api_keys::by_hash(&world.db, "c0ffee").await.unwrap().unwrap();
        assert_eq!((&found, organization.id), (&key, tenant.organization));
        assert_eq!(api_keys::by_hash(&world.db, "beef").await.unwrap(), None);

        assert!(!api_keys::revoke(&world.db, mint(), key.id).await.unwrap());
        assert!(api_keys::revoke(&world.db, tenant.organization, key.id).await.unwrap());
        assert!(!api_keys::revoke(&world.db, tenant.organization, key.id).await.unwrap());
        assert_eq!(api_keys::by_hash(&world.db, "c0ffee").await.unwrap(), None);
        let listed = api_keys::list(&world.db, tenant.organization).await.unwrap();
        assert!(matches!(&listed[..], [one] if one.revoked_at.is_some()));
    });
}

#[test]
fn a_node_that_comes_back_tells_whether_its_machine_was_restarted() {
    on_both(async |world| {
        let tenant = world.tenant().await;
        let mut node = nodes::by_id(&world.db, tenant.node).await.unwrap().unwrap();
        node.started_at = time(50);
        assert!(!nodes::register(&world.db, &node).await.unwrap());
        node.boot_id = "boot-2".to_owned();
        assert!(nodes::register(&world.db, &node).await.unwrap());
        assert_eq!(nodes::by_id(&world.db, tenant.node).await.unwrap(), Some(node.clone()));
        nodes::seen(&world.db, node.id).await.unwrap();
        let listed = nodes::list(&world.db).await.unwrap();
        assert!(matches!(&listed[..], [one] if one.seen_at != node.seen_at));
    });
}
