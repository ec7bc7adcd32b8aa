//! The record of sessions' users: one file for each user. It is created before the first program of
//! the session starts, and removed when nothing of that user is left.

use std::fs::{self, OpenOptions};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use super::Range;
use crate::domain::ids::SessionId;
use crate::system::beneath::Tree;
use crate::system::confine::spec::User;

/// The directories in which programs of any user may leave files in addition to their own.
const SHARED: [&str; 4] = ["/dev/shm", "/tmp", "/tmp/.X11-unix", "/var/tmp"];

/// The kernel's lists of System V objects, with the name of each kind.
const OBJECTS: [(&str, &str); 3] = [
    ("/proc/sysvipc/shm", "shared memory"),
    ("/proc/sysvipc/sem", "semaphores"),
    ("/proc/sysvipc/msg", "messages"),
];

/// The users of sessions, recorded in a directory of the server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Users {
    folder: PathBuf,
    range: Range,
}

/// The remains of a user, described for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InUse(pub Vec<String>);

/// The reason for which a session gets no user.
#[derive(Debug, thiserror::Error)]
pub enum UserError {
    /// All users of the range are assigned.
    #[error("all users {0} (isolation.user_range) have a session")]
    Exhausted(Range),
    /// The record could not be read or written.
    #[error("the record {} of users failed", .path.display())]
    Record {
        /// The file of the record.
        path: PathBuf,
        /// The error of the system.
        #[source]
        cause: io::Error,
    },
}

impl Users {
    /// The record in this directory, which is created when it is needed.
    pub fn new(folder: PathBuf, range: Range) -> Self {
        Self { folder, range }
    }

    /// The user of a session, if it has one. A user outside of the current range counts as well.
    pub fn of(&self, session: SessionId) -> Option<User> {
        self.all().into_iter().find(|(_, owner)| *owner == session).map(|(user, _)| user)
    }

    /// All assigned users, with their sessions.
    pub fn all(&self) -> Vec<(User, SessionId)> {
        let Ok(entries) = fs::read_dir(&self.folder) else { return Vec::new() };
        let known = entries.filter_map(|entry| {
            let entry = entry.ok()?;
            let uid = entry.file_name().to_str()?.parse().ok()?;
            let session = fs::read_to_string(entry.path()).ok()?.trim().parse().ok()?;
            Some((User { uid, gid: uid }, session))
        });
        known.collect()
    }

    /// Returns the user of a session. A session without one is assigned a user that owns nothing on
    /// the machine. Idempotent.
    pub fn assign(&self, session: SessionId) -> Result<User, UserError> {
        if let Some(user) = self.of(session) {
            return Ok(user);
        }
        let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(&self.folder);
        made.map_err(|cause| UserError::Record { path: self.folder.clone(), cause })?;
        // Spread by a hash, so that a number that has just become free is not assigned next.
        let mut hasher = DefaultHasher::new();
        session.hash(&mut hasher);
        let offset = u32::try_from(hasher.finish() % u64::from(u32::MAX)).unwrap_or_default();
        for uid in self.range.from(offset) {
            let path = self.folder.join(uid.to_string());
            let mut options = OpenOptions::new();
            let mut file = match options.write(true).create_new(true).mode(0o600).open(&path) {
                Ok(file) => file,
                Err(cause) if cause.kind() == io::ErrorKind::AlreadyExists => continue,
                Err(cause) => return Err(UserError::Record { path, cause }),
            };
            if !remains(uid, &[]).is_empty() {
                let _ = fs::remove_file(&path); // The file was created just before.
                continue;
            }
            let written =
                file.write_all(session.to_string().as_bytes()).and_then(|()| file.sync_all());
            return match written {
                Ok(()) => Ok(User { uid, gid: uid }),
                Err(cause) => {
                    let _ = fs::remove_file(&path); // It names no session.
                    Err(UserError::Record { path, cause })
                }
            };
        }
        Err(UserError::Exhausted(self.range))
    }

    /// Frees the user of a session whose programs have ended and whose directories are removed.
    /// Also removes its files in the machine's shared directories. The user stays assigned while a
    /// process or a file of it is left, including files directly in one of `roots`. Idempotent.
    pub fn release(&self, session: SessionId, roots: &[&Path]) -> Result<(), InUse> {
        let Some(User { uid, .. }) = self.of(session) else { return Ok(()) };
        let left = processes(uid);
        if !left.is_empty() {
            return Err(InUse(left));
        }
        for folder in SHARED.map(Path::new) {
            for path in owned(folder, uid) {
                let _ = Tree::remove_all(&path); // It is then listed among the remains.
            }
        }
        let left = remains(uid, roots);
        if !left.is_empty() {
            return Err(InUse(left));
        }
        let path = self.folder.join(uid.to_string());
        match fs::remove_file(&path) {
            Err(cause) if cause.kind() != io::ErrorKind::NotFound => {
                Err(InUse(vec![format!("{} cannot be removed: {cause}", path.display())]))
            }
            Ok(()) | Err(_) => Ok(()),
        }
    }
}

