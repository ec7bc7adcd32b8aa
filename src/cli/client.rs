//! A client of the API, for the commands that connect to a server.

use std::time::Duration;

use anyhow::Context as _;
use bytes::Bytes;
use clap::Args;
use reqwest::{Method, StatusCode};
use serde_json::Value;
use url::{Host, Url};

use crate::domain::secret::Secret;

/// The longest time that a request may take. Creating a session waits for its browser.
const PATIENCE: Duration = Duration::from_secs(90);

/// Flags of all commands that connect to a server.
#[derive(Debug, Args)]
pub(super) struct Server {
    /// The address of the server.
    #[arg(
        long,
        value_name = "URL",
        env = "GREENROOM_URL",
        default_value = "http://127.0.0.1:8787",
        global = true
    )]
    url: Url,
    /// An API key of your organization.
    #[arg(
        long,
        value_name = "KEY",
        env = "GREENROOM_API_KEY",
        hide_env_values = true,
        global = true
    )]
    api_key: Option<Secret>,
    /// Print JSON instead of text.
    #[arg(long, global = true)]
    pub(super) json: bool,
}

/// Flags of the commands for operators.
#[derive(Debug, Args)]
pub(super) struct OperatorServer {
    #[command(flatten)]
    pub(super) server: Server,
    /// The operator key: that of the server's settings, or a key whose role is `operator`.
    #[arg(
        long,
        value_name = "KEY",
        env = "GREENROOM_OPERATOR_KEY",
        hide_env_values = true,
        global = true
    )]
    operator_key: Option<Secret>,
}

impl OperatorServer {
    /// Creates a client with the operator key, or with the API key if that is the only one.
    pub(super) fn client(&self) -> anyhow::Result<Client> {
        let client = Client::new(&self.server)?;
        let api_key = self.operator_key.clone().or(client.api_key);
        Ok(Client { api_key, ..client })
    }
}

/// The reason why a request failed.
#[derive(Debug, thiserror::Error)]
pub(super) enum RequestError {
    /// The server did not respond.
    #[error(
        "{url} does not answer; start a server there with `greenroom serve`, or name another with --url or GREENROOM_URL"
    )]
    Unreachable {
        url: String,
        /// The error of the connection.
        source: reqwest::Error,
    },
    /// The server responded with an error.
    #[error("{}", refusal(*status, code, detail))]
    Refused {
        /// The HTTP status of the response.
        status: StatusCode,
        /// The error code, for programs.
        code: String,
        /// The description of the error.
        detail: String,
        /// True if the same request may succeed later.
        retryable: bool,
    },
    /// The response is not one of this API.
    #[error("the answer of {url} is not that of a Greenroom server ({what}); see --url")]
    Strange {
        url: String,
        /// A description of the response.
        what: String,
    },
}

impl RequestError {
    /// True if a retry may succeed.
    pub(super) fn is_passing(&self) -> bool {
        match self {
            Self::Unreachable { .. } => true,
            Self::Refused { retryable, .. } => *retryable,
            Self::Strange { .. } => false,
        }
    }

    /// True if the requested object does not exist.
    pub(super) fn is_not_found(&self) -> bool {
        matches!(self, Self::Refused { status: StatusCode::NOT_FOUND, .. })
    }
}

fn refusal(status: StatusCode, code: &str, detail: &str) -> String {
    let hint = match status {
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
            "; give a key with --api-key or GREENROOM_API_KEY (the server prints one at its \
             first start)"
        }
        _ => "",
    };
    let code = if code.is_empty() { status.as_str() } else { code };
    format!("{detail} ({code}){hint}")
}

/// Sends requests to one server.
#[derive(Debug)]
pub(super) struct Client {
    http: reqwest::Client,
    base: String,
    api_key: Option<Secret>,
}

impl Client {
    /// Creates a client of the server given by the flags.
    pub(super) fn new(server: &Server) -> anyhow::Result<Self> {
        let url = &server.url;
        anyhow::ensure!(
            matches!(url.scheme(), "http" | "https") && url.host().is_some(),
            "--url: `{url}` is not an address that starts with http:// or https://"
        );
        let is_loopback = match url.host() {
            Some(Host::Domain(name)) => name == "localhost",
            Some(Host::Ipv4(address)) => address.is_loopback(),
            Some(Host::Ipv6(address)) => address.is_loopback(),
            None => false,
        };
        let mut http = reqwest::Client::builder().timeout(PATIENCE);
        if is_loopback {
            http = http.no_proxy();
        }
        let http = http.build().context("the HTTP client could not be set up")?;
        let base = url.as_str().trim_end_matches('/').to_owned();
        Ok(Self { http, base, api_key: server.api_key.clone() })
    }

    /// Creates a client of a server on this machine, at an address such as `http://127.0.0.1:8787`.
    pub(super) fn of_own_server(base: String, key: Secret) -> anyhow::Result<Self> {
        let http = reqwest::Client::builder().timeout(PATIENCE).no_proxy().build();
        let http = http.context("the HTTP client could not be set up")?;
        Ok(Self { http, base, api_key: Some(key) })
    }

    /// Returns the key that requests are sent with.
    pub(super) fn key(&self) -> Option<&str> {
        self.api_key.as_ref().map(Secret::expose)
    }

    /// Sends a `DELETE` request.
    pub(super) async fn delete(&self, path: &str) -> Result<Value, RequestError> {
        self.ask(Method::DELETE, path, None).await
    }

    /// Returns the address of a page or an endpoint.
    pub(super) fn link(&self, path: &str) -> String {
        format!("{}{path}", self.base)
    }

