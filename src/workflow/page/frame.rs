//! Frames of a page: where scripts run and elements are found.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::{Instant, timeout_at};

use super::error::line;
use super::locator::Locator;
use super::seeking::{Queries, refuse_reference};
use super::worlds::{Answer, Frame, Miss, gone};
use super::{Browser, PageError};

const INJECTED: &str = include_str!("injected.js");
/// The time after the deadline in which the page may still report the condition that was not met.
const GRACE: Duration = Duration::from_secs(2);
/// The time limit for a script that does not wait.
const PATIENCE: Duration = Duration::from_secs(30);

/// An element, and the time to wait for it.
#[derive(Debug, Clone, Copy)]
pub struct Target<'a> {
    /// The locator of the element.
    pub selector: &'a str,
    /// The locators of the frames around it, outermost first.
    pub frames: &'a [String],
    /// The time to wait for the element.
    pub timeout: Duration,
}

/// Converts a thrown exception to an error.
fn thrown(details: &Value) -> PageError {
    let class = details.pointer("/exception/className").and_then(Value::as_str);
    let description = details.pointer("/exception/description").and_then(Value::as_str);
    let value = details.pointer("/exception/value").map(Value::to_string);
    let text =
        details.get("text").and_then(Value::as_str).unwrap_or("the script threw an exception");
    let message = description.map(str::to_owned).or(value).unwrap_or_else(|| text.to_owned());
    let message = message.lines().next().unwrap_or_default();
    // A long selector in the message comes before these words.
    let selector = class == Some("DOMException")
        && (message.contains("not a valid selector") || message.contains("not a valid XPath"));
    let message = line(message);
    if selector { PageError::Selector(message) } else { PageError::Script(message) }
}

impl Browser {
    /// Returns the main frame of the current tab.
    pub fn main_frame(&self) -> Result<Frame, PageError> {
        let session = self.working()?;
        let id = self.with(|tabs| tabs.tab(&session).map(|tab| tab.main_frame.clone()));
        Ok(Frame { id: id.ok_or(PageError::Closed)?, session })
    }

    async fn context(&self, frame: &Frame) -> Result<i64, PageError> {
        self.world(frame).await.map(|(context, _document)| context)
    }

    /// Returns the isolated world of a frame: its execution context, and its object for the document.
    pub(super) async fn world(&self, frame: &Frame) -> Result<(i64, String), PageError> {
        let known = self.contexts().get(frame);
        if let Some(world) = known {
            return Ok(world);
        }
        let params = json!({ "frameId": frame.id, "worldName": "greenroom" });
        let made = self.call(&frame.session, "Page.createIsolatedWorld", params).await?;
        let context = made.get("executionContextId").and_then(Value::as_i64).unwrap_or_default();
        let params = json!({ "expression": INJECTED, "contextId": context });
        let answer = self.call(&frame.session, "Runtime.evaluate", params).await?;
        if let Some(details) = answer.get("exceptionDetails") {
            return Err(thrown(details));
        }
        let document = answer.pointer("/result/objectId").and_then(Value::as_str);
        let world = (context, document.unwrap_or_default().to_owned());
        self.contexts().set(frame, world.clone());
        Ok(world)
    }

    /// Calls `function` once in the isolated world of a frame. The arguments have
    /// the form of `Runtime.CallArgument`.
    pub(super) async fn attempt(
        &self,
        frame: &Frame,
        function: &str,
        arguments: Vec<Value>,
        by_value: bool,
    ) -> Result<Value, Miss> {
        let context = self.context(frame).await?;
        let params = json!({
            "functionDeclaration": function,
            "executionContextId": context,
            "arguments": arguments,
            "returnByValue": by_value,
            "awaitPromise": true,
            "userGesture": true,
        });
        let answer = self.slow_call(&frame.session, "Runtime.callFunctionOn", params).await;
        let answer = answer.map_err(Miss::from).inspect_err(|miss| {
            if matches!(miss, Miss::Gone) {
                self.contexts().forget(frame);
            }
        })?;
        if let Some(details) = answer.get("exceptionDetails") {
            let error = thrown(details);
            // Another process counts its contexts from the beginning: this one is another world.
            if matches!(&error, PageError::Script(said) if said.contains("greenroom is not defined"))
            {
                self.contexts().forget(frame);
                return Err(Miss::Gone);
            }
            return Err(Miss::Failed(error));
        }
        let result = answer.get("result").cloned().unwrap_or_default();
        Ok(if by_value { result.get("value").cloned().unwrap_or_default() } else { result })
    }

