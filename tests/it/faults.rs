//! Desktops that fail to start, or crash: the session reports the cause, and nothing is left.

use serde_json::{Value, json};

use crate::support::client::id_of;
use crate::support::{Setup, TestServer, left};

/// Requests a session that cannot start. Asserts that the response has this status and code, the session has
/// failed with the same cause, and none of its processes runs. Returns the cause.
async fn fails(server: &TestServer, status: u16, code: &str) -> Value {
    let answer = server.client.ask_for_session(json!({"width": 640, "height": 480})).await;
    let expected = if status == 429 { "capacity_exceeded" } else { code };
    let body = answer.problem(status, expected);
    let failure = body["failure"].clone();
    assert_eq!(failure["code"], code, "{failure:#}");
    assert_eq!(body["detail"], failure["message"]);

    let id = id_of(&body);
    let session = server.client.once(&id, "failed").await;
    assert_eq!(session["failure"], failure);
    assert!(session["completed_at"].is_string(), "{session:#}");
    server.nothing_runs_of(&id).await;
    server.client.begin(&id, "ann", 30).await.problem(410, "session_closed");
    failure
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_free_display_the_range_is_named() {
    let setup = Setup::fakes();
    let range = setup.displays();
    let only = range.start().to_string();
    let server = setup.set("desktop.display_last", only.clone()).start().await;
    let first = server.client.session_id().await;
    let failure = fails(&server, 429, "no_display_free").await;
    assert_eq!(failure["message"], format!("none of the displays :{only} to :{only} is free"));
    assert!(failure["hint"].as_str().unwrap().contains("display_last"), "{failure:#}");
    assert_eq!(server.client.look(&first).await["status"], "running", "the other is untouched");
    server.client.close(&first).await.ok();
    server.client.session().await;
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_free_port_the_range_is_named() {
    let setup = Setup::fakes();
    let only = setup.ports().start().to_string();
    let server = setup.set("desktop.vnc_port_last", only.clone()).start().await;
    let first = server.client.session_id().await;
    let failure = fails(&server, 429, "no_port_free").await;
    let expected = format!("none of the ports {only} to {only} is free for a VNC server");
    assert_eq!(failure["message"], expected);
    assert_eq!(server.client.look(&first).await["status"], "running", "the other is untouched");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_that_is_missing_is_named_with_its_package() {
    for (setting, code, package) in [
        ("desktop.xvfb", "xvfb_missing", "xvfb"),
        ("desktop.chromium", "chromium_missing", "chromium"),
    ] {
        let server = Setup::fakes().set(setting, "/nowhere/program").start().await;
        let failure = fails(&server, 424, code).await;
        assert_eq!(failure["message"], "the program /nowhere/program is missing");
        let hint = format!("install the Debian package `{package}`, or run `scripts/setup`");
        assert_eq!(failure["hint"], hint);
        server.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_chromium_that_exits_at_once_is_told_with_its_status_and_its_last_words() {
    let server = Setup::fakes().fake("chromium", "exit").start().await;
    let failure = fails(&server, 424, "chromium_exited").await;
    assert_eq!(failure["stage"], "chromium");
    assert_eq!(failure["exit"], "exit status 3");
    assert_eq!(failure["log_tail"], json!(["the fake failed as configured"]));
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_chromium_that_crashes_at_once_is_told_with_its_signal() {
    let server = Setup::fakes().fake("chromium", "segfault").start().await;
    let failure = fails(&server, 424, "chromium_exited").await;
    assert_eq!(failure["exit"], "signal 11 (SIGSEGV)");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_that_is_never_ready_is_given_up_and_ended_though_it_is_deaf() {
    for (program, code) in [("Xvfb", "xvfb_not_ready"), ("chromium", "chromium_not_ready")] {
        let setup = Setup::fakes().fake(program, "never");
        let setup =
            setup.set("desktop.start_deadline_seconds", "2").set("desktop.stop_grace_seconds", "1");
        let server = setup.start().await;
        let failure = fails(&server, 424, code).await;
        assert!(failure["message"].as_str().unwrap().ends_with("was not ready after 2 s"));
        server.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_display_that_exits_at_once_is_told_with_its_last_words() {
    let server = Setup::fakes().fake("Xvfb", "exit").start().await;
    let failure = fails(&server, 424, "xvfb_exited").await;
    assert_eq!(failure["stage"], "xvfb");
    assert_eq!(failure["log_tail"], json!(["the fake failed as configured"]));
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn programs_that_are_deaf_or_leave_children_or_write_without_end_are_ended_too() {
    for way in ["deaf", "fork", "flood"] {
        let setup = Setup::fakes().fake("chromium", way).set("desktop.stop_grace_seconds", "1");
        let server = setup.set("desktop.log_limit_bytes", "65536").start().await;
        let id = server.client.session_id().await;
        server.client.close(&id).await.ok();
        assert_eq!(server.programs_of(&id), [], "{way}");
        server.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_recoveries_a_killed_chromium_fails_its_session_and_takes_nothing_along() {
    let server = Setup::fakes().set("sessions.max_recoveries", "0").start().await;
    let id = server.client.session_id().await;
    let other = server.client.session_id().await;
    TestServer::kill(server.program(&id, "chromium"));
    let session = server.client.once(&id, "failed").await;
    assert_eq!(session["failure"]["code"], "chromium_died", "{session:#}");
    assert_eq!(session["failure"]["exit"], "signal 9 (SIGKILL)");
    server.nothing_runs_of(&id).await;
    assert_eq!(server.client.look(&other).await["status"], "running");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_recoveries_a_killed_display_fails_its_session_and_leaves_no_lock_and_no_socket() {
    let server = Setup::fakes().set("sessions.max_recoveries", "0").start().await;
    let id = server.client.session_id().await;
    let begun = server.client.begin(&id, "ann", 60).await;
    begun.ok();
    TestServer::kill(server.program(&id, "Xvfb"));
    let session = server.client.once(&id, "failed").await;
    // Its Chromium ends at the same time; the cause is reported, not the consequence.
    assert_eq!(session["failure"]["code"], "xvfb_died", "{session:#}");
    assert_eq!(session["occupancy"]["state"], "closed");
    server.nothing_runs_of(&id).await;
    assert_eq!(left::display_files(&server.displays), Vec::<std::path::PathBuf>::new());
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_was_killed_leaves_browsers_that_the_next_one_takes_over() {
    let mut server = Setup::fakes().start().await;
    let id = server.client.session_id().await;
    server.signal(rustix::process::Signal::KILL);
    server.ended().await;
    let programs = server.programs_of(&id);
    assert!(!programs.is_empty(), "they outlive the server");
    server.serve().await;
    server.client.once(&id, "running").await;
    assert_eq!(server.programs_of(&id), programs, "nothing was started and nothing ended");
    server.client.close(&id).await.ok();
    server.stop().await;
}
