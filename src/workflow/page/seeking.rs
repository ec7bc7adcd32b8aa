//! Steps of locators that the browser evaluates and not the script in the page: references and roles.
//!
//! The elements found for such a step are arguments of the script, which evaluates the steps around it.
//! As elements come and go, a call that waits is made in short slices, each with new elements.

use std::pin::pin;
use std::time::Duration;

use futures_util::future::join_all;
use futures_util::stream::{self, StreamExt as _};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep_until};

use super::locator::Locator;
use super::outline::node::AxNode;
use super::outline::roles;
use super::references::{self, Referent};
use super::snapshot::Budget;
use super::worlds::{Answer, Frame, Miss, gone, loader_of, milliseconds};
use super::{Browser, PageError};

/// The time in which the script waits with the same elements.
const SLICE: Duration = Duration::from_millis(100);
/// The pauses between the first searches; later ones are as long as the last.
const PAUSES: [Duration; 3] =
    [Duration::from_millis(20), Duration::from_millis(50), Duration::from_millis(100)];
/// The maximum number of elements of a role.
const MOST: usize = 20_000;
/// The number of elements that are resolved at once; the connection queues no more than
/// about a thousand commands.
const AT_ONCE: usize = 128;

/// A step that the browser evaluates.
#[derive(Debug, Clone, PartialEq)]
enum Query {
    Reference(String),
    Role { role: String, conditions: Vec<Condition> },
}

#[derive(Debug, Clone, PartialEq)]
struct Condition {
    name: String,
    value: String,
    exact: bool,
}

/// The steps that the browser evaluates, within the arguments of a script.
#[derive(Debug, Default)]
pub(super) struct Queries(Vec<Query>);

/// Elements as arguments of a script.
#[derive(Debug, Default)]
pub(super) struct Found {
    /// The number of elements of each query.
    pub(super) sizes: Vec<usize>,
    /// The DevTools ids of all of them, in the order of the queries.
    pub(super) objects: Vec<String>,
    group: Option<String>,
}

