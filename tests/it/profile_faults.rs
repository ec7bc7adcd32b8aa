//! `kill -9` of the server at each step of storing and of restoring a profile: the former version is
//! intact and starts a session, and nothing half-written is left.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use diesel::connection::SimpleConnection as _;
use diesel::{Connection as _, SqliteConnection};
use rustix::process::Signal;
use serde_json::{Value, json};
use tokio::task::JoinHandle;

use crate::support::client::id_of;
use crate::support::s3::S3Server;
use crate::support::{Setup, TestServer, eventually};

/// The age from which an archive without a row is a leak, and more.
const OLD: Duration = Duration::from_secs(2 * 3600);

/// The file of the profile by which its versions are distinguished.
const MARK: &str = "profile/Default/mark";

/// The largest profile that a test packs, all zeros.
const LARGE: u64 = 1 << 30;

/// A server with a bucket and a profile of one version, whose mark is `one`.
struct World {
    server: TestServer,
    s3: S3Server,
    folder: PathBuf,
    profile: String,
    organization: String,
}

impl World {
    async fn start(name: &str) -> Self {
        let folder = std::env::temp_dir().join(format!("gr-{name}-{}", std::process::id()));
        let s3 = S3Server::start(&folder).await;
        let setup = s3.settings(Setup::fakes()).set("storage.timeout_seconds", "60");
        let server = setup.start().await;
        eventually("it is ready", async || {
            (server.client.get("/readyz").await.status == 200).then_some(())
        })
        .await;
        let session = server.client.session_of(json!({ "generate_browser_profile": true })).await;
        let text = |key: &str| session[key].as_str().unwrap().to_owned();
        let (profile, organization) = (text("browser_profile_id"), text("organization_id"));
        let world = Self { server, s3, folder, profile, organization };
        world.mark(&id_of(&session), "one");
        world.server.client.close(&id_of(&session)).await.ok();
        assert_eq!(world.versions().await, [1]);
        world
    }

    fn mark(&self, session: &str, mark: &str) {
        let file = self.server.programs(session).join(MARK);
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(file, mark).unwrap();
    }

    fn marked(&self, session: &str) -> Option<String> {
        fs::read_to_string(self.server.programs(session).join(MARK)).ok()
    }

    fn request(&self) -> Value {
        json!({ "browser_profile_id": self.profile, "browser_profile_access": "write" })
    }

    /// A session that may write to the profile, with the mark `two`.
    async fn writer(&self) -> String {
        let id = id_of(&self.server.client.session_of(self.request()).await);
        assert_eq!(self.marked(&id).as_deref(), Some("one"));
        self.mark(&id, "two");
        id
    }

    /// Closes a session without waiting for the answer.
    fn closing(&self, session: &str) -> JoinHandle<()> {
        let (client, id) = (self.server.client.clone(), session.to_owned());
        tokio::spawn(async move { drop(client.close(&id).await) })
    }

    fn path(&self) -> String {
        format!("/v1/browser_profiles/{}", self.profile)
    }

    async fn versions(&self) -> Vec<i64> {
        let listed = self.server.client.get(&format!("{}/versions", self.path())).await.ok();
        let numbers = listed.as_array().unwrap().iter().map(|it| it["version"].as_i64().unwrap());
        numbers.collect()
    }

    /// The files of archives that are being packed, copied or read.
    fn transit(&self) -> Vec<PathBuf> {
        let entries = fs::read_dir(self.server.directory.join("d/transit")).unwrap();
        entries.map(|entry| entry.unwrap().path()).collect()
    }

    /// The objects of the profile, its description included.
    fn objects(&self) -> usize {
        self.s3.count(&format!("profiles/{}/{}", self.organization, self.profile))
    }

    /// Kills the server, and starts it again.
    async fn kill(&mut self, asked: JoinHandle<()>) {
        self.server.signal(Signal::KILL);
        self.server.ended().await;
        self.serve(asked).await;
    }

    /// Starts the server that was killed.
    async fn serve(&mut self, asked: JoinHandle<()>) {
        asked.abort();
        self.server.serve().await;
    }