    /// Sends a `GET` request.
    pub(super) async fn get(&self, path: &str) -> Result<Value, RequestError> {
        self.ask(Method::GET, path, None).await
    }

    /// Sends a `POST` request with a JSON body.
    pub(super) async fn post(&self, path: &str, body: &Value) -> Result<Value, RequestError> {
        self.ask(Method::POST, path, Some(body)).await
    }

    /// Sends a `PATCH` request with a JSON body.
    pub(super) async fn patch(&self, path: &str, body: &Value) -> Result<Value, RequestError> {
        self.ask(Method::PATCH, path, Some(body)).await
    }

    /// Sends a `GET` request for a file, and returns its size in bytes.
    pub(super) async fn size_of(&self, path: &str) -> Result<usize, RequestError> {
        let (status, bytes) = self.send(Method::GET, path, "*/*", None).await?;
        if status.is_success() {
            return Ok(bytes.len());
        }
        Err(self.refused(status, &self.json(status, &bytes)?))
    }

    /// Sends a message of the Model Context Protocol, and returns its answer; null if there is none.
    pub(super) async fn post_mcp(
        &self,
        path: &str,
        message: &Value,
        headers: &[(&'static str, String)],
    ) -> Result<Value, RequestError> {
        let mut request = self.http.post(self.link(path)).json(message);
        request = request.header("accept", "application/json, text/event-stream");
        if let Some(key) = &self.api_key {
            request = request.header("x-api-key", key.expose());
        }
        for (name, value) in headers {
            request = request.header(*name, value);
        }
        let unreachable = |source: reqwest::Error| RequestError::Unreachable {
            url: self.base.clone(),
            source: source.without_url(),
        };
        let answer = request.send().await.map_err(unreachable)?;
        let status = answer.status();
        let value = self.json(status, &answer.bytes().await.map_err(unreachable)?)?;
        // An error of the protocol has a status beside its own body.
        let is_answer = status.is_success() || value.get("jsonrpc").is_some();
        if is_answer { Ok(value) } else { Err(self.refused(status, &value)) }
    }

    async fn ask(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<Value, RequestError> {
        let (status, bytes) = self.send(method, path, "application/json", body).await?;
        let value = self.json(status, &bytes)?;
        if status.is_success() { Ok(value) } else { Err(self.refused(status, &value)) }
    }

    async fn send(
        &self,
        method: Method,
        path: &str,
        accept: &str,
        body: Option<&Value>,
    ) -> Result<(StatusCode, Bytes), RequestError> {
        let mut request = self.http.request(method, self.link(path));
        request = request.header("accept", accept);
        if let Some(key) = &self.api_key {
            request = request.header("x-api-key", key.expose());
        }
        if let Some(body) = body {
            request = request.json(body);
        }
        let unreachable = |source: reqwest::Error| RequestError::Unreachable {
            url: self.base.clone(),
            source: source.without_url(),
        };
        let answer = request.send().await.map_err(unreachable)?;
        let status = answer.status();
        Ok((status, answer.bytes().await.map_err(unreachable)?))
    }

    fn strange(&self, what: String) -> RequestError {
        RequestError::Strange { url: self.base.clone(), what }
    }

    /// The JSON of an answer; null for an answer without a body.
    fn json(&self, status: StatusCode, bytes: &[u8]) -> Result<Value, RequestError> {
        if bytes.trim_ascii().is_empty() {
            return Ok(Value::Null);
        }
        let value = serde_json::from_slice(bytes);
        value.map_err(|_no_json| self.strange(format!("{status}, and no JSON")))
    }

    /// The error of an answer whose status is not a success.
    fn refused(&self, status: StatusCode, value: &Value) -> RequestError {
        let Some(detail) = value.get("detail") else {
            return self.strange(format!("{status}, and no detail"));
        };
        RequestError::Refused {
            status,
            code: text_of(value, "code").unwrap_or_default().to_owned(),
            detail: detail_for_people(detail),
            retryable: value.get("retryable").and_then(Value::as_bool).unwrap_or(false),
        }
    }
}

/// Returns a member that is a text.
pub(super) fn text_of<'a>(value: &'a Value, name: &str) -> Option<&'a str> {
    value.get(name).and_then(Value::as_str)
}

/// Formats a detail, which is a text or a list of fields, as one phrase.
fn detail_for_people(detail: &Value) -> String {
    let Value::Array(fields) = detail else {
        return detail.as_str().map_or_else(|| detail.to_string(), str::to_owned);
    };
    let phrases = fields.iter().map(|field| {
        let steps = field.get("loc").and_then(Value::as_array).into_iter().flatten();
        let steps = steps.map(|step| step.as_str().map_or_else(|| step.to_string(), str::to_owned));
        let place = steps.collect::<Vec<_>>().join(".");
        format!("{place}: {}", text_of(field, "msg").unwrap_or("refused"))
    });
    phrases.collect::<Vec<_>>().join("; ")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_list_of_faults_is_told_in_one_line() {
        let detail = json!([
            {"loc": ["body", "blocks", 2, "url"], "msg": "Field required"},
            {"loc": ["body", "title"], "msg": "too long"},
        ]);
        assert_eq!(
            detail_for_people(&detail),
            "body.blocks.2.url: Field required; body.title: too long"
        );
        assert_eq!(detail_for_people(&json!("occupied")), "occupied");
    }

    #[test]
    fn a_refused_key_names_the_way_out() {
        let text = refusal(StatusCode::FORBIDDEN, "credentials_invalid", "Invalid credentials");
        assert!(text.contains("--api-key"), "{text}");
    }
}
