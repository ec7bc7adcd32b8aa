use serde_json::json;

use super::*;

fn blocks(workflow: &Value) -> &Vec<Value> {
    workflow["workflow_definition"]["blocks"].as_array().unwrap()
}

fn workflow(blocks: &Value) -> Value {
    json!({"title": "t", "workflow_definition": {"blocks": blocks}})
}

/// Returns the blocks as the front end's editor sends them: it keeps these fields of a code block.
fn saved(shown: &Value) -> Value {
    let kept = |block: &Value| {
        let mut block = block.as_object().unwrap().clone();
        let is_code = block["block_type"] == "code";
        block.retain(|name, _| !is_code || KEPT.contains(&name.as_str()) || name == "code");
        if is_code {
            block.insert("block_type".to_owned(), "code".into());
            for name in ["error_code_mapping", "prompt", "steps", "data_schema"] {
                block.insert(name.to_owned(), Value::Null);
            }
        }
        block.insert("continue_on_failure".to_owned(), false.into());
        if let Some(body) = block.get_mut("loop_blocks") {
            *body = saved(&workflow(body))["workflow_definition"]["blocks"].take();
        }
        Value::Object(block)
    };
    workflow(&blocks(shown).iter().map(kept).collect())
}

fn own() -> Value {
    json!([
        {"block_type": "goto_url", "label": "open", "url": "https://a.example"},
        {"block_type": "goto_url", "label": "slow", "url": "https://a.example", "wait_until": "commit"},
        {"block_type": "for_loop", "label": "each", "loop_blocks": [
            {"block_type": "click", "label": "press", "selector": "#go", "click_count": 2},
            {"block_type": "script", "label": "js", "script": "let a = 1;\n\n  return a;\n", "args": {"b": [1.5]}},
        ]},
        {"block_type": "http_request", "label": "get", "url": "https://a.example", "headers": {"a": "b"}},
    ])
}

#[test]
fn a_client_that_keeps_every_field_sends_a_block_back_as_it_was() {
    let before = workflow(&own());
    let mut shown = before.clone();
    disguise(&mut shown, Reader::Whole);
    assert_eq!(blocks(&shown)[1], blocks(&before)[1], "a type that it knows");
    let click = &blocks(&shown)[2]["loop_blocks"][0];
    assert_eq!(click["block_type"], "code");
    assert_eq!((&click[OWN_TYPE], &click["selector"]), (&json!("click"), &json!("#go")));
    reveal(&mut shown).unwrap();
    assert_eq!(shown, before);
}

#[test]
fn what_such_a_client_changed_wins_over_the_text() {
    let mut shown = workflow(&own());
    disguise(&mut shown, Reader::Whole);
    shown["workflow_definition"]["blocks"][2]["loop_blocks"][0]["selector"] = json!("#stop");
    reveal(&mut shown).unwrap();
    let click = &blocks(&shown)[2]["loop_blocks"][0];
    assert_eq!((&click["selector"], &click["block_type"]), (&json!("#stop"), &json!("click")));
}

#[test]
fn a_save_by_forms_keeps_every_block_of_our_own() {
    let before = workflow(&own());
    let mut shown = before.clone();
    disguise(&mut shown, Reader::Forms);
    assert_eq!(blocks(&shown)[0], blocks(&before)[0]);
    let slow = &blocks(&shown)[1];
    assert_eq!(slow["block_type"], "code", "its form would lose `wait_until`");
    assert_eq!(slow.get("url"), None);

    let mut sent = saved(&shown);
    reveal(&mut sent).unwrap();
    let mut expected = before;
    for block in expected["workflow_definition"]["blocks"].as_array_mut().unwrap() {
        block["continue_on_failure"] = false.into();
    }
    for block in expected["workflow_definition"]["blocks"][2]["loop_blocks"].as_array_mut().unwrap()
    {
        block["continue_on_failure"] = false.into();
    }
    assert_eq!(sent, expected);
}

#[test]
fn a_person_edits_the_text_the_label_and_the_parameters() {
    let click = json!({
        "block_type": "code", "label": "renamed", "parameter_keys": ["a"], "next_block_label": "b",
        "code": "\n# greenroom block\nblock_type: click\nlabel: old\nselector: '#other'\nnext_block_label: c",
    });
    let mut sent = workflow(&json!([click]));
    reveal(&mut sent).unwrap();
    assert_eq!(
        blocks(&sent)[0],
        json!({
            "block_type": "click", "label": "renamed", "selector": "#other", "parameter_keys": ["a"],
            "next_block_label": "c",
        })
    );
}

#[test]
fn a_text_that_describes_no_block_is_refused_with_its_place() {
    let block = json!({"block_type": "code", "label": "a", "code": "# greenroom block\nx: 1"});
    let each = json!({"block_type": "for_loop", "label": "each", "loop_blocks": [block]});
    let errors = reveal(&mut workflow(&json!([each]))).unwrap_err().0;
    let path: Vec<String> = errors[0].path.iter().map(ToString::to_string).collect();
    assert_eq!(path, ["workflow_definition", "blocks", "0", "loop_blocks", "0", "code"]);
    assert_eq!(errors[0].block.as_deref(), Some("a"));

    let deep = "[".repeat(98) + &"]".repeat(98);
    let code = format!("# greenroom block\nblock_type: script\nargs: {deep}");
    let block = json!({"block_type": "code", "label": "a", "code": code});
    let errors = reveal(&mut workflow(&json!([block]))).unwrap_err().0;
    assert!(errors[0].message.contains("nested"), "{errors:?}");
}

#[test]
fn python_stays_python() {
    let block = json!({"block_type": "code", "label": "a", "code": "return 1"});
    let before = workflow(&json!([block]));
    let mut shown = before.clone();
    disguise(&mut shown, Reader::Forms);
    reveal(&mut shown).unwrap();
    assert_eq!(shown, before);
}

#[test]
fn every_type_that_is_not_ours_alone_has_a_form() {
    use crate::workflow::definition::Kind;
    let ours = [
        "click",
        "fill",
        "select",
        "press",
        "hover",
        "scroll",
        "upload",
        "wait_for",
        "extract",
        "assert",
        "script",
        "screenshot",
        "cookies",
    ];
    for name in Kind::NAMES {
        assert_eq!(is_shared(name), !ours.contains(name), "{name}");
    }
}
