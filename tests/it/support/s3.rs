//! An S3 server for one test.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, SystemTime};

use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};
use tokio::time::timeout;

use super::server::Setup;
use super::{PATIENCE, eventually};

/// The bucket that the server has.
const BUCKET: &str = "films";

/// A server of S3, which refuses wrong signatures. It ends with the value.
#[derive(Debug)]
pub struct S3Server {
    /// The directory of its buckets.
    folder: PathBuf,
    address: String,
    process: Option<Child>,
}

impl S3Server {
    /// Starts a server whose buckets are in `folder`.
    pub async fn start(folder: &Path) -> Self {
        let folder = folder.join("s3");
        fs::create_dir_all(&folder).unwrap();
        let mut server = Self { folder, address: "127.0.0.1:0".to_owned(), process: None };
        server.serve().await;
        server
    }

    /// Starts it again, at the same address.
    pub async fn serve(&mut self) {
        let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/s3/server.mjs");
        let modules = program.with_file_name("node_modules");
        assert!(modules.exists(), "s3rver is missing; run `scripts/setup --test`");
        let (host, port) = self.address.split_once(':').unwrap();
        let mut process = Command::new("node")
            .arg(program)
            .args([host, port])
            .arg(&self.folder)
            .arg(BUCKET)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(process.stdout.take().unwrap()).lines();
        let address = async {
            while let Some(line) = lines.next_line().await.unwrap() {
                if let Some((_, address)) = line.split_once("listening on ") {
                    return address.to_owned();
                }
            }
            panic!("the S3 server has ended");
        };
        self.address = timeout(PATIENCE, address).await.expect("the S3 server does not serve");
        // The pipe must not fill.
        tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
        self.process = Some(process);
    }

    fn control(&self, name: &str) -> PathBuf {
        self.folder.with_extension(name)
    }

    /// Has requests of this method wait whose path ends so, until [`go_on`](Self::go_on).
    pub fn stall(&self, method: &str, end: &str) {
        let part = self.control("part");
        fs::write(&part, format!("{method} {end}")).unwrap();
        fs::rename(part, self.control("stall")).unwrap();
    }

    /// Resolves when a request waits.
    pub async fn stalled(&self) {
        let file = self.control("stalled");
        eventually("a request waits", async || file.exists().then_some(())).await;
    }

    /// Lets the requests that wait go on.
    pub fn go_on(&self) {
        fs::remove_file(self.control("stall")).unwrap();
        fs::remove_file(self.control("stalled")).unwrap();
    }

    pub async fn kill(&mut self) {
        self.process.take().unwrap().kill().await.unwrap();
    }

    /// The settings of a server that stores its files here.
    pub fn settings(&self, setup: Setup) -> Setup {
        setup
            .set("storage.kind", "s3")
            .set("storage.bucket", BUCKET)
            .set("storage.endpoint", format!("http://{}", self.address))
            .set("storage.allow_http", "true")
            .set("storage.access_key_id", "S3RVER")
            .set("storage.secret_access_key", "S3RVER")
            .set("storage.prefix", "here")
            .set("storage.timeout_seconds", "2")
            .set("storage.retries", "0")
    }

    fn path(&self, key: &str) -> PathBuf {
        self.folder.join(BUCKET).join("here").join(key)
    }

    /// The number of objects below a prefix.
    pub fn count(&self, prefix: &str) -> usize {
        fn objects_in(directory: &Path) -> usize {
            let entries = fs::read_dir(directory).into_iter().flatten().filter_map(Result::ok);
            let count = |entry: fs::DirEntry| match entry.path().is_dir() {
                true => objects_in(&entry.path()),
                // The server keeps further files beside that of the content.
                false => usize::from(entry.file_name().to_string_lossy().ends_with("_object")),
            };
            entries.map(count).sum()
        }
        objects_in(&self.path(prefix))
    }

    /// Makes all objects below a prefix older.
    pub fn age(&self, prefix: &str, by: Duration) {
        fn age_in(directory: &Path, to: SystemTime) {
            for entry in fs::read_dir(directory).into_iter().flatten().filter_map(Result::ok) {
                match entry.path().is_dir() {
                    true => age_in(&entry.path(), to),
                    false => {
                        let file = fs::File::options().write(true).open(entry.path()).unwrap();
                        file.set_modified(to).unwrap();
                    }
                }
            }
        }
        age_in(&self.path(prefix), SystemTime::now() - by);
    }

    /// Removes all objects below a prefix, as by an accident at the service.
    pub fn remove(&self, prefix: &str) {
        fs::remove_dir_all(self.path(prefix)).unwrap();
    }
}
