//! A server for one test.

use std::fs::{self, File};
use std::ops::RangeInclusive;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use greenroom::db::{Db, api_keys, organizations};
use greenroom::domain::ids::{Mint, OrganizationId};
use greenroom::domain::tenancy::{ApiKey, Organization};
use greenroom::service::keys::hash_of;
use parking_lot::Mutex;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};
use tokio::time::timeout;

use super::client::Client;
use super::database::{Database, PostgresDatabase};
use super::left;
use super::{PATIENCE, eventually};

/// The program under test.
pub const GREENROOM: &str = env!("CARGO_BIN_EXE_greenroom");

/// The key of the first organization.
pub const KEY: &str = "key-of-the-tests";

/// The operator key, for `/admin`.
pub const OPERATOR: &str = "operator-key-of-the-tests";

/// An unused user and group.
const ORDINARY: u32 = 23_456;

/// The counter that distinguishes the tests of a process.
static LAST: AtomicU32 = AtomicU32::new(0);

/// The options of a server.
#[derive(Debug)]
pub struct Setup {
    directory: PathBuf,
    settings: Vec<(String, String)>,
    arguments: Vec<&'static str>,
    database: Database,
    fakes: bool,
    bootstrap: bool,
    open_files: Option<u32>,
    ordinary: bool,
    displays: RangeInclusive<u16>,
    ports: RangeInclusive<u16>,
    claim: File,
}

/// The number of servers that can be under test at once, each with its own displays and ports.
const SLOTS: u16 = 900;

/// A slot that no other test of any process has, and its lock.
fn claim_slot() -> (u16, File) {
    let locks = std::env::temp_dir().join("greenroom-test-slots");
    fs::create_dir_all(&locks).unwrap();
    let claim = |slot: u16| {
        let file = File::create(locks.join(slot.to_string())).unwrap();
        file.try_lock().ok().map(|()| (slot, file))
    };
    (0..SLOTS).find_map(claim).expect("as many servers are under test as may be")
}

/// A running server, and its paths.
#[derive(Debug)]
pub struct TestServer {
    /// With the key of the first organization.
    pub client: Client,
    /// The directory that it writes to.
    pub directory: PathBuf,
    /// The numbers of its displays.
    pub displays: RangeInclusive<u16>,
    environment: Vec<(String, String)>,
    arguments: Vec<&'static str>,
    open_files: Option<u32>,
    ordinary: bool,
    ports: RangeInclusive<u16>,
    child: Option<Child>,
    output: Arc<Mutex<Vec<String>>>,
    postgres: Option<PostgresDatabase>,
    /// Keeps the displays and ports until the end of the test.
    _claim: File,
}

impl Setup {
    /// Options with fakes of the desktops' programs.
    pub fn fakes() -> Self {
        let fakes = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fakes");
        let program = |name: &str| fakes.join(name).to_str().unwrap().to_owned();
        let setup = Self { fakes: true, ..Self::real() };
        setup
            .set("desktop.xvfb", program("Xvfb"))
            .set("desktop.x11vnc", program("x11vnc"))
            .set("desktop.chromium", program("chromium"))
            // The figures of control groups depend on the machine.
            .set("limits.enabled", "false")
            // The fakes are scripts that read and execute files that Landlock denies.
            .set("isolation.files", "off")
            .set("isolation.network", "off")
            .set("desktop.start_deadline_seconds", "15")
            .set("desktop.stop_grace_seconds", "2")
            .set("keys.wrong_key_delay_milliseconds", "0")
    }

