//! Tests of the deletion of organizations.

use super::webhooks::webhook;
use crate::db::store::{Ended, Store as _};
use crate::db::testing::{Tenant, TestDb, mint, on_both, time};
use crate::db::{api_keys, organizations, purging, runs, sessions, webhooks, workflows};
use crate::domain::ids::ApiKeyId;
use crate::domain::quota::Limits;
use crate::domain::run::{RunRecord, RunStatus};
use crate::domain::session::SessionStatus;
use crate::domain::tenancy::ApiKey;

#[test]
fn every_table_with_rows_of_an_organization_is_purged() {
    let schema = include_str!("../../schema.rs");
    let purging = include_str!("../purging.rs");
    let mut table = "";
    for line in schema.lines() {
        if let Some((name, _columns)) = line.trim().split_once(" (") {
            table = name;
        }
        if line.trim_start().starts_with("organization_id ->") {
            // These rows go with the row of their profile, to which they refer.
            let follows = table == "browser_profile_versions";
            let is_purged = follows
                || purging.contains(&format!("delete_some!(db, id, {table})"))
                || purging.contains(&format!("{table}::table.filter({table}::organization_id"));
            assert!(is_purged, "{table}");
        }
    }
}

/// Stores an ended session, a run that has not ended, and more rows than one statement deletes.
async fn furnish(world: &TestDb, tenant: &Tenant) -> RunRecord {
    let db = &world.db;
    let session = tenant.stored_session(db).await;
    let ended = Ended::new(SessionStatus::Completed, time(1));
    db.end_session(session, ended).await.unwrap();
    let run = RunRecord { status: RunStatus::Running, ..tenant.run(1) };
    db.insert_run(run.clone(), Limits::default()).await.unwrap();
    webhooks::insert(db, &webhook(tenant.organization, &[])).await.unwrap();
    for _ in 0..501 {
        let id: ApiKeyId = mint();
        let key = ApiKey::new(id, tenant.organization, id.to_string(), "one".to_owned(), time(0));
        api_keys::insert(db, &key).await.unwrap();
    }
    run
}

#[test]
fn an_organization_is_deleted_once_nothing_runs_and_another_keeps_its_rows() {
    on_both(async |world| {
        let db = &world.db;
        let (red, blue) = (world.tenant().await, world.tenant().await);
        furnish(world, &red).await;
        let kept = furnish(world, &blue).await;
        let id = red.organization;
        assert_eq!(purging::still_running(db, id).await.unwrap(), 1, "its run");
        purging::purged(db, id).await.unwrap();
        assert!(organizations::by_id(db, id).await.unwrap().is_some(), "it was not deleted");

        assert!(organizations::delete(db, id, time(5)).await.unwrap());
        assert!(!organizations::delete(db, id, time(6)).await.unwrap(), "it began before");
        let marked = organizations::by_id(db, id).await.unwrap().unwrap();
        assert_eq!((marked.deleted_at, marked.suspended_at), (Some(time(5)), Some(time(5))));
        assert!(!organizations::set_suspended(db, id, None).await.unwrap());
        assert_eq!(organizations::being_deleted(db).await.unwrap(), [id]);

        let mut passes = 0;
        while purging::purge_some(db, id).await.unwrap() > 0 {
            passes += 1;
        }
        assert!(passes >= 3, "{passes}");
        purging::purged(db, id).await.unwrap();
        assert_eq!(organizations::by_id(db, id).await.unwrap(), None);
        assert!(organizations::is_known(db, id).await.unwrap());
        assert_eq!(organizations::being_deleted(db).await.unwrap(), []);
        assert_eq!(organizations::suspended(db).await.unwrap(), []);
        assert_eq!(organizations::deleted_since(db, None).await.unwrap(), [id]);
        let later = chrono::Utc::now() + chrono::TimeDelta::hours(1);
        assert_eq!(organizations::deleted_since(db, Some(later)).await.unwrap(), []);
        assert_eq!(api_keys::list(db, id).await.unwrap().len(), 0);

        let of = blue.organization;
        assert_eq!(api_keys::list(db, of).await.unwrap().len(), 501);
        assert_eq!(runs::by_id(db, of, kept.id).await.unwrap(), Some(kept));
        assert_eq!(webhooks::list(db, of).await.unwrap().len(), 1);
        assert_eq!(sessions::active(db, of).await.unwrap(), []);
        let workflow = workflows::latest(db, of, blue.workflow.permanent_id).await.unwrap();
        assert_eq!(workflow, Some(blue.workflow));
    });
}
