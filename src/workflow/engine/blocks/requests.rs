//! The `http_request` block, and other fetches from the web.

use std::error::Error;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use indexmap::IndexMap;
use reqwest::header::{
    ACCEPT, ACCEPT_LANGUAGE, CONTENT_LANGUAGE, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue,
    LOCATION, USER_AGENT,
};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use url::Url;

use crate::domain::file_name::file_name;
use crate::domain::ids::BlockRunId;
use crate::domain::run::BlockStatus;
use crate::workflow::definition::block::{HttpRequest, is_framing};
use crate::workflow::encoding;
use crate::workflow::engine::Engine;
use crate::workflow::engine::ending::{Broken, End, Work};
use crate::workflow::guard::{Guard, Refused};

/// The maximum number of redirects of a request.
const MOST_HOPS: usize = 10;

/// A response, read to its end.
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) headers: IndexMap<String, String>,
    pub(super) body: Bytes,
    url: Url,
}

struct Request {
    method: Method,
    url: Url,
    headers: HeaderMap,
    body: Option<Vec<u8>>,
    follow: bool,
    timeout: Duration,
}

/// The reason why a request has no response.
enum NoAnswer {
    Refused(Refused),
    Late,
    TooLong,
    Failed(String),
}

impl NoAnswer {
    fn of(error: &reqwest::Error) -> Self {
        if error.is_timeout() {
            return Self::Late;
        }
        let mut text = error.to_string();
        let mut cause: Option<&dyn Error> = error.source();
        while let Some(inner) = cause {
            if let Some(refused) = inner.downcast_ref::<Refused>() {
                return Self::Refused(refused.clone());
            }
            text = inner.to_string();
            cause = inner.source();
        }
        Self::Failed(text)
    }

    fn end(self, timeout: Duration) -> End {
        match self {
            Self::Refused(refused) => {
                let way_out = match &refused {
                    Refused::Private(_) => "; add it to the server's `egress.allow` to allow it",
                    Refused::Scheme(_)
                    | Refused::NoHost
                    | Refused::Credentials
                    | Refused::Denied(_) => "",
                };
                End::failed("url_refused", format!("{refused}{way_out}"))
            }
            Self::TooLong => End::failed("answer_too_large", "the response is too large"),
            Self::Failed(message) => End::failed("request_failed", message),
            Self::Late => {
                let message = format!("Request timed out after {} seconds", timeout.as_secs_f64());
                let end = End::failed("timeout", message.as_str());
                let output = json!({ "error": message, "error_type": "timeout" });
                End { status: BlockStatus::TimedOut, output: Some(output), ..end }
            }
        }
    }
}

impl Engine {
    /// Fetches a URL with the default settings.
    pub(super) async fn get(&self, url: Url) -> Result<Answer, Broken> {
        let timeout = self.plan.settings.request_timeout;
        let headers = HeaderMap::new();
        let request =
            Request { method: Method::GET, url, headers, body: None, follow: true, timeout };
        self.request(request).await.map_err(|error| error.end(timeout).into())
    }

    async fn request(&self, request: Request) -> Result<Answer, NoAnswer> {
        let guard = Guard::new(self.plan.settings.guard.clone());
        let timeout = request.timeout;
        let client = guard.client(timeout).map_err(|error| NoAnswer::of(&error))?;
        let work = self.hops(&guard, &client, request);
        tokio::time::timeout(timeout, work).await.unwrap_or(Err(NoAnswer::Late))
    }

    async fn hops(
        &self,
        guard: &Guard,
        client: &reqwest::Client,
        mut request: Request,
    ) -> Result<Answer, NoAnswer> {
        for _hop in 0..=MOST_HOPS {
            guard.check(&request.url).map_err(NoAnswer::Refused)?;
            let mut sending = client
                .request(request.method.clone(), request.url.clone())
                .headers(request.headers.clone());
            if let Some(body) = &request.body {
                sending = sending.body(body.clone());
            }
            let sent = Guard::send(&request.url, sending).await;
            let answer = sent.map_err(|error| NoAnswer::of(&error))?;
            let location = answer.headers().get(LOCATION).and_then(|value| value.to_str().ok());
            let next = location.and_then(|location| request.url.join(location).ok());
            match next.filter(|_next| request.follow && answer.status().is_redirection()) {
                Some(next) => request = redirected(request, next, answer.status()),
                None => return self.read(answer).await,
            }
        }
        Err(NoAnswer::Failed(format!("more than {MOST_HOPS} redirects")))
    }

