//! Adds the defaults of blocks to responses.
//!
//! Clients of the compatible API rely on this: its editor fails on a missing list, and stores its own
//! default where this server has another.

use serde_json::{Map, Value, json};

/// Fields that hold one text or a list of texts, of which clients read only lists.
const LISTS: &[(&str, &str)] = &[
    ("human_interaction", "recipients"),
    ("send_email", "recipients"),
    ("send_email", "file_attachments"),
];

/// Adds the defaults of `block_type` to a block.
pub(super) fn fill(block_type: &str, block: &mut Map<String, Value>) {
    for (_, field) in LISTS.iter().filter(|(of, _)| *of == block_type) {
        let list = match block.remove(*field) {
            Some(Value::String(one)) => json!([one]),
            Some(Value::Null) | None => json!([]),
            Some(given) => given,
        };
        block.insert((*field).to_owned(), list);
    }
    let defaults = match block_type {
        "human_interaction" => json!({
            "instructions": "",
            "positive_descriptor": "Approve",
            "negative_descriptor": "Reject",
            "timeout_seconds": 7200,
            "sender": null,
            "subject": "",
            "body": "",
        }),
        "print_page" => json!({
            "include_timestamp": true,
            "custom_filename": null,
            "format": "A4",
            "landscape": false,
            "print_background": true,
        }),
        "http_request" => json!({ "method": "GET", "follow_redirects": true }),
        "workflow_trigger" => json!({
            "payload": null,
            "wait_for_completion": true,
            "browser_session_id": null,
            "use_parent_browser_session": false,
        }),
        "file_url_parser" => json!({ "file_type": "auto_detect", "json_schema": null }),
        _ => return,
    };
    for (field, value) in defaults.as_object().into_iter().flatten() {
        block.entry(field.as_str()).or_insert_with(|| value.clone());
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::workflow::definition::Workflow;

    fn filled(mut block: Value) -> Value {
        let kind = block["block_type"].as_str().unwrap().to_owned();
        fill(&kind, block.as_object_mut().unwrap());
        block
    }

    #[test]
    fn lists_are_lists_and_what_is_given_stays() {
        let asked = filled(json!({"block_type": "human_interaction", "subject": "s"}));
        assert_eq!((&asked["recipients"], &asked["subject"]), (&json!([]), &json!("s")));
        let mail = filled(json!({"block_type": "send_email", "recipients": "a@b.example"}));
        assert_eq!(mail["recipients"], json!(["a@b.example"]));
        assert_eq!(mail["file_attachments"], json!([]));
        let printed = filled(json!({"block_type": "print_page", "include_timestamp": false}));
        assert_eq!(printed["include_timestamp"], false);
    }

    #[test]
    fn the_defaults_are_those_by_which_a_block_runs() {
        for block in [
            json!({"block_type": "human_interaction", "label": "a"}),
            json!({"block_type": "print_page", "label": "a"}),
            json!({"block_type": "http_request", "label": "a", "url": "https://a.example"}),
            json!({"block_type": "workflow_trigger", "label": "a", "workflow_permanent_id": "wpid_1"}),
            json!({"block_type": "file_url_parser", "label": "a", "file_url": "https://a.example/a"}),
        ] {
            let kind = |block: &Value| {
                let document = json!({"title": "t", "workflow_definition": {"blocks": [block]}});
                let read = Workflow::from_json(&document).unwrap();
                format!("{:?}", read.definition.blocks[0].kind)
            };
            assert_eq!(kind(&block), kind(&filled(block.clone())), "{block}");
        }
    }
}
