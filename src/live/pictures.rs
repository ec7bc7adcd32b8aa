//! `WS /v1/stream/browser_sessions/{id}` and `…/workflow_runs/{id}`: pictures as JSON frames, one
//! for each change.
//!
//! By default they show the whole display, from a capture that all viewers share. With
//! `force_cdp=true`, or if `http.streaming` is `cdp`, they show the page in view, see
//! `screencast.rs`. A frame without a picture reports the status of the session
//! or run. A final status is reported at once; then the stream ends.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep_until, timeout};

use super::bridge::{self, Close, CloseCode, Socket};
use super::line::Line;
use super::screencast::{Frame, cast};
use super::subject::Subject;
use super::viewer::{Viewer, slowly};
use crate::actors::session::{Connected, Follow, Join, Picture, ViewerKind};
use crate::system::desktop::Following;

/// The time after which a stream without any change ends.
const UNCHANGED: Duration = Duration::from_secs(300);
/// The time that an ending session has to report its final status.
const ENDING: Duration = Duration::from_secs(5);
/// The maximum length of a viewer's message, in bytes; viewers have nothing to send.
const LONGEST: usize = 64 << 10;

/// Serves a stream of pictures until either side disconnects. `what` is `browser_sessions` or
/// `workflow_runs`. With `page_only` the pictures show the page in view, else the whole display.
pub async fn serve(socket: Socket, viewer: Viewer, what: String, id: String, page_only: bool) {
    Stream { viewer, what, id, page_only }.serve(socket).await;
}

/// The stream of one viewer.
struct Stream {
    viewer: Viewer,
    what: String,
    id: String,
    page_only: bool,
}

/// The source of the pictures.
enum Source {
    Display(Following),
    Page,
}

impl Stream {
    async fn serve(self, socket: Socket) {
        let organization = self.viewer.organization;
        let subject =
            match Subject::find(&self.viewer.live, organization, &self.what, &self.id).await {
                Ok(subject) => subject,
                Err(close) => {
                    let word = self.word("not_found").to_string();
                    return bridge::reject_accepted(socket, Some(word), close).await;
                }
            };
        if let Some(status) = subject.ended() {
            let close = Close::new(CloseCode::Normal, "ended");
            let word = self.word(status).to_string();
            return bridge::reject_accepted(socket, Some(word), close).await;
        }
        let mut line = Line::new(socket, LONGEST);
        let close = match self.attend(&mut line, subject).await {
            Ok(never) => match never {},
            Err(close) => close,
        };
        line.close(close).await;
    }

    /// Returns a frame with a status and without a picture.
    fn word(&self, status: &str) -> Value {
        let of_a_run = self.what == "workflow_runs";
        let name = if of_a_run { "workflow_run_id" } else { "browser_session_id" };
        json!({ name: self.id, "status": status })
    }

    /// Waits until there are pictures, and sends them.
    async fn attend(
        &self,
        line: &mut Line,
        mut subject: Subject,
    ) -> Result<std::convert::Infallible, Close> {
        line.say(&self.word(subject.status())).await?;
        let session = tokio::select! {
            session = subject.session() => session,
            close = line.left() => return Err(close),
            () = self.viewer.key.revoked() => {
                return Err(Close::new(CloseCode::Policy, "key-revoked"));
            }
        };
        let session = match session {
            Ok(session) => session,
            Err(close) => {
                line.say(&self.word(subject.status())).await?;
                return Err(close);
            }
        };
        let visit = self.viewer.visit.clone();
        let (source, connected) = if self.page_only {
            let message = Join { visit, kind: ViewerKind::Pictures };
            let joined = slowly(self.viewer.ask(session, message)).await?;
            (Source::Page, joined)
        } else {
            let message = Follow { visit };
            let followed = slowly(self.viewer.ask(session, message)).await?;
            (Source::Display(followed.following), followed.connected)
        };
        let close = self.show(line, &mut subject, source, &connected).await;
        if connected.ended.is_cancelled() {
            // The final status is known a moment later.
            let _late = timeout(ENDING, subject.has_ended()).await;
            line.say(&self.word(subject.ended().unwrap_or("completed"))).await?;
        }
        Err(close)
    }

    async fn show(
        &self,
        line: &mut Line,
        subject: &mut Subject,
        source: Source,
        connected: &Connected,
    ) -> Close {
        let (frames, mut cast_frames) = mpsc::channel(1);
        let (mut display, _follows) = match source {
            Source::Display(Following { pictures, guard }) => (Some(pictures), Some(guard)),
            Source::Page => (None, None),
        };
        let casting = cast(&self.viewer.live, connected, &frames);
        let over = self.viewer.over(&connected.ended, &connected.out);
        tokio::pin!(casting, over);
        let mut end_at = Instant::now() + UNCHANGED;
        loop {
            let frame = tokio::select! {
                close = &mut over => return close,
                close = line.left() => return close,
                () = sleep_until(end_at) => {
                    let _gone = line.say(&self.word("timeout")).await;
                    return Close::new(CloseCode::Normal, "unchanged");
                }
                () = subject.changed() => self.word(subject.status()),
                never = &mut casting, if display.is_none() => match never {},
                Some(frame) = cast_frames.recv() => self.of_page(subject.status(), frame),
                picture = next(&mut display), if display.is_some() => match picture {
                    Some(picture) => self.of_display(subject.status(), &picture),
                    None => return Close::new(CloseCode::Normal, "browser-closed"),
                },
            };
            end_at = Instant::now() + UNCHANGED;
            if let Err(close) = line.say(&frame).await {
                return close;
            }
            if subject.ended().is_some() {
                return Close::new(CloseCode::Normal, "ended");
            }
        }
    }

    fn of_display(&self, status: &str, picture: &Picture) -> Value {
        let (width, height) = (picture.size.width(), picture.size.height());
        let bytes = STANDARD.encode(&picture.bytes);
        let shown = json!({
            "screenshot": bytes,
            "format": "png",
            "viewport_width": width,
            "viewport_height": height,
            "url": Value::Null,
        });
        merged(self.word(status), shown)
    }

    fn of_page(&self, status: &str, frame: Frame) -> Value {
        let shown = json!({
            "screenshot": frame.picture,
            "format": "jpeg",
            "viewport_width": frame.width,
            "viewport_height": frame.height,
            "url": frame.url,
        });
        merged(self.word(status), shown)
    }
}

fn merged(mut word: Value, shown: Value) -> Value {
    if let (Value::Object(word), Value::Object(shown)) = (&mut word, shown) {
        word.extend(shown);
    }
    word
}

/// Returns the next picture of the display; `None` when no more follow.
async fn next(display: &mut Option<watch::Receiver<Option<Picture>>>) -> Option<Picture> {
    let pictures = display.as_mut()?;
    loop {
        pictures.changed().await.ok()?;
        let picture = pictures.borrow_and_update().clone();
        if picture.is_some() {
            return picture;
        }
    }
}
