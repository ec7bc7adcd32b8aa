//! The manifest of a profile's archive, and versions of the browser.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::shown;

/// The format of the archives that this server writes and reads.
pub const FORMAT: u64 = 1;

/// The longest `created_at`, in bytes.
const LONGEST_TIME: usize = 64;

/// The first entry of an archive.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// The number of the format, see [`FORMAT`].
    pub format: u64,
    /// The browser that last wrote the profile; none for a profile that no browser has used yet.
    pub browser_version: Option<BrowserVersion>,
    /// The time at which the archive was made, as its maker wrote it.
    pub created_at: String,
    /// The names of the extras, sorted.
    pub extras: Vec<String>,
}

/// The part of a manifest that all formats share.
#[derive(Deserialize)]
struct Format {
    format: u64,
}

/// The reason for which a manifest cannot be used.
#[derive(Debug)]
pub(super) enum BadManifest {
    /// It is no manifest, or a value is out of its bounds.
    Damaged(String),
    /// The archive has another format.
    Format(u64),
}

impl Manifest {
    /// Parses the manifest of an archive that anyone may have written.
    pub(super) fn parse(bytes: &[u8]) -> Result<Self, BadManifest> {
        // The text may quote the manifest.
        let damaged =
            |cause: serde_json::Error| BadManifest::Damaged(shown(cause.to_string().as_bytes()));
        let Format { format } = serde_json::from_slice(bytes).map_err(damaged)?;
        if format != FORMAT {
            return Err(BadManifest::Format(format));
        }
        let manifest: Self = serde_json::from_slice(bytes).map_err(damaged)?;
        let time = &manifest.created_at;
        if time.len() > LONGEST_TIME || !time.bytes().all(|byte| (b' '..=b'~').contains(&byte)) {
            return Err(BadManifest::Damaged("created_at is no time".to_owned()));
        }
        Ok(manifest)
    }
}

/// A version of Chromium, for example `156.0.8078.108`. Newer versions are greater.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct BrowserVersion([u32; 4]);

/// A text that is no version of Chromium.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a version of Chromium, such as 156.0.8078.108")]
pub struct NotAVersion;

impl BrowserVersion {
    /// The first number. Chromium may not read the profile of a newer major version.
    pub fn major(self) -> u32 {
        let Self([major, ..]) = self;
        major
    }

    /// Finds a version in a text, such as `Chromium 156.0.8078.108 built on Debian` or
    /// `Chrome/156.0.8078.108`.
    pub fn within(text: &str) -> Option<Self> {
        let other = |letter: char| !letter.is_ascii_digit() && letter != '.';
        text.split(other).find_map(|part| part.parse().ok())
    }
}

impl FromStr for BrowserVersion {
    type Err = NotAVersion;

    fn from_str(text: &str) -> Result<Self, NotAVersion> {
        let number = |part: &str| {
            // The standard parser accepts a sign.
            let digits = part.bytes().all(|byte| byte.is_ascii_digit());
            part.parse().ok().filter(|_| digits)
        };
        let numbers: Option<Vec<u32>> = text.split('.').map(number).collect();
        let numbers = numbers.and_then(|numbers| numbers.try_into().ok());
        numbers.map(Self).ok_or(NotAVersion)
    }
}

impl fmt::Display for BrowserVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self([major, minor, build, patch]) = self;
        write!(f, "{major}.{minor}.{build}.{patch}")
    }
}

impl TryFrom<String> for BrowserVersion {
    type Error = NotAVersion;

    fn try_from(text: String) -> Result<Self, NotAVersion> {
        text.parse()
    }
}

impl From<BrowserVersion> for String {
    fn from(version: BrowserVersion) -> Self {
        version.to_string()
    }
}
