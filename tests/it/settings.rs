//! Settings of a session's browser in the API: checked, stored, shown and changed.

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::client::{Answer, id_of};
use crate::support::{Client, Setup, on_both_databases};

async fn patch(client: &Client, id: &str, settings: Value) -> Answer {
    let path = format!("/v1/browser_sessions/{id}");
    client.send(Method::PATCH, &path, Some(json!({ "settings": settings }))).await
}

on_both_databases! {
    async fn settings_are_checked_stored_shown_and_changed(database) {
        let server = Setup::fakes().on(database).start().await;
        let client = &server.client;
        let wrong = json!({ "settings": {
            "locale": "de_DE", "timezone": "Mars/Olympus", "user_agent": "a\nb",
            "geolocation": { "latitude": 91, "longitude": 0 }, "device_scale_factor": 9,
            "mobile": { "width": 1 },
        } });
        let refused = client.post("/v1/browser_sessions", wrong).await.wrong_fields();
        let fields: Vec<&str> = refused.keys().map(String::as_str).collect();
        assert_eq!(fields, [
            "body.settings.device_scale_factor",
            "body.settings.geolocation.latitude",
            "body.settings.locale",
            "body.settings.mobile.width",
            "body.settings.timezone",
            "body.settings.user_agent",
        ]);
        for unknown in [json!({ "zoom": 1 }), json!({ "color_scheme": "sepia" }), json!(["a"])] {
            let asked = json!({ "settings": unknown });
            client.post("/v1/browser_sessions", asked).await.problem(422, "invalid_request");
        }

        let asked = json!({ "locale": "de-de", "timezone": "Asia/Tokyo", "color_scheme": "dark" });
        let session = client.session_of(json!({ "settings": asked })).await;
        let id = id_of(&session);
        let shown = json!({ "locale": "de-DE", "timezone": "Asia/Tokyo", "color_scheme": "dark" });
        assert_eq!(session["settings"], shown);

        // A missing field stays, and null removes one.
        let position = json!({ "latitude": 1.5, "longitude": -2.0, "accuracy": 0.0 });
        let change = json!({ "timezone": "UTC", "color_scheme": null, "geolocation": position });
        let changed = patch(client, &id, change).await.ok();
        let shown = json!({ "locale": "de-DE", "timezone": "UTC", "geolocation": position });
        assert_eq!(changed["settings"], shown);
        assert_eq!(client.look(&id).await["settings"], shown);

        // A running browser keeps the others.
        let fixed = json!({ "locale": null, "device_scale_factor": 2, "mobile": {} });
        let refused = patch(client, &id, fixed).await.wrong_fields();
        assert_eq!(refused.len(), 3, "{refused:?}");
        assert!(refused.values().all(|reason| reason.contains("needs a new session")), "{refused:?}");
        patch(client, &id, json!({})).await.problem(422, "invalid_request");
        // Faults of all fields are found before anything changes.
        let both = json!({ "egress": { "allow": ["a b"] }, "settings": { "locale": "de_DE" } });
        let path = format!("/v1/browser_sessions/{id}");
        let refused = client.send(Method::PATCH, &path, Some(both)).await.wrong_fields();
        assert_eq!(refused.len(), 2, "{refused:?}");
        let second = json!({ "egress": { "allow": ["a.example"] }, "settings": { "locale": "de_DE" } });
        let refused = client.send(Method::PATCH, &path, Some(second)).await.wrong_fields();
        assert!(refused.contains_key("body.settings.locale"), "{refused:?}");
        assert_eq!(client.look(&id).await["settings"], shown);
        client.close(&id).await.ok();
        patch(client, &id, json!({ "timezone": "UTC" })).await.problem(409, "session_closed");
        server.stop().await;
    }
}

