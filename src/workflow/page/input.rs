//! Actions on elements as a person performs them: pointer, keyboard, files.

use std::path::PathBuf;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::Instant;

use super::frame::Target;
use super::keys::{self, Stroke};
use super::tabs::Tabs;
use super::worlds::{Answer, Frame};
use super::{Browser, PageError};
use crate::workflow::definition::block::{MouseButton, ScrollEnd};

/// The parameters of a click.
#[derive(Debug, Clone)]
pub struct Clicking {
    /// The mouse button that is pressed.
    pub button: MouseButton,
    /// The number of clicks.
    pub count: u8,
    /// The bits of the modifier keys held, as CDP defines them.
    pub modifiers: u8,
    /// True if the element need not receive the events.
    pub force: bool,
}

impl Default for Clicking {
    fn default() -> Self {
        Self { button: MouseButton::Left, count: 1, modifiers: 0, force: false }
    }
}

/// The time limit for a page to handle an input event.
const ACKNOWLEDGED: Duration = Duration::from_secs(30);
/// The time limit for the hit check after a click, as the page may be navigating.
const LOOKED_BACK: Duration = Duration::from_secs(1);
/// The time after which an empty popup counts as loaded.
const EMPTY_POPUP: Duration = Duration::from_secs(2);

const INTERCEPT_CHOOSER: &str = "Page.setInterceptFileChooserDialog";

/// Ends the interception of file choosers when it is dropped half-way through an upload.
struct Intercepting<'a> {
    browser: &'a Browser,
    page: &'a str,
    is_ended: bool,
}

impl Drop for Intercepting<'_> {
    fn drop(&mut self) {
        if !self.is_ended {
            self.browser.send(self.page, INTERCEPT_CHOOSER, json!({ "enabled": false }));
        }
    }
}

impl Browser {
    /// Clicks an element once it is visible, stable, enabled and not covered, and waits for the
    /// navigation that the click starts.
    pub async fn click(&self, target: Target<'_>, how: &Clicking) -> Result<(), PageError> {
        let mut deadline = Instant::now() + target.timeout;
        let ready = if how.force { "forced" } else { "point" };
        let wants: &[&str] =
            if how.force { &["visible", ready] } else { &["visible", "stable", "enabled", ready] };
        let mut left = target.timeout;
        loop {
            let (frame, answer) = self.ready(Target { timeout: left, ..target }, wants).await?;
            if Instant::now() >= deadline {
                // A person had control in between.
                deadline = Instant::now() + target.timeout;
            }
            let (page, x, y) = self.place(&frame, &answer).await?;
            self.mouse(&page, "mouseMoved", x, y, "none", 0, how.modifiers).await?;
            if !how.force {
                self.ask(&frame, target.selector, "arm", &[]).await?;
            }
            self.click_at(&page, x, y, how).await?;
            // A document that is gone counts as hit.
            let hit = how.force || self.hit(&frame, target.selector).await;
            if hit {
                self.settle(&page, deadline).await;
                return Ok(());
            }
            if Instant::now() >= deadline {
                return Err(PageError::NotReady {
                    selector: target.selector.to_owned(),
                    reason: "the element moved away under the pointer".to_owned(),
                    after: target.timeout,
                });
            }
            left = deadline.saturating_duration_since(Instant::now());
        }
    }

    /// True if the events since `arm` reached the intended element.
    async fn hit(&self, frame: &Frame, selector: &str) -> bool {
        let answer = self.ask(frame, selector, "disarm", &[]);
        let answer = tokio::time::timeout(LOOKED_BACK, answer).await;
        !matches!(answer, Ok(Ok(Answer { missed: true, .. })))
    }

    async fn click_at(&self, page: &str, x: f64, y: f64, how: &Clicking) -> Result<(), PageError> {
        let button = match how.button {
            MouseButton::Left => "left",
            MouseButton::Middle => "middle",
            MouseButton::Right => "right",
        };
        for count in 1..=how.count.max(1) {
            self.mouse(page, "mousePressed", x, y, button, count, how.modifiers).await?;
            self.mouse(page, "mouseReleased", x, y, button, count, how.modifiers).await?;
        }
        Ok(())
    }

