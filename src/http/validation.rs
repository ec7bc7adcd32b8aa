//! Invalid fields of a request, reported in FastAPI's format.

use std::fmt::Display;

use serde::Serialize;
use serde_json::Value;

use super::problem::Problem;

/// The maximum length of a value that an error repeats, in bytes of JSON.
const LONGEST_INPUT: usize = 1024;

/// The part of a request that a field belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    Body,
    Query,
    Header,
}

impl Part {
    fn as_str(self) -> &'static str {
        match self {
            Self::Body => "body",
            Self::Query => "query",
            Self::Header => "header",
        }
    }
}

/// One step on the path to a field.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum Step {
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
    pub loc: Vec<Step>,
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
        part: Part,
        steps: impl IntoIterator<Item = Step>,
        kind: &'static str,
        msg: impl Into<String>,
    ) -> Self {
        let mut loc = vec![Step::Name(part.as_str().to_owned())];
        loc.extend(steps);
        Self { kind, loc, msg: msg.into(), input: Value::Null, ctx: None }
    }

    /// Adds the rejected value, if it is small.
    #[must_use]
    pub fn given(mut self, input: Value) -> Self {
        if input.to_string().len() <= LONGEST_INPUT {
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
                Step::Name(name) if place.is_empty() => place.push_str(name),
                Step::Name(name) => {
                    place.push('.');
                    place.push_str(name);
                }
                Step::Index(index) => place.push_str(&format!("[{index}]")),
            }
        }
        place
    }
}

/// Parses a path such as `blocks[2].url`, as [`FieldError::place`] writes it.
pub fn steps(place: &str) -> Vec<Step> {
    place
        .split(['.', '['])
        .filter(|step| !step.is_empty())
        .map(|step| match step.strip_suffix(']').and_then(|index| index.parse().ok()) {
            Some(index) => Step::Index(index),
            None => Step::Name(step.to_owned()),
        })
        .collect()
}

/// Collects the errors of several fields of a request, to report all at once.
///
/// ```
/// use greenroom::http::validation::Fields;
///
/// let mut fields = Fields::new();
/// let width = fields.check("width", 0, "0".parse::<u8>());
/// fields.require("timeout", 3, false, "expected at least 5 minutes");
/// assert_eq!(width, Some(0));
/// assert!(fields.finish().is_err());
/// ```
#[derive(Debug)]
pub struct Fields {
    part: Part,
    errors: Vec<FieldError>,
}

impl Default for Fields {
    fn default() -> Self {
        Self::new()
    }
}

impl Fields {
    /// Collects errors of the body.
    pub fn new() -> Self {
        Self::of(Part::Body)
    }

    /// Collects errors of any part of the request.
    pub fn of(part: Part) -> Self {
        Self { part, errors: Vec::new() }
    }

    /// Returns the value, or records an error of `field` and returns `None`. `field` may be a path
    /// such as `blocks[2].url`; `input` is the rejected value.
    pub fn check<T, E: Display>(
        &mut self,
        field: &str,
        input: impl Into<Value>,
        result: Result<T, E>,
    ) -> Option<T> {
        match result {
            Ok(value) => Some(value),
            Err(cause) => {
                self.refuse(field, input, cause.to_string());
                None
            }
        }
    }

    /// Records an error of `field` unless `holds`.
    pub fn require(
        &mut self,
        field: &str,
        input: impl Into<Value>,
        holds: bool,
        msg: impl Into<String>,
    ) -> &mut Self {
        if !holds {
            self.refuse(field, input, msg);
        }
        self
    }

    /// Records an error of `field`.
    pub fn refuse(&mut self, field: &str, input: impl Into<Value>, msg: impl Into<String>) {
        let error = FieldError::new(self.part, steps(field), "value_error", msg);
        self.errors.push(error.given(input.into()));
    }

    /// Records that `field` is missing but required.
    pub fn missing(&mut self, field: &str) {
        self.errors.push(FieldError::new(self.part, steps(field), "missing", "Field required"));
    }

    /// Returns a 422 with all recorded errors, if there are any.
    pub fn finish(self) -> Result<(), Problem> {
        if self.errors.is_empty() { Ok(()) } else { Err(Problem::invalid(self.errors)) }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn all_faults_are_told_at_once_each_with_its_place_and_what_was_given() {
        let mut fields = Fields::new();
        assert_eq!(fields.check("width", "x", "x".parse::<u8>()), None);
        assert_eq!(fields.check("height", "7", "7".parse::<u8>()), Some(7));
        fields.require("blocks[2].url", "ftp:", false, "expected http or https");
        fields.missing("title");
        let problem = fields.finish().unwrap_err();
        assert_eq!(
            problem.body()["detail"],
            json!([
                {"type": "value_error", "loc": ["body", "width"],
                 "msg": "invalid digit found in string", "input": "x"},
                {"type": "value_error", "loc": ["body", "blocks", 2, "url"],
                 "msg": "expected http or https", "input": "ftp:"},
                {"type": "missing", "loc": ["body", "title"], "msg": "Field required",
                 "input": null},
            ])
        );
        assert!(problem.to_string().contains("body.blocks[2].url: expected http or https"));
    }

    #[test]
    fn what_is_too_large_is_not_repeated() {
        let mut fields = Fields::new();
        fields.refuse("script", "x".repeat(5000), "too long");
        assert_eq!(fields.finish().unwrap_err().body()["detail"][0]["input"], Value::Null);
    }
}
