//! A tool: its name, its description, the schema of its parameters, and its function.

use std::str::FromStr;
use std::sync::Arc;

use futures_util::future::BoxFuture;
use rmcp::model::{JsonObject, Tool, ToolAnnotations};
use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, SchemaGenerator};
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::answer::Answer;
use super::call::Call;
use super::client::Client;
use crate::http::body::parse;
use crate::http::error::ApiError;

/// A group of tools, by which a client can narrow what its model sees.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Set {
    /// Sessions: create, list, open, release, close.
    Sessions,
    /// Reading of pages without acting on them.
    Read,
    /// Acting on pages as a person does.
    Act,
    /// Files, storage, recordings, stored workflows and people.
    More,
}

const SETS: [(&str, Set); 4] =
    [("sessions", Set::Sessions), ("read", Set::Read), ("act", Set::Act), ("more", Set::More)];

/// The sets of tools that a client is offered; all of them unless its address names some.
#[derive(Debug, Clone)]
pub(super) struct ToolSet(Vec<Set>);

impl Default for ToolSet {
    fn default() -> Self {
        Self(SETS.iter().map(|(_name, set)| *set).collect())
    }
}

impl FromStr for ToolSet {
    type Err = &'static str;

    /// Reads names that are separated by commas. Sessions are always part of it, because
    /// every other tool needs a handle.
    fn from_str(text: &str) -> Result<Self, &'static str> {
        let mut sets = vec![Set::Sessions];
        let mut is_all = true;
        for name in text.split(',').map(str::trim).filter(|name| !name.is_empty()) {
            is_all = false;
            let known = SETS.iter().find(|(known, _set)| *known == name);
            let (_, set) = known.ok_or("expected some of sessions, read, act, more")?;
            sets.push(*set);
        }
        Ok(if is_all { Self::default() } else { Self(sets) })
    }
}

type Run = Box<dyn Fn(Call, Value) -> BoxFuture<'static, Result<Answer, ApiError>> + Send + Sync>;

/// A tool, and the function behind it.
pub(super) struct Entry {
    /// The name by which clients call it.
    pub name: &'static str,
    set: Set,
    changes: bool,
    description: &'static str,
    schema: Arc<JsonObject>,
    run: Run,
}

impl Entry {
    /// Makes a tool of a function. The schema of its parameters comes from their type, and so do the errors for
    /// parameters that do not fit it.
    pub fn new<P, F>(
        name: &'static str,
        set: Set,
        description: &'static str,
        function: impl Fn(Call, P) -> F + Send + Sync + 'static,
    ) -> Self
    where
        P: DeserializeOwned + JsonSchema,
        F: Future<Output = Result<Answer, ApiError>> + Send + 'static,
    {
        let run = move |call: Call, arguments: Value| -> BoxFuture<'static, _> {
            match parse::<P>(arguments.to_string().as_bytes()) {
                Ok(params) => Box::pin(function(call, params)),
                Err(problem) => Box::pin(std::future::ready(Err(problem.into()))),
            }
        };
        let settings = SchemaSettings::draft2020_12().with(|it| {
            it.inline_subschemas = true;
            it.meta_schema = None;
        });
        let schema = SchemaGenerator::new(settings).into_root_schema_for::<P>();
        let mut schema = match Value::from(schema) {
            Value::Object(schema) => schema,
            Value::Null
            | Value::Bool(_)
            | Value::Number(_)
            | Value::String(_)
            | Value::Array(_) => JsonObject::new(),
        };
        schema.remove("title");
        schema.remove("description");
        let changes = matches!(set, Set::Act);
        Self { name, set, changes, description, schema: Arc::new(schema), run: Box::new(run) }
    }

    /// Marks a tool that changes what other clients see.
    pub fn changes(mut self) -> Self {
        self.changes = true;
        self
    }

    /// Calls the tool with the arguments of a client.
    pub fn run(
        &self,
        call: Call,
        arguments: Value,
    ) -> BoxFuture<'static, Result<Answer, ApiError>> {
        (self.run)(call, arguments)
    }

    /// Returns the tool as clients see it.
    pub fn shown(&self) -> Tool {
        let mut annotations = ToolAnnotations::new();
        annotations.read_only_hint = Some(!self.changes);
        annotations.open_world_hint = Some(!matches!(self.set, Set::Sessions));
        Tool::new(self.name, self.description, Arc::clone(&self.schema))
            .with_annotations(annotations)
    }

    /// True if a client may call the tool.
    pub fn is_offered_to(&self, client: &Client) -> bool {
        client.tools.0.contains(&self.set)
            && (client.front.mcp.settings.evaluate || self.name != "evaluate")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sets_are_read_and_sessions_are_always_among_them() {
        assert_eq!("read".parse::<ToolSet>().unwrap().0, [Set::Sessions, Set::Read]);
        assert_eq!("".parse::<ToolSet>().unwrap().0.len(), SETS.len());
        assert!("write".parse::<ToolSet>().is_err());
    }
}
