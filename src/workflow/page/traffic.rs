//! The network traffic of pages, as HAR 1.2; synchronous, without a connection.
//!
//! Headers are those that the page set: the events used here do not contain what the browser adds,
//! such as cookies. Bodies are kept of texts only, up to a limit.

use std::collections::HashMap;

use chrono::{DateTime, SecondsFormat, Utc};
use serde_json::{Map, Value, json};

use super::console::at;
use crate::workflow::host::DevtoolsEvent;

/// The maximum number of requests recorded.
const MOST_ENTRIES: usize = 20_000;
/// The maximum size of a recorded body, in bytes.
const LARGEST_BODY: f64 = 524_288.0;
/// The maximum size of all recorded bodies together, in bytes.
const MOST_BODIES: usize = 16 << 20;

/// A response whose body is to be fetched and kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Body {
    pub(super) session: Option<String>,
    pub(super) request: String,
    entry: usize,
}

#[derive(Debug)]
struct Entry {
    session: Option<String>,
    started: DateTime<Utc>,
    /// The start, in seconds on the browser's monotonic clock.
    begun: f64,
    ended: Option<f64>,
    request: Value,
    response: Value,
    body: Option<Value>,
    /// The bytes received over the network.
    size: Value,
    failure: Option<String>,
    kind: String,
}

/// The requests recorded so far.
#[derive(Debug, Default)]
pub(super) struct Traffic {
    entries: Vec<Entry>,
    /// The entry of each request in progress.
    open: HashMap<(Option<String>, String), usize>,
    /// Tabs and frames, in the order in which they were seen, with the first document of each.
    pages: Vec<(Option<String>, String, DateTime<Utc>)>,
    bodies: usize,
    left_out: usize,
}

fn text<'a>(value: &'a Value, pointer: &str) -> &'a str {
    value.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

fn number(value: &Value, pointer: &str) -> Option<f64> {
    value.pointer(pointer).and_then(Value::as_f64)
}

impl Traffic {
    /// Applies an event, and returns the response whose body is to be fetched, if any.
    pub(super) fn take_up(&mut self, event: &DevtoolsEvent) -> Option<Body> {
        let params = &event.params;
        let key = (event.session.clone(), text(params, "/requestId").to_owned());
        match event.method.as_str() {
            "Network.requestWillBeSent" => {
                self.begin(key, params);
                None
            }
            "Network.responseReceived" => {
                let entry = self.entry(&key)?;
                entry.response = params.get("response").cloned().unwrap_or_default();
                None
            }
            "Network.loadingFinished" => {
                let index = self.open.remove(&key)?;
                let has_room = self.bodies < MOST_BODIES;
                let entry = self.entries.get_mut(index)?;
                entry.ended = number(params, "/timestamp");
                entry.size = params.get("encodedDataLength").cloned().unwrap_or(json!(-1));
                let wanted = is_text(text(&entry.response, "/mimeType"))
                    && entry.size.as_f64().is_some_and(|size| size <= LARGEST_BODY)
                    && has_room;
                let (session, request) = key;
                wanted.then_some(Body { session, request, entry: index })
            }
            "Network.loadingFailed" => {
                let index = self.open.remove(&key)?;
                let entry = self.entries.get_mut(index)?;
                entry.ended = number(params, "/timestamp");
                entry.failure = Some(text(params, "/errorText").to_owned());
                None
            }
            _ => None,
        }
    }

    fn entry(&mut self, key: &(Option<String>, String)) -> Option<&mut Entry> {
        let index = self.open.get(key)?;
        self.entries.get_mut(*index)
    }

    /// Starts the entry of a request; a redirect ends the entry of the redirected request.
    fn begin(&mut self, key: (Option<String>, String), params: &Value) {
        if let Some(redirect) = params.get("redirectResponse")
            && let Some(entry) = self.entry(&key)
        {
            entry.response = redirect.clone();
            entry.ended = number(params, "/timestamp");
            entry.size = redirect.get("encodedDataLength").cloned().unwrap_or(json!(-1));
        }
        if self.entries.len() >= MOST_ENTRIES {
            self.open.remove(&key);
            self.left_out += 1;
            return;
        }
        let started = number(params, "/wallTime").and_then(at).unwrap_or_default();
        if !self.pages.iter().any(|(session, ..)| *session == key.0) {
            let title = text(params, "/documentURL").to_owned();
            self.pages.push((key.0.clone(), title, started));
        }
        self.entries.push(Entry {
            session: key.0.clone(),
            started,
            begun: number(params, "/timestamp").unwrap_or_default(),
            ended: None,
            request: params.get("request").cloned().unwrap_or_default(),
            response: Value::Null,
            body: None,
            size: json!(-1),
            failure: None,
            kind: text(params, "/type").to_lowercase(),
        });
        self.open.insert(key, self.entries.len() - 1);
    }

