//! The directory of a session, and `desktop.json` in it.

use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{
    DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _,
};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::downloads;
use crate::domain::ids::SessionId;
use crate::domain::session::DesktopIdentity;
use crate::system::display::{Cookie, authority};
use crate::system::process;

/// The longest path of a folder for temporary files in which Chromium's socket still has a name
/// that the system takes: 107 bytes, less `/org.chromium.Chromium.XXXXXX/SingletonSocket`.
const LONGEST_TEMPORARY: usize = 107 - 46;

/// The directory of one session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Directory {
    root: PathBuf,
}

/// What a later server needs in order to take over a desktop: `desktop.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Saved {
    /// Whose it is.
    pub session: SessionId,
    /// Its processes, display and ports.
    #[serde(flatten)]
    pub identity: DesktopIdentity,
    /// The password of its VNC server. The file is for its owner only.
    pub vnc_password: String,
}

impl Directory {
    /// That of `session` below the data directory. Nothing is made or read.
    pub fn of(data: &Path, session: SessionId) -> Self {
        Self { root: data.join("sessions").join(session.to_string()) }
    }

    /// The directory itself.
    pub fn path(&self) -> &Path {
        &self.root
    }

    /// The browser's profile, which is also its home.
    pub fn profile(&self) -> PathBuf {
        self.root.join("profile")
    }

    /// What the browser downloaded.
    pub fn downloads(&self) -> PathBuf {
        self.root.join("downloads")
    }

    /// Where the server and the session's egress program meet.
    pub(super) fn egress(&self) -> PathBuf {
        self.root.join("egress")
    }

    /// Where copies of downloads wait to be stored.
    pub(super) fn arrivals(&self) -> PathBuf {
        self.root.join("arrivals")
    }

    /// The record of the downloads that are stored.
    pub(super) fn downloaded(&self) -> PathBuf {
        self.root.join("downloaded")
    }

    /// Where runs put files for the browser.
    pub fn scratch(&self) -> PathBuf {
        self.root.join("scratch")
    }

    /// The log of one program.
    pub fn log(&self, program: &str) -> PathBuf {
        self.root.join("logs").join(format!("{program}.log"))
    }

    /// The record of every process that was started here, see [`started`](process::started).
    pub fn started(&self) -> PathBuf {
        self.root.join("logs").join(process::STARTED)
    }

    /// What its programs write, and the records of them.
    pub fn logs(&self) -> PathBuf {
        self.root.join("logs")
    }

    /// The file that names the control group of the session, beside the logs of its programs.
    pub fn group(&self) -> PathBuf {
        self.root.join("logs").join(process::GROUP)
    }

    /// What the browser showed and knew last, see [`Memory`](super::memory::Memory).
    pub(super) fn memory(&self) -> PathBuf {
        self.root.join("memory.json")
    }

    /// The films of the session, while they are being made.
    pub fn films(&self) -> PathBuf {
        self.root.join("films")
    }

    pub(super) fn authority(&self) -> PathBuf {
        self.root.join("xauthority")
    }

    pub(super) fn display_number(&self) -> PathBuf {
        self.root.join("display")
    }

    pub(super) fn vnc_password(&self) -> PathBuf {
        self.root.join("vnc.passwd")
    }

    /// The sign of readiness of the VNC server, in a folder that is that server's to write.
    pub(super) fn vnc_flag(&self) -> PathBuf {
        self.root.join("vnc").join("ready")
    }

    /// The browser's folder for temporary files; below `/tmp` when a socket in ours would have too long
    /// a name.
    pub(super) fn temporary(&self) -> PathBuf {
        let ours = self.root.join("tmp");
        if ours.as_os_str().len() <= LONGEST_TEMPORARY {
            return ours;
        }
        let session = self.root.file_name().unwrap_or_default();
        Path::new("/tmp").join(format!("greenroom-{}", session.display()))
    }

    /// Makes the folders that programs of the session write to and read. Those that are there stay.
    pub(super) fn make_folders(&self) -> io::Result<()> {
        let mut builder = DirBuilder::new();
        builder.recursive(true).mode(0o700);
        for folder in ["profile", "downloads", "scratch", "logs", "tmp", "vnc"] {
            builder.create(self.root.join(folder))?;
        }
        // Anybody can make a folder below `/tmp`.
        let temporary = self.temporary();
        match DirBuilder::new().mode(0o700).create(&temporary) {
            Err(cause) if cause.kind() != io::ErrorKind::AlreadyExists => return Err(cause),
            Ok(()) | Err(_) => {}
        }
        let found = fs::symlink_metadata(&temporary)?;
        let own = rustix::process::geteuid().as_raw();
        if !found.is_dir() || found.uid() != own || found.mode() & 0o077 != 0 {
            let text = format!("{} is not the server's own folder", temporary.display());
            return Err(io::Error::new(io::ErrorKind::PermissionDenied, text));
        }
        Ok(())
    }

