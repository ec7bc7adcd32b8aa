//! Tests of the content and the order of lists.

use serde_json::json;

use crate::db::retention::{self, Scope};
use crate::db::store::Store as _;
use crate::db::testing::{mint, on_both, time, workflow};
use crate::db::{Mark, Page, artifacts, audit_events, debug_sessions, runs, sessions, workflows};
use crate::domain::audit::AuditEvent;
use crate::domain::quota::Limits;
use crate::domain::run::{ArtifactRecord, RunStatus, WorkflowRecord};
use crate::domain::session::SessionStatus;

fn page(number: u32, size: u32) -> Page {
    Page { number, size, after: None }
}

#[test]
fn sessions_that_run_come_first_and_old_ones_not_at_all() {
    on_both(async |world| {
        let (db, tenant) = (&world.db, world.tenant().await);
        let mut made = Vec::new();
        for (second, status) in [
            (10, SessionStatus::Running),
            (20, SessionStatus::Completed),
            (30, SessionStatus::Created),
            (40, SessionStatus::Failed),
            (50, SessionStatus::Retry),
            (-100, SessionStatus::Timeout),
        ] {
            let mut session = tenant.session(second);
            session.status = status;
            db.insert_session(session.clone(), Limits::default(), Vec::new()).await.unwrap();
            made.push(session.id);
        }
        let other = world.tenant().await;
        other.stored_session(db).await;

        let seconds = |list: Vec<crate::domain::session::SessionRecord>| -> Vec<i64> {
            list.iter().map(|session| (session.created_at - time(0)).num_seconds()).collect()
        };
        let history = |part| sessions::history(db, tenant.organization, time(0), part);
        assert_eq!(seconds(history(page(1, 10)).await.unwrap()), [50, 30, 10, 40, 20]);
        assert_eq!(seconds(history(page(2, 2)).await.unwrap()), [10, 40]);
        assert_eq!(seconds(history(page(4, 2)).await.unwrap()), [0_i64; 0]);
        // After each session, the rest of the same order.
        let order = [50, 30, 10, 40, 20];
        for (place, second) in order.iter().enumerate() {
            let session = &made[usize::try_from(second / 10 - 1).unwrap()];
            let (live, at) = (place < 3, time(*second));
            let after = Some(Mark { at, id: session.to_string(), live });
            let rest = history(Page { after, ..Page::first(10) }).await.unwrap();
            assert_eq!(seconds(rest), order[place + 1..], "{second}");
        }
        let active = sessions::active(db, tenant.organization).await.unwrap();
        assert_eq!(seconds(active), [50, 30, 10]);
        let live = sessions::live_on(db, tenant.node).await.unwrap();
        assert_eq!(seconds(live), [10, 30, 50]);
    });
}

#[test]
fn runs_are_filtered_searched_and_paged() {
    on_both(async |world| {
        let (db, tenant) = (&world.db, world.tenant().await);
        let session = mint();
        let debug_session = mint();
        for (second, title, status) in [
            (1, None, RunStatus::Created),
            (2, Some("Buy 100% wool"), RunStatus::Completed),
            (3, Some("buy 1000 things"), RunStatus::Failed),
            (4, Some("under_score"), RunStatus::Paused),
        ] {
            let mut run = tenant.run(second);
            run.title = title.map(str::to_owned);
            run.status = status;
            run.session = (second > 2).then_some(session);
            run.debug_session = (second == 4).then_some(debug_session);
            db.insert_run(run, Limits::default()).await.unwrap();
        }
        let other = world.tenant().await;
        db.insert_run(other.run(9), Limits::default()).await.unwrap();

        let check = async |filter: runs::Filter, part: Page, expected: &[i64]| {
            let shown = format!("{filter:?} {part:?}");
            let list = runs::list(db, tenant.organization, filter, part).await.unwrap();
            let seconds: Vec<_> =
                list.iter().map(|run| (run.created_at - time(0)).num_seconds()).collect();
            assert_eq!(seconds, expected, "{shown}");
        };
        let none = runs::Filter::default;
        let search =
            |text: &str| runs::Filter { search: Some(text.to_owned()), ..runs::Filter::default() };
        check(none(), page(1, 10), &[4, 3, 2, 1]).await;
        check(none(), page(2, 3), &[1]).await;
        let statuses = vec![RunStatus::Failed, RunStatus::Created];
        check(runs::Filter { statuses, ..none() }, page(1, 10), &[3, 1]).await;
        check(runs::Filter { session: Some(session), ..none() }, page(1, 10), &[4, 3]).await;
        let workflow_permanent_id = Some(tenant.workflow.permanent_id);
        check(runs::Filter { workflow_permanent_id, ..none() }, page(1, 1), &[4]).await;
        let workflow_permanent_id = Some(mint());
        check(runs::Filter { workflow_permanent_id, ..none() }, page(1, 9), &[]).await;
        check(search("BUY"), page(1, 10), &[3, 2]).await;
        check(search("100%"), page(1, 10), &[2]).await;
        check(search("r_s"), page(1, 10), &[4]).await;
        check(search("_"), page(1, 10), &[4, 3, 2, 1]).await; // Every id has such a row.
        check(search("\\"), page(1, 10), &[]).await;
        check(search("WR_"), page(1, 10), &[4, 3, 2, 1]).await;

        let of_debug =
            debug_sessions::runs(db, tenant.organization, debug_session, page(1, 5)).await.unwrap();
        assert_eq!(of_debug.len(), 1);
        let unfinished = runs::unfinished(db, tenant.node).await.unwrap();
        let statuses: Vec<_> = unfinished.iter().map(|run| run.status).collect();
        assert_eq!(statuses, [RunStatus::Created, RunStatus::Paused]);
    });
}

