//! Tests of valid and invalid definitions.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::{Definition, Workflow};

fn of_blocks(blocks: &Value) -> Value {
    json!({ "title": "t", "workflow_definition": { "blocks": blocks } })
}

fn summary(result: Result<Workflow, super::DefinitionErrors>) -> Vec<String> {
    let errors = result.map_or_else(|errors| errors.0, |_workflow| Vec::new());
    errors
        .iter()
        .map(|error| {
            let path: Vec<String> = error.path.iter().map(ToString::to_string).collect();
            let path = path.join(".").replace("workflow_definition", "wd");
            let line = error.line.map(|line| format!("{line}:")).unwrap_or_default();
            format!("{line}{path}: {}", error.code)
        })
        .collect()
}

#[track_caller]
fn check(document: &Value, expected: &[&str]) {
    assert_eq!(summary(Workflow::from_json(document)), expected, "{document}");
}

#[track_caller]
fn check_blocks(blocks: Value, expected: &[&str]) {
    check(&of_blocks(&blocks), expected);
}

fn wait(label: &str) -> Value {
    json!({ "block_type": "wait", "label": label, "wait_sec": 1 })
}

fn then(label: &str, next: &str) -> Value {
    json!({ "block_type": "wait", "label": label, "wait_sec": 1, "next_block_label": next })
}

#[test]
fn a_workflow_without_its_parts_is_refused() {
    check(&json!([]), &[": type_invalid"]);
    check(&json!({}), &["title: missing", "wd: missing"]);
    check(
        &json!({ "title": 1, "workflow_definition": [] }),
        &["title: type_invalid", "wd: type_invalid"],
    );
    check(
        &json!({ "title": "t", "status": "new", "max_elapsed_time_minutes": 0, "workflow_definition": {} }),
        &["status: status_unknown", "max_elapsed_time_minutes: out_of_range"],
    );
}

#[test]
fn blocks_are_refused_with_block_and_field() {
    check_blocks(
        json!([{ "block_type": "teleport", "label": "a" }]),
        &["wd.blocks.0.block_type: block_type_unknown"],
    );
    check_blocks(json!([{ "label": "a" }]), &["wd.blocks.0.block_type: missing"]);
    check_blocks(
        json!([{ "block_type": "goto_url", "label": "a" }]),
        &["wd.blocks.0.url: missing"],
    );
    check_blocks(
        json!([{ "block_type": "goto_url", "label": "a", "url": 5 }]),
        &["wd.blocks.0.url: type_invalid"],
    );
    check_blocks(
        json!([{ "block_type": "goto_url", "label": "a b", "url": "x" }]),
        &["wd.blocks.0.label: label_invalid"],
    );
    check_blocks(
        json!([{ "block_type": "navigation", "label": "a" }]),
        &["wd.blocks.0.navigation_goal: missing"],
    );
    check_blocks(
        json!([{ "block_type": "wait", "label": "a", "wait_sec": 0 }]),
        &["wd.blocks.0.wait_sec: type_invalid"],
    );
    check_blocks(
        json!([{ "block_type": "wait", "label": "a", "wait_sec": 1801 }]),
        &["wd.blocks.0.wait_sec: type_invalid"],
    );
    check_blocks(
        json!([{ "block_type": "click", "label": "a", "selector": "react=App" }]),
        &["wd.blocks.0.selector: selector_invalid"],
    );
    // References live in the connection of an agent.
    check_blocks(
        json!([{ "block_type": "click", "label": "a", "selector": "ref=e1", "frame": "ref=e{{ n }}" }]),
        &["wd.blocks.0.selector: selector_invalid", "wd.blocks.0.frame: selector_invalid"],
    );
    let fields = json!({ "x": { "list": "li", "fields": { "y": "ref=e2 >> css=a" } } });
    check_blocks(
        json!([{ "block_type": "extract", "label": "a", "fields": fields }]),
        &["wd.blocks.0.fields: selector_invalid"],
    );
    check_blocks(
        json!([{ "block_type": "press", "label": "a", "key": "Nope" }]),
        &["wd.blocks.0.key: key_unknown"],
    );
    check_blocks(
        json!([{ "block_type": "extract", "label": "a" }]),
        &["wd.blocks.0.fields: missing"],
    );
    check_blocks(
        json!([{ "block_type": "code", "label": "a", "code": "x", "parameters": [] }]),
        &["wd.blocks.0.parameters: field_unknown"],
    );
    check_blocks(
        json!([{ "block_type": "for_loop", "label": "a", "loop_blocks": [{ "block_type": "wait", "label": "b" }] }]),
        &["wd.blocks.0.loop_blocks.0.wait_sec: missing"],
    );
    check_blocks(
        json!([{ "block_type": "while_loop", "label": "a", "condition": { "expression": "x" }, "loop_blocks": [] }]),
        &["wd.blocks.0.loop_blocks: missing"],
    );
    let errors =
        Workflow::from_json(&of_blocks(&json!([{ "block_type": "teleport", "label": "a" }])))
            .unwrap_err();
    let detail = json!([{
        "type": "block_type_unknown", "loc": ["body", "workflow_definition", "blocks", 0, "block_type"],
        "msg": "block `a`: there is no block type `teleport`", "input": "teleport", "block": "a",
    }]);
    assert_eq!(errors.detail(&["body"]), detail);
}

