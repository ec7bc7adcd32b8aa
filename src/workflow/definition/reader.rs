//! Reads a document into a [`Workflow`], and collects its errors.

use std::collections::{HashMap, HashSet};

use serde_json::{Map, Value};

use super::block::{Block, Kind, Misfit, output_key};
use super::parameter::{Parameter, ParameterKind, RESERVED, is_identifier};
use super::yaml::pointer;
use super::{
    DEEPEST, Definition, DefinitionErrors, FieldError, PathPart, Workflow, graph, is_deeper,
    templates,
};
use crate::workflow::page::locator::Locator;

/// The maximum number of blocks in a definition.
const MOST_BLOCKS: usize = 1000;
const STATUSES: &[&str] = &["published", "draft", "auto_generated", "importing", "import_failed"];
const DEFINITION: &str = "workflow_definition";

pub(super) struct Reader {
    lines: Option<HashMap<String, usize>>,
    errors: Vec<FieldError>,
    /// True if the document is new: errors that would appear only in its first run are rejected now.
    new: bool,
}

/// A block that could be read, and its path.
struct Placed<'a> {
    block: &'a Block,
    path: Vec<PathPart>,
}

fn join(path: &[PathPart], more: &[PathPart]) -> Vec<PathPart> {
    path.iter().chain(more).cloned().collect()
}

impl Reader {
    pub(super) fn new(lines: Option<HashMap<String, usize>>) -> Self {
        Self { lines, errors: Vec::new(), new: true }
    }

    fn refuse(
        &mut self,
        path: Vec<PathPart>,
        block: Option<&str>,
        code: &'static str,
        message: impl Into<String>,
        input: Option<&Value>,
    ) {
        let error = FieldError {
            line: self.line(&path),
            path,
            block: block.map(str::to_owned),
            code,
            message: message.into(),
            input: input.cloned().unwrap_or(Value::Null),
        };
        self.errors.push(error);
    }

    /// Returns the line of the nearest node on the path that the document contains.
    fn line(&self, path: &[PathPart]) -> Option<usize> {
        let lines = self.lines.as_ref()?;
        let mut at = String::new();
        let mut nearest = lines.get(&at).copied();
        for part in path {
            at = pointer(&at, &part.to_string());
            nearest = lines.get(&at).copied().or(nearest);
        }
        nearest
    }

    fn finish<T>(self, value: Option<T>) -> Result<T, DefinitionErrors> {
        match value {
            Some(value) if self.errors.is_empty() => Ok(value),
            Some(_) | None => Err(DefinitionErrors(self.errors)),
        }
    }

    pub(super) fn workflow(mut self, document: &Value) -> Result<Workflow, DefinitionErrors> {
        let workflow = self.read_workflow(document);
        self.finish(workflow)
    }

    pub(super) fn definition_alone(mut self, raw: &Value) -> Result<Definition, DefinitionErrors> {
        self.new = false;
        let definition = self.read_definition(raw);
        self.finish(definition)
    }

    fn read_workflow(&mut self, document: &Value) -> Option<Workflow> {
        if is_deeper(document, DEEPEST) {
            let message = format!("the document is nested more than {DEEPEST} deep");
            self.refuse(Vec::new(), None, "too_deep", message, None);
            return None;
        }
        let Some(object) = document.as_object() else {
            self.refuse(Vec::new(), None, "type_invalid", "expected an object", Some(document));
            return None;
        };
        let title = match object.get("title") {
            Some(Value::String(title)) => title.clone(),
            Some(other) => {
                self.refuse(
                    vec!["title".into()],
                    None,
                    "type_invalid",
                    "expected a text",
                    Some(other),
                );
                String::new()
            }
            None => {
                self.refuse(vec!["title".into()], None, "missing", "the field is required", None);
                String::new()
            }
        };
        let description = self.optional_text(object, "description");
        let status = self.optional_text(object, "status").unwrap_or_else(|| "published".to_owned());
        if !STATUSES.contains(&status.as_str()) {
            let message = format!("expected one of {}", STATUSES.join(", "));
            self.refuse(
                vec!["status".into()],
                None,
                "status_unknown",
                message,
                object.get("status"),
            );
        }
        self.check_minutes(object);
        let definition = match object.get(DEFINITION) {
            Some(raw) => self.read_definition(raw),
            None => {
                self.refuse(
                    vec![DEFINITION.into()],
                    None,
                    "missing",
                    "the field is required",
                    None,
                );
                None
            }
        };
        let mut settings = object.clone();
        settings.retain(|key, _value| {
            !["title", "description", "status", DEFINITION].contains(&key.as_str())
        });
        let settings = Value::Object(settings);
        Some(Workflow { title, description, status, definition: definition?, settings })
    }

