//! Templates, compared with the real Jinja2.

use std::path::Path;
use std::process::Stdio;

use tokio::process::Command;

use super::installed;

#[tokio::test]
async fn the_stored_forms_are_what_jinja2_renders() {
    let clients = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients");
    let output = Command::new(installed(".venv/bin/python"))
        .arg(clients.join("jinja_forms.py"))
        .arg(clients.join("jinja_forms.json"))
        .stdin(Stdio::null())
        .output()
        .await
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    let failed = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}{failed}");
    assert!(said.contains(" forms, 0 differ"), "{said}");
}