impl Queries {
    /// Numbers the steps in `sought` that the browser evaluates, by a field `given`. `sought` is a
    /// serialized [`Locator`], or contains such.
    pub(super) fn number(sought: &mut Value) -> Self {
        let mut queries = Self::default();
        queries.walk(sought);
        queries
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn walk(&mut self, value: &mut Value) {
        match value {
            Value::Array(items) => items.iter_mut().for_each(|item| self.walk(item)),
            Value::Object(object) => {
                let text = |key: &str| object.get(key).and_then(Value::as_str);
                let body = text("body").unwrap_or_default().to_owned();
                let query = match text("engine") {
                    Some("ref") => Query::Reference(body),
                    Some("role") => {
                        let conditions = object.get("conditions").and_then(Value::as_array);
                        let conditions = conditions.into_iter().flatten().map(condition).collect();
                        Query::Role { role: body, conditions }
                    }
                    Some(_) => return,
                    None => {
                        object.values_mut().for_each(|inner| self.walk(inner));
                        return;
                    }
                };
                object.insert("given".to_owned(), json!(self.0.len()));
                self.0.push(query);
            }
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
    }

    fn first_reference(&self) -> Option<&str> {
        self.0.iter().find_map(|query| match query {
            Query::Reference(reference) => Some(reference.as_str()),
            Query::Role { .. } => None,
        })
    }
}

fn condition(value: &Value) -> Condition {
    let text = |key: &str| value.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
    let exact = value.get("exact").and_then(Value::as_bool).unwrap_or(false);
    Condition { name: text("name"), value: text("value"), exact }
}

/// Returns an error for a reference where it has no meaning.
pub(super) fn refuse_reference(locator: &Locator) -> Result<(), PageError> {
    match locator.reference() {
        None => Ok(()),
        Some(reference) => {
            let reason = "a reference already stands for an element in its frame";
            Err(PageError::Selector(format!("`ref={reference}`: {reason}")))
        }
    }
}

impl Browser {
    /// Returns the element of a reference such as `e12`, if it is still known.
    pub(super) fn referent(&self, reference: &str) -> Result<Referent, PageError> {
        let number = references::parse(reference);
        let referent = number.and_then(|number| self.references().get(number));
        referent.ok_or_else(|| references::stale(reference))
    }

    /// Returns the frame of the first reference among the steps.
    pub(super) fn frame_of(&self, queries: &Queries) -> Result<Option<Frame>, PageError> {
        let Some(reference) = queries.first_reference() else { return Ok(None) };
        let frame = self.referent(reference)?.document.frame.clone();
        if self.page_of(&frame.session) != self.working()? {
            let known = self.with(|tabs| {
                tabs.tab(&frame.session).is_some() || tabs.parents.contains_key(&frame.session)
            });
            if !known {
                return Err(references::stale(reference));
            }
            return Err(PageError::Unfit {
                selector: format!("ref={reference}"),
                reason: "the element is in another tab; select that tab first".to_owned(),
            });
        }
        Ok(Some(frame))
    }

    /// Calls a method of the injected script with `sought` and further arguments, until it succeeds
    /// or the deadline has passed. `arguments` is called with the milliseconds left.
    pub(super) async fn seek(
        &self,
        frame: &Frame,
        method: &str,
        sought: &Value,
        arguments: &(dyn Fn(u64) -> Vec<Value> + Sync),
        deadline: Instant,
    ) -> Result<Answer, Miss> {
        let mut sought = sought.clone();
        let queries = Queries::number(&mut sought);
        let mut pauses = PAUSES.into_iter();
        let mut pause = Duration::ZERO;
        loop {
            let began = Instant::now();
            let given = self.find(frame, &queries).await?;
            let searched = began.elapsed();
            let left = deadline.saturating_duration_since(Instant::now());
            // Nothing to wait for within the page: only another search can find something.
            let is_empty = !queries.is_empty() && given.objects.is_empty();
            let slice = match (queries.is_empty(), is_empty) {
                (true, _) => left,
                (false, true) => Duration::ZERO,
                (false, false) => left.min(SLICE),
            };
            let mut all = vec![sought.clone()];
            all.extend(arguments(milliseconds(slice)));
            let answer = self.call_injected(frame, method, &all, &given).await;
            self.release(frame, given);
            let answer = answer?;
            if answer.stale {
                let reference = queries.first_reference().unwrap_or_default();
                return Err(Miss::Failed(references::stale(reference)));
            }
            if answer.ok || queries.is_empty() || Instant::now() >= deadline {
                return Ok(answer);
            }
            pause = pauses.next().unwrap_or(pause);
            // A search of a large page is expensive for it: it has three times as long without one.
            let next = began + pause.max(searched * 4);
            sleep_until(next.min(deadline)).await;
        }
    }

    /// Calls a method of the injected script once, whose first argument is `sought`.
    pub(super) async fn seek_once(
        &self,
        frame: &Frame,
        method: &str,
        sought: &Value,
    ) -> Result<Value, Miss> {
        let mut sought = sought.clone();
        let queries = Queries::number(&mut sought);
        let given = self.find(frame, &queries).await?;
        let value = self.call_injected_value(frame, method, &[sought], &given).await;
        self.release(frame, given);
        let value = value?;
        if value.get("stale") == Some(&Value::Bool(true)) {
            let reference = queries.first_reference().unwrap_or_default();
            return Err(Miss::Failed(references::stale(reference)));
        }
        Ok(value)
    }

    /// Calls a method of the injected script with elements, given by their DevTools ids.
    pub(super) async fn call_with(
        &self,
        frame: &Frame,
        method: &str,
        objects: &[String],
    ) -> Result<Answer, Miss> {
        let (sizes, objects) = (vec![objects.len()], objects.to_vec());
        let given = Found { sizes, objects, group: None };
        self.call_injected(frame, method, &[json!({ "given": 0 })], &given).await
    }

    pub(super) async fn call_injected(
        &self,
        frame: &Frame,
        method: &str,
        arguments: &[Value],
        given: &Found,
    ) -> Result<Answer, Miss> {
        let value = self.call_injected_value(frame, method, arguments, given).await?;
        Ok(serde_json::from_value(value).unwrap_or_default())
    }

    async fn call_injected_value(
        &self,
        frame: &Frame,
        method: &str,
        arguments: &[Value],
        given: &Found,
    ) -> Result<Value, Miss> {
        let function = "(...args) => greenroom.call(...args)";
        let mut all = vec![json!(method), json!(arguments), json!(given.sizes)];
        all.iter_mut().for_each(|value| *value = json!({ "value": value.take() }));
        all.extend(given.objects.iter().map(|object| json!({ "objectId": object })));
        self.attempt(frame, function, all, true).await
    }

    /// Finds the elements of queries in a frame.
    async fn find(&self, frame: &Frame, queries: &Queries) -> Result<Found, Miss> {
        if queries.is_empty() {
            return Ok(Found::default());
        }
        let world = self.world(frame).await.map_err(|error| self.forgotten(frame, error));
        let (context, document) =
            world.map_err(|miss| match (miss, queries.first_reference()) {
                // The frame itself is gone.
                (Miss::Gone, Some(reference)) => Miss::Failed(references::stale(reference)),
                (miss, _) => miss,
            })?;
        let group = format!("greenroom-{:016x}", rand::random::<u64>());
        let mut given = Found { group: Some(group.clone()), ..Found::default() };
        for query in &queries.0 {
            let found = match query {
                Query::Reference(reference) => {
                    let object = self.find_reference(frame, reference, context, &group).await?;
                    vec![object]
                }
                Query::Role { role, conditions } => {
                    let nodes = self.find_role(frame, &document, role, conditions).await?;
                    let resolved = self.resolve_all(frame, nodes, context, &group).await;
                    resolved.inspect_err(|_miss| self.release_group(frame, &group))?
                }
            };
            given.sizes.push(found.len());
            given.objects.extend(found);
        }
        Ok(given)
    }

    async fn find_reference(
        &self,
        frame: &Frame,
        reference: &str,
        context: i64,
        group: &str,
    ) -> Result<String, Miss> {
        let stale = || Miss::Failed(references::stale(reference));
        let referent = self.referent(reference)?;
        if referent.document.frame != *frame {
            return Err(Miss::Failed(PageError::Selector(
                "references of different frames cannot be combined".to_owned(),
            )));
        }
        let (shown, object) = tokio::join!(
            self.slow_call(&frame.session, "Page.getFrameTree", json!({})),
            self.resolve(frame, referent.node, context, group),
        );
        match shown.map_err(Miss::from) {
            Ok(shown)
                if loader_of(&shown, &frame.id).as_ref() == Some(&referent.document.loader) => {}
            Ok(_) | Err(Miss::Gone) => return Err(stale()),
            Err(Miss::Failed(error)) => return Err(Miss::Failed(error)),
        }
        object.map_err(|error| {
            let is_gone = matches!(&error, PageError::Refused { message, .. }
                if message.contains("No node with given id"));
            // Otherwise the context may be that of a former document.
            if is_gone { stale() } else { self.forgotten(frame, error) }
        })
    }

    /// Forgets the world of a frame if an error says that its document is gone.
    fn forgotten(&self, frame: &Frame, error: PageError) -> Miss {
        let miss = Miss::from(error);
        if matches!(miss, Miss::Gone) {
            self.contexts().forget(frame);
        }
        miss
    }

    /// Returns the DevTools id of a node's object in the isolated world.
    pub(super) async fn resolve(
        &self,
        frame: &Frame,
        node: i64,
        context: i64,
        group: &str,
    ) -> Result<String, PageError> {
        let params = json!({
            "backendNodeId": node, "executionContextId": context, "objectGroup": group,
        });
        let answer = self.slow_call(&frame.session, "DOM.resolveNode", params).await?;
        let object = answer.pointer("/object/objectId").and_then(Value::as_str);
        object.map(str::to_owned).ok_or_else(|| PageError::Refused {
            method: "DOM.resolveNode".to_owned(),
            message: "No node with given id".to_owned(),
        })
    }

    /// Returns the DevTools ids of the objects of nodes, in their order, without those that are gone.
    async fn resolve_all(
        &self,
        frame: &Frame,
        nodes: Vec<i64>,
        context: i64,
        group: &str,
    ) -> Result<Vec<String>, Miss> {
        let resolving: Vec<_> =
            nodes.into_iter().map(|node| self.resolve(frame, node, context, group)).collect();
        let mut resolved = pin!(stream::iter(resolving).buffered(AT_ONCE));
        let mut objects = Vec::new();
        while let Some(object) = resolved.next().await {
            match object {
                Ok(object) => objects.push(object),
                // The element was removed since the search.
                Err(error) if gone(&error) => {}
                Err(error) => return Err(Miss::Failed(error)),
            }
        }
        Ok(objects)
    }

    /// Returns the nodes of a role that fulfil the conditions.
    async fn find_role(
        &self,
        frame: &Frame,
        document: &str,
        role: &str,
        conditions: &[Condition],
    ) -> Result<Vec<i64>, Miss> {
        // The browser builds the tree of the whole document for this.
        if !self.contexts().is_measured(frame) {
            self.check_size(frame, &Budget::default()).await?;
        }
        let queries = roles::in_chromium(role).into_iter().map(|role| {
            let params = json!({ "objectId": document, "role": role });
            self.slow_call(&frame.session, "Accessibility.queryAXTree", params)
        });
        let mut found = Vec::new();
        for answer in join_all(queries).await {
            let mut answer = answer.map_err(|error| self.forgotten(frame, error))?;
            let nodes = answer.get_mut("nodes").map(Value::take).unwrap_or_default();
            let nodes: Vec<AxNode> = serde_json::from_value(nodes).unwrap_or_default();
            let fit = nodes.iter().filter(|node| !node.ignored && holds_all(node, conditions));
            found.extend(fit.filter_map(|node| node.node));
        }
        found.truncate(MOST);
        Ok(found)
    }

    /// Lets the page drop the objects of a call.
    fn release(&self, frame: &Frame, given: Found) {
        if let Some(group) = given.group.filter(|_group| !given.objects.is_empty()) {
            self.release_group(frame, &group);
        }
    }

    fn release_group(&self, frame: &Frame, group: &str) {
        let params = json!({ "objectGroup": group });
        self.send(&frame.session, "Runtime.releaseObjectGroup", params);
    }
}

fn holds_all(node: &AxNode, conditions: &[Condition]) -> bool {
    let is_strict = conditions.iter().any(|is| is.name == "exact" && is.value != "false");
    conditions.iter().all(|condition| holds(node, condition, is_strict))
}

fn holds(node: &AxNode, condition: &Condition, is_strict: bool) -> bool {
    let wanted = condition.value.as_str();
    let is_wanted = wanted != "false";
    let state = |name: &str| node.property(name).unwrap_or_default();
    match condition.name.as_str() {
        "name" => {
            let squash = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
            let (found, wanted) = (squash(node.name()), squash(wanted));
            if condition.exact || is_strict {
                found == wanted
            } else {
                found.to_lowercase().contains(&wanted.to_lowercase())
            }
        }
        "checked" | "pressed" if wanted == "mixed" => state(&condition.name) == "mixed",
        "checked" | "pressed" | "expanded" | "selected" | "disabled" => {
            (state(&condition.name) == "true") == is_wanted
        }
        "level" => state("level") == wanted,
        _ => true,
    }
}
