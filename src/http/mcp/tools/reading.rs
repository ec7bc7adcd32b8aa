//! Tools that read pages: snapshots, pictures, scripts, the console and the network.

use std::fmt::Write as _;
use std::time::Duration;

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;

use super::super::answer::{Answer, inline};
use super::super::call::{Call, Held};
use super::super::entry::{Entry, Set};
use super::super::params::{Element, handle};
use crate::actors::registry::Route;
use crate::actors::session::Capture;
use crate::http::error::ApiError;
use crate::http::picture::Encoding;
use crate::http::sessions::ask_session;
use crate::http::validation::Fields;
use crate::workflow::page::Watching;
use crate::workflow::page::picture::{Area, Picture, PictureFormat};
use crate::workflow::page::snapshot::SnapshotOptions;

/// The usual length of a snapshot, in characters: about 5,000 tokens.
const USUAL_CHARS: usize = 20_000;
const MOST_CHARS: usize = 200_000;

/// The most characters of the value of a script.
const MOST_VALUE: usize = 20_000;

/// The most entries of the console or the network in an answer.
const MOST_ENTRIES: usize = 200;

pub fn entries() -> Vec<Entry> {
    vec![
        Entry::new(
            "snapshot",
            Set::Read,
            "Read the page as an accessibility tree: roles, names, values, and references (e12) for `target`.",
            snapshot,
        ),
        Entry::new(
            "screenshot",
            Set::Read,
            "Take a picture of the page, of an element, or of the whole display with all windows and dialogs.",
            screenshot,
        ),
        Entry::new(
            "evaluate",
            Set::Act,
            "Run JavaScript in the page: an expression, or the body of an async function. Answers its value as JSON.",
            evaluate,
        ),
        Entry::new(
            "console",
            Set::Read,
            "List console messages of the pages since you hold the browser, newest last.",
            console,
        ),
        Entry::new(
            "network",
            Set::Read,
            "List requests of the pages since you hold the browser, newest last.",
            network,
        ),
    ]
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct SnapshotParams {
    /// The handle of the browser.
    #[serde(default)]
    pub browser: String,
    /// Only the part of the page below this reference.
    target: Option<String>,
    /// True for only what can be acted on, and headings.
    #[serde(default)]
    interactive: bool,
    /// The depth to which nested elements are shown.
    depth: Option<usize>,
    /// The length in characters, 20000 by default.
    max_chars: Option<usize>,
}

impl SnapshotParams {
    /// The parameters of a snapshot that ends the answer to an action.
    pub fn usual() -> Self {
        Self {
            browser: String::new(),
            target: None,
            interactive: false,
            depth: None,
            max_chars: None,
        }
    }
}

/// Adds a snapshot of the page to an answer.
pub(super) async fn add_snapshot(
    call: &Call,
    held: &Held,
    answer: &mut Answer,
    params: &SnapshotParams,
) -> Result<(), ApiError> {
    let max_chars = params.max_chars.unwrap_or(USUAL_CHARS).clamp(100, MOST_CHARS);
    let how = SnapshotOptions {
        root: params.target.as_deref().map(|it| it.trim().trim_start_matches("ref=")),
        max_chars,
        interactive: params.interactive,
        depth: params.depth,
    };
    let read = held.browser()?.snapshot(&how, call.left().min(Duration::from_secs(20)));
    let read = held.run(call, read).await?;
    answer.line(format!("{} {}", inline(&read.title, 200), inline(&read.url, 500)));
    answer.page_text("snapshot", &read.text);
    if read.left_out > 0 {
        answer.line(format!(
            "{} lines left out: use `target` (a reference), `interactive`, `depth` or `max_chars`.",
            read.left_out
        ));
    }
    Ok(())
}

async fn snapshot(call: Call, params: SnapshotParams) -> Result<Answer, ApiError> {
    let held = call.hold(&handle(&params.browser)?).await?;
    let mut answer = Answer::default();
    add_snapshot(&call, &held, &mut answer, &params).await?;
    Ok(answer)
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct ScreenshotParams {
    /// The handle of the browser.
    browser: String,
    /// `viewport` by default, `page` for the whole page, `display` for the desktop as people see it.
    of: Option<String>,
    /// A reference or a locator, for a picture of this element only.
    target: Option<String>,
    /// `jpeg` by default, or `png`.
    format: Option<String>,
    /// True to draw the references of the last snapshot into the picture.
    #[serde(default)]
    marks: bool,
}

async fn screenshot(call: Call, params: ScreenshotParams) -> Result<Answer, ApiError> {
    let of = params.of.as_deref().unwrap_or("viewport");
    let mut fields = Fields::new();
    let known = ["viewport", "page", "display"].contains(&of);
    fields.require("of", of, known, "expected `viewport`, `page` or `display`");
    let format = params.format.as_deref().unwrap_or("jpeg");
    let encoding = match format {
        "jpeg" | "jpg" => Ok(Encoding::Jpeg),
        "png" => Ok(Encoding::Png),
        _ => Err("expected `jpeg` or `png`"),
    };
    let encoding = fields.check("format", format, encoding);
    let alone = params.target.is_none() || of == "viewport";
    fields.require("target", params.target.as_deref(), alone, "an element has no other area");
    fields.require(
        "marks",
        params.marks,
        !params.marks || of != "display",
        "the display has no marks",
    );
    fields.finish()?;
    let encoding = encoding.unwrap_or(Encoding::Jpeg);
    let mut answer = Answer::default();
    if of == "display" {
        // Without the turn of the handle: the display shows why another call hangs.
        let handle = handle(&params.browser)?;
        let occupancy = call.occupancy(&handle).await?;
        call.renew(&occupancy).await?;
        let organization = call.client.organization;
        let message = Capture { format: encoding.format() };
        let turn = call.front().pictures.turn(organization).await;
        let route = Route { organization, session: handle.session, message };
        let picture = ask_session(call.front(), route).await?;
        drop(turn);
        answer.line("The whole display.");
        answer.picture(picture.bytes, encoding.media_type());
        return Ok(answer);
    }
    let held = call.hold(&handle(&params.browser)?).await?;
    let element = params.target.as_deref().map(|target| Element::new(&call, target, None));
    let area = match &element {
        Some(element) => Area::Element(element.target()),
        None if of == "page" => Area::FullPage,
        None => Area::Viewport,
    };
    let format = match encoding {
        Encoding::Jpeg => PictureFormat::Jpeg { quality: 70 },
        Encoding::Png => PictureFormat::Png,
    };
    let how = Picture { area, format, marks: params.marks };
    let taken = held.run(&call, held.browser()?.picture(&how)).await?;
    answer.line(inline(&held.browser()?.url(), 500));
    answer.picture(taken, encoding.media_type());
    Ok(answer)
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct EvaluateParams {
    /// The handle of the browser.
    browser: String,
    /// The JavaScript to run.
    script: String,
}

async fn evaluate(call: Call, params: EvaluateParams) -> Result<Answer, ApiError> {
    let held = call.act(&handle(&params.browser)?).await?;
    let script = held.browser()?.script(&[], &params.script, &Value::Null, call.left());
    let value = held.run(&call, script).await?;
    let mut text = value.to_string();
    let all = text.chars().count();
    if all > MOST_VALUE {
        text = text.chars().take(MOST_VALUE).collect();
        text.push('…');
    }
    let mut answer = Answer::default();
    answer.page_text("value", &text);
    if all > MOST_VALUE {
        answer.line(format!("{all} characters in all: answer with less, or in parts."));
    }
    Ok(answer)
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct ConsoleParams {
    /// The handle of the browser.
    browser: String,
    /// True for errors and warnings only.
    #[serde(default)]
    errors: bool,
    /// The number of messages, 50 by default.
    last: Option<usize>,
}

async fn console(call: Call, params: ConsoleParams) -> Result<Answer, ApiError> {
    let held = call.hold(&handle(&params.browser)?).await?;
    let watching = held.browser()?.watching();
    let mut messages = watching.map(Watching::messages).unwrap_or_default();
    messages
        .retain(|message| !params.errors || ["error", "warning"].contains(&message.level.as_str()));
    let mut text = String::new();
    for message in last(&messages, params.last) {
        let (words, place) = (inline(&message.text, 1000), inline(&message.place, 200));
        let _never = writeln!(text, "{} {words} {place}", message.level);
    }
    listed("console", "messages", messages.len(), &text)
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct NetworkParams {
    /// The handle of the browser.
    browser: String,
    /// Only requests whose URL has this text.
    url: Option<String>,
    /// True for requests that failed, or whose status is 400 or above.
    #[serde(default)]
    failed: bool,
    /// The number of requests, 50 by default.
    last: Option<usize>,
}

async fn network(call: Call, params: NetworkParams) -> Result<Answer, ApiError> {
    let held = call.hold(&handle(&params.browser)?).await?;
    let watching = held.browser()?.watching();
    let mut requests = watching.map(Watching::requests).unwrap_or_default();
    requests.retain(|request| {
        let fails = request.failure.is_some() || request.status.is_some_and(|status| status >= 400);
        let is_named = params.url.as_ref().is_none_or(|part| request.url.contains(part));
        is_named && (!params.failed || fails)
    });
    let mut text = String::new();
    for request in last(&requests, params.last) {
        let status = match (&request.failure, request.status) {
            (Some(failure), _) => inline(failure, 100),
            (None, Some(status)) => status.to_string(),
            (None, None) => "pending".to_owned(),
        };
        let (method, kind) = (&request.method, &request.resource_type);
        let _never = writeln!(text, "{method} {} {status} {kind}", inline(&request.url, 500));
    }
    listed("network", "requests", requests.len(), &text)
}

fn last<T>(entries: &[T], wanted: Option<usize>) -> &[T] {
    let wanted = wanted.unwrap_or(50).clamp(1, MOST_ENTRIES);
    entries.get(entries.len().saturating_sub(wanted)..).unwrap_or(entries)
}

fn listed(what: &str, noun: &str, all: usize, text: &str) -> Result<Answer, ApiError> {
    let shown = text.lines().count();
    let mut answer = Answer::text(match all {
        0 => format!("No {noun}."),
        all if shown < all => format!("The last {shown} of {all} {noun}; `last` shows more."),
        all => format!("{all} {noun}"),
    });
    if all > 0 {
        answer.page_text(what, text);
    }
    Ok(answer)
}
