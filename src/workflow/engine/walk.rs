//! The order of execution: sequences, loops, branches, and the consequences of a failure.

use serde_json::{Map, Value, json};

use super::Engine;
use super::ending::{Broken, End, Ending, Stop, Work, ended};
use super::scope::Iteration;
use crate::domain::ids::BlockRunId;
use crate::domain::run::BlockStatus;
use crate::domain::session::Failure;
use crate::workflow::definition::block::{Conditional, Criteria, ForLoop, WhileLoop};
use crate::workflow::definition::{Block, Definition, Kind, ParameterKind, graph, is_deeper};
use crate::workflow::host::{BlockBegins, BlockEnded};
use crate::workflow::template::{TEMPLATE_INVALID, TemplateError, pure_expression, truth};

/// The end of a level, as seen by the enclosing loop.
enum Level {
    Done,
    NextIteration,
    Failed(BlockStatus, Box<Failure>),
}

/// The position of a block.
#[derive(Debug, Clone, Copy)]
struct BlockPosition {
    parent: Option<BlockRunId>,
    in_a_loop: bool,
}

/// The greatest depth of a block's output. With the levels that a response adds, any JSON reader
/// still accepts it.
const DEEPEST_OUTPUT: usize = 100;

const TOP: BlockPosition = BlockPosition { parent: None, in_a_loop: false };

/// The fields of a block that are never templates, or are rendered where they are used.
pub(crate) const AS_WRITTEN: &[&str] = &[
    "label",
    "block_type",
    "next_block_label",
    "parameter_keys",
    "code",
    "script",
    "schema",
    "condition",
    "branch_conditions",
    "loop_variable_reference",
    "loop_over_parameter_key",
];

/// Chromium's error for an `https` page whose connection a proxy refuses.
const TUNNEL_REFUSED: &str = "net::ERR_TUNNEL_CONNECTION_FAILED";

impl Engine {
    pub(super) async fn body(&mut self, definition: &Definition) -> Ending {
        let level = match &self.plan.only {
            Some(labels) => {
                let all = definition.all_blocks();
                let chosen = labels.iter().filter_map(|label| {
                    all.iter().find(|block| block.label == *label).map(|block| (*block).clone())
                });
                let chosen: Vec<Block> = chosen.collect();
                self.level(&chosen, 1, None, TOP).await
            }
            None => {
                let finally = definition.finally.as_deref();
                self.level(&definition.blocks, definition.version, finally, TOP).await
            }
        };
        ending(level)
    }

    /// Executes one block by itself, at the top level.
    pub(super) async fn alone(&mut self, block: &Block) -> Ending {
        let block = Block { next: None, ..block.clone() };
        ending(self.level(std::slice::from_ref(&block), 1, None, TOP).await)
    }

    async fn level(
        &mut self,
        blocks: &[Block],
        version: u32,
        finally: Option<&str>,
        place: BlockPosition,
    ) -> Result<Level, Stop> {
        let first = if version == 2 { graph::root(blocks, finally) } else { Some(0) };
        let mut at = first;
        let mut steps = 0;
        while let Some(block) = at.and_then(|index| blocks.get(index)) {
            let index = at.unwrap_or_default();
            if version != 2 && Some(block.label.as_str()) == finally {
                at = Some(index + 1);
                continue;
            }
            steps += 1;
            if place.in_a_loop && steps > self.plan.settings.most_steps {
                let message =
                    format!("more than {} blocks in one iteration", self.plan.settings.most_steps);
                let failure = Failure::new("too_many_steps", message);
                return Ok(Level::Failed(BlockStatus::Failed, Box::new(failure)));
            }
            let end = self.block(block, version, place).await?;
            match end.status {
                BlockStatus::Completed | BlockStatus::Skipped => (),
                BlockStatus::Canceled => return Err(Stop::Canceled),
                BlockStatus::Failed
                | BlockStatus::Terminated
                | BlockStatus::TimedOut
                | BlockStatus::Running => {
                    if !block.continue_on_failure {
                        if place.in_a_loop && block.next_loop_on_failure {
                            return Ok(Level::NextIteration);
                        }
                        return Ok(Level::Failed(end.status, reason(block, end.failure)));
                    }
                }
            }
            at = if version != 2 {
                Some(index + 1)
            } else {
                let chosen = end
                    .branch
                    .unwrap_or_else(|| graph::follows(blocks, index, finally).map(str::to_owned));
                chosen
                    .filter(|label| Some(label.as_str()) != finally)
                    .and_then(|label| blocks.iter().position(|block| block.label == label))
            };
        }
        Ok(Level::Done)
    }

