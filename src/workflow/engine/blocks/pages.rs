//! Blocks that drive the page.

use std::time::Duration;

use bytes::Bytes;
use serde_json::{Map, Value, json};
use tokio::time::Instant;
use url::Url;

use crate::domain::file_name::file_name_with;
use crate::domain::ids::BlockRunId;
use crate::workflow::definition::block::{
    Assert, Click, CookieAction, Cookies, Criteria, DialogAnswer, ElementState, Fill, GotoUrl,
    Hover, LoadState, Press, PrintPage, Screenshot, Script, Scroll, Select, Upload, WaitFor,
};
use crate::workflow::definition::extract::{Extract, Field};
use crate::workflow::engine::Engine;
use crate::workflow::engine::ending::{Broken, End, Work};
use crate::workflow::host::NewArtifact;
use crate::workflow::page::frame::Target;
use crate::workflow::page::input::Clicking;
use crate::workflow::page::locator::Locator;
use crate::workflow::page::navigation::url_matches;
use crate::workflow::page::{Browser, PageError, keys};

/// Parses the URL of a page to open. A bare host gets `https://`.
pub(super) fn page_url(text: &str) -> Result<Url, End> {
    let text = text.trim();
    let bare = !text.contains("://")
        && !["about:", "data:", "blob:"].iter().any(|scheme| text.starts_with(scheme));
    let whole = if bare { format!("https://{text}") } else { text.to_owned() };
    let url = Url::parse(&whole)
        .map_err(|error| End::failed("url_invalid", format!("`{text}` is not a URL: {error}")))?;
    if text.is_empty() || !["http", "https", "about", "data", "blob"].contains(&url.scheme()) {
        let message = format!("`{text}` cannot be opened: use http or https");
        return Err(End::failed("url_refused", message));
    }
    Ok(url)
}

fn success(browser: &Browser) -> Map<String, Value> {
    let mut output = Map::new();
    output.insert("success".to_owned(), Value::Bool(true));
    output.insert("url".to_owned(), Value::from(browser.url()));
    let dialogs: Vec<Value> = browser
        .take_dialogs()
        .into_iter()
        .map(|dialog| json!({ "type": dialog.kind, "message": dialog.message }))
        .collect();
    if !dialogs.is_empty() {
        output.insert("dialogs".to_owned(), Value::from(dialogs));
    }
    output
}

fn done(browser: &Browser) -> End {
    End::completed(Value::Object(success(browser)))
}

impl Engine {
    fn patience(&self, own: Option<Duration>) -> Duration {
        own.unwrap_or(self.plan.settings.element_timeout)
    }

    pub(super) async fn goto_url(&mut self, spec: &GotoUrl) -> Work {
        let url = page_url(&spec.url)?;
        let browser = self.browser().await?;
        let timeout = spec.timeout_seconds.unwrap_or(self.plan.settings.navigation_timeout);
        let opened = browser.open(url.as_str(), spec.wait_until, timeout).await?;
        Ok(End::completed(json!({
            "url": opened.url,
            "http_status": opened.status,
            "task_id": null,
            "status": "completed",
            "extracted_information": null,
            "failure_reason": null,
            "errors": [],
            "failure_category": null,
            "downloaded_files": [],
            "downloaded_file_urls": [],
            "downloaded_file_artifact_ids": [],
            "task_screenshots": [],
            "workflow_screenshots": [],
            "task_screenshot_artifact_ids": [],
            "workflow_screenshot_artifact_ids": [],
        })))
    }

    pub(super) async fn click(&mut self, spec: &Click) -> Work {
        let modifiers = spec.modifiers.iter().map(|name| {
            let unknown = || End::failed("field_invalid", format!("there is no modifier `{name}`"));
            keys::modifier(name).ok_or_else(unknown)
        });
        let modifiers =
            modifiers.collect::<Result<Vec<_>, _>>()?.into_iter().fold(0, |all, bit| all | bit);
        let how =
            Clicking { button: spec.button, count: spec.click_count, modifiers, force: spec.force };
        let browser = self.browser().await?;
        let target = Target {
            selector: &spec.selector,
            frames: &spec.frame,
            timeout: self.patience(spec.timeout_seconds),
        };
        browser.take_dialogs();
        browser.answer_dialogs(spec.dialog.clone(), spec.dialog_text.clone());
        let clicked = browser.click(target, &how).await;
        browser.answer_dialogs(DialogAnswer::default(), None);
        clicked?;
        Ok(done(&browser))
    }

