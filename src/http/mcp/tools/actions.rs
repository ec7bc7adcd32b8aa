//! Tools that act on elements, as a person does.

use schemars::JsonSchema;
use serde::Deserialize;

use super::super::answer::{Answer, inline};
use super::super::call::{Call, Held};
use super::super::entry::{Entry, Set};
use super::super::params::{Element, handle};
use super::pages::{WithSnapshot, with_snapshot};
use crate::http::error::ApiError;
use crate::http::validation::Fields;
use crate::workflow::definition::block::{MouseButton, ScrollEnd};
use crate::workflow::page::input::Clicking;
use crate::workflow::page::keys::{self, Stroke};

/// The most fields of a form that one call fills.
const MOST_FIELDS: usize = 100;

pub fn entries() -> Vec<Entry> {
    vec![
        Entry::new("click", Set::Act, "Click an element, once it is visible and still.", click),
        Entry::new("hover", Set::Act, "Move the pointer over an element.", hover),
        Entry::new(
            "type",
            Set::Act,
            "Write into a field: replaces what is in it, or types key by key with `slowly`.",
            type_text,
        ),
        Entry::new(
            "fill_form",
            Set::Act,
            "Fill several fields in one call: text fields, check boxes, radio buttons and lists.",
            fill_form,
        ),
        Entry::new("select", Set::Act, "Select options of a list, by value or label.", select),
        Entry::new(
            "press",
            Set::Act,
            "Press keys, one after another, as in `Enter` or `Control+A`, in an element or where the focus is.",
            press,
        ),
        Entry::new("drag", Set::Act, "Drag one element to another with the mouse.", drag),
        Entry::new(
            "scroll",
            Set::Act,
            "Scroll the page or an element, or scroll an element into view.",
            scroll,
        ),
    ]
}