    /// Waits until a session has ended. One that lives on under the next server is closed.
    async fn ended(&self, session: &str) {
        eventually("the session has ended", async || {
            let found = self.server.client.look(session).await;
            match found["status"].as_str().unwrap() {
                "completed" | "failed" | "timeout" => Some(()),
                _ => {
                    self.server.client.close(session).await;
                    None
                }
            }
        })
        .await;
    }

    /// Asserts that the profile has these versions, that sessions start from the one with `mark`, and
    /// that nothing else is left in the end.
    async fn check_intact(self, versions: &[i64], mark: &str) {
        assert_eq!(self.versions().await, versions);
        assert_eq!(self.transit(), Vec::<PathBuf>::new());
        let shown = self.server.client.get(&self.path()).await.ok();
        assert_eq!(shown["writer"], Value::Null, "{shown:#}");
        let next = self.server.client.session_of(self.request()).await;
        assert_eq!(next["browser_profile_version"], versions[0]);
        let next = id_of(&next);
        assert_eq!(self.marked(&next).as_deref(), Some(mark));
        self.server.client.close(&next).await.ok();
        let mut expected = versions.to_vec();
        expected.insert(0, versions[0] + 1);
        assert_eq!(self.versions().await, expected);
        self.check_swept(expected.len() + 1).await;
    }

