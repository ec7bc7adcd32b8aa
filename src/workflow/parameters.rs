//! The values of a workflow's parameters for one run.

use serde_json::{Map, Value};

use super::definition::{DEEPEST, Definition, ParameterKind, ValueType, is_deeper};

/// An error in the value of a parameter.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ParameterError {
    /// The request gives no value, and the parameter has no default.
    #[error("missing value for parameter `{key}`")]
    Missing {
        /// The key of the parameter.
        key: String,
    },
    /// The value does not have the parameter's type.
    #[error("parameter `{key}`: expected {expected}")]
    Type {
        /// The key of the parameter.
        key: String,
        /// The value that is expected.
        expected: &'static str,
    },
}

impl ParameterError {
    /// Returns the key of the parameter.
    pub fn key(&self) -> &str {
        match self {
            Self::Missing { key } | Self::Type { key, .. } => key,
        }
    }
}

/// Returns the values for a run by key: the given values, converted to their types, and the defaults.
/// Values for which the definition has no parameter are dropped. Parameters whose value comes from
/// another source are not included.
pub fn resolve(
    definition: &Definition,
    given: &Map<String, Value>,
) -> Result<Map<String, Value>, Vec<ParameterError>> {
    let mut values = Map::new();
    let mut errors = Vec::new();
    for parameter in &definition.parameters {
        let ParameterKind::Workflow { value_type, default } = &parameter.kind else { continue };
        let key = parameter.key.clone();
        let value = given.get(&key).filter(|value| !value.is_null()).or(default.as_ref());
        let bounded = |value: Value| {
            if is_deeper(&value, DEEPEST) {
                Err("a value that is at most 100 deep")
            } else {
                Ok(value)
            }
        };
        match value.map(|value| coerce(*value_type, value).and_then(bounded)) {
            None => errors.push(ParameterError::Missing { key }),
            Some(Err(expected)) => errors.push(ParameterError::Type { key, expected }),
            Some(Ok(value)) => {
                values.insert(key, value);
            }
        }
    }
    if errors.is_empty() { Ok(values) } else { Err(errors) }
}

/// Converts `value` to `value_type`, or returns the value that was expected.
pub fn coerce(value_type: ValueType, value: &Value) -> Result<Value, &'static str> {
    let text = value.as_str().map(str::trim);
    match value_type {
        ValueType::String | ValueType::CredentialId => {
            let plain = value.is_number() || value.is_boolean();
            let written = plain.then(|| Value::from(value.to_string()));
            value.is_string().then(|| value.clone()).or(written).ok_or("a text")
        }
        ValueType::Integer => {
            let whole = value.as_f64().filter(|number| number.fract() == 0.0);
            let integral = whole.and_then(|number| format!("{number}").parse::<i64>().ok());
            let number = value.as_i64().or(integral);
            let number = number.or_else(|| text.and_then(|text| text.parse().ok()));
            number.map(Value::from).ok_or("a whole number")
        }
        ValueType::Float => {
            let number = value.as_f64().or_else(|| text.and_then(|text| text.parse().ok()));
            let number = number.and_then(serde_json::Number::from_f64);
            number.map(Value::Number).ok_or("a number")
        }
        ValueType::Boolean => {
            let written = text.and_then(|text| match text.to_ascii_lowercase().as_str() {
                "true" | "1" | "yes" => Some(true),
                "false" | "0" | "no" => Some(false),
                _ => None,
            });
            let number = value.as_i64().filter(|n| (0..=1).contains(n)).map(|n| n == 1);
            value.as_bool().or(number).or(written).map(Value::Bool).ok_or("true or false")
        }
        ValueType::Json => match value.as_str() {
            Some(text) => serde_json::from_str(text).or(Err("a JSON document")),
            None => Ok(value.clone()),
        },
        ValueType::FileUrl => {
            if value.is_string() || value.is_object() {
                Ok(value.clone())
            } else {
                Err("the URL of a file")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::workflow::definition::Workflow;

    #[track_caller]
    fn check(parameter: &Value, given: &Value, expected: Result<Value, &str>) {
        let document = json!({
            "title": "t",
            "workflow_definition": { "parameters": [parameter], "blocks": [] },
        });
        let definition = Workflow::from_json(&document).unwrap().definition;
        let found = resolve(&definition, given.as_object().unwrap());
        let found = found.map(Value::Object).map_err(|errors| errors[0].to_string());
        assert_eq!(found, expected.map_err(str::to_owned), "{parameter} given {given}");
    }

    fn of_type(name: &str) -> Value {
        json!({ "parameter_type": "workflow", "workflow_parameter_type": name, "key": "n" })
    }

    #[test]
    fn values_are_made_to_fit_their_type() {
        check(&of_type("integer"), &json!({ "n": "12" }), Ok(json!({ "n": 12 })));
        check(&of_type("integer"), &json!({ "n": 12.0 }), Ok(json!({ "n": 12 })));
        check(&of_type("float"), &json!({ "n": "1.5" }), Ok(json!({ "n": 1.5 })));
        check(&of_type("boolean"), &json!({ "n": "False" }), Ok(json!({ "n": false })));
        check(&of_type("json"), &json!({ "n": "[1]" }), Ok(json!({ "n": [1] })));
        check(&of_type("string"), &json!({ "n": 5 }), Ok(json!({ "n": "5" })));
        check(
            &of_type("file_url"),
            &json!({ "n": "http://a/b" }),
            Ok(json!({ "n": "http://a/b" })),
        );
    }

    #[test]
    fn a_value_that_does_not_fit_is_named() {
        let wrong = Err("parameter `n`: expected a whole number");
        check(&of_type("integer"), &json!({ "n": "twelve" }), wrong.clone());
        check(&of_type("integer"), &json!({ "n": 1.5 }), wrong);
        check(
            &of_type("boolean"),
            &json!({ "n": "maybe" }),
            Err("parameter `n`: expected true or false"),
        );
        check(
            &of_type("json"),
            &json!({ "n": "{" }),
            Err("parameter `n`: expected a JSON document"),
        );
    }

    #[test]
    fn a_value_that_is_too_deep_is_refused() {
        let deep = |levels: usize| format!("{}{}", "[".repeat(levels), "]".repeat(levels));
        let wrong = Err("parameter `n`: expected a value that is at most 100 deep");
        check(&of_type("json"), &json!({ "n": deep(120) }), wrong);
        let fits: Value = serde_json::from_str(&deep(100)).unwrap();
        check(&of_type("json"), &json!({ "n": deep(100) }), Ok(json!({ "n": fits })));
    }

    #[test]
    fn a_missing_value_is_named_and_a_default_stands_in_for_it() {
        check(&of_type("string"), &json!({}), Err("missing value for parameter `n`"));
        check(&of_type("string"), &json!({ "n": null }), Err("missing value for parameter `n`"));
        let mut parameter = of_type("integer");
        parameter["default_value"] = json!("3");
        check(&parameter, &json!({ "other": 1 }), Ok(json!({ "n": 3 })));
        check(&parameter, &json!({ "n": 4 }), Ok(json!({ "n": 4 })));
    }
}
