//! Objects, as every store describes them.

use std::time::SystemTime;

/// The first part of the keys of artifacts and recordings.
pub const ARTIFACTS: &str = "artifacts";

/// The first part of the keys of profiles.
pub const PROFILES: &str = "profiles";

/// The source of a stored file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transfer {
    /// It is gone when it is stored. Within a file system, nothing is copied.
    Move,
    /// It stays in its place.
    Copy,
}

/// An object of a store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObjectInfo {
    pub key: String,
    /// The size in bytes.
    pub size: u64,
    /// The time at which it was stored.
    pub stored: SystemTime,
}
