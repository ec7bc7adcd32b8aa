//! `WS /v1/stream/messages/browser_session/{id}`: control, the clipboard and tabs, as JSON messages
//! with a `kind`.
//!
//! Beyond the compatible API, the server reports the party in control, when the channel opens and
//! at every change:
//! `{"kind":"control","by":"agent"|"user","you":bool,"label":str|null,"role":"watch"|"control"}`.
//! `role` is the highest that the viewer's credentials allow. In the same way it reports the run in
//! the session, see `run`.
//!
//! A server that drains reports that, and the deadline for work under way:
//! `{"kind":"server-draining","draining":bool,"stopping":bool,"deadline":str|null}`. Requests that
//! the session's egress policy refuses are reported, see `refused`.
//!
//! The viewer in control gives files to pages, see `files`.
//!
//! Messages that change the page are accepted only from the viewer in control; others get
//! `{"kind":"error","failed_kind":…,"message":…}`.

mod clipboard;
mod files;
mod lane;
mod recorder;
mod refused;

use std::cell::Cell;
use std::time::Duration;

use actix_ws::{AggregatedMessage, AggregatedMessageStream};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, timeout};
use tracing::debug;
use url::Url;

use self::files::{Choosers, GivenFiles};
use self::lane::Lane;
use super::bridge::{Close, CloseCode, Socket};
use super::keepalive::{Keepalive, STALL};
use super::pages::{Pages, Tab};
use super::run;
use super::viewer::Viewer;
use crate::actors::session::{Capture, CedeControl, Connected, Format, TakeControl};
use crate::actors::views::SessionView;
use crate::domain::ids::SessionId;

/// The maximum length of a viewer's message, in bytes: a clipboard of 1 MiB with every byte
/// escaped.
const LONGEST: usize = 6 << 20;
/// The maximum size of a picture that is sent, in bytes.
const LARGEST_PICTURE: usize = 5 << 20;
/// The maximum number of a viewer's messages in the queue.
const WAITING: usize = 32;
/// The maximum number of messages that are queued for a viewer; the longest contains a picture.
const UNSENT: usize = 4;
/// The interval between two listings of the tabs: no event reports a changed title or another tab
/// in view.
const TABS_EVERY: Duration = Duration::from_secs(2);

/// Serves a message channel until either side disconnects.
pub async fn serve(socket: Socket, viewer: Viewer, session: SessionId, connected: Connected) {
    let (lane, choosers) = (Lane::default(), Choosers::default());
    Channel { viewer, session, connected, lane, choosers }.serve(socket).await;
}

/// A message from a viewer.
#[derive(Debug, Deserialize)]
struct ViewerMessage {
    kind: String,
    #[serde(default)]
    text: String,
    #[serde(default)]
    url: String,
    #[serde(default)]
    hard: bool,
    #[serde(flatten)]
    files: GivenFiles,
}

/// The message channel of one page.
#[derive(Debug)]
struct Channel {
    viewer: Viewer,
    session: SessionId,
    connected: Connected,
    lane: Lane,
    choosers: Choosers,
}

impl Channel {
    async fn serve(self, socket: Socket) {
        let (session, stream) = socket.into_parts();
        let mut stream = stream.max_frame_size(LONGEST).aggregate_continuations();
        stream = stream.max_continuation_size(LONGEST);
        let (say, mut said) = mpsc::channel::<Value>(UNSENT);
        let (act, wanted) = mpsc::channel(WAITING);
        let heard = Cell::new(Instant::now());
        let incoming = (&mut stream, session.clone());
        let mut outgoing = session.clone();
        let sending = async {
            while let Some(message) = said.recv().await {
                let sent = if message.is_null() {
                    timeout(STALL, outgoing.ping(b"")).await
                } else {
                    timeout(STALL, outgoing.text(message.to_string())).await
                };
                if !matches!(sent, Ok(Ok(()))) {
                    break;
                }
            }
            Close::new(CloseCode::Normal, "viewer-left")
        };
        // Null stands for a ping.
        let ping = async || drop(say.send(Value::Null).await);
        let close = tokio::select! {
            close = self.viewer.over(&self.connected.ended, &self.connected.out) => close,
            close = sending => close,
            close = self.listen(incoming, &act, &say, &heard) => close,
            () = Keepalive::default().until_silent(&heard, ping) => {
                Close::new(CloseCode::Policy, "viewer-silent")
            }
            close = self.report_control(&say) => close,
            close = self.report_tabs(&say) => close,
            close = self.report_draining(&say) => close,
            close = refused::report(&self.viewer.live.world.views, self.session, &say) => close,
            close = run::report(
                &self.viewer.live.world.views,
                self.viewer.organization,
                &self.connected,
                &say,
            ) => close,
            close = self.follow_paste_key(&say) => close,
            close = self.report_copies(&say) => close,
            close = self.report_choosers(&say) => close,
            close = self.act(wanted, &say) => close,
        };
        debug!("a message channel ends: {close}");
        let _gone = timeout(STALL, session.close(Some(close.into()))).await;
    }

