//! Templates in the texts of blocks: Jinja2, in a sandbox with limited work.
//!
//! Values are written as Python writes them, `True`, `None`, `{'a': 1}`; the filter `tojson` writes
//! JSON. An unknown name is written as an empty text, unless the server is configured to be strict.
//!
//! The engine recurses. No text reaches it before `scan` has checked its depth. It runs on a stack of
//! its own that is large enough for that depth.

mod comments;
mod filters;
mod format;
mod html;
mod lexer;
mod methods;
mod objects;
mod python;
mod scan;
mod wrap;

#[cfg(test)]
mod tests;

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::LazyLock;

use minijinja::value::Serde;
use minijinja::{Environment, UndefinedBehavior};
use serde_json::{Map, Value};

use scan::Scanned;

/// The maximum number of instructions that a template executes.
const FUEL: u64 = 2_000_000;
/// The size of the engine's stack in bytes; untouched pages of it use no memory.
const STACK: usize = 64 << 20;
/// The free stack in bytes that suffices for a text without statements and with few operators.
const SHALLOW_STACK: usize = 1 << 20;
/// The greatest depth of a value that an expression returns.
const DEEPEST_VALUE: usize = 100;
/// The mark around a value that the filter `json` wrote. No text contains it, as it uses
/// noncharacters.
const JSON_MARK: &str = "\u{fdd0}json\u{fdd1}";

/// The error code of a template that cannot be rendered.
pub const TEMPLATE_INVALID: &str = "template_invalid";

/// An error of a template.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the template `{expression}` in `{field}` failed: {message}")]
pub struct TemplateError {
    /// The name of the block's field.
    pub field: String,
    /// The part of the text that failed.
    pub expression: String,
    /// The message of the engine or the scanner.
    pub message: String,
}

/// The error for a text that exceeds a limit and is not passed to the engine.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
struct TooDeep(String);

impl TooDeep {
    fn new(message: String) -> Self {
        Self(message)
    }

    fn nested() -> Self {
        Self(format!("it is nested more than {} deep", scan::DEEPEST))
    }
}

/// The names that a template can use.
#[derive(Debug, Clone)]
pub struct Names(minijinja::Value);

impl Names {
    /// Creates the names from an object's fields.
    pub fn new(values: &Map<String, Value>) -> Self {
        Self(minijinja::Value::from(Serde(values)))
    }
}

/// True if a text may contain a template.
pub fn is_template(text: &str) -> bool {
    ["{{", "{%", "{#"].iter().any(|open| text.contains(open))
}

/// Runs work that may recurse on a sufficient stack. A panic of the engine fails only its template.
fn with_stack<T>(shallow: bool, work: impl FnOnce() -> T) -> Result<T, String> {
    let caught = || {
        catch_unwind(AssertUnwindSafe(work))
            .map_err(|_panic| "the template engine failed at it".to_owned())
    };
    if shallow {
        stacker::maybe_grow(SHALLOW_STACK, STACK, caught)
    } else {
        stacker::grow(STACK, caught)
    }
}

/// Renders and checks templates.
pub struct Renderer {
    environment: Environment<'static>,
}

impl fmt::Debug for Renderer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Renderer")
    }
}

impl Renderer {
    /// Creates a renderer; with `strict`, unknown names are errors.
    pub fn new(strict: bool) -> Self {
        let mut environment = Environment::new();
        let undefined =
            if strict { UndefinedBehavior::Strict } else { UndefinedBehavior::Chainable };
        environment.set_undefined_behavior(undefined);
        environment.set_fuel(Some(FUEL));
        environment.set_recursion_limit(50);
        environment.set_debug(true);
        environment.set_unknown_method_callback(methods::call);
        filters::register(&mut environment);
        Self { environment }
    }

    /// Rejects a text that could not be rendered for any values of its names: an invalid template,
    /// one that is too deep, or one that uses an unknown filter or test.
    pub fn check(&self, field: &str, text: &str) -> Result<(), TemplateError> {
        if !is_template(text) {
            return Ok(());
        }
        let failed = |error: TooDeep| failure(field, text, None, error.to_string());
        let scanned = scan::template(text).map_err(failed)?;
        self.known(field, text, &scanned)?;
        with_stack(scanned.shallow, || {
            let compiled = self.environment.template_from_str(scanned.source(text));
            compiled
                .map(|_template| ())
                .map_err(|error| engine_failure(field, text, &scanned, &error))
        })
        .unwrap_or_else(|fault| Err(failure(field, text, None, fault)))
    }

