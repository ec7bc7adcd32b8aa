//! One invalid field of a request, in FastAPI's format.

use serde::Serialize;
use serde_json::Value;

/// The maximum length of a value that an error repeats, in bytes of JSON.
const LONGEST_INPUT: usize = 1024;

/// Members that hold secrets, of which an error repeats nothing.
const SECRET: [&str; 2] = ["http_credentials", "client_certificates"];

/// The part of a request that a field belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RequestPart {
    Body,
    Query,
    Header,
    Path,
}

impl RequestPart {
    fn as_str(self) -> &'static str {
        match self {
            Self::Body => "body",
            Self::Query => "query",
            Self::Header => "header",
            Self::Path => "path",
        }
    }
}

/// One step on the path to a field.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum PathStep {
    /// A member of an object.
    Name(String),
    /// An item of a list, from 0.
    Index(usize),
}

/// One invalid field of a request.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct FieldError {
    /// A stable code for programs: `missing`, `extra_forbidden`, `type_error`, `value_error`,
    /// `json_invalid`.
    #[serde(rename = "type")]
    pub kind: &'static str,
    /// The path to the field, which begins with the part of the request.
    pub loc: Vec<PathStep>,
    /// The error, for people.
    pub msg: String,
    /// The rejected value; null if it is too large to repeat.
    pub input: Value,
    /// Further members, such as line and column of broken JSON.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ctx: Option<Value>,
}

impl FieldError {
    /// Makes an error about the field at `steps` within `part`.
    pub fn new(
        part: RequestPart,
        steps: impl IntoIterator<Item = PathStep>,
        kind: &'static str,
        msg: impl Into<String>,
    ) -> Self {
        let mut loc = vec![PathStep::Name(part.as_str().to_owned())];
        loc.extend(steps);
        Self { kind, loc, msg: msg.into(), input: Value::Null, ctx: None }
    }

    /// Adds the rejected value, if it is small and holds no secret.
    #[must_use]
    pub fn given(mut self, input: Value) -> Self {
        if !is_secret(&self.loc) && !has_secret(&input) && input.to_string().len() <= LONGEST_INPUT
        {
            self.input = input;
        }
        self
    }

    /// Adds further members to the error.
    #[must_use]
    pub fn context(mut self, ctx: Value) -> Self {
        self.ctx = Some(ctx);
        self
    }

    /// Returns the path to the field as one text: `body.blocks[2].url`.
    pub fn place(&self) -> String {
        let mut place = String::new();
        for step in &self.loc {
            match step {
                PathStep::Name(name) if place.is_empty() => place.push_str(name),
                PathStep::Name(name) => {
                    place.push('.');
                    place.push_str(name);
                }
                PathStep::Index(index) => place.push_str(&format!("[{index}]")),
            }
        }
        place
    }
}

/// True if the path leads to or through a member that holds secrets.
pub fn is_secret(steps: &[PathStep]) -> bool {
    steps.iter().any(|step| matches!(step, PathStep::Name(name) if SECRET.contains(&name.as_str())))
}

/// True if a value has such a member anywhere.
fn has_secret(value: &Value) -> bool {
    match value {
        Value::Object(members) => {
            members.iter().any(|(name, value)| SECRET.contains(&name.as_str()) || has_secret(value))
        }
        Value::Array(items) => items.iter().any(has_secret),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => false,
    }
}

/// Parses a path such as `blocks[2].url`, as [`FieldError::place`] writes it.
pub fn steps(place: &str) -> Vec<PathStep> {
    place
        .split(['.', '['])
        .filter(|step| !step.is_empty())
        .map(|step| match step.strip_suffix(']').and_then(|index| index.parse().ok()) {
            Some(index) => PathStep::Index(index),
            None => PathStep::Name(step.to_owned()),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_error_repeats_no_value_that_may_be_a_password() {
        let error = |place: &str, input: Value| {
            FieldError::new(RequestPart::Body, steps(place), "type_error", "wrong")
                .given(input)
                .input
        };
        let login = json!({ "http_credentials": [{ "password": "hunter2" }] });
        assert_eq!(error("settings.http_credentials[0].password", json!("hunter2")), Value::Null);
        assert_eq!(error("settings", login.clone()), Value::Null);
        assert_eq!(error("", json!([{ "settings": login }])), Value::Null);
        assert_eq!(error("settings.locale", json!("x")), json!("x"));
    }
}
