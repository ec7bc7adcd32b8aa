//! Rules that a block must keep beyond the types of its fields.

use serde_json::{Map, Value};

use super::{Kind, Misfit};
use crate::workflow::page::keys;

/// Checks a block that could be read, and returns every violated rule.
pub fn check(kind: &Kind, raw: &Map<String, Value>) -> Vec<Misfit> {
    match kind {
        Kind::Conditional(conditional) => branches(conditional),
        Kind::HttpRequest(request) => {
            let set = request.secret_response_paths.as_ref().is_some_and(|paths| !paths.is_null());
            if set && request.save_response_as_file {
                let message = "cannot be used when the answer is saved as a file";
                return vec![Misfit::field("secret_response_paths", "conflict", message)];
            }
            Vec::new()
        }
        Kind::Code(_) => ["error_code", "parameters"]
            .into_iter()
            .filter(|field| raw.contains_key(*field))
            .map(|field| Misfit::field(field, "field_unknown", "a code block has no such field"))
            .collect(),
        Kind::Extract(extract) => extract
            .root()
            .err()
            .map(|message| Misfit::field("fields", "missing", message))
            .into_iter()
            .collect(),
        Kind::Press(press) => press
            .key
            .iter()
            .filter(|key| !key.contains("{{") && keys::parse(key).is_none())
            .map(|key| Misfit::field("key", "key_unknown", format!("there is no key `{key}`")))
            .collect(),
        Kind::FileDownload(download) => {
            let goal = download.navigation_goal.is_some();
            if goal || download.selector.is_some() || download.url.is_some() {
                return Vec::new();
            }
            vec![Misfit::field("navigation_goal", "missing", "the field is required")]
        }
        Kind::WaitFor(wait) => {
            let any = wait.selector.is_some()
                || wait.text.is_some()
                || wait.url.is_some()
                || wait.load_state.is_some()
                || wait.network_idle;
            let message = "expected `selector`, `text`, `url`, `load_state` or `network_idle`";
            if any { Vec::new() } else { vec![Misfit::field("selector", "missing", message)] }
        }
        Kind::Assert(assert) => {
            let any = assert.selector.is_some()
                || assert.text.is_some()
                || assert.url.is_some()
                || assert.title.is_some()
                || assert.condition.is_some();
            let message = "expected `selector`, `text`, `url`, `title` or `condition`";
            if any { Vec::new() } else { vec![Misfit::field("selector", "missing", message)] }
        }
        Kind::Upload(upload) => upload
            .files
            .iter()
            .filter(|file| [&file.text, &file.base64, &file.url].into_iter().flatten().count() != 1)
            .map(|_file| {
                Misfit::field(
                    "files",
                    "conflict",
                    "expected one of `text`, `base64` and `url` for each file",
                )
            })
            .collect(),
        Kind::GotoUrl(_)
        | Kind::Wait(_)
        | Kind::Click(_)
        | Kind::Fill(_)
        | Kind::Select(_)
        | Kind::Hover(_)
        | Kind::Scroll(_)
        | Kind::Script(_)
        | Kind::Screenshot(_)
        | Kind::Cookies(_)
        | Kind::ForLoop(_)
        | Kind::WhileLoop(_)
        | Kind::PrintPage(_)
        | Kind::FileUrlParser(_)
        | Kind::WorkflowTrigger(_)
        | Kind::HumanInteraction(_)
        | Kind::SendEmail(_)
        | Kind::Agent
        | Kind::Elsewhere => Vec::new(),
    }
}

fn branches(conditional: &super::Conditional) -> Vec<Misfit> {
    let fault = |code, message: &str| Misfit::field("branch_conditions", code, message);
    let branches = &conditional.branch_conditions;
    let mut faults = Vec::new();
    if branches.is_empty() {
        faults.push(fault("missing", "expected at least one branch"));
    }
    if branches.iter().filter(|branch| branch.is_default).count() > 1 {
        faults.push(fault("default_duplicate", "expected at most one default branch"));
    }
    for (index, branch) in branches.iter().enumerate() {
        if branch.is_default == branch.criteria.is_some() {
            let message = if branch.is_default {
                "a default branch has no criteria"
            } else {
                "a branch that is not the default needs criteria"
            };
            faults.push(Misfit {
                path: vec!["branch_conditions".into(), index.into(), "criteria".into()],
                code: "criteria_invalid",
                message: message.to_owned(),
            });
        }
    }
    faults
}

/// Returns every selector of a block, each with the field that contains it.
pub fn selectors(kind: &Kind) -> Vec<(&'static str, &str)> {
    fn of<'a>(selector: Option<&'a String>, frame: &'a [String]) -> Vec<(&'static str, &'a str)> {
        let own = selector.map(|selector| ("selector", selector.as_str()));
        let frames = frame.iter().map(|selector| ("frame", selector.as_str()));
        own.into_iter().chain(frames).collect()
    }
    match kind {
        Kind::Click(block) => of(Some(&block.selector), &block.frame),
        Kind::Fill(block) => of(Some(&block.selector), &block.frame),
        Kind::Select(block) => of(Some(&block.selector), &block.frame),
        Kind::Hover(block) => of(Some(&block.selector), &block.frame),
        Kind::Upload(block) => of(Some(&block.selector), &block.frame),
        Kind::Press(block) => of(block.selector.as_ref(), &block.frame),
        Kind::Scroll(block) => of(block.selector.as_ref(), &block.frame),
        Kind::WaitFor(block) => of(block.selector.as_ref(), &block.frame),
        Kind::Assert(block) => of(block.selector.as_ref(), &block.frame),
        Kind::FileDownload(block) => of(block.selector.as_ref(), &block.frame),
        Kind::Script(block) => of(None, &block.frame),
        Kind::Extract(block) => {
            let mut all = of(block.list.as_ref(), &block.frame);
            for field in block.fields.values() {
                all.extend(field.selectors().into_iter().map(|selector| ("fields", selector)));
            }
            all
        }
        Kind::GotoUrl(_)
        | Kind::Wait(_)
        | Kind::Screenshot(_)
        | Kind::Cookies(_)
        | Kind::HttpRequest(_)
        | Kind::ForLoop(_)
        | Kind::WhileLoop(_)
        | Kind::Conditional(_)
        | Kind::PrintPage(_)
        | Kind::FileUrlParser(_)
        | Kind::Code(_)
        | Kind::WorkflowTrigger(_)
        | Kind::HumanInteraction(_)
        | Kind::SendEmail(_)
        | Kind::Agent
        | Kind::Elsewhere => Vec::new(),
    }
}
