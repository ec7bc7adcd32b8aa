//! Blocks of our own, for clients that know only those of the compatible API.
//!
//! Such clients choose how to read a block by its type, and fail on one they do not know, with the
//! whole list that it stands in. To them a block of our own is a `code` block without code that
//! keeps all its fields, and its type under another name; when it comes back, it is what it was.

use serde_json::{Map, Value};

/// The types that the compatible API has.
const SHARED: &[&str] = &[
    "action",
    "code",
    "conditional",
    "download_to_s3",
    "email_inbox",
    "extraction",
    "file_download",
    "file_upload",
    "file_url_parser",
    "for_loop",
    "google_sheets_read",
    "google_sheets_write",
    "goto_url",
    "http_request",
    "human_interaction",
    "login",
    "navigation",
    "pdf_fill",
    "pdf_parser",
    "print_page",
    "send_email",
    "split_pdf",
    "task",
    "task_v2",
    "text_prompt",
    "upload_to_s3",
    "validation",
    "wait",
    "while_loop",
    "workflow_trigger",
];

/// Where a block that looks like code keeps what it is.
const OWN_TYPE: &str = "greenroom_block_type";

/// Makes every block of our own in a workflow's answer one that such a client can read.
pub fn disguise(workflow: &mut Value) {
    each_block(workflow, &|block| {
        let Some(own) = block.get("block_type").and_then(Value::as_str) else { return };
        if SHARED.contains(&own) {
            return;
        }
        let own = own.to_owned();
        block.insert("block_type".to_owned(), "code".into());
        block.entry("code").or_insert_with(|| "".into());
        block.insert(OWN_TYPE.to_owned(), own.into());
    });
}

/// Makes every block that was disguised what it was, in a workflow as it is sent.
pub fn reveal(workflow: &mut Value) {
    each_block(workflow, &|block| {
        let Some(own @ Value::String(_)) = block.remove(OWN_TYPE) else { return };
        block.insert("block_type".to_owned(), own);
        if block.get("code").and_then(Value::as_str) == Some("") {
            block.remove("code");
        }
    });
}

fn each_block(workflow: &mut Value, change: &dyn Fn(&mut Map<String, Value>)) {
    let blocks = workflow.get_mut("workflow_definition").and_then(|it| it.get_mut("blocks"));
    if let Some(Value::Array(blocks)) = blocks {
        within(blocks, change);
    }
}

fn within(blocks: &mut [Value], change: &dyn Fn(&mut Map<String, Value>)) {
    for block in blocks.iter_mut().filter_map(Value::as_object_mut) {
        change(block);
        if let Some(Value::Array(inner)) = block.get_mut("loop_blocks") {
            within(inner, change);
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_block_of_our_own_looks_like_code_and_comes_back_as_it_was() {
        let workflow = json!({"title": "t", "workflow_definition": {"blocks": [
            {"block_type": "goto_url", "label": "open", "url": "https://a.example"},
            {"block_type": "for_loop", "label": "each", "loop_blocks": [
                {"block_type": "click", "label": "press", "selector": "#go"},
            ]},
        ]}});
        let mut shown = workflow.clone();
        disguise(&mut shown);
        let blocks = &shown["workflow_definition"]["blocks"];
        assert_eq!(blocks[0], workflow["workflow_definition"]["blocks"][0]);
        assert_eq!(
            blocks[1]["loop_blocks"][0],
            json!({
                "block_type": "code", "code": "", "greenroom_block_type": "click",
                "label": "press", "selector": "#go",
            })
        );
        reveal(&mut shown);
        assert_eq!(shown, workflow);
    }
}
