//! The two directories of a session.
//!
//! ```text
//! <data>/sessions/<session>/     0700 the server's; invisible to programs
//!   desktop.json, memory.json, display, downloaded, logs/, arrivals/, films/, egress/
//! <programs>/<session>/          0711 the server's, so that no program adds or renames a folder here
//!   profile/                     0700 the session's user: Chromium
//!   home/                        0700 Chromium's HOME, which is not its profile
//!   downloads/                   0700 Chromium
//!   uploads/                     0700 Chromium reads it; the server writes it
//!   tmp/                         0700 Chromium's TMPDIR
//!   vnc/                         0700 x11vnc: its flag
//!   code/<block>/                0700 one `code` block's Python
//!   films/<part>/                0700 ffmpeg
//!   keys/xauthority              0600 each program of the display
//!   keys/vnc.passwd              0600 the VNC server alone
//! ```
//!
//! Everything below `<programs>/<session>` may be a program's trap, and is opened by
//! [`Tree`]. Sessions of servers of before have one directory, see
//! `former`.

use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{
    DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _,
};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::directories::Directories;
use super::{downloads, former};
use crate::domain::file_name::BLOCK_FOLDER;
use crate::domain::ids::SessionId;
use crate::domain::sealing::{Place, Vault, is_sealed};
use crate::domain::session::DesktopIdentity;
use crate::system::beneath::Tree;
use crate::system::confine::spec::User;
use crate::system::confine::user::{Users, give};
use crate::system::display::{Cookie, authority, cookie_of};
use crate::system::process;

/// The file with what a browser showed and knew last.
const MEMORY: &str = "memory.json";

/// The longest path of a folder for temporary files in which Chromium's socket still has a name
/// that the system takes: 107 bytes, less `/org.chromium.Chromium.XXXXXX/SingletonSocket`.
const LONGEST_TEMPORARY: usize = 107 - 46;

/// The folders of programs that belong to the session's user.
const FOLDERS: [&str; 6] = ["profile", "home", "downloads", "uploads", "tmp", "vnc"];

/// The folders of programs that belong to the server, which makes what programs have in them.
const SHARED_FOLDERS: [&str; 3] = ["keys", "code", "films"];

/// The mode of directories that programs pass through and cannot change.
const PASSED_THROUGH: u32 = 0o711;

/// The file of the server that names the directory of the programs.
const OWN: &str = "programs";

/// The directories of one session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Directory {
    session: SessionId,
    root: PathBuf,
    own: PathBuf,
    users: Users,
    vault: Option<Vault>,
}

/// The part of a desktop that a later server needs to take it over: `desktop.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Saved {
    /// Whose it is.
    pub session: SessionId,
    /// Its processes, display and ports.
    #[serde(flatten)]
    pub identity: DesktopIdentity,
    /// The password of its VNC server, sealed in the file.
    pub vnc_password: String,
    /// The number of the rotation that the password belongs to.
    #[serde(default)]
    pub rotation: i64,
    /// The cookie of its display, in hexadecimal digits; servers of before had it in the authority file
    /// alone.
    #[serde(default)]
    pub cookie: Option<String>,
}

/// The file with what a browser showed and knew last.
#[derive(Debug, Clone)]
pub(super) struct Kept {
    path: PathBuf,
    session: SessionId,
    vault: Option<Vault>,
}

impl Kept {
    /// Where it is.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Its text, opened; none when there is no such file.
    ///
    /// # Errors
    ///
    /// Fails when it cannot be read or opened.
    pub(super) fn read(&self) -> io::Result<Option<String>> {
        let text = match fs::read_to_string(&self.path) {
            Err(cause) if cause.kind() == io::ErrorKind::NotFound => return Ok(None),
            read => read?,
        };
        let Some(vault) = &self.vault else { return Ok(Some(text)) };
        let of = self.session.to_string();
        vault.open(Place { kind: MEMORY, of: &of }, &text).map(Some).map_err(io::Error::other)
    }

