//! Files that a person drops on a page: into the file input at that place, or to the page's own
//! handler of drops.
//!
//! Scripts run in a world of their own, in which a page replaces no function. The page gets the
//! names and the contents of the files, as in any other browser, and no path.

use std::path::PathBuf;

use serde_json::{Value, json};

use super::pages::{Pages, Tab};

/// The deepest nesting of frames that is followed.
const MOST_FRAMES: usize = 8;

/// The name of the world for scripts.
const WORLD: &str = "greenroom";

/// Returns the element at a place, also within shadow trees.
const ELEMENT: &str = "(x, y) => { let root = document, it = null; for (;;) { \
    const next = root.elementFromPoint(x, y); if (!next || next === it) return it; \
    it = next; if (!it.shadowRoot) return it; root = it.shadowRoot; } }";

/// Returns the file input that an element is, is in, or is the label of.
const INPUT: &str = "function () { \
    const takes = (it) => it instanceof HTMLInputElement && it.type === 'file' && !it.disabled; \
    for (let it = this; it; it = it.parentElement ?? it.getRootNode().host) { \
    if (takes(it)) return it; \
    if (it instanceof HTMLLabelElement && takes(it.control)) return it.control; } return null; }";

/// Returns true if a page takes files that are dropped on an element. A browser opens files that no
/// page takes.
const TAKES: &str = "function (names, x, y) { const data = new DataTransfer(); \
    for (const name of names) data.items.add(new File([], name)); \
    const sent = (kind) => this.dispatchEvent(new DragEvent(kind, { bubbles: true, cancelable: true, \
    composed: true, clientX: x, clientY: y, dataTransfer: data })); \
    sent('dragenter'); const taken = !sent('dragover'); sent('dragleave'); return taken; }";

/// Returns the place of a frame's content within the page around it.
const CONTENT: &str = "function () { const box = this.getBoundingClientRect(); \
    return [box.left + this.clientLeft, box.top + this.clientTop]; }";

/// The place of a drop.
#[derive(Debug, Clone, Copy)]
pub(super) enum Point {
    /// In pixels of the session's display.
    Display(f64, f64),
    /// In pixels of the page, as in the screencast.
    Page(f64, f64),
}

/// The part of a page that took the files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Taker {
    /// An input for files.
    Input,
    /// The page's handler of drops.
    Page,
}

impl Taker {
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Input => "input",
            Self::Page => "page",
        }
    }
}

/// An element of a frame.
struct Spot {
    /// The DevTools session of its frame.
    session: String,
    object: String,
    /// The place in its frame, in CSS pixels.
    x: f64,
    y: f64,
}

/// Gives files to the tab in view, as if they were dropped at a place.
///
/// # Errors
///
/// The message for the viewer, if the page takes no files there.
pub(super) async fn drop_files(
    pages: &Pages,
    files: &[PathBuf],
    point: Point,
) -> Result<Taker, String> {
    let tab = pages.active().await?;
    let session = pages.attach(&tab.id).await?;
    let metrics = pages.call(Some(&session), "Page.getLayoutMetrics", json!({})).await?;
    let zoom = metrics.pointer("/cssVisualViewport/zoom").and_then(Value::as_f64);
    let zoom = zoom.filter(|zoom| *zoom > 0.0).unwrap_or(1.0);
    let (x, y) = match point {
        Point::Page(x, y) => (x, y),
        Point::Display(x, y) => {
            let (left, top) = origin(pages, &tab, &session, zoom).await?;
            (x - left, y - top)
        }
    };
    let outside = || "drop the file on the page".to_owned();
    if !(x >= 0.0 && y >= 0.0 && x.is_finite() && y.is_finite()) {
        return Err(outside());
    }
    let spot = spot_at(pages, &tab, &session, (x / zoom, y / zoom)).await?;
    let spot = spot.ok_or_else(outside)?;

    let input = called(pages, &spot, INPUT, json!([]), false).await?;
    if let Some(object) = input.get("objectId").and_then(Value::as_str) {
        let params = json!({ "objectId": object, "files": files });
        pages.call(Some(&spot.session), "DOM.setFileInputFiles", params).await?;
        return Ok(Taker::Input);
    }
    let names: Vec<_> = files.iter().filter_map(|file| file.file_name()?.to_str()).collect();
    let arguments = json!([{ "value": names }, { "value": spot.x }, { "value": spot.y }]);
    let takes = called(pages, &spot, TAKES, arguments, true).await?;
    if takes.get("value").and_then(Value::as_bool) != Some(true) {
        return Err("the page takes no files there".to_owned());
    }
    let data = json!({ "items": [], "files": files, "dragOperationsMask": 1 });
    for kind in ["dragEnter", "dragOver", "drop"] {
        let params = json!({ "type": kind, "x": x, "y": y, "data": data });
        pages.call(Some(&session), "Input.dispatchDragEvent", params).await?;
    }
    Ok(Taker::Page)
}