    fn optional_text(&mut self, object: &Map<String, Value>, field: &str) -> Option<String> {
        let value = object.get(field).filter(|value| !value.is_null())?;
        if !value.is_string() {
            self.refuse(vec![field.into()], None, "type_invalid", "expected a text", Some(value));
        }
        value.as_str().map(str::to_owned)
    }

    fn check_minutes(&mut self, object: &Map<String, Value>) {
        let field = "max_elapsed_time_minutes";
        let Some(value) = object.get(field).filter(|value| !value.is_null()) else { return };
        if !value.as_u64().is_some_and(|minutes| (1..=480).contains(&minutes)) {
            let message = "expected a whole number of minutes from 1 to 480";
            self.refuse(vec![field.into()], None, "out_of_range", message, Some(value));
        }
    }

    fn read_definition(&mut self, raw: &Value) -> Option<Definition> {
        let at = |field: &str| vec![PathPart::from(DEFINITION), field.into()];
        let Some(object) = raw.as_object() else {
            let path = vec![DEFINITION.into()];
            self.refuse(path, None, "type_invalid", "expected an object", Some(raw));
            return None;
        };
        let parameters = self.read_parameters(object.get("parameters"), &at("parameters"));
        let blocks = self.read_blocks(object.get("blocks"), &at("blocks"), 0);
        let finally = match object.get("finally_block_label") {
            None | Some(Value::Null) => None,
            Some(Value::String(label)) => Some(label.clone()),
            Some(other) => {
                let path = at("finally_block_label");
                self.refuse(path, None, "type_invalid", "expected a text", Some(other));
                None
            }
        };
        if !self.errors.is_empty() {
            return None; // References to an invalid block cannot be checked.
        }

        let placed = place(&blocks, &at("blocks"));
        self.check_names(&placed, &parameters);
        self.check_references(&placed, &parameters, &at("parameters"));
        let graph = placed.iter().any(|placed| {
            placed.block.next.is_some() || matches!(placed.block.kind, Kind::Conditional(_))
        });
        let version = self.read_version(object.get("version"), graph);
        self.check_finally(&blocks, finally.as_deref());
        if version == 2 {
            self.check_order(&blocks, &at("blocks"), finally.as_deref());
        }
        Some(Definition { version, parameters, blocks, finally, raw: raw.clone() })
    }

    fn read_version(&mut self, given: Option<&Value>, graph: bool) -> u32 {
        let path = vec![DEFINITION.into(), "version".into()];
        let given = given.filter(|value| !value.is_null());
        match (given, given.and_then(Value::as_u64)) {
            (None, _) => 1 + u32::from(graph),
            (Some(_), Some(2)) => 2,
            (Some(value), Some(1)) => {
                if graph {
                    let message = "conditional blocks and `next_block_label` need version 2";
                    self.refuse(path, None, "version_too_low", message, Some(value));
                }
                1
            }
            (Some(value), _) => {
                self.refuse(path, None, "version_unknown", "expected 1 or 2", Some(value));
                2
            }
        }
    }

    fn read_parameters(&mut self, given: Option<&Value>, path: &[PathPart]) -> Vec<Parameter> {
        let Some(list) = self.list(given, path) else { return Vec::new() };
        let mut parameters: Vec<Parameter> = Vec::new();
        for (index, value) in list.iter().enumerate() {
            let here = join(path, &[index.into()]);
            match Parameter::read(value) {
                Ok(parameter) => {
                    if parameters.iter().any(|other| other.key == parameter.key) {
                        let message = format!("another parameter is named `{}`", parameter.key);
                        let path = join(&here, &["key".into()]);
                        self.refuse(path, None, "key_duplicate", message, value.get("key"));
                    }
                    parameters.push(parameter);
                }
                Err(misfit) => {
                    let input = misfit.path.first().and_then(|part| value.get(part.to_string()));
                    let path = join(&here, &misfit.path);
                    self.refuse(path, None, misfit.code, misfit.message, input);
                }
            }
        }
        parameters
    }