    fn saved_at(&self) -> PathBuf {
        self.root.join("desktop.json")
    }

    /// Makes the directory, for its owner only, with the secrets of a new desktop. A profile,
    /// downloads and logs that are there stay.
    pub(super) fn create(&self, cookie: &Cookie, password_file: &[u8]) -> io::Result<()> {
        let mut builder = DirBuilder::new();
        builder.recursive(true).mode(0o700);
        builder.create(&self.root)?;
        fs::set_permissions(&self.root, fs::Permissions::from_mode(0o700))?;
        self.make_folders()?;
        replace(&self.authority(), &authority(cookie))?;
        replace(&self.vnc_password(), password_file)
    }

    /// Replaces `desktop.json`.
    pub(super) fn save(&self, saved: &Saved) -> io::Result<()> {
        replace(&self.saved_at(), &serde_json::to_vec_pretty(saved)?)
    }

    /// What `desktop.json` says; none when there is no such file.
    pub fn saved(&self) -> io::Result<Option<Saved>> {
        match fs::read(self.saved_at()) {
            Ok(bytes) => Ok(Some(serde_json::from_slice(&bytes)?)),
            Err(cause) if cause.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(cause) => Err(cause),
        }
    }

    /// Removes what a desktop that has ended no longer needs: with `keep`, its secrets and
    /// temporary files; otherwise everything but downloads that could not be stored, where there are
    /// any. It may be repeated.
    pub fn clear(&self, keep: bool) -> io::Result<()> {
        absent(fs::remove_dir_all(self.temporary()))?;
        if !keep && !downloads::any_left(self) {
            return absent(fs::remove_dir_all(&self.root));
        }
        absent(fs::remove_dir_all(self.root.join("tmp")))?;
        absent(fs::remove_dir_all(self.root.join("vnc")))?;
        absent(fs::remove_dir_all(self.arrivals()))?;
        absent(fs::remove_dir_all(self.scratch()))?;
        absent(fs::remove_dir_all(self.films()))?;
        absent(fs::remove_dir_all(self.egress()))?;
        for file in self.secrets_and_scratch() {
            absent(fs::remove_file(file))?;
        }
        if !keep {
            absent(fs::remove_dir_all(self.profile()))?;
            absent(fs::remove_dir_all(self.root.join("logs")))?;
        }
        Ok(())
    }

    /// What there is of that which no desktop that has ended leaves, whatever is kept of it.
    pub fn remains(&self) -> Vec<String> {
        let folders = ["tmp", "vnc"].map(|folder| self.root.join(folder));
        let folders = folders.into_iter().chain([
            self.arrivals(),
            self.scratch(),
            self.films(),
            self.egress(),
        ]);
        let all = self.secrets_and_scratch().into_iter().chain(folders);
        let there = all.filter(|path| path.exists());
        let name = |path: PathBuf| Some(path.file_name()?.to_str()?.to_owned());
        there.filter_map(name).collect()
    }

    fn secrets_and_scratch(&self) -> [PathBuf; 5] {
        [
            self.authority(),
            self.display_number(),
            self.vnc_password(),
            self.saved_at(),
            self.memory(),
        ]
    }

    /// Removes everything, downloads too. It may be repeated.
    pub fn remove(&self) -> io::Result<()> {
        absent(fs::remove_dir_all(self.temporary()))?;
        absent(fs::remove_dir_all(&self.root))
    }
}

fn absent(removed: io::Result<()>) -> io::Result<()> {
    match removed {
        Err(cause) if cause.kind() != io::ErrorKind::NotFound => Err(cause),
        Ok(()) | Err(_) => Ok(()),
    }
}

/// Replaces a file whole, readable for its owner only.
pub(super) fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let temporary = path.with_extension("part");
    let mut options = OpenOptions::new();
    let mut file = options.write(true).create(true).truncate(true).mode(0o600).open(&temporary)?;
    file.write_all(bytes)?;
    drop(file);
    fs::rename(&temporary, path)
}
