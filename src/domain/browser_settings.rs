//! The settings of a session's browser, as a page sees them.

use serde::{Deserialize, Serialize};

/// The settings of a browser. A missing setting is that of the machine.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct BrowserSettings {
    /// The language, as a BCP 47 tag such as `de-DE`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub locale: Option<String>,
}

impl Eq for BrowserSettings {}
