//! The judgement of a driver's commands: which of them may pass while a person has control.
//!
//! `commands.txt` lists what passes. A command that is not listed acts, so that one which a later
//! Chromium brings is held back until somebody has looked at it. What cannot be read acts as well.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::fmt;
use std::sync::LazyLock;

use serde::de::{Error as _, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;
use serde_json::{Value, json};

use crate::domain::session::Size;

/// How deep commands within commands are read (`Target.sendMessageToTarget`).
const DEEPEST: usize = 4;

/// The longest `sessionId` that an answer repeats. Chromium's have 32 characters.
const LONGEST_SESSION: usize = 128;

/// The treatment of a command, as `commands.txt` names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Class {
    Reads,
    Evaluates,
    Depends,
    Detaches,
    Acts,
}

/// Every command that is listed.
static COMMANDS: LazyLock<HashMap<&str, Class>> = LazyLock::new(|| {
    let lines = include_str!("commands.txt").lines().filter(|line| !line.starts_with('#'));
    let entries = lines.filter_map(|line| {
        let (name, class) = line.split_once(' ')?;
        Some((name, Class::deserialize(Value::from(class)).ok()?))
    });
    entries.collect()
});

/// What becomes of a command while a person has control.
#[derive(Debug)]
pub(super) enum Judgement {
    /// It passes as it came.
    Passes,
    /// It passes in this form.
    PassesAs(Vec<u8>),
    /// It acts on the browser.
    Acts(Call),
    /// It asks for the end of the browser, which means the end of this connection.
    Detaches(Call),
}

/// What an answer to a command needs of it.
#[derive(Debug, Default)]
pub(super) struct Call {
    id: Option<i64>,
    session: Option<String>,
}

impl Call {
    /// The answer of a command that was done.
    pub fn done(self) -> Value {
        self.answer("result", json!({}))
    }

    /// The answer of a command that was refused.
    pub fn refused(self, message: &str) -> Value {
        self.answer("error", json!({ "code": -32000, "message": message }))
    }

    fn answer(self, key: &str, value: Value) -> Value {
        let mut answer = json!({ "id": self.id, key: value });
        if let (Some(session), Some(answer)) = (self.session, answer.as_object_mut()) {
            answer.insert("sessionId".to_owned(), session.into());
        }
        answer
    }
}

/// A JSON object whose values are not read yet, in its order. One that has a key twice is refused:
/// which of the two Chromium takes is not to be relied on.
#[derive(Debug)]
struct Object<'a>(Vec<(Cow<'a, str>, &'a RawValue)>);

impl<'a> Object<'a> {
    fn get(&self, key: &str) -> Option<&'a RawValue> {
        self.0.iter().find(|(name, _)| name == key).map(|(_, value)| *value)
    }

    fn read<T: Deserialize<'a>>(&self, key: &str) -> Option<T> {
        serde_json::from_str(self.get(key)?.get()).ok()
    }

    /// The object's text with one value replaced, or left out.
    fn with(&self, key: &str, value: Option<&str>) -> String {
        let mut text = "{".to_owned();
        for (name, old) in &self.0 {
            let new = if name == key { value } else { Some(old.get()) };
            let Some(new) = new else { continue };
            if text.len() > 1 {
                text.push(',');
            }
            text.push_str(&Value::from(name.as_ref()).to_string());
            text.push(':');
            text.push_str(new);
        }
        text.push('}');
        text
    }
}

/// A key of an object, borrowed where it has no escapes.
#[derive(Deserialize)]
struct Key<'a>(#[serde(borrow)] Cow<'a, str>);

impl<'de> Deserialize<'de> for Object<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Entries;
        impl<'de> Visitor<'de> for Entries {
            type Value = Object<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Object<'de>, A::Error> {
                let (mut entries, mut seen) = (Vec::new(), HashSet::new());
                while let Some((Key(key), value)) = map.next_entry::<Key<'de>, &'de RawValue>()? {
                    if !seen.insert(key.clone()) {
                        return Err(A::Error::custom("a key is there twice"));
                    }
                    entries.push((key, value));
                }
                Ok(Object(entries))
            }
        }
        deserializer.deserialize_map(Entries)
    }
}

/// Judges a message of a driver of a session with a window of this size.
pub(super) fn judge(message: &[u8], window: Size) -> Judgement {
    judge_nested(message, window, 0)
}