    /// Options with the real programs.
    pub fn real() -> Self {
        let number = LAST.fetch_add(1, Ordering::Relaxed);
        let process = std::process::id();
        let (slot, claim) = claim_slot();
        let range = |base: u16| base + slot * 10..=base + slot * 10 + 9;
        // Short: the names of sockets in it are limited.
        let directory = PathBuf::from(format!("/tmp/gr-{process}-{number}"));
        let setup = Self {
            directory,
            settings: Vec::new(),
            arguments: Vec::new(),
            database: Database::Sqlite,
            fakes: false,
            bootstrap: true,
            open_files: None,
            ordinary: false,
            displays: range(1_000),
            ports: range(10_000),
            claim,
        };
        let (displays, ports) = (setup.displays.clone(), setup.ports.clone());
        setup
            .set("desktop.display_first", displays.start().to_string())
            .set("desktop.display_last", displays.end().to_string())
            .set("desktop.vnc_port_first", ports.start().to_string())
            .set("desktop.vnc_port_last", ports.end().to_string())
            .set("stop.grace_seconds", "1")
            // The pages of tests are on loopback.
            .set("egress.allow", "127.0.0.0/8,::1,localhost")
    }

    /// Adds a setting, with its section: `sessions.max_sessions`.
    pub fn set(mut self, key: &str, value: impl Into<String>) -> Self {
        self.settings.retain(|(set, _)| set != key);
        self.settings.push((key.to_owned(), value.into()));
        self
    }

    /// Adds a flag of `serve`.
    pub fn argument(mut self, flag: &'static str) -> Self {
        self.arguments.push(flag);
        self
    }

    /// The numbers that its displays may have.
    pub fn displays(&self) -> RangeInclusive<u16> {
        self.displays.clone()
    }

    /// The ports that its VNC servers may have.
    pub fn ports(&self) -> RangeInclusive<u16> {
        self.ports.clone()
    }

    /// Makes the server create the first key.
    pub fn without_bootstrap_key(mut self) -> Self {
        self.bootstrap = false;
        self
    }

    /// Sets the limit of open files.
    pub fn open_files(self, most: u32) -> Self {
        Self { open_files: Some(most), ..self }
    }

    /// Runs the server as an ordinary user, also if the tests run as root.
    pub fn ordinary(self) -> Self {
        Self { ordinary: true, ..self }
    }

    /// Sets the database that the server uses; SQLite by default.
    pub fn on(self, database: Database) -> Self {
        Self { database, ..self }
    }

    /// Makes a fake misbehave: `Xvfb`, `x11vnc` or `chromium`, in a way that
    /// `tests/fakes/fake.py` describes.
    pub fn fake(self, program: &str, way: &str) -> Self {
        assert!(self.fakes, "the real programs do not misbehave on request");
        let fake = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fakes").join(program);
        let script = format!("#!/bin/sh\nexec '{}' --fake={way} \"$@\"\n", fake.display());
        let path = self.directory.join(format!("fake-{program}"));
        fs::create_dir_all(&self.directory).unwrap();
        fs::write(&path, script).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        self.set(&format!("desktop.{}", program.to_lowercase()), path.to_str().unwrap())
    }

    /// Starts it, and waits until it serves.
    pub async fn start(self) -> TestServer {
        let Self {
            directory,
            settings,
            arguments,
            database,
            bootstrap,
            open_files,
            ordinary,
            displays,
            ports,
            claim,
            ..
        } = self;
        fs::create_dir_all(&directory).unwrap();
        let ordinary = ordinary && rustix::process::geteuid().is_root();
        if ordinary {
            // A copy that such a user can execute, independent of the program's directory.
            fs::copy(GREENROOM, directory.join("greenroom")).unwrap();
            std::os::unix::fs::chown(&directory, Some(ORDINARY), Some(ORDINARY)).unwrap();
        }
        let name = directory.file_name().unwrap().to_str().unwrap().replace('-', "_");
        let postgres = match database {
            Database::Sqlite => None,
            Database::Postgres => Some(PostgresDatabase::create(&name).await),
        };
        let variable = |key: &str| format!("GREENROOM_{}", key.replace('.', "__").to_uppercase());
        let mut environment: Vec<(String, String)> =
            settings.iter().map(|(key, value)| (variable(key), value.clone())).collect();
        let home = directory.to_str().unwrap().to_owned();
        for (name, value) in [
            ("PATH", "/usr/local/bin:/usr/bin:/bin".to_owned()),
            ("HOME", home.clone()),
            ("TMPDIR", home.clone()),
            ("GREENROOM_DATA", format!("{home}/d")),
            ("GREENROOM_ISOLATION__PROGRAMS", format!("{home}/p")),
            ("GREENROOM_LISTEN", "127.0.0.1:0".to_owned()),
            ("GREENROOM_BOOTSTRAP_KEY", KEY.to_owned()),
            ("GREENROOM_OPERATOR_KEY", OPERATOR.to_owned()),
            ("GREENROOM_LOG", "info,greenroom=debug".to_owned()),
        ] {
            environment.push((name.to_owned(), value));
        }
        environment.retain(|(name, _)| bootstrap || name != "GREENROOM_BOOTSTRAP_KEY");
        if let Some(postgres) = &postgres {
            environment.push(("GREENROOM_DATABASE_URL".to_owned(), postgres.url()));
        }
        let mut server = TestServer {
            client: Client::new("", Some(KEY)),
            directory,
            displays,
            environment,
            arguments,
            open_files,
            ordinary,
            ports,
            child: None,
            output: Arc::default(),
            postgres,
            _claim: claim,
        };
        server.serve().await;
        server
    }
}

