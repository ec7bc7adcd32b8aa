//! The blocks of a definition, each type with what it reads.
//!
//! Texts may be templates, so a block is read twice: when the definition is stored, to refuse what
//! cannot work, and when it is executed, with every template rendered. Fields that a type does not
//! know stay in the stored document and are not looked at.

pub(super) mod rules;

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value};

use super::extract::Extract;

/// A block of a definition.
#[derive(Debug, Clone)]
pub struct Block {
    /// Unique in the whole definition.
    pub label: String,
    /// `goto_url`.
    pub block_type: String,
    /// The block that follows, where the definition says so.
    pub next: Option<String>,
    /// A failure of this block does not end the run.
    pub continue_on_failure: bool,
    /// In a loop: a failure of this block goes on with the next iteration.
    pub next_loop_on_failure: bool,
    /// The parameters that it says it uses.
    pub parameter_keys: Vec<String>,
    /// What it does.
    pub kind: Kind,
    /// The blocks in it, of a loop.
    pub body: Vec<Block>,
    /// The block as it was given, without the blocks in it.
    pub raw: Map<String, Value>,
}

impl Block {
    /// This block and every block in it, outermost first.
    pub fn tree(&self) -> Vec<&Self> {
        let mut all = vec![self];
        all.extend(self.body.iter().flat_map(Self::tree));
        all
    }

    /// The key of its output, `{label}_output`.
    pub fn output_key(&self) -> String {
        output_key(&self.label)
    }
}

/// `{label}_output`.
pub fn output_key(label: &str) -> String {
    format!("{label}_output")
}

/// A field that does not fit: where in the block, a stable code, and what was expected.
#[derive(Debug, Clone, PartialEq)]
pub struct Misfit {
    /// From the block on.
    pub path: Vec<super::PathPart>,
    /// As in [`FieldError`](super::FieldError).
    pub code: &'static str,
    /// One sentence.
    pub message: String,
}

impl Misfit {
    /// About one field of the block.
    pub fn field(field: &str, code: &'static str, message: impl Into<String>) -> Self {
        Self { path: vec![field.into()], code, message: message.into() }
    }
}

