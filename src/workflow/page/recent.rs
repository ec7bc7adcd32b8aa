//! The latest console messages and requests, for a client that reads them; synchronous,
//! without a connection of its own.

use std::collections::VecDeque;

use chrono::{DateTime, Utc};
use serde_json::Value;

use super::console::{self, at};
use crate::workflow::host::DevtoolsEvent;

/// The maximum number of console messages kept.
const MOST_MESSAGES: usize = 200;
/// The maximum number of requests kept.
const MOST_REQUESTS: usize = 500;
/// The maximum length of a text that a page gives, in characters.
const LONGEST: usize = 1_000;

/// A message on the console of a page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConsoleMessage {
    pub time: DateTime<Utc>,
    /// The level, as in `log`, `warning`, `error`, `exception`.
    pub level: String,
    pub text: String,
    /// The place in the source, as in `https://a.example/b.js:5`; empty if there is none.
    pub place: String,
}

/// A request of a page.
#[derive(Debug, Clone, PartialEq)]
pub struct NetworkRequest {
    pub time: DateTime<Utc>,
    pub method: String,
    pub url: String,
    /// The type of the resource, as in `document`, `xhr`, `fetch`, `image`.
    pub resource_type: String,
    /// The status of the response, once there is one.
    pub status: Option<u16>,
    /// The error of the browser, as in `net::ERR_ABORTED`.
    pub failure: Option<String>,
    /// The time from the request to its end, in seconds; none while it is in progress.
    pub seconds: Option<f64>,
}

#[derive(Debug)]
struct Entry {
    session: Option<String>,
    id: String,
    /// The start, in seconds on the browser's monotonic clock.
    begun: f64,
    request: NetworkRequest,
}

#[derive(Debug, Default)]
pub(super) struct Recent {
    messages: VecDeque<ConsoleMessage>,
    requests: VecDeque<Entry>,
}

fn cut(text: &str) -> String {
    match text.char_indices().nth(LONGEST) {
        None => text.to_owned(),
        Some((end, _letter)) => format!("{}…", text.get(..end).unwrap_or_default()),
    }
}

fn text<'a>(params: &'a Value, pointer: &str) -> &'a str {
    params.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

impl Recent {
    pub(super) fn messages(&self) -> Vec<ConsoleMessage> {
        self.messages.iter().cloned().collect()
    }

    pub(super) fn requests(&self) -> Vec<NetworkRequest> {
        self.requests.iter().map(|entry| entry.request.clone()).collect()
    }

    pub(super) fn take_up(&mut self, event: &DevtoolsEvent) {
        if let Some(line) = console::read(event) {
            if self.messages.len() >= MOST_MESSAGES {
                self.messages.pop_front();
            }
            self.messages.push_back(ConsoleMessage {
                time: line.time.unwrap_or_else(Utc::now),
                level: cut(line.level),
                text: cut(&line.text),
                place: cut(&line.place),
            });
            return;
        }
        let params = &event.params;
        let seconds = params.get("timestamp").and_then(Value::as_f64);
        match event.method.as_str() {
            "Network.requestWillBeSent" => self.begin(event, seconds.unwrap_or_default()),
            "Network.responseReceived" => {
                if let Some(entry) = self.entry(event) {
                    entry.request.status = status(params, "/response/status");
                }
            }
            "Network.loadingFinished" => {
                if let Some(entry) = self.entry(event) {
                    entry.end(seconds);
                }
            }
            "Network.loadingFailed" => {
                if let Some(entry) = self.entry(event) {
                    entry.request.failure = Some(cut(text(params, "/errorText")));
                    entry.end(seconds);
                }
            }
            _ => (),
        }
    }

    /// Returns the latest entry of the request that an event is about.
    fn entry(&mut self, event: &DevtoolsEvent) -> Option<&mut Entry> {
        let id = text(&event.params, "/requestId");
        let is_it = |entry: &&mut Entry| entry.id == id && entry.session == event.session;
        self.requests.iter_mut().rev().find(is_it)
    }