on_both_databases! {
    async fn logins_for_sites_are_shown_without_their_passwords(database) {
        let server = Setup::fakes().on(database).start().await;
        let client = &server.client;
        let login = |origin: &str, username: &str, password: &str| {
            json!({ "origin": origin, "username": username, "password": password })
        };
        for (wrong, fields) in [
            (
                json!([
                    login("https://a.example/x", "a:b", "hunter2\n"),
                    login("https://a.example", "ann", ""),
                    login("https://A.example:443", "ann", ""),
                ]),
                &["0.origin", "0.username", "0.password", "2.origin"][..],
            ),
            (json!([{ "origin": "https://a.example", "username": "ann" }]), &["0.password"]),
            (json!([{ "origin": "https://a.example", "password": "hunter2" }]), &["0.username"]),
            (json!(["hunter2"]), &["0"]),
            (json!({ "hunter2": 1 }), &[""]),
        ] {
            let asked = json!({ "settings": { "http_credentials": wrong } });
            let refused = client.post("/v1/browser_sessions", asked).await;
            let text = String::from_utf8_lossy(&refused.bytes).into_owned();
            assert!(!text.contains("hunter2"), "{text}");
            let mut expected: Vec<String> = Vec::new();
            for field in fields {
                let path = format!("body.settings.http_credentials.{field}");
                expected.push(path.trim_end_matches('.').to_owned());
            }
            expected.sort();
            let found: Vec<String> = refused.wrong_fields().into_keys().collect();
            assert_eq!(found, expected);
        }
        let logins = json!([login("HTTPS://A.example/", "ann", "hunter2")]);
        let asked = json!({ "settings": { "http_credentials": logins } });
        let session = client.session_of(asked).await;
        let shown = json!([{ "origin": "https://a.example", "username": "ann" }]);
        assert_eq!(session["settings"]["http_credentials"], shown);
        let id = id_of(&session);
        // Another setting leaves them as they are.
        let changed = patch(client, &id, json!({ "timezone": "UTC" })).await.ok();
        assert_eq!(changed["settings"]["http_credentials"], shown);
        let logins = json!({ "http_credentials": [login("http://b.example:80", "bob", "")] });
        let changed = patch(client, &id, logins).await.ok();
        let shown = json!([{ "origin": "http://b.example", "username": "bob" }]);
        assert_eq!(changed["settings"]["http_credentials"], shown);
        let none = patch(client, &id, json!({ "http_credentials": null })).await.ok();
        assert_eq!(none["settings"].get("http_credentials"), None);
        server.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_client_certificates_are_refused_by_name_before_anything_starts() {
    use base64::Engine as _;
    let base64 = |bytes: &[u8]| base64::engine::general_purpose::STANDARD.encode(bytes);
    let file = base64(include_bytes!("../tls/ann.p12"));
    let (bob, key) = (include_str!("../tls/bob.pem"), include_str!("../tls/bob.key"));
    let other_key = include_str!("../tls/ann.key");
    let of = |origin: &str, key: &str| json!({ "origin": origin, "cert_pem": bob, "key_pem": key });
    let server = Setup::fakes().start().await;
    let client = &server.client;
    let wrong = json!([
        { "origin": "https://a.example", "pfx_base64": file, "passphrase": "hunter2" },
        { "origin": "https://b.example", "pfx_base64": base64(b"hunter2") },
        of("https://c.example", other_key),
        of("https://d.example/path", key),
        of("https://e.example", key),
        of("https://E.example:443", key),
    ]);
    let asked = json!({ "settings": { "client_certificates": wrong, "locale": "de_DE" } });
    let refused = client.post("/v1/browser_sessions", asked).await;
    let text = String::from_utf8_lossy(&refused.bytes).into_owned();
    for secret in ["hunter2", &file[..40], key.lines().nth(1).unwrap()] {
        assert!(!text.contains(secret), "{text}");
    }
    let refused = refused.wrong_fields();
    let expected = [
        ("body.settings.client_certificates.0.passphrase", "does not open the file"),
        ("body.settings.client_certificates.1.pfx_base64", "is no PKCS#12 file"),
        ("body.settings.client_certificates.2.key_pem", "does not belong to the first certificate"),
        ("body.settings.client_certificates.3.origin", "expected an origin"),
        ("body.settings.client_certificates.5.origin", "another certificate has this origin"),
        ("body.settings.locale", "expected a language tag"),
    ];
    assert_eq!(refused.len(), expected.len(), "{refused:?}");
    for (field, reason) in expected {
        assert!(refused[field].contains(reason), "{refused:?}");
    }
    for odd in
        [json!([{ "origin": 1, "key_pem": "hunter2" }]), json!(["hunter2"]), json!("hunter2")]
    {
        let asked = json!({ "settings": { "client_certificates": odd } });
        let refused = client.post("/v1/browser_sessions", asked).await;
        assert_eq!(refused.status, 422);
        assert!(!String::from_utf8_lossy(&refused.bytes).contains("hunter2"));
    }
    assert_eq!(client.list().await.len(), 0);

    // The programs of this server have no namespaces.
    let right = json!({ "client_certificates": [of("https://a.example", key)] });
    let failed = client.ask_for_session(json!({ "settings": right })).await;
    let failed = failed.problem(424, "policies_unavailable");
    assert!(failed.to_string().contains("client_certificates"), "{failed:#}");

    // A running browser keeps what it has.
    let id = client.session_id().await;
    let refused = patch(client, &id, right).await.wrong_fields();
    assert!(refused["body.settings.client_certificates"].contains("needs a new session"));
    let wrong = json!({ "client_certificates": [of("https://a.example", other_key)] });
    let refused = patch(client, &id, wrong).await.wrong_fields();
    assert!(refused.contains_key("body.settings.client_certificates.0.key_pem"), "{refused:?}");
    patch(client, &id, json!({ "client_certificates": null })).await.ok();
    assert!(!server.log().contains("hunter2"));
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn hostile_policies_and_wrong_certificates_are_refused_by_name() {
    let server =
        Setup::fakes().set("isolation.policies_allow", r#"["PrintingEnabled"]"#).start().await;
    let client = &server.client;
    let authority = include_str!("../tls/authority.pem");
    let site = include_str!("../tls/site.pem");
    let asked = json!({ "settings": {
        "ca_certificates": [authority, site, "x"],
        "policies": {
            "PrintingEnabled": false, "TranslateEnabled": false, "ProxySettings": {},
            "RemoteDebuggingAllowed": false, "ExtensionInstallForcelist": ["a"],
        },
    } });
    let refused = client.post("/v1/browser_sessions", asked).await.wrong_fields();
    let expected = [
        ("body.settings.ca_certificates.1", "not the certificate of an authority"),
        ("body.settings.ca_certificates.2", "expected one certificate in PEM"),
        (
            "body.settings.policies.ExtensionInstallForcelist",
            "ExtensionInstallForcelist could undo",
        ),
        ("body.settings.policies.ProxySettings", "ProxySettings could undo the isolation"),
        ("body.settings.policies.RemoteDebuggingAllowed", "RemoteDebuggingAllowed could undo"),
        ("body.settings.policies.TranslateEnabled", "is not among isolation.policies_allow"),
    ];
    assert_eq!(refused.len(), expected.len(), "{refused:?}");
    for (field, reason) in expected {
        assert!(refused[field].contains(reason), "{refused:?}");
    }

    // The programs of this server have no namespaces.
    let asked = json!({ "settings": { "policies": { "PrintingEnabled": false } } });
    let failed = client.ask_for_session(asked).await.problem(424, "policies_unavailable");
    assert!(failed.to_string().contains("isolation.network"), "{failed:#}");

    // A running browser keeps both.
    let id = client.session_id().await;
    let change = json!({ "ca_certificates": [authority], "policies": { "PrintingEnabled": true } });
    let refused = patch(client, &id, change).await.wrong_fields();
    assert_eq!(refused.len(), 2, "{refused:?}");
    assert!(refused.values().all(|reason| reason.contains("needs a new session")), "{refused:?}");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_gets_the_browser_and_the_flags_that_the_operator_allows() {
    let fake = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fakes/chromium");
    let other = std::env::temp_dir().join(format!("greenroom-other-{}", std::process::id()));
    std::os::unix::fs::symlink(fake, &other).unwrap();
    let server = Setup::fakes()
        .set("desktop.executables.OTHER", other.to_str().unwrap())
        .set("isolation.flags_allow", r#"["--mute-audio"]"#)
        .start()
        .await;
    let client = &server.client;
    for (asked, field, reason) in [
        (json!({ "browser_type": "msedge" }), "body.browser_type", "one of chromium, OTHER"),
        (
            json!({ "settings": { "flags": ["--mute-audio", "--start-maximized"] } }),
            "body.settings.flags.1",
            "isolation.flags_allow has --mute-audio",
        ),
        (
            json!({ "settings": { "flags": ["--no-sandbox"] } }),
            "body.settings.flags.0",
            "undo the isolation",
        ),
    ] {
        let refused = client.post("/v1/browser_sessions", asked).await.wrong_fields();
        assert!(refused[field].contains(reason), "{refused:?}");
    }
    let flags = json!({ "flags": ["--mute-audio"] });
    let asked = json!({ "browser_type": "OTHER", "settings": flags });
    let session = client.session_of(asked).await;
    assert_eq!((&session["browser_type"], &session["warning"]), (&json!("OTHER"), &Value::Null));
    assert_eq!(session["settings"]["flags"], flags["flags"]);
    let id = id_of(&session);
    let browser = server.program(&id, other.to_str().unwrap());
    let command = std::fs::read_to_string(format!("/proc/{browser}/cmdline")).unwrap();
    assert!(command.contains("\0--mute-audio\0"), "{command}");
    let refused = patch(client, &id, json!({ "flags": [] })).await.wrong_fields();
    assert!(refused["body.settings.flags"].contains("needs a new session"), "{refused:?}");
    server.stop().await;
    std::fs::remove_file(other).unwrap();
}