macro_rules! kinds {
    ($($(#[$doc:meta])* $variant:ident($own:ty) = $name:literal,)+) => {
        /// What a block does.
        #[derive(Debug, Clone)]
        pub enum Kind {
            $($(#[$doc])* $variant($own),)+
            /// It needs a model; an agent endpoint executes it.
            Agent,
            /// It needs a service that this server does not speak with.
            Elsewhere,
        }

        impl Kind {
            /// The types of blocks that this server executes itself.
            pub const NAMES: &[&str] = &[$($name,)+];

            /// Reads a block of `block_type`; none when there is no such type.
            pub fn read(block_type: &str, block: &Map<String, Value>) -> Result<Option<Self>, Misfit> {
                Ok(Some(match block_type {
                    $($name => Self::$variant(read(block)?),)+
                    _ => {
                        let Some(required) = elsewhere(block_type) else { return Ok(None) };
                        require(block, required)?;
                        if NEEDS_A_MODEL.contains(&block_type) { Self::Agent } else { Self::Elsewhere }
                    }
                }))
            }
        }
    };
}

kinds! {
    /// Opens a page.
    GotoUrl(GotoUrl) = "goto_url",
    /// Lets time pass.
    Wait(Wait) = "wait",
    /// Clicks an element.
    Click(Click) = "click",
    /// Writes into a field.
    Fill(Fill) = "fill",
    /// Chooses options.
    Select(Select) = "select",
    /// Presses keys.
    Press(Press) = "press",
    /// Moves the pointer over an element.
    Hover(Hover) = "hover",
    /// Scrolls the page or an element.
    Scroll(Scroll) = "scroll",
    /// Gives files to a file field.
    Upload(Upload) = "upload",
    /// Waits for something on the page.
    WaitFor(WaitFor) = "wait_for",
    /// Reads values by selectors.
    Extract(Extract) = "extract",
    /// Fails unless something holds.
    Assert(Assert) = "assert",
    /// Evaluates JavaScript in the page.
    Script(Script) = "script",
    /// Takes a picture of the page.
    Screenshot(Screenshot) = "screenshot",
    /// Reads or changes cookies.
    Cookies(Cookies) = "cookies",
    /// Sends a request.
    HttpRequest(HttpRequest) = "http_request",
    /// Repeats its body for every value.
    ForLoop(ForLoop) = "for_loop",
    /// Repeats its body while a condition holds.
    WhileLoop(WhileLoop) = "while_loop",
    /// Chooses which block follows.
    Conditional(Conditional) = "conditional",
    /// Prints the page to PDF.
    PrintPage(PrintPage) = "print_page",
    /// Downloads a file.
    FileDownload(FileDownload) = "file_download",
    /// Reads a file.
    FileUrlParser(FileUrlParser) = "file_url_parser",
    /// Runs Python against the page.
    Code(Code) = "code",
    /// Runs another workflow.
    WorkflowTrigger(WorkflowTrigger) = "workflow_trigger",
    /// Waits for a person.
    HumanInteraction(HumanInteraction) = "human_interaction",
    /// Sends an email.
    SendEmail(SendEmail) = "send_email",
}

const NEEDS_A_MODEL: &[&str] = &[
    "task",
    "navigation",
    "action",
    "extraction",
    "login",
    "validation",
    "text_prompt",
    "task_v2",
    "pdf_fill",
    "split_pdf",
];

/// The required fields of the types that are accepted but not executed here.
fn elsewhere(block_type: &str) -> Option<&'static [&'static str]> {
    Some(match block_type {
        "task" | "action" | "login" | "validation" | "upload_to_s3" | "file_upload" => &[],
        "navigation" => &["navigation_goal"],
        "extraction" => &["data_extraction_goal"],
        "text_prompt" | "task_v2" => &["prompt"],
        "pdf_fill" | "split_pdf" => &["file_url", "prompt"],
        "download_to_s3" => &["url"],
        "pdf_parser" => &["file_url"],
        "email_inbox" => &["email_client"],
        "google_sheets_read" | "google_sheets_write" => &["spreadsheet_url"],
        _ => return None,
    })
}

fn require(block: &Map<String, Value>, fields: &[&str]) -> Result<(), Misfit> {
    for field in fields {
        match block.get(*field) {
            None => return Err(Misfit::field(field, "missing", "the field is required")),
            Some(value) if !value.is_string() => {
                return Err(Misfit::field(field, "type_invalid", "expected a text"));
            }
            Some(_text) => (),
        }
    }
    Ok(())
}

fn read<'de, T: Deserialize<'de>>(block: &'de Map<String, Value>) -> Result<T, Misfit> {
    serde_path_to_error::deserialize(block).map_err(|error| {
        let mut path: Vec<super::PathPart> = error
            .path()
            .iter()
            .filter_map(|segment| match segment {
                serde_path_to_error::Segment::Seq { index } => Some((*index).into()),
                serde_path_to_error::Segment::Map { key } => Some(key.as_str().into()),
                serde_path_to_error::Segment::Enum { .. }
                | serde_path_to_error::Segment::Unknown => None,
            })
            .collect();
        let message = error.inner().to_string();
        let named = message.strip_prefix("missing field `").and_then(|rest| rest.strip_suffix('`'));
        if let Some(field) = named {
            path.push(field.into());
            return Misfit { path, code: "missing", message: "the field is required".to_owned() };
        }
        Misfit { path, code: "type_invalid", message }
    })
}

/// A selector, or a chain of them through frames.
pub(super) fn one_or_many<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Vec<String>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged, expecting = "expected a text or a list of texts")]
    enum OneOrMany {
        None(()),
        One(String),
        Many(Vec<String>),
    }
    Ok(match OneOrMany::deserialize(deserializer)? {
        OneOrMany::None(()) => Vec::new(),
        OneOrMany::One(one) => vec![one],
        OneOrMany::Many(many) => many,
    })
}

/// A positive number of seconds, at most an hour; also as a text, which a template gives.
pub(super) fn seconds<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Duration>, D::Error> {
    use serde::de::Error as _;

    let value = Option::<Value>::deserialize(deserializer)?;
    let Some(value) = value.filter(|value| !value.is_null()) else { return Ok(None) };
    if value.as_str().is_some_and(|text| text.contains("{{")) {
        return Ok(None);
    }
    let number =
        value.as_f64().or_else(|| value.as_str().and_then(|text| text.trim().parse().ok()));
    number
        .filter(|number| (0.0..=3600.0).contains(number) && *number > 0.0)
        .map(|number| Some(Duration::from_secs_f64(number)))
        .ok_or_else(|| {
            D::Error::custom("expected a number of seconds, more than 0 and at most 3600")
        })
}

