//! Browser profiles with programs that are fakes: requests, versions, and who may write.

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::client::id_of;
use crate::support::{Client, Setup};

const PROFILES: &str = "/v1/browser_profiles";

fn of(profile: &Value) -> String {
    format!("{PROFILES}/{}", profile["browser_profile_id"].as_str().unwrap())
}

async fn names(client: &Client, query: &str) -> Vec<String> {
    let listed = client.get(&format!("{PROFILES}{query}")).await.ok();
    let names = listed.as_array().unwrap().iter();
    names.map(|it| it["name"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_organization_has_a_limit_of_profiles_and_others_are_not_affected() {
    let server = Setup::fakes().set("sessions.max_profiles", "2").start().await;
    let client = &server.client;
    let before = client.session_id().await;
    let first = client.post(PROFILES, json!({"name": "one"})).await.ok();
    client.post(PROFILES, json!({"name": "two"})).await.ok();
    let refused = client.post(PROFILES, json!({"name": "three"})).await;
    let refused = refused.problem(429, "too_many_profiles");
    assert!(refused["detail"].as_str().unwrap().contains("sessions.max_profiles"), "{refused}");
    let generated = json!({"generate_browser_profile": true});
    client.ask_for_session(generated.clone()).await.problem(429, "too_many_profiles");
    let path = format!("/v1/browser_sessions/{before}");
    let change = client.send(Method::PATCH, &path, Some(generated.clone())).await;
    change.problem(429, "too_many_profiles");
    let store = client.post(&format!("{path}/profile"), json!({})).await;
    store.problem(429, "too_many_profiles");
    let other = server.another_organization().await;
    other.post(PROFILES, json!({"name": "three"})).await.ok();
    assert_eq!(client.send(Method::DELETE, &of(&first), None).await.status, 204);
    client.session_of(generated).await;
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_profile_is_made_listed_changed_and_removed() {
    let server = Setup::fakes().start().await;
    let client = &server.client;
    let asked = json!({"name": "Shop A", "description": "The login", "tags": ["shop", "eu"]});
    let made = client.post(PROFILES, asked.clone()).await.ok();
    assert_eq!((&made["version"], &made["is_managed"]), (&json!(null), &json!(false)));
    assert_eq!(made["tags"], json!(["shop", "eu"]));
    client.post(PROFILES, asked).await.problem(409, "name_taken");
    let reserved = json!({"name": "Profile bp_1"});
    assert!(client.post(PROFILES, reserved).await.wrong_fields().contains_key("body.name"));
    let wrong = client.post(PROFILES, json!({"name": " a", "tags": [""]})).await.wrong_fields();
    assert_eq!(wrong.keys().collect::<Vec<_>>(), ["body.name", "body.tags"]);
    let other = client.post(PROFILES, json!({"name": "Bank"})).await.ok();
    assert_eq!(names(client, "").await, ["Bank", "Shop A"]);
    for (query, found) in [
        ("?search_key=LOGIN", vec!["Shop A"]),
        ("?name=Bank", vec!["Bank"]),
        ("?tags=eu&tags=shop", vec!["Shop A"]),
        ("?tags=eu&tags=us", vec![]),
        ("?managed=true", vec![]),
        ("?page=2&page_size=1", vec!["Shop A"]),
    ] {
        assert_eq!(names(client, query).await, found, "{query}");
    }

    let change = json!({"name": "Bank", "description": null});
    client.send(Method::PATCH, &of(&made), Some(change)).await.problem(409, "name_taken");
    let change = json!({"name": "Shop B", "description": null, "tags": []});
    let changed = client.send(Method::PATCH, &of(&made), Some(change)).await.ok();
    assert_eq!((&changed["name"], &changed["description"]), (&json!("Shop B"), &json!(null)));
    assert_eq!(changed["tags"], json!([]));

    let stranger = server.another_organization().await;
    stranger.get(&of(&made)).await.problem(404, "browser_profile_unknown");
    let stolen = json!({"browser_profile_id": made["browser_profile_id"]});
    stranger.ask_for_session(stolen).await.problem(404, "browser_profile_unknown");
    let answer = client.send(Method::DELETE, &of(&other), None).await;
    assert_eq!(answer.status, 204);
    client.get(&of(&other)).await.problem(404, "browser_profile_unknown");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_session_writes_and_the_others_have_copies() {
    let server = Setup::fakes().start().await;
    let client = &server.client;
    let profile = client.post(PROFILES, json!({"name": "one"})).await.ok();
    let id = profile["browser_profile_id"].clone();
    let from = |access: &str| json!({"browser_profile_id": id, "browser_profile_access": access});
    let writer = client.session_of(from("auto")).await;
    assert_eq!(writer["browser_profile_access"], "write");
    assert_eq!(writer["generate_browser_profile"], true);
    let copy = client.session_of(from("auto")).await;
    assert_eq!(copy["browser_profile_access"], "copy");
    let refused = client.ask_for_session(from("write")).await.problem(409, "profile_in_use");
    assert_eq!(refused["writer"], writer["browser_session_id"]);
    let both = json!({
        "browser_profile_id": id, "browser_profile_access": "copy", "generate_browser_profile": true,
    });
    let wrong = client.ask_for_session(both).await.wrong_fields();
    assert!(wrong.contains_key("body.browser_profile_access"), "{wrong:?}");
    let usage = client.get(&format!("{}/usage", of(&profile))).await.ok();
    assert_eq!(usage["sessions"].as_array().unwrap().len(), 2, "{usage:#}");
    assert_eq!(client.get(&of(&profile)).await.ok()["writer"], writer["browser_session_id"]);
    let gone = client.send(Method::DELETE, &of(&profile), None).await;
    assert_eq!(gone.problem(409, "profile_in_use")["writer"], writer["browser_session_id"]);

    // The writer gives up its place, and the other takes it.
    let keep = |on: bool| Some(json!({"generate_browser_profile": on}));
    let path = |session: &Value| format!("/v1/browser_sessions/{}", id_of(session));
    let held = client.send(Method::PATCH, &path(&copy), keep(true)).await;
    held.problem(409, "profile_in_use");
    let gave = client.send(Method::PATCH, &path(&writer), keep(false)).await.ok();
    assert_eq!(gave["browser_profile_access"], "copy");
    let took = client.send(Method::PATCH, &path(&copy), keep(true)).await.ok();
    assert_eq!(took["browser_profile_access"], "write");
    client.close(&id_of(&copy)).await.ok();
    let stored = client.get(&of(&profile)).await.ok();
    assert_eq!((&stored["version"], &stored["writer"]), (&json!(1), &json!(null)));
    client.close(&id_of(&writer)).await.ok();
    assert_eq!(client.get(&of(&profile)).await.ok()["version"], 1, "the former writer stored");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn versions_are_stored_from_live_and_ended_sessions() {
    let server = Setup::fakes().set("sessions.keep_profile_versions", "2").start().await;
    let client = &server.client;
    let session = client.session_of(json!({"generate_browser_profile": true})).await;
    let id = id_of(&session);
    let reserved = session["browser_profile_id"].as_str().unwrap();
    let own = format!("{PROFILES}/{reserved}");
    client.get(&own).await.problem(404, "browser_profile_unknown");
    let store = format!("/v1/browser_sessions/{id}/profile");
    let first = client.post(&store, json!({})).await.ok();
    assert_eq!((&first["browser_profile_id"], &first["version"]), (&json!(reserved), &json!(1)));
    let named = client.post(&store, json!({"name": "Copy", "tags": ["t"]})).await.ok();
    assert_eq!((&named["name"], &named["version"]), (&json!("Copy"), &json!(1)));
    client.post(&store, json!({"name": "Copy"})).await.problem(409, "name_taken");
    client.post(&store, json!({})).await.ok();
    client.close(&id).await.ok();
    client.post(&store, json!({})).await.problem(410, "session_closed");

    // The third has pushed the first out.
    let versions = client.get(&format!("{own}/versions")).await.ok();
    let numbers: Vec<_> = versions.as_array().unwrap().iter().map(|it| &it["version"]).collect();
    assert_eq!(numbers, [3, 2]);
    assert_eq!(versions[0]["origin"], "session_end");
    assert_eq!(versions[1]["origin"], "request");
    let files = || {
        let folder = server.directory.join("d/profiles");
        let organizations = std::fs::read_dir(folder).unwrap().flatten();
        let below = organizations.flat_map(|it| std::fs::read_dir(it.path()).unwrap().flatten());
        let files = below.flat_map(|it| std::fs::read_dir(it.path()).unwrap().flatten());
        files.filter(|file| file.path().extension().is_some_and(|it| it == "zst")).count()
    };
    assert_eq!(files(), 3, "two versions and the copy");

    let back = client.post(&format!("{own}/rollback"), json!({"version": 2})).await.ok();
    assert_eq!(back["version"], 2);
    let unknown = client.post(&format!("{own}/rollback"), json!({"version": 1})).await;
    unknown.problem(404, "profile_version_unknown");
    let version = |number: u64| format!("{own}/versions/{number}");
    let current = client.send(Method::DELETE, &version(2), None).await;
    current.problem(409, "profile_version_current");
    assert_eq!(client.send(Method::DELETE, &version(3), None).await.status, 204);

    // From an ended session, and from one without a profile.
    let source = json!({"name": "Later", "browser_session_id": id});
    let later = client.post(PROFILES, source).await.ok();
    assert_eq!(later["version"], 1);
    let bare = client.session_id().await;
    client.close(&bare).await.ok();
    let source = json!({"name": "None", "browser_session_id": bare});
    client.post(PROFILES, source).await.problem(422, "profile_not_stored");
    for profile in [&back, &named, &later] {
        assert_eq!(client.send(Method::DELETE, &of(profile), None).await.status, 204);
    }
    assert_eq!(files(), 0);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_is_completed_without_its_client() {
    let server = Setup::fakes().start().await;
    let client = &server.client;
    let session = client.session_of(json!({"generate_browser_profile": true})).await;
    client.close(&id_of(&session)).await.ok();
    let organization = session["organization_id"].as_str().unwrap();
    let profile = session["browser_profile_id"].as_str().unwrap();
    let folder = server.directory.join(format!("d/profiles/{organization}/{profile}"));
    let files = std::fs::read_dir(&folder).unwrap().map(|file| file.unwrap().path());
    let mut files = files.filter(|it| it.extension().is_some_and(|it| it == "zst"));
    // An archive that takes long to copy.
    let archive = std::fs::File::options().write(true).open(files.next().unwrap()).unwrap();
    archive.set_len(400 << 20).unwrap();
    let source = json!({"name": "Copy", "browser_session_id": id_of(&session)});
    let moment = std::time::Duration::from_millis(60);
    let left = tokio::time::timeout(moment, client.post(PROFILES, source.clone())).await;
    assert!(left.is_err(), "the copy took no time");
    crate::support::eventually("the copy is complete", async || {
        let listed = client.get(&format!("{PROFILES}?name=Copy")).await.ok();
        (listed[0]["version"] == 1).then_some(())
    })
    .await;
    assert_eq!(std::fs::read_dir(server.directory.join("d/transit")).unwrap().count(), 0);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_archive_is_refused_and_nothing_runs() {
    let server = Setup::fakes().start().await;
    let client = &server.client;
    let session = client.session_of(json!({"generate_browser_profile": true})).await;
    client.close(&id_of(&session)).await.ok();
    let id = session["browser_profile_id"].as_str().unwrap();
    let organization = session["organization_id"].as_str().unwrap();
    let folder = server.directory.join(format!("d/profiles/{organization}/{id}"));
    let files = std::fs::read_dir(&folder).unwrap().map(|file| file.unwrap().path());
    let archive =
        files.into_iter().find(|it| it.extension().is_some_and(|it| it == "zst")).unwrap();
    let mut bytes = std::fs::read(&archive).unwrap();
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    std::fs::write(&archive, bytes).unwrap();
    let from = json!({"browser_profile_id": id});
    let refused =
        client.ask_for_session(from.clone()).await.problem(424, "profile_archive_damaged");
    assert_eq!(refused["failure"]["stage"], "profile", "{refused:#}");
    std::fs::remove_file(&archive).unwrap();
    client.ask_for_session(from).await.problem(424, "profile_lost");
    assert_eq!(std::fs::read_dir(server.directory.join("d/transit")).unwrap().count(), 0);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_workflow_that_persists_has_a_profile_of_its_own() {
    let server = Setup::fakes().start().await;
    let client = &server.client;
    let blocks = json!([{"block_type": "wait", "label": "w", "wait_sec": 1}]);
    let definition = json!({"json_definition": {
        "title": "t", "persist_browser_session": true,
        "workflow_definition": {"parameters": [], "blocks": blocks},
    }});
    let workflow = client.post("/v1/workflows", definition).await.ok();
    assert_eq!(workflow["warning"], json!(null), "{workflow:#}");
    let workflow = workflow["workflow_permanent_id"].as_str().unwrap().to_owned();
    for _ in 1..=3 {
        // The next run starts while the session of the former one still stores the profile.
        let run = client.run(&workflow, json!({})).await;
        client.run_once(&run, "completed").await;
        let managed = client.get(&format!("{PROFILES}?managed=true")).await.ok();
        let managed = managed.as_array().unwrap();
        assert_eq!(managed.len(), 1, "{managed:#?}");
        assert_eq!(managed[0]["workflow_permanent_id"], json!(workflow));
    }
    crate::support::eventually("each run has stored the profile", async || {
        let listed = client.get(&format!("{PROFILES}?managed=true")).await.ok();
        (listed[0]["version"] == 3).then_some(())
    })
    .await;
    let reset = format!("/v1/agents/{workflow}/browser_session/reset_profile");
    // The session of the last run ends a moment after its profile is stored.
    crate::support::eventually("the profile is removed", async || {
        let answer = client.send(Method::POST, &reset, None).await;
        (answer.status == 204).then_some(())
    })
    .await;
    assert_eq!(names(client, "").await, Vec::<String>::new());
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn workflows_have_unique_names_and_tags_by_which_they_are_listed() {
    let server = Setup::fakes().start().await;
    let client = &server.client;
    let definition = |name: Value, tags: Value| {
        let blocks = json!([{"block_type": "wait", "label": "w", "wait_sec": 1}]);
        let workflow = json!({"parameters": [], "blocks": blocks});
        json!({"json_definition": {
            "title": "t", "name": name, "tags": tags, "workflow_definition": workflow,
        }})
    };
    let store =
        async |name: Value, tags: Value| client.post("/v1/workflows", definition(name, tags)).await;
    let shop = store(json!("shop"), json!(["eu", "daily"])).await.ok();
    assert_eq!((&shop["name"], &shop["tags"]), (&json!("shop"), &json!(["eu", "daily"])));
    let id = shop["workflow_permanent_id"].as_str().unwrap();
    let taken = store(json!("shop"), json!(null)).await.problem(409, "name_taken");
    assert_eq!(taken["workflow_permanent_id"], id);
    let bank = store(json!(null), json!(["eu"])).await.ok();
    assert_eq!((&bank["name"], &bank["warning"]), (&json!(null), &json!(null)));
    let wrong = store(json!(" a"), json!(["", 1])).await.wrong_fields();
    assert_eq!(wrong.keys().collect::<Vec<_>>(), ["body.name", "body.tags"]);

    // Another version keeps the name, or gives it up.
    let path = format!("/v1/workflows/{id}");
    let again = client.post(&path, definition(json!("shop"), json!(["us"]))).await.ok();
    assert_eq!((&again["version"], &again["name"]), (&json!(2), &json!("shop")));
    let other = format!("/v1/workflows/{}", bank["workflow_permanent_id"].as_str().unwrap());
    let stolen = client.post(&other, definition(json!("shop"), json!([]))).await;
    stolen.problem(409, "name_taken");
    let found = async |query: &str| {
        let listed = client.get(&format!("/v1/workflows{query}")).await.ok();
        let ids = listed.as_array().unwrap().iter().map(|it| it["workflow_permanent_id"].clone());
        ids.collect::<Vec<_>>()
    };
    assert_eq!(found("?name=shop").await, [json!(id)]);
    assert_eq!(found("?tags=us").await, [json!(id)]);
    assert_eq!(found("?tags=eu").await, [bank["workflow_permanent_id"].clone()]);
    assert_eq!(found("?tags=eu&tags=us").await, Vec::<Value>::new());
    client.post(&path, definition(json!(null), json!(null))).await.ok();
    assert_eq!(found("?name=shop").await, Vec::<Value>::new());
    client.post(&other, definition(json!("shop"), json!([]))).await.ok();
    client.post(&format!("{other}/delete"), json!({})).await.ok();
    store(json!("shop"), json!([])).await.ok();
    server
        .another_organization()
        .await
        .post("/v1/workflows", definition(json!("shop"), json!([])))
        .await
        .ok();
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions_have_unique_names_and_tags_by_which_they_are_listed() {
    let server = Setup::fakes().start().await;
    let client = &server.client;
    let asked = json!({"name": "desk", "tags": ["shop", "eu", "shop"]});
    let desk = client.session_of(asked.clone()).await;
    assert_eq!((&desk["name"], &desk["tags"]), (&json!("desk"), &json!(["shop", "eu"])));
    client.session_of(json!({"tags": ["eu"]})).await;
    let taken = client.ask_for_session(asked.clone()).await.problem(409, "name_taken");
    assert_eq!(taken["browser_session_id"], desk["browser_session_id"]);
    let wrong = client.ask_for_session(json!({"name": "", "tags": ["a\n"]})).await.wrong_fields();
    assert_eq!(wrong.keys().collect::<Vec<_>>(), ["body.name", "body.tags"]);
    let count = async |query: &str| {
        let listed = client.get(&format!("/v1/browser_sessions{query}")).await.ok();
        listed.as_array().unwrap().len()
    };
    assert_eq!((count("").await, count("?tags=eu").await), (2, 2));
    assert_eq!((count("?tags=eu&tags=shop").await, count("?name=desk").await), (1, 1));
    assert_eq!(count("?name=other").await, 0);
    // Both change while the session lives.
    let of = |session: &Value| format!("/v1/browser_sessions/{}", id_of(session));
    let change = async |session: &Value, change: Value| {
        client.send(Method::PATCH, &of(session), Some(change)).await
    };
    let other = client.session_of(json!({})).await;
    let taken = change(&other, json!({"name": "desk"})).await.problem(409, "name_taken");
    assert_eq!(taken["browser_session_id"], desk["browser_session_id"]);
    let same = change(&desk, json!({"name": "desk", "tags": ["us"]})).await.ok();
    assert_eq!((&same["name"], &same["tags"]), (&json!("desk"), &json!(["us"])));
    assert_eq!(change(&desk, json!({"name": "window"})).await.ok()["tags"], json!(["us"]));
    assert_eq!(change(&other, json!({"name": "desk"})).await.ok()["name"], "desk");
    assert_eq!(change(&other, json!({"name": null})).await.ok()["name"], json!(null));
    let wrong = change(&desk, json!({"name": " a", "tags": [""]})).await.wrong_fields();
    assert_eq!(wrong.keys().collect::<Vec<_>>(), ["body.name", "body.tags"]);
    assert_eq!((count("?name=window&tags=us").await, count("?name=desk").await), (1, 0));
    client.close(&id_of(&other)).await.ok();
    change(&other, json!({"tags": []})).await.problem(409, "session_closed");
    let again = change(&desk, json!({"name": "desk"})).await.ok();
    assert_eq!(again["name"], "desk");
    // The name is free again when its session has ended; another organization has its own.
    server.another_organization().await.session_of(asked.clone()).await;
    client.close(&id_of(&desk)).await.ok();
    client.session_of(asked).await;
    server.stop().await;
}
