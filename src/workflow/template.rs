//! Templates in the texts of blocks: Jinja2, in a sandbox of bounded work.
//!
//! Values are written as Python writes them, `True`, `None`, `{'a': 1}`; the filter `tojson` writes
//! JSON. A name that is not known is written as nothing, unless the server is configured to be strict.

use std::fmt;

use minijinja::value::Serde;
use minijinja::{Environment, UndefinedBehavior};
use serde_json::{Map, Value};

/// How many instructions a template may take.
const FUEL: u64 = 2_000_000;

/// A template that failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the template `{expression}` in `{field}` failed: {message}")]
pub struct TemplateError {
    /// The field of the block.
    pub field: String,
    /// The part of the text that failed.
    pub expression: String,
    /// Why.
    pub message: String,
}

/// The names that a template can use.
#[derive(Debug, Clone)]
pub struct Names(minijinja::Value);

impl Names {
    /// Of an object's fields.
    pub fn new(values: &Map<String, Value>) -> Self {
        Self(minijinja::Value::from(Serde(values)))
    }
}

/// Renders templates.
pub struct Renderer {
    environment: Environment<'static>,
}

impl fmt::Debug for Renderer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Renderer")
    }
}

impl Renderer {
    /// `strict` refuses names that are not known.
    pub fn new(strict: bool) -> Self {
        let mut environment = Environment::new();
        let undefined =
            if strict { UndefinedBehavior::Strict } else { UndefinedBehavior::Chainable };
        environment.set_undefined_behavior(undefined);
        environment.set_fuel(Some(FUEL));
        environment.set_recursion_limit(50);
        environment.set_debug(true);
        environment
            .set_unknown_method_callback(minijinja_contrib::pycompat::unknown_method_callback);
        Self { environment }
    }

    /// A text with its templates rendered; `field` is for the error.
    pub fn text(&self, field: &str, text: &str, names: &Names) -> Result<String, TemplateError> {
        if !["{{", "{%", "{#"].iter().any(|open| text.contains(open)) {
            return Ok(text.to_owned());
        }
        self.environment.render_str(text, names.0.clone()).map_err(|error| TemplateError {
            field: field.to_owned(),
            expression: expression(text, error.range().map(|range| range.start)),
            message: error.to_string(),
        })
    }

