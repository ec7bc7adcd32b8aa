//! What becomes of a driver's commands while a person has control.
//!
//! Commands that act on the page are held back until the person hands back, in their order, or
//! refused; what only reads goes on. A driver that clicks by a script of its own is not seen
//! here: scripts are how drivers read, too.

use std::borrow::Cow;
use std::collections::VecDeque;

use actix_web::web::Bytes;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt as _;
use tokio::net::tcp::OwnedWriteHalf;
use tokio::sync::{mpsc, watch};

use crate::actors::views::SessionView;
use crate::domain::control::OnTakeover;
use crate::domain::websocket::{Frames, Part, text_frame};

/// How many bytes may be held back. A driver that sends more is not read until control is back.
const MOST_HELD: usize = 16 << 20;

/// What acts on a page, a tab or the browser, beside all of `Input`.
const ACTS: &[&str] = &[
    "Browser.close",
    "Browser.crash",
    "Browser.setContentsSize",
    "Browser.setWindowBounds",
    "DOM.focus",
    "DOM.setFileInputFiles",
    "Page.bringToFront",
    "Page.close",
    "Page.crash",
    "Page.handleJavaScriptDialog",
    "Page.navigate",
    "Page.navigateToHistoryEntry",
    "Page.reload",
    "Page.setDocumentContent",
    "Page.stopLoading",
    "Target.activateTarget",
    "Target.closeTarget",
    "Target.createTarget",
    "Target.disposeBrowserContext",
];

/// A command, as far as it is judged.
#[derive(Debug, Deserialize)]
struct Command<'a> {
    id: Option<i64>,
    #[serde(borrow)]
    method: Cow<'a, str>,
    #[serde(rename = "sessionId")]
    session: Option<Value>,
    #[serde(default)]
    params: Option<Nested>,
}

/// A command within a command, as clients without flat sessions send them.
#[derive(Debug, Deserialize)]
struct Nested {
    message: Option<Value>,
}

impl Command<'_> {
    fn acts(&self) -> bool {
        if self.method == "Target.sendMessageToTarget" {
            let message = self.params.as_ref().and_then(|params| params.message.as_ref());
            let nested = message.and_then(Value::as_str).map(str::as_bytes);
            return nested.is_none_or(|nested| judge(nested).is_some());
        }
        self.method.starts_with("Input.") || ACTS.contains(&self.method.as_ref())
    }
}

/// For a message that acts: the answer that refuses it. What cannot be read is taken to act.
fn judge(message: &[u8]) -> Option<Value> {
    let error = json!({
        "code": -32000,
        "message": "a person has control of this session; ask again when it is handed back",
    });
    let Ok(command) = serde_json::from_slice::<Command<'_>>(message) else {
        return Some(json!({ "id": Value::Null, "error": error }));
    };
    if !command.acts() {
        return None;
    }
    let mut answer = json!({ "id": command.id, "error": error });
    if let (Some(session), Some(answer)) = (command.session, answer.as_object_mut()) {
        answer.insert("sessionId".to_owned(), session);
    }
    Some(answer)
}

/// Passes a driver's bytes on to the browser, but for what a person's control holds back.
pub(super) struct Upward {
    to_browser: OwnedWriteHalf,
    rule: OnTakeover,
    view: watch::Receiver<SessionView>,
    /// Frames for the driver.
    answers: mpsc::UnboundedSender<Bytes>,
    frames: Frames,
    held: VecDeque<Vec<u8>>,
    held_bytes: usize,
}

impl Upward {
    pub fn new(
        to_browser: OwnedWriteHalf,
        rule: OnTakeover,
        view: watch::Receiver<SessionView>,
        answers: mpsc::UnboundedSender<Bytes>,
    ) -> Self {
        let (frames, held) = (Frames::default(), VecDeque::new());
        Self { to_browser, rule, view, answers, frames, held, held_bytes: 0 }
    }

    /// Whether more may be taken.
    pub fn has_room(&self) -> bool {
        self.held_bytes < MOST_HELD
    }

