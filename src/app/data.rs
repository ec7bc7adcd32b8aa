//! The data directory, which only one server may use at a time.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};

use crate::actors::secrets::Secrets;
use crate::domain::ids::NodeId;

/// A data directory that this server holds until the value is dropped.
#[derive(Debug)]
pub(super) struct DataDirectory {
    path: PathBuf,
    /// 32 bytes that outlive a restart, from which lease tokens are derived.
    pub(super) secret: [u8; 32],
    /// The lock on the directory; the kernel releases it however the server ends.
    _lock: File,
}

/// Creates the directory if it does not exist, and locks it.
pub(super) fn open(path: &Path) -> anyhow::Result<DataDirectory> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .with_context(|| format!("cannot create the data directory {} (data)", path.display()))?;
    let lock = path.join("lock");
    let file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .mode(0o600)
        .open(&lock)
        .with_context(|| format!("cannot write {} (data)", lock.display()))?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            bail!("another server uses the data directory {} (data)", path.display());
        }
        Err(TryLockError::Error(cause)) => {
            return Err(cause).with_context(|| format!("cannot lock {}", lock.display()));
        }
    }
    let secret = secret(&path.join("secret"))?;
    Ok(DataDirectory { path: path.to_owned(), secret, _lock: file })
}

/// Creates a directory for files in transit, and removes what an earlier server left there.
pub(super) fn emptied(path: PathBuf) -> anyhow::Result<PathBuf> {
    let empty = || -> io::Result<()> {
        match fs::remove_dir_all(&path) {
            Err(cause) if cause.kind() != io::ErrorKind::NotFound => return Err(cause),
            Ok(()) | Err(_) => {}
        }
        fs::DirBuilder::new().mode(0o700).create(&path)
    };
    empty().with_context(|| format!("cannot empty {} (data)", path.display()))?;
    Ok(path)
}

/// The file in which a data directory stores the id of its node.
pub(super) const NODE_FILE: &str = "node";

/// Returns the node of this data directory, even while no server uses it.
pub(super) fn node(path: &Path) -> Option<NodeId> {
    fs::read_to_string(path.join(NODE_FILE)).ok()?.trim().parse().ok()
}

/// Returns the server's own secret, created at the first start.
fn secret(path: &Path) -> anyhow::Result<[u8; 32]> {
    let broken = || format!("cannot read {}", path.display());
    let mut bytes = [0; 32];
    match File::open(path) {
        Ok(mut file) => {
            file.read_exact(&mut bytes).with_context(broken)?;
            return Ok(bytes);
        }
        Err(cause) if cause.kind() == io::ErrorKind::NotFound => {}
        Err(cause) => return Err(cause).with_context(broken),
    }
    bytes = Secrets::random();
    write_private(path, &bytes)?;
    Ok(bytes)
}

/// Writes a file that only this user may read, atomically.
fn write_private(path: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    let temporary = path.with_extension("part");
    let write = || -> io::Result<()> {
        let mut file = OpenOptions::new()
            .create(true)
            .truncate(true)
            .write(true)
            .mode(0o600)
            .open(&temporary)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&temporary, path)
    };
    write().with_context(|| format!("cannot write {}", path.display()))
}

impl DataDirectory {
    /// Returns the path of a file of this directory.
    pub(super) fn file(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// Returns the content of a small file of this directory, if it exists.
    pub(super) fn read(&self, name: &str) -> Option<String> {
        fs::read_to_string(self.path.join(name)).ok()
    }

    /// Replaces a small file of this directory.
    pub(super) fn write(&self, name: &str, text: &str) -> anyhow::Result<()> {
        write_private(&self.path.join(name), text.as_bytes())
    }
}
