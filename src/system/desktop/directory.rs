//! The two directories of a session.
//!
//! ```text
//! <data>/sessions/<session>/     0700 the server's; invisible to programs
//!   desktop.json, memory.json, display, downloaded, uploaded, logs/, arrivals/, films/, egress/
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
//! Programs may lay traps anywhere below `<programs>/<session>`, so [`Tree`] opens the files there.
//! Sessions of older servers have one directory, see `former`.

use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{
    DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _,
};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::downloads::any_left;
use super::former::move_out;
use crate::domain::file_name::BLOCK_FOLDER;
use crate::domain::ids::SessionId;
use crate::domain::sealing::{SecretLocation, Vault, is_sealed};
use crate::domain::session::DesktopIdentity;
use crate::system::beneath::Tree;
use crate::system::confine::spec::User;
use crate::system::confine::user::{Users, give};
use crate::system::display::{Cookie, authority, cookie_of};
use crate::system::process;

/// The file with the last tabs and cookies of the browser.
const MEMORY: &str = "memory.json";

/// The longest path of a folder for temporary files for which the path of Chromium's socket fits
/// the system's limit: 107 bytes, less `/org.chromium.Chromium.XXXXXX/SingletonSocket`.
const LONGEST_TEMPORARY: usize = 107 - 46;

/// The folders that belong to the session's user.
const FOLDERS: [&str; 6] = ["profile", "home", "downloads", "uploads", "tmp", "vnc"];

/// The folders that belong to the server, which creates the programs' entries in them.
const SHARED_FOLDERS: [&str; 3] = ["keys", "code", "films"];

/// The mode of directories that programs can traverse but not change.
const PASSED_THROUGH: u32 = 0o711;

/// The server's file that contains the path of the programs' directory.
const OWN: &str = "programs";

/// The extension of a file that [`replace`] has not completed.
const PART: &str = "part";

/// The directories of one session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Directory {
    session: SessionId,
    root: PathBuf,
    own: PathBuf,
    users: Users,
    vault: Option<Vault>,
}

/// The data that a later server needs to adopt a desktop: `desktop.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Saved {
    /// The session that owns the desktop.
    pub session: SessionId,
    /// The processes, display and ports.
    #[serde(flatten)]
    pub identity: DesktopIdentity,
    /// The password of the VNC server, sealed in the file.
    pub vnc_password: String,
    /// The number of the rotation that the password belongs to.
    #[serde(default)]
    pub rotation: i64,
    /// The cookie of its display, in hexadecimal digits; servers of before had it in the authority file
    /// alone.
    #[serde(default)]
    pub cookie: Option<String>,
}

/// The file with the last tabs and cookies of the browser, and its vault.
#[derive(Debug, Clone)]
pub(super) struct Kept {
    path: PathBuf,
    session: SessionId,
    vault: Option<Vault>,
}

impl Kept {
    /// The path of the file.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Reads and unseals the text; none if the file does not exist.
    ///
    /// # Errors
    ///
    /// Fails when the file cannot be read or unsealed.
    pub(super) fn read(&self) -> io::Result<Option<String>> {
        let text = match fs::read_to_string(&self.path) {
            Err(cause) if cause.kind() == io::ErrorKind::NotFound => return Ok(None),
            read => read?,
        };
        let Some(vault) = &self.vault else { return Ok(Some(text)) };
        let of = self.session.to_string();
        vault
            .open(SecretLocation { kind: MEMORY, of: &of }, &text)
            .map(Some)
            .map_err(io::Error::other)
    }

    /// Seals the text and replaces the file.
    pub(super) fn write(&self, text: &str) -> io::Result<()> {
        let Some(vault) = &self.vault else { return replace(&self.path, text.as_bytes()) };
        let of = self.session.to_string();
        let sealed =
            vault.seal(SecretLocation { kind: MEMORY, of: &of }, text).map_err(io::Error::other)?;
        replace(&self.path, sealed.as_bytes())
    }
}

impl Saved {
    /// The secrets, each with the kind under which it is sealed.
    fn secrets(&mut self) -> impl Iterator<Item = (&'static str, &mut String)> {
        let password = ("desktop.json (VNC password)", &mut self.vnc_password);
        let cookie = self.cookie.iter_mut().map(|text| ("desktop.json (display cookie)", text));
        std::iter::once(password).chain(cookie)
    }