#[test]
fn every_type_of_the_compatible_api_is_accepted() {
    let own = json!({
        "wait_sec": 1, "url": "u", "code": "c", "file_url": "f", "prompt": "p", "spreadsheet_url": "s",
        "navigation_goal": "g", "data_extraction_goal": "g", "email_client": "gmail", "sender": "a@b.c",
        "recipients": ["a@b.c"], "subject": "s", "body": "b", "workflow_permanent_id": "wpid_1",
        "condition": { "criteria_type": "jinja2_template", "expression": "{{ x }}" },
        "branch_conditions": [{ "is_default": true }], "loop_blocks": [wait("inner")], "unknown": [1],
    });
    for block_type in [
        "goto_url",
        "wait",
        "http_request",
        "code",
        "for_loop",
        "while_loop",
        "conditional",
        "print_page",
        "workflow_trigger",
        "human_interaction",
        "download_to_s3",
        "upload_to_s3",
        "file_upload",
        "send_email",
        "file_url_parser",
        "pdf_parser",
        "email_inbox",
        "google_sheets_read",
        "google_sheets_write",
        "file_download",
        "task",
        "navigation",
        "action",
        "extraction",
        "login",
        "validation",
        "text_prompt",
        "task_v2",
        "pdf_fill",
        "split_pdf",
    ] {
        let mut block = own.clone();
        block["block_type"] = json!(block_type);
        block["label"] = json!("a");
        if block_type == "http_request" {
            block["body"] = json!({});
        }
        let parsed = Workflow::from_json(&of_blocks(&json!([block]))).unwrap();
        assert_eq!(parsed.definition.raw["blocks"][0], block, "it is kept whole");
    }
}

#[test]
fn names_are_unique_and_not_reserved() {
    check_blocks(json!([wait("a"), wait("a")]), &["wd.blocks.1.label: label_duplicate"]);
    let nested = json!({ "block_type": "for_loop", "label": "l", "loop_blocks": [wait("a")] });
    check_blocks(json!([wait("a"), nested]), &["wd.blocks.1.loop_blocks.0.label: label_duplicate"]);
    check_blocks(json!([wait("current_value")]), &["wd.blocks.0.label: label_reserved"]);

    let parameters = |parameters: Value, blocks: Value| json!({ "title": "t", "workflow_definition": { "parameters": parameters, "blocks": blocks } });
    let text = |key: &str| json!({ "parameter_type": "workflow", "workflow_parameter_type": "string", "key": key });
    check(
        &parameters(json!([text("a"), text("a")]), json!([])),
        &["wd.parameters.1.key: key_duplicate"],
    );
    check(
        &parameters(json!([text("workflow_id")]), json!([])),
        &["wd.parameters.0.key: key_reserved"],
    );
    check(
        &parameters(json!([text("a_output")]), json!([wait("a")])),
        &["wd.parameters.0.key: key_reserved"],
    );
    check(&parameters(json!([text("a-b")]), json!([])), &["wd.parameters.0.key: key_invalid"]);
    let output = json!({ "parameter_type": "output", "key": "x" });
    check(
        &parameters(json!([output]), json!([])),
        &["wd.parameters.0.parameter_type: parameter_type_reserved"],
    );
    let context = json!({ "parameter_type": "context", "key": "x", "source_parameter_key": "y" });
    check(
        &parameters(json!([context]), json!([])),
        &["wd.parameters.0.source_parameter_key: parameter_unknown"],
    );
    let using = json!({ "block_type": "wait", "label": "b", "wait_sec": 1, "parameter_keys": ["a_output", "no"] });
    check(
        &parameters(json!([]), json!([wait("a"), using])),
        &["wd.blocks.1.parameter_keys.1: parameter_unknown"],
    );
}