    async fn read(&self, mut answer: reqwest::Response) -> Result<Answer, NoAnswer> {
        let most = self.plan.settings.most_bytes;
        let mut body = BytesMut::new();
        while let Some(chunk) = answer.chunk().await.map_err(|error| NoAnswer::of(&error))? {
            if body.len() + chunk.len() > most {
                return Err(NoAnswer::TooLong);
            }
            body.extend_from_slice(&chunk);
        }
        let headers = answer.headers().iter().map(|(name, value)| {
            (name.to_string(), String::from_utf8_lossy(value.as_bytes()).into_owned())
        });
        Ok(Answer {
            status: answer.status(),
            headers: headers.collect(),
            body: body.freeze(),
            url: answer.url().clone(),
        })
    }

    pub(super) async fn http_request(&mut self, id: BlockRunId, spec: &HttpRequest) -> Work {
        let timeout = spec.timeout.unwrap_or(self.plan.settings.request_timeout);
        let invalid = |message: String| End::failed("field_invalid", message);
        let text = spec.url.as_deref().map(str::trim).filter(|url| !url.is_empty());
        let text = text.ok_or_else(|| invalid("`url` is required".to_owned()))?;
        let url = Url::parse(text).map_err(|error| {
            End::failed("url_invalid", format!("`{text}` is not a URL: {error}"))
        })?;
        if spec.files.as_ref().is_some_and(|files| !files.is_empty()) {
            return Err(
                End::failed("block_not_supported", "this server does not send `files`").into()
            );
        }
        let method = Method::from_bytes(spec.method.to_uppercase().as_bytes())
            .map_err(|error| invalid(format!("`{}`: {error}", spec.method)))?;
        let given = spec.headers.clone().unwrap_or_default();
        let mut headers = HeaderMap::new();
        for (name, value) in &given {
            let header = HeaderName::from_bytes(name.as_bytes())
                .map_err(|error| invalid(format!("the header `{name}`: {error}")))?;
            if is_framing(name) {
                let message = format!("the header `{name}` is set by the server itself");
                return Err(End::failed("header_refused", message).into());
            }
            let value = HeaderValue::from_str(value)
                .map_err(|error| invalid(format!("the header `{name}`: {error}")))?;
            headers.insert(header, value);
        }
        let body = body(spec.body.as_ref(), &mut headers);
        let request = Request {
            method: method.clone(),
            url,
            headers,
            body,
            follow: spec.follow_redirects,
            timeout,
        };
        let answer = self.request(request).await.map_err(|error| error.end(timeout))?;
        if spec.save_response_as_file && answer.status.is_success() {
            return self.save(id, spec, answer).await;
        }
        let shown = shown(&answer);
        let output = json!({
            "status_code": answer.status.as_u16(),
            "response_headers": answer.headers,
            "response_body": shown,
            "request_method": method.as_str(),
            "request_url": text,
            "request_headers": given,
            "request_body": spec.body,
            "headers": answer.headers,
            "body": shown,
            "url": answer.url.as_str(),
        });
        if answer.status.is_success() {
            return Ok(End::completed(output));
        }
        let message = format!("the server answered with status {}", answer.status.as_u16());
        Ok(End { output: Some(output), ..End::failed("http_status", message) })
    }

    async fn save(&self, id: BlockRunId, spec: &HttpRequest, answer: Answer) -> Work {
        let last = answer.url.path_segments().and_then(|mut parts| parts.next_back());
        let wanted = spec.download_filename.as_deref().or(last).unwrap_or("response");
        let name = file_name(wanted);
        let media_type = answer.headers.get("content-type").cloned();
        let media_type = media_type.unwrap_or_else(|| "application/octet-stream".to_owned());
        let size = answer.body.len();
        let artifact = self.keep(id, "download", &name, &media_type, answer.body).await?;
        Ok(End::completed(json!({
            "file_path": name,
            "file_name": name,
            "file_size": size,
            "artifact_id": artifact,
            "downloaded_file_artifact_ids": [artifact],
        })))
    }
}

