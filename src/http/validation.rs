//! Invalid fields of a request, reported in FastAPI's format.

use std::fmt::Display;

use serde_json::Value;

use super::field_error::steps;
pub use super::field_error::{FieldError, PathStep, RequestPart, is_secret};
use super::problem::Problem;

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
    part: RequestPart,
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
        Self::of(RequestPart::Body)
    }

    /// Collects errors of any part of the request.
    pub fn of(part: RequestPart) -> Self {
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
