//! Tests without a browser: a missing Python, one without Playwright, invalid code, and an end from
//! outside. The others are in `tests/it/world`.

use serde_json::json;
use tokio::time::timeout;

use super::*;
use crate::system::confine::Confinement;
use crate::system::process::living_among;

const PATH: &str = "/usr/local/bin:/usr/bin:/bin";

fn session() -> SessionId {
    SessionId::from(rand::random::<u64>() >> 1)
}

fn task(session: SessionId, code: &str) -> Task {
    Task {
        session,
        folder: std::env::temp_dir().join(format!("gr-python-{session}")),
        records: records(session),
        code: code.to_owned(),
        values: json!({ "name": "Ada" }).as_object().unwrap().clone(),
        devtools: "ws://127.0.0.1:9/nowhere".to_owned(),
        network: None,
        target: None,
        limits: Limits { time: Duration::from_secs(5), memory: 256 << 20, output: 4096 },
        held: watch::channel(false).1,
    }
}

/// The directory of the session's logs.
fn records(session: SessionId) -> PathBuf {
    let records = std::env::temp_dir().join(format!("gr-python-{session}-logs"));
    fs::create_dir_all(&records).unwrap();
    records
}

/// Asserts that nothing of a task is left, and removes the session's directory.
fn nothing_is_left(session: SessionId) {
    assert!(!task(session, "").folder.exists());
    let logs = fs::read_dir(records(session)).unwrap().filter_map(Result::ok);
    let logs: Vec<_> = logs.map(|log| log.file_name()).filter(|name| name != "started").collect();
    assert_eq!(logs, Vec::<std::ffi::OsString>::new());
    fs::remove_dir_all(records(session)).unwrap();
}

fn fake(session: SessionId, script: &str) -> PathBuf {
    use std::os::unix::fs::PermissionsExt as _;
    let path = std::env::temp_dir().join(format!("gr-fake-python-{session}"));
    fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    path
}

#[tokio::test]
async fn a_missing_python_and_one_without_playwright_are_told_apart() {
    let runtime = Handle::current();
    let session = session();
    let python = Python::new(
        Some(Path::new("no-such-python")),
        PATH,
        Confinement::default(),
        runtime.clone(),
    );
    let gave = python.run(task(session, "return 1")).await.gave;
    assert_eq!(gave, Err(Fault::NoPython { interpreter: "no-such-python".to_owned() }));

    // `-S` excludes every package outside of Python's own library.
    let script = fake(session, "shift; exec python3 -I -S \"$@\"");
    let python = Python::new(Some(&script), PATH, Confinement::default(), runtime);
    let gave = python.run(task(session, "return 1")).await.gave;
    let Err(Fault::NoPlaywright { cause }) = gave else { panic!("{gave:?}") };
    assert!(cause.contains("No module named 'playwright'"), "{cause}");
    python.quiet().await;
    nothing_is_left(session);
    fs::remove_file(script).unwrap();
}

#[tokio::test]
async fn a_child_that_ends_without_a_word_is_told_with_what_it_printed() {
    let session = session();
    let script = fake(session, "echo oh no; kill -SEGV $$");
    let python = Python::new(Some(&script), PATH, Confinement::default(), Handle::current());
    let ran = python.run(task(session, "return 1")).await;
    assert_eq!(ran.gave, Err(Fault::Ended { exit: Exit::Signal(11) }));
    assert_eq!(ran.last_lines(), ["oh no"]);
    python.quiet().await;
    nothing_is_left(session);
    fs::remove_file(script).unwrap();
}

#[tokio::test]
async fn dropping_the_work_ends_the_whole_group_and_removes_the_folder() {
    let session = session();
    let script = fake(session, "sleep 300 & echo started >&2; sleep 300");
    let python = Python::new(Some(&script), PATH, Confinement::default(), Handle::current());
    let printed = task(session, "").log();
    let work = tokio::spawn({
        let python = python.clone();
        async move { python.run(task(session, "return 1")).await }
    });
    let started = async {
        while !fs::read_to_string(&printed).is_ok_and(|text| text.contains("started")) {
            tokio::task::yield_now().await;
        }
    };
    timeout(Duration::from_secs(20), started).await.unwrap();
    assert_eq!(living_among(&[session]), [session]);

    work.abort();
    let _ = work.await;
    timeout(Duration::from_secs(20), python.quiet()).await.unwrap();
    assert_eq!(living_among(&[session]), []);
    nothing_is_left(session);
    fs::remove_file(script).unwrap();
}