    /// Keeps the body of a response, as `Network.getResponseBody` returns it.
    pub(super) fn keep(&mut self, body: &Body, answer: &Value) {
        self.bodies += text(answer, "/body").len();
        if let Some(entry) = self.entries.get_mut(body.entry) {
            entry.body = Some(answer.clone());
        }
    }

    /// Returns all requests as HAR 1.2.
    pub(super) fn har(&self, browser: &str) -> Value {
        let (name, version) = browser.split_once('/').unwrap_or((browser, ""));
        let pages = self.pages.iter().enumerate().map(|(index, (_, title, started))| {
            json!({
                "id": page_id(index), "title": title, "startedDateTime": time(*started),
                "pageTimings": { "onContentLoad": -1, "onLoad": -1 },
            })
        });
        let page_of = |entry: &Entry| {
            let index = self.pages.iter().position(|(session, ..)| *session == entry.session);
            page_id(index.unwrap_or_default())
        };
        let entries = self.entries.iter().map(|entry| entry.har(page_of(entry)));
        let mut log = json!({
            "version": "1.2",
            "creator": { "name": "Greenroom", "version": env!("CARGO_PKG_VERSION") },
            "browser": { "name": name, "version": version },
            "pages": pages.collect::<Vec<_>>(),
            "entries": entries.collect::<Vec<_>>(),
        });
        if let (true, Some(log)) = (self.left_out > 0, log.as_object_mut()) {
            let comment = format!("{} more requests were dropped", self.left_out);
            log.insert("comment".to_owned(), comment.into());
        }
        json!({ "log": log })
    }
}

impl Entry {
    fn har(&self, page: String) -> Value {
        let ended = self.ended.unwrap_or(self.begun);
        let milliseconds = |seconds: f64| (seconds * 1e6).round() / 1e3;
        let mut entry = json!({
            "pageref": page,
            "startedDateTime": time(self.started),
            "time": milliseconds(ended - self.begun),
            "request": self.request(),
            "response": self.response(),
            "cache": {},
            "timings": self.timings(ended),
            "_resourceType": self.kind,
        });
        if let Some(entry) = entry.as_object_mut() {
            let address = text(&self.response, "/remoteIPAddress");
            if !address.is_empty() {
                entry.insert("serverIPAddress".to_owned(), address.into());
            }
            if let Some(failure) = &self.failure {
                entry.insert("_failureText".to_owned(), failure.as_str().into());
            }
        }
        entry
    }

    fn request(&self) -> Value {
        let url = text(&self.request, "/url");
        let parsed = url::Url::parse(url).ok();
        let query = parsed.iter().flat_map(url::Url::query_pairs);
        let query: Vec<_> =
            query.map(|(name, value)| json!({ "name": name, "value": value })).collect();
        let mut request = json!({
            "method": text(&self.request, "/method"),
            "url": url,
            "httpVersion": self.version(),
            "cookies": [],
            "headers": headers(&self.request),
            "queryString": query,
            "headersSize": -1,
            "bodySize": text(&self.request, "/postData").len(),
        });
        let post = text(&self.request, "/postData");
        if let (false, Some(request)) = (post.is_empty(), request.as_object_mut()) {
            let kind = self.request.get("headers").and_then(Value::as_object);
            let kind = kind.into_iter().flatten();
            let kind = kind.filter(|(name, _)| name.eq_ignore_ascii_case("content-type"));
            let kind = kind.map(|(_, value)| value.as_str().unwrap_or_default()).next();
            let data = json!({ "mimeType": kind.unwrap_or_default(), "text": post });
            request.insert("postData".to_owned(), data);
        }
        request
    }

    fn response(&self) -> Value {
        let mut content = Map::new();
        let body = self.body.as_ref().map(|body| text(body, "/body"));
        let size = body.map_or(-1, |body| i64::try_from(body.len()).unwrap_or(-1));
        content.insert("size".to_owned(), size.into());
        content.insert("mimeType".to_owned(), text(&self.response, "/mimeType").into());
        if let Some(body) = body {
            content.insert("text".to_owned(), body.into());
            let encoded = self.body.as_ref().and_then(|body| body.get("base64Encoded"));
            if encoded == Some(&Value::Bool(true)) {
                content.insert("encoding".to_owned(), "base64".into());
            }
        }
        let location = self.response.get("headers").and_then(Value::as_object);
        let location = location.into_iter().flatten();
        let location = location.filter(|(name, _)| name.eq_ignore_ascii_case("location"));
        let location = location.map(|(_, value)| value.clone()).next();
        json!({
            "status": self.response.get("status").cloned().unwrap_or(json!(-1)),
            "statusText": text(&self.response, "/statusText"),
            "httpVersion": self.version(),
            "cookies": [],
            "headers": headers(&self.response),
            "content": content,
            "redirectURL": location.unwrap_or_else(|| "".into()),
            "headersSize": -1,
            "bodySize": self.size,
            "_fromCache": self.response.get("fromDiskCache"),
        })
    }

