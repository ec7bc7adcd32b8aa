//! Unmodified clients of the compatible API with the real server.

use serde_json::{Value, json};
use tokio::process::Command;

use super::automation::client_script;
use super::{Site, installed, run};
use crate::support::Setup;

#[tokio::test(flavor = "multi_thread")]
async fn the_public_python_sdk_drives_sessions_workflows_and_runs() {
    let site = Site::start().await;
    let server = Setup::real().start().await;
    let mut command = Command::new(installed(".venv/bin/python"));
    command.arg(client_script("skyvern_sdk.py"));
    command.args([&server.client.base, server.client.key(), &site.url]);
    let seen: Value = serde_json::from_str(&run(&mut command).await).unwrap();
    assert_eq!(seen["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(seen["blocks"], json!(["open", "search", "go", "settle", "read"]));
    assert!(seen["output"]["read_output"].to_string().contains('3'), "{seen:#}");
    assert_eq!(seen["canceled"], json!(["canceled", "canceled"]));
    assert_eq!(seen["waited"], "completed");
    assert_eq!(
        seen["refused"],
        json!([
            "credentials_invalid",
            "session_unknown",
            "run_unknown",
            "missing_value_for_parameter",
            "invalid_request",
            "invalid_request",
            "not_supported",
            "browser_profile_unknown",
            "session_closed",
        ])
    );
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_requests_of_the_typescript_client_are_answered_as_it_expects() {
    let site = Site::start().await;
    let server = Setup::real().start().await;
    let mut command = Command::new("node");
    command.arg(client_script("compatible.mjs"));
    command.args([&server.client.base, server.client.key(), &site.url]);
    let seen: Value = serde_json::from_str(&run(&mut command).await).unwrap();
    assert_eq!(seen["known"], json!(["goto_url", "code"]), "a block of our own is code to it");
    assert!(seen["output"]["read_output"].is_object(), "{seen:#}");
    assert_eq!(seen["canceled"], "canceled");
    assert_eq!(seen["runs"], json!(["canceled", "completed"]));
    assert_eq!(seen["agents"], json!(["Long", "Shop"]));
    assert_eq!(
        seen["refusals"],
        json!([
            "missing_value_for_parameter",
            "run_unknown",
            "definition_missing",
            "not_supported",
            "session_closed",
        ])
    );
    server.stop().await;
}
