//! Each route and each socket with each kind of caller, against a literal table.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::client::{Answer, Client};
use crate::support::{Setup, TestServer, eventually};

const ROUTES: &str = include_str!("matrix/routes.txt");
const SOCKETS: &str = include_str!("matrix/sockets.txt");

/// A row of a table: a request, and the outcome for each kind of caller.
struct Row {
    method: Method,
    path: &'static str,
    body: &'static str,
    cells: Vec<&'static str>,
}

fn rows(table: &'static str) -> Vec<Row> {
    let lines = table.lines().filter(|line| !line.starts_with('#') && !line.is_empty());
    lines
        .map(|line| {
            let parts: Vec<&str> = line.split('|').map(str::trim).collect();
            let [asked, body, cells] = parts[..] else { panic!("no row: {line}") };
            let (method, path) = asked.split_once(' ').unwrap();
            let cells: Vec<_> = cells.split(' ').collect();
            assert_eq!(cells.len(), 8, "{line}");
            Row { method: method.parse().unwrap(), path, body, cells }
        })
        .collect()
}

/// A caller, with the form of its credentials.
struct Caller {
    /// The column of the table.
    column: usize,
    name: &'static str,
    client: Client,
    /// A ticket, which comes in the query.
    ticket: Option<String>,
}

struct World {
    server: TestServer,
    ids: Vec<(&'static str, String)>,
    callers: Vec<Caller>,
}

fn text(value: &Value, name: &str) -> String {
    value[name].as_str().unwrap_or_else(|| panic!("no {name}: {value}")).to_owned()
}

impl World {
    async fn new() -> Self {
        let setup = Setup::fakes().set("sessions.max_sessions", "8");
        let server = setup.set("isolation.devtools_ports", "true").start().await;
        let own = server.client.clone();
        let key = async |body: Value| own.post("/v1/api_keys", body).await.ok();
        let session = own.session_id().await;
        let blocks = json!([{ "block_type": "wait", "label": "w", "wait_sec": 600 }]);
        let workflow = own.workflow(blocks).await;
        let asked = json!({ "workflow_id": workflow });
        let run = text(&own.post("/v1/run/workflows", asked).await.ok(), "run_id");
        let webhook = json!({ "url": "https://a.example/", "kinds": ["gap"] });
        let webhook = text(&own.post("/v1/webhooks", webhook).await.ok(), "webhook_id");
        let viewers = format!("/v1/browser_sessions/{session}/viewers");
        let ticket_of = async |role: &str, ttl: u64| {
            let body = json!({ "role": role, "ttl_seconds": ttl });
            own.post(&viewers, body).await.ok()
        };
        let ticket = async |ttl: u64| ticket_of("watch", ttl).await;
        let (viewer, watching) = (ticket(600).await, text(&ticket(600).await, "ticket"));
        let driving = text(&ticket_of("drive", 600).await, "ticket");
        let spare = key(json!({ "label": "spare" })).await;
        let profile = own.post("/v1/browser_profiles", json!({ "name": "own" })).await.ok();
        let ids = vec![
            ("browser_session_id", session.clone()),
            ("workflow_permanent_id", workflow),
            ("run_id", run),
            ("webhook_id", webhook),
            ("viewer_id", text(&viewer, "viewer_id")),
            ("api_key_id", text(&spare, "api_key_id")),
            ("browser_profile_id", text(&profile, "browser_profile_id")),
            ("version", "none".to_owned()),
            ("organization_id", text(&spare, "organization_id")),
            ("artifact_id", "a_1".to_owned()),
            ("extension_id", "ext_1".to_owned()),
            ("recording_id", "a_1".to_owned()),
            ("message_id", "wm_1".to_owned()),
            // With zeros, so that no other id has it as a part.
            ("message_number", "0000000001".to_owned()),
            ("debug_session_id", "ds_1".to_owned()),
            ("target_id", "no-page".to_owned()),
            ("folder", "uploads".to_owned()),
            ("name", "a.txt".to_owned()),
        ];

        let with = |key: &Value| own.with_key(key["key"].as_str());
        let expired = key(json!({ "label": "e", "expires_in_seconds": 1 })).await;
        let revoked = key(json!({ "label": "r" })).await;
        let path = format!("/v1/api_keys/{}", text(&revoked, "api_key_id"));
        own.send(Method::DELETE, &path, None).await.ok();
        let (lapsed, taken) = (ticket(1).await, ticket(600).await);
        let path = format!("{viewers}/{}", text(&taken, "viewer_id"));
        own.send(Method::DELETE, &path, None).await;
        let lapsed = text(&lapsed, "ticket");
        let look = format!("/v1/browser_sessions/{session}?ticket={lapsed}");
        let stranger = server.stranger();
        eventually("the key and the ticket have expired", async || {
            let key = with(&expired).get("/v1/runs").await.status;
            (key == 403 && stranger.get(&look).await.status == 403).then_some(())
        })
        .await;
        let foreign = server.another_organization().await;
        let (watch, drive) = (
            key(json!({ "label": "w", "role": "watch" })).await,
            key(json!({ "label": "d", "role": "drive" })).await,
        );
        let caller = |column, name, client: &Client| Caller {
            column,
            name,
            client: client.clone(),
            ticket: None,
        };
        let with_ticket = |column, name, ticket: String| Caller {
            ticket: Some(ticket),
            ..caller(column, name, &stranger)
        };
        // The organization's own requests come last, because some of them end the resources of the others.
        let callers = vec![
            caller(1, "foreign", &foreign),
            caller(2, "watch", &with(&watch)),
            with_ticket(4, "ticket", watching),
            caller(7, "no key", &stranger),
            caller(7, "a wrong key", &server.client.with_key(Some("a-wrong-key-of-the-tests"))),
            caller(7, "a revoked key", &with(&revoked)),
            caller(7, "an expired key", &with(&expired)),
            with_ticket(7, "an expired ticket", lapsed),
            with_ticket(7, "a revoked ticket", text(&taken, "ticket")),
            with_ticket(5, "a ticket to drive", driving),
            caller(3, "drive", &with(&drive)),
            caller(0, "own", &own),
            caller(6, "operator", &server.operator()),
        ];
        Self { server, ids, callers }
    }

