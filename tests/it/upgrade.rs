//! A server on the data of a former version: its database and its key.

use std::path::Path;

use diesel::connection::SimpleConnection as _;
use diesel::{Connection as _, SqliteConnection};
use reqwest::Method;
use rustix::process::Signal;

use crate::support::Setup;

/// The last migration of the version that had neither roles of keys nor sealed secrets.
const LAST: &str = "2026-11-29-000000_egress";

/// The statements that create the database of that version, with an organization and its bootstrap key.
fn former_database(key: &str) -> String {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("migrations/sqlite");
    let names = std::fs::read_dir(&folder).unwrap();
    let mut names: Vec<String> =
        names.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort_unstable();
    names.retain(|name| name.as_str() <= LAST);
    assert_eq!(names.last().map(String::as_str), Some(LAST));
    let mut sql = String::from(
        "CREATE TABLE __diesel_schema_migrations (version VARCHAR(50) PRIMARY KEY NOT NULL,
            run_on TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP);",
    );
    for name in names {
        let version = name.split('_').next().unwrap().replace('-', "");
        sql.push_str(&std::fs::read_to_string(folder.join(&name).join("up.sql")).unwrap());
        sql.push_str(&format!(
            "INSERT INTO __diesel_schema_migrations (version) VALUES ('{version}');"
        ));
    }
    let hash = blake3::hash(key.as_bytes()).to_hex();
    let at = "2026-11-20 10:00:00";
    sql.push_str(&format!(
        "INSERT INTO organizations (id, name, created_at) VALUES ('o_7', 'default', '{at}');
         INSERT INTO api_keys (id, organization_id, hash, label, created_at)
            VALUES ('oat_8', 'o_7', '{hash}', 'bootstrap', '{at}');"
    ));
    sql
}

#[tokio::test(flavor = "multi_thread")]
async fn the_bootstrap_key_of_a_former_version_opens_is_listed_and_can_be_revoked() {
    let mut server = Setup::fakes().start().await;
    server.signal(Signal::TERM);
    server.ended().await;
    let data = server.directory.join("d");
    for name in ["greenroom.db", "greenroom.db-wal", "greenroom.db-shm", "sealed"] {
        let _ = std::fs::remove_file(data.join(name));
    }
    let file = data.join("greenroom.db");
    let mut former = SqliteConnection::establish(file.to_str().unwrap()).unwrap();
    former.batch_execute(&former_database(server.client.key())).unwrap();
    drop(former);
    server.serve().await;

    let client = server.client.clone();
    let keys = client.get("/v1/api_keys").await.ok();
    assert_eq!(keys.as_array().unwrap().len(), 1, "{keys}");
    assert_eq!(keys[0]["api_key_id"], "oat_8");
    assert_eq!((&keys[0]["is_bootstrap"], &keys[0]["status"]), (&true.into(), &"valid".into()));
    assert_eq!(client.session().await["organization_id"], "o_7");
    client.send(Method::DELETE, "/v1/api_keys/oat_8", None).await.ok();
    client.get("/v1/browser_sessions").await.problem(403, "credentials_invalid");
    server.stop().await;
}
