//! The WebSockets of a browser: its own, and one for each page.

use std::fmt;
use std::str::FromStr;

use serde::Deserialize;

/// The maximum length of the id of a target. Chromium's have 32 characters.
const LONGEST: usize = 64;

/// The id of a page in the browser.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct TargetId(String);

/// A text that cannot be the id of a page.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("expected the id of a page from …/cdp/json/list")]
pub struct NotATargetId;

impl TargetId {
    /// Returns the text of the id.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for TargetId {
    type Err = NotATargetId;

    fn from_str(text: &str) -> Result<Self, NotATargetId> {
        let fits = (1..=LONGEST).contains(&text.len())
            && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
        if fits { Ok(Self(text.to_owned())) } else { Err(NotATargetId) }
    }
}

impl TryFrom<String> for TargetId {
    type Error = NotATargetId;

    fn try_from(text: String) -> Result<Self, NotATargetId> {
        text.parse()
    }
}

impl fmt::Display for TargetId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The WebSocket of a browser that a driver connects to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Endpoint {
    /// That of the browser, from which every page can be attached to.
    Browser,
    /// That of one page. Its commands have no `sessionId`.
    Page(TargetId),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_of_a_page_has_nothing_that_could_leave_its_path() {
        for text in ["", "..", "a/b", "a%2fb", "a b", "a\r\nb", "ä", &"A".repeat(65)] {
            assert_eq!(text.parse::<TargetId>(), Err(NotATargetId), "{text}");
        }
        let id = "0123456789ABCDEF0123456789ABCDEF";
        assert_eq!(id.parse::<TargetId>().unwrap().as_str(), id);
    }
}
