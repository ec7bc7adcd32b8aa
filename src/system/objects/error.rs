//! Failures of a store, by what a caller can do about them.

use std::io;
use std::path::{Path, PathBuf};

/// A failed operation on an object. The text names the store and the cause, and no credential.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ObjectError {
    /// The store did not answer, or not with what was requested. A later attempt may succeed.
    #[error("{store} is away: {cause}")]
    StoreAway { store: String, cause: String },
    /// There is no object with this key.
    #[error("{store} has no object `{key}`")]
    Missing { store: String, key: String },
    /// The credentials, the bucket or the rights are wrong: an operator must change them.
    #[error("{store} refuses the access: {cause}")]
    Refused { store: String, cause: String },
    /// The store has no room: an operator must make some.
    #[error("{store} is full: {cause}")]
    Full { store: String, cause: String },
    /// The object is larger than the caller's limit.
    #[error("the object `{key}` has {size} bytes, more than {limit}")]
    TooLarge { key: String, size: u64, limit: u64 },
    /// The settings of the store contradict each other.
    #[error("{cause}")]
    Misconfigured { cause: String },
    /// A file of this machine, the source or the target of a transfer, cannot be used.
    #[error("{}: {cause}", file.display())]
    File { file: PathBuf, cause: String },
    /// The text is no key of an object.
    #[error("`{key}` is not the key of an object")]
    BadKey { key: String },
}

impl ObjectError {
    /// True if the state of the store is the cause, and not the request. A later attempt may
    /// succeed, in some cases after an operator has acted.
    pub fn is_outage(&self) -> bool {
        match self {
            Self::StoreAway { .. } | Self::Refused { .. } | Self::Full { .. } => true,
            Self::Missing { .. }
            | Self::TooLarge { .. }
            | Self::Misconfigured { .. }
            | Self::File { .. }
            | Self::BadKey { .. } => false,
        }
    }

    pub(super) fn file(file: &Path, cause: &io::Error) -> Self {
        Self::File { file: file.to_owned(), cause: cause.to_string() }
    }

    /// The failure of an operation on an object that is a file of the directory `store`.
    pub(super) fn of_directory(store: &str, key: &str, cause: &io::Error) -> Self {
        let (store, text) = (store.to_owned(), cause.to_string());
        let kind = cause.kind();
        if matches!(kind, io::ErrorKind::NotFound) {
            Self::Missing { store, key: key.to_owned() }
        } else if matches!(kind, io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded) {
            Self::Full { store, cause: text }
        } else if matches!(
            kind,
            io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem
        ) {
            Self::Refused { store, cause: text }
        } else {
            Self::StoreAway { store, cause: text }
        }
    }
}