    fn is_taken_over(&self) -> bool {
        self.view.borrow().control.user().is_some()
    }

    /// Takes a driver's bytes. Fails when the connection cannot go on.
    pub async fn take(&mut self, mut bytes: Bytes) -> std::io::Result<()> {
        if self.rule == OnTakeover::Share {
            return self.to_browser.write_all(&bytes).await;
        }
        loop {
            let wanted = self.is_taken_over() || !self.held.is_empty();
            let part = self.frames.next(&mut bytes, wanted).map_err(std::io::Error::other)?;
            match part {
                None => break,
                Some(Part::Pass(bytes)) => self.to_browser.write_all(&bytes).await?,
                Some(Part::Message { raw, payload }) => self.message(raw, &payload).await?,
            }
        }
        self.let_go().await
    }

    async fn message(&mut self, raw: Vec<u8>, payload: &[u8]) -> std::io::Result<()> {
        // What is held back goes first, so that commands keep their order.
        self.let_go().await?;
        let refusal = judge(payload).filter(|_acts| self.is_taken_over());
        match (refusal, self.rule) {
            (Some(refusal), OnTakeover::Refuse) => {
                // A driver that has left hears nothing.
                let _ = self.answers.send(text_frame(&refusal.to_string()).into());
                Ok(())
            }
            (Some(_), OnTakeover::Hold) => {
                self.held_bytes += raw.len();
                self.held.push_back(raw);
                Ok(())
            }
            (Some(_), OnTakeover::Share) | (None, _) => self.to_browser.write_all(&raw).await,
        }
    }

    /// Sends what was held back, if nobody has control any more.
    pub async fn let_go(&mut self) -> std::io::Result<()> {
        while !self.is_taken_over() && self.frames.is_between() {
            let Some(raw) = self.held.pop_front() else { break };
            self.held_bytes = self.held_bytes.saturating_sub(raw.len());
            self.to_browser.write_all(&raw).await?;
        }
        Ok(())
    }

    /// Resolves when control may have changed hands while something is held back.
    pub fn changed(&self) -> impl Future<Output = ()> + use<> {
        let (mut view, waits) = (self.view.clone(), !self.held.is_empty());
        async move {
            let back = view.wait_for(|view| view.control.user().is_none());
            if !waits || back.await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }

    /// Tells the browser that nothing more comes. What is held back is never sent.
    pub async fn finish(mut self) {
        let _ = self.to_browser.shutdown().await; // The browser may have gone first.
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_acts_is_told_from_what_reads() {
        let nested = r#"{"id":1,"method":"Target.sendMessageToTarget","params":{"message":"#;
        for (message, acts) in [
            (r#"{"id":1,"method":"Input.dispatchMouseEvent","params":{}}"#.to_owned(), true),
            (r#"{"id":1,"method":"Page.navigate","params":{"url":"x"}}"#.to_owned(), true),
            (r#"{"id":1,"method":"Runtime.evaluate","params":{}}"#.to_owned(), false),
            (r#"{"id":1,"method":"Page.enable"}"#.to_owned(), false),
            (r#"{"id":1,"method":"Input\u002einsertText"}"#.to_owned(), true),
            (r#"{"method":"Page.enable","method":"Input.insertText"}"#.to_owned(), true),
            ("nonsense".to_owned(), true),
            (format!(r#"{nested}"{{\"method\":\"Input.insertText\"}}"}}}}"#), true),
            (format!(r#"{nested}"{{\"method\":\"Page.enable\"}}"}}}}"#), false),
        ] {
            assert_eq!(judge(message.as_bytes()).is_some(), acts, "{message}");
        }
    }

    #[test]
    fn a_refusal_answers_the_call_in_its_session() {
        let message = br#"{"id":7,"method":"Input.insertText","sessionId":"S"}"#;
        let answer = judge(message).unwrap();
        assert_eq!((&answer["id"], &answer["sessionId"]), (&json!(7), &json!("S")));
        assert_eq!(answer["error"]["code"], -32000);
    }
}
