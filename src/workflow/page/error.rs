//! Why something could not be done with a page.

use std::time::Duration;

use crate::domain::session::Failure;
use crate::workflow::host::DevtoolsError;

use super::locator::NotALocator;

/// Why something could not be done with a page.
#[derive(Debug, Clone, thiserror::Error)]
pub enum PageError {
    /// The connection to the browser has ended.
    #[error("the connection to the browser has ended")]
    Disconnected,
    /// The browser refused a command.
    #[error("the browser refused {method}: {message}")]
    Refused {
        /// The CDP method.
        method: String,
        /// The browser's words.
        message: String,
    },
    /// The page's process has crashed.
    #[error("the page has crashed")]
    Crashed,
    /// The tab was closed and there is no other.
    #[error("the page was closed")]
    Closed,
    /// The page could not be opened.
    #[error("{url} could not be opened: {reason}")]
    Navigation {
        /// Which page.
        url: String,
        /// `net::ERR_NAME_NOT_RESOLVED`.
        reason: String,
    },
    /// Something did not happen in time.
    #[error("{what} within {} s", .after.as_secs_f64())]
    Timeout {
        /// `the page did not load`.
        what: String,
        /// How long was waited.
        after: Duration,
    },
    /// No element was ready in time.
    #[error("`{selector}`: {reason} within {} s", .after.as_secs_f64())]
    NotReady {
        /// What was looked for.
        selector: String,
        /// What was missing in the end.
        reason: String,
        /// How long was waited.
        after: Duration,
    },
    /// The element cannot take this.
    #[error("`{selector}`: {reason}")]
    Unfit {
        /// Which element.
        selector: String,
        /// Why.
        reason: String,
    },
    /// The selector cannot be read, also when only the page knows so.
    #[error("{0}")]
    Selector(String),
    /// JavaScript threw.
    #[error("the script failed: {0}")]
    Script(String),
}

impl PageError {
    /// Stable, for programs.
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

    /// As the failure of a block.
    pub fn failure(&self) -> Failure {
        Failure {
            code: self.code().to_owned(),
            stage: None,
            message: self.to_string(),
            exit: None,
            log_tail: Vec::new(),
            hint: None,
        }
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
