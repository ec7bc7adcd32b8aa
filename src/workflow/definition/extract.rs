//! The `extract` block: values to read from a page by selectors.
//!
//! A field is a selector, or an object with a selector and options. A JSON schema whose properties
//! carry a `selector` is equivalent and is converted to fields.

use std::time::Duration;

use indexmap::IndexMap;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The fields of an `extract` block.
#[derive(Debug, Clone, Deserialize)]
pub struct Extract {
    /// The values to read, by name.
    #[serde(default)]
    pub fields: IndexMap<String, Field>,
    /// A selector; each element that it matches gives an object, and the output is their list.
    #[serde(default)]
    pub list: Option<String>,
    /// A JSON schema in place of `fields` and `list`.
    #[serde(default)]
    pub schema: Option<Value>,
    /// The locators of the frames around all fields, outermost first.
    #[serde(default, deserialize_with = "super::block::one_or_many")]
    pub frame: Vec<String>,
    /// True if finding no value at all is not a failure.
    #[serde(default)]
    pub optional: bool,
    /// The time to wait for the first value and for the required ones.
    #[serde(default, deserialize_with = "super::block::seconds")]
    pub timeout_seconds: Option<Duration>,
}

/// A value to read from the page.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(from = "Written")]
pub struct Field {
    /// The selector within the enclosing element; none for that element itself.
    pub selector: Option<String>,
    /// The attribute to read in place of the text.
    pub attribute: Option<String>,
    /// True to read every matching element, not only the first.
    pub all: bool,
    /// The fields of an object to read in place of a text.
    pub fields: Option<IndexMap<String, Field>>,
    /// True if the block waits for the value, and fails without it.
    pub required: bool,
    /// The type of the value, `number`, `integer` or `boolean`; a text by default.
    #[serde(rename = "type")]
    pub value_type: Option<String>,
}

#[derive(Deserialize)]
#[serde(untagged, expecting = "expected a selector, or an object with a selector")]
enum Written {
    Selector(String),
    Whole {
        selector: Option<String>,
        attribute: Option<String>,
        #[serde(default)]
        all: bool,
        /// A selector; shorthand for a `selector` with `all`.
        list: Option<String>,
        fields: Option<IndexMap<String, Field>>,
        #[serde(default)]
        required: bool,
        #[serde(rename = "type")]
        value_type: Option<String>,
    },
}

impl From<Written> for Field {
    fn from(written: Written) -> Self {
        match written {
            Written::Selector(selector) => Self {
                selector: Some(selector),
                attribute: None,
                all: false,
                fields: None,
                required: false,
                value_type: None,
            },
            Written::Whole { selector, attribute, all, list, fields, required, value_type } => {
                let all = all || list.is_some();
                let selector = selector.or(list);
                Self { selector, attribute, all, fields, required, value_type }
            }
        }
    }
}

impl Extract {
    /// Returns the whole block as one field.
    pub fn root(&self) -> Result<Field, String> {
        if let Some(schema) = &self.schema {
            return from_schema(schema);
        }
        if self.fields.is_empty() {
            return Err("expected `fields` or a `schema`".to_owned());
        }
        Ok(Field {
            selector: self.list.clone(),
            attribute: None,
            all: self.list.is_some(),
            fields: Some(self.fields.clone()),
            required: false,
            value_type: None,
        })
    }
}

impl Field {
    /// Returns every selector in the field.
    pub fn selectors(&self) -> Vec<&str> {
        let own = self.selector.as_deref();
        let inner = self.fields.iter().flatten().flat_map(|(_name, field)| field.selectors());
        own.into_iter().chain(inner).collect()
    }
}

fn from_schema(schema: &Value) -> Result<Field, String> {
    let text = |key| schema.get(key).and_then(Value::as_str).map(str::to_owned);
    let kind = text("type").unwrap_or_else(|| "string".to_owned());
    let mut field = Field {
        selector: text("selector"),
        attribute: text("attribute"),
        all: false,
        fields: None,
        required: false,
        value_type: None,
    };
    match kind.as_str() {
        "object" => {
            let properties = schema.get("properties").and_then(Value::as_object);
            let properties = properties.ok_or("an object of the schema has no `properties`")?;
            let required: Vec<&str> = schema
                .get("required")
                .and_then(Value::as_array)
                .into_iter()
                .flatten()
                .filter_map(Value::as_str)
                .collect();
            let mut fields = IndexMap::new();
            for (name, property) in properties {
                let mut inner = from_schema(property)?;
                inner.required = required.contains(&name.as_str());
                fields.insert(name.clone(), inner);
            }
            field.fields = Some(fields);
        }
        "array" => {
            let items = schema.get("items").ok_or("an array of the schema has no `items`")?;
            let inner = from_schema(items)?;
            let selector = field.selector.take().or(inner.selector.clone());
            field = Field { all: true, selector, ..inner };
            if field.selector.is_none() {
                return Err("an array of the schema has no `selector`".to_owned());
            }
        }
        "string" => (),
        "number" | "integer" | "boolean" => field.value_type = Some(kind),
        other => return Err(format!("the schema's type `{other}` cannot be read from a page")),
    }
    Ok(field)
}
