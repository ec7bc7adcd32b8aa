//! The keys of objects, and their form.

use super::error::ObjectError;
use super::object::{ARTIFACTS, PROFILES};

/// The first parts of keys. In a directory nothing else is below the store's reach.
const AREAS: [&str; 2] = [ARTIFACTS, PROFILES];

/// Checks a key or a prefix of keys: an area, and parts that no file system interprets.
pub(super) fn check(key: &str) -> Result<(), ObjectError> {
    let bad = |part: &str| {
        part.is_empty() || part == "." || part == ".." || part.chars().any(char::is_control)
    };
    let mut parts = key.split('/');
    let is_known = parts.next().is_some_and(|area| AREAS.contains(&area));
    if !is_known || parts.any(bad) || key.len() > 900 {
        return Err(ObjectError::BadKey { key: key.to_owned() });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_stays_within_its_area() {
        for good in ["artifacts/o_1/wr_2/a_3_Übersicht #1.pdf", "profiles/o_1", "artifacts"] {
            assert_eq!(check(good), Ok(()), "{good}");
        }
        for bad in [
            "",
            "secret",
            "/etc/passwd",
            "artifacts/",
            "artifacts//x",
            "artifacts/../secret",
            "artifacts/./x",
            "artifacts/a\nb",
            "artifactsx/y",
        ] {
            assert!(check(bad).is_err(), "{bad:?}");
        }
    }
}
