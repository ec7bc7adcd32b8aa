//! What is wrong with the fields of a request, in the shape that FastAPI gives it.

use std::fmt::Display;

use serde::Serialize;
use serde_json::Value;

use super::problem::Problem;

/// Longer texts and larger values are not repeated to the client.
const LONGEST_INPUT: usize = 1024;

/// Where in a request a field stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// In the JSON body.
    Body,
    /// In the query string.
    Query,
    /// In a header.
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

/// One step on the way to a field.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum Step {
    /// A member of an object.
    Name(String),
    /// An item of a list, from 0.
    Index(usize),
}

/// One field that is at fault.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct FieldError {
    /// Stable, for programs: `missing`, `extra_forbidden`, `type_error`, `value_error`,
    /// `json_invalid`.
    #[serde(rename = "type")]
    pub kind: &'static str,
    /// The way to the field, beginning with the part of the request.
    pub loc: Vec<Step>,
    /// For people.
    pub msg: String,
    /// What was given there; null where it is too large to repeat.
    pub input: Value,
    /// Further members, such as line and column of broken JSON.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ctx: Option<Value>,
}

impl FieldError {
    /// A fault of the field to which `steps` lead within `part`.
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

    /// Repeats what was given, if it is small.
    #[must_use]
    pub fn given(mut self, input: Value) -> Self {
        if input.to_string().len() <= LONGEST_INPUT {
            self.input = input;
        }
        self
    }

    /// Adds further members.
    #[must_use]
    pub fn context(mut self, ctx: Value) -> Self {
        self.ctx = Some(ctx);
        self
    }

    /// The way to the field as one text: `body.blocks[2].url`.
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

/// Reads a way such as `blocks[2].url`, as [`FieldError::place`] writes it.
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

/// Collects what is wrong with several fields of a request, to answer all of it at once.
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
    /// Fields of the body.
    pub fn new() -> Self {
        Self::of(Part::Body)
    }

    /// Fields of any part.
    pub fn of(part: Part) -> Self {
        Self { part, errors: Vec::new() }
    }

    /// The value, or nothing and a note that `field` is at fault. `field` may be a way such as
    /// `blocks[2].url`; `input` is what was given.
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

    /// Notes that `field` is at fault unless `holds`.
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

    /// Notes that `field` is at fault.
    pub fn refuse(&mut self, field: &str, input: impl Into<Value>, msg: impl Into<String>) {
        let error = FieldError::new(self.part, steps(field), "value_error", msg);
        self.errors.push(error.given(input.into()));
    }

    /// Notes that `field` is not there and must be.
    pub fn missing(&mut self, field: &str) {
        self.errors.push(FieldError::new(self.part, steps(field), "missing", "Field required"));
    }

    /// 422 with every fault that was noted, if there is one.
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