    pub(super) async fn fill(&mut self, spec: &Fill) -> Work {
        let browser = self.browser().await?;
        let timeout = self.patience(spec.timeout_seconds);
        let target = Target { selector: &spec.selector, frames: &spec.frame, timeout };
        browser.fill(target, &spec.value).await?;
        if spec.press_enter {
            let strokes: Vec<_> = keys::parse("Enter").into_iter().collect();
            browser.press(None, &strokes, timeout).await?;
        }
        Ok(done(&browser))
    }

    pub(super) async fn select(&mut self, spec: &Select) -> Work {
        let browser = self.browser().await?;
        let timeout = self.patience(spec.timeout_seconds);
        let target = Target { selector: &spec.selector, frames: &spec.frame, timeout };
        let values = browser.select(target, &spec.values).await?;
        let mut output = success(&browser);
        output.insert("values".to_owned(), json!(values));
        Ok(End::completed(Value::Object(output)))
    }

    pub(super) async fn press(&mut self, spec: &Press) -> Work {
        let strokes = spec.key.iter().map(|key| {
            let unknown = || End::failed("field_invalid", format!("there is no key `{key}`"));
            keys::parse(key).ok_or_else(unknown)
        });
        let strokes = strokes.collect::<Result<Vec<_>, _>>()?;
        let browser = self.browser().await?;
        let timeout = self.patience(spec.timeout_seconds);
        let target = spec.selector.as_ref();
        let target = target.map(|selector| Target { selector, frames: &spec.frame, timeout });
        browser.press(target, &strokes, timeout).await?;
        Ok(done(&browser))
    }

    pub(super) async fn hover(&mut self, spec: &Hover) -> Work {
        let browser = self.browser().await?;
        let timeout = self.patience(spec.timeout_seconds);
        browser.hover(Target { selector: &spec.selector, frames: &spec.frame, timeout }).await?;
        Ok(done(&browser))
    }

    pub(super) async fn scroll(&mut self, spec: &Scroll) -> Work {
        let browser = self.browser().await?;
        let timeout = self.patience(spec.timeout_seconds);
        let target = spec.selector.as_ref();
        let target = target.map(|selector| Target { selector, frames: &spec.frame, timeout });
        browser.scroll(target, (spec.x, spec.y), spec.to).await?;
        Ok(done(&browser))
    }

    pub(super) async fn upload(&mut self, spec: &Upload) -> Work {
        let mut paths = Vec::new();
        let mut names = Vec::new();
        for file in &spec.files {
            let bytes = self.content(file).await?;
            let path = self.host.put_file(file.name.clone(), bytes).await?;
            names.push(file.name.clone());
            paths.push(path);
        }
        let browser = self.browser().await?;
        let timeout = self.patience(spec.timeout_seconds);
        let target = Target { selector: &spec.selector, frames: &spec.frame, timeout };
        // The files are kept: the page reads them when it submits its form.
        browser.upload(target, &paths).await?;
        let mut output = success(&browser);
        output.insert("files".to_owned(), json!(names));
        Ok(End::completed(Value::Object(output)))
    }

    pub(super) async fn wait_for(&mut self, spec: &WaitFor) -> Work {
        let browser = self.browser().await?;
        let timeout = self.patience(spec.timeout_seconds);
        let deadline = Instant::now() + timeout;
        let left = || deadline.saturating_duration_since(Instant::now());
        if let Some(pattern) = &spec.url {
            browser.wait_for_url(pattern, left()).await?;
        }
        let idle = spec.network_idle.then_some(LoadState::NetworkIdle);
        if let Some(state) = spec.load_state.or(idle) {
            browser.wait_for_load(state, left()).await?;
        }
        if let Some(selector) = &spec.selector {
            let target = Target { selector, frames: &spec.frame, timeout: left() };
            browser.wait_for_state(target, state_name(spec.state)).await?;
        }
        if let Some(text) = &spec.text {
            let target = Target { selector: text, frames: &spec.frame, timeout: left() };
            browser.wait_for_text(target).await?;
        }
        Ok(done(&browser))
    }

    pub(super) async fn extract(&mut self, raw: &Map<String, Value>, spec: &Extract) -> Work {
        let mut spec = spec.clone();
        if let Some(schema) = raw.get("schema") {
            spec.schema = Some(schema.clone());
        }
        let root = spec.root().map_err(|message| End::failed("field_invalid", message))?;
        let field = with_locators(&root).map_err(PageError::from)?;
        let browser = self.browser().await?;
        let timeout = self.patience(spec.timeout_seconds);
        let target = Target { selector: "extract", frames: &spec.frame, timeout };
        let value = browser.extract(target, &field, spec.optional).await?;
        Ok(End { extracted: Some(value.clone()), ..End::completed(value) })
    }

