//! The fields of the blocks that send requests, branch, delegate, or contact people.

use std::time::Duration;

use indexmap::IndexMap;
use serde::Deserialize;
use serde_json::{Map, Value};

use super::{one_or_many, seconds};

fn yes() -> bool {
    true
}

/// The fields of an `http_request` block.
#[derive(Debug, Clone, Deserialize)]
pub struct HttpRequest {
    /// The HTTP method; `GET` by default.
    #[serde(default = "get")]
    pub method: String,
    /// The absolute URL of the target.
    #[serde(default)]
    pub url: Option<String>,
    /// The headers by name.
    #[serde(default)]
    pub headers: Option<IndexMap<String, String>>,
    /// The body, sent as JSON, or as a form if the headers say so. A text is sent unchanged.
    #[serde(default)]
    pub body: Option<Value>,
    /// Not supported by this server.
    #[serde(default)]
    pub files: Option<Map<String, Value>>,
    /// The time limit for the whole request.
    #[serde(default, deserialize_with = "seconds")]
    pub timeout: Option<Duration>,
    /// True to follow up to ten redirects; the target of each is checked.
    #[serde(default = "yes")]
    pub follow_redirects: bool,
    /// The name of the file in which the response is saved.
    #[serde(default)]
    pub download_filename: Option<String>,
    /// True if the response is saved as a file.
    #[serde(default)]
    pub save_response_as_file: bool,
    /// The paths of secrets in the response. Not allowed together with a saved file.
    #[serde(default)]
    pub secret_response_paths: Option<Value>,
}

/// True if the header controls the framing of a request; the server sets such headers itself. A wrong
/// one makes a request that never ends, or that two servers interpret differently.
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

/// The fields of a `for_loop` block.
#[derive(Debug, Clone, Deserialize)]
pub struct ForLoop {
    /// The key of a parameter that holds the values.
    #[serde(default)]
    pub loop_over_parameter_key: Option<String>,
    /// A template or a path that gives the values.
    #[serde(default)]
    pub loop_variable_reference: Option<String>,
    /// True if an empty list of values is not a failure.
    #[serde(default)]
    pub complete_if_empty: bool,
}

/// The fields of a `while_loop` block.
#[derive(Debug, Clone, Deserialize)]
pub struct WhileLoop {
    /// The condition, evaluated before each iteration.
    pub condition: Criteria,
}

/// A condition of a loop or a branch.
#[derive(Debug, Clone, Deserialize)]
pub struct Criteria {
    /// The type: `jinja2_template` or `prompt`.
    #[serde(default)]
    pub criteria_type: Option<String>,
    /// The template to evaluate.
    pub expression: String,
}

/// The fields of a `conditional` block.
#[derive(Debug, Clone, Deserialize)]
pub struct Conditional {
    /// The branches. The first whose condition is true is taken; the default is last.
    pub branch_conditions: Vec<Branch>,
}

/// A branch of a [`Conditional`].
#[derive(Debug, Clone, Deserialize)]
pub struct Branch {
    /// The id; derived from the block's label and the branch's index if it is not given.
    #[serde(default)]
    pub id: Option<String>,
    /// The condition under which the branch is taken.
    #[serde(default)]
    pub criteria: Option<Criteria>,
    /// The label of the block that follows; none ends this level.
    #[serde(default)]
    pub next_block_label: Option<String>,
    /// A description for people.
    #[serde(default)]
    pub description: Option<String>,
    /// True if the branch is taken when no other is.
    #[serde(default)]
    pub is_default: bool,
}

