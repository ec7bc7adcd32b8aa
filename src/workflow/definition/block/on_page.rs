//! What the blocks that drive the page read.

use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value};

use super::{one_or_many, seconds};

/// `goto_url`.
#[derive(Debug, Clone, Deserialize)]
pub struct GotoUrl {
    /// An absolute URL, or the key of a parameter that holds one.
    pub url: String,
    /// How far the page must have loaded.
    #[serde(default)]
    pub wait_until: LoadState,
    /// How long that may take.
    #[serde(default, deserialize_with = "seconds")]
    pub timeout_seconds: Option<Duration>,
}

/// How far a page has loaded.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LoadState {
    /// The server has answered.
    Commit,
    /// The document has been parsed.
    DomContentLoaded,
    /// What the document names has been loaded.
    #[default]
    Load,
    /// There was no request for half a second.
    NetworkIdle,
}

/// `wait`.
#[derive(Debug, Clone, Deserialize)]
pub struct Wait {
    /// From 1 to [`Wait::LONGEST`].
    #[serde(deserialize_with = "wait_seconds")]
    pub wait_sec: u64,
}

impl Wait {
    /// In seconds.
    pub const LONGEST: u64 = 1800;
}

fn wait_seconds<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    use serde::de::Error as _;

    let value = Value::deserialize(deserializer)?;
    if value.as_str().is_some_and(|text| text.contains("{{")) {
        return Ok(1); // A template, which is rendered before the block is read again.
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
            /// Which element.
            pub selector: String,
            /// The frames around it, outermost first.
            #[serde(default, deserialize_with = "one_or_many")]
            pub frame: Vec<String>,
            /// How long to wait for it.
            #[serde(default, deserialize_with = "seconds")]
            pub timeout_seconds: Option<Duration>,
            $($(#[$field])* pub $field_name: $field_type,)*
        }
    };
}

/// A button of the mouse.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MouseButton {
    /// The first.
    #[default]
    Left,
    /// The wheel.
    Middle,
    /// The second.
    Right,
}

/// What to do with a dialog that opens.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DialogAnswer {
    /// Its OK button.
    Accept,
    /// Its Cancel button.
    #[default]
    Dismiss,
}

target! {
    /// `click`.
    Click {
        /// Which button.
        #[serde(default)]
        button: MouseButton,
        /// 2 is a double click.
        #[serde(default = "one")]
        click_count: u8,
        /// `Shift`, `Control`, `Alt`, `Meta`.
        #[serde(default)]
        modifiers: Vec<String>,
        /// What to do with a dialog that the click opens.
        #[serde(default)]
        dialog: DialogAnswer,
        /// What to answer when that dialog asks for a text.
        #[serde(default)]
        dialog_text: Option<String>,
        /// Clicks without waiting until the element receives events.
        #[serde(default)]
        force: bool,
    }
}

fn one() -> u8 {
    1
}

target! {
    /// `fill`.
    Fill {
        /// What the field holds afterwards.
        #[serde(deserialize_with = "text")]
        value: String,
        /// Whether to press Enter then.
        #[serde(default)]
        press_enter: bool,
    }
}

/// A text; numbers and booleans are written as texts.
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
    /// `select`.
    Select {
        /// The values or the labels of the options.
        #[serde(alias = "value", alias = "option", deserialize_with = "one_or_many")]
        values: Vec<String>,
    }
}

target! {
    /// `hover`.
    Hover {}
}

/// `press`.
#[derive(Debug, Clone, Deserialize)]
pub struct Press {
    /// `Enter`, `Control+A`; several one after another.
    #[serde(alias = "keys", deserialize_with = "one_or_many")]
    pub key: Vec<String>,
    /// The element that is focused first.
    #[serde(default)]
    pub selector: Option<String>,
    /// The frames around it, outermost first.
    #[serde(default, deserialize_with = "one_or_many")]
    pub frame: Vec<String>,
    /// How long to wait for it.
    #[serde(default, deserialize_with = "seconds")]
    pub timeout_seconds: Option<Duration>,
}

/// `scroll`.
#[derive(Debug, Clone, Deserialize)]
pub struct Scroll {
    /// The element that is scrolled into view, or, with `x`, `y` or `to`, scrolled itself.
    #[serde(default)]
    pub selector: Option<String>,
    /// The frames around it, outermost first.
    #[serde(default, deserialize_with = "one_or_many")]
    pub frame: Vec<String>,
    /// By how many CSS pixels to the right.
    #[serde(default)]
    pub x: f64,
    /// By how many CSS pixels down.
    #[serde(default)]
    pub y: f64,
    /// To which end.
    #[serde(default)]
    pub to: Option<ScrollEnd>,
    /// How long to wait for the element.
    #[serde(default, deserialize_with = "seconds")]
    pub timeout_seconds: Option<Duration>,
}

