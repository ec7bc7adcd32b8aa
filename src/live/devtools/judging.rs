//! The judgement of a driver's commands: which of them may pass while a person has control.
//!
//! `commands.txt` lists the commands that pass. A command that is not listed counts as acting, so
//! that commands of a later Chromium are held back until they are reviewed. A message that cannot
//! be read counts as acting as well.

use super::commands::{Class, entry};
use super::message::{CARRIER, Call, Command, DEEPEST, Object};
use crate::domain::session::Size;

/// The judgement of a command while a person has control.
#[derive(Debug)]
pub(super) enum Judgement {
    /// The command passes unchanged.
    Passes,
    /// The command passes in this rewritten form.
    PassesAs(Vec<u8>),
    /// It acts on the browser, and must wait or be refused.
    Acts(Call),
    /// It asks to close the browser, which closes only this connection.
    Detaches(Call),
}

/// Judges a message of a driver; `window` is the size of the session's window.
pub(super) fn judge(message: &[u8], window: Size) -> Judgement {
    judge_nested(message, window, 0)
}

/// Returns the call if a message asks to close the browser.
pub(super) fn detaches(message: &[u8]) -> Option<Call> {
    match judge(message, Size::default()) {
        Judgement::Detaches(call) => Some(call),
        Judgement::Passes | Judgement::PassesAs(_) | Judgement::Acts(_) => None,
    }
}

fn judge_nested(message: &[u8], window: Size, depth: usize) -> Judgement {
    let command = match Command::read(message) {
        Ok(command) => command,
        Err(call) => return Judgement::Acts(call),
    };
    let class = entry(&command.method).map_or(Class::Acts, |entry| entry.class);
    match (class, command.params()) {
        (Class::Reads, _) => Judgement::Passes,
        (Class::Detaches, _) => Judgement::Detaches(command.call),
        (Class::Evaluates, Some(params)) => match params.get("userGesture") {
            Some(_gesture) => {
                Judgement::PassesAs(command.with_params(&params.with("userGesture", None)))
            }
            None => Judgement::Passes,
        },
        (Class::Depends, Some(params)) if command.method == CARRIER => {
            let nested = params.read::<String>("message").filter(|_message| depth < DEEPEST);
            let nested = nested.map(|nested| judge_nested(nested.as_bytes(), window, depth + 1));
            match nested {
                Some(Judgement::Passes) => Judgement::Passes,
                Some(Judgement::PassesAs(nested)) => {
                    Judgement::PassesAs(command.carrying(&params, &nested))
                }
                Some(Judgement::Detaches(_)) => Judgement::Detaches(command.call),
                Some(Judgement::Acts(_)) | None => Judgement::Acts(command.call),
            }
        }
        (Class::Depends, Some(params)) if leaves_alone(&command.method, &params, window) => {
            Judgement::Passes
        }
        (Class::Evaluates | Class::Depends | Class::Acts, _) => Judgement::Acts(command.call),
    }
}

/// Returns true if a command with these parameters takes nothing from the person in control. Most
/// of these commands are sent by clients when they attach; the others undo an earlier command.
fn leaves_alone(method: &str, params: &Object<'_>, window: Size) -> bool {
    let flag = |key| params.read::<bool>(key);
    let text = |key| params.read::<String>(key);
    match method {
        "Browser.setDownloadBehavior" => text("behavior").is_some_and(|it| it != "deny"),
        "Debugger.setBreakpointsActive" => flag("active") == Some(false),
        "Debugger.setPauseOnExceptions" => text("state").is_some_and(|it| it == "none"),
        "Debugger.setSkipAllPauses" => flag("skip") == Some(true),
        // The override has the window's own size, so the page does not change.
        "Emulation.setDeviceMetricsOverride" => {
            let side = |key| params.read::<f64>(key);
            let (width, height) = (f64::from(window.width()), f64::from(window.height()));
            let plain = params
                .keys()
                .all(|key| ["width", "height", "deviceScaleFactor", "mobile"].contains(&key));
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
    use serde_json::{Value, json};

    use super::super::commands::all;
    use super::*;

    fn window() -> Size {
        Size::new(1280, 720).unwrap()
    }

    /// Returns the judgement on a message as a word, or as the rewritten command.
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
    fn each_command_is_treated_as_the_table_says() {
        for (name, entry) in all() {
            let judged = match (entry.class, fate(&command(name, &json!({}))).as_str()) {
                (Class::Reads | Class::Evaluates, "passes") | (Class::Acts, "acts") => true,
                (Class::Detaches, judged) => judged == "detaches",
                // Without parameters, all of these act except for the one that sets nothing.
                (Class::Depends, judged) => {
                    (judged == "passes") == (name == "Emulation.setEmulatedMedia")
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
            // Otherwise, pages that the person opens would wait for a driver that may not answer.
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
    fn the_end_of_the_browser_is_recognized_and_answered() {
        let close = br#"{"id":8,"method":"Browser.close","sessionId":"S"}"#;
        let done = json!({ "id": 8, "result": {}, "sessionId": "S" });
        assert_eq!(detaches(close).map(Call::done), Some(done));
        assert!(detaches(br#"{"id":8,"method":"Page.close"}"#).is_none());
    }
}
