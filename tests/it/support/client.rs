//! A client of the API for tests.

use std::collections::BTreeMap;
use std::time::Duration;

use reqwest::Method;
use reqwest::header::HeaderMap;
use serde_json::{Value, json};

use super::eventually;

/// A client of a server, with or without a key.
#[derive(Debug, Clone)]
pub struct Client {
    http: reqwest::Client,
    pub base: String,
    key: Option<String>,
}

/// A response of the server, read to its end.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: HeaderMap,
    pub bytes: Vec<u8>,
}

impl Answer {
    /// The body, which must be JSON.
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.bytes)
            .unwrap_or_else(|_| panic!("{}, and no JSON: {:?}", self.status, self.text()))
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.bytes).into_owned()
    }

    /// The body of a success.
    #[track_caller]
    pub fn ok(self) -> Value {
        assert_eq!(self.status, 200, "{}", self.text());
        self.json()
    }

    /// The body of an error. Asserts its status, its code and the shape of errors.
    #[track_caller]
    pub fn problem(self, status: u16, code: &str) -> Value {
        assert_eq!(self.status, status, "{}", self.text());
        let body = self.json();
        assert_eq!(body["code"], code, "{body:#}");
        assert!(body["retryable"].is_boolean(), "{body:#}");
        let id = body["request_id"].as_str().expect("a request id");
        assert_eq!(self.headers["x-request-id"], id, "{body:#}");
        body
    }

    /// The invalid fields of a 422, with their messages.
    #[track_caller]
    pub fn wrong_fields(self) -> BTreeMap<String, String> {
        let body = self.problem(422, "invalid_request");
        let faults = body["detail"].as_array().expect("a list of fields").clone();
        let place = |fault: &Value| {
            let steps = fault["loc"].as_array().unwrap().iter();
            let steps: Vec<_> =
                steps.map(|step| step.as_str().map_or(step.to_string(), str::to_owned)).collect();
            steps.join(".")
        };
        faults.iter().map(|it| (place(it), it["msg"].as_str().unwrap().to_owned())).collect()
    }
}

/// The response of begin.
#[derive(Debug, Clone)]
pub struct Lease {
    pub generation: i64,
    pub token: String,
}

impl Lease {
    pub fn of(begun: &Value) -> Self {
        Self {
            generation: begun["generation"].as_i64().unwrap(),
            token: begun["lease_token"].as_str().unwrap().to_owned(),
        }
    }

    pub fn proof(&self) -> Value {
        json!({"generation": self.generation, "lease_token": self.token})
    }
}

/// A stream of server-sent events.
#[derive(Debug)]
pub struct Stream {
    answer: reqwest::Response,
    text: String,
}

impl Stream {
    /// The next event: its id, its kind and its data; none when the stream has ended.
    pub async fn next(&mut self) -> Option<(Option<i64>, String, Value)> {
        loop {
            while let Some((event, rest)) = self.text.split_once("\n\n") {
                let event = event.to_owned();
                self.text = rest.to_owned();
                let field = |name: &str| {
                    let prefix = format!("{name}: ");
                    event.lines().find_map(|line| line.strip_prefix(&prefix)).map(str::to_owned)
                };
                if let Some(data) = field("data") {
                    let id = field("id").map(|id| id.parse().unwrap());
                    return Some((id, field("event")?, serde_json::from_str(&data).unwrap()));
                }
            }
            let chunk = tokio::time::timeout(super::PATIENCE, self.answer.chunk()).await;
            let chunk = chunk.expect("no event came").ok()??;
            self.text.push_str(std::str::from_utf8(&chunk).unwrap());
        }
    }
}

impl Client {
    pub fn new(base: &str, key: Option<&str>) -> Self {
        // The server closes a connection after five idle seconds, perhaps just when a request is sent.
        let idle = Duration::from_secs(2);
        let http = reqwest::Client::builder().no_proxy().pool_idle_timeout(idle);
        let http = http.build().unwrap();
        Self { http, base: base.to_owned(), key: key.map(str::to_owned) }
    }

    /// The same server with another key, or none.
    pub fn with_key(&self, key: Option<&str>) -> Self {
        Self { key: key.map(str::to_owned), ..self.clone() }
    }

    pub fn key(&self) -> &str {
        self.key.as_deref().expect("this client has no key")
    }

    /// Sends a request. A text is sent unchanged.
    pub async fn send(&self, method: Method, path: &str, body: Option<Value>) -> Answer {
        self.send_with(method, path, body, &[]).await.unwrap()
    }