/// The remains of a user on this machine: its processes, System V objects, and files directly in
/// the shared directories and in `roots`.
fn remains(uid: u32, roots: &[&Path]) -> Vec<String> {
    let mut left = processes(uid);
    let folders = SHARED.iter().map(Path::new).chain(roots.iter().copied());
    let files = folders.flat_map(|folder| owned(folder, uid));
    left.extend(files.map(|path| path.display().to_string()));
    for (file, name) in OBJECTS {
        let text = fs::read_to_string(file).unwrap_or_default();
        left.extend(owns(&text, uid).then(|| name.to_owned()));
    }
    left
}

/// The entries of a directory that belong to a user; a symbolic link belongs to its creator.
fn owned(folder: &Path, uid: u32) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let paths = entries.map(|entry| entry.path());
    paths.filter(|path| path.symlink_metadata().is_ok_and(|entry| entry.uid() == uid)).collect()
}

/// The processes that have this uid as any of their uids.
fn processes(uid: u32) -> Vec<String> {
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    let is_of = |status: &str| {
        let numbers = status.lines().find_map(|line| line.strip_prefix("Uid:"));
        numbers.is_some_and(|numbers| {
            numbers.split_ascii_whitespace().any(|number| number.parse() == Ok(uid))
        })
    };
    let found = entries.filter_map(|entry| {
        let name = entry.ok()?.file_name();
        let pid: i32 = name.to_str()?.parse().ok()?;
        let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
        // A zombie holds no resources, and is its parent's to reap.
        let is_zombie = status.lines().any(|line| line.starts_with("State:\tZ"));
        (is_of(&status) && !is_zombie).then(|| format!("process {pid}"))
    });
    found.collect()
}

/// True if a listing of `/proc/sysvipc` has an object whose owner or creator is this user.
fn owns(listing: &str, uid: u32) -> bool {
    let mut lines = listing.lines();
    let Some(header) = lines.next() else { return false };
    let columns: Vec<usize> = header
        .split_ascii_whitespace()
        .enumerate()
        .filter(|(_, name)| matches!(*name, "uid" | "cuid"))
        .map(|(place, _)| place)
        .collect();
    lines.any(|line| {
        let fields: Vec<&str> = line.split_ascii_whitespace().collect();
        columns.iter().any(|place| fields.get(*place).is_some_and(|it| it.parse() == Ok(uid)))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn users(name: &str, range: Range) -> Users {
        let folder = std::env::temp_dir().join(format!("confine-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&folder);
        Users::new(folder, range)
    }

    #[test]
    fn each_session_has_a_user_of_its_own_until_it_is_released() {
        let users = users("users", Range::new(2_100_070_000, 2_100_070_001).unwrap());
        let [first, second, third] = [1, 2, 3].map(SessionId::from);
        assert_eq!(users.of(first), None);
        let one = users.assign(first).unwrap();
        let two = users.assign(second).unwrap();
        assert_ne!(one, two);
        assert_eq!(users.assign(first).unwrap(), one, "it may be repeated");
        assert!(matches!(users.assign(third), Err(UserError::Exhausted(_))));
        users.release(first, &[]).unwrap();
        users.release(first, &[]).unwrap();
        assert_eq!(users.assign(third).unwrap(), one, "nothing of it was left");
        assert_eq!(users.all().len(), 2);
        fs::remove_dir_all(&users.folder).unwrap();
    }

    #[test]
    fn a_user_with_a_process_is_neither_given_nor_released() {
        let own = rustix::process::geteuid().as_raw();
        let users = users("in-use", super::super::DEFAULT);
        fs::create_dir(&users.folder).unwrap();
        let session = SessionId::from(9);
        fs::write(users.folder.join(own.to_string()), session.to_string()).unwrap();
        let left = users.release(session, &[]).unwrap_err();
        assert!(left.0.iter().any(|line| line == &format!("process {}", std::process::id())));
        fs::remove_dir_all(&users.folder).unwrap();
    }

    #[test]
    fn objects_have_owners() {
        let text = "key shmid perms size cpid lpid nattch uid gid cuid cgid\n\
                    0 3 1600 4096 7 8 2 2100000005 1 2100000005 1\n";
        assert!(owns(text, 2_100_000_005));
        assert!(!owns(text, 2_100_000_006) && !owns("", 0));
    }
}
