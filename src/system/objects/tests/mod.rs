//! Stores, good and bad: a directory, an S3 server, and servers that misbehave.

mod faults;

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use futures_util::TryStreamExt as _;
use tokio_util::sync::CancellationToken;

use super::*;
use crate::domain::secret::Secret;

/// The credentials that the server of the tests knows.
const KEY_ID: &str = "S3RVER";
const SECRET: &str = "S3RVER";

/// An S3 server of this test. It refuses wrong signatures, and ends with the value.
#[derive(Debug)]
struct Server {
    process: Child,
    endpoint: String,
    folder: PathBuf,
}

impl Server {
    /// Starts a server with the bucket `films`.
    #[expect(clippy::disallowed_methods, reason = "a program of the test, ended when dropped")]
    fn start(folder: &Path) -> Self {
        let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/s3/server.mjs");
        let modules = program.with_file_name("node_modules");
        assert!(modules.exists(), "s3rver is missing; `scripts/setup --test` installs it");
        let folder = folder.join("s3");
        let mut process = Command::new("node")
            .arg(program)
            .args(["127.0.0.1", "0"])
            .arg(&folder)
            .arg("films")
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(process.stdout.take().unwrap()).lines();
        let endpoint = lines.find_map(|line| {
            let line = line.unwrap();
            let (_, address) = line.split_once("listening on ")?;
            Some(format!("http://{address}"))
        });
        // Its later output must not block it.
        std::thread::spawn(move || lines.for_each(drop));
        Self { process, endpoint: endpoint.expect("the server has no address"), folder }
    }

    fn settings(&self) -> Settings {
        settings(&self.endpoint)
    }