    pub(super) async fn assert(&mut self, raw: &Map<String, Value>, spec: &Assert) -> Work {
        let timeout = spec.timeout_seconds.unwrap_or(self.plan.settings.assert_timeout);
        let condition = raw.get("condition").filter(|condition| !condition.is_null());
        if let Some(condition) = condition {
            let expression = condition.as_str().or_else(|| condition.get("expression")?.as_str());
            let expression = expression.unwrap_or_default().to_owned();
            let criteria = Criteria { criteria_type: None, expression: expression.clone() };
            let (holds, rendered) = self.holds("condition", &criteria)?;
            if !holds {
                let found = format!("`{expression}` is `{rendered}`");
                return Err(assertion(spec, &found).into());
            }
        }
        let page = spec.selector.is_some()
            || spec.text.is_some()
            || spec.url.is_some()
            || spec.title.is_some();
        if !page {
            return Ok(End::completed(json!({ "success": true })));
        }
        let browser = self.browser().await?;
        let deadline = Instant::now() + timeout;
        loop {
            let facts = browser.facts(spec.selector.as_deref(), &spec.frame, deadline).await?;
            let Some(wrong) = unmet(spec, &facts, &browser.url()) else {
                return Ok(done(&browser));
            };
            if Instant::now() >= deadline {
                return Err(assertion(spec, &wrong).into());
            }
            browser.pass_a_moment(deadline).await;
        }
    }

    pub(super) async fn script(&mut self, spec: &Script) -> Work {
        let browser = self.browser().await?;
        let timeout = self.patience(spec.timeout_seconds);
        let value = browser.script(&spec.frame, &spec.script, &spec.args, timeout).await?;
        Ok(End::completed(json!({ "result": value })))
    }

    pub(super) async fn screenshot(
        &mut self,
        label: &str,
        id: BlockRunId,
        spec: &Screenshot,
    ) -> Work {
        let browser = self.browser().await?;
        let bytes = browser.screenshot(spec.full_page).await?;
        let name = spec.name.as_deref().unwrap_or(label);
        let name = file_name_with(name, "png");
        let size = bytes.len();
        let artifact = self.keep(id, "screenshot", &name, "image/png", bytes).await?;
        Ok(End::completed(json!({
            "artifact_id": artifact,
            "filename": name,
            "size_bytes": size,
            "url": browser.url(),
        })))
    }

    pub(super) async fn print_page(&mut self, id: BlockRunId, spec: &PrintPage) -> Work {
        let browser = self.browser().await?;
        let bytes = browser.print(spec).await?;
        let default = chrono::Utc::now().format("page_%Y%m%d_%H%M%S").to_string();
        let name = spec.custom_filename.as_deref().filter(|name| !name.trim().is_empty());
        let name = file_name_with(name.unwrap_or(&default), "pdf");
        let size = bytes.len();
        let artifact = self.keep(id, "pdf", &name, "application/pdf", bytes).await?;
        Ok(End::completed(json!({
            "filename": name,
            "size_bytes": size,
            "artifact_id": artifact,
            "downloaded_files": [{ "filename": name, "artifact_id": artifact }],
            "downloaded_file_artifact_ids": [artifact],
        })))
    }

    pub(super) async fn keep(
        &self,
        block: BlockRunId,
        artifact_type: &str,
        name: &str,
        media_type: &str,
        bytes: Bytes,
    ) -> Result<String, Broken> {
        let artifact = NewArtifact {
            block: Some(block),
            artifact_type: artifact_type.to_owned(),
            name: name.to_owned(),
            media_type: media_type.to_owned(),
            bytes,
        };
        Ok(self.host.store(artifact).await?.to_string())
    }

