//! The directory that the server and the egress program of a session share.
//!
//! It belongs to the server, and no program of a session has a rule for it. Before ABI 9, Landlock
//! does not keep a program from connecting to a socket by path if both have the same user.
//! Therefore each client of a socket sends the key, which proves that it can read the directory.

use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use serde::Serialize;
use tokio::net::UnixStream;

use crate::domain::sealing::SecretLocation;

/// The policy file, written by the server.
pub const POLICY: &str = "policy.json";

/// The associated data for sealing the upstream's address in a policy file.
pub const UPSTREAM: SecretLocation<'_> =
    SecretLocation { kind: "egress/policy.json", of: "upstream" };

/// The environment variable with the key of the policy file, as 64 hexadecimal digits.
pub const SECRET: &str = "GREENROOM_EGRESS_SECRET";

/// The file with the addresses, written once everything listens.
pub const READY: &str = "egress.json";

/// The file with the counters.
pub const STATUS: &str = "status.json";

/// The file with the proxy's port at the level `proxied`, for the next process.
pub const PORT: &str = "port";

/// The file with the key of the sockets, written by the server.
pub const KEY: &str = "key";

/// The file with the server's address, written by the server, such as `127.0.0.1:8787`.
pub const SERVER: &str = "server";

/// The socket into the session's network, see [`door`](super::door).
pub const DOOR: &str = "inside.sock";

/// The socket for commands, see [`control`](super::control).
pub const CONTROL: &str = "control.sock";

/// The secret that each client of a directory's sockets must send.
#[derive(Clone)]
pub struct Key(String);

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Key")
    }
}

impl Key {
    /// Writes a new key, unless a usable one exists.
    ///
    /// # Errors
    ///
    /// Fails when the file cannot be replaced.
    pub fn make(directory: &Path) -> io::Result<()> {
        if Self::read(directory).is_ok() {
            return Ok(());
        }
        let secret: [u8; 24] = rand::random();
        let text: String = secret.iter().map(|byte| format!("{byte:02x}")).collect();
        replace(&directory.join(KEY), text.as_bytes())
    }

    /// Reads the key of a directory.
    ///
    /// # Errors
    ///
    /// Fails when the file does not exist or has fewer than 32 bytes.
    pub fn read(directory: &Path) -> io::Result<Self> {
        let mut text = String::new();
        File::open(directory.join(KEY))?.take(64).read_to_string(&mut text)?;
        if text.len() < 32 { Err(io::ErrorKind::InvalidData.into()) } else { Ok(Self(text)) }
    }

    /// The key as clients send it.
    pub fn text(&self) -> &str {
        &self.0
    }

    /// Returns the rest of a line that begins with the key and a space.
    pub fn opens<'a>(&self, line: &'a str) -> Option<&'a str> {
        use subtle::ConstantTimeEq as _;
        let (key, rest) = line.split_once(' ')?;
        bool::from(key.as_bytes().ct_eq(self.0.as_bytes())).then_some(rest)
    }
}

/// Connects to a socket in a directory whose path may be of any length, although socket paths are
/// limited to 107 bytes.
///
/// # Errors
///
/// Fails when the directory cannot be opened or nothing listens on the socket.
pub async fn socket(directory: &Path, name: &str) -> io::Result<UnixStream> {
    let mut options = std::fs::OpenOptions::new();
    let flags = rustix::fs::OFlags::PATH | rustix::fs::OFlags::DIRECTORY;
    let flags = i32::try_from(flags.bits()).unwrap_or_default();
    let folder = options.read(true).custom_flags(flags).open(directory)?;
    let path = PathBuf::from(format!("/proc/self/fd/{}/{name}", folder.as_raw_fd()));
    UnixStream::connect(path).await
}

/// Replaces a file atomically, readable for its owner only.
///
/// # Errors
///
/// Fails when the new file cannot be written beside it; the previous file then stays.
pub fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let new = path.with_extension("new");
    let mut options = std::fs::OpenOptions::new();
    let mut file = options.write(true).create(true).truncate(true).mode(0o600).open(&new)?;
    file.write_all(bytes)?;
    std::fs::rename(new, path)
}

/// Replaces a file atomically with the JSON of a value.
///
/// # Errors
///
/// Fails as [`replace`] does, and when the value cannot be serialized.
pub fn write<T: Serialize>(path: &Path, value: &T) -> io::Result<()> {
    replace(path, &serde_json::to_vec(value)?)
}
