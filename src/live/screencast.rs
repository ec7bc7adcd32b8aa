//! A screencast of the page in view over DevTools: JPEG pictures without the browser's window, one
//! for each change.
//!
//! The browser gets an acknowledgement only after the viewer has taken a picture. So a slow viewer
//! causes no pictures that it would not see.

use std::convert::Infallible;
use std::time::Duration;

use serde::Deserialize;
use serde_json::{Number, Value, json};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, sleep_until};

use super::pages::{Pages, Tab};
use super::state::Live;
use crate::actors::session::Connected;
use crate::workflow::host::DevtoolsEvent;

/// The interval between two look-ups of the page in view.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// The delay before reconnecting to a browser that is gone.
const RETRY_DELAY: Duration = Duration::from_secs(1);
/// The quality of the JPEG pictures.
const QUALITY: u8 = 60;
const WIDEST: u16 = 1280;
const HIGHEST: u16 = 720;

/// One picture of the screencast.
#[derive(Debug)]
pub(super) struct Frame {
    /// The picture as JPEG in base64.
    pub picture: String,
    /// The size of the page, which may be larger than the picture; coordinates of input refer to
    /// it.
    pub width: Number,
    pub height: Number,
    /// The address of the page.
    pub url: String,
}

/// The DevTools event `Page.screencastFrame`.
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

/// Sends pictures until it is dropped; reconnects when the browser is restarted.
pub(super) async fn cast(
    live: &Live,
    connected: &Connected,
    frames: &mpsc::Sender<Frame>,
) -> Infallible {
    loop {
        let desktop = connected.view.borrow().record.desktop.clone();
        if let Some(desktop) = desktop
            && let Ok(pages) = Pages::connect(&live.world, &desktop).await
        {
            let _left = follow(&pages, frames).await;
        }
        sleep(RETRY_DELAY).await;
    }
}

/// Sends pictures; resolves when the browser or the receiver is gone.
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
                // The page may have navigated since the last look-up.
                let url = pages.address(&tab.id).await.unwrap_or_else(|_| tab.url.clone());
                frames.send(cast.at(url)).await.ok()?;
                pages.notify(of, "Page.screencastFrameAck", json!({ "sessionId": number }));
            }
            () = sleep_until(look_at) => {
                shown = find_in_view(pages, shown).await;
                look_at = Instant::now() + LOOK_EVERY;
            }
        }
    }
}

/// Looks up the page in view, and starts the screencast of a page that was not in view before.
async fn find_in_view(pages: &Pages, shown: Option<(Tab, String)>) -> Option<(Tab, String)> {
    let tab = pages.active().await.ok()?;
    let session = pages.attach(&tab.id).await.ok()?;
    match shown {
        Some((before, _)) if before.id == tab.id => return Some((tab, session)),
        Some((_, before)) => pages.notify(&before, "Page.stopScreencast", Value::Null),
        None => {}
    }
    // The first picture comes at once, even from a page without motion.
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