    fn version(&self) -> &str {
        match text(&self.response, "/protocol") {
            "" => "HTTP/1.1",
            protocol => protocol,
        }
    }

    /// Computes the timings as the browser's own tools do; -1 for a phase that did not take place.
    fn timings(&self, ended: f64) -> Value {
        let timing = self.response.get("timing");
        let of = |name: &str| timing.and_then(|timing| timing.get(name)).and_then(Value::as_f64);
        let Some(began) = of("requestTime") else {
            return json!({ "send": 0, "wait": (ended - self.begun) * 1e3, "receive": 0 });
        };
        let span = |from: &str, to: &str| match (of(from), of(to)) {
            (Some(from), Some(to)) if from >= 0.0 => to - from,
            _ => -1.0,
        };
        let first = ["dnsStart", "connectStart", "sendStart"];
        let first = first.iter().filter_map(|name| of(name)).find(|start| *start >= 0.0);
        let headers = of("receiveHeadersEnd").unwrap_or_default();
        json!({
            "blocked": first.unwrap_or(-1.0),
            "dns": span("dnsStart", "dnsEnd"),
            "connect": span("connectStart", "connectEnd"),
            "ssl": span("sslStart", "sslEnd"),
            "send": span("sendStart", "sendEnd").max(0.0),
            "wait": span("sendEnd", "receiveHeadersEnd").max(0.0),
            "receive": ((ended - began) * 1e3 - headers).max(0.0),
        })
    }
}

fn page_id(index: usize) -> String {
    format!("page_{}", index + 1)
}

fn time(time: DateTime<Utc>) -> String {
    time.to_rfc3339_opts(SecondsFormat::Millis, true)
}

fn headers(of: &Value) -> Vec<Value> {
    let headers = of.get("headers").and_then(Value::as_object);
    let headers = headers.into_iter().flatten();
    headers.map(|(name, value)| json!({ "name": name, "value": value })).collect()
}

fn is_text(media_type: &str) -> bool {
    media_type.starts_with("text/")
        || ["json", "javascript", "xml", "x-www-form-urlencoded"]
            .iter()
            .any(|kind| media_type.contains(kind))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(method: &str, params: Value) -> DevtoolsEvent {
        DevtoolsEvent { session: Some("s".to_owned()), method: method.to_owned(), params }
    }

    #[test]
    fn a_redirected_post_is_two_entries_and_the_body_of_a_text_is_kept() {
        let mut traffic = Traffic::default();
        let sent = |url: &str, time: f64, redirect: Value| {
            let mut params = json!({
                "requestId": "1", "documentURL": "http://a/", "type": "Document",
                "wallTime": 1000.0 + time, "timestamp": time,
                "request": { "url": url, "method": "POST", "postData": "x=1",
                    "headers": { "Content-Type": "application/x-www-form-urlencoded" } },
            });
            if !redirect.is_null() {
                params["redirectResponse"] = redirect;
            }
            event("Network.requestWillBeSent", params)
        };
        assert_eq!(traffic.take_up(&sent("http://a/?q=1", 1.0, Value::Null)), None);
        let moved = json!({ "status": 302, "headers": { "location": "/b" }, "mimeType": "" });
        assert_eq!(traffic.take_up(&sent("http://a/b", 1.5, moved)), None);
        let response = json!({ "requestId": "1", "response": { "status": 200, "protocol": "h2",
            "mimeType": "text/html", "headers": {}, "remoteIPAddress": "127.0.0.1" } });
        traffic.take_up(&event("Network.responseReceived", response));
        let end = json!({ "requestId": "1", "timestamp": 2.0, "encodedDataLength": 5.0 });
        let body = traffic.take_up(&event("Network.loadingFinished", end)).unwrap();
        traffic.keep(&body, &json!({ "body": "hello", "base64Encoded": false }));

        let har = traffic.har("Chrome/1.2");
        let entries = har["log"]["entries"].as_array().unwrap();
        assert_eq!(entries.len(), 2);
        assert_eq!(entries[0]["response"]["status"], 302);
        assert_eq!(entries[0]["response"]["redirectURL"], "/b");
        assert_eq!(entries[0]["time"], 500.0);
        assert_eq!(entries[0]["startedDateTime"], "1970-01-01T00:16:41.000Z");
        let query = json!([{ "name": "q", "value": "1" }]);
        assert_eq!(entries[0]["request"]["queryString"], query);
        assert_eq!(entries[0]["request"]["postData"]["text"], "x=1");
        assert_eq!(entries[1]["response"]["content"]["text"], "hello");
        assert_eq!(entries[1]["response"]["httpVersion"], "h2");
        assert_eq!(entries[1]["serverIPAddress"], "127.0.0.1");
        assert_eq!(har["log"]["pages"][0]["title"], "http://a/");
    }
}