    #[expect(clippy::too_many_arguments, reason = "it is one CDP command, field by field")]
    pub(super) async fn mouse(
        &self,
        page: &str,
        kind: &str,
        x: f64,
        y: f64,
        button: &str,
        count: u8,
        modifiers: u8,
    ) -> Result<(), PageError> {
        let params = json!({
            "type": kind, "x": x, "y": y, "button": button, "clickCount": count,
            "modifiers": modifiers,
        });
        let sent = self.slow_call(page, "Input.dispatchMouseEvent", params);
        // The effect of a click may come before its answer, or instead of it: a tab hidden by a new
        // tab answers no input until it is in view again.
        let before = self.with(|tabs| tabs.working().cloned());
        let moved = self.until(Instant::now() + ACKNOWLEDGED, |tabs| {
            let gone = tabs.tab(page).is_none_or(|tab| tab.crashed);
            (gone || tabs.working() != before.as_ref()).then_some(())
        });
        tokio::select! {
            biased;
            answer = sent => match answer {
                // The click closed its own tab: it has arrived.
                Err(PageError::Refused { .. }) if self.with(|tabs| tabs.tab(page).is_none()) => Ok(()),
                other => other.map(|_nothing| ()),
            },
            moved = moved => match moved {
                Some(()) => Ok(()),
                None => {
                    self.working()?;
                    let what = "the page did not accept the input".to_owned();
                    Err(PageError::Timeout { what, after: ACKNOWLEDGED })
                }
            },
        }
    }

    /// Moves the pointer over an element.
    pub async fn hover(&self, target: Target<'_>) -> Result<(), PageError> {
        let (frame, answer) = self.ready(target, &["visible", "stable", "point"]).await?;
        let (page, x, y) = self.place(&frame, &answer).await?;
        self.mouse(&page, "mouseMoved", x, y, "none", 0, 0).await
    }

    /// Replaces the content of a field.
    pub async fn fill(&self, target: Target<'_>, value: &str) -> Result<(), PageError> {
        let (frame, _answer) = self.ready(target, &["visible", "enabled", "editable"]).await?;
        let prepared = self.ask(&frame, target.selector, "prepare", &[json!(value)]).await?;
        if !prepared.typed {
            return Ok(());
        }
        if value.is_empty() {
            if prepared.empty {
                return Ok(());
            }
            let stroke = keys::parse("Delete").ok_or(PageError::Closed)?;
            return self.stroke(&frame.session, &stroke).await;
        }
        self.call(&frame.session, "Input.insertText", json!({ "text": value })).await.map(|_| ())
    }

    /// Selects options of a list by value or label, and returns the selected values.
    pub async fn select(
        &self,
        target: Target<'_>,
        values: &[String],
    ) -> Result<Vec<String>, PageError> {
        let deadline = Instant::now() + target.timeout;
        let (frame, _answer) = self.ready(target, &["visible", "enabled"]).await?;
        let answer = self.ask(&frame, target.selector, "select", &[json!(values)]).await?;
        let page = self.page_of(&frame.session);
        self.settle(&page, deadline).await;
        Ok(answer.values)
    }

    /// Presses keys one after another, in an element or in the focused one.
    pub async fn press(
        &self,
        target: Option<Target<'_>>,
        strokes: &[Stroke],
        timeout: Duration,
    ) -> Result<(), PageError> {
        let session = match target {
            Some(target) => {
                let (frame, _answer) = self.ready(target, &["visible", "enabled"]).await?;
                self.ask(&frame, target.selector, "focus", &[]).await?;
                frame.session
            }
            None => self.working()?,
        };
        for stroke in strokes {
            self.waited_for_takeover().await;
            self.stroke(&session, stroke).await?;
        }
        let deadline = Instant::now() + timeout;
        let page = self.page_of(&session);
        self.settle(&page, deadline).await;
        Ok(())
    }