/// The fields of a `print_page` block.
#[derive(Debug, Clone, Deserialize)]
pub struct PrintPage {
    /// True if the header line shows the time.
    #[serde(default = "yes")]
    pub include_timestamp: bool,
    /// The name of the stored file.
    #[serde(default)]
    pub custom_filename: Option<String>,
    /// The size of the paper.
    #[serde(default)]
    pub format: Paper,
    /// True for landscape orientation.
    #[serde(default)]
    pub landscape: bool,
    /// True if backgrounds are printed.
    #[serde(default = "yes")]
    pub print_background: bool,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
pub enum Paper {
    /// Paper of 210 x 297 mm.
    #[default]
    A4,
    /// Paper of 8.5 x 11 in.
    Letter,
    /// Paper of 8.5 x 14 in.
    Legal,
    /// Paper of 11 x 17 in.
    Tabloid,
}

/// The fields of a `file_download` block. With `selector` or `url` no model is needed.
#[derive(Debug, Clone, Deserialize)]
pub struct FileDownload {
    /// The goal for the agent; required by the compatible API, unless `selector` or `url` is given.
    #[serde(default)]
    pub navigation_goal: Option<String>,
    /// The locator of the element to click.
    #[serde(default)]
    pub selector: Option<String>,
    /// The locators of the frames around the element, outermost first.
    #[serde(default, deserialize_with = "one_or_many")]
    pub frame: Vec<String>,
    /// The URL of the page to open first. Without a `selector` and a goal, the URL of the file
    /// itself.
    #[serde(default)]
    pub url: Option<String>,
    /// A suffix appended to the file's name.
    #[serde(default)]
    pub download_suffix: Option<String>,
    /// The time limit of the download.
    #[serde(default, deserialize_with = "seconds")]
    pub download_timeout: Option<Duration>,
}

/// The fields of a `file_url_parser` block.
#[derive(Debug, Clone, Deserialize)]
pub struct FileUrlParser {
    /// The URL of the file, or the key of a parameter that holds it.
    pub file_url: String,
    /// The type of the file.
    #[serde(default)]
    pub file_type: FileType,
    /// A schema for the result; not supported, as it would need a model.
    #[serde(default)]
    pub json_schema: Option<Value>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FileType {
    /// Detected by name and media type.
    #[default]
    AutoDetect,
    /// Comma-separated values, with a header line.
    Csv,
    Json,
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

/// The fields of a `code` block.
#[derive(Debug, Clone, Deserialize)]
pub struct Code {
    /// The body of an async Python function of `page`. It is a template except for its comments.
    pub code: String,
}

/// The fields of a `workflow_trigger` block.
#[derive(Debug, Clone, Deserialize)]
pub struct WorkflowTrigger {
    /// The id of the workflow, `wpid_…`.
    pub workflow_permanent_id: String,
    /// The values of the workflow's parameters.
    #[serde(default)]
    pub payload: Option<Map<String, Value>>,
    /// True if the block waits for the end of the triggered run.
    #[serde(default = "yes")]
    pub wait_for_completion: bool,
    /// The session that the triggered run drives.
    #[serde(default)]
    pub browser_session_id: Option<String>,
    /// True if the triggered run drives the session of this run, which waits meanwhile.
    #[serde(default)]
    pub use_parent_browser_session: bool,
}

/// The fields of a `human_interaction` block.
#[derive(Debug, Clone, Deserialize)]
pub struct HumanInteraction {
    /// The instructions for the person.
    #[serde(default)]
    pub instructions: String,
    /// The label of the button that continues the run.
    #[serde(default = "approve")]
    pub positive_descriptor: String,
    /// The label of the button that stops the run.
    #[serde(default = "reject")]
    pub negative_descriptor: String,
    /// The time to wait, in seconds.
    #[serde(default = "two_hours")]
    pub timeout_seconds: u64,
    /// The recipients of the notification email.
    #[serde(default, deserialize_with = "one_or_many")]
    pub recipients: Vec<String>,
    /// The sender of the notification email.
    #[serde(default)]
    pub sender: Option<String>,
    /// The subject of the notification email.
    #[serde(default)]
    pub subject: String,
    /// The body of the notification email.
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

/// The fields of a `send_email` block.
#[derive(Debug, Clone, Deserialize)]
pub struct SendEmail {
    /// The mail server to use instead of the configured one.
    #[serde(default)]
    pub custom_smtp_host: Option<String>,
    /// The port of that mail server.
    #[serde(default)]
    pub custom_smtp_port: Option<u16>,
    /// The user name for that mail server.
    #[serde(default)]
    pub custom_smtp_username: Option<String>,
    /// The password for that mail server.
    #[serde(default)]
    pub custom_smtp_password: Option<String>,
    /// The address of the sender.
    pub sender: String,
    /// The addresses of the recipients.
    #[serde(deserialize_with = "one_or_many")]
    pub recipients: Vec<String>,
    pub subject: String,
    pub body: String,
    /// The URLs of files to attach.
    #[serde(default)]
    pub file_attachments: Option<Vec<String>>,
}
