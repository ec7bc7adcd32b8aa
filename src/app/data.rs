//! The data directory: one server's at a time.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};

use crate::actors::secrets::Secrets;
use crate::domain::ids::NodeId;

/// A data directory that is ours until this is dropped.
#[derive(Debug)]
pub(super) struct DataDirectory {
    path: PathBuf,
    /// 32 bytes that outlive a restart, from which lease tokens are derived.
    pub(super) secret: [u8; 32],
    /// Locked while this server lives; the kernel lets go of it whatever way that ends.
    _lock: File,
}

/// Makes the directory if it is not there, and takes it.
pub(super) fn open(path: &Path) -> anyhow::Result<DataDirectory> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .with_context(|| format!("cannot make the data directory {} (data)", path.display()))?;
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

/// The file in which a data directory keeps the name of its node.
pub(super) const NODE_FILE: &str = "node";

/// The node whose data directory this is, whether or not a server has it now.
pub(super) fn node(path: &Path) -> Option<NodeId> {
    fs::read_to_string(path.join(NODE_FILE)).ok()?.trim().parse().ok()
}

/// The server's own secret, made at the first start.
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

/// Writes a file that only this user may read, whole or not at all.
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
    /// The content of a small file of this directory, if it is there.
    pub(super) fn read(&self, name: &str) -> Option<String> {
        fs::read_to_string(self.path.join(name)).ok()
    }

    /// Replaces a small file of this directory.
    pub(super) fn write(&self, name: &str, text: &str) -> anyhow::Result<()> {
        write_private(&self.path.join(name), text.as_bytes())
    }
}
