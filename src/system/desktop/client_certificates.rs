//! The client certificates of a session's browser: a database in the browser's `HOME`.
//!
//! ```text
//! remove the former database --> keys/client.p12, keys/client.password (random)
//!     --> certutil: an empty database --> pk12util: keys and certificates --> remove both files
//! ```
//!
//! Chromium reads certificates from a database of NSS, which only the tools of NSS write. They run
//! as the session's user, in a domain of their own, before each start of the browser. `HOME` is not
//! part of a profile, and is removed with the session and with an occupant's traces.

use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};

use super::directory::Directory;
use super::launch::Desktops;
use crate::domain::browser_settings::BrowserSettings;
use crate::domain::client_certificates::pkcs12;
use crate::domain::ids::SessionId;
use crate::domain::secret::Secret;
use crate::domain::session::Failure;
use crate::system::beneath::Tree;
use crate::system::confine::spec::{Landlock, ProgramKind};
use crate::system::failure::{directory as directory_failed, failure};
use crate::system::process::{Exit, Process, Program, SpawnError, find};

/// The folder of the database below `HOME`.
const FOLDER: &str = ".pki";
const DATABASE: &str = ".pki/nssdb";

/// The files for the tools, in the folder `keys`.
const FILE: &str = "client.p12";
const PASSWORD: &str = "client.password";

/// The tools, and the Debian package that has them.
pub(in crate::system) const TOOLS: [&str; 2] = ["certutil", "pk12util"];
pub(in crate::system) const PACKAGE: &str = "libnss3-tools";

impl Desktops {
    /// Writes the database with the client certificates of a session for the next start of its
    /// browser. Does nothing if the session has none.
    ///
    /// # Errors
    ///
    /// `client_certificates_unavailable` without the tools or the keys, and
    /// `client_certificates_failed` if a tool fails.
    pub(super) async fn certified(
        &self,
        session: SessionId,
        directory: &Directory,
        settings: &BrowserSettings,
    ) -> Result<(), Failure> {
        let certificates = &settings.client_certificates;
        if certificates.is_empty() {
            return Ok(());
        }
        if let Some(lost) = certificates.iter().find(|it| it.is_lost()) {
            let message = format!("the key for {} was sealed with another secret", lost.origin);
            let hint = "restore the file `secret` of the data directory that sealed it, or create the \
                        session anew";
            return Err(failure("chromium", UNAVAILABLE, message).hint(hint));
        }
        let [certutil, pk12util] = TOOLS.map(|name| self.tool(name));
        let (certutil, pk12util) = (certutil?, pk12util?);
        let password = Secret::from(format!("{:032x}", rand::random::<u128>()));
        let file = pkcs12(certificates, &password);
        let file = file.map_err(|cause| failed(&format!("they cannot be written: {cause}")))?;
        let offered = Offered::write(directory, &file, &password)
            .map_err(|cause| directory_failed(directory.own(), &cause))?;
        let database = directory.home().join(DATABASE);
        let mut place = OsString::from("sql:");
        place.push(&database);
        let arguments = vec!["-N".into(), "--empty-password".into(), "-d".into(), place.clone()];
        self.run(session, directory, &certutil, arguments, &[]).await?;
        let files = [offered.file(), offered.password()];
        let [file, password] = files.clone().map(PathBuf::into_os_string);
        let arguments = vec!["-i".into(), file, "-w".into(), password, "-d".into(), place];
        self.run(session, directory, &pk12util, arguments, &files).await
    }

    fn tool(&self, name: &str) -> Result<PathBuf, Failure> {
        find(Path::new(name), &self.settings().path).ok_or_else(|| {
            let message =
                format!("`client_certificates` need the program {name}, which is missing");
            let hint = format!("install the Debian package `{PACKAGE}`, or run `scripts/setup`");
            failure("chromium", UNAVAILABLE, message).hint(hint)
        })
    }

    /// Runs a tool to its end, in a domain in which it may write to `HOME` only.
    async fn run(
        &self,
        session: SessionId,
        directory: &Directory,
        path: &Path,
        arguments: Vec<OsString>,
        read: &[PathBuf],
    ) -> Result<(), Failure> {
        let settings = self.settings();
        let (home, temporary) = (directory.home(), directory.temporary());
        let landlock = Landlock {
            read: read.to_vec(),
            write: vec![home.clone(), temporary.clone()],
            connect: Some(Vec::new()),
            signals: true,
            abstract_sockets: true,
            ..Landlock::default()
        };
        let program = Program {
            confined: settings.confinement.of(ProgramKind::Nss, path, landlock),
            path: path.to_owned(),
            arguments,
            environment: vec![
                ("PATH".into(), settings.path.clone().into()),
                ("HOME".into(), home.into()),
                ("TMPDIR".into(), temporary.into()),
            ],
            session,
            records: directory.logs(),
            log: directory.log("nss"),
            output: None,
            open_files: None,
        };
        let name = path.file_name().unwrap_or_default().display().to_string();
        let process = Process::spawn(&program, self.runtime()).map_err(|cause| match cause {
            SpawnError::Missing { .. } => failed(&cause.to_string()),
            SpawnError::Failed { cause, .. } => failed(&format!("{name} did not start: {cause}")),
        })?;
        let running = Running(process);
        let deadline = settings.start_deadline();
        match tokio::time::timeout(deadline, running.0.exited()).await {
            Ok(Exit::Status(0)) => Ok(()),
            ended => {
                let message = match ended {
                    Ok(exit) => format!("{name} failed: {exit}"),
                    Err(_late) => format!("{name} did not end after {} s", deadline.as_secs()),
                };
                Err(Failure { log_tail: running.0.log_tail(), ..failed(&message) })
            }
        }
    }
}

const UNAVAILABLE: &str = "client_certificates_unavailable";

fn failed(what: &str) -> Failure {
    let message = format!("the client certificates of the browser: {what}");
    failure("chromium", "client_certificates_failed", message)
}

/// A tool that is ended when its caller goes away.
struct Running(Process);

impl Drop for Running {
    fn drop(&mut self) {
        if !self.0.has_exited() {
            self.0.kill_now();
        }
    }
}

/// The files for the tools. They are removed when this is dropped.
struct Offered {
    keys: PathBuf,
}

impl Offered {
    /// Removes a former database, and writes the files for another one.
    fn write(directory: &Directory, file: &[u8], password: &Secret) -> io::Result<Self> {
        let (home, user) = (directory.home(), directory.user());
        Tree::remove_all(&home.join(FOLDER))?;
        let home = Tree::open(&home)?.owned_by(user);
        home.make_folder(Path::new(FOLDER))?;
        home.make_folder(Path::new(DATABASE))?;
        let offered = Self { keys: directory.own().join("keys") };
        let keys = Tree::open(&offered.keys)?.owned_by(user);
        keys.replace(Path::new(FILE), file)?;
        keys.replace(Path::new(PASSWORD), password.expose().as_bytes())?;
        Ok(offered)
    }

    fn file(&self) -> PathBuf {
        self.keys.join(FILE)
    }

    fn password(&self) -> PathBuf {
        self.keys.join(PASSWORD)
    }
}

impl Drop for Offered {
    fn drop(&mut self) {
        let removed = Tree::open(&self.keys).and_then(|keys| {
            keys.remove_file(Path::new(FILE))?;
            keys.remove_file(Path::new(PASSWORD))
        });
        if let Err(cause) = removed {
            tracing::warn!(error = %cause, "a client certificate is left in {}", self.keys.display());
        }
    }
}