    fn filled(&self, text: &str) -> String {
        let fill =
            |text: String, (name, id): &(&str, String)| text.replace(&format!("{{{name}}}"), id);
        self.ids.iter().fold(text.to_owned(), fill)
    }
}

impl Caller {
    async fn ask(&self, method: &Method, path: &str, body: Option<Value>) -> Answer {
        let ticket = self.ticket.as_ref().map(|ticket| format!("?ticket={ticket}"));
        let path = format!("{path}{}", ticket.unwrap_or_default());
        let accept = [("accept", "application/json")];
        self.client.send_with(method.clone(), &path, body, &accept).await.unwrap()
    }
}

/// The cell of the table for a response.
fn cell(answer: &Answer) -> &'static str {
    let code = |answer: &Answer| answer.json()["code"].as_str().unwrap_or_default().to_owned();
    match answer.status {
        // An admitted caller may have the lease of another.
        403 if code(answer) != "lease_token_wrong" => "403",
        404 if code(answer).ends_with("_unknown") => "404",
        _ => "in",
    }
}

/// The path and the body with unknown ids.
fn unknown(text: &str) -> String {
    let kinds = [
        ("browser_session_id", "pbs_1"),
        ("workflow_permanent_id", "wpid_1"),
        ("run_id", "wr_1"),
        ("webhook_id", "wh_1"),
        ("viewer_id", "vw_1"),
        ("api_key_id", "oat_1"),
        ("browser_profile_id", "bp_1"),
        ("organization_id", "o_1"),
        ("artifact_id", "a_1"),
        ("extension_id", "ext_1"),
        ("recording_id", "a_1"),
        ("message_id", "wm_1"),
        ("message_number", "900000002"),
        ("debug_session_id", "ds_1"),
        ("target_id", "no-page"),
        ("folder", "uploads"),
        ("name", "a.txt"),
    ];
    kinds.iter().fold(text.to_owned(), |text, (name, id)| text.replace(&format!("{{{name}}}"), id))
}

