//! The command `greenroom bench`, against a server with stand-ins.

use std::fs;
use std::path::Path;
use std::process::Stdio;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use tokio::process::{Child, Command};
use tokio::time::timeout;

use crate::support::server::GREENROOM;
use crate::support::{PATIENCE, Setup, TestServer, eventually};

/// A command of `greenroom bench`, with the address and the key of a server.
fn bench(server: &TestServer, arguments: &[&str]) -> Command {
    let mut command = Command::new(GREENROOM);
    command.arg("bench").args(arguments).env_clear().env("HOME", "/nowhere");
    command.env("GREENROOM_URL", &server.client.base);
    command.env("GREENROOM_API_KEY", server.client.key());
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    command
}

/// The report that a measurement prints as JSON.
async fn report(server: &TestServer, arguments: &[&str]) -> Value {
    let mut command = bench(server, &[arguments, &["--json", "--seed", "7"]].concat());
    let output = timeout(PATIENCE, command.output()).await.expect("it does not end").unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{arguments:?}: {errors}{}", server.log());
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&report["seed"], &report["errors"]), (&json!(7), &json!([])), "{report:#}");
    assert!(report["machine"]["processors"].as_u64().unwrap() > 0, "{report:#}");
    assert_eq!(server.client.list().await, Vec::<Value>::new(), "{arguments:?} left sessions");
    report
}