    /// Calls a method of the injected script until it gives a value or the time is over. Its first
    /// argument is `sought`, which may contain locators; `arguments` gives the others, from the
    /// milliseconds left. The call is repeated in each new document of the frame.
    pub(super) async fn in_frame(
        &self,
        target: Target<'_>,
        method: &str,
        sought: &Value,
        arguments: impl Fn(u64) -> Vec<Value> + Sync,
    ) -> Result<(Frame, Answer), PageError> {
        let deadline = Instant::now() + target.timeout;
        let late = |reason: &str| PageError::NotReady {
            selector: target.selector.to_owned(),
            reason: reason.to_owned(),
            after: target.timeout,
        };
        loop {
            let work = async {
                let frame = self.frame_for(sought, target.frames, deadline, target.timeout).await?;
                let answer = self.seek(&frame, method, sought, &arguments, deadline).await?;
                Ok::<_, Miss>((frame, answer))
            };
            match timeout_at(deadline + GRACE, work).await {
                Err(_elapsed) => return Err(late("the page does not respond")),
                Ok(Err(Miss::Failed(error))) => return Err(error),
                Ok(Ok((frame, answer))) => {
                    if answer.ok {
                        return Ok((frame, answer));
                    }
                    return Err(late(&answer.reason));
                }
                Ok(Err(Miss::Gone)) => self
                    .next_document(deadline)
                    .await
                    .ok_or_else(|| late("the page kept changing"))?,
            }
        }
    }

    /// Waits until an execution context may have been destroyed, for 50 ms at most. None once the
    /// deadline has passed.
    pub(super) async fn next_document(&self, deadline: Instant) -> Option<()> {
        if Instant::now() >= deadline {
            return None;
        }
        let seen = self.with(|tabs| tabs.contexts);
        let moment = deadline.min(Instant::now() + Duration::from_millis(50));
        self.until(moment, |tabs| (tabs.contexts != seen).then_some(())).await;
        Some(())
    }

    /// Returns the frame in which `sought` is to be found: that of its references, or the one at the
    /// end of a path of frame locators.
    async fn frame_for(
        &self,
        sought: &Value,
        frames: &[String],
        deadline: Instant,
        whole: Duration,
    ) -> Result<Frame, Miss> {
        let queries = Queries::number(&mut sought.clone());
        let Some(frame) = self.frame_of(&queries)? else {
            return self.frame(frames, deadline, whole).await;
        };
        if !frames.is_empty() {
            let reason = "a reference needs no frame: it is found in its own";
            return Err(Miss::Failed(PageError::Selector(reason.to_owned())));
        }
        Ok(frame)
    }

    /// Resolves a path of frame locators, starting at the main frame.
    async fn frame(
        &self,
        frames: &[String],
        deadline: Instant,
        whole: Duration,
    ) -> Result<Frame, Miss> {
        let mut frame = self.main_frame()?;
        for selector in frames {
            let locator = Locator::parse(selector).map_err(|error| Miss::Failed(error.into()))?;
            refuse_reference(&locator)?;
            let arguments = |left| vec![json!(["attached"]), json!(left)];
            let answer = self.seek(&frame, "ready", &json!(locator), &arguments, deadline).await?;
            let refused = |reason: String| {
                Miss::Failed(PageError::NotReady {
                    selector: selector.clone(),
                    reason,
                    after: whole,
                })
            };
            if !answer.ok {
                return Err(refused(answer.reason));
            }
            let object = self.held(&frame).await?;
            let params = json!({ "objectId": object });
            let node = self.call(&frame.session, "DOM.describeNode", params).await?;
            let id = node.pointer("/node/frameId").and_then(Value::as_str);
            let id = id.ok_or_else(|| refused("the element is not a frame".to_owned()))?;
            frame = self.inner_frame(&frame, id);
        }
        Ok(frame)
    }