    /// Like [`check`](Self::check), for Python code.
    pub fn check_code(&self, field: &str, text: &str) -> Result<(), TemplateError> {
        self.check(field, &comments::masked(text).0)
    }

    /// Rejects a text that is too deep as an expression, even if it is not an expression.
    pub fn check_depth(&self, field: &str, text: &str) -> Result<(), TemplateError> {
        scan::expression(text).map(|_scanned| ()).map_err(|error| TemplateError {
            field: field.to_owned(),
            expression: shortened(text),
            message: error.to_string(),
        })
    }

    /// Rejects an expression without braces that could not be evaluated.
    pub fn check_expression(&self, field: &str, text: &str) -> Result<(), TemplateError> {
        let failed = |message| TemplateError {
            field: field.to_owned(),
            expression: shortened(text),
            message,
        };
        let scanned = scan::expression(text).map_err(|error| failed(error.to_string()))?;
        self.known(field, text, &scanned)?;
        with_stack(scanned.shallow, || {
            let compiled = self.environment.compile_expression(scanned.source(text));
            compiled.map(|_expression| ()).map_err(|error| failed(error.to_string()))
        })
        .unwrap_or_else(|fault| Err(failed(fault)))
    }

    fn known(&self, field: &str, text: &str, scanned: &Scanned) -> Result<(), TemplateError> {
        let exists = |kind: &str, name: &str| {
            let test = format!("'{name}' is {kind}");
            let expression = self.environment.compile_expression(&test).ok();
            expression.and_then(|it| it.eval(()).ok()).is_none_or(|value| value.is_true())
        };

        let filter = scanned.filters.iter().find(|name| !exists("filter", name));
        let test = scanned.tests.iter().find(|name| !exists("test", name));
        let unknown = filter
            .map(|name| (name, format!("there is no filter `{name}`")))
            .or_else(|| test.map(|name| (name, format!("there is no test `{name}`"))));
        match unknown {
            Some((name, message)) => Err(failure(field, text, text.find(name.as_str()), message)),
            None => Ok(()),
        }
    }

    /// Renders the templates of a text; `field` is named in the error.
    pub fn text(&self, field: &str, text: &str, names: &Names) -> Result<String, TemplateError> {
        let rendered = self.render(field, text, names)?;
        if rendered.contains(JSON_MARK) {
            let message = "the filter `json` returns a value: it must be the only content of an object's field";
            return Err(failure(field, text, text.find("json"), message.to_owned()));
        }
        Ok(rendered)
    }

    /// Renders the templates of Python code, except those in comments.
    pub fn code(&self, field: &str, text: &str, names: &Names) -> Result<String, TemplateError> {
        if !is_template(text) {
            return Ok(text.to_owned());
        }
        let (masked, hidden) = comments::masked(text);
        Ok(comments::restored(&self.text(field, &masked, names)?, &hidden))
    }

    fn render(&self, field: &str, text: &str, names: &Names) -> Result<String, TemplateError> {
        if !is_template(text) {
            return Ok(text.to_owned());
        }
        let failed = |error: TooDeep| failure(field, text, None, error.to_string());
        let scanned = scan::template(text).map_err(failed)?;
        with_stack(scanned.shallow, || {
            let rendered = self.environment.render_str(scanned.source(text), names.0.clone());
            rendered.map_err(|error| engine_failure(field, text, &scanned, &error))
        })
        .unwrap_or_else(|fault| Err(failure(field, text, None, fault)))
    }

    /// Renders every text in `value` at any depth, except in the top-level fields of `skip`. A text
    /// that consists only of a value of the filter `json` becomes that value.
    pub fn value(
        &self,
        field: &str,
        value: &Value,
        skip: &[&str],
        names: &Names,
    ) -> Result<Value, TemplateError> {
        Ok(match value {
            Value::String(text) => self.leaf(field, text, names)?,
            Value::Array(list) => {
                let list = list.iter().enumerate().map(|(index, value)| {
                    self.value(&inner(field, &index.to_string()), value, &[], names)
                });
                Value::Array(list.collect::<Result<_, _>>()?)
            }
            Value::Object(object) => {
                let fields = object.iter().map(|(key, value)| {
                    let value = if skip.contains(&key.as_str()) {
                        value.clone()
                    } else {
                        self.value(&inner(field, key), value, &[], names)?
                    };
                    Ok((key.clone(), value))
                });
                Value::Object(fields.collect::<Result<_, _>>()?)
            }
            Value::Null | Value::Bool(_) | Value::Number(_) => value.clone(),
        })
    }

