//! An agent: a client of the MCP endpoint for tests.

use serde_json::{Value, json};

use super::client::Client;

/// An agent with a key, at the endpoint for all sessions or for one.
#[derive(Debug, Clone)]
pub struct Agent {
    http: reqwest::Client,
    address: String,
    key: Option<String>,
}

/// The result of a tool.
#[derive(Debug, Clone)]
pub struct Result {
    pub body: Value,
}

impl Result {
    /// The text that the model sees.
    pub fn text(&self) -> &str {
        self.body["content"][0]["text"].as_str().unwrap_or_default()
    }

    /// The result of a success.
    #[track_caller]
    pub fn ok(self) -> Self {
        assert_ne!(self.body["isError"], true, "{:#}", self.body);
        self
    }

    /// The data of a failure with this code.
    #[track_caller]
    pub fn fails(self, code: &str) -> Value {
        assert_eq!(self.body["isError"], true, "{:#}", self.body);
        let data = self.body["structuredContent"].clone();
        assert_eq!(data["code"], code, "{:#}", self.body);
        assert!(self.text().starts_with(code), "{:#}", self.body);
        data
    }

    /// A field of the data.
    #[track_caller]
    pub fn field(&self, name: &str) -> String {
        let value = &self.body["structuredContent"][name];
        value.as_str().unwrap_or_else(|| panic!("no {name} in {:#}", self.body)).to_owned()
    }
}

impl Agent {
    /// An agent with the key of a client.
    pub fn of(client: &Client) -> Self {
        Self::at(format!("{}/mcp", client.base), Some(client.key().to_owned()))
    }

    /// An agent at an address, with or without a key.
    pub fn at(address: String, key: Option<String>) -> Self {
        Self { http: reqwest::Client::new(), address, key }
    }

    /// Sends a message, and returns the status and the body.
    pub async fn send(&self, message: &Value) -> (u16, Value) {
        let mut request = self.http.post(&self.address).json(message);
        request = request.header("accept", "application/json, text/event-stream");
        if let Some(key) = &self.key {
            request = request.header("x-api-key", key);
        }
        let answer = request.send().await.unwrap();
        let (status, text) = (answer.status().as_u16(), answer.text().await.unwrap());
        (status, serde_json::from_str(&text).unwrap_or(Value::String(text)))
    }

    /// Sends a request of the protocol, and returns its result.
    pub async fn request(&self, method: &str, params: Value) -> Value {
        let message = json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": params });
        let (status, answer) = self.send(&message).await;
        assert_eq!(status, 200, "{method}: {answer:#}");
        assert!(answer["result"].is_object(), "{method}: {answer:#}");
        answer["result"].clone()
    }

    /// Calls a tool of the server.
    pub async fn call(&self, tool: &str, arguments: Value) -> Result {
        let params = json!({ "name": tool, "arguments": arguments });
        Result { body: self.request("tools/call", params).await }
    }

    /// Calls a tool of a browser that must succeed, and returns its text.
    pub async fn does(&self, browser: &str, tool: &str, mut arguments: Value) -> String {
        arguments["browser"] = browser.into();
        self.call(tool, arguments).await.ok().text().to_owned()
    }

    /// Creates a browser, and returns its handle.
    pub async fn browser(&self) -> String {
        self.call("session_create", json!({})).await.ok().field("browser")
    }

    /// The names of the tools that are offered.
    pub async fn tools(&self) -> Vec<String> {
        let listed = self.request("tools/list", json!({})).await;
        let tools = listed["tools"].as_array().unwrap().iter();
        tools.map(|tool| tool["name"].as_str().unwrap().to_owned()).collect()
    }
}
