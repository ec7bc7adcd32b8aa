//! A server on the data of a former version: its database and its key.

use std::path::Path;
use std::process::Command;

use diesel::connection::SimpleConnection as _;
use diesel::{Connection as _, SqliteConnection};
use reqwest::Method;
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::support::Setup;
use crate::support::server::GREENROOM;

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

/// The answer of `greenroom upgrade-check --json` for a data directory, and its exit code.
fn upgrade_check(data: &Path, further: &[&str]) -> (Option<i32>, Value) {
    let mut command = Command::new(GREENROOM);
    command.args(["upgrade-check", "--json", "--data"]).arg(data).args(further);
    let output = command.env_clear().env("HOME", "/nowhere").output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    let answer = serde_json::from_str(&text)
        .unwrap_or_else(|_| panic!("{text}{}", String::from_utf8_lossy(&output.stderr)));
    (output.status.code(), answer)
}

/// The state of a check and what it found; none if it was not made.
#[track_caller]
fn found<'a>(answer: &'a Value, name: &str) -> Option<(&'a str, &'a str)> {
    let checks = answer["checks"].as_array().unwrap();
    let check = checks.iter().find(|check| check["name"] == name)?;
    Some((check["state"].as_str().unwrap(), check["detail"].as_str().unwrap()))
}

/// The names and contents of the files of a directory that tell whether something was changed.
fn content(data: &Path) -> Vec<(String, Vec<u8>)> {
    let entries = std::fs::read_dir(data).unwrap().map(Result::unwrap);
    let files = entries.map(|entry| {
        let name = entry.file_name().into_string().unwrap();
        (name, std::fs::read(entry.path()).unwrap_or_default())
    });
    // The memory that readers of the database share is no content.
    let mut files: Vec<_> = files.filter(|(name, _)| !name.ends_with("-shm")).collect();
    files.sort_unstable();
    files
}

#[tokio::test(flavor = "multi_thread")]
async fn the_new_program_says_what_it_will_do_with_the_data_of_a_former_one() {
    let mut server = Setup::fakes().start().await;
    server.signal(Signal::TERM);
    server.ended().await;
    let data = server.directory.join("d");
    let file = data.join("greenroom.db");
    for name in ["greenroom.db-wal", "greenroom.db-shm"] {
        let _ = std::fs::remove_file(data.join(name));
    }
    std::fs::remove_file(&file).unwrap();
    let mut former = SqliteConnection::establish(file.to_str().unwrap()).unwrap();
    former.batch_execute(&former_database("a-key-of-the-former")).unwrap();

    let before = content(&data);
    let (code, answer) = upgrade_check(&data, &[]);
    assert_eq!((code, &answer["ok"]), (Some(0), &true.into()), "{answer:#}");
    let (state, tried) = found(&answer, "database").unwrap();
    assert!(state == "warn" && tried.contains("on a copy they took"), "{answer:#}");
    assert_eq!((&answer["from"], &answer["to"]), (&Value::Null, &env!("CARGO_PKG_VERSION").into()));
    let notes = answer["upgrading"].as_array().unwrap();
    assert!(notes[0]["text"].as_str().unwrap().contains("GREENROOM_BOOTSTRAP_KEY"), "{answer:#}");
    assert_eq!(content(&data), before, "something was changed");

    // A migration that fails is found on the copy, which is removed all the same.
    former.batch_execute("CREATE TABLE leases (id TEXT)").unwrap();
    let before = content(&data);
    let (code, answer) = upgrade_check(&data, &[]);
    assert_eq!((code, found(&answer, "database").unwrap().0), (Some(1), "refused"), "{answer:#}");
    assert!(found(&answer, "database").unwrap().1.contains("leases"), "{answer:#}");
    assert_eq!(upgrade_check(&data, &["--no-trial"]).0, Some(0));
    assert_eq!(content(&data), before, "something was changed");

    let newer = "INSERT INTO __diesel_schema_migrations (version) VALUES ('29990101000000')";
    former.batch_execute(newer).unwrap();
    let (code, answer) = upgrade_check(&data, &[]);
    assert_eq!(code, Some(1), "{answer:#}");
    assert!(found(&answer, "database").unwrap().1.contains("29990101000000"), "{answer:#}");
    server.gone().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn beside_a_running_server_the_sessions_are_counted_that_can_be_adopted() {
    let server = Setup::fakes().start().await;
    let data = server.directory.join("d");
    let (first, second) = (server.client.session_id().await, server.client.session_id().await);
    let (code, answer) = upgrade_check(&data, &[]);
    assert_eq!(code, Some(0), "{answer:#}");
    assert_eq!(found(&answer, "sessions"), Some(("ok", "2 are live, and can be adopted")));
    assert_eq!(found(&answer, "database").unwrap().0, "ok", "{answer:#}");
    assert!(found(&answer, "version").unwrap().1.contains("this node runs"), "{answer:#}");
    assert_eq!(found(&answer, "runs"), None);
    assert_eq!(answer["upgrading"], json!([]));

    let record = data.join("sessions").join(&first).join("desktop.json");
    let kept = std::fs::read(&record).unwrap();
    std::fs::write(&record, "{").unwrap();
    let (code, answer) = upgrade_check(&data, &[]);
    let (state, said) = found(&answer, "sessions").unwrap();
    assert_eq!((code, state), (Some(0), "warn"), "{answer:#}");
    assert!(said.contains(&first) && !said.contains(&second), "{said}");
    std::fs::write(&record, kept).unwrap();

    // Settings that the new program does not know, and a data directory that nobody has used.
    let settings = data.join("settings.toml");
    std::fs::write(&settings, "[sessions]\nmax_session = 3\n").unwrap();
    let (code, answer) = upgrade_check(&data, &["--config", settings.to_str().unwrap()]);
    assert_eq!((code, found(&answer, "settings").unwrap().0), (Some(1), "refused"), "{answer:#}");
    assert!(found(&answer, "settings").unwrap().1.contains("max_sessions"), "{answer:#}");
    let none = data.join("none");
    let (code, answer) = upgrade_check(&none, &[]);
    assert_eq!((code, found(&answer, "data directory").unwrap().0), (Some(0), "warn"));
    assert!(!none.exists());
    server.stop().await;
}
