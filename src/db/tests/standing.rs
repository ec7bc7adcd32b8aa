//! The standing of a database, and that reading it writes nothing.

use crate::db::nodes;
use crate::db::standing::{Live, standing};
use crate::db::store::Store as _;
use crate::db::testing::on_both;
use crate::domain::quota::Limits;

#[test]
fn a_database_shows_its_migrations_its_nodes_and_what_is_live() {
    on_both(async |world| {
        let tenant = world.tenant().await;
        let (live, ended) = (tenant.session(0), tenant.session(1));
        let live_id = live.id.to_string();
        for session in [live, ended.clone()] {
            world.db.insert_session(session, Limits::default(), Vec::new()).await.unwrap();
        }
        world
            .execute(&format!(
                "UPDATE browser_sessions SET status = 'completed' WHERE id = '{}'",
                ended.id
            ))
            .await;

        let of_world = || async { standing(&world.settings, &world.dir).await.unwrap().unwrap() };
        let before = of_world().await;
        assert!(before.pending.is_empty() && before.unknown.is_empty(), "{before:?}");
        assert!(before.bytes > 10_000, "{before:?}");
        assert_eq!(before.file.is_some(), world.postgres.is_none());
        let node = nodes::by_id(&world.db, tenant.node).await.unwrap().unwrap();
        let [seen] = before.nodes.as_slice() else { panic!("{before:?}") };
        assert_eq!((&seen.id, &seen.version), (&node.id.to_string(), &node.version));
        assert_eq!(seen.seen_at, node.seen_at);
        let of_node = Live { id: live_id, node_id: tenant.node.to_string() };
        assert_eq!(before.sessions, [of_node]);
        assert!(before.runs.is_empty());

        // Of a version that did not record versions, and of one that is newer in part.
        world.execute("ALTER TABLE nodes DROP COLUMN version").await;
        world
            .execute(
                "UPDATE __diesel_schema_migrations SET version = '29990101000000' \
                 WHERE version = '20261130100000'",
            )
            .await;
        let former = of_world().await;
        assert_eq!(former.pending, ["20261130100000"]);
        assert_eq!(former.unknown, ["29990101000000"]);
        assert_eq!(former.nodes.first().map(|seen| seen.version.as_str()), Some(""));
        assert_eq!(of_world().await, former);
    });
}