impl TestServer {
    /// Sets a variable for the next start.
    pub fn set_variable(&mut self, name: &str, value: &str) {
        self.environment.retain(|(set, _)| set != name);
        self.environment.push((name.to_owned(), value.to_owned()));
    }

    /// Starts the program on the existing directory.
    pub async fn serve(&mut self) {
        assert!(self.child.is_none(), "it runs already");
        let log = fs::OpenOptions::new().create(true).append(true).open(self.log_file()).unwrap();
        let mut command = match self.open_files {
            None if self.ordinary => {
                let mut command = Command::new(self.directory.join("greenroom"));
                command.uid(ORDINARY).gid(ORDINARY);
                command
            }
            None => Command::new(GREENROOM),
            Some(most) => {
                let mut shell = Command::new("/bin/sh");
                let script = format!("ulimit -n {most}; exec \"$0\" \"$@\"");
                shell.args(["-c", &script, GREENROOM]);
                shell
            }
        };
        let mut child = command
            .arg("serve")
            .args(&self.arguments)
            .env_clear()
            .envs(self.environment.iter().cloned())
            .current_dir(&self.directory)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        self.child = Some(child);
        let base = timeout(PATIENCE, async {
            while let Some(line) = lines.next_line().await.unwrap() {
                self.output.lock().push(line.clone());
                if let Some(base) = line.strip_prefix("listening on ") {
                    return base.to_owned();
                }
            }
            panic!("the server ended before it served:\n{}", self.log());
        });
        let base = base.await.unwrap_or_else(|_| panic!("it does not serve:\n{}", self.log()));
        self.client = Client::new(&base, Some(KEY));
        let output = Arc::clone(&self.output);
        tokio::spawn(async move {
            while let Ok(Some(line)) = lines.next_line().await {
                output.lock().push(line);
            }
        });
    }

    /// Runs a command on its data directory, with or without a running server.
    pub async fn greenroom(&self, arguments: &[&str]) -> std::process::Output {
        let mut command = Command::new(GREENROOM);
        command.args(arguments).env_clear().envs(self.environment.iter().cloned());
        command.env("GREENROOM_URL", &self.client.base).stdin(Stdio::null());
        timeout(PATIENCE, command.output()).await.expect("it does not end").unwrap()
    }

    fn log_file(&self) -> PathBuf {
        self.directory.join("server.log")
    }

    /// The log of the server.
    pub fn log(&self) -> String {
        fs::read_to_string(self.log_file()).unwrap_or_default()
    }

    /// The output of the server.
    pub fn output(&self) -> Vec<String> {
        self.output.lock().clone()
    }

    /// A client with the operator's key.
    pub fn operator(&self) -> Client {
        self.client.with_key(Some(OPERATOR))
    }

    /// A client without a key.
    pub fn stranger(&self) -> Client {
        self.client.with_key(None)
    }