    /// Asserts that nothing but `objects` of the profile is left once the leaks are removed.
    async fn check_swept(self, objects: usize) {
        let outbox = self.server.directory.join("d/outbox/profiles");
        let waits = || fs::read_dir(outbox.join(&self.organization).join(&self.profile));
        eventually("the outbox is empty", async || {
            waits().map_or(0, Iterator::count).eq(&0).then_some(())
        })
        .await;
        self.s3.age("profiles", OLD);
        let fixed = self.server.operator().post("/admin/leaks/fix", json!({})).await.ok();
        assert_eq!(fixed["leaks"], json!([]), "{fixed:#}");
        assert_eq!(self.objects(), objects, "{fixed:#}");
        assert_eq!(self.transit(), Vec::<PathBuf>::new());
        self.server.stop().await;
        drop(self.s3);
        fs::remove_dir_all(self.folder).unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kill_while_the_profile_is_packed_leaves_the_former_version() {
    let mut world = World::start("packing").await;
    let writer = world.writer().await;
    let large = world.server.programs(&writer).join("profile/Default/large");
    fs::File::create(&large).unwrap().set_len(LARGE).unwrap();
    let asked = world.closing(&writer);
    eventually("the profile is being packed", async || world.transit().pop()).await;
    assert_eq!(world.objects(), 2);
    world.kill(asked).await;
    assert_eq!(world.versions().await, [1]);
    fs::remove_file(large).unwrap_or_default();
    world.ended(&writer).await;
    let versions = world.versions().await;
    let mark = if versions == [1] { "one" } else { "two" };
    world.check_intact(&versions, mark).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kill_while_the_archive_is_sent_leaves_the_former_version() {
    let mut world = World::start("sending").await;
    let writer = world.writer().await;
    world.s3.stall("PUT", ".tar.zst");
    let asked = world.closing(&writer);
    world.s3.stalled().await;
    assert_eq!(world.objects(), 2);
    world.kill(asked).await;
    assert_eq!(world.versions().await, [1]);
    world.s3.go_on();
    world.ended(&writer).await;
    let versions = world.versions().await;
    let mark = if versions == [1] { "one" } else { "two" };
    world.check_intact(&versions, mark).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kill_between_the_archive_and_its_row_leaves_the_former_version() {
    let mut world = World::start("row").await;
    let writer = world.writer().await;
    world.s3.stall("PUT", ".tar.zst");
    let asked = world.closing(&writer);
    world.s3.stalled().await;
    let file = world.server.directory.join("d/greenroom.db");
    let mut lock = SqliteConnection::establish(file.to_str().unwrap()).unwrap();
    lock.batch_execute("PRAGMA busy_timeout = 5000; BEGIN IMMEDIATE").unwrap();
    world.s3.go_on();
    eventually("the archive is stored", async || (world.objects() == 3).then_some(())).await;
    world.server.signal(Signal::KILL);
    world.server.ended().await;
    drop(lock);
    world.serve(asked).await;
    assert_eq!(world.versions().await, [1]);
    world.ended(&writer).await;
    let versions = world.versions().await;
    let mark = if versions == [1] { "one" } else { "two" };
    world.check_intact(&versions, mark).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kill_after_the_row_leaves_the_new_version_and_its_description() {
    let mut world = World::start("description").await;
    let writer = world.writer().await;
    world.s3.stall("PUT", "/profile.json");
    let asked = world.closing(&writer);
    world.s3.stalled().await;
    assert_eq!(world.versions().await, [2, 1]);
    world.kill(asked).await;
    world.s3.go_on();
    world.ended(&writer).await;
    let versions = world.versions().await;
    assert!(versions.starts_with(&[2]) || versions.starts_with(&[3]), "{versions:?}");
    world.check_intact(&versions, "two").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kill_before_the_first_row_leaves_no_profile_and_no_archive() {
    let mut world = World::start("first").await;
    let session = world.server.client.session_of(json!({ "name": "first" })).await;
    let id = id_of(&session);
    world.s3.stall("PUT", ".tar.zst");
    let (client, path) =
        (world.server.client.clone(), format!("/v1/browser_sessions/{id}/profile"));
    let asked = tokio::spawn(async move {
        drop(client.post(&path, json!({ "name": "Never" })).await);
    });
    world.s3.stalled().await;
    world.kill(asked).await;
    world.s3.go_on();
    let folder = format!("profiles/{}", world.organization);
    eventually("the next server sends it", async || (world.s3.count(&folder) == 3).then_some(()))
        .await;
    let named = world.server.client.get("/v1/browser_profiles?name=Never").await.ok();
    assert_eq!(named, json!([]));
    world.server.client.once(&id, "running").await;
    world.s3.age("profiles", OLD);
    let fixed = world.server.operator().post("/admin/leaks/fix", json!({})).await.ok();
    assert_eq!(fixed["removed"].as_array().unwrap().len(), 1, "{fixed:#}");
    assert_eq!(world.s3.count(&folder), 2, "the other profile stays");
    world.check_swept(2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kill_while_the_archive_is_read_leaves_the_profile_free() {
    let mut world = World::start("reading").await;
    world.s3.stall("GET", ".tar.zst");
    let (client, request) = (world.server.client.clone(), world.request());
    let asked = tokio::spawn(async move { drop(client.ask_for_session(request).await) });
    world.s3.stalled().await;
    let shown = world.server.client.get(&world.path()).await.ok();
    let writer = shown["writer"].as_str().unwrap().to_owned();
    world.kill(asked).await;
    world.s3.go_on();
    world.ended(&writer).await;
    let versions = world.versions().await;
    world.check_intact(&versions, "one").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kill_while_the_archive_is_unpacked_leaves_the_profile_free() {
    let mut world = World::start("unpacking").await;
    let first = world.writer().await;
    world.mark(&first, "one");
    let large = world.server.programs(&first).join("profile/Default/large");
    fs::File::create(&large).unwrap().set_len(LARGE).unwrap();
    world.server.client.close(&first).await.ok();
    assert_eq!(world.versions().await, [2, 1]);
    let (client, request) = (world.server.client.clone(), world.request());
    let asked = tokio::spawn(async move { drop(client.ask_for_session(request).await) });
    let programs = world.server.directory.join("p");
    let unpacked = eventually("the archive is being unpacked", async || {
        let sessions = fs::read_dir(&programs).ok()?.flatten();
        let files = sessions.map(|it| it.path().join("profile/Default/large"));
        files.into_iter().find(|file| file.exists())
    })
    .await;
    world.server.signal(Signal::KILL);
    world.server.ended().await;
    assert!(fs::metadata(&unpacked).unwrap().len() < LARGE, "it was unpacked already");
    world.serve(asked).await;
    let shown = world.server.client.get(&world.path()).await.ok();
    if let Some(writer) = shown["writer"].as_str() {
        world.ended(writer).await;
    }
    let versions = world.versions().await;
    world.check_intact(&versions, "one").await;
}