#[test]
fn a_list_of_workflows_has_the_latest_version_of_those_that_are_not_deleted() {
    on_both(async |world| {
        let (db, tenant) = (&world.db, world.tenant().await);
        let organization = tenant.organization;
        let play = &tenant.workflow;
        let mut next = play.clone();
        (next.id, next.version, next.created_at) = (mint(), 2, time(20));
        (next.title, next.status) = ("The PLAY, again".to_owned(), "draft".to_owned());
        workflows::insert(db, &next).await.unwrap();
        let mut other = workflow(organization, "Opera");
        other.created_at = time(10);
        workflows::insert(db, &other).await.unwrap();

        let list = async |search: Option<&str>, statuses: &[&str], part| -> Vec<(String, i32)> {
            let filter = workflows::Filter {
                search: search.map(str::to_owned),
                statuses: statuses.iter().map(|status| (*status).to_owned()).collect(),
                name: None,
            };
            let list = workflows::list(db, organization, filter, part).await.unwrap();
            list.into_iter().map(|workflow| (workflow.title, workflow.version)).collect()
        };
        let latest = ("The PLAY, again".to_owned(), 2);
        let opera = ("Opera".to_owned(), 1);
        assert_eq!(list(None, &[], page(1, 9)).await, [latest.clone(), opera.clone()]);
        assert_eq!(list(None, &[], page(2, 1)).await, std::slice::from_ref(&opera));
        let after = |workflow: &WorkflowRecord| {
            let (at, id) = (workflow.created_at, workflow.id.to_string());
            Page { after: Some(Mark { at, id, live: false }), ..Page::first(9) }
        };
        assert_eq!(list(None, &[], after(&next)).await, std::slice::from_ref(&opera));
        assert_eq!(list(None, &[], after(&other)).await, []);
        assert_eq!(list(Some("play"), &[], page(1, 9)).await, std::slice::from_ref(&latest));
        let id = other.permanent_id.to_string();
        assert_eq!(list(Some(&id), &[], page(1, 9)).await, std::slice::from_ref(&opera));
        assert_eq!(list(None, &["published"], page(1, 9)).await, std::slice::from_ref(&opera));
        assert_eq!(list(None, &["draft", "published"], page(1, 9)).await.len(), 2);

        let id = play.permanent_id;
        let found = workflows::latest(db, organization, id).await.unwrap();
        assert_eq!(found.as_ref(), Some(&next));
        let found = workflows::version(db, organization, id, 1).await.unwrap();
        assert_eq!(found.as_ref(), Some(play));
        let found = workflows::versions(db, organization, id).await.unwrap();
        assert_eq!(found, [next.clone(), play.clone()]);
        assert_eq!(workflows::latest(db, mint(), id).await.unwrap(), None);

        assert!(workflows::delete(db, organization, id).await.unwrap());
        assert!(!workflows::delete(db, organization, id).await.unwrap());
        assert_eq!(list(None, &[], page(1, 9)).await, [opera]);
        assert_eq!(workflows::latest(db, organization, id).await.unwrap(), None);
        assert_eq!(workflows::version(db, organization, id, 1).await.unwrap(), None);
        assert!(workflows::versions(db, organization, id).await.unwrap().is_empty());
        let kept = workflows::by_id(db, organization, next.id).await.unwrap().unwrap();
        assert!(kept.deleted_at.is_some());
    });
}