#[test]
fn a_graph_has_one_first_block_and_no_ring() {
    check_blocks(json!([then("a", "b"), wait("b")]), &[]);
    check_blocks(
        json!([wait("b"), then("a", "b")]),
        &["wd.blocks.0.next_block_label: next_block_cycle"],
    );
    check_blocks(
        json!([then("a", "x"), wait("b")]),
        &["wd.blocks.0.next_block_label: next_block_unknown"],
    );
    check_blocks(json!([then("a", "a")]), &["wd.blocks.0.next_block_label: next_block_cycle"]);
    check_blocks(
        json!([then("a", "c"), then("b", "c"), wait("c")]),
        &["wd.blocks.1.next_block_label: block_unreachable"],
    );
    let fork = |one: &str, two: &str| {
        json!({ "block_type": "conditional", "label": "fork", "branch_conditions": [
            { "criteria": { "expression": "{{ x }}" }, "next_block_label": one },
            { "is_default": true, "next_block_label": two },
        ]})
    };
    check_blocks(json!([fork("a", "b"), then("a", "c"), then("b", "c"), wait("c")]), &[]);
    check_blocks(
        json!([fork("a", "x"), wait("a")]),
        &["wd.blocks.0.branch_conditions: next_block_unknown"],
    );
    check_blocks(
        json!([fork("a", "a"), wait("a"), wait("b")]),
        &["wd.blocks.2.next_block_label: block_unreachable"],
    );
    let no_branch = json!({ "block_type": "conditional", "label": "f", "branch_conditions": [] });
    check_blocks(json!([no_branch]), &["wd.blocks.0.branch_conditions: missing"]);
    let no_criteria =
        json!({ "block_type": "conditional", "label": "f", "branch_conditions": [{}] });
    check_blocks(
        json!([no_criteria]),
        &["wd.blocks.0.branch_conditions.0.criteria: criteria_invalid"],
    );
}

#[test]
fn the_version_and_the_finally_block_are_checked() {
    let with = |more: Value, blocks: Value| {
        let mut document = of_blocks(&blocks);
        for (key, value) in more.as_object().unwrap() {
            document["workflow_definition"][key] = value.clone();
        }
        document
    };
    check(
        &with(json!({ "version": 1 }), json!([then("a", "b"), wait("b")])),
        &["wd.version: version_too_low"],
    );
    check(&with(json!({ "version": 3 }), json!([])), &["wd.version: version_unknown"]);
    let finally = json!({ "finally_block_label": "z" });
    check(
        &with(finally.clone(), json!([wait("a")])),
        &["wd.finally_block_label: finally_block_unknown"],
    );
    check(
        &with(finally.clone(), json!([then("z", "a"), wait("a")])),
        &["wd.finally_block_label: finally_block_not_last"],
    );
    check(&with(finally, json!([wait("z"), then("a", "b"), wait("b")])), &[]);
    let version = |document: &Value| Workflow::from_json(document).unwrap().definition.version;
    assert_eq!(version(&of_blocks(&json!([wait("a"), wait("b")]))), 1);
    assert_eq!(version(&of_blocks(&json!([then("a", "b"), wait("b")]))), 2);
}

