//! What the blocks read that send requests, decide, hand over or speak to people.

use std::time::Duration;

use indexmap::IndexMap;
use serde::Deserialize;
use serde_json::{Map, Value};

use super::{one_or_many, seconds};

fn yes() -> bool {
    true
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
    pub headers: Option<IndexMap<String, String>>,
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

/// True of a header that says how a request is sent, and that the server sets by itself. A wrong one
/// makes a request that never ends, or that two servers read differently.
pub fn is_framing(name: &str) -> bool {
    [
        "host",
        "content-length",
        "transfer-encoding",
        "connection",
        "keep-alive",
        "proxy-connection",
        "proxy-authorization",
        "te",
        "trailer",
        "upgrade",
        "expect",
        "http2-settings",
    ]
    .iter()
    .any(|framing| framing.eq_ignore_ascii_case(name.trim()))
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
    /// The body of an async Python function of `page`. A template, but for its comments.
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
