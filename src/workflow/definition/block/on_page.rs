//! The fields of the blocks that drive the page.

use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value};

use super::{one_or_many, seconds};

/// The fields of a `goto_url` block.
#[derive(Debug, Clone, Deserialize)]
pub struct GotoUrl {
    /// An absolute URL, or the key of a parameter that holds one.
    pub url: String,
    /// The load state to wait for.
    #[serde(default)]
    pub wait_until: LoadState,
    /// The time limit of the navigation.
    #[serde(default, deserialize_with = "seconds")]
    pub timeout_seconds: Option<Duration>,
}

/// The load state of a page.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LoadState {
    /// The server has sent a response.
    Commit,
    /// The document has been parsed.
    DomContentLoaded,
    /// The document's resources have been loaded.
    #[default]
    Load,
    /// No request was in progress for half a second.
    NetworkIdle,
}

/// The fields of a `wait` block.
#[derive(Debug, Clone, Deserialize)]
pub struct Wait {
    /// The time to wait in seconds, 1 to [`Wait::LONGEST`].
    #[serde(deserialize_with = "wait_seconds")]
    pub wait_sec: u64,
}

impl Wait {
    /// The longest wait, in seconds.
    pub const LONGEST: u64 = 1800;
}

fn wait_seconds<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    use serde::de::Error as _;

    let value = Value::deserialize(deserializer)?;
    if value.as_str().is_some_and(|text| text.contains("{{")) {
        return Ok(1); // A template: it is rendered before the block is parsed again.
    }
    let number =
        value.as_u64().or_else(|| value.as_str().and_then(|text| text.trim().parse().ok()));
    number
        .filter(|number| (1..=Wait::LONGEST).contains(number))
        .ok_or_else(|| D::Error::custom("expected a whole number of seconds from 1 to 1800"))
}

macro_rules! target {
    ($(#[$doc:meta])* $name:ident { $($(#[$field:meta])* $field_name:ident: $field_type:ty,)* }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Deserialize)]
        pub struct $name {
            /// The locator of the element.
            pub selector: String,
            /// The locators of the frames around the element, outermost first.
            #[serde(default, deserialize_with = "one_or_many")]
            pub frame: Vec<String>,
            /// The time to wait for the element.
            #[serde(default, deserialize_with = "seconds")]
            pub timeout_seconds: Option<Duration>,
            $($(#[$field])* pub $field_name: $field_type,)*
        }
    };
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MouseButton {
    /// The primary button, usually the left.
    #[default]
    Left,
    /// The wheel, used as a button.
    Middle,
    /// The secondary button, usually the right.
    Right,
}

/// The answer to a dialog that opens.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DialogAnswer {
    /// Presses the OK button.
    Accept,
    /// Presses the Cancel button.
    #[default]
    Dismiss,
}

target! {
    /// The fields of a `click` block.
    Click {
        /// The mouse button that is pressed.
        #[serde(default)]
        button: MouseButton,
        /// The number of clicks; 2 is a double click.
        #[serde(default = "one")]
        click_count: u8,
        /// The modifier keys held: `Shift`, `Control`, `Alt`, `Meta`.
        #[serde(default)]
        modifiers: Vec<String>,
        /// The answer to a dialog that the click opens.
        #[serde(default)]
        dialog: DialogAnswer,
        /// The text entered if that dialog asks for one.
        #[serde(default)]
        dialog_text: Option<String>,
        /// True to click without waiting until the element receives events.
        #[serde(default)]
        force: bool,
    }
}

fn one() -> u8 {
    1
}

target! {
    /// The fields of a `fill` block.
    Fill {
        /// The content of the field afterwards.
        #[serde(deserialize_with = "text")]
        value: String,
        /// True to press Enter afterwards.
        #[serde(default)]
        press_enter: bool,
    }
}

/// Reads a text; numbers and booleans are converted to texts.
fn text<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    use serde::de::Error as _;

    let value = Value::deserialize(deserializer)?;
    if let Some(text) = value.as_str() {
        return Ok(text.to_owned());
    }
    if value.is_number() || value.is_boolean() {
        return Ok(value.to_string());
    }
    Err(D::Error::custom("expected a text"))
}

target! {
    /// The fields of a `select` block.
    Select {
        /// The values or the labels of the options.
        #[serde(alias = "value", alias = "option", deserialize_with = "one_or_many")]
        values: Vec<String>,
    }
}

target! {
    /// The fields of a `hover` block.
    Hover {}
}

/// The fields of a `press` block.
#[derive(Debug, Clone, Deserialize)]
pub struct Press {
    /// The keys, pressed one after another, as in `Enter` or `Control+A`.
    #[serde(alias = "keys", deserialize_with = "one_or_many")]
    pub key: Vec<String>,
    /// The element that is focused first.
    #[serde(default)]
    pub selector: Option<String>,
    /// The locators of the frames around the element, outermost first.
    #[serde(default, deserialize_with = "one_or_many")]
    pub frame: Vec<String>,
    /// The time to wait for the element.
    #[serde(default, deserialize_with = "seconds")]
    pub timeout_seconds: Option<Duration>,
}

/// The fields of a `scroll` block.
#[derive(Debug, Clone, Deserialize)]
pub struct Scroll {
    /// The element that is scrolled into view, or, with `x`, `y` or `to`, scrolled itself.
    #[serde(default)]
    pub selector: Option<String>,
    /// The locators of the frames around the element, outermost first.
    #[serde(default, deserialize_with = "one_or_many")]
    pub frame: Vec<String>,
    /// The distance to the right, in CSS pixels.
    #[serde(default)]
    pub x: f64,
    /// The distance down, in CSS pixels.
    #[serde(default)]
    pub y: f64,
    /// The end to scroll to.
    #[serde(default)]
    pub to: Option<ScrollEnd>,
    /// The time to wait for the element.
    #[serde(default, deserialize_with = "seconds")]
    pub timeout_seconds: Option<Duration>,
}

/// An end of a scrollable element.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ScrollEnd {
    Top,
    Bottom,
}

target! {
    /// The fields of an `upload` block. The element is a file field, or opens a file chooser.
    Upload {
        /// The files passed to the element.
        files: Vec<UploadFile>,
    }
}

/// A file for [`Upload`].
#[derive(Debug, Clone, Deserialize)]
pub struct UploadFile {
    /// The name of the file, without folders.
    pub name: String,
    /// The content as text.
    #[serde(default)]
    pub text: Option<String>,
    /// The content in base64.
    #[serde(default)]
    pub base64: Option<String>,
    /// The URL from which the content is fetched.
    #[serde(default)]
    pub url: Option<String>,
}

/// A state of an element.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ElementState {
    /// The element is in the document.
    Attached,
    /// No such element is in the document.
    Detached,
    /// The element is visible.
    #[default]
    Visible,
    /// The element is not visible or not in the document.
    Hidden,
    /// The element accepts input.
    Enabled,
    /// The element accepts no input.
    Disabled,
    /// The checkbox is ticked.
    Checked,
    /// The checkbox is not ticked.
    Unchecked,
}

