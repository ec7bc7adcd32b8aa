//! The reasons for which an archive is refused.

use std::io;

use super::manifest::BrowserVersion;
use super::{Excess, shown};

/// The reason for which an archive is not used. Nothing of it is left in the target.
#[derive(Debug, thiserror::Error)]
pub enum UnpackError {
    /// The file is not the one that was stored, or no archive of a profile.
    #[error("the profile's archive is damaged: {0}")]
    Damaged(String),
    /// An entry could do harm, or is not what this server writes.
    #[error("the profile's archive is refused: {entry} {what}")]
    Unsafe {
        /// The path in the archive, escaped.
        entry: String,
        /// The fault of the entry.
        what: &'static str,
    },
    /// The profile is from a newer browser, which may have changed its files in ways that the
    /// installed one does not understand.
    #[error(
        "the profile was last used by Chromium {profile}, which is newer than the installed \
         Chromium {installed}: update the browser, or use an earlier version of the profile"
    )]
    TooNew {
        /// The version that the manifest names.
        profile: BrowserVersion,
        /// The version of the browser that would use the profile.
        installed: BrowserVersion,
    },
    /// The archive was written by a server with another format.
    #[error("the profile's archive has format {0}, which this server does not know: update it")]
    FormatUnknown(u64),
    /// The archive, an extra or the unpacked profile exceeds a limit.
    #[error("the profile's archive is too large: it has {0}")]
    TooLarge(Excess),
    /// Files could not be written, or the archive could not be read.
    #[error("the profile could not be restored: {what}")]
    NotWritten {
        /// The file and the failed operation.
        what: String,
        /// The error of the system.
        #[source]
        cause: io::Error,
    },
}

impl UnpackError {
    /// The stable code of the API.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Damaged(_) => "profile_archive_damaged",
            Self::Unsafe { .. } => "profile_archive_unsafe",
            Self::TooNew { .. } => "profile_too_new",
            Self::FormatUnknown(_) => "profile_format_unknown",
            Self::TooLarge(_) => "profile_too_large",
            Self::NotWritten { .. } => "profile_not_written",
        }
    }
}

/// The refusal of a file that is not what `pack` wrote.
pub(super) fn damaged(what: String) -> UnpackError {
    UnpackError::Damaged(what)
}

/// The refusal of an entry, by its path in the archive.
pub(super) fn refused(path: &[u8], what: &'static str) -> UnpackError {
    UnpackError::Unsafe { entry: shown(path), what }
}
