//! Tests of order, loops, branches and endings, without a browser.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::{Outcome, Plan, execute};
use crate::domain::run::RunStatus;
use crate::workflow::testing::{Stage, block_plan};

/// A block without a browser, which completes if its condition holds.
fn holds(label: &str, condition: &str) -> Value {
    json!({ "block_type": "assert", "label": label, "condition": condition })
}

fn yes(label: &str) -> Value {
    holds(label, "{{ true }}")
}

fn with(mut block: Value, more: Value) -> Value {
    for (key, value) in more.as_object().unwrap() {
        block[key] = value.clone();
    }
    block
}

async fn run(plan: Plan) -> (Outcome, Vec<String>) {
    let stage = Stage::bare();
    let outcome = execute(plan, stage.host(), CancellationToken::new()).await;
    (outcome, stage.log())
}

/// Returns the labels in the order in which the blocks began.
fn order(log: &[String]) -> Vec<&str> {
    let begun = log.iter().filter_map(|line| line.split_once(' ')).map(|(_id, what)| what);
    let statuses = ["completed", "failed", "terminated", "canceled", "timed_out"];
    begun
        .filter(|what| !statuses.iter().any(|status| what.starts_with(status)))
        .map(|what| what.split(' ').next().unwrap())
        .collect()
}

#[track_caller]
fn check(outcome: &Outcome, status: RunStatus, failure: Option<(&str, &str)>) {
    let found = outcome.failure.as_ref();
    let found =
        found.map(|failure| (failure.code.as_str(), failure.stage.as_deref().unwrap_or("")));
    assert_eq!((outcome.status, found), (status, failure), "{outcome:?}");
}

#[tokio::test]
async fn blocks_run_in_order_and_their_outputs_are_there_for_the_next() {
    let plan = block_plan(
        json!([yes("a"), holds("b", "{{ a_output.success and a.success }}")]),
        json!({}),
    );
    let (outcome, log) = run(plan).await;
    check(&outcome, RunStatus::Completed, None);
    assert_eq!(log, ["wrb_0 a", "wrb_0 completed", "wrb_1 b", "wrb_1 completed"]);
    let expected = json!({
        "a_output": { "success": true }, "b_output": { "success": true }, "extracted_information": [],
    });
    assert_eq!(outcome.outputs, expected);
}

#[tokio::test]
async fn a_failed_block_ends_the_run_and_says_why() {
    let plan = block_plan(json!([holds("a", "{{ false }}"), yes("b")]), json!({}));
    let (outcome, log) = run(plan).await;
    check(&outcome, RunStatus::Failed, Some(("assertion_failed", "a")));
    assert_eq!(order(&log), ["a"]);
    let message = outcome.failure.unwrap().message;
    assert!(message.starts_with("assert block failed. failure reason: `{{ false }}`"), "{message}");
}

#[tokio::test]
async fn a_block_may_say_that_its_failure_does_not_matter() {
    let a = with(holds("a", "{{ false }}"), json!({ "continue_on_failure": true }));
    let (outcome, log) = run(block_plan(json!([a, yes("b")]), json!({}))).await;
    check(&outcome, RunStatus::Completed, None);
    assert_eq!(order(&log), ["a", "b"]);
}

#[tokio::test]
async fn a_graph_is_followed_and_branches_meet_again() {
    let blocks = json!([
        yes("last"),
        with(yes("left"), json!({ "next_block_label": "last" })),
        with(yes("right"), json!({ "next_block_label": "last" })),
        { "block_type": "conditional", "label": "fork", "branch_conditions": [
            { "criteria": { "expression": "{{ start.success == false }}" }, "next_block_label": "left" },
            { "is_default": true, "next_block_label": "right" },
        ]},
        with(yes("start"), json!({ "next_block_label": "fork" })),
    ]);
    let (outcome, log) = run(block_plan(blocks, json!({}))).await;
    check(&outcome, RunStatus::Completed, None);
    assert_eq!(order(&log), ["start", "fork", "right", "last"]);
    assert_eq!(outcome.outputs["fork_output"]["branch_index"], 1);
    assert_eq!(outcome.outputs["fork_output"]["next_block_label"], "right");
}