    /// Reads a viewer's messages, and queues them for `act`.
    async fn listen(
        &self,
        (stream, mut session): (&mut AggregatedMessageStream, actix_ws::Session),
        act: &mpsc::Sender<(ViewerMessage, usize)>,
        say: &mpsc::Sender<Value>,
        heard: &Cell<Instant>,
    ) -> Close {
        loop {
            let message = match stream.recv().await {
                Some(Ok(message)) => message,
                Some(Err(actix_ws::ProtocolError::Overflow)) => {
                    return Close::new(CloseCode::TooBig, "message-too-big");
                }
                Some(Err(_)) | None => return Close::new(CloseCode::Normal, "viewer-left"),
            };
            heard.set(Instant::now());
            let text = match message {
                AggregatedMessage::Text(text) => text,
                AggregatedMessage::Close(_) => {
                    return Close::new(CloseCode::Normal, "viewer-left");
                }
                AggregatedMessage::Ping(payload) => {
                    let _gone = timeout(STALL, session.pong(&payload)).await;
                    continue;
                }
                AggregatedMessage::Binary(_) | AggregatedMessage::Pong(_) => continue,
            };
            let Ok(said) = serde_json::from_str::<ViewerMessage>(&text) else { continue };
            if said.kind == "ping" {
                // Pages cannot see WebSocket pings, so they send pings of their own.
                let _ = say.try_send(json!({ "kind": "pong" }));
                continue;
            }
            let kind = said.kind.clone();
            // Control is not queued behind other messages, which may wait for a page that hangs.
            let viewer = self.connected.id;
            let control = match kind.as_str() {
                "take-control" => Some(self.change_control(TakeControl { viewer }).await),
                "cede-control" => {
                    self.lane.clear().await;
                    Some(self.change_control(CedeControl { viewer }).await)
                }
                _other => None,
            };
            if let Some(outcome) = control {
                if let Err(message) = outcome {
                    let _ = say.send(error(&kind, &message)).await;
                }
                continue;
            }
            let size = text.len();
            if self.lane.has_room(size) && act.try_send((said, size)).is_ok() {
                self.lane.begins(size);
            } else {
                let busy = "too many messages are waiting";
                let _ = say.send(error(&kind, busy)).await;
            }
        }
    }

    /// Reports the party in control, at once and at every change.
    async fn report_control(&self, say: &mpsc::Sender<Value>) -> Close {
        let mut view = self.connected.view.clone();
        let mut reported = None;
        loop {
            let control = {
                let view = view.borrow_and_update();
                let user = view.control.user();
                let you =
                    user.is_some_and(|user| Some(&user.party) == self.connected.party.as_ref());
                json!({
                    "kind": "control",
                    "by": if user.is_some() { "user" } else { "agent" },
                    "you": you,
                    "label": user.and_then(|user| user.label.as_deref()),
                    "role": self.connected.role.as_str(),
                })
            };
            if reported.as_ref() != Some(&control) {
                let _ = say.send(control.clone()).await;
                reported = Some(control);
            }
            if view.changed().await.is_err() {
                return std::future::pending().await;
            }
        }
    }

    /// Reports when the server starts draining, and when it stops doing so.
    async fn report_draining(&self, say: &mpsc::Sender<Value>) -> Close {
        let mut draining = self.viewer.live.world.views.draining();
        let mut reported = None;
        loop {
            let now = *draining.borrow_and_update();
            if now != reported {
                let message = json!({
                    "kind": "server-draining",
                    "draining": now.is_some(),
                    "stopping": now.is_some_and(|draining| draining.stopping),
                    "deadline": now.and_then(|draining| draining.deadline),
                });
                let _ = say.send(message).await;
                reported = now;
            }
            if draining.changed().await.is_err() {
                return std::future::pending().await;
            }
        }
    }

    async fn pages(&self) -> Result<Pages, String> {
        let desktop = self.connected.view.borrow().record.desktop.clone();
        let desktop = desktop.ok_or_else(|| "the browser is not ready".to_owned())?;
        Pages::connect(&self.viewer.live.world, &desktop).await
    }

    /// Reports the list of tabs, at once and at every change.
    async fn report_tabs(&self, say: &mpsc::Sender<Value>) -> Close {
        let mut reported: Option<Vec<Tab>> = None;
        loop {
            if let Ok(pages) = self.pages().await
                && let Ok(mut changed) = pages.discover().await
            {
                let mut there = true;
                while there {
                    if let Ok(tabs) = pages.tabs().await
                        && reported.as_ref() != Some(&tabs)
                    {
                        let _ = say.send(listed(&tabs)).await;
                        reported = Some(tabs);
                    }
                    tokio::select! {
                        more = changed() => there = more,
                        () = sleep(TABS_EVERY) => {}
                    }
                }
            }
            // The browser is gone, but may be restarted.
            sleep(TABS_EVERY).await;
        }
    }