    /// Replaces it, sealed.
    pub(super) fn write(&self, text: &str) -> io::Result<()> {
        let Some(vault) = &self.vault else { return replace(&self.path, text.as_bytes()) };
        let of = self.session.to_string();
        let sealed = vault.seal(Place { kind: MEMORY, of: &of }, text).map_err(io::Error::other)?;
        replace(&self.path, sealed.as_bytes())
    }
}

impl Saved {
    /// The secrets, and where they lie.
    fn secrets(&mut self) -> impl Iterator<Item = (&'static str, &mut String)> {
        let password = ("desktop.json (VNC password)", &mut self.vnc_password);
        let cookie = self.cookie.iter_mut().map(|text| ("desktop.json (display cookie)", text));
        std::iter::once(password).chain(cookie)
    }

    /// The cookie as it is saved.
    pub(super) fn digits(cookie: &Cookie) -> String {
        cookie.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// The cookie of the display.
    pub(super) fn cookie(&self, directory: &Directory) -> Option<Cookie> {
        let Some(digits) = &self.cookie else {
            return cookie_of(&fs::read(directory.authority()).ok()?);
        };
        let byte = |at: usize| u8::from_str_radix(digits.get(at..at.checked_add(2)?)?, 16).ok();
        let bytes: Option<Vec<u8>> = (0..digits.len()).step_by(2).map(byte).collect();
        bytes?.try_into().ok()
    }
}

impl Directory {
    pub(super) fn of(all: &Directories, session: SessionId) -> Self {
        let root = all.data().join("sessions").join(session.to_string());
        // Where the settings of a former server had it.
        let noted = fs::read_to_string(root.join(OWN)).ok().map(|text| PathBuf::from(text.trim()));
        let own = noted.filter(|own| own.is_absolute());
        let own = own.unwrap_or_else(|| all.programs().join(session.to_string()));
        let users = all.users().clone();
        Self { session, root, own, users, vault: all.vault() }
    }

    /// The server's directory.
    pub fn path(&self) -> &Path {
        &self.root
    }

    /// The programs' directory.
    pub fn own(&self) -> &Path {
        &self.own
    }

    /// True if a server of before has made the session: everything is in the server's directory.
    pub fn is_single(&self) -> bool {
        self.root.join("profile").symlink_metadata().is_ok()
    }

    /// The user that the session's programs run as, where that is not the server's.
    pub fn user(&self) -> Option<User> {
        process::user_in(&self.logs())
    }

    fn programs(&self, name: &str, former: &str) -> PathBuf {
        if self.is_single() { self.root.join(former) } else { self.own.join(name) }
    }

    /// The browser's profile.
    pub fn profile(&self) -> PathBuf {
        self.programs("profile", "profile")
    }

    /// The browser's home.
    pub fn home(&self) -> PathBuf {
        self.programs("home", "profile")
    }

    /// The browser's downloads.
    pub fn downloads(&self) -> PathBuf {
        self.programs("downloads", "downloads")
    }

    /// The downloads of blocks, which the blocks take themselves.
    pub fn block_downloads(&self) -> PathBuf {
        self.downloads().join(BLOCK_FOLDER)
    }

    /// Files that runs put there for the browser.
    pub fn uploads(&self) -> PathBuf {
        self.programs("uploads", "scratch")
    }

    /// The folders of `code` blocks.
    pub fn code(&self) -> PathBuf {
        self.own.join("code")
    }

    /// The folders in which films are encoded.
    pub fn encoding(&self) -> PathBuf {
        self.own.join("films")
    }

    /// The directory in which the server and the session's egress program meet.
    pub(super) fn egress(&self) -> PathBuf {
        self.root.join("egress")
    }

    /// The copies of downloads that wait to be stored.
    pub(super) fn arrivals(&self) -> PathBuf {
        self.root.join("arrivals")
    }

    /// The record of the downloads that are stored.
    pub(super) fn downloaded(&self) -> PathBuf {
        self.root.join("downloaded")
    }