#[test]
fn errors_in_yaml_have_lines() {
    let text = "title: Test\nworkflow_definition:\n  blocks:\n    - block_type: goto_url\n      label: a\n      url: https://example.com\n    - block_type: wait\n      label: b\n      wait_sec: long\n    - label: c\n      block_type: teleport\n";
    let expected =
        ["9:wd.blocks.1.wait_sec: type_invalid", "11:wd.blocks.2.block_type: block_type_unknown"];
    assert_eq!(summary(Workflow::from_yaml(text)), expected);
    assert_eq!(summary(Workflow::from_yaml("title: [a\nb: {")), ["2:: yaml_invalid"]);
    assert_eq!(summary(Workflow::from_yaml("a: 1\na: 2")), ["2:: yaml_invalid"]);
}

#[test]
fn yaml_is_read_as_the_json_it_means() {
    let text = "# note\ntitle: &t 'A: B'\nn: [1, -2, 0x1f, 1.5, 1e3, ~, true, 'true', yes, 2026-11-22]\nmore: |\n  a\n  b\nbase: &base {x: 1, y: 2}\nderived:\n  <<: *base\n  y: 3\nsame: *t\n";
    let document = super::yaml::parse(text).unwrap();
    let expected = json!({
        "title": "A: B", "n": [1, -2, 31, 1.5, 1000.0, null, true, "true", "yes", "2026-11-22"],
        "more": "a\nb\n", "base": { "x": 1, "y": 2 }, "derived": { "x": 1, "y": 3 }, "same": "A: B",
    });
    assert_eq!(document.value, expected);
    assert_eq!((document.lines["/title"], document.lines["/derived/y"]), (2, 10));
}

#[test]
fn plain_texts_in_yaml_have_the_types_of_the_core_schema() {
    let check = |text: &str, expected: Value| {
        assert_eq!(super::yaml::parse(text).unwrap().value, expected, "{text}");
    };
    check("[010, -07, +1, 0o17, 0x1F]", json!([10, -7, 1, 15, 31]));
    check(
        "[0b11, -0x1f, 0x+1, 0o+7, 0X1F, 0x, 1_000]",
        json!(["0b11", "-0x1f", "0x+1", "0o+7", "0X1F", "0x", "1_000"]),
    );
    check(
        "[1., .5, +.5, 1e3, ., 1e, 1e400, .inf]",
        json!([1.0, 0.5, 0.5, 1000.0, ".", "1e", "1e400", ".inf"]),
    );
    check(
        "[18446744073709551615, 18446744073709551616]",
        json!([u64::MAX, 18446744073709551616.0]),
    );
    check(
        "[12:30, 1.2.3, True, tRUE, NULL, no]",
        json!(["12:30", "1.2.3", true, "tRUE", null, "no"]),
    );
    check("0xB: a\n11: b\nnull: c\n", json!({ "0xB": "a", "11": "b", "null": "c" }));
}

#[test]
fn a_document_that_grows_without_end_is_refused() {
    let mut text = "a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n".to_owned();
    for level in 1..12 {
        let before = format!("*a{}", level - 1);
        text.push_str(&format!("a{level}: &a{level} [{}]\n", vec![before; 10].join(", ")));
    }
    assert!(super::yaml::parse(&text).unwrap_err().message.contains("too large"));
    let deep = "[".repeat(200) + &"]".repeat(200);
    assert!(super::yaml::parse(&deep).is_err());
}

#[test]
fn names_in_yaml_are_made_usable_and_references_follow() {
    let text = r#"
title: t
workflow_definition:
  parameters:
    - {parameter_type: workflow, workflow_parameter_type: string, key: "site url"}
  blocks:
    - {block_type: goto_url, label: "Open the page!", url: "{{ site url }}", parameter_keys: ["site url"], next_block_label: "2nd"}
    - {block_type: assert, label: "2nd", condition: "{{ Open the page!_output.url }} and 2nd"}
"#;
    let definition = Workflow::from_yaml(text).unwrap().definition;
    let labels: Vec<_> = definition.blocks.iter().map(|block| block.label.as_str()).collect();
    assert_eq!(labels, ["Open_the_page_", "_2nd"]);
    assert_eq!(definition.blocks[0].next.as_deref(), Some("_2nd"));
    assert_eq!(definition.blocks[0].parameter_keys, ["site_url"]);
    assert_eq!(definition.raw["blocks"][0]["url"], "{{ site_url }}");
    assert_eq!(definition.raw["blocks"][1]["condition"], "{{ Open_the_page__output.url }} and 2nd");
}

