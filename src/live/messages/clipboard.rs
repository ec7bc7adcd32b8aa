//! The clipboard of the viewer in control, in both directions.

use serde_json::{Value, json};
use tokio::sync::{broadcast, mpsc};

use super::Channel;
use crate::actors::session::FollowCopies;
use crate::actors::views::SessionView;
use crate::live::bridge::Close;
use crate::system::desktop::Copies;

impl Channel {
    /// Requests the viewer's clipboard when it has pressed the paste key over RFB.
    pub(super) async fn follow_paste_key(&self, say: &mpsc::Sender<Value>) -> Close {
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

    /// Sends the viewer each text that is copied in the browser while the viewer has control.
    pub(super) async fn report_copies(&self, say: &mpsc::Sender<Value>) -> Close {
        if !self.viewer.live.policy.clipboard.outward {
            return std::future::pending().await;
        }
        let mut view = self.connected.view.clone();
        loop {
            let desktop = view.borrow_and_update().record.desktop.clone();
            if self.has_control()
                && let Ok(copies) = self.viewer.ask(self.session, FollowCopies).await
            {
                let is_over = |view: &SessionView| {
                    view.record.desktop != desktop || !self.has_control_in(view)
                };
                tokio::select! {
                    () = self.report_texts(copies, say) => {}
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

    /// Sends each copied text until the display ends.
    async fn report_texts(&self, Copies { mut texts, guard }: Copies, say: &mpsc::Sender<Value>) {
        while texts.changed().await.is_ok() {
            let text = texts.borrow_and_update().clone();
            // A text that is too long is dropped without an error, because the viewer did not
            // request it.
            if self.has_control()
                && let Ok(message) = self.copied(text)
            {
                let _ = say.send(message).await;
            }
        }
        drop(guard);
    }

    /// Returns the message about a copied text, or the reason why none is sent.
    pub(super) fn copied(&self, text: String) -> Result<Value, String> {
        let clipboard = self.viewer.live.policy.clipboard;
        if !clipboard.outward {
            return Err("this server does not send copied text (http.clipboard)".to_owned());
        }
        if text.is_empty() {
            return Err("nothing is selected in the page".to_owned());
        }
        if text.len() > clipboard.longest() {
            return Err(format!("the text is longer than {} bytes", clipboard.longest()));
        }
        Ok(json!({ "kind": "copied-text", "text": text }))
    }

    /// Inserts a text at the focus of the page. `is_answer` is true if the server requested the
    /// text after the paste key.
    pub(super) async fn paste(&self, text: String, is_answer: bool) -> Result<(), String> {
        let clipboard = self.viewer.live.policy.clipboard;
        if !clipboard.inward {
            return Err("this server accepts no text to paste (http.clipboard)".to_owned());
        }
        if text.len() > clipboard.longest() {
            return Err(format!("the text is longer than {} bytes", clipboard.longest()));
        }
        let pages = self.pages().await?;
        if text.is_empty() && is_answer {
            // The viewer's clipboard is empty, and its paste key was withheld: the browser pastes
            // its own clipboard.
            for kind in ["rawKeyDown", "keyUp"] {
                pages.ask("Input.dispatchKeyEvent", paste_key(kind)).await?;
            }
        } else {
            pages.ask("Input.insertText", json!({ "text": text })).await?;
        }
        Ok(())
    }
}

/// Returns Ctrl+V for `Input.dispatchKeyEvent`, which pastes only with the editing command `paste`.
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
