//! Tools that open pages and manage tabs.

use std::time::Duration;

use schemars::JsonSchema;
use serde::Deserialize;
use url::Url;

use super::super::answer::{Answer, flat, inline};
use super::super::call::{Call, Held};
use super::super::entry::{Entry, Set};
use super::super::params::{Element, handle};
use super::reading;
use crate::http::error::ApiError;
use crate::http::problem::Problem;
use crate::http::validation::Fields;
use crate::workflow::definition::block::{DialogAnswer, LoadState};
use crate::workflow::page::history::HistoryStep;

pub fn entries() -> Vec<Entry> {
    vec![
        Entry::new("navigate", Set::Act, "Open a URL in the current tab.", navigate),
        Entry::new(
            "back",
            Set::Act,
            "Go back in the history of the tab, or forward, or load the page again.",
            back,
        ),
        Entry::new(
            "wait",
            Set::Read,
            "Wait for an element's state, for text, for a URL, for the page to load, or some seconds.",
            wait,
        ),
        Entry::new("tabs", Set::Act, "List tabs; open, select or close one.", tabs),
        Entry::new(
            "dialogs",
            Set::Act,
            "Set the answer to dialogs (alert, confirm, prompt) from now on: they are answered at once, and the next \
             answer names them. Without this they are dismissed. Call it before the action that opens the dialog.",
            dialogs,
        ),
    ]
}

/// The part of a page with which the answer to an action ends.
#[derive(Debug, Clone, Copy, Default, Deserialize, JsonSchema)]
#[serde(transparent)]
pub(super) struct WithSnapshot(bool);