fn yes() -> bool {
    true
}

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

/// `http_request`.
#[derive(Debug, Clone, Deserialize)]
pub struct HttpRequest {
    /// `GET`.
    #[serde(default = "get")]
    pub method: String,
    /// An absolute URL.
    #[serde(default)]
    pub url: Option<String>,
    /// Names and values.
    #[serde(default)]
    pub headers: Option<BTreeMap<String, String>>,
    /// Sent as JSON, or as a form if the headers say so; a text is sent as it is.
    #[serde(default)]
    pub body: Option<Value>,
    /// Not supported by this server.
    #[serde(default)]
    pub files: Option<Map<String, Value>>,
    /// How long the whole of it may take.
    #[serde(default, deserialize_with = "seconds")]
    pub timeout: Option<Duration>,
    /// At most ten hops, each of them checked.
    #[serde(default = "yes")]
    pub follow_redirects: bool,
    /// The name of the file for the answer.
    #[serde(default)]
    pub download_filename: Option<String>,
    /// Whether the answer becomes a file.
    #[serde(default)]
    pub save_response_as_file: bool,
    /// Not together with a file.
    #[serde(default)]
    pub secret_response_paths: Option<Value>,
}

fn get() -> String {
    "GET".to_owned()
}

/// `for_loop`.
#[derive(Debug, Clone, Deserialize)]
pub struct ForLoop {
    /// The key of a parameter that holds the values.
    #[serde(default)]
    pub loop_over_parameter_key: Option<String>,
    /// A template or a path that gives the values.
    #[serde(default)]
    pub loop_variable_reference: Option<String>,
    /// No values are no fault.
    #[serde(default)]
    pub complete_if_empty: bool,
}

/// `while_loop`.
#[derive(Debug, Clone, Deserialize)]
pub struct WhileLoop {
    /// Evaluated before each iteration.
    pub condition: Criteria,
}

/// A condition of a loop or a branch.
#[derive(Debug, Clone, Deserialize)]
pub struct Criteria {
    /// `jinja2_template` or `prompt`.
    #[serde(default)]
    pub criteria_type: Option<String>,
    /// The template.
    pub expression: String,
}

/// `conditional`.
#[derive(Debug, Clone, Deserialize)]
pub struct Conditional {
    /// The first that is true wins; the default is last.
    pub branch_conditions: Vec<Branch>,
}

/// A branch of a [`Conditional`].
#[derive(Debug, Clone, Deserialize)]
pub struct Branch {
    /// Its name; made from the block's label and its place where it has none.
    #[serde(default)]
    pub id: Option<String>,
    /// When it is taken.
    #[serde(default)]
    pub criteria: Option<Criteria>,
    /// The block that follows then; none ends this level.
    #[serde(default)]
    pub next_block_label: Option<String>,
    /// For people.
    #[serde(default)]
    pub description: Option<String>,
    /// It is taken when no other is.
    #[serde(default)]
    pub is_default: bool,
}

/// `print_page`.
#[derive(Debug, Clone, Deserialize)]
pub struct PrintPage {
    /// Whether the head line has the time.
    #[serde(default = "yes")]
    pub include_timestamp: bool,
    /// The file's name.
    #[serde(default)]
    pub custom_filename: Option<String>,
    /// The paper.
    #[serde(default)]
    pub format: Paper,
    /// Whether the paper lies on its long side.
    #[serde(default)]
    pub landscape: bool,
    /// Whether backgrounds are printed.
    #[serde(default = "yes")]
    pub print_background: bool,
}

/// A size of paper.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
pub enum Paper {
    /// 210 x 297 mm.
    #[default]
    A4,
    /// 8.5 x 11 in.
    Letter,
    /// 8.5 x 14 in.
    Legal,
    /// 11 x 17 in.
    Tabloid,
}