    /// Types a text key by key at the caret of an element, as a person would. A line break is the
    /// Enter key; what is on no key of the keyboard is inserted.
    pub async fn type_text(&self, target: Target<'_>, text: &str) -> Result<(), PageError> {
        let (frame, _answer) = self.ready(target, &["visible", "enabled"]).await?;
        self.ask(&frame, target.selector, "focus", &[]).await?;
        for letter in text.replace("\r\n", "\n").chars() {
            self.waited_for_takeover().await;
            let stroke = match letter {
                '\n' | '\r' => keys::parse("Enter"),
                '\t' => keys::parse("Tab"),
                letter => keys::parse(&letter.to_string()).filter(|key| !key.code.is_empty()),
            };
            match stroke {
                Some(stroke) => self.stroke(&frame.session, &stroke).await?,
                None => {
                    let params = json!({ "text": letter.to_string() });
                    self.call(&frame.session, "Input.insertText", params).await?;
                }
            }
        }
        let page = self.page_of(&frame.session);
        self.settle(&page, Instant::now() + target.timeout).await;
        Ok(())
    }

    async fn stroke(&self, session: &str, stroke: &Stroke) -> Result<(), PageError> {
        let held = [(1, "Alt", 18), (2, "Control", 17), (4, "Meta", 91), (8, "Shift", 16)];
        let named_shift = stroke.modifiers & 8 != 0 && stroke.text.is_none();
        let mut modifiers = 0;
        for (bit, key, code) in held {
            // A capital letter is typed without an event for its Shift key.
            if stroke.modifiers & bit != 0 && (bit != 8 || named_shift) {
                modifiers |= bit;
                let params = json!({
                    "type": "rawKeyDown", "key": key, "code": format!("{key}Left"),
                    "windowsVirtualKeyCode": code, "modifiers": modifiers,
                });
                self.call(session, "Input.dispatchKeyEvent", params).await?;
            }
        }
        let mut params = json!({
            "type": if stroke.text.is_some() { "keyDown" } else { "rawKeyDown" },
            "key": stroke.key, "code": stroke.code,
            "windowsVirtualKeyCode": stroke.key_code, "modifiers": stroke.modifiers,
        });
        if let (Some(text), Some(object)) = (&stroke.text, params.as_object_mut()) {
            object.insert("text".to_owned(), Value::from(text.as_str()));
            object.insert("unmodifiedText".to_owned(), Value::from(text.as_str()));
        }
        let commands: &[&str] = match (stroke.modifiers, stroke.code.as_str()) {
            (2, "KeyA") => &["selectAll"],
            _ => &[],
        };
        if let (false, Some(object)) = (commands.is_empty(), params.as_object_mut()) {
            object.insert("commands".to_owned(), json!(commands));
        }
        self.call(session, "Input.dispatchKeyEvent", params).await?;
        let up = json!({
            "type": "keyUp", "key": stroke.key, "code": stroke.code,
            "windowsVirtualKeyCode": stroke.key_code, "modifiers": stroke.modifiers,
        });
        self.after_the_last_event(session, up).await?;
        for (bit, key, code) in held.into_iter().rev() {
            if modifiers & bit != 0 {
                modifiers &= !bit;
                let params = json!({
                    "type": "keyUp", "key": key, "code": format!("{key}Left"),
                    "windowsVirtualKeyCode": code, "modifiers": modifiers,
                });
                self.after_the_last_event(session, params).await?;
            }
        }
        Ok(())
    }

