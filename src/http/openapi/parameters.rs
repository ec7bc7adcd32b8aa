//! Rules of query parameters and headers beyond their types, as JSON Schema.

use serde_json::{Value, json};

use super::VISIBLE;
use super::rules::merge;
use crate::domain::run::RunStatus;

/// A rule: the end of the path, the parameter's place and name, and the addition to its schema.
type Rule = (&'static str, &'static str, &'static str, Value);

fn rules() -> Vec<Rule> {
    let statuses: Vec<&str> = RunStatus::ALL.iter().map(|status| status.as_str()).collect();
    let statuses = json!({ "items": { "type": "string", "enum": statuses } });
    let place = json!({ "type": "string", "pattern": "^(latest|[0-9]{1,18})$" });
    vec![
        ("/screenshot", "query", "format", json!({ "enum": ["png", "jpeg", "jpg"] })),
        ("runs", "query", "status", statuses),
        ("/events", "query", "after", place.clone()),
        ("/events", "header", "Last-Event-ID", place),
        ("messages", "query", "before", json!({ "pattern": "^wm_[0-9]{1,19}$" })),
        (
            "",
            "header",
            "Idempotency-Key",
            json!({ "type": "string", "minLength": 1, "maxLength": 255, "pattern": VISIBLE }),
        ),
        (
            "",
            "header",
            "x-greenroom-user",
            json!({ "type": "string", "minLength": 1, "maxLength": 128, "pattern": VISIBLE }),
        ),
    ]
}

/// Adds the rules to a description.
pub(super) fn add(description: &mut Value) {
    let rules = rules();
    let Some(Value::Object(paths)) = description.get_mut("paths") else { return };
    for (path, item) in paths {
        let operations = item.as_object_mut().into_iter().flat_map(|item| item.values_mut());
        let parameters = operations.filter_map(|operation| operation.get_mut("parameters"));
        for parameter in parameters.filter_map(Value::as_array_mut).flatten() {
            let text = |member: &str| parameter.get(member).and_then(Value::as_str);
            let (is_in, is_named) = (text("in"), text("name"));
            let found = rules.iter().find(|(end, place, name, _)| {
                path.ends_with(end) && is_in == Some(*place) && is_named == Some(*name)
            });
            let Some((.., rule)) = found else { continue };
            if let Some(schema) = parameter.get_mut("schema") {
                merge(schema, rule.clone());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::openapi::description;

    #[test]
    fn every_rule_is_about_something_that_is_described() {
        let mut described = serde_json::to_value(description()).unwrap();
        let before = described.clone();
        add(&mut described);
        for (end, place, name, _) in rules() {
            let paths = before["paths"].as_object().unwrap();
            let is_there = paths.iter().filter(|(path, _)| path.ends_with(end)).any(|(_, item)| {
                let operations = item.as_object().unwrap().values();
                let parameters = operations.filter_map(|it| it["parameters"].as_array()).flatten();
                let mut parameters = parameters.filter(|it| it["in"] == place);
                parameters.any(|parameter| parameter["name"] == name)
            });
            assert!(is_there, "{name} of …{end} is not described");
        }
        let format = described
            .pointer(
                "/paths/~1v1~1browser_sessions~1{browser_session_id}~1screenshot/get/parameters/1",
            )
            .unwrap();
        assert_eq!(format["schema"]["enum"], json!(["png", "jpeg", "jpg"]));
    }
}
