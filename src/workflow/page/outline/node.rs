//! A node of the accessibility tree, as DevTools gives it.

use serde::Deserialize;
use serde_json::Value;

#[derive(Debug, Clone, Default, Deserialize)]
struct AxValue {
    #[serde(default)]
    value: Value,
}

#[derive(Debug, Clone, Deserialize)]
struct AxProperty {
    name: String,
    value: AxValue,
}

/// A node as `Accessibility.getFullAXTree` returns it.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(in crate::workflow::page) struct AxNode {
    node_id: String,
    #[serde(default)]
    pub(in crate::workflow::page) ignored: bool,
    #[serde(default)]
    role: AxValue,
    #[serde(default)]
    name: AxValue,
    #[serde(default)]
    value: AxValue,
    #[serde(default)]
    properties: Vec<AxProperty>,
    #[serde(default)]
    child_ids: Vec<String>,
    #[serde(rename = "backendDOMNodeId")]
    pub(in crate::workflow::page) node: Option<i64>,
}

impl AxNode {
    pub(super) fn id(&self) -> &str {
        &self.node_id
    }

    pub(super) fn children(&self) -> std::slice::Iter<'_, String> {
        self.child_ids.iter()
    }

    /// Returns the value of a field, as text.
    pub(super) fn value(&self) -> String {
        text_of(&self.value.value)
    }

    pub(in crate::workflow::page) fn role(&self) -> &str {
        self.role.value.as_str().unwrap_or_default()
    }

    pub(in crate::workflow::page) fn name(&self) -> &str {
        self.name.value.as_str().unwrap_or_default()
    }

    /// Returns a property as text, as in `true`, `mixed` or `2`.
    pub(in crate::workflow::page) fn property(&self, name: &str) -> Option<String> {
        let property = self.properties.iter().find(|property| property.name == name)?;
        Some(text_of(&property.value.value))
    }

    pub(in crate::workflow::page) fn has(&self, name: &str) -> bool {
        self.property(name).as_deref() == Some("true")
    }
}

fn text_of(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => String::new(),
        Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => value.to_string(),
    }
}