    fn leaf(&self, field: &str, text: &str, names: &Names) -> Result<Value, TemplateError> {
        let rendered = self.render(field, text, names)?;
        let marked = rendered.strip_prefix(JSON_MARK).and_then(|it| it.strip_suffix(JSON_MARK));
        if let Some(json) = marked.filter(|json| !json.contains(JSON_MARK)) {
            return serde_json::from_str(json)
                .map_err(|error| failure(field, text, None, error.to_string()));
        }
        if rendered.contains(JSON_MARK) {
            let message =
                "the filter `json` returns a value: it must be the only content of its field";
            return Err(failure(field, text, text.find("json"), message.to_owned()));
        }
        Ok(Value::String(rendered))
    }

    /// Evaluates an expression without braces, such as `orders_output.items`.
    pub fn evaluate(&self, field: &str, text: &str, names: &Names) -> Result<Value, TemplateError> {
        let failed = |message: String| TemplateError {
            field: field.to_owned(),
            expression: shortened(text),
            message,
        };
        let scanned = scan::expression(text).map_err(|error| failed(error.to_string()))?;
        with_stack(scanned.shallow, || {
            let of_engine = |error: minijinja::Error| failed(error.to_string());
            let expression = self.environment.compile_expression(scanned.source(text));
            let value = expression.map_err(of_engine)?.eval(names.0.clone()).map_err(of_engine)?;
            if depth(&value, 0) > DEEPEST_VALUE {
                return Err(failed(format!("its value is more than {DEEPEST_VALUE} deep")));
            }
            serde_json::to_value(&value).map_err(|error| failed(error.to_string()))
        })
        .unwrap_or_else(|fault| Err(failed(fault)))
    }
}

/// Returns the depth of a value, counted to one above the limit at most.
fn depth(value: &minijinja::Value, around: usize) -> usize {
    use minijinja::value::ValueKind;

    if around > DEEPEST_VALUE {
        return around;
    }
    let deeper = |value: minijinja::Value| depth(&value, around + 1);
    let items = || value.try_iter().into_iter().flatten();
    let deepest = if value.kind() == ValueKind::Seq {
        items().map(deeper).max()
    } else if value.kind() == ValueKind::Map {
        items().filter_map(|key| value.get_item(&key).ok()).map(deeper).max()
    } else {
        None
    };
    deepest.unwrap_or(around)
}

fn failure(field: &str, text: &str, at: Option<usize>, message: String) -> TemplateError {
    TemplateError { field: field.to_owned(), expression: expression(text, at), message }
}

fn engine_failure(
    field: &str,
    text: &str,
    scanned: &Scanned,
    error: &minijinja::Error,
) -> TemplateError {
    let at = error.range().map(|range| scanned.place(range.start));
    failure(field, text, at, error.to_string())
}

fn shortened(text: &str) -> String {
    let mut short: String = text.chars().take(200).collect();
    if short.len() < text.len() {
        short.push('…');
    }
    short
}

/// Returns the renderer that checks texts when a definition is stored.
pub fn checker() -> &'static Renderer {
    static CHECKER: LazyLock<Renderer> = LazyLock::new(|| Renderer::new(false));
    &CHECKER
}

fn inner(field: &str, part: &str) -> String {
    if field.is_empty() { part.to_owned() } else { format!("{field}.{part}") }
}

/// Returns the `{{ … }}` or `{% … %}` around a byte of the text, shortened.
fn expression(text: &str, at: Option<usize>) -> String {
    let at = at.filter(|at| text.is_char_boundary(*at)).unwrap_or(0);
    let (before, after) = text.split_at(at);
    let start = before.rfind("{{").into_iter().chain(before.rfind("{%")).max();
    let start = start.or_else(|| after.find('{').map(|offset| at + offset)).unwrap_or(0);
    let rest = text.get(start..).unwrap_or(text);
    let end = [rest.find("}}"), rest.find("%}")].into_iter().flatten().min();
    let whole = end.and_then(|end| rest.get(..end + 2)).unwrap_or(rest);
    shortened(whole)
}

/// Returns the expression of a text that consists only of `{{ expression }}`.
pub fn pure_expression(text: &str) -> Option<&str> {
    let inner = text.trim().strip_prefix("{{")?.strip_suffix("}}")?;
    (!inner.contains("{{") && !inner.contains("}}")).then(|| inner.trim())
}

/// True if a rendered text counts as true.
pub fn truth(text: &str) -> bool {
    let text = text.trim().to_lowercase();
    match text.as_str() {
        "" | "false" | "no" | "n" | "off" | "null" | "none" => false,
        "true" | "yes" | "y" | "on" => true,
        other => !other.parse::<f64>().is_ok_and(|number| number == 0.0),
    }
}