    /// The names of the objects that the bucket has.
    fn names(&self) -> Vec<String> {
        let files = Directory::new(self.folder.clone()).list("films").unwrap();
        let objects = files.iter().filter_map(|it| it.key.strip_suffix("._S3rver_object"));
        let mut names: Vec<_> = objects.map(str::to_owned).collect();
        names.sort();
        names
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn settings(endpoint: &str) -> Settings {
    Settings {
        kind: StoreKind::S3,
        bucket: Some("films".to_owned()),
        endpoint: Some(endpoint.to_owned()),
        prefix: Some("/here/".to_owned()),
        access_key_id: Some(KEY_ID.to_owned()),
        secret_access_key: Some(Secret::from(SECRET)),
        allow_http: true,
        connect_seconds: 1,
        retries: 1,
        ..Settings::default()
    }
}

fn scratch(name: &str) -> PathBuf {
    let folder =
        std::env::temp_dir().join(format!("greenroom-objects-{name}-{}", std::process::id()));
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder).unwrap();
    folder
}

/// Bytes of which no two parts of an upload are the same.
fn content(length: usize) -> Vec<u8> {
    let block: Vec<u8> = (0..=250).collect();
    let mut content = block.repeat(length / block.len() + 1);
    content.truncate(length);
    content
}

async fn all(reading: Reading) -> Result<Vec<u8>, ObjectError> {
    let pieces: Vec<Bytes> = reading.bytes.try_collect().await?;
    Ok(pieces.concat())
}

/// The contract of every store.
async fn check_store(objects: &Objects, folder: &Path) {
    const KEY: &str = "artifacts/o_1/wr_2/a_3_Übersicht & more #1";
    assert_eq!(objects.check().await, Ok(()));
    assert_eq!(objects.health(), Ok(()));

    // More than two parts.
    let bytes = content(20_000_000);
    let file = folder.join("film.mp4");
    fs::write(&file, &bytes).unwrap();
    assert_eq!(objects.put_file(KEY, &file, Transfer::Copy).await, Ok(20_000_000));
    assert!(file.exists());
    let info = objects.head(KEY).await.unwrap();
    assert_eq!((info.key.as_str(), info.size), (KEY, 20_000_000));
    let reading = objects.read_range(KEY, 8_388_600..8_388_620).await.unwrap();
    assert_eq!((reading.size, reading.range.clone()), (20_000_000, 8_388_600..8_388_620));
    assert_eq!(all(reading).await.unwrap(), &bytes[8_388_600..8_388_620]);
    let copy = folder.join("copy");
    assert_eq!(objects.fetch_to(KEY, &copy).await, Ok(20_000_000));
    assert!(fs::read(&copy).unwrap() == bytes, "the content differs");

    // A further file under the same key replaces it, and is moved.
    fs::write(&file, b"short").unwrap();
    assert_eq!(objects.put_file(KEY, &file, Transfer::Move).await, Ok(5));
    assert!(!file.exists());
    assert_eq!(objects.read_bytes(KEY, 5).await.unwrap(), "short");
    let large = objects.read_bytes(KEY, 4).await.unwrap_err();
    assert!(matches!(large, ObjectError::TooLarge { size: 5, limit: 4, .. }), "{large}");
    objects.put_bytes("profiles/o_1/bp_1/1", Bytes::new()).await.unwrap();
    assert_eq!(objects.read_bytes("profiles/o_1/bp_1/1", 0).await.unwrap(), "");

    // A prefix is a prefix of parts.
    objects.put_bytes("artifacts/o_1/wr_22/a_4_x", Bytes::from_static(b"1")).await.unwrap();
    let listed = async |prefix: &str| {
        let mut keys: Vec<_> =
            objects.list(prefix).await.unwrap().into_iter().map(|it| it.key).collect();
        keys.sort();
        keys
    };
    assert_eq!(listed("artifacts/o_1/wr_2").await, [KEY]);
    assert_eq!(listed("artifacts").await, [KEY, "artifacts/o_1/wr_22/a_4_x"]);
    assert_eq!(listed("artifacts/o_9").await, [""; 0]);

    objects.delete(KEY).await.unwrap();
    objects.delete(KEY).await.unwrap();
    for missing in [
        objects.head(KEY).await.err(),
        objects.read(KEY).await.err(),
        objects.fetch_to(KEY, &copy).await.err(),
    ] {
        assert!(matches!(missing, Some(ObjectError::Missing { .. })), "{missing:?}");
    }
    assert!(fs::read(&copy).unwrap() == bytes, "a failed fetch has replaced the file");
    objects.delete_prefix("artifacts").await.unwrap();
    objects.delete_prefix("artifacts").await.unwrap();
    assert_eq!(listed("artifacts").await, [""; 0]);
    assert_eq!(listed("profiles/o_1").await, ["profiles/o_1/bp_1/1"]);
    assert_eq!(objects.health(), Ok(()), "a missing object is no outage");
}

#[tokio::test]
async fn a_directory_is_a_store() {
    let folder = scratch("directory");
    let objects = Objects::in_directory(&folder.join("data"));
    check_store(&objects, &folder).await;

    // No link is followed, out of the store or into it.
    std::os::unix::fs::symlink("/etc/hostname", folder.join("link")).unwrap();
    let refused = objects.put_file("artifacts/a", &folder.join("link"), Transfer::Move).await;
    assert!(matches!(refused, Err(ObjectError::File { .. })), "{refused:?}");
    fs::create_dir_all(folder.join("data/artifacts")).unwrap();
    std::os::unix::fs::symlink("/etc/hostname", folder.join("data/artifacts/b")).unwrap();
    assert!(objects.read("artifacts/b").await.is_err());
    assert_eq!(objects.list("artifacts").await, Ok(Vec::new()));
    fs::remove_dir_all(folder).unwrap();
}

#[tokio::test]
async fn writers_of_one_key_do_not_disturb_each_other() {
    let folder = scratch("writers");
    let objects = Objects::in_directory(&folder.join("data"));
    let contents: Vec<_> = (0..40_u8).map(|byte| Bytes::from(vec![byte; 300_000])).collect();
    let puts = contents.iter().map(|bytes| objects.deposit_bytes("profiles/p", bytes.clone()));
    for put in futures_util::future::join_all(puts).await {
        assert_eq!(put, Ok(Deposit::Stored));
    }
    let whole = objects.read_bytes("profiles/p", 1_000_000).await.unwrap();
    assert!(contents.contains(&whole), "it is a mixture");
    assert_eq!(objects.list("profiles").await.unwrap().len(), 1);
    fs::remove_dir_all(folder).unwrap();
}

#[tokio::test]
async fn a_file_that_is_replaced_while_it_is_sent_stays_in_the_outbox() {
    const KEY: &str = "profiles/o_1/bp_1/profile.json";
    let folder = scratch("replaced");
    let outbox = Outbox::new(folder.clone());
    outbox.write(KEY, Bytes::from_static(b"one")).await.unwrap();
    let first = outbox.version(KEY).await.unwrap().unwrap();
    outbox.write(KEY, Bytes::from_static(b"two")).await.unwrap();
    assert_eq!(outbox.remove_sent(KEY, first).await, Ok(outbox::Sent::Replaced));
    assert_eq!(fs::read(outbox.path(KEY)).unwrap(), b"two");
    let second = outbox.version(KEY).await.unwrap().unwrap();
    assert_eq!(outbox.remove_sent(KEY, second).await, Ok(outbox::Sent::Removed));
    assert_eq!(outbox.remove_sent(KEY, second).await, Ok(outbox::Sent::Gone));
    // A file that a writer has not completed is not sent.
    let partial = Partial::of(&outbox.path(KEY));
    fs::write(partial.path(), b"half").unwrap();
    assert_eq!(outbox.list("profiles").await, Ok(Vec::new()));
    drop(partial);
    assert_eq!(fs::read_dir(outbox.path("profiles/o_1/bp_1")).unwrap().count(), 0);
    fs::remove_dir_all(folder).unwrap();
}

/// The creation of a file may begin when its caller leaves, and end later.
#[test]
fn a_caller_that_leaves_at_any_step_of_a_fetch_leaves_no_file() {
    const KEY: &str = "profiles/o_1/bp_1/1";
    let folder = scratch("left");
    let fetched = folder.join("fetched");
    fs::create_dir_all(&fetched).unwrap();
    // One thread that blocks: while it is occupied, what a step begins does not end.
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = runtime.enable_all().max_blocking_threads(1).build().unwrap();
    let left = runtime.block_on(async {
        let objects = Objects::open(&Settings::default(), &folder.join("data")).unwrap();
        objects.put_bytes(KEY, Bytes::from_static(b"archive")).await.unwrap();
        for left in 0.. {
            let target = fetched.join(left.to_string());
            let mut fetch = Some(Box::pin(objects.fetch_to(KEY, &target)));
            for step in 0..=left {
                let (occupied, wait) = std::sync::mpsc::channel::<()>();
                drop(tokio::task::spawn_blocking(move || wait.recv()));
                let polled = futures_util::poll!(fetch.as_mut().unwrap());
                if step == left {
                    fetch = None;
                }
                drop(occupied);
                tokio::task::spawn_blocking(|| ()).await.unwrap();
                if let std::task::Poll::Ready(size) = polled {
                    assert_eq!(size, Ok(7));
                    return left;
                }
            }
            assert_eq!(fs::read_dir(&fetched).unwrap().count(), 0, "after {left} steps");
        }
        0
    });
    assert!(left > 3, "it was left after {left} steps only");
    assert_eq!(fs::read(fetched.join(left.to_string())).unwrap(), b"archive");
    fs::remove_dir_all(folder).unwrap();
}

#[tokio::test]
async fn a_bucket_is_a_store() {
    let folder = scratch("bucket");
    let server = Server::start(&folder);
    let objects = Objects::open(&server.settings(), &folder.join("data")).unwrap();
    check_store(&objects, &folder).await;
    assert_eq!(server.names(), ["films/here/profiles/o_1/bp_1/1"]);
    drop(server);
    fs::remove_dir_all(folder).unwrap();
}

#[tokio::test]
async fn a_file_deposited_while_the_store_is_away_is_read_and_arrives_later() {
    const KEY: &str = "artifacts/o_1/pbs_1/a_1_x";
    let folder = scratch("outbox");
    let data = folder.join("data");
    let server = Server::start(&folder);
    let away = Objects::open(&settings("http://127.0.0.1:1"), &data).unwrap();
    assert!(away.check().await.is_err());
    let file = folder.join("x");
    fs::write(&file, b"kept").unwrap();
    assert_eq!(away.deposit(KEY, &file).await, Ok(Deposit::Queued));
    assert!(!file.exists());
    assert_eq!(away.read_bytes(KEY, 10).await.unwrap(), "kept");
    assert_eq!(fs::read(away.local_file(KEY).unwrap()).unwrap(), b"kept");
    let bytes = Bytes::from_static(b"deleted");
    assert_eq!(away.deposit_bytes("artifacts/b", bytes).await, Ok(Deposit::Queued));
    assert!(away.delete("artifacts/b").await.is_err(), "the store may have it");
    assert!(away.local_file("artifacts/b").is_none());

    // As after a restart, and with the store back.
    let back = Objects::open(&server.settings(), &data).unwrap();
    let closing = CancellationToken::new();
    let task = tokio::spawn(back.clone().tend(closing.clone()));
    let deadline = tokio::time::Instant::now() + Duration::from_secs(20);
    while back.local_file(KEY).is_some() {
        assert!(tokio::time::Instant::now() < deadline, "the outbox is not sent");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    closing.cancel();
    task.await.unwrap();
    assert_eq!(server.names(), [format!("films/here/{KEY}")]);
    assert_eq!(back.read_bytes(KEY, 10).await.unwrap(), "kept");
    fs::write(&file, b"again").unwrap();
    assert_eq!(back.deposit("artifacts/c", &file).await, Ok(Deposit::Stored));
    assert!(back.local_file("artifacts/c").is_none());
    drop(server);
    fs::remove_dir_all(folder).unwrap();
}