    /// Begins a block, executes it, and ends it.
    async fn block(
        &mut self,
        block: &Block,
        version: u32,
        place: BlockPosition,
    ) -> Result<End, Stop> {
        let iteration = self.scope.iterations.last().filter(|_is| place.in_a_loop);
        let begins = BlockBegins {
            parent: place.parent,
            label: block.label.clone(),
            block_type: block.block_type.clone(),
            iteration: iteration.map(|is| (is.index, is.value.clone())),
        };
        let id = self.host.begin_block(begins).await?;
        self.open.push(id);
        let mut end = self.executed(block, id, version).await?;
        if end.output.as_ref().is_some_and(|output| is_deeper(output, DEEPEST_OUTPUT)) {
            let message = format!("the output is nested more than {DEEPEST_OUTPUT} deep");
            end = End::failed("output_too_deep", message);
        }

        // The outputs of loops were counted within the loops.
        let given = end.output.iter().chain(&end.extracted);
        let most = self.plan.settings.most_output_bytes;
        if block.body.is_empty() && !self.scope.has_room(given, most) {
            let message = format!("the outputs of the run would be larger than {most} bytes");
            end = End::failed("outputs_too_large", message);
        }
        if let Some(failure) = &mut end.failure {
            failure.stage.get_or_insert_with(|| block.label.clone());
            if failure.message.contains(TUNNEL_REFUSED)
                && let Some(reason) = self.host.refusal(id, &failure.message).await
            {
                failure.message = format!("{}: {reason}", failure.message);
            }
            if failure.code == TEMPLATE_INVALID {
                failure.message = format!("in block `{}`: {}", block.label, failure.message);
            }
        }
        if let Some(output) = &end.output {
            self.scope.record(&block.label, output.clone());
        }
        if let Some(extracted) = &end.extracted {
            self.scope.record_extracted(extracted);
        }
        let ended = BlockEnded {
            status: end.status,
            output: end.output.clone(),
            failure: end.failure.as_deref().cloned(),
        };
        let pictured = self.picture(block, id, &end);
        let (ended, ()) = tokio::join!(self.host.end_block(id, ended), pictured);
        ended?;
        self.open.pop();
        Ok(end)
    }

    async fn executed(&mut self, block: &Block, id: BlockRunId, version: u32) -> Result<End, Stop> {
        if let Some(end) = self.secret_missing(block) {
            return Ok(end);
        }
        if let Kind::ForLoop(spec) = &block.kind {
            return Box::pin(self.for_loop(block, spec, id, version)).await;
        }
        if let Kind::WhileLoop(spec) = &block.kind {
            return Box::pin(self.while_loop(block, spec, id, version)).await;
        }
        if let Kind::Conditional(spec) = &block.kind {
            return ended(self.conditional(block, spec, id).await);
        }
        let rendered = match self.rendered(block) {
            Ok(rendered) => rendered,
            Err(end) => return Ok(*end),
        };
        match Kind::read(&block.block_type, &rendered) {
            Ok(Some(kind)) => self.leaf(block, id, kind, rendered).await,
            Ok(None) => Ok(End::failed("block_type_unknown", "there is no such block type")),
            Err(misfit) => {
                let path: Vec<String> = misfit.path.iter().map(ToString::to_string).collect();
                let message = format!("`{}`: {}", path.join("."), misfit.message);
                Ok(End::failed("field_invalid", message))
            }
        }
    }

