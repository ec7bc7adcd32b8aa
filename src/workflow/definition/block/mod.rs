//! The blocks of a definition, each type with its fields.
//!
//! A text may be a template, so a block is read twice: when the definition is stored, to reject what
//! can never work, and when the block is executed, with every template rendered. Fields that a type
//! does not know are kept in the stored document and ignored.
//!
//! The types are kept together in long files: each is a few fields, and a reader compares them.

mod on_page;
mod others;
pub(super) mod rules;
pub(super) mod strict;

use std::time::Duration;

use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value};

use super::extract::Extract;
use crate::domain::objects::Objects;
pub use on_page::*;
pub use others::*;

#[derive(Debug, Clone)]
pub struct Block {
    /// The label, unique in the whole definition.
    pub label: String,
    /// The type, as in `goto_url`.
    pub block_type: String,
    /// The label of the block that follows, if the definition names one.
    pub next: Option<String>,
    /// True if the run continues after a failure of this block.
    pub continue_on_failure: bool,
    /// True if a failure of this block continues with the next iteration of the loop.
    pub next_loop_on_failure: bool,
    /// The keys of the parameters that the block declares to use.
    pub parameter_keys: Vec<String>,
    /// The type of the block, with its fields.
    pub kind: Kind,
    /// The blocks within a loop; empty for other types.
    pub body: Vec<Block>,
    /// The block as it was given, without the blocks in it.
    pub raw: Map<String, Value>,
}

impl Block {
    /// Returns this block and every block in it, outermost first.
    pub fn tree(&self) -> Vec<&Self> {
        let mut all = vec![self];
        all.extend(self.body.iter().flat_map(Self::tree));
        all
    }

    /// Returns the key of the block's output, `{label}_output`.
    pub fn output_key(&self) -> String {
        output_key(&self.label)
    }
}

/// Returns the key of the output of the block with this label.
pub fn output_key(label: &str) -> String {
    format!("{label}_output")
}

/// An error in a field of a block: its path, a stable code, and the expected value.
#[derive(Debug, Clone, PartialEq)]
pub struct Misfit {
    /// The path to the field, starting at the block.
    pub path: Vec<super::PathPart>,
    /// The stable code, as in [`FieldError`](super::FieldError).
    pub code: &'static str,
    /// The description, one sentence.
    pub message: String,
}

impl Misfit {
    /// Creates an error about one field of the block.
    pub fn field(field: &str, code: &'static str, message: impl Into<String>) -> Self {
        Self { path: vec![field.into()], code, message: message.into() }
    }
}

macro_rules! kinds {
    ($($(#[$doc:meta])* $variant:ident($own:ty) = $name:literal,)+) => {
        /// The type of a block, with its fields.
        #[derive(Debug, Clone)]
        pub enum Kind {
            $($(#[$doc])* $variant($own),)+
            /// Needs a model; the agent executes it.
            Agent,
            /// Needs a service that this server does not support.
            Elsewhere,
        }

        impl Kind {
            /// The types of blocks that this server executes itself.
            pub const NAMES: &[&str] = &[$($name,)+];

            /// Reads a block of `block_type`; none if the type is unknown.
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
    /// Opens a URL in the current tab.
    GotoUrl(GotoUrl) = "goto_url",
    /// Waits for a fixed time.
    Wait(Wait) = "wait",
    /// Clicks an element of the page.
    Click(Click) = "click",
    /// Replaces the content of a field.
    Fill(Fill) = "fill",
    /// Selects options of a list.
    Select(Select) = "select",
    /// Presses keys, one after another.
    Press(Press) = "press",
    /// Moves the pointer over an element.
    Hover(Hover) = "hover",
    /// Scrolls the page or an element.
    Scroll(Scroll) = "scroll",
    /// Passes files to a file field.
    Upload(Upload) = "upload",
    /// Waits for a condition on the page.
    WaitFor(WaitFor) = "wait_for",
    /// Reads values by selectors.
    Extract(Extract) = "extract",
    /// Fails unless its conditions hold.
    Assert(Assert) = "assert",
    /// Evaluates JavaScript in the page.
    Script(Script) = "script",
    /// Takes a screenshot of the page.
    Screenshot(Screenshot) = "screenshot",
    /// Reads or changes cookies.
    Cookies(Cookies) = "cookies",
    /// Sends an HTTP request from the server.
    HttpRequest(HttpRequest) = "http_request",
    /// Repeats its body for every value.
    ForLoop(ForLoop) = "for_loop",
    /// Repeats its body while a condition holds.
    WhileLoop(WhileLoop) = "while_loop",
    /// Chooses the branch to continue with.
    Conditional(Conditional) = "conditional",
    /// Prints the page to PDF.
    PrintPage(PrintPage) = "print_page",
    /// Downloads a file with the browser.
    FileDownload(FileDownload) = "file_download",
    /// Fetches and parses a file.
    FileUrlParser(FileUrlParser) = "file_url_parser",
    /// Runs Python against the page.
    Code(Code) = "code",
    /// Triggers a run of another workflow.
    WorkflowTrigger(WorkflowTrigger) = "workflow_trigger",
    /// Pauses until a person decides.
    HumanInteraction(HumanInteraction) = "human_interaction",
    /// Sends an email over SMTP.
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
    serde_path_to_error::deserialize(Objects(block)).map_err(|error| {
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

/// Reads a selector, or a chain of selectors through frames.
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

/// Reads a positive number of seconds, at most an hour; a text is accepted too, as templates render
/// to texts.
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