    fn list<'a>(&mut self, given: Option<&'a Value>, path: &[PathPart]) -> Option<&'a Vec<Value>> {
        let value = given.filter(|value| !value.is_null())?;
        if !value.is_array() {
            self.refuse(path.to_vec(), None, "type_invalid", "expected a list", Some(value));
        }
        value.as_array()
    }

    fn read_blocks(
        &mut self,
        given: Option<&Value>,
        path: &[PathPart],
        depth: usize,
    ) -> Vec<Block> {
        let Some(list) = self.list(given, path) else { return Vec::new() };
        if depth > 10 || list.len() > MOST_BLOCKS {
            let message = format!("expected at most {MOST_BLOCKS} blocks and 10 loops in another");
            self.refuse(path.to_vec(), None, "too_large", message, None);
            return Vec::new();
        }
        let blocks = list.iter().enumerate();
        blocks
            .filter_map(|(index, value)| {
                self.read_block(value, &join(path, &[index.into()]), depth)
            })
            .collect()
    }

    fn read_block(&mut self, value: &Value, path: &[PathPart], depth: usize) -> Option<Block> {
        let label = value.get("label").and_then(Value::as_str);
        let Some(object) = value.as_object() else {
            self.refuse(path.to_vec(), None, "type_invalid", "expected an object", Some(value));
            return None;
        };
        let before = self.errors.len();
        let misfit = |reader: &mut Self, misfit: Misfit| {
            let input = misfit.path.iter().try_fold(value, |value, part| match part {
                PathPart::Key(key) => value.get(key),
                PathPart::Index(index) => value.get(*index),
            });
            let input = input.filter(|_found| !misfit.path.is_empty());
            reader.refuse(join(path, &misfit.path), label, misfit.code, misfit.message, input);
        };
        let mut text = |field: &str, required: bool| match object.get(field) {
            Some(Value::String(text)) => Some(text.clone()),
            None | Some(Value::Null) => {
                if required {
                    misfit(self, Misfit::field(field, "missing", "the field is required"));
                }
                None
            }
            Some(Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_)) => {
                misfit(self, Misfit::field(field, "type_invalid", "expected a text"));
                None
            }
        };
        let own_label = text("label", true);
        let block_type = text("block_type", true);
        let next = text("next_block_label", false);
        let mut flag = |field: &str| match object.get(field) {
            None | Some(Value::Null) => false,
            Some(Value::Bool(flag)) => *flag,
            Some(Value::String(_) | Value::Number(_) | Value::Array(_) | Value::Object(_)) => {
                misfit(self, Misfit::field(field, "type_invalid", "expected true or false"));
                false
            }
        };
        let continue_on_failure = flag("continue_on_failure");
        let next_loop_on_failure = flag("next_loop_on_failure");
        if let Some(label) = own_label.as_deref().filter(|label| !is_identifier(label)) {
            let message = format!("`{label}` is not a valid label: use letters, digits and `_`");
            misfit(self, Misfit::field("label", "label_invalid", message));
        }
        let kind = match block_type.as_deref().map(|name| (name, Kind::read(name, object))) {
            Some((_name, Ok(Some(kind)))) => Some(kind),
            Some((name, Ok(None))) => {
                let message = format!("there is no block type `{name}`");
                misfit(self, Misfit::field("block_type", "block_type_unknown", message));
                None
            }
            Some((_name, Err(fault))) => {
                misfit(self, fault);
                None
            }
            None => None,
        };
        if let Some(kind) = &kind {
            for fault in super::block::rules::check(kind, object) {
                misfit(self, fault);
            }
            for (field, selector) in super::block::rules::selectors(kind) {
                if let Err(error) = Locator::parse_template(selector) {
                    misfit(self, Misfit::field(field, "selector_invalid", error.to_string()));
                }
            }
        }
        if self.new {
            for fault in templates::check(object) {
                misfit(self, fault);
            }
            for fault in kind.iter().flat_map(|kind| super::block::strict::check(kind, object)) {
                misfit(self, fault);
            }
        }
        let parameter_keys = match object.get("parameter_keys") {
            None | Some(Value::Null) => Vec::new(),
            Some(keys) => keys
                .as_array()
                .into_iter()
                .flatten()
                .filter_map(Value::as_str)
                .map(str::to_owned)
                .collect(),
        };
        let loops = matches!(kind, Some(Kind::ForLoop(_) | Kind::WhileLoop(_)));
        let body = if loops {
            let path = join(path, &["loop_blocks".into()]);
            if object.get("loop_blocks").and_then(Value::as_array).is_none_or(Vec::is_empty) {
                let message = "a loop needs at least one block";
                self.refuse(path.clone(), label, "missing", message, object.get("loop_blocks"));
            }
            self.read_blocks(object.get("loop_blocks"), &path, depth + 1)
        } else {
            Vec::new()
        };
        if self.errors.len() > before {
            return None;
        }
        let mut raw = object.clone();
        raw.shift_remove("loop_blocks");
        Some(Block {
            label: own_label?,
            block_type: block_type?,
            next,
            continue_on_failure,
            next_loop_on_failure,
            parameter_keys,
            kind: kind?,
            body,
            raw,
        })
    }

    fn check_names(&mut self, placed: &[Placed<'_>], parameters: &[Parameter]) {
        let mut labels = HashSet::new();
        for Placed { block, path } in placed {
            let label = block.label.as_str();
            let at = join(path, &["label".into()]);
            if !labels.insert(label) {
                let message = format!("another block has the label `{label}`");
                let input = Value::from(label);
                self.refuse(at, Some(label), "label_duplicate", message, Some(&input));
            } else if RESERVED.contains(&label) {
                let message = format!("`{label}` is a reserved name");
                self.refuse(at, Some(label), "label_reserved", message, None);
            }
        }
        let outputs: HashSet<String> =
            placed.iter().map(|placed| placed.block.output_key()).collect();
        for (index, parameter) in parameters.iter().enumerate() {
            if outputs.contains(&parameter.key) {
                let path = vec![DEFINITION.into(), "parameters".into(), index.into(), "key".into()];
                let message = format!("`{}` is the output of a block", parameter.key);
                self.refuse(path, None, "key_reserved", message, parameter.raw.get("key"));
            }
        }
    }

    fn check_references(
        &mut self,
        placed: &[Placed<'_>],
        parameters: &[Parameter],
        parameters_path: &[PathPart],
    ) {
        let mut known: HashSet<String> =
            parameters.iter().map(|parameter| parameter.key.clone()).collect();
        known.extend(placed.iter().map(|placed| output_key(&placed.block.label)));

        for (index, parameter) in parameters.iter().enumerate() {
            if let ParameterKind::Context { source } = &parameter.kind
                && !known.contains(source)
            {
                let path = join(parameters_path, &[index.into(), "source_parameter_key".into()]);
                let message = format!("there is no parameter `{source}`");
                self.refuse(path, None, "parameter_unknown", message, None);
            }
        }
        for Placed { block, path } in placed {
            for (index, key) in block.parameter_keys.iter().enumerate() {
                if !known.contains(key) {
                    let path = join(path, &["parameter_keys".into(), index.into()]);
                    let message = format!("there is no parameter `{key}`");
                    let input = Value::from(key.as_str());
                    let label = Some(block.label.as_str());
                    self.refuse(path, label, "parameter_unknown", message, Some(&input));
                }
            }
            if let Kind::ForLoop(spec) = &block.kind
                && let Some(key) =
                    spec.loop_over_parameter_key.as_ref().filter(|key| !key.is_empty())
                && !known.contains(key)
            {
                let path = join(path, &["loop_over_parameter_key".into()]);
                let message = format!("there is no parameter `{key}`");
                self.refuse(path, Some(&block.label), "parameter_unknown", message, None);
            }
        }
    }

    fn check_finally(&mut self, blocks: &[Block], finally: Option<&str>) {
        let Some(label) = finally else { return };
        let path = vec![DEFINITION.into(), "finally_block_label".into()];
        let input = Value::from(label);
        let Some(block) = blocks.iter().find(|block| block.label == label) else {
            let message = format!("there is no block `{label}` on the top level");
            self.refuse(path, None, "finally_block_unknown", message, Some(&input));
            return;
        };
        if block.next.is_some() || matches!(block.kind, Kind::Conditional(_)) {
            let message = format!("`{label}` runs last and cannot lead to another block");
            self.refuse(path, Some(label), "finally_block_not_last", message, Some(&input));
        }
    }

    fn check_order(&mut self, blocks: &[Block], path: &[PathPart], finally: Option<&str>) {
        for fault in graph::check(blocks, finally) {
            let label = blocks.get(fault.block).map(|block| block.label.as_str());
            let at = join(path, &[fault.block.into(), fault.field.into()]);
            let input = label.map(Value::from);
            self.refuse(at, label, fault.code, fault.message, input.as_ref());
        }
        for (index, block) in blocks.iter().enumerate() {
            if !block.body.is_empty() {
                let path = join(path, &[index.into(), "loop_blocks".into()]);
                self.check_order(&block.body, &path, None);
            }
        }
    }
}

/// Returns every block with its path, including those in loops.
fn place<'a>(blocks: &'a [Block], path: &[PathPart]) -> Vec<Placed<'a>> {
    let mut all = Vec::new();
    for (index, block) in blocks.iter().enumerate() {
        let here = join(path, &[index.into()]);
        let inner = place(&block.body, &join(&here, &["loop_blocks".into()]));
        all.push(Placed { block, path: here });
        all.extend(inner);
    }
    all
}