    pub(super) async fn cookies(&mut self, spec: &Cookies) -> Work {
        let browser = self.browser().await?;
        let of_page = || {
            let url = browser.url();
            spec.url.clone().or_else(|| Some(url).filter(|url| url.starts_with("http")))
        };
        match spec.action {
            CookieAction::Set => {
                let mut cookies = Vec::new();
                for cookie in &spec.cookies {
                    let mut cookie = cookie.clone();
                    let placed = cookie.contains_key("url") || cookie.contains_key("domain");
                    if let (false, Some(url)) = (placed, of_page()) {
                        cookie.insert("url".to_owned(), Value::from(url));
                    }
                    cookies.push(Value::Object(cookie));
                }
                let count = cookies.len();
                browser.set_cookies(cookies).await?;
                Ok(End::completed(json!({ "success": true, "count": count })))
            }
            CookieAction::Get | CookieAction::Clear => {
                let url = if spec.all { None } else { of_page() };
                let mut cookies = browser.cookies(url.as_deref()).await?;
                if let Some(name) = &spec.name {
                    cookies
                        .retain(|cookie| cookie.get("name").and_then(Value::as_str) == Some(name));
                }
                if spec.action == CookieAction::Get {
                    return Ok(End::completed(json!({ "cookies": cookies })));
                }
                for cookie in &cookies {
                    browser.remove_cookie(cookie).await?;
                }
                Ok(End::completed(json!({ "success": true, "count": cookies.len() })))
            }
        }
    }
}

fn state_name(state: ElementState) -> &'static str {
    match state {
        ElementState::Attached => "attached",
        ElementState::Detached => "detached",
        ElementState::Visible => "visible",
        ElementState::Hidden => "hidden",
        ElementState::Enabled => "enabled",
        ElementState::Disabled => "disabled",
        ElementState::Checked => "checked",
        ElementState::Unchecked => "unchecked",
    }
}

/// Converts a field to the form that the injected script reads, with parsed locators.
fn with_locators(field: &Field) -> Result<Value, crate::workflow::page::locator::NotALocator> {
    let steps = field.selector.as_deref().map(Locator::parse).transpose()?;
    let fields = field.fields.as_ref().map(|fields| {
        let fields = fields.iter().map(|(name, field)| Ok((name.clone(), with_locators(field)?)));
        fields.collect::<Result<Map<_, _>, _>>()
    });
    Ok(json!({
        "steps": steps,
        "attribute": field.attribute,
        "all": field.all,
        "fields": fields.transpose()?,
        "required": field.required,
        "type": field.value_type,
    }))
}

fn assertion(spec: &Assert, found: &str) -> End {
    let message = match &spec.message {
        Some(message) => format!("{message} ({found})"),
        None => found.to_owned(),
    };
    End::failed("assertion_failed", message)
}

/// Returns the first condition that does not hold.
fn unmet(spec: &Assert, facts: &Value, url: &str) -> Option<String> {
    let flag = |name: &str| facts.get(name).and_then(Value::as_bool).unwrap_or(false);
    let text = |name: &str| facts.get(name).and_then(Value::as_str).unwrap_or_default();
    let count = facts.get("count").and_then(Value::as_u64).unwrap_or(0);
    let selector = spec.selector.as_deref().unwrap_or("the page");

    if let Some(pattern) = spec.url.as_ref().filter(|pattern| !url_matches(url, pattern)) {
        return Some(format!("the URL is {url} and does not match `{pattern}`"));
    }
    if let Some(title) = spec.title.as_ref().filter(|title| !text("title").contains(title.as_str()))
    {
        return Some(format!("the title is `{}` and does not contain `{title}`", text("title")));
    }
    if let Some(expected) = spec.count.filter(|expected| *expected != count) {
        return Some(format!("`{selector}` matches {count} elements, not {expected}"));
    }
    let implied = spec.selector.is_some()
        && spec.count.is_none()
        && spec.text.is_none()
        && spec.value.is_none();
    if let Some(state) = spec.state.or(implied.then_some(ElementState::Visible)) {
        let holds = match state {
            ElementState::Attached => count > 0,
            ElementState::Detached => count == 0,
            ElementState::Visible => flag("visible"),
            ElementState::Hidden => !flag("visible"),
            ElementState::Enabled => count > 0 && flag("enabled"),
            ElementState::Disabled => count > 0 && !flag("enabled"),
            ElementState::Checked => flag("checked"),
            ElementState::Unchecked => count > 0 && !flag("checked"),
        };
        if !holds {
            return Some(format!("`{selector}` is not {}", state_name(state)));
        }
    }
    if let Some(expected) = &spec.text {
        let found = text("text").to_lowercase();
        if !found.contains(&expected.to_lowercase()) {
            let short: String = text("text").chars().take(200).collect();
            return Some(format!("`{selector}` has the text `{short}`, not `{expected}`"));
        }
    }
    if let Some(expected) =
        spec.value.as_ref().filter(|expected| text("value") != expected.as_str())
    {
        return Some(format!("`{selector}` has the value `{}`, not `{expected}`", text("value")));
    }
    None
}
