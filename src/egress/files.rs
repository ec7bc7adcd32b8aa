//! The directory in which the server and the egress program of a session meet.
//!
//! It belongs to the server, and no program of a session has a rule for it. Landlock does not keep a
//! program from connecting to a socket by path before ABI 9, where both have the same user; so whoever
//! uses a socket proves with the key that it can read the directory.

use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use serde::Serialize;
use tokio::net::UnixStream;

/// The policy, from the server.
pub const POLICY: &str = "policy.json";

/// The addresses, once everything listens.
pub const READY: &str = "egress.json";

/// The counters.
pub const STATUS: &str = "status.json";

/// The key of the sockets, from the server.
pub const KEY: &str = "key";

/// The address of the server, from the server: `127.0.0.1:8787`.
pub const SERVER: &str = "server";

/// The way into the session's network, see [`door`](super::door).
pub const DOOR: &str = "inside.sock";

/// Commands, see [`control`](super::control).
pub const CONTROL: &str = "control.sock";

/// The secret of a directory's sockets.
#[derive(Clone)]
pub struct Key(String);

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Key")
    }
}

impl Key {
    /// Writes a new one, unless there is one.
    pub fn make(directory: &Path) -> io::Result<()> {
        if directory.join(KEY).exists() {
            return Ok(());
        }
        let secret: [u8; 24] = rand::random();
        let text: String = secret.iter().map(|byte| format!("{byte:02x}")).collect();
        replace(&directory.join(KEY), text.as_bytes())
    }

    /// Reads that of a directory.
    pub fn read(directory: &Path) -> io::Result<Self> {
        let mut text = String::new();
        File::open(directory.join(KEY))?.take(64).read_to_string(&mut text)?;
        if text.len() < 32 { Err(io::ErrorKind::InvalidData.into()) } else { Ok(Self(text)) }
    }

    /// The text of a request.
    pub fn text(&self) -> &str {
        &self.0
    }

    /// What follows the key in a line that begins with it.
    pub fn opens<'a>(&self, line: &'a str) -> Option<&'a str> {
        use subtle::ConstantTimeEq as _;
        let (key, rest) = line.split_once(' ')?;
        bool::from(key.as_bytes().ct_eq(self.0.as_bytes())).then_some(rest)
    }
}

/// Connects to a socket of a directory, however long the directory's path is: the names of sockets
/// have at most 107 bytes.
pub async fn socket(directory: &Path, name: &str) -> io::Result<UnixStream> {
    let mut options = std::fs::OpenOptions::new();
    let flags = rustix::fs::OFlags::PATH | rustix::fs::OFlags::DIRECTORY;
    let flags = i32::try_from(flags.bits()).unwrap_or_default();
    let folder = options.read(true).custom_flags(flags).open(directory)?;
    let path = PathBuf::from(format!("/proc/self/fd/{}/{name}", folder.as_raw_fd()));
    UnixStream::connect(path).await
}

/// Replaces a file whole, readable for its owner only.
pub fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let new = path.with_extension("new");
    let mut options = std::fs::OpenOptions::new();
    let mut file = options.write(true).create(true).truncate(true).mode(0o600).open(&new)?;
    file.write_all(bytes)?;
    std::fs::rename(new, path)
}

/// Replaces a file whole by the JSON of a value.
pub fn write<T: Serialize>(path: &Path, value: &T) -> io::Result<()> {
    replace(path, &serde_json::to_vec(value)?)
}
