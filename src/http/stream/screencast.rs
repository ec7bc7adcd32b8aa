//! The page in view as DevTools sees it: without the browser around it, as JPEG, whenever it changes.
//!
//! The browser sends a picture only while another may be on its way, and is told that one has
//! arrived when the viewer has it: a slow viewer costs nobody a picture that it would not see.

use std::convert::Infallible;
use std::time::Duration;

use serde::Deserialize;
use serde_json::{Number, Value, json};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, sleep_until};

use super::pages::{Pages, Tab};
use crate::actors::session::Connected;
use crate::http::front::Front;
use crate::workflow::host::DevtoolsEvent;

/// How often it is asked which page is in view, while somebody watches.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// A browser that has left is looked for again.
const AGAIN: Duration = Duration::from_secs(1);
/// Of JPEG.
const QUALITY: u8 = 60;
const WIDEST: u16 = 1280;
const HIGHEST: u16 = 720;

/// One picture.
#[derive(Debug)]
pub(super) struct Frame {
    /// JPEG in base64.
    pub picture: String,
    /// Of the page, which may be larger than the picture: what the coordinates of input are in.
    pub width: Number,
    pub height: Number,
    /// The page's address.
    pub url: String,
}

/// `Page.screencastFrame`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Cast {
    data: String,
    session_id: i64,
    metadata: Metadata,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Metadata {
    device_width: Number,
    device_height: Number,
}

/// Sends pictures until it is dropped, from one browser after the other if it is brought back.
pub(super) async fn cast(
    front: &Front,
    connected: &Connected,
    frames: &mpsc::Sender<Frame>,
) -> Infallible {
    loop {
        let desktop = connected.view.borrow().record.desktop.clone();
        if let Some(desktop) = desktop
            && let Ok(pages) = Pages::connect(&front.world, &desktop).await
        {
            let _left = follow(&pages, frames).await;
        }
        sleep(AGAIN).await;
    }
}

/// Resolves when the browser, or who takes the pictures, has left.
async fn follow(pages: &Pages, frames: &mpsc::Sender<Frame>) -> Option<Infallible> {
    let mut events = pages.events();
    let mut shown: Option<(Tab, String)> = None;
    let mut look_at = Instant::now();
    loop {
        tokio::select! {
            event = events.recv() => {
                let DevtoolsEvent { session, method, params } = event?;
                let Some((tab, of)) = shown.as_ref().filter(|(_, of)| session.as_ref() == Some(of))
                else {
                    continue;
                };
                if method != "Page.screencastFrame" {
                    continue;
                }
                let Ok(cast) = serde_json::from_value::<Cast>(params) else { continue };
                let number = cast.session_id;
                // The page may be another one than when it was last looked at.
                let url = pages.address(&tab.id).await.unwrap_or_else(|_| tab.url.clone());
                frames.send(cast.at(url)).await.ok()?;
                pages.tell(of, "Page.screencastFrameAck", json!({ "sessionId": number }));
            }
            () = sleep_until(look_at) => {
                shown = look(pages, shown).await;
                look_at = Instant::now() + LOOK_EVERY;
            }
        }
    }
}

/// The page in view; one that was not in view before begins to be cast.
async fn look(pages: &Pages, shown: Option<(Tab, String)>) -> Option<(Tab, String)> {
    let tab = pages.active().await.ok()?;
    let session = pages.attach(&tab.id).await.ok()?;
    match shown {
        Some((before, _)) if before.id == tab.id => return Some((tab, session)),
        Some((_, before)) => pages.tell(&before, "Page.stopScreencast", Value::Null),
        None => {}
    }
    // The first picture comes at once, also of a page on which nothing moves.
    let params = json!({
        "format": "jpeg",
        "quality": QUALITY,
        "maxWidth": WIDEST,
        "maxHeight": HIGHEST,
    });
    pages.call(Some(&session), "Page.startScreencast", params).await.ok()?;
    Some((tab, session))
}

impl Cast {
    fn at(self, url: String) -> Frame {
        Frame {
            picture: self.data,
            width: self.metadata.device_width,
            height: self.metadata.device_height,
            url,
        }
    }
}