/// Ends an action: what it did, and the page after it.
async fn ended(
    call: &Call,
    held: &Held,
    what: &str,
    snapshot: WithSnapshot,
) -> Result<Answer, ApiError> {
    with_snapshot(call, held, held.done(what)?, snapshot).await
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct ClickParams {
    /// The handle of the browser.
    browser: String,
    /// A reference of the snapshot, or a locator.
    target: String,
    /// `left` by default, `right` or `middle`.
    button: Option<String>,
    /// True for a double click.
    #[serde(default)]
    double: bool,
    /// Keys to hold: `Alt`, `Control`, `Meta`, `Shift`.
    #[serde(default)]
    modifiers: Vec<String>,
    /// The time to wait for the element, in seconds; 10 by default.
    wait_seconds: Option<f64>,
    /// True to answer with a snapshot of the page.
    #[serde(default)]
    snapshot: WithSnapshot,
}

async fn click(call: Call, params: ClickParams) -> Result<Answer, ApiError> {
    let mut fields = Fields::new();
    let asked = params.button.as_deref();
    let button = match asked.unwrap_or("left") {
        "left" => Ok(MouseButton::Left),
        "right" => Ok(MouseButton::Right),
        "middle" => Ok(MouseButton::Middle),
        _ => Err("expected `left`, `right` or `middle`"),
    };
    let button = fields.check("button", asked, button);
    let mut modifiers = 0;
    for name in &params.modifiers {
        let bit = keys::modifier(name).ok_or("expected `Alt`, `Control`, `Meta` or `Shift`");
        modifiers |= fields.check("modifiers", name.as_str(), bit).unwrap_or_default();
    }
    fields.finish()?;
    let held = call.act(&handle(&params.browser)?).await?;
    let element = Element::new(&call, &params.target, params.wait_seconds);
    let count = if params.double { 2 } else { 1 };
    let button = button.unwrap_or(MouseButton::Left);
    let how = Clicking { button, count, modifiers, force: false };
    held.run(&call, held.browser()?.click(element.target(), &how)).await?;
    ended(&call, &held, "Clicked.", params.snapshot).await
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct HoverParams {
    /// The handle of the browser.
    browser: String,
    /// A reference of the snapshot, or a locator.
    target: String,
    /// True to answer with a snapshot of the page.
    #[serde(default)]
    snapshot: WithSnapshot,
}

async fn hover(call: Call, params: HoverParams) -> Result<Answer, ApiError> {
    let held = call.act(&handle(&params.browser)?).await?;
    let element = Element::new(&call, &params.target, None);
    held.run(&call, held.browser()?.hover(element.target())).await?;
    ended(&call, &held, "The pointer is there.", params.snapshot).await
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct TypeParams {
    /// The handle of the browser.
    browser: String,
    /// A reference of the snapshot, or a locator.
    target: String,
    /// The text to write.
    text: String,
    /// True to type key by key after what is in the field.
    #[serde(default)]
    slowly: bool,
    /// True to press Enter afterwards.
    #[serde(default)]
    submit: bool,
    /// True to answer with a snapshot of the page.
    #[serde(default)]
    snapshot: WithSnapshot,
}

async fn type_text(call: Call, params: TypeParams) -> Result<Answer, ApiError> {
    let held = call.act(&handle(&params.browser)?).await?;
    let element = Element::new(&call, &params.target, None);
    let browser = held.browser()?;
    let typed = async {
        if params.slowly {
            browser.type_text(element.target(), &params.text).await?;
        } else {
            browser.fill(element.target(), &params.text).await?;
        }
        if params.submit {
            let strokes: Vec<Stroke> = keys::parse("Enter").into_iter().collect();
            browser.press(Some(element.target()), &strokes, call.left()).await?;
        }
        Ok(())
    };
    held.run(&call, typed).await?;
    ended(&call, &held, "Typed.", params.snapshot).await
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct FormParams {
    /// The handle of the browser.
    browser: String,
    /// The fields to fill, in this order.
    fields: Vec<FormField>,
    /// True to press Enter in the last field afterwards.
    #[serde(default)]
    submit: bool,
    /// True to answer with a snapshot of the page.
    #[serde(default)]
    snapshot: WithSnapshot,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct FormField {
    /// A reference of the snapshot, or a locator.
    target: String,
    /// The text; `true` or `false` for check boxes and radio buttons; the label or value for lists.
    value: FieldValue,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(untagged)]
enum FieldValue {
    Checked(bool),
    Text(String),
    Options(Vec<String>),
}

async fn fill_form(call: Call, params: FormParams) -> Result<Answer, ApiError> {
    let mut fields = Fields::new();
    let count = params.fields.len();
    let fits = (1..=MOST_FIELDS).contains(&count);
    fields.require("fields", count, fits, format!("expected 1 to {MOST_FIELDS} fields"));
    fields.finish()?;
    let held = call.act(&handle(&params.browser)?).await?;
    let browser = held.browser()?;
    for (index, field) in params.fields.iter().enumerate() {
        let element = Element::new(&call, &field.target, None);
        let filled = async {
            match &field.value {
                FieldValue::Text(text) => browser.fill_any(element.target(), text).await,
                FieldValue::Options(values) => {
                    browser.select(element.target(), values).await.map(|_selected| ())
                }
                FieldValue::Checked(checked) => {
                    browser.check(element.target(), *checked).await.map(|_changed| ())
                }
            }
        };
        held.run(&call, filled).await.map_err(|cause| {
            let mut problem = crate::http::problem::Problem::from(cause);
            let named = format!("field {} ({}): {problem}", index + 1, inline(&field.target, 100));
            problem.detail = named.into();
            ApiError::from(problem.with("filled", index))
        })?;
    }
    if params.submit
        && let Some(last) = params.fields.last()
    {
        let element = Element::new(&call, &last.target, None);
        let strokes: Vec<Stroke> = keys::parse("Enter").into_iter().collect();
        held.run(&call, browser.press(Some(element.target()), &strokes, call.left())).await?;
    }
    ended(&call, &held, &format!("Filled {count} fields."), params.snapshot).await
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct SelectParams {
    /// The handle of the browser.
    browser: String,
    /// A reference of the snapshot, or a locator.
    target: String,
    /// The values or labels of the options.
    values: Vec<String>,
    /// True to answer with a snapshot of the page.
    #[serde(default)]
    snapshot: WithSnapshot,
}

async fn select(call: Call, params: SelectParams) -> Result<Answer, ApiError> {
    let held = call.act(&handle(&params.browser)?).await?;
    let element = Element::new(&call, &params.target, None);
    let selected = held.browser()?.select(element.target(), &params.values);
    let selected = held.run(&call, selected).await?;
    let shown: Vec<String> = selected.iter().map(|value| inline(value, 100)).collect();
    ended(&call, &held, &format!("Selected {}.", shown.join(", ")), params.snapshot).await
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct PressParams {
    /// The handle of the browser.
    browser: String,
    /// The keys, as in `["Control+A", "Delete"]`.
    keys: Vec<String>,
    /// The element to press them in; where the focus is if left out.
    target: Option<String>,
    /// True to answer with a snapshot of the page.
    #[serde(default)]
    snapshot: WithSnapshot,
}

async fn press(call: Call, params: PressParams) -> Result<Answer, ApiError> {
    let mut fields = Fields::new();
    let count = params.keys.len();
    fields.require("keys", count, (1..=100).contains(&count), "expected 1 to 100 keys");
    let mut strokes = Vec::new();
    for (index, key) in params.keys.iter().enumerate() {
        let stroke = keys::parse(key)
            .ok_or("this is no key: expected one such as `Enter`, `a`, `Control+A`");
        strokes.extend(fields.check(&format!("keys[{index}]"), key.as_str(), stroke));
    }
    fields.finish()?;
    let held = call.act(&handle(&params.browser)?).await?;
    let element = params.target.as_deref().map(|target| Element::new(&call, target, None));
    let target = element.as_ref().map(Element::target);
    held.run(&call, held.browser()?.press(target, &strokes, call.left())).await?;
    ended(&call, &held, "Pressed.", params.snapshot).await
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct DragParams {
    /// The handle of the browser.
    browser: String,
    /// The element to drag: a reference or a locator.
    from: String,
    /// The element to drop it on.
    to: String,
    /// True to answer with a snapshot of the page.
    #[serde(default)]
    snapshot: WithSnapshot,
}

async fn drag(call: Call, params: DragParams) -> Result<Answer, ApiError> {
    let held = call.act(&handle(&params.browser)?).await?;
    let (from, to) =
        (Element::new(&call, &params.from, None), Element::new(&call, &params.to, None));
    held.run(&call, held.browser()?.drag(from.target(), to.target())).await?;
    ended(&call, &held, "Dragged.", params.snapshot).await
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct ScrollParams {
    /// The handle of the browser.
    browser: String,
    /// The element to scroll, or to scroll into view if nothing else is named.
    target: Option<String>,
    /// The pixels to scroll down; negative for up.
    down: Option<f64>,
    /// The pixels to scroll to the right; negative for left.
    right: Option<f64>,
    /// The end to scroll to: `top` or `bottom`.
    to: Option<String>,
    /// True to answer with a snapshot of the page.
    #[serde(default)]
    snapshot: WithSnapshot,
}

async fn scroll(call: Call, params: ScrollParams) -> Result<Answer, ApiError> {
    let mut fields = Fields::new();
    let asked = params.to.as_deref();
    let to = match asked {
        None => Ok(None),
        Some("top") => Ok(Some(ScrollEnd::Top)),
        Some("bottom") => Ok(Some(ScrollEnd::Bottom)),
        Some(_) => Err("expected `top` or `bottom`"),
    };
    let to = fields.check("to", asked, to).flatten();
    let by = (params.right.unwrap_or_default(), params.down.unwrap_or_default());
    let does = params.target.is_some() || to.is_some() || by != (0.0, 0.0);
    fields.require("down", params.down, does, "expected a distance, an end or an element");
    fields.finish()?;
    let held = call.act(&handle(&params.browser)?).await?;
    let element = params.target.as_deref().map(|target| Element::new(&call, target, None));
    let target = element.as_ref().map(Element::target);
    held.run(&call, held.browser()?.scroll(target, by, to)).await?;
    ended(&call, &held, "Scrolled.", params.snapshot).await
}