    fn secret_missing(&self, block: &Block) -> Option<End> {
        let secret = self.plan.definition.parameters.iter().find(|parameter| {
            matches!(parameter.kind, ParameterKind::Secret(_))
                && block.parameter_keys.contains(&parameter.key)
        })?;
        let message = format!(
            "the value of parameter `{}` is in a vault, which this server cannot open",
            secret.key
        );
        Some(End::failed("secret_unavailable", message))
    }

    /// Returns the block with its templates rendered. A URL that is exactly a name is replaced by its
    /// value.
    fn rendered(&self, block: &Block) -> Result<Map<String, Value>, Box<End>> {
        let values = self.scope.values();
        let names = crate::workflow::template::Names::new(&values);
        let raw = Value::Object(block.raw.clone());
        let rendered = self.renderer.value("", &raw, AS_WRITTEN, &names);
        let rendered = rendered.map_err(|error| Box::new(template_end(&error)))?;
        let Value::Object(mut rendered) = rendered else { return Ok(Map::new()) };
        if let (Kind::Code(_), Some(Value::String(code))) = (&block.kind, rendered.get("code")) {
            let code = self.renderer.code("code", code, &names);
            let code = code.map_err(|error| Box::new(template_end(&error)))?;
            rendered.insert("code".to_owned(), Value::from(code));
        }
        for field in ["url", "file_url"] {
            let named =
                rendered.get(field).and_then(Value::as_str).and_then(|text| values.get(text));
            if let Some(value) = named.filter(|value| value.is_string()).cloned() {
                rendered.insert(field.to_owned(), value);
            }
        }
        Ok(rendered)
    }

    async fn for_loop(
        &mut self,
        block: &Block,
        spec: &ForLoop,
        id: BlockRunId,
        version: u32,
    ) -> Result<End, Stop> {
        let values = match self.loop_values(spec) {
            Ok(values) => values,
            Err(end) => return Ok(*end),
        };
        if values.is_empty() {
            if spec.complete_if_empty {
                return Ok(End::completed(json!([])));
            }
            let failure = Failure::new("loop_empty", "No iterable value found for the loop block");
            return Ok(End {
                status: BlockStatus::Terminated,
                failure: Some(Box::new(failure)),
                ..End::completed(json!([]))
            });
        }
        let most = self.plan.settings.most_iterations;
        if values.len() > most {
            let message =
                format!("{} values are more than the {most} that a loop may have", values.len());
            return Ok(End::failed("too_many_iterations", message));
        }
        let over = spec.loop_over_parameter_key.clone().filter(|key| !key.is_empty());
        let mut outputs = Vec::new();
        for (index, value) in values.into_iter().enumerate() {
            let iteration = Iteration { index, value, over: over.clone() };
            match self.iteration(block, id, version, iteration, &mut outputs).await? {
                Level::Done | Level::NextIteration => (),
                Level::Failed(status, failure) => return Ok(loop_failed(status, failure, outputs)),
            }
        }
        Ok(End::completed(Value::Array(outputs)))
    }

    async fn while_loop(
        &mut self,
        block: &Block,
        spec: &WhileLoop,
        id: BlockRunId,
        version: u32,
    ) -> Result<End, Stop> {
        let mut outputs = Vec::new();
        let most = self.plan.settings.most_iterations;
        for index in 0..=most {
            let outer = Iteration { index, value: Value::Null, over: None };
            self.scope.iterations.push(outer);
            let holds = self.is_true(block, id, "condition.expression", &spec.condition).await;
            self.scope.iterations.pop();
            match holds {
                Ok((true, _rendered)) => (),
                Ok((false, _rendered)) => return Ok(End::completed(Value::Array(outputs))),
                Err(broken) => return ended(Err(broken)),
            }
            if index == most {
                break;
            }
            let iteration = Iteration { index, value: Value::Null, over: None };
            match self.iteration(block, id, version, iteration, &mut outputs).await? {
                Level::Done | Level::NextIteration => (),
                Level::Failed(status, failure) => return Ok(loop_failed(status, failure, outputs)),
            }
        }
        let message = format!("the condition still holds after {most} iterations");
        Ok(End {
            output: Some(Value::Array(outputs)),
            ..End::failed("too_many_iterations", message)
        })
    }