/// Adds a snapshot of the page to an answer, if the client asked for one.
pub(super) async fn with_snapshot(
    call: &Call,
    held: &Held,
    mut answer: Answer,
    wanted: WithSnapshot,
) -> Result<Answer, ApiError> {
    if wanted.0 {
        let usual = reading::SnapshotParams::usual();
        // The action is done, also if the page cannot be read after it.
        if let Err(cause) = reading::add_snapshot(call, held, &mut answer, &usual).await {
            let problem = Problem::from(cause);
            answer.line(format!(
                "No snapshot ({}): {}",
                problem.code,
                flat(&problem.to_string(), 500)
            ));
        }
    }
    Ok(answer)
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct NavigateParams {
    /// The handle of the browser.
    browser: String,
    /// An http or https URL, or about:blank.
    url: String,
    /// The state to wait for: `load` by default, `domcontentloaded`, `networkidle` or `commit`.
    until: Option<String>,
    /// True to answer with a snapshot of the page.
    #[serde(default)]
    snapshot: WithSnapshot,
}

fn page_url(text: &str) -> Result<Url, Problem> {
    let mut fields = Fields::new();
    let read = |text: &str| {
        Url::parse(text).ok().filter(|url| {
            matches!(url.scheme(), "http" | "https") && url.host().is_some()
                || url.as_str() == "about:blank"
        })
    };
    // People and models leave the scheme out.
    let text = text.trim();
    let url =
        read(text).or_else(|| read(&format!("https://{text}")).filter(|_| !text.contains("://")));
    let url = fields.check("url", text, url.ok_or("expected an http or https URL, or about:blank"));
    fields.finish()?;
    url.ok_or_else(|| Problem::invalid(Vec::new()))
}

fn load_state(text: Option<&str>) -> Result<LoadState, Problem> {
    let mut fields = Fields::new();
    let state = match text.unwrap_or("load") {
        "load" => Ok(LoadState::Load),
        "domcontentloaded" => Ok(LoadState::DomContentLoaded),
        "networkidle" => Ok(LoadState::NetworkIdle),
        "commit" => Ok(LoadState::Commit),
        _ => Err("expected `load`, `domcontentloaded`, `networkidle` or `commit`"),
    };
    let state = fields.check("until", text, state);
    fields.finish()?;
    Ok(state.unwrap_or(LoadState::Load))
}

async fn navigate(call: Call, params: NavigateParams) -> Result<Answer, ApiError> {
    let url = page_url(&params.url)?;
    let until = load_state(params.until.as_deref())?;
    let held = call.act(&handle(&params.browser)?).await?;
    let opened = held.run(&call, held.browser()?.open(url.as_str(), until, call.left())).await?;
    let done = match (opened.downloaded, opened.status) {
        (true, _) => "The URL was a download: see `files`.".to_owned(),
        (false, Some(status)) => format!("Opened, status {status}."),
        (false, None) => "Opened.".to_owned(),
    };
    let answer = held.done(done)?;
    with_snapshot(&call, &held, answer, params.snapshot).await
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct BackParams {
    /// The handle of the browser.
    browser: String,
    /// `back` by default, `forward` or `reload`.
    direction: Option<String>,
    /// True to answer with a snapshot of the page.
    #[serde(default)]
    snapshot: WithSnapshot,
}

async fn back(call: Call, params: BackParams) -> Result<Answer, ApiError> {
    let mut fields = Fields::new();
    let asked = params.direction.as_deref();
    let direction = match asked.unwrap_or("back") {
        "back" => Ok(Some(HistoryStep::Back)),
        "forward" => Ok(Some(HistoryStep::Forward)),
        "reload" => Ok(None),
        _ => Err("expected `back`, `forward` or `reload`"),
    };
    let direction = fields.check("direction", asked, direction);
    fields.finish()?;
    let held = call.act(&handle(&params.browser)?).await?;
    let browser = held.browser()?;
    let moved = async {
        match direction.flatten() {
            Some(step) => browser.history(step, LoadState::Load, call.left()).await,
            None => browser.reload(LoadState::Load, call.left()).await,
        }
    };
    held.run(&call, moved).await?;
    let answer = held.done("Done.")?;
    with_snapshot(&call, &held, answer, params.snapshot).await
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct WaitParams {
    /// The handle of the browser.
    browser: String,
    /// Wait for an element, a reference or a locator.
    target: Option<String>,
    /// The state of the element: `visible` by default, `hidden`, `attached`, `detached`, `enabled`,
    /// `disabled`, `checked` or `unchecked`.
    state: Option<String>,
    /// Wait until the page shows this text.
    text: Option<String>,
    /// Wait for a URL; `*` stands for any characters.
    url: Option<String>,
    /// Wait for a load state: `load`, `domcontentloaded` or `networkidle`.
    load: Option<String>,
    /// The longest time to wait, or the time to wait if nothing else is named, in seconds.
    seconds: Option<f64>,
    /// True to answer with a snapshot of the page.
    #[serde(default)]
    snapshot: WithSnapshot,
}

const STATES: [&str; 8] =
    ["visible", "hidden", "attached", "detached", "enabled", "disabled", "checked", "unchecked"];

async fn wait(call: Call, params: WaitParams) -> Result<Answer, ApiError> {
    let mut fields = Fields::new();
    let state = params.state.as_deref().unwrap_or("visible");
    fields.require("state", state, STATES.contains(&state), "expected a state such as `visible`");
    let named = [&params.target, &params.text, &params.url, &params.load];
    let count = named.iter().filter(|it| it.is_some()).count();
    let fits = count == 1 || count == 0 && params.seconds.is_some();
    fields.require(
        "target",
        count,
        fits,
        "expected one of target, text, url, load, or seconds alone",
    );
    let seconds = params.seconds.map(Duration::try_from_secs_f64).transpose();
    let seconds = fields.check("seconds", params.seconds, seconds).flatten();
    fields.finish()?;
    let until = params.load.as_deref().map(|load| load_state(Some(load))).transpose()?;
    let time = seconds.unwrap_or(Duration::from_secs(30)).min(call.left());
    let held = call.hold(&handle(&params.browser)?).await?;
    let browser = held.browser()?;
    let waited = async {
        if let Some(target) = &params.target {
            let element = Element::new(&call, target, Some(time.as_secs_f64()));
            return browser.wait_for_state(element.target(), state).await;
        }
        if let Some(text) = &params.text {
            let target =
                crate::workflow::page::frame::Target { selector: text, frames: &[], timeout: time };
            return browser.wait_for_text(target).await;
        }
        if let Some(pattern) = &params.url {
            return browser.wait_for_url(pattern, time).await;
        }
        if let Some(until) = until {
            return browser.wait_for_load(until, time).await;
        }
        tokio::time::sleep(time).await;
        Ok(())
    };
    held.run(&call, waited).await?;
    let answer = held.done("Done.")?;
    with_snapshot(&call, &held, answer, params.snapshot).await
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct TabsParams {
    /// The handle of the browser.
    browser: String,
    /// `list` by default, `open`, `select` or `close`.
    action: Option<String>,
    /// The number of the tab, from 1, to select or close; the current one if left out.
    tab: Option<usize>,
    /// The URL to open in a new tab.
    url: Option<String>,
}

async fn tabs(call: Call, params: TabsParams) -> Result<Answer, ApiError> {
    let action = params.action.as_deref().unwrap_or("list");
    let mut fields = Fields::new();
    let known = ["list", "open", "select", "close"].contains(&action);
    fields.require("action", action, known, "expected `list`, `open`, `select` or `close`");
    let has_tab = action != "select" || params.tab.is_some();
    fields.require("tab", params.tab, has_tab, "expected the number of a tab");
    fields.finish()?;
    let url = params.url.as_deref().map(page_url).transpose()?;
    let name = handle(&params.browser)?;
    let held = if action == "list" { call.hold(&name).await? } else { call.act(&name).await? };
    let browser = held.browser()?;
    let tabs = held.run(&call, browser.tabs()).await?;
    let chosen = match params.tab {
        Some(number) => tabs.get(number.wrapping_sub(1)),
        None => tabs.iter().find(|tab| tab.current),
    };
    if matches!(action, "select" | "close") {
        let chosen = chosen.ok_or_else(|| {
            let detail =
                format!("there is no tab {}: list the tabs", params.tab.unwrap_or_default());
            Problem::new(actix_web::http::StatusCode::CONFLICT, "tab_unknown", detail)
        })?;
        if action == "select" {
            held.run(&call, browser.select_tab(&chosen.target)).await?;
        } else {
            held.run(&call, browser.close_tab(&chosen.target)).await?;
        }
    }
    if action == "open" {
        let blank = "about:blank".to_owned();
        let url = url.map_or(blank, |url| url.to_string());
        held.run(&call, browser.open_tab(&url, LoadState::Load, call.left())).await?;
    }
    let tabs = held.run(&call, browser.tabs()).await?;
    let mut answer = Answer::text(format!("{} tabs", tabs.len()));
    for (index, tab) in tabs.iter().enumerate() {
        let current = if tab.current { " (current)" } else { "" };
        let (title, url) = (inline(&tab.title, 100), inline(&tab.url, 300));
        answer.line(format!("{}. {title} {url}{current}", index + 1));
    }
    Ok(answer)
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct DialogsParams {
    /// The handle of the browser.
    browser: String,
    /// True to accept dialogs, false to dismiss them.
    accept: bool,
    /// The text to enter into prompts.
    text: Option<String>,
}

async fn dialogs(call: Call, params: DialogsParams) -> Result<Answer, ApiError> {
    let held = call.act(&handle(&params.browser)?).await?;
    let answer = if params.accept { DialogAnswer::Accept } else { DialogAnswer::Dismiss };
    held.browser()?.answer_dialogs(answer, params.text);
    let word = if params.accept { "accepted" } else { "dismissed" };
    held.done(format!("Dialogs are {word} from now on."))
}