/// Returns the call if a message asks for the end of the browser.
pub(super) fn detaches(message: &[u8]) -> Option<Call> {
    match judge(message, Size::default()) {
        Judgement::Detaches(call) => Some(call),
        Judgement::Passes | Judgement::PassesAs(_) | Judgement::Acts(_) => None,
    }
}

fn judge_nested(message: &[u8], window: Size, depth: usize) -> Judgement {
    let Ok(command) = serde_json::from_slice::<Object<'_>>(message) else {
        return Judgement::Acts(Call::default());
    };
    let session = command.read::<String>("sessionId");
    let session = session.filter(|session| session.len() <= LONGEST_SESSION);
    let call = Call { id: command.read("id"), session };
    let Some(method) = command.read::<Cow<'_, str>>("method") else {
        return Judgement::Acts(call);
    };
    let params = match command.get("params") {
        Some(params) => serde_json::from_str::<Object<'_>>(params.get()).ok(),
        None => Some(Object(Vec::new())),
    };
    let class = COMMANDS.get(method.as_ref()).copied().unwrap_or(Class::Acts);
    match (class, params) {
        (Class::Reads, _) => Judgement::Passes,
        (Class::Detaches, _) => Judgement::Detaches(call),
        (Class::Evaluates, Some(params)) => match params.get("userGesture") {
            Some(_gesture) => {
                let params = params.with("userGesture", None);
                Judgement::PassesAs(command.with("params", Some(&params)).into_bytes())
            }
            None => Judgement::Passes,
        },
        (Class::Depends, Some(params)) if method == "Target.sendMessageToTarget" => {
            let nested = params.read::<String>("message").filter(|_message| depth < DEEPEST);
            let nested = nested.map(|nested| judge_nested(nested.as_bytes(), window, depth + 1));
            match nested {
                Some(Judgement::Passes) => Judgement::Passes,
                Some(Judgement::PassesAs(nested)) => {
                    let nested = Value::from(String::from_utf8_lossy(&nested)).to_string();
                    let params = params.with("message", Some(&nested));
                    Judgement::PassesAs(command.with("params", Some(&params)).into_bytes())
                }
                Some(Judgement::Detaches(_)) => Judgement::Detaches(call),
                Some(Judgement::Acts(_)) | None => Judgement::Acts(call),
            }
        }
        (Class::Depends, Some(params)) if leaves_alone(&method, &params, window) => {
            Judgement::Passes
        }
        (Class::Evaluates | Class::Depends | Class::Acts, _) => Judgement::Acts(call),
    }
}

