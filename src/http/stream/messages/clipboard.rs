//! The clipboard of whoever has control, both ways.

use serde_json::{Value, json};
use tokio::sync::{broadcast, mpsc};

use super::super::asked;
use super::Channel;
use crate::actors::session::FollowCopies;
use crate::actors::views::SessionView;
use crate::http::bridge::Close;
use crate::system::desktop::Copies;

impl Channel {
    /// Asks for the viewer's clipboard when it has pressed the key that pastes in the picture.
    pub(super) async fn hear_pastes(&self, say: &mpsc::Sender<Value>) -> Close {
        let mut pastes = self.connected.pastes.subscribe();
        loop {
            match pastes.recv().await {
                Ok(party) if Some(&party) == self.connected.party.as_ref() => {
                    let _ = say.send(json!({ "kind": "ask-for-clipboard" })).await;
                }
                Ok(_) | Err(broadcast::error::RecvError::Lagged(_)) => {}
                Err(broadcast::error::RecvError::Closed) => return std::future::pending().await,
            }
        }
    }

    /// Says what is copied in the browser while the viewer has control, and to nobody else.
    pub(super) async fn tell_copies(&self, say: &mpsc::Sender<Value>) -> Close {
        if !self.front.policy.clipboard.outward {
            return std::future::pending().await;
        }
        let mut view = self.connected.view.clone();
        loop {
            let desktop = view.borrow_and_update().record.desktop.clone();
            if self.has_control()
                && let Ok(copies) =
                    asked(&self.front, &self.visitor, self.session, FollowCopies).await
            {
                let is_over = |view: &SessionView| {
                    view.record.desktop != desktop || !self.has_control_in(view)
                };
                tokio::select! {
                    () = self.tell_texts(copies, say) => {}
                    changed = view.wait_for(is_over) => {
                        if changed.is_err() {
                            return std::future::pending().await;
                        }
                        continue;
                    }
                }
            }
            if view.changed().await.is_err() {
                return std::future::pending().await;
            }
        }
    }

    /// Ends with the display.
    async fn tell_texts(&self, Copies { mut texts, guard }: Copies, say: &mpsc::Sender<Value>) {
        while texts.changed().await.is_ok() {
            let text = texts.borrow_and_update().clone();
            // One that is too long for this is left out: nobody asked for it.
            if self.has_control()
                && let Ok(message) = self.copied(text)
            {
                let _ = say.send(message).await;
            }
        }
        drop(guard);
    }

    /// What says that a text was copied, if it may be said.
    pub(super) fn copied(&self, text: String) -> Result<Value, String> {
        let clipboard = self.front.policy.clipboard;
        if !clipboard.outward {
            return Err("this server keeps what is copied (http.clipboard)".to_owned());
        }
        if text.is_empty() {
            return Err("nothing is selected in the page".to_owned());
        }
        if text.len() > clipboard.longest() {
            return Err(format!("the text is longer than {} bytes", clipboard.longest()));
        }
        Ok(json!({ "kind": "copied-text", "text": text }))
    }

    /// Puts a text in where the page has its focus; `is_answer` if it was asked for it.
    pub(super) async fn paste(&self, text: String, is_answer: bool) -> Result<(), String> {
        let clipboard = self.front.policy.clipboard;
        if !clipboard.inward {
            return Err("this server takes no text to paste (http.clipboard)".to_owned());
        }
        if text.len() > clipboard.longest() {
            return Err(format!("the text is longer than {} bytes", clipboard.longest()));
        }
        let pages = self.pages().await?;
        if text.is_empty() && is_answer {
            // The page has nothing, and the key was kept back: what the browser has is pasted.
            for kind in ["rawKeyDown", "keyUp"] {
                pages.ask("Input.dispatchKeyEvent", paste_key(kind)).await?;
            }
        } else {
            pages.ask("Input.insertText", json!({ "text": text })).await?;
        }
        Ok(())
    }
}

/// Ctrl+V, for `Input.dispatchKeyEvent`, which pastes only if it is told to.
fn paste_key(kind: &str) -> Value {
    json!({
        "type": kind,
        "key": "v",
        "code": "KeyV",
        "modifiers": 2,
        "windowsVirtualKeyCode": 86,
        "commands": if kind == "keyUp" { json!([]) } else { json!(["paste"]) },
    })
}
