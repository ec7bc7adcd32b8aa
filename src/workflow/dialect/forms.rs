//! Fields of a block that the compatible API's front end keeps when it saves the block.
//!
//! Its editor rebuilds each block from the form of its type and drops every other field. The lists
//! are those of its version 1.0.56. A field that is missing here loses no data; the block is only
//! shown as code.

use serde_json::{Map, Value};

/// Fields of every block that forms keep, or that add nothing to the kept fields.
const COMMON: &[&str] = &[
    "block_type",
    "label",
    "title",
    "next_block_label",
    "continue_on_failure",
    "next_loop_on_failure",
    "ignore_workflow_system_prompt",
    "output_parameter",
    "parameters",
    "parameter_keys",
];

/// Fields shared by the forms of blocks that need a model.
const MODEL: &[&str] = &[
    "url",
    "navigation_goal",
    "error_code_mapping",
    "max_retries",
    "max_steps_per_run",
    "complete_on_download",
    "download_suffix",
    "totp_identifier",
    "totp_verification_url",
    "disable_cache",
    "complete_criterion",
    "terminate_criterion",
    "include_action_history_in_verification",
    "engine",
    "engine_pinned",
];

const STORAGE: &[&str] = &[
    "path",
    "prompt",
    "storage_type",
    "download_target",
    "continue_on_empty",
    "google_credential_id",
    "google_drive_folder_id",
    "s3_bucket",
    "aws_access_key_id",
    "aws_secret_access_key",
    "region_name",
    "azure_storage_account_name",
    "azure_storage_account_key",
    "azure_blob_container_name",
    "sftp_host",
    "sftp_port",
    "sftp_username",
    "sftp_password",
    "sftp_private_key",
    "sftp_private_key_passphrase",
    "sftp_remote_path",
    "sftp_host_key",
];

/// The form of a block type.
#[derive(Debug, Clone, Copy)]
pub(super) enum Form {
    /// A form of a block that contains or names other blocks, which a text could not represent.
    Frame,
    /// A form with the fields in these lists.
    Fields(&'static [&'static [&'static str]]),
}

impl Form {
    /// True if the form keeps all fields of the block.
    pub(super) fn keeps(self, block: &Map<String, Value>) -> bool {
        let Self::Fields(lists) = self else { return true };
        let is_known =
            |name: &str| COMMON.contains(&name) || lists.iter().any(|list| list.contains(&name));
        block.iter().all(|(name, value)| is_known(name) || says_nothing(value))
    }
}

/// True for values that are equivalent to an absent field.
fn says_nothing(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => true,
        Value::Bool(true) | Value::Number(_) => false,
        Value::String(text) => text.is_empty(),
        Value::Array(values) => values.is_empty(),
        Value::Object(members) => members.is_empty(),
    }
}

/// Returns the form of a type; none for a type that the front end does not know.
pub(super) fn of(block_type: &str) -> Option<Form> {
    Some(match block_type {
        "for_loop" | "while_loop" | "conditional" => Form::Frame,
        "task" => Form::Fields(&[MODEL, &["data_extraction_goal", "data_schema"]]),
        "task_v2" => Form::Fields(&[&[
            "prompt",
            "url",
            "max_steps",
            "totp_identifier",
            "totp_verification_url",
            "disable_cache",
        ]]),
        "navigation" => Form::Fields(&[MODEL, &["model"]]),
        "action" | "login" | "validation" => Form::Fields(&[MODEL]),
        "extraction" => Form::Fields(&[
            MODEL,
            &[
                "data_extraction_goal",
                "data_schema",
                "export_enabled",
                "export_data_schema",
                "export_file_name",
                "export_records",
            ],
        ]),
        "file_download" => Form::Fields(&[MODEL, STORAGE]),
        "human_interaction" => Form::Fields(&[&[
            "instructions",
            "positive_descriptor",
            "negative_descriptor",
            "timeout_seconds",
            "sender",
            "recipients",
            "subject",
            "body",
            "body_format",
        ]]),
        "wait" => Form::Fields(&[&["wait_sec"]]),
        "goto_url" | "download_to_s3" => Form::Fields(&[&["url"]]),
        "upload_to_s3" => Form::Fields(&[&["path"]]),
        "file_upload" => Form::Fields(&[STORAGE]),
        "code" => Form::Fields(&[&[
            "code",
            "error_code_mapping",
            "prompt",
            "steps",
            "data_schema",
            "user_owned_goal",
            "goal_needs_regeneration",
            "code_edited_by_hand",
        ]]),
        "text_prompt" => Form::Fields(&[&["llm_key", "prompt", "json_schema"]]),
        "file_url_parser" => {
            Form::Fields(&[&["file_url", "file_type", "json_schema", "worksheet", "force_ocr"]])
        }
        "pdf_parser" => Form::Fields(&[&["file_url", "json_schema"]]),
        "pdf_fill" => Form::Fields(&[&["file_url", "prompt", "payload", "llm_key"]]),
        "split_pdf" => Form::Fields(&[&["file_url", "prompt", "llm_key"]]),
        "send_email" => Form::Fields(&[&[
            "smtp_host",
            "smtp_port",
            "smtp_username",
            "smtp_password",
            "custom_smtp_host",
            "custom_smtp_port",
            "custom_smtp_username",
            "custom_smtp_password",
            "sender",
            "recipients",
            "subject",
            "body",
            "body_format",
            "file_attachments",
            "transport",
            "credential_id",
            "cc",
            "bcc",
        ]]),
        "http_request" => Form::Fields(&[&[
            "method",
            "url",
            "headers",
            "body",
            "files",
            "timeout",
            "follow_redirects",
            "download_filename",
            "save_response_as_file",
            "secret_response_paths",
        ]]),
        "print_page" => Form::Fields(&[&[
            "include_timestamp",
            "custom_filename",
            "format",
            "landscape",
            "print_background",
        ]]),
        "workflow_trigger" => Form::Fields(&[&[
            "workflow_permanent_id",
            "payload",
            "wait_for_completion",
            "browser_session_id",
            "use_parent_browser_session",
        ]]),
        "email_inbox" => Form::Fields(&[&[
            "email_client",
            "credential_id",
            "folder",
            "prompt",
            "sender",
            "subject",
            "newer_than_days",
            "max_results",
            "include_body",
            "download_attachments",
        ]]),
        "google_sheets_read" | "google_sheets_write" => Form::Fields(&[&[
            "spreadsheet_url",
            "sheet_name",
            "range",
            "credential_id",
            "has_header_row",
            "write_mode",
            "values",
            "column_mapping",
            "create_sheet_if_missing",
        ]]),
        _ => return None,
    })
}