    /// A client of another organization, which is written to the database.
    pub async fn another_organization(&self) -> Client {
        let url = self.postgres.as_ref().map(PostgresDatabase::url);
        let settings = serde_json::from_value(json!({"url": url})).unwrap();
        let db = Db::open(&settings, &self.directory.join("d")).await.unwrap();
        let (mint, now) = (Mint::new(1), chrono::Utc::now());
        let other = Organization::new(mint.mint(now), "other".to_owned(), now);
        organizations::insert(&db, &other).await.unwrap();
        let key = self.insert_key(&db, other.id).await;
        db.close();
        self.client.with_key(Some(&key))
    }

    /// A client with another key of the first organization, which is written to the database.
    pub async fn another_key(&self) -> Client {
        let url = self.postgres.as_ref().map(PostgresDatabase::url);
        let settings = serde_json::from_value(json!({"url": url})).unwrap();
        let db = Db::open(&settings, &self.directory.join("d")).await.unwrap();
        let hash = hash_of(self.client.key());
        let (found, _) = api_keys::by_hash(&db, &hash).await.unwrap().expect("no such key");
        let key = self.insert_key(&db, found.organization).await;
        db.close();
        self.client.with_key(Some(&key))
    }

    async fn insert_key(&self, db: &Db, organization: OrganizationId) -> String {
        let (mint, now) = (Mint::new(2), chrono::Utc::now());
        let key = format!("key-of-{organization}");
        let label = "other".to_owned();
        let stored = ApiKey::new(mint.mint(now), organization, hash_of(&key), label, now);
        api_keys::insert(db, &stored).await.unwrap();
        key
    }

    /// The database, without the server in between.
    pub async fn database(&self) -> Db {
        let url = self.postgres.as_ref().map(PostgresDatabase::url);
        let settings = serde_json::from_value(json!({"url": url})).unwrap();
        Db::open(&settings, &self.directory.join("d")).await.unwrap()
    }

    /// Revokes a key by writing to the database.
    pub async fn revoke_key(&self, key: &str) {
        let url = self.postgres.as_ref().map(PostgresDatabase::url);
        let settings = serde_json::from_value(json!({"url": url})).unwrap();
        let db = Db::open(&settings, &self.directory.join("d")).await.unwrap();
        let (found, _) = api_keys::by_hash(&db, &hash_of(key)).await.unwrap().expect("no such key");
        assert!(api_keys::revoke(&db, found.organization, found.id).await.unwrap());
        db.close();
    }

    /// The programs of a session that are alive, by the name in their arguments.
    pub fn programs_of(&self, session: &str) -> Vec<(i32, String)> {
        // A Chromium may write over its environment, but names its profile.
        let marker = format!("GREENROOM_SESSION={session}");
        let directory = self.programs(session);
        left::processes_naming(&[&marker, directory.to_str().unwrap()])
    }

    /// True for the arguments of a browser itself: its other processes may outlive it by a moment.
    pub fn is_browser(arguments: &str) -> bool {
        arguments.contains("--remote-debugging-port") && !arguments.contains("--type=")
    }

    /// The directory of a session's programs.
    pub fn programs(&self, session: &str) -> PathBuf {
        self.directory.join("p").join(session)
    }

    /// The process of a session's program that leads its group, for `kill -9`.
    pub fn program(&self, session: &str, name: &str) -> i32 {
        let leads = |pid: i32| {
            let group = Pid::from_raw(pid).and_then(|pid| rustix::process::getpgid(Some(pid)).ok());
            group.map(Pid::as_raw_pid) == Some(pid)
        };
        let found = self.programs_of(session).into_iter().find(|(pid, arguments)| {
            arguments.split(' ').take(6).any(|word| word.ends_with(name)) && leads(*pid)
        });
        found.unwrap_or_else(|| panic!("no {name}: {:?}", self.programs_of(session))).0
    }

    /// Kills a process with SIGKILL.
    pub fn kill(pid: i32) {
        kill_process(Pid::from_raw(pid).unwrap(), Signal::KILL).unwrap();
    }