#[tokio::test(flavor = "multi_thread")]
async fn every_route_lets_in_whom_the_table_says_and_nobody_else() {
    let world = World::new().await;
    let table = rows(ROUTES);
    let body = |text: &str| (!text.is_empty()).then(|| serde_json::from_str(text).unwrap());
    let (mut wrong, mut cells) = (String::new(), 0);
    for caller in &world.callers {
        for row in &table {
            let path = world.filled(row.path);
            let answer = caller.ask(&row.method, &path, body(&world.filled(row.body))).await;
            cells += 1;
            let (is, expected) = (cell(&answer), row.cells[caller.column]);
            if is != expected {
                let shown = answer.text();
                let shown = shown.get(..200).unwrap_or(&shown);
                let _ = writeln!(
                    wrong,
                    "{}: {} {} is {is} and not {expected}: {} {shown}",
                    caller.name, row.method, row.path, answer.status
                );
            }
            // The same route below the other prefix of the compatible API, if it exists, refuses the same callers.
            if expected != "in" && row.path.starts_with("/v1/") {
                let path = format!("/api{path}");
                let twin = caller.ask(&row.method, &path, body(&world.filled(row.body))).await;
                cells += 1;
                // `/api/v1/browser_sessions/history` matches an id there that cannot exist.
                let is_no_id = twin.status == 404 && !row.path.contains('{');
                let is_absent =
                    twin.status == 405 || is_no_id || twin.json()["code"] == "route_unknown";
                if !is_absent && cell(&twin) != expected {
                    let _ = writeln!(
                        wrong,
                        "{}: {} /api{} is {} and not {expected}",
                        caller.name, row.method, row.path, twin.status
                    );
                }
            }
            // The responses for a foreign and for an unknown id differ by the id only.
            if caller.name == "foreign" && is == "404" {
                let path = unknown(row.path);
                let other = caller.ask(&row.method, &path, body(&unknown(row.body))).await;
                cells += 1;
                let bare = |answer: &Answer, text: &dyn Fn(&str) -> String| {
                    let mut body = answer.json();
                    body["request_id"] = Value::Null;
                    let named = world.ids.iter().map(|(name, _)| format!("{{{name}}}"));
                    named.fold(body.to_string(), |body, name| body.replace(&text(&name), "ID"))
                };
                let ours = bare(&answer, &|name| world.filled(name));
                let theirs = bare(&other, &unknown);
                if (answer.status, &ours) != (other.status, &theirs) {
                    let _ = writeln!(wrong, "{}: {ours} and {theirs} differ", row.path);
                }
            }
        }
    }
    println!("{cells} cells");
    assert!(wrong.is_empty(), "of {cells} cells:\n{wrong}");

    let described = world.server.client.get("/openapi.json").await.ok();
    let paths = described["paths"].as_object().unwrap().iter();
    let described: BTreeSet<String> = paths
        .flat_map(|(path, item)| {
            let methods = item.as_object().unwrap().keys();
            methods.map(move |method| format!("{} {path}", method.to_uppercase()))
        })
        .collect();
    let known: BTreeSet<String> =
        table.iter().map(|row| format!("{} {}", row.method, row.path)).collect();
    let missing: Vec<_> = described.difference(&known).collect();
    assert!(missing.is_empty(), "no rows: {missing:#?}");
    world.server.stop().await;
}

/// The cell of the table for a socket: `in` if a message arrives, or the code with
/// which it is closed or refused.
async fn socket_cell(url: &str) -> String {
    use futures_util::{SinkExt as _, StreamExt as _};
    use tokio_tungstenite::tungstenite::{Error, Message};
    let mut socket = match tokio_tungstenite::connect_async(url).await {
        Ok((socket, _)) => socket,
        Err(Error::Http(refused)) => return refused.status().as_u16().to_string(),
        Err(cause) => panic!("{url}: {cause}"),
    };
    // DevTools and the socket for input only answer; the other sockets ignore this message.
    let asked = json!({ "id": 1, "method": "Browser.getVersion", "kind": "ping", "type": "ping" });
    let _ = socket.send(Message::text(asked.to_string())).await; // It may be closed already.
    let said = tokio::time::timeout(crate::support::PATIENCE, socket.next()).await;
    match said.unwrap_or_else(|_| panic!("{url} is silent")) {
        Some(Ok(Message::Close(frame))) => u16::from(frame.expect("no code").code).to_string(),
        Some(Ok(Message::Text(text))) if text.contains("Invalid credential") => {
            "refused".to_owned()
        }
        Some(Ok(Message::Text(text))) if text.contains("not_found") => "404".to_owned(),
        Some(Ok(_)) => "in".to_owned(),
        Some(Err(cause)) => panic!("{url}: {cause}"),
        None => panic!("{url} ends without a code"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_socket_lets_in_whom_the_table_says_and_nobody_else() {
    let world = World::new().await;
    let mut wrong = String::new();
    for caller in &world.callers {
        for row in rows(SOCKETS) {
            let who = match &caller.ticket {
                Some(ticket) => format!("ticket={ticket}&client_id=page"),
                None if caller.name == "no key" => "client_id=page".to_owned(),
                None => format!("apikey={}&client_id=page", caller.client.key()),
            };
            let path = world.filled(row.path);
            let joint = if path.contains('?') { '&' } else { '?' };
            let url = world.server.client.socket_url(&format!("{path}{joint}{who}"));
            let (is, expected) = (socket_cell(&url).await, row.cells[caller.column]);
            if is != expected {
                let _ = writeln!(wrong, "{}: {} is {is} and not {expected}", caller.name, row.path);
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
    world.server.stop().await;
}