proptest! {
    #[test]
    fn a_chain_in_any_order_is_a_graph_and_is_followed_to_its_end(order in Just((0..8_usize).collect::<Vec<_>>()).prop_shuffle()) {
        let blocks: Vec<Value> = order
            .iter()
            .map(|number| if *number == 7 { wait("b7") } else { then(&format!("b{number}"), &format!("b{}", number + 1)) })
            .collect();
        // The block without a successor falls back to the list's order unless it is last.
        let last = order.last() == Some(&7);
        let parsed = Workflow::from_json(&of_blocks(&json!(blocks)));
        prop_assert_eq!(parsed.is_ok(), last, "{:?}", order);
        if let Ok(workflow) = parsed {
            let blocks = workflow.definition.blocks;
            let root = super::graph::root(&blocks, None).unwrap();
            prop_assert_eq!(blocks[root].label.as_str(), "b0");
        }
    }

    #[test]
    fn what_is_accepted_is_read_again_from_what_is_stored(
        labels in prop::collection::btree_set("[a-z]{1,4}", 1..6)
    ) {
        let blocks: Vec<Value> = labels.iter().map(|label| wait(&format!("x_{label}"))).collect();
        let workflow = Workflow::from_json(&of_blocks(&json!(blocks))).unwrap();
        let stored = Definition::stored(&workflow.definition.raw).unwrap();
        prop_assert_eq!(stored.raw, workflow.definition.raw);
        prop_assert_eq!(stored.blocks.len(), labels.len());
    }

    #[test]
    fn reading_yaml_never_panics(text in "[ \\-:\\[\\]{}a-z0-9\"'|>&*#\n]{0,80}") {
        let _ = super::yaml::parse(&text);
        let _ = Workflow::from_yaml(&text);
    }
}

#[test]
fn what_would_fail_at_every_run_is_refused_when_it_is_new() {
    let cases = [
        (json!({ "block_type": "http_request", "url": "" }), "url: missing"),
        (json!({ "block_type": "http_request", "url": "https://" }), "url: url_invalid"),
        (json!({ "block_type": "http_request", "url": "ftp://a.example/" }), "url: url_refused"),
        (
            json!({ "block_type": "http_request", "url": "https://u:p@a.example/" }),
            "url: url_refused",
        ),
        (
            json!({ "block_type": "http_request", "url": "https://a.example/", "method": "G T" }),
            "method: method_invalid",
        ),
        (
            json!({ "block_type": "http_request", "curl_command": "curl https://a.example/" }),
            "curl_command: field_not_supported",
        ),
        (
            json!({ "block_type": "http_request", "url": "https://a.example/", "files": { "f": "x" } }),
            "files: field_not_supported",
        ),
        (
            json!({ "block_type": "http_request", "url": "https://a.example/", "headers": { "a b": "x" } }),
            "headers.a b: header_invalid",
        ),
        (
            json!({ "block_type": "http_request", "url": "https://a.example/", "headers": { "a": "x\ny" } }),
            "headers.a: header_invalid",
        ),
        (json!({ "block_type": "goto_url", "url": "file:///etc/passwd" }), "url: url_refused"),
        (json!({ "block_type": "goto_url", "url": "http://a b/" }), "url: url_invalid"),
        (
            json!({ "block_type": "click", "selector": "#a", "modifiers": ["Hyper"] }),
            "modifiers: modifier_unknown",
        ),
        (json!({ "block_type": "select", "selector": "#a", "values": [] }), "values: missing"),
        (
            json!({ "block_type": "upload", "selector": "#a", "files": [{ "name": "a", "base64": "%" }] }),
            "files.0.base64: base64_invalid",
        ),
        (
            json!({ "block_type": "assert", "condition": "it is true" }),
            "condition: template_missing",
        ),
        (
            json!({ "block_type": "extract", "fields": { "a": { "selector": "#a", "type": "date" } } }),
            "fields.a.type: type_unknown",
        ),
        (
            json!({ "block_type": "workflow_trigger", "workflow_permanent_id": "seven" }),
            "workflow_permanent_id: id_invalid",
        ),
        (
            json!({ "block_type": "click", "selector": "{{ a | nope }}" }),
            "selector: template_invalid",
        ),
        (
            json!({ "block_type": "http_request", "url": "https://a.example/", "body": { "a": ["{{ 1 + }}"] } }),
            "body.a.0: template_invalid",
        ),
        (
            json!({ "block_type": "code", "code": "# {{ 1 + }}\nreturn '{{ 1 + }}'" }),
            "code: template_invalid",
        ),
        (
            json!({ "block_type": "conditional", "branch_conditions": [
                { "criteria": { "expression": "{% if %}" } },
            ] }),
            "branch_conditions.0.criteria.expression: template_invalid",
        ),
    ];
    for (mut block, expected) in cases {
        block["label"] = json!("a");
        let raw = json!({ "blocks": [block] });
        check_blocks(raw["blocks"].clone(), &[&format!("wd.blocks.0.{expected}")]);
        assert!(Definition::stored(&raw).is_ok(), "{raw} was stored before");
    }
    // Values that are not known yet pass.
    for block in [
        json!({ "block_type": "http_request", "url": "{{ u }}", "method": "{{ m }}", "headers": { "a": "{{ v }}" } }),
        json!({ "block_type": "http_request", "url": "start_url" }),
        json!({ "block_type": "goto_url", "url": "a.example/path" }),
        json!({ "block_type": "workflow_trigger", "workflow_permanent_id": "{{ id }}" }),
        json!({ "block_type": "script", "script": "`${{{a:1}.a}}`" }),
        json!({ "block_type": "code", "code": "# {{ 1 + }}\nreturn 1" }),
    ] {
        let mut block = block;
        block["label"] = json!("a");
        check_blocks(json!([block]), &[]);
    }
}