/// Encodes the body of a request. A text is sent unchanged; anything else as JSON, or as a form if
/// the headers say so.
fn body(body: Option<&Value>, headers: &mut HeaderMap) -> Option<Vec<u8>> {
    let body = body.filter(|body| !body.is_null())?;
    let json = HeaderValue::from_static("application/json");
    let kind = headers.entry(CONTENT_TYPE).or_insert(json).to_str().unwrap_or_default();
    if let Some(text) = body.as_str() {
        return Some(text.as_bytes().to_vec());
    }
    let form = kind.starts_with("application/x-www-form-urlencoded");
    if let (true, Some(object)) = (form, body.as_object()) {
        let mut pairs = url::form_urlencoded::Serializer::new(String::new());
        for (name, value) in object {
            pairs.append_pair(name, value.as_str().unwrap_or(&value.to_string()));
        }
        return Some(pairs.finish().into_bytes());
    }
    Some(body.to_string().into_bytes())
}

/// Returns the JSON value of a response, or its text.
fn shown(answer: &Answer) -> Value {
    if let Ok(value) = serde_json::from_slice(&answer.body) {
        return value;
    }
    let media_type = answer.headers.get("content-type").map(String::as_str).unwrap_or_default();
    if !encoding::is_text(media_type) {
        return Value::from(String::from_utf8_lossy(&answer.body).into_owned());
    }
    let text = encoding::text(&answer.body, media_type);
    serde_json::from_str(&text).unwrap_or_else(|_text| Value::from(text))
}

/// The headers that are kept when a request is redirected to another origin. Any other header may be
/// a credential, whatever its name.
const HARMLESS: [HeaderName; 5] =
    [ACCEPT, ACCEPT_LANGUAGE, CONTENT_LANGUAGE, CONTENT_TYPE, USER_AGENT];

/// Changes a request for its redirect, as browsers do. Headers that may be confidential are not sent
/// to another origin.
fn redirected(mut request: Request, next: Url, status: StatusCode) -> Request {
    if next.origin() != request.url.origin() {
        let kept = HARMLESS.into_iter().filter_map(|name| {
            let value = request.headers.get(&name).cloned()?;
            Some((name, value))
        });
        request.headers = kept.collect();
    }
    let kept = matches!(status, StatusCode::TEMPORARY_REDIRECT | StatusCode::PERMANENT_REDIRECT);
    if !kept && request.method != Method::HEAD {
        request.method = Method::GET;
        request.body = None;
        request.headers.remove(CONTENT_TYPE);
    }
    Request { url: next, ..request }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers_after(next: &str) -> Vec<String> {
        let mut headers = HeaderMap::new();
        for name in ["x-api-key", "authorization", "cookie", "x-trace", "accept", "content-type"] {
            headers.insert(HeaderName::from_static(name), HeaderValue::from_static("secret"));
        }
        let url = Url::parse("https://a.example/x").unwrap();
        let timeout = Duration::from_secs(1);
        let request =
            Request { method: Method::POST, url, headers, body: None, follow: true, timeout };
        let next = Url::parse(next).unwrap();
        let next = redirected(request, next, StatusCode::TEMPORARY_REDIRECT);
        let mut names: Vec<String> = next.headers.keys().map(ToString::to_string).collect();
        names.sort();
        names
    }

    #[test]
    fn another_origin_gets_no_header_that_may_be_a_credential() {
        for next in ["https://b.example/", "http://a.example/x", "https://a.example:444/x"] {
            assert_eq!(headers_after(next), ["accept", "content-type"], "{next}");
        }
        assert_eq!(headers_after("https://a.example/y").len(), 6);
    }

    #[test]
    fn an_answer_is_read_by_its_charset() {
        let answer = |media_type: &str, body: &[u8]| Answer {
            status: StatusCode::OK,
            headers: [("content-type".to_owned(), media_type.to_owned())].into_iter().collect(),
            body: Bytes::copy_from_slice(body),
            url: Url::parse("https://a.example/").unwrap(),
        };
        let check = |media_type, body: &[u8], expected: Value| {
            assert_eq!(shown(&answer(media_type, body)), expected, "{media_type}");
        };
        check("text/plain; charset=iso-8859-1", b"gr\xf6\xdfe", json!("größe"));
        check(
            "application/json; charset=iso-8859-1",
            b"{\"b\":\"\xf6\",\"a\":1}",
            json!({"b": "ö", "a": 1}),
        );
        check("application/json", b"\xef\xbb\xbf[1]", json!([1]));
        check("image/png", b"\x89P", json!("\u{fffd}P"));
    }
}