    /// The log of one program.
    pub fn log(&self, program: &str) -> PathBuf {
        self.root.join("logs").join(format!("{program}.log"))
    }

    /// The record of every process that was started here, see [`started`](process::started).
    pub fn started(&self) -> PathBuf {
        self.root.join("logs").join(process::STARTED)
    }

    /// The logs of its programs, and the records of them.
    pub fn logs(&self) -> PathBuf {
        self.root.join("logs")
    }

    /// The file that names the control group of the session, beside the logs of its programs.
    pub fn group(&self) -> PathBuf {
        self.root.join("logs").join(process::GROUP)
    }

    /// The last state of the browser, see [`Memory`](super::memory::Memory).
    pub(super) fn memory(&self) -> Kept {
        Kept { path: self.root.join(MEMORY), session: self.session, vault: self.vault }
    }

    /// The mark of a session whose traces are being cleared, see [`sanitizing`](super::sanitizing).
    pub(super) fn sanitizing(&self) -> PathBuf {
        self.root.join("sanitizing")
    }

    /// The films of the session, while they are being made.
    pub fn films(&self) -> PathBuf {
        self.root.join("films")
    }

    /// The cookie of the display, for programs.
    pub fn authority(&self) -> PathBuf {
        self.programs("keys/xauthority", "xauthority")
    }

    pub(super) fn display_number(&self) -> PathBuf {
        self.root.join("display")
    }

    /// The password of the VNC server, in the form that it reads.
    pub fn vnc_password(&self) -> PathBuf {
        self.programs("keys/vnc.passwd", "vnc.passwd")
    }

    /// The sign of readiness of the VNC server, in a folder that is that server's to write.
    pub fn vnc_flag(&self) -> PathBuf {
        self.programs("vnc", "vnc").join("ready")
    }

    /// The browser's folder for temporary files; below `/tmp` when a socket in its own folder would have
    /// too long a name.
    pub fn temporary(&self) -> PathBuf {
        let own = self.programs("tmp", "tmp");
        if own.as_os_str().len() <= LONGEST_TEMPORARY {
            return own;
        }
        Path::new("/tmp").join(format!("greenroom-{}", self.session))
    }

    /// Makes the folders that programs of the session write to and read. Those that are there stay, and
    /// are given to the session's user if they are another's.
    pub(super) fn make_folders(&self) -> io::Result<()> {
        folder(&self.logs(), 0o700)?;
        let user = self.user();
        if !self.is_single() {
            folder(&self.own, PASSED_THROUGH)?;
            for name in SHARED_FOLDERS {
                folder(&self.own.join(name), PASSED_THROUGH)?;
            }
            let own = Tree::open(&self.own)?.owned_by(user);
            let expected = user.unwrap_or_else(User::own);
            for name in FOLDERS {
                let made = own.make_folder(Path::new(name))?;
                if made.user()? != expected.uid {
                    give(&made, expected)?;
                }
            }
        }
        let temporary = self.temporary();
        if temporary.starts_with(&self.own) {
            return Ok(());
        }
        // Anybody can make a folder below `/tmp`.
        let (Some(parent), Some(name)) = (temporary.parent(), temporary.file_name()) else {
            return Err(io::ErrorKind::InvalidInput.into());
        };
        let made = Tree::open(parent)?.owned_by(user).make_folder(Path::new(name))?;
        let expected = user.unwrap_or_else(User::own);
        // The session had no user before.
        if made.user()? == User::own().uid {
            give(&made, expected)?;
        }
        let found = fs::symlink_metadata(&temporary)?;
        if !found.is_dir() || found.uid() != expected.uid || found.mode() & 0o077 != 0 {
            let text = format!("{} is not the session's own folder", temporary.display());
            return Err(io::Error::new(io::ErrorKind::PermissionDenied, text));
        }
        Ok(())
    }