/// `file_download`. With `selector` or `url` no model is needed.
#[derive(Debug, Clone, Deserialize)]
pub struct FileDownload {
    /// What an agent should do; required by the compatible API, unless `selector` or `url` is given.
    #[serde(default)]
    pub navigation_goal: Option<String>,
    /// What to click.
    #[serde(default)]
    pub selector: Option<String>,
    /// The frames around it, outermost first.
    #[serde(default, deserialize_with = "one_or_many")]
    pub frame: Vec<String>,
    /// The page to open first; without a `selector` and a goal, the file itself.
    #[serde(default)]
    pub url: Option<String>,
    /// Appended to the file's name.
    #[serde(default)]
    pub download_suffix: Option<String>,
    /// How long it may take.
    #[serde(default, deserialize_with = "seconds")]
    pub download_timeout: Option<Duration>,
}

/// `file_url_parser`.
#[derive(Debug, Clone, Deserialize)]
pub struct FileUrlParser {
    /// Where the file is, or the key of a parameter that says so.
    pub file_url: String,
    /// What it is.
    #[serde(default)]
    pub file_type: FileType,
    /// A schema would need a model.
    #[serde(default)]
    pub json_schema: Option<Value>,
}

/// A type of file.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FileType {
    /// By its name and its media type.
    #[default]
    AutoDetect,
    /// Comma-separated values, with a head line.
    Csv,
    /// JSON.
    Json,
    /// Plain text.
    Txt,
    /// Not read by this server.
    Excel,
    /// Not read by this server.
    Pdf,
    /// Not read by this server.
    Image,
    /// Not read by this server.
    Docx,
    /// Not read by this server.
    Zip,
}

/// `code`.
#[derive(Debug, Clone, Deserialize)]
pub struct Code {
    /// The body of an async Python function of `page`. Not a template.
    pub code: String,
}

/// `workflow_trigger`.
#[derive(Debug, Clone, Deserialize)]
pub struct WorkflowTrigger {
    /// Which workflow, `wpid_…`.
    pub workflow_permanent_id: String,
    /// The values of its parameters.
    #[serde(default)]
    pub payload: Option<Map<String, Value>>,
    /// Whether the block ends with that run.
    #[serde(default = "yes")]
    pub wait_for_completion: bool,
    /// The session that it drives.
    #[serde(default)]
    pub browser_session_id: Option<String>,
    /// It drives the session of this run, which waits meanwhile.
    #[serde(default)]
    pub use_parent_browser_session: bool,
}

/// `human_interaction`.
#[derive(Debug, Clone, Deserialize)]
pub struct HumanInteraction {
    /// What the person should do.
    #[serde(default)]
    pub instructions: String,
    /// The button to go on.
    #[serde(default = "approve")]
    pub positive_descriptor: String,
    /// The button to stop.
    #[serde(default = "reject")]
    pub negative_descriptor: String,
    /// How long to wait.
    #[serde(default = "two_hours")]
    pub timeout_seconds: u64,
    /// Who is told by email.
    #[serde(default, deserialize_with = "one_or_many")]
    pub recipients: Vec<String>,
    /// Of that email.
    #[serde(default)]
    pub sender: Option<String>,
    /// Of that email.
    #[serde(default)]
    pub subject: String,
    /// Of that email.
    #[serde(default)]
    pub body: String,
}

fn approve() -> String {
    "Approve".to_owned()
}

fn reject() -> String {
    "Reject".to_owned()
}

fn two_hours() -> u64 {
    7200
}

/// `send_email`.
#[derive(Debug, Clone, Deserialize)]
pub struct SendEmail {
    /// Of this mail server, instead of the configured one.
    #[serde(default)]
    pub custom_smtp_host: Option<String>,
    /// Of that mail server.
    #[serde(default)]
    pub custom_smtp_port: Option<u16>,
    /// Of that mail server.
    #[serde(default)]
    pub custom_smtp_username: Option<String>,
    /// Of that mail server.
    #[serde(default)]
    pub custom_smtp_password: Option<String>,
    /// Who sends it.
    pub sender: String,
    /// Who gets it.
    #[serde(deserialize_with = "one_or_many")]
    pub recipients: Vec<String>,
    /// Its subject.
    pub subject: String,
    /// Its text.
    pub body: String,
    /// URLs of files.
    #[serde(default)]
    pub file_attachments: Option<Vec<String>>,
}