    /// Adds a request; a redirect ends the request that was redirected.
    fn begin(&mut self, event: &DevtoolsEvent, begun: f64) {
        let params = &event.params;
        if params.get("redirectResponse").is_some()
            && let Some(entry) = self.entry(event)
        {
            entry.request.status = status(params, "/redirectResponse/status");
            entry.end(Some(begun));
        }
        if self.requests.len() >= MOST_REQUESTS {
            self.requests.pop_front();
        }
        let time = params.get("wallTime").and_then(Value::as_f64).and_then(at);
        self.requests.push_back(Entry {
            session: event.session.clone(),
            id: text(params, "/requestId").to_owned(),
            begun,
            request: NetworkRequest {
                time: time.unwrap_or_else(Utc::now),
                method: cut(text(params, "/request/method")),
                url: cut(text(params, "/request/url")),
                resource_type: text(params, "/type").to_lowercase(),
                status: None,
                failure: None,
                seconds: None,
            },
        });
    }
}

impl Entry {
    fn end(&mut self, at: Option<f64>) {
        self.request.seconds = at.map(|at| (at - self.begun).max(0.0));
    }
}

fn status(params: &Value, pointer: &str) -> Option<u16> {
    params.pointer(pointer).and_then(Value::as_u64).and_then(|status| status.try_into().ok())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn event(method: &str, params: Value) -> DevtoolsEvent {
        DevtoolsEvent { session: Some("s".to_owned()), method: method.to_owned(), params }
    }

    fn sent(id: usize, url: &str) -> Value {
        json!({ "requestId": id.to_string(), "type": "Fetch", "wallTime": 1000.0, "timestamp": 1.0,
            "request": { "url": url, "method": "GET" } })
    }

    #[test]
    fn the_latest_are_kept_and_texts_are_cut() {
        let mut recent = Recent::default();
        for at in 0..MOST_REQUESTS + 10 {
            recent.take_up(&event("Network.requestWillBeSent", sent(at, &"x".repeat(5_000))));
            let said = json!({ "type": "log", "args": [{ "value": "é".repeat(5_000) }] });
            recent.take_up(&event("Runtime.consoleAPICalled", said));
        }
        assert_eq!(recent.requests().len(), MOST_REQUESTS);
        assert_eq!(recent.messages().len(), MOST_MESSAGES);
        assert_eq!(recent.requests()[0].url.chars().count(), LONGEST + 1);
        assert_eq!(recent.messages()[0].text.chars().count(), LONGEST + 1);
    }

    #[test]
    fn a_request_is_followed_to_its_end() {
        let mut recent = Recent::default();
        recent.take_up(&event("Network.requestWillBeSent", sent(1, "http://a/")));
        let mut redirected = sent(1, "http://a/b");
        redirected["redirectResponse"] = json!({ "status": 302 });
        redirected["timestamp"] = json!(1.5);
        recent.take_up(&event("Network.requestWillBeSent", redirected));
        let response = json!({ "requestId": "1", "response": { "status": 200 } });
        recent.take_up(&event("Network.responseReceived", response));
        let failed = json!({ "requestId": "1", "errorText": "net::ERR_ABORTED", "timestamp": 2.0 });
        recent.take_up(&event("Network.loadingFailed", failed));
        // Another session counts its requests by itself.
        let other = DevtoolsEvent {
            session: None,
            ..event("Network.loadingFinished", json!({ "requestId": "1", "timestamp": 9.0 }))
        };
        recent.take_up(&other);
        let requests = recent.requests();
        let seen: Vec<_> = requests
            .iter()
            .map(|it| (it.url.as_str(), it.status, it.failure.as_deref(), it.seconds))
            .collect();
        assert_eq!(
            seen,
            [
                ("http://a/", Some(302), None, Some(0.5)),
                ("http://a/b", Some(200), Some("net::ERR_ABORTED"), Some(0.5)),
            ]
        );
    }
}
