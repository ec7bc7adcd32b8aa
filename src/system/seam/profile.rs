//! The profile of a browser as an archive in a file.

use std::fmt;
use std::path::PathBuf;

use futures_util::future::BoxFuture;

use crate::domain::session::Failure;

/// An archive of a browser's profile, in a file of the server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PackedProfile {
    /// The file with the archive, which its receiver moves or removes.
    pub file: PathBuf,
    /// The size of the archive in bytes.
    pub bytes: u64,
    /// The SHA-256 hash of the archive, in hexadecimal digits.
    pub checksum: String,
    /// The version of the browser that wrote the profile.
    pub browser_version: Option<String>,
}

/// The work on a packed profile. The files of the session are removed after it.
pub type AfterPacking =
    Box<dyn FnOnce(Result<PackedProfile, Failure>) -> BoxFuture<'static, ()> + Send + Sync>;

/// A request to pack the profile of a desktop at its end: after its browser has ended, and before
/// its files are removed.
pub struct PackAtEnd {
    /// The file to write.
    pub into: PathBuf,
    /// The work that follows.
    pub then: AfterPacking,
}

impl fmt::Debug for PackAtEnd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PackAtEnd").field("into", &self.into).finish_non_exhaustive()
    }
}
