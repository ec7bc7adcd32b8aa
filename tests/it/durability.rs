//! Outages of the database, the disk, descriptors and inotify: the server reports each, sessions continue, and
//! afterwards the state is correct.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use rustix::fs::inotify;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::process::{Child, ChildStdin, Command};
use tokio::time::timeout;

use crate::support::client::{Lease, id_of};
use crate::support::{PATIENCE, Setup, TestServer, eventually};

/// An occupied session, and a session that is closed during an outage of the database.
struct Play {
    held: String,
    closed: String,
    lease: Lease,
    programs: Vec<(i32, String)>,
}

impl Play {
    async fn begin(server: &TestServer) -> Self {
        let client = &server.client;
        let (held, closed) = (client.session_id().await, client.session_id().await);
        let lease = Lease::of(&client.begin(&held, "ann", 600).await.ok());
        let programs = server.programs_of(&held);
        Self { held, closed, lease, programs }
    }

    /// During an outage of the database: changes that are not stored have no effect, and the response permits a
    /// retry.
    async fn is_refused(&self, server: &TestServer) {
        let client = &server.client;
        for answer in [
            client.heartbeat(&self.held, &self.lease).await,
            client.ask_for_session(json!({})).await,
            client.release(&self.held, &self.lease).await,
            client.close(&self.closed).await,
        ] {
            let refused = answer.problem(503, "database_unavailable");
            assert_eq!(refused["retryable"], true, "{refused:#}");
        }
        assert_eq!(server.programs_of(&self.held), self.programs, "the session runs on");
    }

    /// After the outage, all acknowledged changes are in effect.
    async fn goes_on(&self, server: &TestServer) {
        let client = &server.client;
        eventually("it is ready", async || {
            (client.get("/readyz").await.status == 200).then_some(())
        })
        .await;
        let session = client.look(&self.held).await;
        assert_eq!(session["runnable_id"], "ann", "{session:#}");
        assert_eq!(session["occupancy"]["generation"], 1);
        client.heartbeat(&self.held, &self.lease).await.ok();
        // The end of the other session is written again until it is stored.
        client.once(&self.closed, "completed").await;
        let live: Vec<String> = client.list().await.iter().map(id_of).collect();
        assert_eq!(live, std::slice::from_ref(&self.held), "no half-made session");
        client.release(&self.held, &self.lease).await.ok();
        let begun = client.begin(&self.held, "bob", 60).await.ok();
        assert_eq!(begun["generation"], 2);
        let leaks = server.operator().get("/admin/leaks").await.ok();
        assert_eq!(leaks["leaks"], json!([]));
    }
}

/// A process that holds the write lock of an SQLite file.
struct Locker {
    _process: Child,
    input: ChildStdin,
}

impl Locker {
    async fn start(file: &std::path::Path) -> Self {
        const PROGRAM: &str = "import sqlite3, sys\n\
            db = sqlite3.connect(sys.argv[1], isolation_level=None, timeout=30)\n\
            db.execute('BEGIN IMMEDIATE')\n\
            print('locked', flush=True)\n\
            sys.stdin.readline()\n\
            db.execute('ROLLBACK')\n";
        let mut process = Command::new("python3")
            .args(["-c", PROGRAM])
            .arg(file)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(process.stdout.take().unwrap()).lines();
        let line = timeout(PATIENCE, lines.next_line()).await.unwrap().unwrap();
        assert_eq!(line.as_deref(), Some("locked"));
        Self { input: process.stdin.take().unwrap(), _process: process }
    }

