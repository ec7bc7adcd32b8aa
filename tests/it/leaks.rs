//! Leaks: they are reported, and removed if they belong to this server. Nothing else is touched.

use std::fs;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use futures_util::future::join_all;
use rustix::process::Signal;
use serde_json::{Value, json};
use tokio::process::{Child, Command};

use crate::support::client::id_of;
use crate::support::{Setup, TestServer};

async fn leaks(server: &TestServer) -> Vec<Value> {
    let told = server.operator().get("/admin/leaks").await.ok();
    assert_eq!(told["healthy"], told["leaks"] == json!([]), "{told:#}");
    told["leaks"].as_array().unwrap().clone()
}

fn kinds(leaks: &[Value]) -> Vec<&str> {
    leaks.iter().map(|leak| leak["kind"].as_str().unwrap()).collect()
}

/// A process that carries the marker of a session.
fn stray(session: &str) -> Child {
    let mut command = Command::new("/bin/sleep");
    command.arg("600").env_clear().env("GREENROOM_SESSION", session).stdin(Stdio::null());
    command.kill_on_drop(true).spawn().unwrap()
}

/// The number of a process that has ended, which no process has now.
fn dead(server: &TestServer, session: &str) -> i32 {
    server.program(session, "Xvfb")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_healthy_server_has_no_leaks_while_sessions_come_and_go() {
    let server = Setup::fakes().start().await;
    let client = &server.client;
    let churn = async {
        for _ in 0..3 {
            let ids = join_all((0..3).map(|_| client.session_id())).await;
            for id in &ids {
                client.begin(id, "ann", 60).await.ok();
            }
            join_all(ids.iter().map(|id| client.close(id))).await;
        }
    };
    let watch = async {
        for _ in 0..10 {
            assert_eq!(leaks(&server).await, Vec::<Value>::new());
        }
    };
    tokio::join!(churn, watch);
    assert_eq!(leaks(&server).await, Vec::<Value>::new());
    server.stranger().get("/admin/leaks").await.problem(403, "credentials_invalid");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_session_left_is_told_with_its_owner_and_removed_and_what_is_not_ours_stays() {
    let server = Setup::fakes().start().await;
    let session = server.client.session().await;
    let (id, display) = (id_of(&session), session["display_number"].as_u64().unwrap());
    let xvfb = dead(&server, &id);
    server.client.close(&id).await.ok();
    let live = server.client.session_id().await;

    // Of the session that has ended.
    let mut process = stray(&id);
    let directory = server.directory.join("d/sessions").join(&id);
    fs::create_dir_all(&directory).unwrap();
    fs::write(directory.join("xauthority"), "secret").unwrap();
    // The other session has the number of its display now, so the test uses a number that no session has.
    let other = server.displays.end();
    assert_ne!(display, u64::from(*other));
    let lock = PathBuf::from(format!("/tmp/.X{other}-lock"));
    fs::write(&lock, format!("{xvfb:>10}\n")).unwrap();
    // Without a known owner: a process, a lock of a live process, a socket.
    let foreign = stray("pbs_1");
    let number = other - 1;
    let foreign_lock = PathBuf::from(format!("/tmp/.X{number}-lock"));
    fs::write(&foreign_lock, format!("{:>10}\n", std::process::id())).unwrap();
    let foreign_socket = PathBuf::from(format!("/tmp/.X11-unix/X{number}"));
    let listener = UnixListener::bind(&foreign_socket).unwrap();

    let told = leaks(&server).await;
    assert_eq!(kinds(&told), ["process", "display_lock", "directory"], "{told:#?}");
    for leak in &told {
        assert_eq!(leak["session"], id.as_str(), "{leak:#}");
        assert_eq!(leak["fixable"], true, "{leak:#}");
        assert!(leak["since"].is_string() && leak["why"].is_string(), "{leak:#}");
    }
    assert_eq!(told[0]["what"], format!("process {} (sleep)", process.id().unwrap()));

    // The command reports the same while the server runs.
    let output = server.greenroom(&["leaks", "--json"]).await;
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let by_command: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(by_command["leaks"], json!(told));

    let fixed = server.operator().post("/admin/leaks/fix", json!({})).await.ok();
    assert_eq!(fixed["removed"], json!(told), "{fixed:#}");
    assert_eq!(fixed["leaks"], json!([]), "{fixed:#}");
    tokio::time::timeout(crate::support::PATIENCE, process.wait()).await.unwrap().unwrap();
    assert!(!lock.exists() && !directory.exists());
    assert!(foreign.id().is_some_and(|pid| Path::new(&format!("/proc/{pid}")).exists()));
    assert!(foreign_lock.exists() && foreign_socket.exists());
    assert_eq!(server.client.look(&live).await["status"], "running");

    drop(listener);
    fs::remove_file(&foreign_lock).unwrap();
    fs::remove_file(&foreign_socket).unwrap();
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_next_server_will_take_over_is_no_leak_and_a_strange_directory_is_refused() {
    let mut server = Setup::fakes().start().await;
    let id = server.client.session_id().await;
    server.signal(Signal::KILL);
    server.ended().await;
    assert!(!server.programs_of(&id).is_empty());
    let output = server.greenroom(&["leaks"]).await;
    assert_eq!(String::from_utf8_lossy(&output.stdout), "no leaks\n", "{output:?}");
    assert!(output.status.success());

    let none = server.greenroom(&["leaks", "--data", "/nonexistent"]).await;
    assert_eq!(none.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&none.stderr).contains("not the data directory"), "{none:?}");

    server.serve().await;
    server.client.once(&id, "running").await;
    assert_eq!(leaks(&server).await, Vec::<Value>::new());
    server.stop().await;
}