    async fn iteration(
        &mut self,
        block: &Block,
        id: BlockRunId,
        version: u32,
        iteration: Iteration,
        outputs: &mut Vec<Value>,
    ) -> Result<Level, Stop> {
        let value = iteration.value.clone();
        let tabs = self.browser.as_ref().map(|browser| browser.tabs_open());
        let before = self.scope.recorded();
        self.scope.iterations.push(iteration);
        let place = BlockPosition { parent: Some(id), in_a_loop: true };
        let level = self.level(&block.body, version, None, place).await;
        self.scope.iterations.pop();
        let level = level?;
        let given = block
            .body
            .iter()
            .filter(|inner| self.scope.gave_since(&inner.label, before))
            .map(|inner| {
                json!({
                    "loop_value": value,
                    "output_parameter": { "parameter_type": "output", "key": inner.output_key() },
                    "output_value": self.scope.output(&inner.label),
                })
            });
        outputs.push(given.collect());
        if let (Some(browser), Some(tabs)) = (&self.browser, tabs) {
            browser.close_others(&tabs).await;
        }
        Ok(level)
    }

    /// Returns the values of a loop: those of a parameter, of an expression, or of a template that
    /// renders to JSON.
    fn loop_values(&self, spec: &ForLoop) -> Result<Vec<Value>, Box<End>> {
        let names = self.scope.names();
        let value = match (&spec.loop_variable_reference, &spec.loop_over_parameter_key) {
            (Some(reference), _) if !reference.trim().is_empty() => {
                let field = "loop_variable_reference";
                let expression = pure_expression(reference)
                    .or_else(|| (!reference.contains('{')).then(|| reference.trim()));
                let value = match expression {
                    Some(expression) => self.renderer.evaluate(field, expression, &names),
                    None => self.renderer.text(field, reference, &names).map(Value::from),
                };
                value.map_err(|error| Box::new(template_end(&error)))?
            }
            (_, Some(key)) if !key.is_empty() => {
                self.scope.values().get(key).cloned().unwrap_or_default()
            }
            (_, _) => Value::Null,
        };
        Ok(as_list(value))
    }

    async fn conditional(&mut self, block: &Block, spec: &Conditional, id: BlockRunId) -> Work {
        let mut evaluations = Vec::new();
        let mut chosen = None;
        for (index, branch) in spec.branch_conditions.iter().enumerate() {
            let Some(criteria) = &branch.criteria else { continue };
            let field = format!("branch_conditions.{index}.criteria.expression");
            let (result, rendered) = self.is_true(block, id, &field, criteria).await?;
            evaluations.push(json!({
                "branch_index": index,
                "original_expression": criteria.expression,
                "rendered_expression": rendered,
                "result": result,
            }));
            if result {
                chosen = Some(index);
                break;
            }
        }
        let default = || spec.branch_conditions.iter().position(|branch| branch.is_default);
        let Some(index) = chosen.or_else(default) else {
            let output = json!({ "branch_taken": null, "evaluations": evaluations });
            let end = End::failed("no_branch", "no branch is true and there is no default");
            return Ok(End { output: Some(output), ..end });
        };
        let Some(branch) = spec.branch_conditions.get(index) else {
            return Ok(End::completed(json!({})));
        };
        let kind = |criteria: &Criteria| {
            if in_words(criteria) { "prompt" } else { "jinja2_template" }
        };
        let output = json!({
            "branch_taken": branch.next_block_label,
            "branch_index": index,
            "branch_id": branch.id.clone().unwrap_or_else(|| branch_id(&block.label, index)),
            "branch_description": branch.description,
            "criteria_type": branch.criteria.as_ref().map(kind),
            "criteria_expression": branch.criteria.as_ref().map(|criteria| &criteria.expression),
            "next_block_label": branch.next_block_label,
            "evaluations": evaluations,
            "llm_response": null,
            "llm_prompt": null,
        });
        Ok(End { branch: Some(branch.next_block_label.clone()), ..End::completed(output) })
    }

