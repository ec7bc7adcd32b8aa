//! The changelog of this version: the notes to read before an upgrade.

use std::fmt;
use std::str::FromStr;

use serde::Serialize;

/// The changelog, in the form of Keep a Changelog.
const TEXT: &str = include_str!("../../CHANGELOG.md");

/// The number of a version, `MAJOR.MINOR.PATCH`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(into = "String")]
pub struct Version(u64, u64, u64);

impl Version {
    /// Returns true if a server of this version adopts the live sessions of a server of the former
    /// one: it reads what the MINOR before has written.
    pub fn adopts(&self, former: &Self) -> bool {
        self.0 == former.0 && self.1.saturating_sub(former.1) <= 1
    }
}

impl From<Version> for String {
    fn from(version: Version) -> Self {
        version.to_string()
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(major, minor, patch) = self;
        write!(f, "{major}.{minor}.{patch}")
    }
}

/// The error of a text that is not the number of a version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("this is not a version of three numbers")]
pub struct NotAVersion;

impl FromStr for Version {
    type Err = NotAVersion;

    fn from_str(text: &str) -> Result<Self, NotAVersion> {
        let mut parts = text.split('.').map(|part| part.parse().map_err(|_error| NotAVersion));
        let mut part = || parts.next().unwrap_or(Err(NotAVersion));
        let version = Self(part()?, part()?, part()?);
        if parts.next().is_some() { Err(NotAVersion) } else { Ok(version) }
    }
}

/// Returns the version of this program.
pub fn this() -> Version {
    const { env!("CARGO_PKG_VERSION") }.parse().unwrap_or(Version(0, 0, 0))
}

/// The notes to read before an upgrade to a version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The version that needs them.
    pub version: Version,
    /// The text, in Markdown.
    pub upgrading: String,
}

/// Returns the notes of the versions after `former`, the oldest first; those of all for none.
pub fn since(former: Option<&Version>) -> Vec<Entry> {
    entries(TEXT, former)
}

fn entries(text: &str, former: Option<&Version>) -> Vec<Entry> {
    let mut found = Vec::new();
    for section in text.split("\n## [").skip(1) {
        let Some((name, rest)) = section.split_once(']') else { continue };
        let Ok(version) = name.parse::<Version>() else { continue };
        if former.is_some_and(|former| version <= *former) {
            continue;
        }
        let Some((_, notes)) = rest.split_once("\n### Upgrading\n") else { continue };
        let notes = notes.split("\n### ").next().unwrap_or(notes);
        found.push(Entry { version, upgrading: notes.trim().to_owned() });
    }
    found.reverse();
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    const SAMPLE: &str = "# Changelog\n\n## [Unreleased]\n\n### Upgrading\n\n- Later.\n\n\
        ## [0.3.0] - 2026-12-24\n\n### Upgrading\n\n- Rename `a`.\n- Restart.\n\n### Added\n\n- B.\n\n\
        ## [0.2.1] - 2026-12-10\n\n### Fixed\n\n- C.\n\n\
        ## [0.2.0] - 2026-12-01\n\n### Upgrading\n\n- First.\n";

    #[test]
    fn the_notes_of_later_versions_are_found_the_oldest_first() {
        let notes = |former: Option<&str>| {
            let former = former.map(|former| former.parse().unwrap());
            let entries = entries(SAMPLE, former.as_ref());
            entries
                .into_iter()
                .map(|entry| format!("{}: {}", entry.version, entry.upgrading))
                .collect::<Vec<_>>()
        };
        let both = ["0.2.0: - First.", "0.3.0: - Rename `a`.\n- Restart."];
        assert_eq!(notes(None), both);
        assert_eq!(notes(Some("0.1.9")), both);
        assert_eq!(notes(Some("0.2.0")), both[1..]);
        assert!(notes(Some("0.3.0")).is_empty());
    }

    #[test]
    fn the_changelog_has_this_version_and_reads_as_it_should() {
        assert!(TEXT.contains(&format!("\n## [{}]", this())), "CHANGELOG.md has no {}", this());
        let last = since(None).pop().unwrap();
        assert!(last.upgrading.starts_with("Read this"), "{last:?}");
    }

    #[test]
    fn versions_are_numbers_and_sessions_are_adopted_from_the_minor_before() {
        let version = |text: &str| text.parse::<Version>().unwrap();
        assert!(version("0.10.0") > version("0.9.9"));
        for wrong in ["", "1", "1.2", "1.2.3.4", "1.2.x", "v1.2.3"] {
            assert_eq!(wrong.parse::<Version>(), Err(NotAVersion), "{wrong}");
        }
        let adopts = |new: &str, old: &str| version(new).adopts(&version(old));
        assert!(adopts("0.2.0", "0.1.9") && adopts("0.2.5", "0.2.0") && adopts("0.1.0", "0.2.0"));
        assert!(!adopts("0.3.0", "0.1.0") && !adopts("1.0.0", "0.9.0"));
    }
}