    /// The cookie in the format of the file.
    pub(super) fn digits(cookie: &Cookie) -> String {
        cookie.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// The cookie of the display, if it is known.
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
    /// The directories of a session: the server's `root`, and the programs' below `programs` unless
    /// `root` names another one.
    pub(super) fn new(
        session: SessionId,
        root: PathBuf,
        programs: &Path,
        users: Users,
        vault: Option<Vault>,
    ) -> Self {
        // The directory as an earlier server's settings had it.
        let noted = fs::read_to_string(root.join(OWN)).ok().map(|text| PathBuf::from(text.trim()));
        let own = noted.filter(|own| own.is_absolute());
        let own = own.unwrap_or_else(|| programs.join(session.to_string()));
        Self { session, root, own, users, vault }
    }

    /// The server's directory of the session.
    pub fn path(&self) -> &Path {
        &self.root
    }

    /// The programs' directory of the session.
    pub fn own(&self) -> &Path {
        &self.own
    }

    /// True if an older server has made the session, so that all files are in the server's directory.
    pub fn is_single(&self) -> bool {
        self.root.join("profile").symlink_metadata().is_ok()
    }

    /// The user that the session's programs run as, if it is not the server's.
    pub fn user(&self) -> Option<User> {
        process::user_in(&self.logs())
    }

    fn programs(&self, name: &str, former: &str) -> PathBuf {
        if self.is_single() { self.root.join(former) } else { self.own.join(name) }
    }

    /// The browser's user data directory.
    pub fn profile(&self) -> PathBuf {
        self.programs("profile", "profile")
    }

    /// The browser's `HOME` directory.
    pub fn home(&self) -> PathBuf {
        self.programs("home", "profile")
    }

    /// The folder for the browser's downloads.
    pub fn downloads(&self) -> PathBuf {
        self.programs("downloads", "downloads")
    }

    /// The folder for downloads of blocks, which the blocks collect themselves.
    pub fn block_downloads(&self) -> PathBuf {
        self.downloads().join(BLOCK_FOLDER)
    }

    /// The folder in which clients and runs put files for the browser.
    pub fn uploads(&self) -> PathBuf {
        self.programs("uploads", "scratch")
    }

    /// The folders of `code` blocks.
    pub fn code(&self) -> PathBuf {
        self.own.join("code")
    }

    /// The folder in which ffmpeg encodes films.
    pub fn encoding(&self) -> PathBuf {
        self.own.join("films")
    }

    /// The directory that the server and the session's egress program share.
    pub(super) fn egress(&self) -> PathBuf {
        self.root.join("egress")
    }

    /// The folder for copies of downloads that wait to be stored.
    pub(super) fn arrivals(&self) -> PathBuf {
        self.root.join("arrivals")
    }

    /// The record of the stored downloads.
    pub(super) fn downloaded(&self) -> PathBuf {
        self.root.join("downloaded")
    }

    /// The record of the contents of uploads.
    pub(super) fn uploaded(&self) -> PathBuf {
        self.root.join("uploaded")
    }

    /// The log of one program.
    pub fn log(&self, program: &str) -> PathBuf {
        self.root.join("logs").join(format!("{program}.log"))
    }

    /// The record of every process that was started for the session, see
    /// [`started`](process::started).
    pub fn started(&self) -> PathBuf {
        self.root.join("logs").join(process::STARTED)
    }

    /// The folder with the logs of the programs, and the records of them.
    pub fn logs(&self) -> PathBuf {
        self.root.join("logs")
    }

    /// The file with the path of the session's control group, beside the logs of its programs.
    pub fn group(&self) -> PathBuf {
        self.root.join("logs").join(process::GROUP)
    }

    /// The last state of the browser, see [`Memory`](super::memory::Memory).
    pub(super) fn memory(&self) -> Kept {
        Kept { path: self.root.join(MEMORY), session: self.session, vault: self.vault }
    }

    /// The marker file of a session that is being sanitized, see [`sanitizing`](super::sanitizing).
    pub(super) fn sanitizing(&self) -> PathBuf {
        self.root.join("sanitizing")
    }

    /// The folder for films of the session that are in production.
    pub fn films(&self) -> PathBuf {
        self.root.join("films")
    }

    /// The authority file with the cookie of the display, for programs.
    pub fn authority(&self) -> PathBuf {
        self.programs("keys/xauthority", "xauthority")
    }

    pub(super) fn display_number(&self) -> PathBuf {
        self.root.join("display")
    }

    /// The file with the VNC server's password, in the format of that server.
    pub fn vnc_password(&self) -> PathBuf {
        self.programs("keys/vnc.passwd", "vnc.passwd")
    }

    /// The file with which the VNC server signals readiness, in a folder that it may write to.
    pub fn vnc_flag(&self) -> PathBuf {
        self.programs("vnc", "vnc").join("ready")
    }

    /// The browser's folder for temporary files. It is below `/tmp` if the path of a socket in the
    /// session's own folder would be too long.
    pub fn temporary(&self) -> PathBuf {
        let own = self.programs("tmp", "tmp");
        if own.as_os_str().len() <= LONGEST_TEMPORARY {
            return own;
        }
        Path::new("/tmp").join(format!("greenroom-{}", self.session))
    }

    /// Creates the folders that programs of the session use. Existing ones stay; the session's user
    /// becomes their owner if they belong to another user.
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
        // Any user can create a folder below `/tmp`.
        let (Some(parent), Some(name)) = (temporary.parent(), temporary.file_name()) else {
            return Err(io::ErrorKind::InvalidInput.into());
        };
        let made = Tree::open(parent)?.owned_by(user).make_folder(Path::new(name))?;
        let expected = user.unwrap_or_else(User::own);
        // The folder is from a time when the session had no user.
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

    /// Creates the directories, with the secrets of a new desktop, for programs that run as `user`.
    /// An existing profile, downloads and logs stay; those of an older server are moved.
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
            move_out(&self.root, &self.own, user)?;
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
                *text =
                    vault.seal(SecretLocation { kind, of: &of }, text).map_err(io::Error::other)?;
            }
        }
        replace(&self.saved_at(), &serde_json::to_vec_pretty(&saved)?)
    }

    /// Reads `desktop.json`; none if the file does not exist. A secret that cannot be unsealed
    /// stays sealed in the result, see `opened`.
    pub fn saved(&self) -> io::Result<Option<Saved>> {
        let mut saved: Saved = match fs::read(self.saved_at()) {
            Ok(bytes) => serde_json::from_slice(&bytes)?,
            Err(cause) if cause.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(cause) => return Err(cause),
        };
        let of = self.session.to_string();
        for (kind, text) in saved.secrets() {
            if let Some(Ok(plain)) =
                self.vault.map(|vault| vault.open(SecretLocation { kind, of: &of }, text))
            {
                *text = plain;
            }
        }
        Ok(Some(saved))
    }

    /// Unseals the secrets of `saved`. Those that cannot be unsealed are read from the programs' files.
    pub(super) fn opened(&self, saved: &mut Saved) -> io::Result<()> {
        if saved.cookie.as_deref().is_some_and(is_sealed) {
            saved.cookie = None;
        }
        if !is_sealed(&saved.vnc_password) {
            return Ok(());
        }
        tracing::warn!(
            "desktop.json was sealed with another secret than that of this data directory's file \
             `secret`: the keys of the session's programs are used instead"
        );
        let text = fs::read_to_string(self.vnc_password());
        // TigerVNC's password file is not text.
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

    /// Seals files that an older server wrote in plain text, and returns their number.
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

    /// Removes the files that an ended desktop no longer needs. With `keep`, these are its secrets
    /// and temporary files. Otherwise they are all files except downloads that could not be stored.
    /// The server becomes the owner of kept files. Idempotent.
    pub fn clear(&self, keep: bool) -> io::Result<()> {
        if !keep && !any_left(&self.downloads(), &self.downloaded()) {
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

    /// The existing files and the user that an ended desktop must not leave, even if its directory is kept.
    pub fn remains(&self) -> Vec<String> {
        let there = self.passing().into_iter().filter(|path| path.symlink_metadata().is_ok());
        let name = |path: PathBuf| Some(path.file_name()?.to_str()?.to_owned());
        let user = self.users.of(self.session).map(|user| format!("user {}", user.uid));
        there.filter_map(name).chain(user).collect()
    }

    /// The secrets and temporary files, in both the current and the older layout, and the files that a killed
    /// server was writing.
    fn passing(&self) -> Vec<PathBuf> {
        let server = ["tmp", "vnc", "scratch", "xauthority", "vnc.passwd", "display"];
        let own = ["home", "uploads", "tmp", "vnc", "code", "films", "keys"];
        let server = server.map(|name| self.root.join(name)).into_iter();
        let named = [self.arrivals(), self.films(), self.egress(), self.saved_at()];
        let named = named.into_iter().chain([self.root.join(MEMORY), self.sanitizing()]);
        let replaced = [self.root.join(OWN), self.root.join(MEMORY), self.saved_at()];
        let replaced = replaced.into_iter().chain([self.sanitizing(), self.pooled_file()]);
        let halves = replaced.map(|path| path.with_extension(PART));
        server.chain(named).chain(halves).chain(own.map(|name| self.own.join(name))).collect()
    }

    /// Removes everything, including downloads. Idempotent.
    pub fn remove(&self) -> io::Result<()> {
        Tree::remove_all(&self.temporary())?;
        Tree::remove_all(&self.own)?;
        Tree::remove_all(&self.root)?;
        self.release_user();
        Ok(())
    }

    /// Frees the session's user, or logs why it is not free.
    pub(super) fn release_user(&self) {
        let roots: Vec<&Path> = self.own.parent().into_iter().chain([self.own.as_path()]).collect();
        if let Err(left) = self.users.release(self.session, &roots) {
            let left = left.0.join(", ");
            tracing::warn!(session.id = %self.session, "its user is not free yet: {left}");
        }
    }
}

/// Creates a directory of the server with this mode.
pub(super) fn folder(path: &Path, mode: u32) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(mode).create(path)?;
    fs::set_permissions(path, fs::Permissions::from_mode(mode))
}

/// The result of a removal, in which a missing file is no error.
pub(super) fn absent(removed: io::Result<()>) -> io::Result<()> {
    match removed {
        Err(cause) if cause.kind() != io::ErrorKind::NotFound => Err(cause),
        Ok(()) | Err(_) => Ok(()),
    }
}

/// Replaces a file atomically, readable for its owner only.
pub(super) fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let temporary = path.with_extension(PART);
    let mut options = OpenOptions::new();
    let mut file = options.write(true).create(true).truncate(true).mode(0o600).open(&temporary)?;
    file.write_all(bytes)?;
    drop(file);
    fs::rename(&temporary, path)
}