    /// Evaluates a condition; returns the result and the rendered text. A condition in natural
    /// language is evaluated by the agent.
    async fn is_true(
        &mut self,
        block: &Block,
        id: BlockRunId,
        field: &str,
        criteria: &Criteria,
    ) -> Result<(bool, String), Broken> {
        if !in_words(criteria) {
            return Ok(self.holds(field, criteria)?);
        }
        let words = criteria.expression.clone();
        Ok((self.agent_judges(block, id, &words).await?, words))
    }

    /// Evaluates a template as a condition; returns the result and the rendered text.
    pub(super) fn holds(
        &self,
        field: &str,
        criteria: &Criteria,
    ) -> Result<(bool, String), Box<End>> {
        if in_words(criteria) {
            let message = format!(
                "`{field}`: write `{{{{ … }}}}`; plain words are allowed in conditionals only"
            );
            return Err(Box::new(End::failed("field_invalid", message)));
        }
        let names = self.scope.names();
        let rendered = self.renderer.text(field, &criteria.expression, &names);
        let rendered = rendered.map_err(|error| Box::new(template_end(&error)))?;
        Ok((truth(&rendered), rendered))
    }
}

/// True if a condition is in natural language, which only a model can evaluate.
fn in_words(criteria: &Criteria) -> bool {
    !criteria.expression.contains("{{") && !criteria.expression.contains("{%")
}

/// Returns the id of a branch that was given none.
pub(crate) fn branch_id(label: &str, index: usize) -> String {
    format!("{label}_branch_{index}")
}

pub(super) fn template_end(error: &TemplateError) -> End {
    End::failed(TEMPLATE_INVALID, error.to_string())
}

fn ending(level: Result<Level, Stop>) -> Ending {
    match level {
        Ok(Level::Done | Level::NextIteration) => Ending::Done,
        Ok(Level::Failed(status, failure)) => Ending::Failed(status, failure),
        Err(stop) => Ending::Stopped(stop),
    }
}

/// Words the failure of a run as the compatible API does, for a run that this block ended.
fn reason(block: &Block, cause: Option<Box<Failure>>) -> Box<Failure> {
    let unsaid = || Box::new(Failure::new("block_failed", "the block reported no reason"));
    let mut failure = cause.unwrap_or_else(unsaid);
    failure.message =
        format!("{} block failed. failure reason: {}", block.block_type, failure.message);
    failure.stage.get_or_insert_with(|| block.label.clone());
    failure
}

fn loop_failed(status: BlockStatus, failure: Box<Failure>, outputs: Vec<Value>) -> End {
    End { status, failure: Some(failure), ..End::completed(Value::Array(outputs)) }
}

fn as_list(value: Value) -> Vec<Value> {
    match value {
        Value::Array(list) => list,
        Value::Null => Vec::new(),
        Value::String(text) => match serde_json::from_str(&text) {
            Ok(Value::Array(list)) => list,
            Ok(_) | Err(_) if text.trim().is_empty() => Vec::new(),
            Ok(_) | Err(_) => vec![Value::String(text)],
        },
        other @ (Value::Object(_) | Value::Bool(_) | Value::Number(_)) => vec![other],
    }
}
