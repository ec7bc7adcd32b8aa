//! Warnings about request fields that have no effect on this server.
//!
//! Clients of the compatible API send some fields without an effect here. They are accepted, so
//! that the clients work, and the answer's `warning` names them.

use serde_json::Value;

/// The warnings of one answer.
#[derive(Debug, Default)]
pub struct Warnings(Vec<String>);

impl Warnings {
    /// Adds a warning, if there is one.
    pub fn add(&mut self, warning: Option<String>) {
        self.0.extend(warning);
    }

    /// Adds the warning that a field has no effect, with the reason, if it was given.
    pub fn no_effect(&mut self, field: &str, given: bool, why: &str) {
        if given {
            self.0.push(format!("`{field}` has no effect: {why}"));
        }
    }

    /// Returns all warnings as one text; `None` if there are none.
    pub fn finish(self) -> Option<String> {
        (!self.0.is_empty()).then(|| self.0.join("; "))
    }
}

/// Settings of workflows that have no effect: the name, the value that requests nothing, and the
/// reason.
const SETTINGS: &[(&str, &str, &str)] = &[
    ("reuse_browser_session", "false", "name the session with `browser_session_id`"),
    ("pin_saved_session_ip", "false", "there are no addresses to pin"),
    ("model", "null", "the agent that executes blocks chooses its model"),
    ("mask_secrets", "null", "there are no secret parameters"),
    ("max_screenshot_scrolls", "null", "the agent takes its pictures itself"),
    ("totp_verification_url", "null", "no codes are fetched; a person can type one"),
    ("totp_identifier", "null", "no codes are fetched; a person can type one"),
    ("run_with", "\"agent\"", "blocks are executed as they are written"),
    ("ai_fallback", "true", "no block falls back to a model"),
    ("cache_key", "\"default\"", "no code is generated"),
    ("adaptive_caching", "false", "no code is generated"),
    ("enable_self_healing", "null", "no code is generated"),
    ("code_version", "null", "no code is generated"),
    ("generate_script_on_terminal", "false", "no code is generated"),
    ("folder_id", "null", "there are no folders"),
    ("cdp_connect_headers", "null", "runs drive this server's own browsers"),
];

/// The settings of a workflow that have an effect, besides its definition.
#[cfg(test)]
pub const WITH_EFFECT: &[&str] = &[
    "proxy_location",
    "webhook_callback_url",
    "is_saved_task",
    "max_elapsed_time_minutes",
    "extra_http_headers",
    "run_sequentially",
    "sequential_key",
    "sanitize_on_finish",
    "persist_browser_session",
    "browser_profile_id",
    "browser_profile_key",
    "name",
    "tags",
];

/// Returns the warnings about the settings of a workflow.
pub fn of_settings(settings: &Value) -> Option<String> {
    let mut warnings = Warnings::default();
    for (name, nothing, why) in SETTINGS {
        let given = settings.get(name).filter(|value| {
            let is_empty = value.is_null() || value.as_object().is_some_and(|it| it.is_empty());
            let text = value.to_string();
            let is_nothing = text == *nothing;
            let is_old_name = *name == "run_with" && *value == "ai";
            !is_empty && !is_nothing && !is_old_name && *value != "" && **value != false
        });
        let given =
            given.is_some() || *name == "ai_fallback" && settings.get(name) == Some(&false.into());
        warnings.no_effect(name, given, why);
    }
    let key = settings.get("sequential_key").is_some_and(|key| key.is_string() && *key != "");
    let in_lanes = settings.get("run_sequentially") == Some(&true.into());
    let why = "it counts beside `run_sequentially`";
    warnings.no_effect("sequential_key", key && !in_lanes, why);
    warnings.add(super::proxy::warning(settings.get("proxy_location").unwrap_or(&Value::Null)));
    warnings.finish()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn every_setting_that_is_not_at_rest_is_named_and_no_other() {
        for (name, nothing, _) in SETTINGS {
            let nothing: Value = serde_json::from_str(nothing).unwrap();
            assert_eq!(of_settings(&json!({ *name: nothing })), None, "{name}");
            let other = match nothing {
                Value::Bool(nothing) => json!(!nothing),
                Value::Null | Value::Number(_) | Value::String(_) => json!("other"),
                Value::Array(_) | Value::Object(_) => json!(null),
            };
            let warning = of_settings(&json!({ *name: other })).unwrap_or_default();
            assert!(warning.starts_with(&format!("`{name}` has no effect")), "{name}: {warning}");
        }
        for name in WITH_EFFECT {
            assert_eq!(of_settings(&json!({ *name: true })), None, "{name}");
        }
    }
}
