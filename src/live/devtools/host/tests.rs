//! Tests of the rules for commands that reach beyond the page.

use std::fs;
use std::os::unix::fs::symlink;

use serde_json::json;

use super::super::commands::all;
use super::super::handover::Places;
use super::*;

fn judge_with(allowed: &[&str]) -> Judge {
    let allowed: Vec<_> = allowed.iter().map(|text| text.parse().unwrap()).collect();
    Judge::new(Rules::new(true, &allowed), PathBuf::from("/s/downloads"), Vec::new())
}

/// Returns the verdict on a message as text: a word, the rewritten command, or the error's message.
fn fate_by(judge: &Judge, message: &str) -> String {
    match judge.judge(message.as_bytes()) {
        Verdict::Passes => "passes".to_owned(),
        Verdict::PassesAs(text) => String::from_utf8(text).unwrap(),
        Verdict::Refused(answer) => answer["error"]["message"].as_str().unwrap().to_owned(),
        Verdict::Files(_, files) => format!("files {files:?}"),
        Verdict::Detaches(_) => "detaches".to_owned(),
    }
}

fn fate(message: &str) -> String {
    fate_by(&judge_with(&[]), message)
}

fn command(method: &str, params: &Value) -> String {
    json!({ "id": 1, "method": method, "params": params }).to_string()
}

fn within(message: &str) -> String {
    command(CARRIER, &json!({ "sessionId": "S", "message": message }))
}

#[test]
fn each_command_is_treated_as_the_table_says() {
    for (name, entry) in all() {
        let plain = fate(&command(name, &json!({})));
        match (entry.class, entry.reach) {
            (Class::Detaches, _) => assert_eq!(plain, "detaches", "{name}"),
            (_, Reach::Page) => assert_eq!(plain, "passes", "{name}"),
            (_, Reach::Refused) => {
                assert!(
                    plain.contains(&format!("devtools_allow = [\"{name}\"]")),
                    "{name}: {plain}"
                );
            }
            // Without parameters they do nothing, except for the carrier, which then lacks its
            // command.
            (_, Reach::Judged) => assert_eq!(plain == "passes", name != CARRIER, "{name}: {plain}"),
        }
    }
}

#[test]
fn what_the_operator_allows_passes_and_the_end_of_the_browser_does_not() {
    let judge =
        judge_with(&["Extensions.*", "SystemInfo.getInfo", "NotYet.invented", "Page.navigate"]);
    for method in ["Extensions.loadUnpacked", "SystemInfo.getInfo", "NotYet.invented"] {
        assert_eq!(fate_by(&judge, &command(method, &json!({}))), "passes", "{method}");
        assert_eq!(fate_by(&judge, &within(&command(method, &json!({})))), "passes", "{method}");
    }
    let file = command("Page.navigate", &json!({ "url": "file:///etc/passwd" }));
    assert_eq!(fate_by(&judge, &file), "passes");
    assert_ne!(fate_by(&judge, &command("SystemInfo.getProcessInfo", &json!({}))), "passes");
    let judge = judge_with(&["Browser.*", "Target.*"]);
    assert_eq!(fate_by(&judge, &command("Browser.close", &json!({}))), "detaches");
    let nested = within(&command("Tracing.start", &json!({})));
    assert_ne!(fate_by(&judge, &nested), "passes", "a carrier is no way around");
}

#[test]
fn an_unlisted_command_is_refused_as_chromium_refuses_it() {
    let message = command("NotYet.invented", &json!({}));
    let Verdict::Refused(answer) = judge_with(&[]).judge(message.as_bytes()) else {
        panic!("not refused")
    };
    assert_eq!(answer["error"]["code"], -32601);
    let said = answer["error"]["message"].as_str().unwrap();
    assert!(said.starts_with("'NotYet.invented' wasn't found"), "{said}");
    assert!(fate(&command(&"x".repeat(10_000), &json!({}))).len() < 500);
}

