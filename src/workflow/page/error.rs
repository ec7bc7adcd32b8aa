//! Errors of actions on a page.

use std::time::Duration;

use crate::domain::session::Failure;
use crate::workflow::host::DevtoolsError;

use super::locator::NotALocator;

/// An error of an action on a page.
#[derive(Debug, Clone, thiserror::Error)]
pub enum PageError {
    /// The connection to the browser has ended.
    #[error("the connection to the browser has ended")]
    Disconnected,
    /// The browser refused a command.
    #[error("the browser refused {method}: {message}")]
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
    #[error("{url} could not be opened: {reason}")]
    Navigation {
        /// The URL of the page.
        url: String,
        /// The error of the browser, as in `net::ERR_NAME_NOT_RESOLVED`.
        reason: String,
    },
    /// An expected event did not happen in time.
    #[error("{what} within {} s", .after.as_secs_f64())]
    Timeout {
        /// The event that did not happen, as in `the page did not load`.
        what: String,
        /// The time waited until the error.
        after: Duration,
    },
    /// The element was not ready in time.
    #[error("`{selector}`: {reason} within {} s", .after.as_secs_f64())]
    NotReady {
        /// The locator of the element.
        selector: String,
        /// The last condition that was not met.
        reason: String,
        /// The time waited until the error.
        after: Duration,
    },
    /// The element does not support the action.
    #[error("`{selector}`: {reason}")]
    Unfit {
        /// The locator of the element.
        selector: String,
        /// The reason why the action is impossible.
        reason: String,
    },
    /// The selector is invalid; some selectors can be checked only in the page.
    #[error("{0}")]
    Selector(String),
    /// The script in the page threw an exception.
    #[error("the script failed: {0}")]
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