#[test]
fn headers_that_say_how_a_request_is_sent_are_refused() {
    for name in
        ["Host", "content-length", "Transfer-Encoding", "CONNECTION", "te", "Upgrade", "Expect"]
    {
        let block = json!({
            "block_type": "http_request", "label": "a", "url": "https://a.example/", "headers": { name: "1" },
        });
        check_blocks(json!([block]), &[&format!("wd.blocks.0.headers.{name}: header_refused")]);
    }
}

#[test]
fn a_template_that_would_overflow_a_stack_is_refused_with_its_field() {
    let deep = format!("http://a.example/{{{{ {}1 }}}}", "-".repeat(30_000));
    let elif = format!("{{% if 0 %}}{}{{% endif %}}", "{% elif 0 %}".repeat(3_000));
    check_blocks(
        json!([
            { "block_type": "goto_url", "label": "a", "url": deep },
            { "block_type": "fill", "label": "b", "selector": "#a", "value": elif },
        ]),
        &["wd.blocks.0.url: template_invalid", "wd.blocks.1.value: template_invalid"],
    );
    let reference = format!("{}1", "-".repeat(30_000));
    for reference in [format!("{{{{ {reference} }}}}"), reference] {
        let block = json!({
            "block_type": "for_loop", "label": "a", "loop_variable_reference": reference,
            "loop_blocks": [wait("b")],
        });
        check_blocks(json!([block]), &["wd.blocks.0.loop_variable_reference: template_invalid"]);
    }
}

#[test]
fn a_document_that_is_too_deep_is_refused() {
    let deep = |levels: usize| (0..levels).fold(json!(1), |inner, _level| json!([inner]));
    let block = |levels| json!({ "block_type": "script", "label": "a", "script": "1", "args": deep(levels) });
    check_blocks(json!([block(90)]), &[]);
    check_blocks(json!([block(97)]), &[": too_deep"]);
    let yaml =
        format!("title: t\nworkflow_definition: {}1{}", "[".repeat(30_000), "]".repeat(30_000));
    assert_eq!(summary(Workflow::from_yaml(&yaml)).len(), 1);
    let block_style =
        (0..3_000).map(|level| format!("{}-\n", " ".repeat(level))).collect::<String>();
    assert_eq!(summary(Workflow::from_yaml(&block_style)).len(), 1);
}