    /// Handles a viewer's messages, one after the other.
    async fn act(
        &self,
        mut wanted: mpsc::Receiver<(ViewerMessage, usize)>,
        say: &mpsc::Sender<Value>,
    ) -> Close {
        while let Some((said, size)) = wanted.recv().await {
            let kind = said.kind.clone();
            let done = tokio::select! {
                done = self.done(said) => done,
                () = self.lane.called_off() => Err("control was released".to_owned()),
            };
            self.lane.ended(size);
            let answer = match done {
                Ok(None) => continue,
                Ok(Some(answer)) => answer,
                Err(message) => error(&kind, &message),
            };
            let _ = say.send(answer).await;
            if kind == "begin-exfiltration" {
                let _ = say.send(recorder::not_recorded()).await;
            }
        }
        std::future::pending().await
    }

    async fn done(&self, said: ViewerMessage) -> Result<Option<Value>, String> {
        match said.kind.as_str() {
            "get-browser-url" => {
                let tab = self.pages().await?.active().await?;
                Ok(Some(json!({ "kind": "browser-url", "url": tab.url })))
            }
            "take-screenshot" => self.picture().await.map(Some),
            "clipboard-copy" => {
                self.in_control()?;
                self.copied(self.pages().await?.selection().await?).map(Some)
            }
            "clipboard-paste" | "ask-for-clipboard-response" => {
                self.in_control()?;
                let is_answer = said.kind == "ask-for-clipboard-response";
                self.paste(said.text, is_answer).await?;
                Ok(None)
            }
            "give-files" => {
                self.in_control()?;
                self.give_files(said.files).await.map(Some)
            }
            "handle-file-choosers" => {
                self.choosers.handle();
                Ok(None)
            }
            "cancel-file-chooser" => {
                self.in_control()?;
                self.choosers.cancel();
                Ok(None)
            }
            "navigate" => {
                self.in_control()?;
                let url = Url::parse(&said.url)
                    .ok()
                    .filter(|url| matches!(url.scheme(), "http" | "https") && url.host().is_some());
                let url = url.ok_or_else(|| "expected an http or https URL".to_owned())?;
                let params = json!({ "url": url.as_str() });
                let answer = self.pages().await?.ask("Page.navigate", params).await?;
                match answer.get("errorText").and_then(Value::as_str) {
                    Some(cause) => Err(cause.to_owned()),
                    None => Ok(None),
                }
            }
            "reload" => {
                self.in_control()?;
                let params = json!({ "ignoreCache": said.hard });
                self.pages().await?.ask("Page.reload", params).await?;
                Ok(None)
            }
            "go-back" | "go-forward" => {
                self.in_control()?;
                let by = if said.kind == "go-back" { -1 } else { 1 };
                self.pages().await?.travel(by).await?;
                Ok(None)
            }
            "clear-cookies"
            | "clear-history"
            | "clear-all-data"
            | "begin-exfiltration"
            | "end-exfiltration"
            | "recording-capture-pause"
            | "recording-capture-resume"
            | "recording-rearm-capture" => Err(recorder::NOT_DONE.to_owned()),
            _unknown => Ok(None),
        }
    }

    fn has_control(&self) -> bool {
        self.has_control_in(&self.connected.view.borrow())
    }

    fn has_control_in(&self, view: &SessionView) -> bool {
        self.connected.party.as_ref().is_some_and(|party| view.control.is_of(party))
    }

    fn in_control(&self) -> Result<(), String> {
        if !self.has_control() {
            return Err("take control first".to_owned());
        }
        self.connected.activity.note(self.viewer.live.world.clock.now());
        Ok(())
    }

    async fn change_control<M>(&self, message: M) -> Result<(), String>
    where
        M: crate::actors::ask::Ask<Answer = Result<(), crate::actors::session::SessionError>>,
        crate::actors::session::Session: crate::actors::ask::Handle<M>,
    {
        let asked = self.viewer.ask(self.session, message).await;
        asked.map_err(|close| close.reason.into_owned())
    }

    async fn picture(&self) -> Result<Value, String> {
        let _turn = self.viewer.live.pictures.turn(self.viewer.organization).await;
        let message = Capture { format: Format::Png };
        let picture = self.viewer.ask(self.session, message).await;
        let picture = picture.map_err(|close| close.reason.into_owned())?;
        if picture.bytes.len() > LARGEST_PICTURE {
            return Err("the picture is larger than 5 MiB".to_owned());
        }
        let data = STANDARD.encode(&picture.bytes);
        Ok(json!({ "kind": "screenshot", "data": data, "mime_type": "image/png" }))
    }
}

fn error(kind: &str, message: &str) -> Value {
    json!({ "kind": "error", "failed_kind": kind, "message": message })
}

fn listed(tabs: &[Tab]) -> Value {
    let tabs: Vec<_> = tabs
        .iter()
        .zip(1..)
        .map(|(tab, number)| {
            json!({
                "id": tab.id,
                "title": tab.title,
                "url": tab.url,
                "active": tab.active,
                "favicon": Value::Null,
                "isReady": true,
                "pageNumber": number,
            })
        })
        .collect();
    json!({ "kind": "browser-tabs", "tabs": tabs })
}
