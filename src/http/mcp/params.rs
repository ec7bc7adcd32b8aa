//! Parameters that several tools have.

use std::time::Duration;

use schemars::JsonSchema;
use serde::Deserialize;

use super::call::Call;
use super::handle::Handle;
use crate::http::problem::Problem;
use crate::workflow::page::frame::Target;

/// The time for which an action waits for its element, unless a call says otherwise.
const USUAL_WAIT: Duration = Duration::from_secs(10);

/// The handle of a browser, without further parameters.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct OnlyBrowser {
    /// The handle of the browser.
    pub browser: String,
}

/// Reads the handle of a browser.
pub(super) fn handle(text: &str) -> Result<Handle, Problem> {
    text.parse()
}

/// An element of a page, as agents name it.
#[derive(Debug, Clone)]
pub(super) struct Element {
    selector: String,
    timeout: Duration,
}

impl Element {
    /// Reads a reference of a snapshot, as `e12`, or a locator.
    pub fn new(call: &Call, text: &str, wait_seconds: Option<f64>) -> Self {
        let text = text.trim();
        let is_reference = text.strip_prefix('e').is_some_and(|number| {
            !number.is_empty() && number.bytes().all(|digit| digit.is_ascii_digit())
        });
        let selector = if is_reference { format!("ref={text}") } else { text.to_owned() };
        let wanted = wait_seconds.and_then(|it| Duration::try_from_secs_f64(it).ok());
        Self { selector, timeout: wanted.unwrap_or(USUAL_WAIT).min(call.left()) }
    }

    /// Returns the element as the page driver takes it.
    pub fn target(&self) -> Target<'_> {
        Target { selector: &self.selector, frames: &[], timeout: self.timeout }
    }
}