/// Returns the place of the page on the display. The browser's own bars are above it.
async fn origin(pages: &Pages, tab: &Tab, session: &str, zoom: f64) -> Result<(f64, f64), String> {
    let params = json!({ "targetId": tab.id });
    let window = pages.call(None, "Browser.getWindowForTarget", params).await?;
    let bound = |name: &str| {
        window.pointer(&format!("/bounds/{name}")).and_then(Value::as_f64).unwrap_or_default()
    };
    let world = world(pages, session, &tab.id).await?;
    let inner = evaluated(pages, session, world, "innerHeight", true).await?;
    let inner = inner.get("value").and_then(Value::as_f64).unwrap_or_default();
    Ok((bound("left"), bound("top") + bound("height") - inner * zoom))
}

/// Returns the element at a place of the page, in its innermost frame.
async fn spot_at(
    pages: &Pages,
    tab: &Tab,
    session: &str,
    (mut x, mut y): (f64, f64),
) -> Result<Option<Spot>, String> {
    let (mut session, mut frame) = (session.to_owned(), tab.id.clone());
    for _ in 0..MOST_FRAMES {
        let context = match world(pages, &session, &frame).await {
            Ok(context) => context,
            // A frame of another site has a target of its own, with the same id.
            Err(_elsewhere) => {
                session = pages.attach(&frame).await?;
                world(pages, &session, &frame).await?
            }
        };
        let find = format!("({ELEMENT})({x}, {y})");
        let found = evaluated(pages, &session, context, &find, false).await?;
        let Some(object) = found.get("objectId").and_then(Value::as_str) else { return Ok(None) };
        let spot = Spot { session: session.clone(), object: object.to_owned(), x, y };
        let params = json!({ "objectId": object });
        let node = pages.call(Some(&session), "DOM.describeNode", params).await?;
        let Some(inner) = node.pointer("/node/frameId").and_then(Value::as_str) else {
            return Ok(Some(spot));
        };
        let content = called(pages, &spot, CONTENT, json!([]), true).await?;
        let side = |at: &str| content.pointer(at).and_then(Value::as_f64).unwrap_or_default();
        (x, y) = (x - side("/value/0"), y - side("/value/1"));
        frame = inner.to_owned();
    }
    Ok(None)
}

/// Returns the context of a world of our own in a frame.
async fn world(pages: &Pages, session: &str, frame: &str) -> Result<i64, String> {
    let params = json!({ "frameId": frame, "worldName": WORLD });
    let made = pages.call(Some(session), "Page.createIsolatedWorld", params).await?;
    let context = made.get("executionContextId").and_then(Value::as_i64);
    context.ok_or_else(|| "the page does not answer".to_owned())
}

async fn evaluated(
    pages: &Pages,
    session: &str,
    context: i64,
    expression: &str,
    by_value: bool,
) -> Result<Value, String> {
    let params =
        json!({ "expression": expression, "contextId": context, "returnByValue": by_value });
    let answer = pages.call(Some(session), "Runtime.evaluate", params).await?;
    Ok(answer.get("result").cloned().unwrap_or_default())
}

/// Calls a function with an element as `this`.
async fn called(
    pages: &Pages,
    spot: &Spot,
    function: &str,
    arguments: Value,
    by_value: bool,
) -> Result<Value, String> {
    let params = json!({
        "objectId": spot.object,
        "functionDeclaration": function,
        "arguments": arguments,
        "returnByValue": by_value,
    });
    let answer = pages.call(Some(&spot.session), "Runtime.callFunctionOn", params).await?;
    Ok(answer.get("result").cloned().unwrap_or_default())
}
