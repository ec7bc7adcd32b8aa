//! Errors of actions on a page.

use std::time::Duration;

use crate::domain::session::Failure;
use crate::workflow::host::DevtoolsError;

use super::locator::NotALocator;
use super::outline;

/// The maximum length of a text within a message, in characters.
const LONGEST: usize = 300;

/// Returns a text for a message: the page may have chosen it, and must not add lines to a log or to
/// the context of an agent.
pub(super) fn line(text: &str) -> String {
    outline::cut_line(text, LONGEST - 1)
}

/// An error of an action on a page.
#[derive(Debug, Clone, thiserror::Error)]
pub enum PageError {
    /// The connection to the browser has ended.
    #[error("the connection to the browser has ended")]
    Disconnected,
    /// The browser refused a command.
    #[error("the browser refused {method}: {}", line(.message))]
    Refused {
        method: String,
        /// The message of the browser.
        message: String,
    },
    /// The process of the page has crashed.
    #[error("the page has crashed")]
    Crashed,
    /// The tab was closed and there is no other.
    #[error("the page was closed")]
    Closed,
    /// The page could not be opened.
    #[error("{} could not be opened: {}", line(.url), line(.reason))]
    Navigation {
        /// The URL of the page.
        url: String,
        /// The error of the browser, as in `net::ERR_NAME_NOT_RESOLVED`.
        reason: String,
    },
    /// An expected event did not happen in time.
    #[error("{} within {} s", line(.what), .after.as_secs_f64())]
    Timeout {
        /// The event that did not happen, as in `the page did not load`.
        what: String,
        /// The time waited until the error.
        after: Duration,
    },
    /// The element was not ready in time.
    #[error("`{}`: {} within {} s", line(.selector), line(.reason), .after.as_secs_f64())]
    NotReady {
        /// The locator of the element.
        selector: String,
        /// The last condition that was not met.
        reason: String,
        /// The time waited until the error.
        after: Duration,
    },
    /// The element does not support the action.
    #[error("`{}`: {}", line(.selector), line(.reason))]
    Unfit {
        /// The locator of the element.
        selector: String,
        /// The reason why the action is impossible.
        reason: String,
    },
    /// The selector is invalid; some selectors can be checked only in the page.
    #[error("{}", line(.0))]
    Selector(String),
    /// The element of a reference is gone, or its document was replaced.
    #[error("`ref={}` is not on the page: the page has changed, take a new snapshot", line(.reference))]
    StaleReference {
        /// The reference, as in `e12`.
        reference: String,
    },
    /// There is no tab of the id.
    #[error("there is no tab `{}`: list the tabs again", line(.0))]
    NoSuchTab(String),
    /// The only tab is not closed, as the browser would end.
    #[error("the last tab cannot be closed")]
    LastTab,
    /// The history of the tab has no page in the direction.
    #[error("the tab's history has no {0} page")]
    NoHistory(&'static str),
    /// The script in the page threw an exception.
    #[error("the script failed: {}", line(.0))]
    Script(String),
}

impl PageError {
    /// Returns a stable code for programs.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Disconnected => "browser_disconnected",
            Self::Refused { .. } => "browser_refused",
            Self::Crashed => "page_crashed",
            Self::Closed => "page_closed",
            Self::Navigation { .. } => "navigation_failed",
            Self::Timeout { .. } => "timeout",
            Self::NotReady { .. } => "element_not_ready",
            Self::Unfit { .. } => "element_unfit",
            Self::Selector(_) => "selector_invalid",
            Self::StaleReference { .. } => "stale_reference",
            Self::NoSuchTab(_) => "tab_unknown",
            Self::LastTab => "last_tab",
            Self::NoHistory(_) => "history_empty",
            Self::Script(_) => "script_failed",
        }
    }

    /// Converts the error to the failure of a block.
    pub fn failure(&self) -> Failure {
        Failure::new(self.code(), self.to_string())
    }
}

impl From<DevtoolsError> for PageError {
    fn from(error: DevtoolsError) -> Self {
        match error {
            DevtoolsError::Disconnected => Self::Disconnected,
            DevtoolsError::Refused { method, message, .. } => Self::Refused { method, message },
        }
    }
}

impl From<NotALocator> for PageError {
    fn from(error: NotALocator) -> Self {
        Self::Selector(error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_one_short_line() {
        let text = format!("a\r\nb\u{1b}[31m\u{2028}c{}", "d".repeat(10_000));
        let after = Duration::from_secs(1);
        for error in [
            PageError::Script(text.clone()),
            PageError::Selector(text.clone()),
            PageError::Refused { method: "A.b".to_owned(), message: text.clone() },
            PageError::Navigation { url: "about:blank".to_owned(), reason: text.clone() },
            PageError::Timeout { what: text.clone(), after },
            PageError::Unfit { selector: "b".to_owned(), reason: text.clone() },
            PageError::NotReady { selector: "b".to_owned(), reason: text, after },
        ] {
            let said = error.to_string();
            assert!(said.contains("a b [31m c"), "{said:?}");
            assert!(!said.contains(|letter: char| letter.is_control() || letter == '\u{2028}'));
            assert!(said.chars().count() < 400, "{said:?}");
        }
        assert_eq!(line(&"x".repeat(1_000)).chars().count(), LONGEST);
    }
}
