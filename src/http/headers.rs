//! `extra_http_headers`: headers that the pages of a run send with every request.

use serde_json::Value;

use super::validation::Fields;

/// The maximum number of headers.
const MOST: usize = 64;

/// The maximum total length of all headers, in bytes.
const LONGEST: usize = 16 * 1024;

/// Rejects headers that a browser does not send.
pub fn check(headers: &Value, field: &str, fields: &mut Fields) {
    let given = match headers {
        Value::Null => return,
        Value::Object(given) => given,
        Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => {
            return fields.refuse(field, Value::Null, "expected an object of names and values");
        }
    };
    let length: usize = given.iter().map(|(name, value)| name.len() + text(value).len()).sum();
    if given.len() > MOST || length > LONGEST {
        let wrong = format!("expected at most {MOST} headers of {LONGEST} bytes together");
        return fields.refuse(field, Value::Null, wrong);
    }
    for (name, value) in given {
        let is_token = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c);
        let place = format!("{field}.{name}");
        if name.is_empty() || !name.chars().all(is_token) {
            fields.refuse(field, Value::Null, format!("{name:?} is not a header name"));
        } else if !value.is_string() && !value.is_number() && !value.is_boolean() {
            fields.refuse(&place, Value::Null, "expected a text");
        } else if text(value).chars().any(char::is_control) {
            fields.refuse(
                &place,
                Value::Null,
                "the value of a header must not have control characters",
            );
        }
    }
}

fn text(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_no_browser_sends_is_refused() {
        let refused = |headers: Value| {
            let mut fields = Fields::new();
            check(&headers, "h", &mut fields);
            fields.finish().is_err()
        };
        assert!(!refused(json!(null)));
        assert!(!refused(json!({ "X-Team": "blau", "x-n": 7 })));
        for wrong in [
            json!([]),
            json!("x: y"),
            json!({ "a b": "c" }),
            json!({ "": "c" }),
            json!({ "a": "b\r\nc: d" }),
            json!({ "a": {} }),
            json!({ "a": "x".repeat(20_000) }),
        ] {
            assert!(refused(wrong.clone()), "{wrong}");
        }
    }
}