#[test]
fn addresses_of_files_and_settings_are_refused_wherever_a_command_takes_one() {
    for method in [
        "Page.navigate",
        "Target.createTarget",
        "Network.loadNetworkResource",
        "Fetch.continueRequest",
    ] {
        let to = |url: Value| fate(&command(method, &json!({ "url": url, "requestId": "r" })));
        assert_eq!(to(json!("https://example.com")), "passes", "{method}");
        for url in [
            json!("file:///etc/passwd"),
            json!("chrome://settings"),
            json!("chrome://newtab"),
            json!(["file:///x"]),
            json!(7),
        ] {
            assert!(to(url.clone()).contains(method), "{method} {url}");
        }
    }
    assert!(
        fate(r#"{"method":"Page.navigate","params":{"url":"\u0066ile:///etc"}}"#).contains("Page")
    );
    let twice = r#"{"method":"Page.navigate","params":{"url":"https://a","url":"file:///etc"}}"#;
    assert!(fate(twice).contains("unambiguous"));
}

#[test]
fn a_context_with_a_proxy_of_its_own_is_refused() {
    let with = |params: Value| fate(&command("Target.createBrowserContext", &params));
    assert_eq!(with(json!({ "disposeOnDetach": true })), "passes");
    for params in [
        json!({ "proxyServer": "http://203.0.113.9:3128" }),
        json!({ "proxyServer": "" }),
        json!({ "proxyBypassList": "127.0.0.1" }),
    ] {
        assert!(with(params.clone()).contains("proxy_location"), "{params}");
    }
}

#[test]
fn a_drag_with_files_is_refused_and_one_with_texts_is_not() {
    let with = |data: Value| fate(&command("Input.dispatchDragEvent", &json!({ "data": data })));
    for data in [json!({ "items": [], "dragOperationsMask": 1 }), json!({ "files": [] })] {
        assert_eq!(with(data.clone()), "passes", "{data}");
    }
    for data in [json!({ "files": ["/etc/passwd"] }), json!({ "files": "x" }), json!(["x"])] {
        assert!(with(data.clone()).contains("DataTransfer"), "{data}");
    }
    let twice =
        r#"{"method":"Input.dispatchDragEvent","params":{"data":{"files":[],"files":["/x"]}}}"#;
    assert!(fate(twice).contains("DataTransfer"));
}

#[test]
fn downloads_go_to_the_sessions_folder_whatever_path_is_given() {
    for method in ["Browser.setDownloadBehavior", "Page.setDownloadBehavior"] {
        for behavior in ["allow", "allowAndName", "deny", "default"] {
            let given =
                json!({ "behavior": behavior, "downloadPath": "/root", "eventsEnabled": true });
            let passed: Value = serde_json::from_str(&fate(&command(method, &given))).unwrap();
            let own = json!({
                "behavior": behavior, "downloadPath": "/s/downloads", "eventsEnabled": true,
            });
            assert_eq!(passed["params"], own, "{method} {behavior}");
            let plain = json!({ "behavior": behavior, "eventsEnabled": true });
            assert_eq!(fate(&command(method, &plain)), "passes");
        }
    }
    let twice = r#"{"method":"Browser.setDownloadBehavior","params":{"downloadPath":"/a","downloadPath":"/b"}}"#;
    assert!(fate(twice).contains("unambiguous"));

    let client = ("127.0.0.1:1".parse().unwrap(), 2);
    let source = PathBuf::from("/s/downloads");
    let handover = Handover::new(client, source, Places::default());
    let judge = judge_with(&[]).handing_over(Some(Arc::clone(&handover)));
    let given = |behavior: &str, path: &str| {
        let params = json!({ "behavior": behavior, "downloadPath": path });
        fate_by(&judge, &command("Browser.setDownloadBehavior", &params))
    };
    for (behavior, path) in [("deny", "/a"), ("default", "/a"), ("allow", "a"), ("allow", "")] {
        assert!(given(behavior, path).contains("/s/downloads"));
        assert!(!handover.is_wanted(), "{behavior} {path}");
    }
    assert!(given("allowAndName", "/a").contains("/s/downloads"));
    assert!(handover.is_wanted());
}

#[test]
fn a_command_within_a_command_is_judged_as_if_it_came_alone() {
    assert_eq!(fate(&within(&command("Page.enable", &json!({})))), "passes");
    assert_eq!(fate(&within(&command("Browser.close", &json!({})))), "detaches");
    let load = command("Extensions.loadUnpacked", &json!({ "path": "/x" }));
    assert!(fate(&within(&load)).contains("Extensions.loadUnpacked"));
    assert!(fate(&within(&within(&load))).contains("Extensions.loadUnpacked"));
    let files = command("DOM.setFileInputFiles", &json!({ "files": ["/etc/passwd"] }));
    assert_eq!(fate(&within(&files)), "files [\"/etc/passwd\"]");
    let deep = (0..6).fold(command("Page.enable", &json!({})), |inner, _| within(&inner));
    assert!(fate(&deep).contains("unambiguous"), "deeper than anybody sends");
    assert!(fate(&within("nonsense")).contains("unambiguous"));

    let behavior = json!({ "behavior": "allow", "downloadPath": "/root" });
    let outer = fate(&within(&command("Browser.setDownloadBehavior", &behavior)));
    let outer: Value = serde_json::from_str(&outer).unwrap();
    let inner: Value = serde_json::from_str(outer["params"]["message"].as_str().unwrap()).unwrap();
    assert_eq!(inner["params"]["downloadPath"], "/s/downloads");
    assert_eq!((&outer["id"], &outer["params"]["sessionId"]), (&json!(1), &json!("S")));
}

#[tokio::test]
async fn files_come_from_the_sessions_folders_only_links_followed() {
    let folder = std::env::temp_dir().join(format!("rules-{:016x}", rand::random::<u64>()));
    let (own, other) = (folder.join("downloads"), folder.join("other"));
    fs::create_dir_all(&own).unwrap();
    fs::create_dir_all(&other).unwrap();
    fs::write(own.join("a.txt"), "a").unwrap();
    fs::write(other.join("b.txt"), "b").unwrap();
    symlink(other.join("b.txt"), own.join("link")).unwrap();
    let sources = vec![own.clone(), folder.join("gone")];
    let judge = Judge::new(Rules::new(true, &[]), PathBuf::new(), sources);
    assert!(judge.admits(&[own.join("a.txt")]).await);
    assert!(judge.admits(&[other.join("../downloads/a.txt")]).await);
    for path in [
        other.join("b.txt"),
        own.join("link"),
        own.join("../other/b.txt"),
        own.join("absent"),
        folder.join("gone/x"),
        PathBuf::from("a.txt"),
        PathBuf::new(),
        PathBuf::from("/etc/passwd"),
    ] {
        assert!(!judge.admits(&[own.join("a.txt"), path.clone()]).await, "{}", path.display());
    }
    fs::remove_dir_all(folder).unwrap();
}
