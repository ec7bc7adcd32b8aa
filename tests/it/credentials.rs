//! Authentication, and the visibility of sessions to other organizations.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use greenroom::actors::secrets::Secrets;
use greenroom::service::keys::hash_of;
use reqwest::Method;
use serde_json::{Value, json};

use crate::support::channel::Channel;
use crate::support::client::Client;
use crate::support::{PATIENCE, Setup, TestServer, eventually, on_both_databases};

const ROUTES: &[(&str, &str)] = &[
    ("GET", "/v1/browser_sessions"),
    ("POST", "/v1/browser_sessions"),
    ("GET", "/v1/browser_sessions/history"),
    ("GET", "/v1/browser_sessions/pbs_1"),
    ("POST", "/v1/browser_sessions/pbs_1/close"),
    ("POST", "/v1/browser_sessions/pbs_1/begin"),
    ("POST", "/v1/browser_sessions/pbs_1/heartbeat"),
    ("POST", "/v1/browser_sessions/pbs_1/release"),
    ("POST", "/v1/browser_sessions/pbs_1/sanitize"),
    ("GET", "/v1/browser_sessions/pbs_1/screenshot"),
    ("GET", "/v1/browser_sessions/pbs_1/cdp/json/version"),
    ("GET", "/v1/browser_sessions/pbs_1/cdp/json"),
    ("GET", "/v1/browser_sessions/pbs_1/cdp/json/list"),
    ("GET", "/v1/browser_sessions/pbs_1/cdp/json/protocol"),
    ("PUT", "/v1/browser_sessions/pbs_1/cdp/json/new"),
    ("GET", "/v1/browser_sessions/pbs_1/cdp/json/close/0"),
    ("GET", "/v1/browser_sessions/pbs_1/cdp/json/activate/0"),
    ("POST", "/v1/browser_sessions/pbs_1/cdp/port"),
    ("GET", "/v1/connect"),
    ("GET", "/v1/browser_sessions/pbs_1/explain"),
    ("POST", "/mcp"),
    ("GET", "/mcp"),
    ("POST", "/v1/browser_sessions/pbs_1/mcp"),
    ("GET", "/v1/runs/wr_1/explain"),
    ("GET", "/metrics"),
    ("GET", "/admin/messages"),
    ("GET", "/admin/messages/stream"),
    ("GET", "/admin/messages/1"),
    ("GET", "/admin/audit"),
    ("GET", "/admin/config"),
    ("GET", "/admin/nodes"),
    ("GET", "/admin/pressure"),
    ("GET", "/admin/actors"),
    ("GET", "/admin/leaks"),
    ("POST", "/admin/leaks/fix"),
    ("GET", "/admin/pool"),
    ("PUT", "/admin/pool/default"),
    ("DELETE", "/admin/pool/default"),
    ("GET", "/admin/drain"),
    ("POST", "/admin/drain"),
    ("DELETE", "/admin/drain"),
];

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_or_wrong_key_is_refused_everywhere_and_nowhere_said_to_be_close() {
    let server = Setup::fakes().start().await;
    for key in [None, Some("wrong"), Some("key-of-the-test"), Some("")] {
        let client = server.client.with_key(key);
        for (method, path) in ROUTES {
            let method = Method::from_bytes(method.as_bytes()).unwrap();
            let body = client.send(method, path, None).await.problem(403, "credentials_invalid");
            assert_eq!(body["detail"], "Invalid credentials", "{path} with {key:?}");
        }
    }
    // The two kinds of keys are not interchangeable.
    server.client.get("/admin/actors").await.problem(403, "key_insufficient");
    server.operator().get("/v1/browser_sessions").await.problem(403, "credentials_invalid");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_in_the_query_is_as_good_as_one_in_the_header() {
    let server = Setup::fakes().start().await;
    let path = format!("/v1/browser_sessions?apikey={}", server.client.key());
    assert_eq!(server.stranger().get(&path).await.ok(), json!([]));
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whether_the_server_lives_and_takes_work_is_told_to_everybody() {
    let server = Setup::fakes().start().await;
    assert_eq!(server.stranger().get("/healthz").await.ok(), json!({"status": "ok"}));
    assert_eq!(server.stranger().get("/readyz").await.ok(), json!({"status": "ready"}));
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_is_not_there_is_not_found_whatever_its_id_looks_like() {
    let server = Setup::fakes().start().await;
    for id in ["pbs_1", "pbs_99999999999999999999999", "wr_1", "x", "..%2f"] {
        let path = format!("/v1/browser_sessions/{id}");
        server.client.get(&path).await.problem(404, "session_unknown");
    }
    server.client.get("/v1/nothing").await.problem(404, "route_unknown");
    server.stop().await;
}

on_both_databases! {
    async fn another_organizations_session_does_not_exist(database) {
        let server = Setup::fakes().on(database).start().await;
        let id = server.client.session_id().await;
        let other = server.another_organization().await;

        let path = format!("/v1/browser_sessions/{id}");
        let foreign = other.get(&path).await.problem(404, "session_unknown");
        let unknown = other.get("/v1/browser_sessions/pbs_1").await.problem(404, "session_unknown");
        let shape = |detail: &serde_json::Value, id: &str| {
            detail.as_str().unwrap().replace(id, "ID")
        };
        assert_eq!(shape(&foreign["detail"], &id), shape(&unknown["detail"], "pbs_1"));

        other.begin(&id, "eve", 30).await.problem(404, "session_unknown");
        other.close(&id).await.problem(404, "session_unknown");
        other.get(&format!("{path}/screenshot")).await.problem(404, "session_unknown");
        other.get(&format!("{path}/cdp/json/version")).await.problem(404, "session_unknown");
        assert_eq!(other.list().await, Vec::<serde_json::Value>::new());
        assert_eq!(other.get("/v1/browser_sessions/history").await.ok(), json!([]));
        assert_eq!(server.client.look(&id).await["status"], "running");

        server.client.close(&id).await.ok();
        other.get(&path).await.problem(404, "session_unknown");
        server.stop().await;
    }
}

/// Opens a socket, and returns the code with which it is closed.
async fn open(url: String) -> impl Future<Output = u16> {
    use futures_util::StreamExt as _;
    use tokio_tungstenite::tungstenite::Message;
    let (mut socket, _) = tokio_tungstenite::connect_async(url).await.unwrap();
    let closed = async move {
        loop {
            if let Message::Close(frame) = socket.next().await.expect("no close").unwrap() {
                return frame.expect("no code").code.into();
            }
        }
    };
    async move { tokio::time::timeout(PATIENCE, closed).await.expect("it stays open") }
}

on_both_databases! {
    async fn a_revoked_key_ends_what_was_opened_with_it_and_with_its_tokens(database) {
        let server = Setup::fakes().on(database).start().await;
        let client = &server.client;
        let id = client.session_id().await;
        let begun = client.begin(&id, "ann", 600).await.ok();
        let token = client.post("/v1/ui-session", json!({})).await.ok()["token"].clone();
        let token = token.as_str().unwrap().to_owned();
        let page = client.with_key(Some(&token));
        let foreign = server.another_organization().await;
        let theirs = foreign.session_id().await;
        let mut untouched = Channel::of(&foreign, &theirs, "other").await;

        let stream = |client: &Client, what: &str| {
            let who = format!("apikey={}&client_id=page", client.key());
            client.socket_url(&format!("/v1/stream/{what}/{id}?{who}"))
        };
        let mut closed = Vec::new();
        for socket in [
            stream(client, "messages/browser_session"),
            stream(&page, "messages/browser_session"),
            stream(client, "vnc/browser_session"),
        ] {
            closed.push(open(socket).await);
        }
        // Events are stored after what they report, and a late one would answer the poll below.
        eventually("the events of the viewers are stored", async || {
            let page = client.events("/v1/events?after=0").await;
            let events = page["events"].as_array().unwrap();
            let joined = events.iter().filter(|event| event["kind"] == "viewer.joined");
            (joined.count() == closed.len()).then_some(())
        })
        .await;
        let ended = async {
            let mut events = client.stream("/v1/events", Some(0)).await;
            while events.next().await.is_some() {}
        };
        let waits = async {
            let session = format!("/v1/browser_sessions/{id}?after=1000000");
            let events = "/v1/events?after=latest&wait_seconds=25";
            let accept = [("accept", "application/json")];
            let begin = format!("/v1/browser_sessions/{id}/begin");
            let asked = json!({"runnable_id": "bob", "wait_seconds": 600});
            let (session, events, begin) = tokio::join!(
                client.get(&session),
                client.send_with(reqwest::Method::GET, events, None, &accept),
                client.post(&begin, asked),
            );
            session.problem(403, "credentials_invalid");
            events.unwrap().problem(403, "credentials_invalid");
            begin.problem(403, "credentials_invalid");
        };
        let revoked = async {
            server.revoke_key(client.key()).await;
            tokio::time::Instant::now()
        };
        let closed = futures_util::future::join_all(closed);
        let (ended, waits, revoked, closed) = tokio::join!(ended, waits, revoked, closed);
        let ((), (), since, codes) = (ended, waits, revoked, closed);
        assert!(since.elapsed() < Duration::from_secs(6), "after {:?}", since.elapsed());
        assert_eq!(codes, [1008; 3]);
        client.get("/v1/browser_sessions").await.problem(403, "credentials_invalid");
        page.get("/v1/browser_sessions").await.problem(403, "credentials_invalid");
        // Other keys are unaffected.
        untouched.say(json!({"kind": "ping"})).await;
        untouched.hears(|said| said["kind"] == "pong").await;
        // The lease that was begun with the key ends with it.
        let lease = begun["browser_address"].as_str().unwrap().split_once("/v1/").unwrap().1;
        let (path, query) = lease.split_once('?').unwrap();
        let discovery = format!("/v1/{path}/json/version?{query}");
        server.stranger().get(&discovery).await.problem(403, "credentials_invalid");
        server.stop().await;
    }
}

/// The secret of a server, read from its file by an attacker.
fn secrets_of(server: &TestServer) -> [u8; 32] {
    std::fs::read(server.directory.join("d/secret")).unwrap().try_into().unwrap()
}

/// The claims of a page's token.
async fn claims_of(client: &Client) -> Value {
    let token = client.post("/v1/ui-session", json!({})).await.ok()["token"].clone();
    let (claims, _signature) = token.as_str().unwrap()[3..].split_once('.').unwrap();
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(claims).unwrap()).unwrap()
}

/// A token with these claims, signed by `sign`.
fn token_of(claims: &Value, sign: impl Fn(&str) -> String) -> String {
    let claims = URL_SAFE_NO_PAD.encode(claims.to_string());
    let signature = sign(&format!("ui-session {claims}"));
    format!("ui_{claims}.{signature}")
}

/// 31 years, in seconds.
const FAR: i64 = 31 * 365 * 24 * 60 * 60;

#[tokio::test(flavor = "multi_thread")]
async fn the_servers_secret_alone_makes_no_pages_token_and_no_token_outlives_the_longest() {
    let server = Setup::fakes().start().await;
    let other = server.another_organization().await;
    let (secret, claims) = (secrets_of(&server), claims_of(&other).await);
    let tries = async |token: &str| {
        let page = server.client.with_key(Some(token));
        page.get("/v1/browser_sessions").await
    };
    // Signed with the secret and further knowledge of a thief: nothing, the key's id, the organization's id.
    let signers = Secrets::new(secret);
    for known in ["", claims["key"].as_str().unwrap(), claims["organization"].as_str().unwrap()] {
        let token = token_of(&claims, |what| signers.for_key(known).sign(what));
        tries(&token).await.problem(403, "credentials_invalid");
    }
    let plain = |what: &str| {
        blake3::keyed_hash(&secret, format!("signature\0{what}").as_bytes()).to_hex().to_string()
    };
    tries(&token_of(&claims, plain)).await.problem(403, "credentials_invalid");
    // The signature of another key is not valid for this key.
    let own = hash_of(server.client.key());
    let foreign = token_of(&claims, |what| signers.for_key(&own).sign(what));
    tries(&foreign).await.problem(403, "credentials_invalid");

    // A long lifetime is refused even with a valid signature.
    let hash = hash_of(other.key());
    let right = token_of(&claims, |what| signers.for_key(&hash).sign(what));
    assert_eq!(tries(&right).await.ok(), json!([]));
    for further in [2 * 60 * 60, FAR] {
        let mut far = claims.clone();
        far["expires_at"] = json!(claims["expires_at"].as_i64().unwrap() + further);
        let token = token_of(&far, |what| signers.for_key(&hash).sign(what));
        tries(&token).await.problem(403, "credentials_invalid");
    }
    server.revoke_key(other.key()).await;
    tries(&right).await.problem(403, "credentials_invalid");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_link_is_of_the_key_that_it_was_made_with_and_ends_with_it() {
    let server = Setup::fakes().set("http.signed_link_seconds", "600").start().await;
    let other = server.another_organization().await;
    let (secret, claims) = (secrets_of(&server), claims_of(&other).await);
    let of = |name: &str| claims[name].as_str().unwrap().to_owned();
    let (organization, key) = (of("organization"), of("key"));
    let signers = Secrets::new(secret);
    let link = |hash: &str, expires: i64| {
        let what = format!("artifact a_1 of {organization} by {key} until {expires}");
        let signature = signers.for_key(hash).sign(&what);
        format!(
            "/v1/artifacts/a_1/content?organization={organization}&key={key}&expires={expires}\
             &signature={signature}"
        )
    };
    let stranger = server.stranger();
    let now = chrono::Utc::now().timestamp();
    let hash = hash_of(other.key());
    // A valid link reaches the artifact, which does not exist.
    let right = link(&hash, now + 500);
    stranger.get(&right).await.problem(404, "artifact_unknown");
    for (wrong, why) in [
        (link("", now + 500), "not signed"),
        (link(&key, now + 500), "not signed"),
        (link(&hash_of(server.client.key()), now + 500), "not signed"),
        (right.replace("a_1", "a_2"), "not signed"),
        (link(&hash, now - 1), "expired"),
        (link(&hash, now + 700), "http.signed_link_seconds"),
        (link(&hash, now + FAR), "http.signed_link_seconds"),
        (right.replace("&key=", "&other="), "not complete"),
    ] {
        let refused = stranger.get(&wrong).await.problem(403, "signature_invalid");
        assert!(refused["detail"].as_str().unwrap().contains(why), "{wrong}: {refused}");
    }
    server.revoke_key(other.key()).await;
    let refused = stranger.get(&right).await.problem(403, "signature_invalid");
    assert!(refused["detail"].as_str().unwrap().contains("revoked"), "{refused}");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lease_that_is_made_again_is_of_the_key_that_began() {
    let server = Setup::fakes().start().await;
    let client = &server.client;
    let id = client.session_id().await;
    let begin = async |client: &Client| {
        let path = format!("/v1/browser_sessions/{id}/begin");
        let body = json!({ "runnable_id": "ann", "ttl_seconds": 600 });
        let headers = [("idempotency-key", "k")];
        client.send_with(Method::POST, &path, Some(body), &headers).await.unwrap()
    };
    let first = begin(client).await.ok();
    let token = client.post("/v1/ui-session", json!({})).await.ok()["token"].clone();
    for again in [client, &client.with_key(token.as_str())] {
        assert_eq!(begin(again).await.ok()["lease_token"], first["lease_token"]);
    }
    // The secret alone is not enough for the signature.
    let what = format!("lease\0{id}\0ann\0k");
    let plain = blake3::keyed_hash(&secrets_of(&server), what.as_bytes());
    let plain = format!("lt_{}", URL_SAFE_NO_PAD.encode(plain.as_bytes()));
    assert_ne!(first["lease_token"], plain);
    // Another key of the organization is not enough either: the session is occupied.
    let second = server.another_key().await;
    begin(&second).await.problem(409, "session_occupied");
    server.stop().await;
}