#[tokio::test]
async fn a_loop_runs_for_every_value_and_collects_what_its_blocks_gave() {
    let inner = holds("inner", "{{ current_value.n == current_index + 1 and current_item.n < 3 }}");
    let blocks = json!([{
        "block_type": "for_loop", "label": "each", "loop_over_parameter_key": "rows",
        "loop_blocks": [with(inner, json!({ "next_loop_on_failure": true })), yes("more")],
    }]);
    let parameter =
        json!({ "parameter_type": "workflow", "workflow_parameter_type": "json", "key": "rows" });
    let mut plan = block_plan(blocks, json!({ "parameters": [parameter] }));
    plan.parameters
        .insert("rows".to_owned(), json!([{ "n": 1 }, { "n": 2 }, { "n": 3 }, { "n": 4 }]));
    let (outcome, log) = run(plan).await;
    check(&outcome, RunStatus::Completed, None);
    assert_eq!(order(&log), ["each", "inner", "more", "inner", "more", "inner", "inner"]);
    assert!(log.contains(&r#"wrb_1 inner in wrb_0 #0={"n":1}"#.to_owned()), "{log:?}");
    let given = outcome.outputs["each_output"].as_array().unwrap();
    assert_eq!(given.len(), 4);
    assert_eq!(given[0][1]["output_parameter"]["key"], "more_output");
    assert_eq!(given[1][0]["loop_value"], json!({ "n": 2 }));
    assert_eq!(given[2], json!([]));
}

#[tokio::test]
async fn a_failure_in_a_loop_names_the_block_in_it() {
    let blocks = json!([{
        "block_type": "for_loop", "label": "each", "loop_variable_reference": "{{ [1, 2] }}",
        "loop_blocks": [holds("inner", "{{ current_value > 1 }}")],
    }]);
    let (outcome, _log) = run(block_plan(blocks, json!({}))).await;
    check(&outcome, RunStatus::Failed, Some(("assertion_failed", "inner")));
    let message = outcome.failure.unwrap().message;
    assert!(
        message.starts_with("for_loop block failed. failure reason: assert block failed."),
        "{message}"
    );
}

#[tokio::test]
async fn a_loop_without_values_terminates_unless_it_may_be_empty() {
    for (complete, status) in [(false, RunStatus::Terminated), (true, RunStatus::Completed)] {
        let blocks = json!([{
            "block_type": "for_loop", "label": "each", "loop_variable_reference": "nothing",
            "complete_if_empty": complete, "loop_blocks": [yes("inner")],
        }]);
        let (outcome, log) = run(block_plan(blocks, json!({}))).await;
        assert_eq!((outcome.status, order(&log)), (status, vec!["each"]));
    }
}

#[tokio::test]
async fn a_while_loop_ends_when_its_condition_does_or_at_its_limit() {
    let blocks = |condition: &str| {
        json!([{
            "block_type": "while_loop", "label": "again", "condition": { "expression": condition },
            "loop_blocks": [yes("inner")],
        }])
    };
    let (outcome, log) = run(block_plan(blocks("{{ current_index < 3 }}"), json!({}))).await;
    check(&outcome, RunStatus::Completed, None);
    assert_eq!(order(&log), ["again", "inner", "inner", "inner"]);

    let mut plan = block_plan(blocks("{{ true }}"), json!({}));
    plan.settings.most_iterations = 5;
    let (outcome, log) = run(plan).await;
    check(&outcome, RunStatus::Failed, Some(("too_many_iterations", "again")));
    assert_eq!(order(&log).len(), 6);
}

#[tokio::test]
async fn the_finally_block_runs_last_and_does_not_hide_a_failure() {
    let finally = json!({ "finally_block_label": "last" });
    let plan = block_plan(json!([yes("last"), holds("a", "{{ false }}")]), finally.clone());
    let (outcome, log) = run(plan).await;
    check(&outcome, RunStatus::Failed, Some(("assertion_failed", "a")));
    assert_eq!(order(&log), ["a", "last"]);

    let plan = block_plan(json!([yes("a"), holds("last", "{{ false }}")]), finally);
    let (outcome, log) = run(plan).await;
    check(&outcome, RunStatus::Failed, Some(("assertion_failed", "last")));
    assert_eq!(order(&log), ["a", "last"]);
}

#[tokio::test]
async fn only_the_chosen_blocks_run_and_find_the_outputs_they_are_given() {
    let blocks = json!([yes("a"), holds("b", "{{ a.given }}"), yes("c")]);
    let mut plan = block_plan(blocks, json!({ "finally_block_label": "c" }));
    plan.only = Some(vec!["b".to_owned()]);
    plan.outputs.insert("a".to_owned(), json!({ "given": true }));
    let (outcome, log) = run(plan).await;
    check(&outcome, RunStatus::Completed, None);
    assert_eq!(order(&log), ["b"]);
}

#[tokio::test]
async fn canceling_stops_a_block_at_once_and_ends_all_that_had_begun() {
    let wait = json!({ "block_type": "wait", "label": "inner", "wait_sec": 600 });
    let blocks = json!([{
        "block_type": "for_loop", "label": "each", "loop_variable_reference": "[1]", "loop_blocks": [wait],
    }, yes("last")]);
    let plan = block_plan(blocks, json!({ "finally_block_label": "last" }));
    let stage = Stage::bare();
    let cancel = CancellationToken::new();
    let running = tokio::spawn(execute(plan, stage.host(), cancel.clone()));
    let deadline = Instant::now() + Duration::from_secs(5);
    while stage.log().len() < 2 {
        assert!(Instant::now() < deadline, "the block did not begin");
        tokio::task::yield_now().await;
    }
    let began = Instant::now();
    cancel.cancel();
    let outcome = running.await.unwrap();
    assert!(began.elapsed() < Duration::from_secs(10), "it took {:?} of 600 s", began.elapsed());
    check(&outcome, RunStatus::Canceled, Some(("canceled", "")));
    let log = stage.log();
    assert_eq!(log[2..], ["wrb_1 canceled".to_owned(), "wrb_0 canceled".to_owned()]);
}

#[tokio::test(start_paused = true)]
async fn the_time_of_a_run_is_limited() {
    let blocks = json!([{ "block_type": "wait", "label": "a", "wait_sec": 600 }]);
    let mut plan = block_plan(blocks, json!({}));
    plan.limit = Some(Duration::from_secs(60));
    let began = Instant::now();
    let (outcome, log) = run(plan).await;
    check(&outcome, RunStatus::TimedOut, Some(("time_over", "")));
    assert_eq!(began.elapsed(), Duration::from_secs(60));
    assert_eq!(log, ["wrb_0 a", "wrb_0 timed_out: time_over"]);
}

#[tokio::test(start_paused = true)]
async fn a_wait_takes_its_time() {
    let blocks = json!([{ "block_type": "wait", "label": "a", "wait_sec": 7 }]);
    let began = Instant::now();
    let (outcome, _log) = run(block_plan(blocks, json!({}))).await;
    check(&outcome, RunStatus::Completed, None);
    assert_eq!(began.elapsed(), Duration::from_secs(7));
    assert_eq!(outcome.outputs["a_output"], json!({ "success": true }));
}

#[tokio::test]
async fn what_cannot_be_executed_fails_with_a_code() {
    let cases = [
        (
            json!({ "block_type": "navigation", "label": "a", "navigation_goal": "x" }),
            "agent_not_configured",
        ),
        (json!({ "block_type": "code", "label": "a", "code": "return 1" }), "code_not_configured"),
        (json!({ "block_type": "upload_to_s3", "label": "a" }), "block_not_supported"),
        (
            json!({ "block_type": "click", "label": "a", "selector": "{{ 1 + }}" }),
            "template_invalid",
        ),
        (json!({ "block_type": "wait", "label": "a", "wait_sec": "{{ 'x' }}" }), "field_invalid"),
        (
            json!({ "block_type": "goto_url", "label": "a", "url": "file:///etc/passwd" }),
            "url_refused",
        ),
        (json!({ "block_type": "click", "label": "a", "selector": "a" }), "no_browser"),
    ];
    for (block, code) in cases {
        let (outcome, log) = run(block_plan(json!([block]), json!({}))).await;
        let found = outcome.failure.as_ref().map(|failure| failure.code.as_str());
        assert_eq!((outcome.status, found), (RunStatus::Failed, Some(code)), "{block}");
        assert_eq!(log.len(), 2, "{block}: every block that began has ended: {log:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_person_lets_the_run_go_on_or_the_time_is_over() {
    let block = json!({ "block_type": "human_interaction", "label": "a", "timeout_seconds": 60 });
    let (outcome, _log) = run(block_plan(json!([block]), json!({}))).await;
    check(&outcome, RunStatus::Failed, Some(("timeout", "a")));
    assert_eq!(outcome.outputs["a_output"]["success"], false);

    let stage = Stage::bare();
    stage.resume.notify_one();
    let plan = block_plan(json!([block]), json!({}));
    let outcome = execute(plan, stage.host(), CancellationToken::new()).await;
    check(&outcome, RunStatus::Completed, None);
}

#[tokio::test]
async fn the_outputs_of_a_run_together_are_bounded_also_those_of_a_loop() {
    let blocks = json!([{
        "block_type": "for_loop", "label": "each", "loop_variable_reference": "{{ range(100)|list }}",
        "loop_blocks": [yes("inner")],
    }]);
    let mut plan = block_plan(blocks, json!({}));
    plan.settings.most_output_bytes = 10 * r#"{"success":true}"#.len();
    let (outcome, log) = run(plan).await;
    check(&outcome, RunStatus::Failed, Some(("outputs_too_large", "inner")));
    assert_eq!(order(&log).len(), 1 + 11, "{log:?}");
}