/// An end of what can be scrolled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ScrollEnd {
    /// The beginning.
    Top,
    /// The end.
    Bottom,
}

target! {
    /// `upload`. The element is a file field, or what opens a file chooser.
    Upload {
        /// What is given to it.
        files: Vec<UploadFile>,
    }
}

/// A file for [`Upload`].
#[derive(Debug, Clone, Deserialize)]
pub struct UploadFile {
    /// Its name, without folders.
    pub name: String,
    /// Its content as text.
    #[serde(default)]
    pub text: Option<String>,
    /// Its content in base64.
    #[serde(default)]
    pub base64: Option<String>,
    /// Where its content is fetched from.
    #[serde(default)]
    pub url: Option<String>,
}

/// A state of an element.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ElementState {
    /// It is in the document.
    Attached,
    /// There is none in the document.
    Detached,
    /// It can be seen.
    #[default]
    Visible,
    /// It cannot be seen, or there is none.
    Hidden,
    /// It takes input.
    Enabled,
    /// It takes none.
    Disabled,
    /// It is ticked.
    Checked,
    /// It is not ticked.
    Unchecked,
}

/// `wait_for`. Everything that is named must hold, one after another.
#[derive(Debug, Clone, Deserialize)]
pub struct WaitFor {
    /// An element.
    #[serde(default)]
    pub selector: Option<String>,
    /// Its state.
    #[serde(default)]
    pub state: ElementState,
    /// The frames around it, outermost first.
    #[serde(default, deserialize_with = "one_or_many")]
    pub frame: Vec<String>,
    /// A text that the page shows.
    #[serde(default)]
    pub text: Option<String>,
    /// A part of the page's URL, or a pattern with `*`.
    #[serde(default)]
    pub url: Option<String>,
    /// How far the page has loaded.
    #[serde(default)]
    pub load_state: Option<LoadState>,
    /// The same as `load_state: networkidle`.
    #[serde(default)]
    pub network_idle: bool,
    /// How long all of it may take.
    #[serde(default, deserialize_with = "seconds")]
    pub timeout_seconds: Option<Duration>,
}

/// `assert`. Everything that is named must hold, at once.
#[derive(Debug, Clone, Deserialize)]
pub struct Assert {
    /// An element.
    #[serde(default)]
    pub selector: Option<String>,
    /// The frames around it, outermost first.
    #[serde(default, deserialize_with = "one_or_many")]
    pub frame: Vec<String>,
    /// Its state.
    #[serde(default)]
    pub state: Option<ElementState>,
    /// What its text contains; without an element, what the page's text contains.
    #[serde(default)]
    pub text: Option<String>,
    /// What the field holds.
    #[serde(default)]
    pub value: Option<String>,
    /// How many elements there are.
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
    /// What the failure says.
    #[serde(default)]
    pub message: Option<String>,
    /// How long it may take until it holds.
    #[serde(default, deserialize_with = "seconds")]
    pub timeout_seconds: Option<Duration>,
}

/// `script`. Its text is not a template: values come in by `args`.
#[derive(Debug, Clone, Deserialize)]
pub struct Script {
    /// The body of an async function of `args`; or an expression.
    pub script: String,
    /// What the function is given.
    #[serde(default)]
    pub args: Value,
    /// The frames around it, outermost first.
    #[serde(default, deserialize_with = "one_or_many")]
    pub frame: Vec<String>,
    /// How long it may take.
    #[serde(default, deserialize_with = "seconds")]
    pub timeout_seconds: Option<Duration>,
}

/// `screenshot`.
#[derive(Debug, Clone, Deserialize)]
pub struct Screenshot {
    /// The whole page and not what is in view.
    #[serde(default)]
    pub full_page: bool,
    /// The file's name.
    #[serde(default, alias = "filename")]
    pub name: Option<String>,
}

/// `cookies`.
#[derive(Debug, Clone, Deserialize)]
pub struct Cookies {
    /// What to do.
    #[serde(default)]
    pub action: CookieAction,
    /// For `set`, as CDP's `Network.CookieParam` or Playwright's `addCookies` has them.
    #[serde(default)]
    pub cookies: Vec<Map<String, Value>>,
    /// For `get` and `clear`: of this URL only. Without it, of the page.
    #[serde(default)]
    pub url: Option<String>,
    /// For `get` and `clear`: of this name only.
    #[serde(default)]
    pub name: Option<String>,
    /// For `get` and `clear`: of every site.
    #[serde(default)]
    pub all: bool,
}

/// What [`Cookies`] does.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CookieAction {
    /// Reads them.
    #[default]
    Get,
    /// Writes them.
    Set,
    /// Removes them.
    Clear,
}