    fn saved_at(&self) -> PathBuf {
        self.root.join("desktop.json")
    }

    /// Makes the directories, with the secrets of a new desktop, for programs that run as `user`. A
    /// profile, downloads and logs that are there stay; those of a server of before are moved.
    pub(super) fn create(
        &self,
        cookie: &Cookie,
        password_file: &[u8],
        user: Option<User>,
    ) -> io::Result<()> {
        folder(&self.root, 0o700)?;
        folder(&self.logs(), 0o700)?;
        let noted = self.logs().join(process::USER);
        match user {
            Some(user) => replace(&noted, user.uid.to_string().as_bytes())?,
            None => absent(fs::remove_file(noted))?,
        }
        if let Some(own) = self.own.to_str() {
            replace(&self.root.join(OWN), own.as_bytes())?;
        }
        if self.is_single() {
            folder(&self.own, PASSED_THROUGH)?;
            former::move_out(self, user)?;
        }
        self.make_folders()?;
        for (path, bytes) in
            [(self.authority(), authority(cookie)), (self.vnc_password(), password_file.to_vec())]
        {
            let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
                return Err(io::ErrorKind::InvalidInput.into());
            };
            Tree::open(parent)?.owned_by(user).replace(Path::new(name), &bytes)?;
        }
        Ok(())
    }

