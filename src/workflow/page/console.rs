//! The console output of pages as readable text; synchronous, without a connection.

use chrono::{DateTime, SecondsFormat, Utc};
use serde_json::Value;

use crate::workflow::host::DevtoolsEvent;

/// The maximum size of the text, in bytes.
const MOST: usize = 4 << 20;

/// The lines recorded so far.
#[derive(Debug, Default)]
pub(super) struct Console {
    since: DateTime<Utc>,
    text: String,
    left_out: usize,
}

impl Console {
    /// Drops messages older than `since`: the browser replays earlier messages to a new listener.
    pub(super) fn since(since: DateTime<Utc>) -> Self {
        Self { since, ..Self::default() }
    }

    /// Returns the lines recorded so far.
    pub(super) fn text(&self) -> String {
        match self.left_out {
            0 => self.text.clone(),
            count => format!("{}({count} more lines were dropped)\n", self.text),
        }
    }

    pub(super) fn take_up(&mut self, event: &DevtoolsEvent) {
        if let Some(line) = read(event) {
            self.line(&line);
        }
    }

    fn line(&mut self, line: &Line<'_>) {
        let Line { time, level, text: said, place } = line;
        let time = time.unwrap_or(self.since);
        if time < self.since {
            return;
        }
        if self.text.len() + said.len() > MOST {
            self.left_out += 1;
            return;
        }
        let time = time.to_rfc3339_opts(SecondsFormat::Millis, true);
        let said = said.replace('\n', "\n    ");
        let place = if place.is_empty() { String::new() } else { format!(" ({place})") };
        self.text.push_str(&format!("{time} [{level}] {said}{place}\n"));
    }
}

/// A message on the console of a page.
#[derive(Debug)]
pub(super) struct Line<'a> {
    pub(super) time: Option<DateTime<Utc>>,
    pub(super) level: &'a str,
    pub(super) text: String,
    /// The place in the source, as in `http://a/b.js:5`; empty if there is none.
    pub(super) place: String,
}

/// Returns the message in an event, if there is one.
pub(super) fn read(event: &DevtoolsEvent) -> Option<Line<'_>> {
    let params = &event.params;
    let text = |pointer: &str| params.pointer(pointer).and_then(Value::as_str);
    let number = |pointer: &str| params.pointer(pointer).and_then(Value::as_f64);
    let time = |pointer: &str| number(pointer).and_then(|time| at(time / 1000.0));
    match event.method.as_str() {
        "Runtime.consoleAPICalled" => {
            let arguments = params.get("args").and_then(Value::as_array);
            let said: Vec<_> = arguments.into_iter().flatten().map(shown).collect();
            Some(Line {
                time: time("/timestamp"),
                level: text("/type").unwrap_or("log"),
                text: said.join(" "),
                place: place(
                    text("/stackTrace/callFrames/0/url"),
                    number("/stackTrace/callFrames/0/lineNumber"),
                ),
            })
        }
        "Runtime.exceptionThrown" => {
            let said = text("/exceptionDetails/exception/description")
                .or_else(|| text("/exceptionDetails/text"))
                .unwrap_or("an exception");
            let place =
                place(text("/exceptionDetails/url"), number("/exceptionDetails/lineNumber"));
            let (time, text) = (time("/timestamp"), said.to_owned());
            Some(Line { time, level: "exception", text, place })
        }
        "Log.entryAdded" => Some(Line {
            time: time("/entry/timestamp"),
            level: text("/entry/level").unwrap_or("info"),
            text: text("/entry/text").unwrap_or_default().to_owned(),
            place: place(text("/entry/url"), number("/entry/lineNumber")),
        }),
        _ => None,
    }
}

/// Formats an argument as a browser's console shows it.
fn shown(argument: &Value) -> String {
    let text = |key: &str| argument.get(key).and_then(Value::as_str);
    match argument.get("value") {
        Some(Value::String(text)) => text.clone(),
        Some(value @ (Value::Null | Value::Bool(_) | Value::Number(_))) => value.to_string(),
        Some(value @ (Value::Array(_) | Value::Object(_))) => value.to_string(),
        None => {
            let said = text("unserializableValue").or_else(|| text("description"));
            said.or_else(|| text("type")).unwrap_or_default().to_owned()
        }
    }
}

/// Formats a source location. DevTools counts lines from 0.
fn place(url: Option<&str>, line: Option<f64>) -> String {
    match (url.filter(|url| !url.is_empty()), line) {
        (Some(url), Some(line)) => format!("{url}:{}", line + 1.0),
        (Some(url), None) => url.to_owned(),
        (None, _) => String::new(),
    }
}

/// Converts seconds since 1970 to a time.
pub(super) fn at(seconds: f64) -> Option<DateTime<Utc>> {
    let since = std::time::Duration::try_from_secs_f64(seconds).ok()?;
    DateTime::UNIX_EPOCH.checked_add_signed(chrono::Duration::from_std(since).ok()?)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn lines_say_when_what_and_where_and_what_came_before_is_left_out() {
        let mut console = Console::since(at(1000.0).unwrap());
        let mut take_up = |method: &str, params: Value| {
            let method = method.to_owned();
            console.take_up(&DevtoolsEvent { session: None, method, params });
        };
        let said = json!([{ "type": "string", "value": "a" }, { "type": "number", "value": 2 },
            { "type": "object", "description": "HTMLBodyElement" }]);
        take_up(
            "Runtime.consoleAPICalled",
            json!({ "type": "log", "args": said, "timestamp": 999_000.0 }),
        );
        let frames = json!([{ "url": "http://a/b.js", "lineNumber": 4 }]);
        take_up(
            "Runtime.consoleAPICalled",
            json!({ "type": "warning", "args": said, "timestamp": 1_001_500.0,
                "stackTrace": { "callFrames": frames } }),
        );
        take_up(
            "Runtime.exceptionThrown",
            json!({ "timestamp": 1_002_000.0, "exceptionDetails": {
                "text": "Uncaught", "exception": { "description": "Error: no\n  at x" } } }),
        );
        let expected = "1970-01-01T00:16:41.500Z [warning] a 2 HTMLBodyElement (http://a/b.js:5)\n\
                        1970-01-01T00:16:42.000Z [exception] Error: no\n      at x\n";
        assert_eq!(console.text(), expected);
    }
}