/// Returns true if a command with these parameters takes nothing from the person in control. Most of
/// these are what clients send when they attach; the others undo what an earlier command did.
fn leaves_alone(method: &str, params: &Object<'_>, window: Size) -> bool {
    let flag = |key| params.read::<bool>(key);
    let text = |key| params.read::<String>(key);
    match method {
        "Browser.setDownloadBehavior" => text("behavior").is_some_and(|it| it != "deny"),
        "Debugger.setBreakpointsActive" => flag("active") == Some(false),
        "Debugger.setPauseOnExceptions" => text("state").is_some_and(|it| it == "none"),
        "Debugger.setSkipAllPauses" => flag("skip") == Some(true),
        // Of the window's own size: the page stays as it is.
        "Emulation.setDeviceMetricsOverride" => {
            let side = |key| params.read::<f64>(key);
            let (width, height) = (f64::from(window.width()), f64::from(window.height()));
            let plain = params.0.iter().all(|(key, _)| {
                ["width", "height", "deviceScaleFactor", "mobile"].contains(&key.as_ref())
            });
            let scale = side("deviceScaleFactor").is_some_and(|it| it == 0.0 || it == 1.0);
            plain
                && scale
                && flag("mobile") == Some(false)
                && side("width") == Some(width)
                && side("height") == Some(height)
        }
        "Emulation.setEmulatedMedia" => {
            text("media").is_none_or(|media| media.is_empty() || media == "screen")
        }
        "Emulation.setScriptExecutionDisabled" => flag("value") == Some(false),
        "Input.setIgnoreInputEvents" => flag("ignore") == Some(false),
        "Overlay.setInspectMode" => text("mode").is_some_and(|it| it == "none"),
        "Page.setWebLifecycleState" => text("state").is_some_and(|it| it == "active"),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn window() -> Size {
        Size::new(1280, 720).unwrap()
    }

    /// What becomes of a message, in a word or as the text that passes instead of it.
    fn fate(message: &str) -> String {
        match judge(message.as_bytes(), window()) {
            Judgement::Passes => "passes".to_owned(),
            Judgement::PassesAs(text) => String::from_utf8(text).unwrap(),
            Judgement::Acts(_) => "acts".to_owned(),
            Judgement::Detaches(_) => "detaches".to_owned(),
        }
    }

    fn command(method: &str, params: &Value) -> String {
        json!({ "id": 1, "method": method, "params": params }).to_string()
    }

    #[test]
    fn every_command_of_chromium_is_listed_once_with_a_class_and_in_order() {
        let lines = include_str!("commands.txt").lines().filter(|line| !line.starts_with('#'));
        let names: Vec<_> = lines.map(|line| line.split_once(' ').unwrap().0).collect();
        assert!(names.is_sorted_by(|a, b| a < b), "sorted, so that none is there twice");
        assert_eq!(names.len(), COMMANDS.len(), "a line has a class that does not exist");
        assert!(names.len() > 670, "Chromium 156 has 674");
        for (name, class) in &*COMMANDS {
            let judged = match (class, fate(&command(name, &json!({}))).as_str()) {
                (Class::Reads | Class::Evaluates, "passes") | (Class::Acts, "acts") => true,
                (Class::Detaches, judged) => judged == "detaches",
                // Without parameters, all of these act but the one that sets nothing.
                (Class::Depends, judged) => {
                    (judged == "passes") == (*name == "Emulation.setEmulatedMedia")
                }
                _ => false,
            };
            assert!(judged, "{name}");
        }
    }

    #[test]
    fn what_locks_a_person_out_acts() {
        for (method, params) in [
            ("Input.dispatchMouseEvent", json!({})),
            ("Input.setIgnoreInputEvents", json!({ "ignore": true })),
            ("Page.navigate", json!({ "url": "x" })),
            ("Fetch.enable", json!({})),
            ("Debugger.pause", json!({})),
            ("Debugger.setPauseOnExceptions", json!({ "state": "all" })),
            ("Emulation.setVirtualTimePolicy", json!({ "policy": "pause" })),
            ("Emulation.setScriptExecutionDisabled", json!({ "value": true })),
            ("Page.setWebLifecycleState", json!({ "state": "frozen" })),
            ("Overlay.setInspectMode", json!({ "mode": "searchForNode" })),
            ("Target.exposeDevToolsProtocol", json!({ "targetId": "T" })),
            ("Browser.setDownloadBehavior", json!({ "behavior": "deny" })),
            ("Storage.clearCookies", json!({})),
            ("Extensions.loadUnpacked", json!({ "path": "/x" })),
            ("NotYet.invented", json!({})),
            ("Page.enable\u{0}", json!({})),
        ] {
            assert_eq!(fate(&command(method, &params)), "acts", "{method} {params}");
        }
        let metrics = |width: u32, mobile: bool| {
            let params =
                json!({"width": width, "height": 720, "deviceScaleFactor": 1.0, "mobile": mobile});
            fate(&command("Emulation.setDeviceMetricsOverride", &params))
        };
        assert_eq!(
            [metrics(1280, false), metrics(1280, true), metrics(100, false)],
            ["passes", "acts", "acts"]
        );
    }

    #[test]
    fn what_clients_send_to_attach_and_to_let_go_passes() {
        for (method, params) in [
            ("Target.setAutoAttach", json!({ "autoAttach": true, "flatten": true })),
            ("Runtime.runIfWaitingForDebugger", json!({})),
            ("Page.addScriptToEvaluateOnNewDocument", json!({ "source": "" })),
            ("Emulation.setFocusEmulationEnabled", json!({ "enabled": true })),
            ("Emulation.setEmulatedMedia", json!({ "media": "", "features": [] })),
            ("Browser.setDownloadBehavior", json!({ "behavior": "allowAndName" })),
            ("Debugger.setSkipAllPauses", json!({ "skip": true })),
            ("Debugger.resume", json!({})),
            // Otherwise a page that the person opens would wait for a driver that may not answer.
            ("Fetch.continueRequest", json!({ "requestId": "r" })),
            ("Input.setIgnoreInputEvents", json!({ "ignore": false })),
        ] {
            assert_eq!(fate(&command(method, &params)), "passes", "{method} {params}");
        }
    }

    #[test]
    fn what_cannot_be_read_or_can_be_read_in_two_ways_acts() {
        for message in [
            "nonsense",
            "[]",
            r#"{"id":1}"#,
            r#"{"method":"Page.enable","method":"Input.insertText"}"#,
            r#"{"method":"Page.enable","meth\u006fd":"Input.insertText"}"#,
            r#"{"method":"Input\u002einsertText"}"#,
            r#"{"method":"Page.enable"}{"method":"Input.insertText"}"#,
            r#"{"method":"Input.setIgnoreInputEvents","params":{"ignore":false,"ignore":true}}"#,
            r#"{"method":"Runtime.evaluate","params":{"userGesture":false,"userGesture":true}}"#,
        ] {
            assert_eq!(fate(message), "acts", "{message}");
        }
        assert_eq!(fate(r#"{"id":1,"meth\u006fd":"Page\u002eenable"}"#), "passes");
    }

    #[test]
    fn an_evaluation_passes_without_its_gesture_and_otherwise_as_it_is() {
        let plain = r#"{"id":1,"method":"Runtime.evaluate","params":{"expression":"1"}}"#;
        assert_eq!(fate(plain), "passes");
        for gesture in ["userGesture", "user\\u0047esture"] {
            let message = format!(
                r#"{{"id":7,"method":"Runtime.callFunctionOn","params":{{"z":1.50,"{gesture}":true,"a":{{"y":1,"b":2}}}},"sessionId":"S"}}"#
            );
            let without = r#"{"id":7,"method":"Runtime.callFunctionOn","params":{"z":1.50,"a":{"y":1,"b":2}},"sessionId":"S"}"#;
            assert_eq!(fate(&message), without);
        }
    }

    #[test]
    fn a_command_within_a_command_is_judged_as_if_it_came_alone() {
        let within = |message: &str| {
            command("Target.sendMessageToTarget", &json!({ "sessionId": "S", "message": message }))
        };
        assert_eq!(fate(&within(&command("Page.enable", &json!({})))), "passes");
        assert_eq!(fate(&within(&command("Input.insertText", &json!({})))), "acts");
        assert_eq!(fate(&within(&within(&command("Input.insertText", &json!({}))))), "acts");
        assert_eq!(fate(&within(&command("Browser.close", &json!({})))), "detaches");
        let evaluates = |params| command("Runtime.evaluate", &params);
        let gesture = within(&evaluates(json!({ "expression": "1", "userGesture": true })));
        let passed: Value = serde_json::from_str(&fate(&gesture)).unwrap();
        assert_eq!(passed["params"]["message"], evaluates(json!({ "expression": "1" })));
        let deep = (0..6).fold(command("Page.enable", &json!({})), |inner, _| within(&inner));
        assert_eq!(fate(&deep), "acts", "deeper than anybody sends");
    }

    #[test]
    fn an_answer_names_the_call_and_its_session_and_repeats_nothing_long() {
        let call = |session: &str| {
            let message =
                json!({ "id": 7, "method": "Input.insertText", "sessionId": session }).to_string();
            match judge(message.as_bytes(), window()) {
                Judgement::Acts(call) => call.refused("no"),
                other @ (Judgement::Passes | Judgement::PassesAs(_) | Judgement::Detaches(_)) => {
                    panic!("{other:?}")
                }
            }
        };
        let error = json!({ "code": -32000, "message": "no" });
        assert_eq!(call("S"), json!({ "id": 7, "error": error, "sessionId": "S" }));
        assert_eq!(call(&"S".repeat(1000)), json!({ "id": 7, "error": error }));
        let close = br#"{"id":8,"method":"Browser.close","sessionId":"S"}"#;
        let done = json!({ "id": 8, "result": {}, "sessionId": "S" });
        assert_eq!(detaches(close).map(Call::done), Some(done));
        assert!(detaches(br#"{"id":8,"method":"Page.close"}"#).is_none());
    }
}