    /// Dispatches the last event of a key press. A refusal is no error: the key may have closed the
    /// tab or replaced the process of the frame.
    async fn after_the_last_event(&self, session: &str, params: Value) -> Result<(), PageError> {
        match self.call(session, "Input.dispatchKeyEvent", params).await {
            Ok(_) | Err(PageError::Refused { .. }) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Scrolls an element into view. With an amount or an end, scrolls the element or the page.
    pub async fn scroll(
        &self,
        target: Option<Target<'_>>,
        by: (f64, f64),
        to: Option<ScrollEnd>,
    ) -> Result<(), PageError> {
        let to = to.map(|end| match end {
            ScrollEnd::Top => "top",
            ScrollEnd::Bottom => "bottom",
        });
        let (frame, selector) = match target {
            Some(target) => (self.ready(target, &["attached"]).await?.0, target.selector),
            None => (self.main_frame()?, "the page"),
        };
        if target.is_none() {
            let timeout = Duration::from_secs(10);
            let whole = Target { selector: "the page", frames: &[], timeout };
            self.in_frame(whole, "release", &Value::Null, |_left| Vec::new()).await?;
        }
        let arguments = [json!(by.0), json!(by.1), json!(to)];
        self.ask(&frame, selector, "scroll", &arguments).await.map(|_answer| ())
    }

    /// Passes files to a file field, or to the file chooser that a click on the element opens.
    pub async fn upload(&self, target: Target<'_>, files: &[PathBuf]) -> Result<(), PageError> {
        let (frame, _answer) = self.ready(target, &["attached"]).await?;
        let object = self.held(&frame).await?;
        let params = json!({ "objectId": object });
        let node = self.call(&frame.session, "DOM.describeNode", params).await?;
        let tag = node.pointer("/node/nodeName").and_then(Value::as_str).unwrap_or_default();
        if tag.eq_ignore_ascii_case("input") {
            let params = json!({ "files": files, "objectId": object });
            return self.call(&frame.session, "DOM.setFileInputFiles", params).await.map(|_| ());
        }
        let page = self.page_of(&frame.session);
        let intercept = |enabled: bool| json!({ "enabled": enabled });
        let mut intercepting = Intercepting { browser: self, page: &page, is_ended: false };
        self.call(&page, INTERCEPT_CHOOSER, intercept(true)).await?;
        self.edit(|tabs| tabs.choosers.clear());
        let chosen = self.choose(target, files).await;
        let ended = self.call(&page, INTERCEPT_CHOOSER, intercept(false)).await;
        intercepting.is_ended = true;
        drop(intercepting);
        chosen?;
        ended.map(|_| ())
    }

    async fn choose(&self, target: Target<'_>, files: &[PathBuf]) -> Result<(), PageError> {
        let deadline = Instant::now() + target.timeout;
        self.click(target, &Clicking::default()).await?;
        let look = |tabs: &Tabs| tabs.choosers.last().cloned();
        let opened = self.until_with_takeover(deadline, target.timeout, look).await;
        let (session, node) = opened.ok_or_else(|| PageError::NotReady {
            selector: target.selector.to_owned(),
            reason: "no file chooser was opened".to_owned(),
            after: target.timeout,
        })?;
        let params = json!({ "files": files, "backendNodeId": node });
        self.call(&session, "DOM.setFileInputFiles", params).await.map(|_| ())
    }

    /// Returns the tab that a session belongs to, or the session itself.
    pub(super) fn page_of(&self, session: &str) -> String {
        self.with(|tabs| {
            let mut page = session;
            while let Some(around) = tabs.parents.get(page) {
                page = around;
            }
            page.to_owned()
        })
    }

    /// Returns the session of the tab, and the point relative to the tab's viewport.
    pub(super) async fn place(
        &self,
        frame: &Frame,
        at: &Answer,
    ) -> Result<(String, f64, f64), PageError> {
        self.place_by(frame, at, None).await
    }

    /// Like [`place`](Self::place), with the DevTools id of the element that `at` is about; the held
    /// element if there is none.
    pub(super) async fn place_by(
        &self,
        frame: &Frame,
        at: &Answer,
        element: Option<String>,
    ) -> Result<(String, f64, f64), PageError> {
        let main = self.with(|tabs| tabs.tab(&frame.session).map(|tab| tab.main_frame.clone()));
        let (mut x, mut y) = (at.x, at.y);
        if main.as_deref() == Some(frame.id.as_str()) {
            return Ok((frame.session.clone(), x, y));
        }
        let own_process = self.with(|tabs| tabs.frame_sessions.get(&frame.session).cloned());
        if own_process.as_deref() != Some(frame.id.as_str()) {
            // Quads are relative to the outermost frame of the process.
            let element = match element {
                Some(element) => element,
                None => self.held(frame).await?,
            };
            let params = json!({ "objectId": element });
            let quads = self.call(&frame.session, "DOM.getContentQuads", params).await?;
            let corner = |index: usize| {
                quads.pointer("/quads/0").and_then(|quad| quad.get(index)).and_then(Value::as_f64)
            };
            x += corner(0).unwrap_or(at.left) - at.left;
            y += corner(1).unwrap_or(at.top) - at.top;
        }
        let mut session = frame.session.clone();
        loop {
            let around = self.with(|tabs| {
                Some((
                    tabs.parents.get(&session)?.clone(),
                    tabs.frame_sessions.get(&session)?.clone(),
                ))
            });
            let Some((around, id)) = around else { return Ok((session, x, y)) };
            let owner = self.call(&around, "DOM.getFrameOwner", json!({ "frameId": id })).await?;
            let node = owner.get("backendNodeId").cloned().unwrap_or_default();
            let params = json!({ "backendNodeId": node });
            let model = self.call(&around, "DOM.getBoxModel", params).await?;
            let corner = |index: usize| {
                model
                    .pointer("/model/content")
                    .and_then(|quad| quad.get(index))
                    .and_then(Value::as_f64)
            };
            x += corner(0).unwrap_or_default();
            y += corner(1).unwrap_or_default();
            session = around;
        }
    }

    /// Waits for the navigation that an action started, until the document has been parsed.
    pub(super) async fn settle(&self, page: &str, deadline: Instant) {
        let task = json!({
            "expression": "new Promise((resolve) => setTimeout(() => resolve(window.closed), 0))",
            "awaitPromise": true,
            "returnByValue": true,
        });
        let moment = deadline.min(Instant::now() + Duration::from_secs(1));
        // A form is submitted in a task of its own; its navigation is known after the next task.
        let answer =
            tokio::time::timeout_at(moment, self.call(page, "Runtime.evaluate", task)).await;
        let closing = answer
            .ok()
            .and_then(Result::ok)
            .and_then(|answer| answer.pointer("/result/value").and_then(Value::as_bool));
        if closing == Some(true) {
            self.until(deadline, |tabs| tabs.tab(page).is_none().then_some(())).await;
            return;
        }
        self.catch_up();
        let followed = self.with(|tabs| tabs.working().cloned());
        match followed {
            Some(session) if session != page => {
                let deadline = deadline.min(Instant::now() + EMPTY_POPUP);
                self.until(deadline, |tabs| {
                    let Some(tab) = tabs.tab(&session) else { return Some(()) };
                    let empty = ["", "about:blank"].contains(&tab.document.url.as_str());
                    (!empty && tab.document.reached.contains("DOMContentLoaded")).then_some(())
                })
                .await;
            }
            Some(_) | None => {
                let moving = self.with(|tabs| tabs.tab(page).is_some_and(|tab| tab.navigating));
                if !moving
                    && self.with(|tabs| {
                        tabs.tab(page)
                            .is_none_or(|tab| tab.document.reached.contains("DOMContentLoaded"))
                    })
                {
                    return;
                }
                self.until(deadline, |tabs| {
                    let Some(tab) = tabs.tab(page) else { return Some(()) };
                    let parsed = tab.document.reached.contains("DOMContentLoaded");
                    (!tab.navigating && parsed || tab.crashed).then_some(())
                })
                .await;
            }
        }
    }
}