    /// Writes another VNC password for the programs. The file stays the same one: the rules of a program that
    /// runs name it.
    pub(super) fn replace_vnc_password(&self, password_file: &[u8]) -> io::Result<()> {
        let path = self.vnc_password();
        let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
            return Err(io::ErrorKind::InvalidInput.into());
        };
        Tree::open(parent)?.overwrite(Path::new(name), password_file)
    }

    /// Replaces `desktop.json`, its secrets sealed.
    pub(super) fn save(&self, saved: &Saved) -> io::Result<()> {
        let mut saved = saved.clone();
        if let Some(vault) = &self.vault {
            let of = self.session.to_string();
            for (kind, text) in saved.secrets().filter(|(_, text)| !is_sealed(text)) {
                *text = vault.seal(Place { kind, of: &of }, text).map_err(io::Error::other)?;
            }
        }
        replace(&self.saved_at(), &serde_json::to_vec_pretty(&saved)?)
    }

    /// The content of `desktop.json`; none when there is no such file. A secret that cannot be opened
    /// is sealed in it, see [`opened`](Self::opened).
    pub fn saved(&self) -> io::Result<Option<Saved>> {
        let mut saved: Saved = match fs::read(self.saved_at()) {
            Ok(bytes) => serde_json::from_slice(&bytes)?,
            Err(cause) if cause.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(cause) => return Err(cause),
        };
        let of = self.session.to_string();
        for (kind, text) in saved.secrets() {
            if let Some(Ok(plain)) =
                self.vault.map(|vault| vault.open(Place { kind, of: &of }, text))
            {
                *text = plain;
            }
        }
        Ok(Some(saved))
    }

    /// The secrets of `saved`, opened; those that cannot be are read from the files of the programs.
    pub(super) fn opened(&self, saved: &mut Saved) -> io::Result<()> {
        if saved.cookie.as_deref().is_some_and(is_sealed) {
            saved.cookie = None;
        }
        if !is_sealed(&saved.vnc_password) {
            return Ok(());
        }
        tracing::warn!(
            "desktop.json was sealed with another secret than that of this data directory's file \
             `secret`: the keys of the session's programs are taken in its place"
        );
        let text = fs::read_to_string(self.vnc_password());
        // That of TigerVNC is no text.
        let text = text.ok().filter(|text| text.trim_end().len() == 8 && text.ends_with('\n'));
        let text = text.ok_or_else(|| {
            io::Error::other(
                "the password of the VNC server in desktop.json cannot be opened: restore the file \
                 `secret` of the data directory that sealed it",
            )
        })?;
        text.trim_end().clone_into(&mut saved.vnc_password);
        Ok(())
    }

    /// Seals what files of a server of before have in the clear: how many there were.
    pub(super) fn seal_former(&self) -> io::Result<usize> {
        let mut sealed = 0;
        if self.vault.is_none() {
            return Ok(sealed);
        }
        if let Ok(text) = fs::read_to_string(self.saved_at())
            && let Ok(mut saved) = serde_json::from_str::<Saved>(&text)
            && saved.secrets().any(|(_, text)| !is_sealed(text))
        {
            self.save(&saved)?;
            sealed += 1;
        }
        let memory = self.memory();
        if let Ok(text) = fs::read_to_string(memory.path())
            && !is_sealed(&text)
        {
            memory.write(&text)?;
            sealed += 1;
        }
        Ok(sealed)
    }

    /// Removes what a desktop that has ended no longer needs: with `keep`, its secrets and
    /// temporary files; otherwise everything but downloads that could not be stored, where there are
    /// any. What is kept becomes the server's. It may be repeated.
    pub fn clear(&self, keep: bool) -> io::Result<()> {
        if !keep && !downloads::any_left(self) {
            return self.remove();
        }
        Tree::remove_all(&self.temporary())?;
        Tree::remove_all(&self.block_downloads())?;
        for path in self.passing() {
            Tree::remove_all(&path)?;
        }
        if !keep {
            Tree::remove_all(&self.profile())?;
        }
        if self.user().is_some() {
            for kept in [self.profile(), self.downloads()] {
                match Tree::open(&kept) {
                    Err(cause) if cause.kind() == io::ErrorKind::NotFound => (),
                    opened => give(&opened?, User::own())?,
                }
            }
        }
        if keep {
            absent(fs::remove_file(self.logs().join(process::USER)))?;
        } else {
            Tree::remove_all(&self.logs())?;
        }
        self.release_user();
        Ok(())
    }

    /// The parts of those that no desktop which has ended leaves, whatever is kept of it, that are there.
    pub fn remains(&self) -> Vec<String> {
        let there = self.passing().into_iter().filter(|path| path.symlink_metadata().is_ok());
        let name = |path: PathBuf| Some(path.file_name()?.to_str()?.to_owned());
        let user = self.users.of(self.session).map(|user| format!("user {}", user.uid));
        there.filter_map(name).chain(user).collect()
    }

    /// The secrets and temporary files, of either layout.
    fn passing(&self) -> Vec<PathBuf> {
        let server = ["tmp", "vnc", "scratch", "xauthority", "vnc.passwd", "display"];
        let own = ["home", "uploads", "tmp", "vnc", "code", "films", "keys"];
        let server = server.map(|name| self.root.join(name)).into_iter();
        let named = [self.arrivals(), self.films(), self.egress(), self.saved_at()];
        let named = named.into_iter().chain([self.root.join(MEMORY), self.sanitizing()]);
        server.chain(named).chain(own.map(|name| self.own.join(name))).collect()
    }

    /// Removes everything, downloads too. It may be repeated.
    pub fn remove(&self) -> io::Result<()> {
        Tree::remove_all(&self.temporary())?;
        Tree::remove_all(&self.own)?;
        Tree::remove_all(&self.root)?;
        self.release_user();
        Ok(())
    }

    /// Frees the session's user, or says in the log why it is not free.
    pub(super) fn release_user(&self) {
        let roots: Vec<&Path> = self.own.parent().into_iter().chain([self.own.as_path()]).collect();
        if let Err(left) = self.users.release(self.session, &roots) {
            let left = left.0.join(", ");
            tracing::warn!(session.id = %self.session, "its user is not free yet: {left}");
        }
    }
}

/// Makes a directory of the server, with this mode.
fn folder(path: &Path, mode: u32) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(mode).create(path)?;
    fs::set_permissions(path, fs::Permissions::from_mode(mode))
}

/// A removal; of what is not there, none.
pub(super) fn absent(removed: io::Result<()>) -> io::Result<()> {
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
