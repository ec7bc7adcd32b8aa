//! The commands of the program: output, exit statuses and help.

use std::process::{Command, Output};

use crate::support::server::GREENROOM;
use crate::support::{Setup, TestServer};

fn greenroom(arguments: &[&str], server: Option<&TestServer>) -> Output {
    let mut command = Command::new(GREENROOM);
    command.args(arguments).env_clear().env("HOME", "/nowhere");
    if let Some(server) = server {
        command.env("GREENROOM_URL", &server.client.base);
        command.env("GREENROOM_API_KEY", server.client.key());
    }
    command.output().unwrap()
}

#[track_caller]
fn said(output: &Output, code: i32) -> (String, String) {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let (out, err) = (text(&output.stdout), text(&output.stderr));
    assert_eq!(output.status.code(), Some(code), "{out}{err}");
    (out, err)
}

#[test]
fn an_unknown_setting_is_refused_with_the_nearest_known_one() {
    let mut command = Command::new(GREENROOM);
    command.args(["serve", "--listen", "127.0.0.1:0"]).env_clear().env("HOME", "/nowhere");
    command.env("GREENROOM_SESSIONS__MAX_SESSION", "3");
    let (_, wrong) = said(&command.output().unwrap(), 1);
    assert!(wrong.contains("GREENROOM_SESSIONS__MAX_SESSIONS"), "{wrong}");
}