/// The fields of a `wait_for` block. All given conditions must hold, one after another.
#[derive(Debug, Clone, Deserialize)]
pub struct WaitFor {
    /// The locator of an element.
    #[serde(default)]
    pub selector: Option<String>,
    /// The state that the element must reach.
    #[serde(default)]
    pub state: ElementState,
    /// The locators of the frames around the element, outermost first.
    #[serde(default, deserialize_with = "one_or_many")]
    pub frame: Vec<String>,
    /// A text that the page must show.
    #[serde(default)]
    pub text: Option<String>,
    /// A part of the page's URL, or a pattern with `*`.
    #[serde(default)]
    pub url: Option<String>,
    /// The load state that the page must reach.
    #[serde(default)]
    pub load_state: Option<LoadState>,
    /// True for the same as `load_state: networkidle`.
    #[serde(default)]
    pub network_idle: bool,
    /// The time limit for all conditions together.
    #[serde(default, deserialize_with = "seconds")]
    pub timeout_seconds: Option<Duration>,
}

/// The fields of an `assert` block. All given conditions must hold at the same time.
#[derive(Debug, Clone, Deserialize)]
pub struct Assert {
    /// The locator of an element.
    #[serde(default)]
    pub selector: Option<String>,
    /// The locators of the frames around the element, outermost first.
    #[serde(default, deserialize_with = "one_or_many")]
    pub frame: Vec<String>,
    /// The state in which the element must be.
    #[serde(default)]
    pub state: Option<ElementState>,
    /// A part of the element's text; without an element, a part of the page's text.
    #[serde(default)]
    pub text: Option<String>,
    /// The content that the field must have.
    #[serde(default)]
    pub value: Option<String>,
    /// The number of elements that must match.
    #[serde(default)]
    pub count: Option<u64>,
    /// A part of the page's URL, or a pattern with `*`.
    #[serde(default)]
    pub url: Option<String>,
    /// A part of the page's title.
    #[serde(default)]
    pub title: Option<String>,
    /// A template that must be true.
    #[serde(default)]
    pub condition: Option<Value>,
    /// The message of the failure.
    #[serde(default)]
    pub message: Option<String>,
    /// The time in which the conditions must come to hold.
    #[serde(default, deserialize_with = "seconds")]
    pub timeout_seconds: Option<Duration>,
}

/// The fields of a `script` block. The script is not a template: values are passed by `args`.
#[derive(Debug, Clone, Deserialize)]
pub struct Script {
    /// The body of an async function of `args`, or an expression.
    pub script: String,
    /// The argument of the function.
    #[serde(default)]
    pub args: Value,
    /// The locators of the frames in which the script runs, outermost first.
    #[serde(default, deserialize_with = "one_or_many")]
    pub frame: Vec<String>,
    /// The time limit of the script.
    #[serde(default, deserialize_with = "seconds")]
    pub timeout_seconds: Option<Duration>,
}

/// The fields of a `screenshot` block.
#[derive(Debug, Clone, Deserialize)]
pub struct Screenshot {
    /// True for the whole page, false for the viewport.
    #[serde(default)]
    pub full_page: bool,
    /// The name of the stored file.
    #[serde(default, alias = "filename")]
    pub name: Option<String>,
}

/// The fields of a `cookies` block.
#[derive(Debug, Clone, Deserialize)]
pub struct Cookies {
    /// The operation on the cookies.
    #[serde(default)]
    pub action: CookieAction,
    /// The cookies to `set`, in the form of CDP's `Network.CookieParam` or Playwright's `addCookies`.
    #[serde(default)]
    pub cookies: Vec<Map<String, Value>>,
    /// The URL whose cookies `get` and `clear` select; by default that of the page.
    #[serde(default)]
    pub url: Option<String>,
    /// The name of the cookies that `get` and `clear` select.
    #[serde(default)]
    pub name: Option<String>,
    /// True if `get` and `clear` select the cookies of every site.
    #[serde(default)]
    pub all: bool,
}

/// The operation of a [`Cookies`] block.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CookieAction {
    /// Reads the selected cookies.
    #[default]
    Get,
    /// Writes the given cookies.
    Set,
    /// Removes the selected cookies.
    Clear,
}
