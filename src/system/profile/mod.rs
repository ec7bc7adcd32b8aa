//! Archives of browser profiles: a Chromium user data directory in one file.
//!
//! ```text
//! zstd frame (with a checksum of its content)
//!   tar, GNU headers: plain files and folders, sorted, without owners and times
//!     greenroom/manifest.json     the format, the browser's version, the names of the extras
//!     greenroom/<extra>           bytes of the caller, for example cookies, sorted by name
//!     profile/...                 the files of the profile, without those that `left_out` names
//! ```
//!
//! Both sides are hostile. A program owns the profile, so [`pack()`] opens its files by
//! [`Tree`](crate::system::beneath::Tree) only. An archive may be an upload, so [`unpack()`] accepts
//! exactly the form that [`pack()`] writes. No function here starts a program.
//!
//! All functions block: call them on a thread for blocking work.

mod left_out;
mod manifest;
mod pack;
mod reading;
mod refusal;
mod state;
#[cfg(test)]
mod tests;
mod unpack;

use std::fmt;

pub use manifest::{BrowserVersion, FORMAT, Manifest, NotAVersion};
pub use pack::{Meta, PackError, Packed, pack, pack_unless};
pub use refusal::UnpackError;
pub use state::{COOKIES, STATE, StateError, WHOLE, read_state, write_state};
pub use unpack::{Checked, Unpacked, check, read_head, unpack};

/// The folder of an archive with the manifest and the extras.
const OURS: &str = "greenroom";

/// The folder of an archive with the files of the profile.
const PROFILE: &str = "profile";

/// The name of the manifest in [`OURS`].
const MANIFEST: &str = "manifest.json";

/// The longest name of a file or folder, in bytes.
const LONGEST_NAME: usize = 255;

/// The longest name of an extra, in bytes.
const LONGEST_EXTRA_NAME: usize = 64;

/// The most extras of an archive.
const MOST_EXTRAS: usize = 16;

/// The most bytes of one extra.
const LARGEST_EXTRA: u64 = 64 * 1024 * 1024;

/// The most bytes of all extras, which are read into memory.
const LARGEST_EXTRAS: u64 = 128 * 1024 * 1024;

/// The size of a tar block, in bytes.
const BLOCK: usize = 512;

/// The size of the buffers for content, in bytes.
const BUFFER: usize = 64 * 1024;

/// The limits of a profile.
#[derive(Debug, Clone, Copy)]
struct Limits {
    /// The most files and folders.
    entries: u64,
    /// The most bytes of all files.
    bytes: u64,
    /// The deepest nesting of a file or folder.
    depth: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { entries: 200_000, bytes: 4 * 1024 * 1024 * 1024, depth: 64 }
    }
}

/// A limit that a profile or archive exceeds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Excess {
    /// The counted thing, for example `bytes`.
    pub what: &'static str,
    /// The count at which the limit was exceeded; the whole may be larger.
    pub found: u64,
    /// The limit that is exceeded.
    pub most: u64,
}

impl fmt::Display for Excess {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} or more, and the limit is {}", self.found, self.what, self.most)
    }
}

/// True for a name that an extra may have. It is also the name of a file of the archive.
fn is_extra_name(name: &str) -> bool {
    let allowed = |byte: u8| {
        byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'.' | b'_' | b'-')
    };
    !name.is_empty()
        && name.len() <= LONGEST_EXTRA_NAME
        && !name.starts_with('.')
        && name != MANIFEST
        && name.bytes().all(allowed)
}

/// A path in a form that is safe to log and to show, cut to a length that fits a line.
fn shown(path: &[u8]) -> String {
    const LONGEST: usize = 200;
    let text = String::from_utf8_lossy(path);
    let mut shown: String = text.chars().take(LONGEST).flat_map(char::escape_debug).collect();
    if text.chars().nth(LONGEST).is_some() {
        shown.push('…');
    }
    shown
}

/// The number of bytes from the end of a content of `size` bytes to the next tar block.
fn padding(size: u64) -> usize {
    let block = u64::try_from(BLOCK).unwrap_or(u64::MAX);
    usize::try_from(size.next_multiple_of(block).saturating_sub(size)).unwrap_or_default()
}