    /// Returns the frame of an id within another, which may have a process of its own.
    pub(super) fn inner_frame(&self, around: &Frame, id: &str) -> Frame {
        let session = self.with(|tabs| tabs.frames.get(id).cloned());
        Frame { session: session.unwrap_or_else(|| around.session.clone()), id: id.to_owned() }
    }

    /// Returns the DevTools object id of the element that the script in the frame holds.
    pub(super) async fn held(&self, frame: &Frame) -> Result<String, PageError> {
        let context = self.context(frame).await?;
        let params = json!({ "expression": "greenroom.held", "contextId": context });
        let answer = self.call(&frame.session, "Runtime.evaluate", params).await?;
        let object = answer.pointer("/result/objectId").and_then(Value::as_str);
        object.map(str::to_owned).ok_or_else(|| PageError::Refused {
            method: "Runtime.evaluate".to_owned(),
            message: "Could not find node".to_owned(),
        })
    }

    /// Waits until the first element of the locator is ready and no person has control, and holds it.
    /// Time in which a person has control does not count.
    pub(super) async fn ready(
        &self,
        target: Target<'_>,
        wants: &[&str],
    ) -> Result<(Frame, Answer), PageError> {
        let locator = json!(Locator::parse(target.selector)?);
        loop {
            let ready = self
                .in_frame(target, "ready", &locator, |left| vec![json!(wants), json!(left)])
                .await;
            match ready {
                Ok(ready) => {
                    if !self.waited_for_takeover().await {
                        return Ok(ready);
                    }
                    // The element may no longer be ready after a person had control.
                }
                Err(error @ PageError::NotReady { .. }) => {
                    if !self.waited_for_takeover().await {
                        return Err(error);
                    }
                    // A page does not respond while a dialog of the person is open.
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Calls a method of the script in a frame without waiting; a reason against the action is an
    /// error.
    pub(super) async fn ask(
        &self,
        frame: &Frame,
        selector: &str,
        method: &str,
        arguments: &[Value],
    ) -> Result<Answer, PageError> {
        let function = format!("(...args) => greenroom.{method}(...args)");
        let arguments = arguments.iter().map(|value| json!({ "value": value })).collect();
        let work = self.attempt(frame, &function, arguments, true);
        let late = |_elapsed| PageError::Unfit {
            selector: selector.to_owned(),
            reason: "the page does not respond".to_owned(),
        };
        let value = match tokio::time::timeout(PATIENCE, work).await.map_err(late)? {
            Ok(value) => value,
            Err(Miss::Failed(error)) => return Err(error),
            Err(Miss::Gone) => {
                let reason = "the page was left during an action".to_owned();
                return Err(PageError::Unfit { selector: selector.to_owned(), reason });
            }
        };
        let answer: Answer = serde_json::from_value(value).unwrap_or_default();
        if answer.ok {
            return Ok(answer);
        }
        Err(PageError::Unfit { selector: selector.to_owned(), reason: answer.reason })
    }

    /// Waits until an element has the given state.
    pub async fn wait_for_state(&self, target: Target<'_>, state: &str) -> Result<(), PageError> {
        let locator = Locator::parse(target.selector)?;
        // An element that is removed is what the caller waits for, and not an error.
        let goes = ["detached", "hidden"].contains(&state)
            && locator.reference().is_some_and(|reference| self.referent(reference).is_ok());
        let arguments = |left| vec![json!(state), json!(left)];
        match self.in_frame(target, "state", &json!(locator), arguments).await {
            Err(PageError::StaleReference { .. }) if goes => Ok(()),
            found => found.map(|_found| ()),
        }
    }

    /// Waits until the page shows the text.
    pub async fn wait_for_text(&self, target: Target<'_>) -> Result<(), PageError> {
        let text = json!(target.selector);
        self.in_frame(target, "text", &text, |left| vec![json!(left)]).await.map(|_found| ())
    }

    /// Reads values described like [`Field`](crate::workflow::definition::extract::Field), with
    /// locators in place of selectors.
    pub async fn extract(
        &self,
        target: Target<'_>,
        field: &Value,
        optional: bool,
    ) -> Result<Value, PageError> {
        let arguments = |left| vec![json!(left), json!(optional)];
        let (_frame, answer) = self.in_frame(target, "extract", field, arguments).await?;
        Ok(answer.value)
    }

    /// Returns the values that assertions compare: `count`, `text`, `value`, `visible`, `enabled`,
    /// `checked` of the locator's elements, and the page's `title`.
    pub async fn facts(
        &self,
        selector: Option<&str>,
        frames: &[String],
        deadline: Instant,
    ) -> Result<Value, PageError> {
        let locator = json!(selector.map(Locator::parse).transpose()?);
        let after = deadline.saturating_duration_since(Instant::now());
        loop {
            let work = async {
                let frame = self.frame_for(&locator, frames, deadline, after).await?;
                self.seek_once(&frame, "facts", &locator).await
            };
            let what = "the page did not respond".to_owned();
            match timeout_at(deadline + GRACE, work).await {
                Err(_elapsed) => return Err(PageError::Timeout { what, after }),
                Ok(Ok(facts)) => return Ok(facts),
                Ok(Err(Miss::Failed(error))) => return Err(error),
                Ok(Err(Miss::Gone)) => {
                    self.next_document(deadline).await.ok_or(PageError::Timeout { what, after })?
                }
            }
        }
    }

    /// Evaluates JavaScript in the page's own world: the body of an async function of `args`, or an
    /// expression.
    pub async fn script(
        &self,
        frames: &[String],
        source: &str,
        args: &Value,
        timeout: Duration,
    ) -> Result<Value, PageError> {
        let deadline = Instant::now() + timeout;
        let work = async {
            let frame = match self.frame(frames, deadline, timeout).await {
                Ok(frame) => frame,
                Err(Miss::Failed(error)) => return Err(error),
                Err(Miss::Gone) => return Err(PageError::Closed),
            };
            let document = self.document(&frame).await?;
            // The source is an expression if it parses as one; it is not run to find out.
            let function = format!(
                "async function (args) {{
                    const source = {source};
                    const make = Object.getPrototypeOf(async function () {{}}).constructor;
                    let body;
                    try {{ body = new make('args', 'return (' + source + '\\n)'); }}
                    catch (error) {{ body = new make('args', source); }}
                    return await body(args);
                }}",
                source = Value::from(source),
            );
            let params = json!({
                "functionDeclaration": function,
                "objectId": document,
                "arguments": [{ "value": args }],
                "returnByValue": true,
                "awaitPromise": true,
                "userGesture": true,
            });
            let answer = self.slow_call(&frame.session, "Runtime.callFunctionOn", params).await?;
            if let Some(details) = answer.get("exceptionDetails") {
                return Err(thrown(details));
            }
            Ok(answer.pointer("/result/value").cloned().unwrap_or_default())
        };
        timeout_at(deadline, work).await.unwrap_or_else(|_elapsed| {
            let what = "the script did not end".to_owned();
            Err(PageError::Timeout { what, after: timeout })
        })
    }

    /// Returns the DevTools object id of a frame's document in the page's own world.
    async fn document(&self, frame: &Frame) -> Result<String, PageError> {
        let context = self.context(frame).await?;
        let params = json!({ "expression": "document", "contextId": context });
        let answer = self.call(&frame.session, "Runtime.evaluate", params).await;
        let answer = match answer {
            Err(error) if gone(&error) => {
                self.contexts().forget(frame);
                let context = self.context(frame).await?;
                let params = json!({ "expression": "document", "contextId": context });
                self.call(&frame.session, "Runtime.evaluate", params).await?
            }
            other => other?,
        };
        let object = answer.pointer("/result/objectId").cloned().unwrap_or_default();
        let params = json!({ "objectId": object });
        let node = self.call(&frame.session, "DOM.describeNode", params).await?;
        let node = node.pointer("/node/backendNodeId").cloned().unwrap_or_default();
        let params = json!({ "backendNodeId": node });
        let resolved = self.call(&frame.session, "DOM.resolveNode", params).await?;
        let object = resolved.pointer("/object/objectId").and_then(Value::as_str);
        object.map(str::to_owned).ok_or(PageError::Closed)
    }
}