    /// Every text in `value`, however deep, except in the fields of `skip` at the top.
    pub fn value(
        &self,
        field: &str,
        value: &Value,
        skip: &[&str],
        names: &Names,
    ) -> Result<Value, TemplateError> {
        Ok(match value {
            Value::String(text) => Value::String(self.text(field, text, names)?),
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

    /// The value of an expression without braces, such as `orders_output.items`.
    pub fn evaluate(&self, field: &str, text: &str, names: &Names) -> Result<Value, TemplateError> {
        let failed = |error: minijinja::Error| TemplateError {
            field: field.to_owned(),
            expression: text.to_owned(),
            message: error.to_string(),
        };
        let expression = self.environment.compile_expression(text).map_err(failed)?;
        let value = expression.eval(names.0.clone()).map_err(failed)?;
        serde_json::to_value(&value).map_err(|error| TemplateError {
            field: field.to_owned(),
            expression: text.to_owned(),
            message: error.to_string(),
        })
    }
}

fn inner(field: &str, part: &str) -> String {
    if field.is_empty() { part.to_owned() } else { format!("{field}.{part}") }
}

/// The `{{ … }}` or `{% … %}` around a byte of the text, shortened.
fn expression(text: &str, at: Option<usize>) -> String {
    let at = at.filter(|at| text.is_char_boundary(*at)).unwrap_or(0);
    let (before, after) = text.split_at(at);
    let start = before.rfind("{{").into_iter().chain(before.rfind("{%")).max();
    let start = start.or_else(|| after.find('{').map(|offset| at + offset)).unwrap_or(0);
    let rest = text.get(start..).unwrap_or(text);
    let end = [rest.find("}}"), rest.find("%}")].into_iter().flatten().min();
    let whole = end.and_then(|end| rest.get(..end + 2)).unwrap_or(rest);
    let mut short: String = whole.chars().take(200).collect();
    if short.len() < whole.len() {
        short.push('…');
    }
    short
}

/// The expression of a text that is nothing but `{{ expression }}`.
pub fn pure_expression(text: &str) -> Option<&str> {
    let inner = text.trim().strip_prefix("{{")?.strip_suffix("}}")?;
    (!inner.contains("{{") && !inner.contains("}}")).then(|| inner.trim())
}

/// Whether a rendered text counts as true.
pub fn truth(text: &str) -> bool {
    let text = text.trim().to_lowercase();
    match text.as_str() {
        "" | "false" | "no" | "n" | "off" | "null" | "none" => false,
        "true" | "yes" | "y" | "on" => true,
        other => !other.parse::<f64>().is_ok_and(|number| number == 0.0),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn names() -> Names {
        let values = json!({
            "name": "Ada", "flag": true, "rows": [{ "id": 1 }, { "id": 2 }], "csv": "a,b",
        });
        Names::new(values.as_object().unwrap())
    }

    #[track_caller]
    fn check(text: &str, expected: Result<&str, &str>) {
        let found = Renderer::new(false).text("url", text, &names());
        let found = found.map_err(|error| error.expression);
        assert_eq!(found, expected.map(str::to_owned).map_err(str::to_owned), "{text}");
    }

    #[test]
    fn values_lists_and_methods_of_python_are_rendered() {
        check("no template", Ok("no template"));
        check("Hello {{ name }}", Ok("Hello Ada"));
        check("{% for row in rows %}{{ row.id }};{% endfor %}", Ok("1;2;"));
        check("{{ name.upper() }} {{ csv.split(',')[1] }}", Ok("ADA b"));
        check("{{ rows | tojson }}", Ok(r#"[{"id": 1}, {"id": 2}]"#));
        check("{{ rows }} {{ none }}", Ok("[{'id': 1}, {'id': 2}] None"));
    }

    #[test]
    fn an_unknown_name_is_nothing_unless_strict() {
        check("<{{ nobody }}{{ nobody.at.all }}>", Ok("<>"));
        let error = Renderer::new(true).text("url", "a {{ nobody }} b", &names()).unwrap_err();
        assert_eq!((error.field.as_str(), error.expression.as_str()), ("url", "{{ nobody }}"));
    }

    #[test]
    fn an_error_names_the_expression() {
        check("a {{ name }} b {{ name | nope }} c", Err("{{ name | nope }}"));
        check("{{ name", Err("{{ name"));
        check(
            "x {% for a in range(1000) %}{% for b in range(10000) %}.{% endfor %}{% endfor %}",
            Err("{% for b in range(10000) %}"),
        );
    }

    #[test]
    fn texts_are_rendered_however_deep_but_not_where_skipped() {
        let value =
            json!({ "a": ["{{ name }}", 1], "b": { "c": "{{ flag }}" }, "code": "{{ name }}" });
        let found = Renderer::new(false).value("", &value, &["code"], &names()).unwrap();
        assert_eq!(found, json!({ "a": ["Ada", 1], "b": { "c": "True" }, "code": "{{ name }}" }));
        let wrong = json!({ "a": { "b": ["{{ 1 + }}"] } });
        let error = Renderer::new(false).value("", &wrong, &[], &names()).unwrap_err();
        assert_eq!(error.field, "a.b.0");
    }

    #[test]
    fn truth_is_that_of_the_compatible_api() {
        for text in ["", " ", "False", "0", "0.0", "no", "N", "off", "null", "None"] {
            assert!(!truth(text), "{text:?}");
        }
        for text in ["true", "1", "-2", "yes", "Y", "on", "anything"] {
            assert!(truth(text), "{text:?}");
        }
    }
}