    async fn let_go(mut self) {
        self.input.write_all(b"\n").await.unwrap();
        self._process.wait().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions_outlive_an_sqlite_file_that_another_process_has_locked() {
    let setup = Setup::fakes().set("database.statement_timeout_seconds", "1");
    let server = setup.start().await;
    let play = Play::begin(&server).await;
    let locker = Locker::start(&server.directory.join("d/greenroom.db")).await;
    play.is_refused(&server).await;
    locker.let_go().await;
    play.goes_on(&server).await;
    server.stop().await;
}

/// A PostgreSQL server for a single test, which can be stopped and started.
struct OwnPostgres {
    directory: PathBuf,
    url: String,
}

impl OwnPostgres {
    async fn start() -> Self {
        let directory = PathBuf::from(format!("/tmp/gr-postgres-{}", std::process::id()));
        let url = Self::script("start", &directory).await;
        Self { directory, url }
    }

    async fn script(what: &str, directory: &Path) -> String {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/postgres");
        let output = Command::new(script).arg(what).arg(directory).output().await.unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    async fn told(&self, what: &str) {
        Self::script(what, &self.directory).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions_outlive_a_postgres_server_that_is_stopped_and_started() {
    let postgres = OwnPostgres::start().await;
    let setup = Setup::fakes().set("database.url", postgres.url.clone());
    let setup = setup
        .set("database.statement_timeout_seconds", "2")
        .set("database.connect_timeout_seconds", "2");
    let server = setup.start().await;
    let play = Play::begin(&server).await;
    postgres.told("crash").await;
    play.is_refused(&server).await;
    server.client.get("/readyz").await.problem(503, "not_ready");
    postgres.told("resume").await;
    play.goes_on(&server).await;
    server.stop().await;
    postgres.told("stop").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_room_for_another_session_it_is_refused_before_anything_is_made() {
    for (setting, what) in [("limits.spare_memory_mib", "memory"), ("limits.spare_disk_mib", "/d")]
    {
        let server = Setup::fakes().set(setting, "999999999").start().await;
        let answer = server.client.ask_for_session(json!({})).await;
        assert!(answer.headers.contains_key("retry-after"));
        let refused = answer.problem(429, "capacity_exceeded");
        assert_eq!(refused["retryable"], true);
        assert_eq!(refused["needed"].as_u64().map(|needed| needed >= 999_999_999), Some(true));
        assert!(refused["what"].as_str().unwrap().ends_with(what), "{refused:#}");
        assert!(refused["hint"].as_str().unwrap().contains(setting), "{refused:#}");
        assert_eq!(server.client.list().await, Vec::<Value>::new());
        server.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn with_too_few_descriptors_a_session_is_refused_by_name_and_those_that_run_go_on() {
    let server = Setup::fakes().open_files(128).start().await;
    let client = &server.client;
    let mut running = vec![client.session_id().await];
    let refused = loop {
        assert!(running.len() < 40, "it has descriptors for everything");
        let answer = client.ask_for_session(json!({"width": 640, "height": 480})).await;
        if answer.status != 200 {
            break answer;
        }
        running.push(id_of(&answer.ok()));
    };
    let refused = refused.problem(429, "capacity_exceeded");
    assert_eq!(refused["what"], "open files", "{refused:#}");
    assert!(refused["hint"].as_str().unwrap().contains("limits.spare_open_files"), "{refused:#}");
    assert_eq!(client.list().await.len(), running.len(), "no half-made session");
    for id in &running {
        assert_eq!(client.look(id).await["status"], "running");
    }
    // One session less makes room again, as soon as the server has closed its descriptors.
    client.close(&running.remove(0)).await.ok();
    eventually("there is room again", async || {
        let answer = client.ask_for_session(json!({"width": 640, "height": 480})).await;
        (answer.status == 200).then_some(())
    })
    .await;
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_inotify_sessions_come_up_all_the_same() {
    let flags = inotify::CreateFlags::CLOEXEC;
    let taken: Vec<_> = std::iter::from_fn(|| inotify::init(flags).ok()).take(100_000).collect();
    assert!(!taken.is_empty());
    let server = Setup::fakes().start().await;
    let began = tokio::time::Instant::now();
    let id = server.client.session_id().await;
    assert!(began.elapsed() < Duration::from_secs(20));
    drop(taken);
    server.client.close(&id).await.ok();
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_file_that_was_removed_or_replaced_is_noticed_and_takes_nothing() {
    let server = Setup::fakes().start().await;
    let client = &server.client;
    let id = client.session_id().await;
    client.get("/readyz").await.ok();
    let (file, aside) =
        (server.directory.join("d/greenroom.db"), server.directory.join("d/aside.db"));
    fs::rename(&file, &aside).unwrap();
    client.get("/readyz").await.problem(503, "not_ready");
    client.begin(&id, "ann", 60).await.problem(503, "database_unavailable");
    fs::copy(&aside, &file).unwrap();
    client.get("/readyz").await.problem(503, "not_ready");
    client.begin(&id, "ann", 60).await.problem(503, "database_unavailable");
    fs::rename(&aside, &file).unwrap();
    client.get("/readyz").await.ok();
    client.begin(&id, "ann", 60).await.ok();
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_whose_disk_is_full_is_not_ready_and_says_why() {
    let server = Setup::fakes().set("limits.spare_disk_mib", "1000000000").start().await;
    let refused = server.client.get("/readyz").await.problem(503, "not_ready");
    let detail = refused["detail"].as_str().unwrap();
    assert!(detail.contains("disk") && detail.contains("limits.spare_disk_mib"), "{detail}");
    server.stop().await;
}
