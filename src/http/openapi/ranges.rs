//! Explicit ranges for integers in the description.
//!
//! A format states only the width of a number, and clients interpret it differently; the server
//! checks a minimum and a maximum.

use serde_json::{Map, Value, json};

/// Adds the range that its format implies to each integer in a description.
pub(super) fn write_out(description: &mut Value) {
    match description {
        Value::Array(values) => values.iter_mut().for_each(write_out),
        Value::Object(members) => {
            integer(members);
            members.values_mut().for_each(write_out);
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

fn integer(schema: &mut Map<String, Value>) {
    let Some(kind) = schema.get("type") else { return };
    let integer = json!("integer");
    if *kind != integer && !kind.as_array().is_some_and(|kinds| kinds.contains(&integer)) {
        return;
    }
    let unsigned = schema.get("minimum").and_then(Value::as_f64).is_some_and(|least| least >= 0.0);
    let wide = schema.get("format").and_then(Value::as_str) != Some("int32");
    let (format, least, most) = match (unsigned, wide) {
        (true, true) => ("uint64", json!(0), json!(u64::MAX)),
        (true, false) => ("uint32", json!(0), json!(u32::MAX)),
        (false, true) => ("int64", json!(i64::MIN), json!(i64::MAX)),
        (false, false) => ("int32", json!(i32::MIN), json!(i32::MAX)),
    };
    schema.insert("format".to_owned(), format.into());
    schema.entry("minimum").or_insert(least);
    schema.entry("maximum").or_insert(most);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_that_is_given_stays_and_another_follows_the_format() {
        let mut schemas = json!([
            {"type": ["integer", "null"], "format": "int64", "minimum": 0},
            {"type": "integer", "format": "int32", "minimum": 1, "maximum": 100},
            {"type": "integer", "format": "int32"},
            {"type": "number"},
        ]);
        write_out(&mut schemas);
        assert_eq!(schemas[0]["maximum"], json!(u64::MAX));
        assert_eq!((&schemas[1]["minimum"], &schemas[1]["maximum"]), (&json!(1), &json!(100)));
        assert_eq!(schemas[2]["minimum"], json!(i32::MIN));
        assert_eq!(schemas[3].get("minimum"), None);
    }
}