#[test]
fn audit_events_are_read_in_parts_without_a_gap_or_a_double() {
    on_both(async |world| {
        let db = &world.db;
        let session = mint();
        let events: Vec<_> = (0..10)
            .map(|number| AuditEvent {
                id: mint(),
                message_id: number,
                cause: None,
                kind: if number % 2 == 0 { "begin" } else { "release" }.to_owned(),
                sender: "http".to_owned(),
                receiver: "registry".to_owned(),
                organization: None,
                session: (number < 4).then_some(session),
                run: None,
                outcome: "done".to_owned(),
                summary: json!({}),
                key: None,
                address: None,
                request: None,
                at: time(number / 3), // Several events have the same time.
            })
            .collect();
        db.insert_audit(events).await.unwrap();

        let mut seen = Vec::new();
        let mut cursor = None;
        loop {
            let part = audit_events::list(db, audit_events::Filter::default(), cursor, 3);
            let part = part.await.unwrap();
            let Some(last) = part.last() else { break };
            cursor = Some(audit_events::Cursor::from(last));
            seen.extend(part.iter().map(|event| event.message_id));
        }
        assert_eq!(seen, (0..10).rev().collect::<Vec<_>>());

        let filter = audit_events::Filter {
            session: Some(session),
            kind: Some("begin".to_owned()),
            outcome: Some("done".to_owned()),
            since: Some(time(0)),
            ..audit_events::Filter::default()
        };
        let found = audit_events::list(db, filter, None, 9).await.unwrap();
        let numbers: Vec<_> = found.iter().map(|event| event.message_id).collect();
        assert_eq!(numbers, [2, 0]);
        let since = audit_events::Filter { since: Some(time(3)), ..Default::default() };
        assert_eq!(audit_events::list(db, since, None, 9).await.unwrap().len(), 1);
    });
}

#[test]
fn of_artifacts_that_are_retired_the_newest_stay_unless_they_are_old() {
    on_both(async |world| {
        let (db, tenant, other) = (&world.db, world.tenant().await, world.tenant().await);
        let stored = async |organization, artifact_type: &str, second| {
            let artifact = ArtifactRecord {
                id: mint(),
                organization,
                session: Some(mint()),
                run: None,
                block: None,
                artifact_type: artifact_type.to_owned(),
                path: format!("{second}"),
                media_type: "video/mp4".to_owned(),
                size: 1,
                checksum: None,
                created_at: time(second),
                rotation: 0,
            };
            db.insert_artifact(artifact.clone()).await.unwrap();
            artifact.id
        };
        for second in [10, 20, 30, 40] {
            stored(tenant.organization, "black_box", second).await;
        }
        let recording = stored(tenant.organization, "recording", 1).await;
        let of_another = stored(other.organization, "black_box", 1).await;
        let retire = async |keep, before| {
            let kind = "black_box".to_owned();
            let old = db.old_artifacts(tenant.organization, kind, keep, time(before)).await;
            let old = old.unwrap();
            let mut paths: Vec<_> = old.iter().map(|it| it.path.clone()).collect();
            paths.sort();
            db.delete_artifacts(old.into_iter().map(|it| it.id).collect()).await.unwrap();
            paths
        };
        assert_eq!(retire(3, 0).await, ["10"], "too many");
        assert_eq!(retire(3, 25).await, ["20"], "too old");
        assert_eq!(retire(3, 25).await, [""; 0]);
        for (organization, id) in
            [(tenant.organization, recording), (other.organization, of_another)]
        {
            assert!(artifacts::by_id(db, organization, id).await.unwrap().is_some());
        }

        let scope =
            |recordings: bool, node| Scope { organization: tenant.organization, recordings, node };
        let oldest = async |kept, before| {
            let found = retention::oldest(db, scope(kept, None), before, 1).await.unwrap();
            found.into_iter().map(|it| it.path).collect::<Vec<_>>()
        };
        assert_eq!(oldest(false, None).await, ["30"]);
        assert_eq!(oldest(false, Some(time(30))).await, [""; 0]);
        assert_eq!(oldest(true, None).await, ["1"]);
        let bytes = async |node| retention::bytes(db, scope(false, node)).await.unwrap();
        assert_eq!((bytes(None).await, bytes(Some(mint())).await), (2, 0));
        let change = vec![("recordings_days".to_owned(), Some(3))];
        let limits = retention::change_limits(db, tenant.organization, change).await.unwrap();
        assert_eq!(retention::limits_of(db, tenant.organization).await.unwrap(), limits);
        assert_eq!(retention::own_limits(db).await.unwrap()[&tenant.organization], limits);
    });
}