    /// Sends a request with headers. Fails if no server answers.
    pub async fn send_with(
        &self,
        method: Method,
        path: &str,
        body: Option<Value>,
        headers: &[(&str, &str)],
    ) -> Result<Answer, reqwest::Error> {
        let mut request = self.http.request(method, format!("{}{path}", self.base));
        if let Some(key) = &self.key {
            request = request.header("x-api-key", key);
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request = match body {
            Some(Value::String(text)) => {
                request.header("content-type", "application/json").body(text)
            }
            Some(body) => request.json(&body),
            None => request,
        };
        let answer = request.send().await?;
        let (status, headers) = (answer.status().as_u16(), answer.headers().clone());
        Ok(Answer { status, headers, bytes: answer.bytes().await?.to_vec() })
    }

    /// Uploads an extension with these files.
    pub async fn upload_extension(&self, files: &[(&str, &str)]) -> Answer {
        let mut zip = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
        for (name, text) in files {
            zip.start_file(*name, zip::write::SimpleFileOptions::default()).unwrap();
            std::io::Write::write_all(&mut zip, text.as_bytes()).unwrap();
        }
        let bytes = zip.finish().unwrap().into_inner();
        let request = self.http.post(format!("{}/v1/extensions", self.base));
        let request = request.header("x-api-key", self.key()).body(bytes);
        let answer = request.send().await.unwrap();
        let (status, headers) = (answer.status().as_u16(), answer.headers().clone());
        Answer { status, headers, bytes: answer.bytes().await.unwrap().to_vec() }
    }

    /// A stream of events after the event `after`.
    pub async fn stream(&self, path: &str, after: Option<i64>) -> Stream {
        let mut request = self.http.get(format!("{}{path}", self.base));
        request = request.header("x-api-key", self.key());
        if let Some(after) = after {
            request = request.header("last-event-id", after.to_string());
        }
        let answer = request.send().await.unwrap();
        assert_eq!(answer.headers()["content-type"], "text/event-stream");
        Stream { answer, text: String::new() }
    }

    /// A page of events.
    pub async fn events(&self, path: &str) -> Value {
        let accept = [("accept", "application/json")];
        self.send_with(Method::GET, path, None, &accept).await.unwrap().ok()
    }

    pub async fn get(&self, path: &str) -> Answer {
        self.send(Method::GET, path, None).await
    }

    pub async fn post(&self, path: &str, body: Value) -> Answer {
        self.send(Method::POST, path, Some(body)).await
    }

    /// Requests a session, and returns the response whatever its status.
    pub async fn ask_for_session(&self, body: Value) -> Answer {
        self.post("/v1/browser_sessions", body).await
    }

    /// Creates a session and waits until it runs.
    pub async fn session(&self) -> Value {
        self.session_of(json!({"width": 640, "height": 480})).await
    }

    /// Creates a session with these options and waits until it runs.
    pub async fn session_of(&self, body: Value) -> Value {
        let session = self.ask_for_session(body).await.ok();
        assert_eq!(session["status"], "running", "{session:#}");
        session
    }

    /// Creates a session, waits until it runs, and returns its id.
    pub async fn session_id(&self) -> String {
        id_of(&self.session().await)
    }

    pub async fn look(&self, id: &str) -> Value {
        self.get(&format!("/v1/browser_sessions/{id}")).await.ok()
    }

    pub async fn list(&self) -> Vec<Value> {
        self.get("/v1/browser_sessions").await.ok().as_array().unwrap().clone()
    }

    pub async fn close(&self, id: &str) -> Answer {
        self.post(&format!("/v1/browser_sessions/{id}/close"), json!({})).await
    }

    /// Begins as `who`, for `ttl` seconds.
    pub async fn begin(&self, id: &str, who: &str, ttl: u64) -> Answer {
        let body = json!({"runnable_id": who, "ttl_seconds": ttl});
        self.post(&format!("/v1/browser_sessions/{id}/begin"), body).await
    }

    pub async fn heartbeat(&self, id: &str, lease: &Lease) -> Answer {
        self.post(&format!("/v1/browser_sessions/{id}/heartbeat"), lease.proof()).await
    }

    pub async fn release(&self, id: &str, lease: &Lease) -> Answer {
        self.post(&format!("/v1/browser_sessions/{id}/release"), lease.proof()).await
    }

    /// Waits until the session has this status, and returns it.
    pub async fn once(&self, id: &str, status: &str) -> Value {
        eventually(&format!("{id} is {status}"), async || {
            Some(self.look(id).await).filter(|session| session["status"] == status)
        })
        .await
    }

    /// Stores a workflow of these blocks, and returns its permanent id.
    pub async fn workflow(&self, blocks: Value) -> String {
        let definition = json!({"title": "t", "workflow_definition": {"blocks": blocks}});
        let stored = self.post("/v1/workflows", json!({"json_definition": definition})).await.ok();
        stored["workflow_permanent_id"].as_str().unwrap().to_owned()
    }

    /// Starts a run of a workflow, with these further members of the request, and returns its id.
    pub async fn run(&self, workflow: &str, mut request: Value) -> String {
        request["workflow_id"] = workflow.into();
        let run = self.post("/v1/run/workflows", request).await.ok();
        run["run_id"].as_str().unwrap().to_owned()
    }

    pub async fn run_of(&self, id: &str) -> Value {
        self.get(&format!("/v1/runs/{id}")).await.ok()
    }

    /// Waits until the run has this status, and returns it.
    pub async fn run_once(&self, id: &str, status: &str) -> Value {
        eventually(&format!("{id} is {status}"), async || {
            Some(self.run_of(id).await).filter(|run| run["status"] == status)
        })
        .await
    }

    /// The base address of its WebSockets.
    pub fn socket_url(&self, path: &str) -> String {
        format!("{}{path}", self.base.replacen("http", "ws", 1))
    }
}

/// The id of a session.
#[track_caller]
pub fn id_of(session: &Value) -> String {
    session["browser_session_id"].as_str().expect("a session").to_owned()
}