#[test]
fn the_settings_in_force_are_printed_without_secrets() {
    let mut command = Command::new(GREENROOM);
    command.arg("config").env_clear().env("HOME", "/nowhere");
    command.env("GREENROOM_OPERATOR_KEY", "a-secret-of-the-operator");
    let url = "postgres://ann:a-secret-of-the-database@127.0.0.1/x";
    command.env("GREENROOM_DATABASE_URL", url);
    let (printed, _) = said(&command.output().unwrap(), 0);
    assert!(!printed.contains("a-secret"), "{printed}");
    assert!(printed.contains("GREENROOM_OPERATOR_KEY"), "{printed}");
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions_are_made_listed_and_closed_from_the_command_line() {
    let server = Setup::fakes().start().await;
    let run = |arguments: &[&str]| said(&greenroom(arguments, Some(&server)), 0).0;
    let made: serde_json::Value =
        serde_json::from_str(&run(&["sessions", "create", "--width", "640", "--json"])).unwrap();
    let id = crate::support::client::id_of(&made);
    assert!(run(&["sessions", "list"]).contains(&id));
    assert!(run(&["sessions", "show", &id]).contains(&format!("/view/{id}")));
    assert!(run(&["sessions", "close", &id]).contains("is closed"));
    assert!(run(&["sessions", "list"]).contains("no sessions"));
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_running_server_is_measured_and_keeps_nothing_of_it() {
    let server = Setup::fakes().start().await;
    let measured = |arguments: &[&str]| -> serde_json::Value {
        let arguments = [&["bench"], arguments, &["--json"]].concat();
        serde_json::from_str(&said(&greenroom(&arguments, Some(&server)), 0).0).unwrap()
    };
    let occupancy = measured(&["occupancy", "--clients", "2", "--seconds", "1"]);
    let pairs = occupancy["figures"]["pairs per second"].as_f64().unwrap();
    assert!(pairs > 1.0 && occupancy["errors"] == serde_json::json!([]), "{occupancy:#}");
    let reads = measured(&["reads", "--clients", "2", "--seconds", "1"]);
    assert!(reads["steps"]["read"]["count"].as_u64().unwrap() > 1, "{reads:#}");
    assert!(reads["machine"]["processors"].as_u64().unwrap() > 0, "{reads:#}");
    assert_eq!(server.client.list().await, Vec::<serde_json::Value>::new());
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_server_on_the_same_directory_is_refused() {
    let server = Setup::fakes().start().await;
    let data = server.directory.join("d");
    let arguments = ["serve", "--listen", "127.0.0.1:0", "--data", data.to_str().unwrap()];
    let (_, wrong) = said(&greenroom(&arguments, None), 1);
    assert!(wrong.contains("another server uses the data directory"), "{wrong}");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_that_another_has_is_named() {
    let server = Setup::fakes().start().await;
    let address = server.client.base.trim_start_matches("http://").to_owned();
    let data = server.directory.join("other");
    let arguments = ["serve", "--listen", &address, "--data", data.to_str().unwrap()];
    let (_, wrong) = said(&greenroom(&arguments, None), 1);
    assert!(wrong.contains(&format!("cannot listen on {address}")), "{wrong}");
    server.stop().await;
}

#[test]
fn a_server_that_is_not_there_is_named() {
    let arguments = ["sessions", "list", "--url", "http://127.0.0.1:9"];
    let (_, wrong) = said(&greenroom(&arguments, None), 1);
    assert!(wrong.contains("http://127.0.0.1:9"), "{wrong}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_key_is_printed_once() {
    let mut setup = Setup::fakes();
    setup = setup.without_bootstrap_key();
    let mut server = setup.start().await;
    let announced = |server: &TestServer| -> Vec<String> {
        let lines = server.output().into_iter();
        lines.filter_map(|line| Some(line.split_once("api key")?.1.to_owned())).collect()
    };
    let first = announced(&server);
    let [line] = first.as_slice() else { panic!("{first:?}") };
    let key = line.rsplit(' ').next().unwrap().to_owned();
    assert_eq!(server.client.with_key(Some(&key)).list().await, Vec::<serde_json::Value>::new());
    server.signal(rustix::process::Signal::TERM);
    server.ended_clean().await;
    server.serve().await;
    assert_eq!(announced(&server).len(), 1, "it is printed again");
    assert!(!server.log().contains(&key), "it is logged");
    server.client.with_key(Some(&key)).get("/v1/browser_sessions").await.ok();
    server.stop().await;
}

/// Writes a workflow with these blocks to a file in a server's directory.
fn workflow_file(server: &TestServer, blocks: &str) -> String {
    let file = server.directory.join("flow.yaml");
    let text = format!("title: From a file\nworkflow_definition:\n  blocks:\n{blocks}");
    std::fs::write(&file, text).unwrap();
    file.to_str().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_is_followed_block_by_block_and_its_end_is_the_exit_code() {
    let server = Setup::fakes().start().await;
    let id = server.client.session_id().await;
    let rest = "    - {block_type: wait, label: rest, wait_sec: 1}\n";
    let file = workflow_file(&server, rest);
    let (told, _) = said(&greenroom(&["run", &file, "--session", &id], Some(&server)), 0);
    let lines: Vec<_> = told.lines().collect();
    assert!(lines[0].starts_with("run wr_"), "{told}");
    assert_eq!(lines[1], format!("session {id}"), "{told}");
    assert!(told.contains(&format!("/view/{id}")), "{told}");
    assert!(told.contains("rest  wait  completed"), "{told}");
    assert!(told.contains("completed after"), "{told}");

    let fails = "    - {block_type: assert, label: never, condition: '{{ false }}'}\n";
    let file = workflow_file(&server, fails);
    let output = greenroom(&["run", &file, "--session", &id, "--json"], Some(&server));
    let (told, _) = said(&output, 1);
    let told: serde_json::Value = serde_json::from_str(&told).unwrap();
    assert_eq!(told["run"]["status"], "failed", "{told:#}");
    assert_eq!(told["timeline"][0]["block"]["label"], "never", "{told:#}");

    let (told, _) = said(&greenroom(&["runs", "list"], Some(&server)), 0);
    assert!(told.contains("completed") && told.contains("failed"), "{told}");
    let run = told.lines().nth(1).unwrap().split(' ').next().unwrap().to_owned();
    let (told, _) = said(&greenroom(&["runs", "show", &run], Some(&server)), 0);
    assert!(told.contains("never"), "{told}");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_waits_says_so_and_one_that_cannot_be_says_why() {
    let server = Setup::fakes().start().await;
    let client = &server.client;
    let id = client.session_id().await;
    let held = crate::support::client::Lease::of(&client.begin(&id, "ann", 60).await.ok());
    let file = workflow_file(&server, "    - {block_type: wait, label: rest, wait_sec: 1}\n");
    let follows = {
        let (base, key, id) = (client.base.clone(), client.key().to_owned(), id.clone());
        tokio::task::spawn_blocking(move || {
            let mut command = Command::new(GREENROOM);
            command.args(["run", &file, "--session", &id]).env_clear().env("HOME", "/nowhere");
            command.env("GREENROOM_URL", base).env("GREENROOM_API_KEY", key);
            command.output().unwrap()
        })
    };
    crate::support::eventually("it waits", async || {
        let session = client.look(&id).await;
        let waiters = session["occupancy"]["waiters"].as_array().unwrap().len();
        (waiters == 1).then_some(())
    })
    .await;
    // The command polls three times a second and must see the wait.
    let log = || server.log();
    crate::support::eventually("it looked", async || {
        (log().matches("/timeline 200").count() >= 3).then_some(())
    })
    .await;
    client.release(&id, &held).await.ok();
    let (told, _) = said(&follows.await.unwrap(), 0);
    assert!(told.contains("waits for its session, which ann holds; place 1"), "{told}");

    let wrong = workflow_file(&server, "    - {block_type: wait, label: rest}\n");
    let (_, told) = said(&greenroom(&["run", &wrong], Some(&server)), 1);
    assert!(told.contains("wait_sec") && told.contains("flow.yaml"), "{told}");
    let (_, told) = said(&greenroom(&["run", "/no/such/file.yaml"], Some(&server)), 1);
    assert!(told.contains("/no/such/file.yaml"), "{told}");
    let right = workflow_file(&server, "    - {block_type: wait, label: rest, wait_sec: 1}\n");
    client.close(&id).await.ok();
    let (_, told) = said(&greenroom(&["run", &right, "--session", &id], Some(&server)), 1);
    assert!(told.contains("session_closed"), "{told}");
    server.stop().await;
}
