//! The names that templates can use, and the outputs of blocks.

use std::collections::HashMap;

use serde_json::{Map, Value, json};

use super::plan::Plan;
use crate::workflow::definition::block::output_key;
use crate::workflow::definition::{Definition, ParameterKind};
use crate::workflow::template::Names;

/// The current iteration of a loop.
#[derive(Debug, Clone)]
pub(super) struct Iteration {
    /// The index, from 0.
    pub(super) index: usize,
    /// The value of this iteration; null in a loop without values.
    pub(super) value: Value,
    /// The key of the parameter that holds the values.
    pub(super) over: Option<String>,
}

/// The values known in the course of a run.
#[derive(Debug)]
pub(super) struct Scope {
    /// Parameters, and values that are constant throughout the run.
    fixed: Map<String, Value>,
    /// Parameters whose value is another parameter or output: key and source.
    contexts: Vec<(String, String)>,
    /// The outputs of blocks, by the key `{label}_output`.
    outputs: Map<String, Value>,
    /// The results of extractions.
    extracted: Vec<Value>,
    /// The loops around the current block, outermost first.
    pub(super) iterations: Vec<Iteration>,
    run: String,
    /// The size of all outputs, in bytes of JSON.
    given: usize,
    recorded: u64,
    recorded_at: HashMap<String, u64>,
}

impl Scope {
    pub(super) fn new(plan: &Plan) -> Self {
        let mut fixed = plan.parameters.clone();
        let session = plan.session.map(|session| session.to_string());
        let given = [
            ("workflow_title", Value::from(plan.workflow_title.as_str())),
            ("workflow_id", Value::from(plan.workflow.to_string())),
            ("workflow_permanent_id", Value::from(plan.workflow_permanent.to_string())),
            ("workflow_run_id", Value::from(plan.run.to_string())),
            ("current_date", Value::from(plan.date.to_string())),
            ("browser_session_id", Value::from(session)),
        ];
        for (name, value) in given {
            fixed.insert(name.to_owned(), value);
        }
        let outputs = plan.outputs.iter();
        let outputs = outputs.map(|(label, value)| (output_key(label), value.clone())).collect();
        Self {
            fixed,
            contexts: contexts(&plan.definition),
            outputs,
            extracted: Vec::new(),
            iterations: Vec::new(),
            run: plan.run.to_string(),
            given: 0,
            recorded: 0,
            recorded_at: HashMap::new(),
        }
    }

    /// Adds the size of an output. False if the total would exceed `most` bytes.
    pub(super) fn has_room<'a>(
        &mut self,
        values: impl IntoIterator<Item = &'a Value>,
        most: usize,
    ) -> bool {
        let more: usize = values.into_iter().map(size).sum();
        let given = self.given.saturating_add(more);
        if given <= most {
            self.given = given;
        }
        given <= most
    }

    /// Records the output of a block.
    pub(super) fn record(&mut self, label: &str, output: Value) {
        self.recorded += 1;
        self.recorded_at.insert(label.to_owned(), self.recorded);
        self.outputs.insert(output_key(label), output);
    }

    /// Records the result of an extraction.
    pub(super) fn record_extracted(&mut self, value: &Value) {
        self.extracted.push(value.clone());
    }

    /// Returns the output of a block, or null.
    pub(super) fn output(&self, label: &str) -> Value {
        self.outputs.get(&output_key(label)).cloned().unwrap_or_default()
    }

    /// Returns the number of outputs recorded so far.
    pub(super) fn recorded(&self) -> u64 {
        self.recorded
    }

    /// True if the block's output was recorded after the first `recorded` outputs.
    pub(super) fn gave_since(&self, label: &str, recorded: u64) -> bool {
        self.recorded_at.get(label).is_some_and(|at| *at > recorded)
    }

    /// Returns the outputs of the run.
    pub(super) fn run_outputs(&self) -> Value {
        let mut all = self.outputs.clone();
        all.insert("extracted_information".to_owned(), Value::from(self.extracted.clone()));
        Value::Object(all)
    }

    /// Returns every name with its value.
    pub(super) fn values(&self) -> Map<String, Value> {
        let mut values = self.fixed.clone();
        for (key, output) in &self.outputs {
            if let Some(label) = key.strip_suffix("_output") {
                values.insert(label.to_owned(), output.clone());
            }
            values.insert(key.clone(), output.clone());
        }
        values.insert("workflow_run_outputs".to_owned(), Value::Object(self.outputs.clone()));
        let summary = json!({ "workflow_run_id": self.run, "outputs": self.outputs });
        values.insert("workflow_run_summary".to_owned(), summary);
        for (key, source) in &self.contexts {
            let looped = self.iterations.iter().rev().find(|is| is.over.as_ref() == Some(source));
            let value = looped.map(|is| &is.value).or_else(|| values.get(source));
            let inner = value.and_then(|value| value.get(key));
            if let Some(value) = inner.or(value).cloned() {
                values.insert(key.clone(), value);
            }
        }
        if let Some(iteration) = self.iterations.last() {
            values.insert("current_value".to_owned(), iteration.value.clone());
            values.insert("current_item".to_owned(), iteration.value.clone());
            values.insert("current_index".to_owned(), Value::from(iteration.index));
        }
        values
    }

    /// Returns the names for the renderer.
    pub(super) fn names(&self) -> Names {
        Names::new(&self.values())
    }
}

/// Returns the size of a value, in bytes of JSON.
fn size(value: &Value) -> usize {
    struct Counter(usize);
    impl std::io::Write for Counter {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0 = self.0.saturating_add(bytes.len());
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let mut counter = Counter(0);
    match serde_json::to_writer(&mut counter, value) {
        Ok(()) => counter.0,
        Err(_) => usize::MAX, // Not a JSON value.
    }
}

fn contexts(definition: &Definition) -> Vec<(String, String)> {
    let parameters = definition.parameters.iter();
    parameters
        .filter_map(|parameter| match &parameter.kind {
            ParameterKind::Context { source } => Some((parameter.key.clone(), source.clone())),
            ParameterKind::Workflow { .. } | ParameterKind::Secret(_) => None,
        })
        .collect()
}