    /// Waits until no process of a session runs.
    pub async fn nothing_runs_of(&self, session: &str) {
        eventually(&format!("nothing of {session} runs"), async || {
            self.programs_of(session).is_empty().then_some(())
        })
        .await;
    }

    /// The process of the server.
    pub fn pid(&self) -> i32 {
        let pid = self.child.as_ref().and_then(Child::id).expect("it does not run");
        i32::try_from(pid).unwrap()
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) {
        kill_process(Pid::from_raw(self.pid()).unwrap(), signal).unwrap();
    }

    /// Waits until its process has ended.
    pub async fn ended(&mut self) -> ExitStatus {
        let mut child = self.child.take().expect("it does not run");
        let ended = timeout(PATIENCE, child.wait()).await;
        ended.unwrap_or_else(|_| panic!("it does not end:\n{}", self.log())).unwrap()
    }

    /// Stops it as a service manager would, and asserts that nothing is left of it.
    pub async fn stop(mut self) {
        self.signal(Signal::TERM);
        self.ended_clean().await;
        self.gone().await;
    }

    /// Waits for its end after a signal, and asserts success and that no process is left.
    pub async fn ended_clean(&mut self) {
        let running = left::processes_of(&self.directory);
        let programs: Vec<i32> = running.iter().map(|(pid, _)| *pid).collect();
        // Only these programs create segments: a segment with the pid of another program is older than that
        // program.
        let vnc = running.iter().filter(|(_, name)| name.contains("x11vnc"));
        let vnc: Vec<i32> = vnc.map(|(pid, _)| *pid).collect();
        let outside = left::open_outside(&programs, &self.directory);
        let port: u16 = self.client.base.rsplit(':').next().unwrap().parse().unwrap();
        let status = self.ended().await;
        assert!(status.success(), "{status}:\n{}", self.log());
        assert_eq!(left::processes_of(&self.directory), [], "processes are left");
        assert_eq!(left::display_files(&self.displays), Vec::<PathBuf>::new());
        let ports = self.ports.clone().chain([port]);
        assert_eq!(left::busy_ports(ports), Vec::<u16>::new(), "a process listens");
        assert_eq!(left::segments_of(&vnc), 0, "shared memory is left");
        let stray: Vec<_> = outside.into_iter().filter(|file| file.exists()).collect();
        assert_eq!(stray, Vec::<PathBuf>::new(), "files outside its directory");
        let below = |folder: &str| left::files_below(&self.directory.join(folder));
        let sessions = [below("d/sessions"), below("p"), below("d/users")].concat();
        // Downloads that were not stored, and the record of their folder.
        let kept = |file: &&String| !file.contains("/downloads/") && !file.ends_with("/programs");
        let left: Vec<_> = sessions.iter().filter(kept).collect();
        assert_eq!(left, Vec::<&String>::new(), "files of sessions are left");
        let panics = self.log().lines().filter(|line| line.contains("panicked")).count();
        assert_eq!(panics, 0, "{}", self.log());
    }

    /// Removes the directory and the database of a server that has ended.
    pub async fn gone(mut self) {
        assert!(self.child.is_none(), "it runs");
        if let Some(postgres) = self.postgres.take() {
            postgres.remove().await;
        }
        fs::remove_dir_all(&self.directory).unwrap();
        self.directory = PathBuf::new();
    }
}

impl Drop for TestServer {
    fn drop(&mut self) {
        if self.directory == Path::new("") {
            return;
        }
        // The test failed. Its processes are killed, and the log is printed.
        let log = self.log();
        left::kill_all(&self.directory);
        for file in left::display_files(&self.displays) {
            let _gone = fs::remove_file(file);
        }
        let _gone = fs::remove_dir_all(&self.directory);
        if std::thread::panicking() {
            let lines: Vec<_> = log.lines().collect();
            let tail = lines.get(lines.len().saturating_sub(60)..).unwrap_or_default();
            eprintln!("--- the end of the server's log\n{}\n---", tail.join("\n"));
        } else {
            panic!("the test did not stop its server");
        }
    }
}
