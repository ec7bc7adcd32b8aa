//! Browser extensions in the API: uploaded, checked, listed, deleted, and given to sessions.

use greenroom::db::audit_events::{self, Filter};
use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{Setup, eventually};

fn manifest(permissions: &[&str]) -> String {
    let manifest = json!({
        "manifest_version": 3, "name": "Probe", "version": "1.2", "permissions": permissions,
    });
    manifest.to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_extension_is_uploaded_checked_listed_and_deleted() {
    let server = Setup::fakes().start().await;
    let client = &server.client;
    let good = manifest(&["storage"]);
    let files = [("probe/manifest.json", good.as_str()), ("probe/a.js", "1")];
    let added = client.upload_extension(&files).await.ok();
    assert_eq!((&added["name"], &added["version"]), (&json!("Probe"), &json!("1.2")), "{added:#}");
    assert_eq!(added["permissions"], json!(["storage"]));
    assert_eq!((&added["files"], added["sha256"].as_str().unwrap().len()), (&json!(2), 64));
    let id = added["extension_id"].as_str().unwrap();
    let path = format!("/v1/extensions/{id}");
    assert_eq!(client.get("/v1/extensions").await.ok(), json!([added]));
    assert_eq!(client.get(&path).await.ok(), added);

    let debugger = manifest(&["debugger"]);
    for (files, reason) in [
        (vec![("a.js", "1")], "no manifest.json"),
        (vec![("manifest.json", "{}")], "manifest_version"),
        (vec![("manifest.json", debugger.as_str())], "isolation.extension_permissions_allow"),
        (vec![("manifest.json", good.as_str()), ("../../a", "1")], "not a path within it"),
    ] {
        let refused = client.upload_extension(&files).await.problem(422, "extension_invalid");
        assert!(refused["detail"].as_str().unwrap().contains(reason), "{refused:#}");
    }
    let none = client.send(Method::POST, "/v1/extensions", Some(json!("no archive"))).await;
    none.problem(422, "extension_invalid");
    assert_eq!(client.get("/v1/extensions").await.ok(), json!([added]), "nothing is left of them");

    // Another organization neither sees nor deletes nor uses it.
    let other = server.another_organization().await;
    assert_eq!(other.get("/v1/extensions").await.ok(), json!([]));
    other.get(&path).await.problem(404, "extension_unknown");
    other.send(Method::DELETE, &path, None).await.problem(404, "extension_unknown");
    let asked = json!({ "extensions": ["ad-blocker", id] });
    let refused = other.ask_for_session(asked.clone()).await.wrong_fields();
    assert_eq!(refused["body.extensions.1"], "there is no such extension");

    // The programs of this server are not confined, so no session gets an extension.
    let failed = client.ask_for_session(asked).await;
    let failed = failed.problem(424, "extensions_unconfined");
    assert_ne!(failed["browser_session_id"], Value::Null, "{failed:#}");

    assert_eq!(client.send(Method::DELETE, &path, None).await.ok(), added);
    client.get(&path).await.problem(404, "extension_unknown");

    // The audit trail has each change, and who tried another.
    let database = server.database().await;
    let of = async |kind: &str, count: usize| {
        let filter = Filter { kind: Some(kind.to_owned()), ..Filter::default() };
        eventually("the trail is stored", async || {
            let found = audit_events::list(&database, filter.clone(), None, 10).await.unwrap();
            (found.len() == count).then_some(found)
        })
        .await
    };
    let deletions = of("delete_extension", 2).await;
    let outcomes: Vec<_> = deletions.iter().map(|event| event.outcome.as_str()).collect();
    assert_eq!(outcomes, ["done", "refused"]);
    assert_eq!(deletions[0].summary["extension_id"], id);
    assert_ne!(deletions[0].organization, deletions[1].organization);
    let uploads = of("upload_extension", 6).await;
    let outcomes: Vec<_> = uploads.iter().map(|event| event.outcome.as_str()).collect();
    assert_eq!(outcomes, ["refused", "refused", "refused", "refused", "refused", "done"]);
    let first = &uploads[5];
    assert_eq!((&first.sender, &first.receiver), (&"http".to_owned(), &"extensions".to_owned()));
    assert_eq!(first.summary["sha256"], added["sha256"]);
    assert!(first.summary["api_key_id"].is_string(), "{}", first.summary);
    assert!(uploads[2].summary["note"].as_str().unwrap().contains("extension_permissions_allow"));
    let messages = server.operator().get("/admin/messages?kind=upload_extension").await.ok();
    assert_eq!(messages["messages"].as_array().unwrap().len(), 6, "{messages:#}");
    database.close();
    server.stop().await;
}