/// The exit status and the error output of a measurement that fails.
async fn refusal(command: &mut Command) -> (Option<i32>, String) {
    let output = timeout(PATIENCE, command.output()).await.expect("it does not end").unwrap();
    (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
}

fn count(report: &Value, step: &str) -> u64 {
    report["steps"][step]["count"].as_u64().unwrap_or_else(|| panic!("no {step}: {report:#}"))
}

fn figure(report: &Value, name: &str) -> f64 {
    report["figures"][name].as_f64().unwrap_or_else(|| panic!("no {name}: {report:#}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn lives_have_all_their_steps_and_the_stages_that_the_server_reports() {
    let server = Setup::fakes().fake("chromium", "pages").start().await;
    let lives = report(&server, &["lifecycle", "--rounds", "2", "--at-once", "2"]).await;
    for step in ["create", "connect", "open page", "close", "all"] {
        assert_eq!(count(&lives, step), 4, "{step}");
    }
    for step in ["all created", "group"] {
        assert_eq!(count(&lives, step), 2, "{step}");
    }
    for stage in ["files", "display", "settings", "browser", "page"] {
        assert_eq!(count(&lives, &format!("start: {stage}")), 4, "{stage}");
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn commands_of_a_driver_are_measured_beside_those_that_go_to_the_browser_itself() {
    let server = Setup::fakes().fake("chromium", "pages").start().await;
    let actions = report(&server, &["actions", "--seconds", "1"]).await;
    assert_eq!(actions["notes"], json!([]), "{actions:#}");
    for way in ["server", "direct"] {
        for action in ["evaluate", "navigate"] {
            assert!(count(&actions, &format!("{action}, {way}")) > 0, "{actions:#}");
        }
        assert!(figure(&actions, &format!("evaluations per second, {way}")) > 0.0);
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_memory_of_sessions_is_that_of_their_programs() {
    let server = Setup::fakes().fake("chromium", "pages").start().await;
    let arguments = ["density", "--sessions", "2", "--seconds", "1", "--settle", "0"];
    let density = report(&server, &arguments).await;
    assert_eq!(density["parameters"]["source"], "processes (PSS)", "{density:#}");
    for state in ["idle", "animated"] {
        assert!(figure(&density, &format!("{state}: MiB of a session")) > 1.0, "{density:#}");
        assert!(figure(&density, &format!("{state}: sessions per GB")) > 0.0, "{density:#}");
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_recovery_is_over_when_another_browser_answers() {
    let server = Setup::fakes().start().await;
    let recovery = report(&server, &["recovery", "--rounds", "1"]).await;
    for part in ["chromium", "xvfb"] {
        assert_eq!(count(&recovery, &format!("{part}: DevTools answers")), 1);
        assert_eq!(count(&recovery, &format!("{part}: by the server")), 1);
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_live_view_is_measured_from_its_first_picture_to_its_bytes() {
    let server = Setup::fakes().fake("chromium", "pages").fake("x11vnc", "paints").start().await;
    // The fake display takes no input.
    let arguments = [
        &["streams", "--rounds", "2", "--clicks", "0", "--viewers", "2"][..],
        &["--stalled", "--seconds", "1"][..],
    ]
    .concat();
    let streams = report(&server, &arguments).await;
    assert_eq!(count(&streams, "first pixel, first viewer"), 1);
    assert_eq!(count(&streams, "first pixel"), 2);
    assert_eq!(count(&streams, "input to pixel"), 0);
    assert!(figure(&streams, "pictures per second, slowest viewer") >= 1.0, "{streams:#}");
    assert!(figure(&streams, "KiB per second and viewer") >= 0.0, "{streams:#}");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pictures_of_stand_ins_have_the_size_of_their_encoding() {
    let server = Setup::fakes().argument("--stand-ins").start().await;
    for format in ["png", "jpeg"] {
        let arguments = ["screenshots", "--clients", "2", "--seconds", "1", "--format", format];
        let pictures = report(&server, &arguments).await;
        assert!(count(&pictures, "screenshot") > 1, "{pictures:#}");
        assert!(figure(&pictures, "KiB of a picture") > 1.0, "{pictures:#}");
    }
    server.stop().await;
}

/// The entries of a directory for temporary files.
fn entries(directory: &Path) -> usize {
    fs::read_dir(directory).unwrap().count()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_of_many_sessions_is_measured_drawn_and_gone() {
    let server = Setup::fakes().start().await;
    let temporary = server.directory.join("bench");
    fs::create_dir(&temporary).unwrap();
    let picture = server.directory.join("scale.svg");
    let svg = picture.to_str().unwrap();
    let arguments = ["scale", "--sizes", "3,30", "--queries", "3", "--svg", svg, "--json"];
    let mut command = bench(&server, &arguments);
    command.env("TMPDIR", &temporary);
    let output = timeout(PATIENCE * 2, command.output()).await.expect("it does not end").unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    let rows = report["rows"].as_array().unwrap();
    let sizes: Vec<_> = rows.iter().map(|row| row["sessions"].as_f64().unwrap()).collect();
    assert_eq!(sizes, [3.0, 30.0], "{report:#}");
    for row in rows {
        for column in ["created/s", "begin p50", "list p50", "show p50", "actors p50", "ready ms"] {
            assert!(row[column].as_f64().unwrap() > 0.0, "{column}: {row:#}");
        }
    }
    assert!(fs::read_to_string(picture).unwrap().starts_with("<svg"));
    assert_eq!(entries(&temporary), 0, "its server has left files");
    server.stop().await;
}

fn interrupt(child: &Child) {
    let pid = Pid::from_raw(i32::try_from(child.id().unwrap()).unwrap()).unwrap();
    kill_process(pid, Signal::INT).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_interrupted_measurement_leaves_no_session_and_no_server() {
    let server = Setup::fakes().start().await;
    let mut reads = bench(&server, &["reads", "--seconds", "600"]).spawn().unwrap();
    eventually("it has a session", async || {
        let sessions = server.client.list().await;
        sessions.iter().any(|session| session["status"] == "running").then_some(())
    })
    .await;
    interrupt(&reads);
    let status = timeout(PATIENCE, reads.wait()).await.expect("it does not end").unwrap();
    assert_eq!(status.code(), Some(130));
    // One whose answer was on its way is closed by the server, because nobody has received it.
    let gone = async || server.client.list().await.is_empty().then_some(());
    eventually("no session is left", gone).await;

    let temporary = server.directory.join("bench");
    fs::create_dir(&temporary).unwrap();
    let mut command = bench(&server, &["scale", "--sizes", "2000"]);
    let mut scale = command.env("TMPDIR", &temporary).spawn().unwrap();
    let log = || fs::read_dir(&temporary).unwrap().next().map(|entry| entry.unwrap().path());
    eventually("its server has a database", async || {
        log().filter(|directory| directory.join("data").exists())
    })
    .await;
    interrupt(&scale);
    let status = timeout(PATIENCE, scale.wait()).await.expect("it does not end").unwrap();
    assert_eq!(status.code(), Some(130));
    assert_eq!(entries(&temporary), 0, "its server has left files");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_measured_says_why() {
    let server = Setup::fakes().start().await;
    // The fake browser has no page to open: the session that was created is closed all the same.
    let (code, said) = refusal(&mut bench(&server, &["lifecycle", "--rounds", "1"])).await;
    assert!(code == Some(1) && said.contains("error:"), "{said}");
    assert_eq!(server.client.list().await, Vec::<Value>::new());

    let mut command = bench(&server, &["density"]);
    let (code, said) = refusal(command.env("GREENROOM_API_KEY", "wrong")).await;
    assert!(code == Some(1) && said.contains("--api-key"), "{said}");
    let mut command = bench(&server, &["streams"]);
    let (code, said) = refusal(command.env("GREENROOM_URL", "http://127.0.0.1:9")).await;
    assert!(code == Some(1) && said.contains("http://127.0.0.1:9"), "{said}");
    for wrong in [["actions", "--seconds", "0"], ["scale", "--sizes", "0"]] {
        let (code, said) = refusal(&mut bench(&server, &wrong)).await;
        assert!(code == Some(2) && said.contains(wrong[1]), "{said}");
    }
    server.stop().await;

    // A stand-in has neither programs to kill nor memory to count.
    let server = Setup::fakes().argument("--stand-ins").start().await;
    let (code, said) = refusal(&mut bench(&server, &["density", "--settle", "0"])).await;
    assert!(code == Some(1) && said.contains("greenroom doctor"), "{said}");
    assert_eq!(server.client.list().await, Vec::<Value>::new());
    server.stop().await;
}
