//! `WS /v1/stream/cdp_input/browser_session/{id}` and `…/workflow_run/{id}`: keys, clicks and
//! navigation over DevTools, for viewers that see the page as a screencast.
//!
//! This is the compatible API's socket, with one difference: control belongs to the session, as
//! everywhere here. Messages without control are ignored, as there. A rejected `take-control` is
//! answered by `{"kind":"error","failed_kind":"take-control","message":…}`.

mod event;
mod held;

use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use serde::Deserialize;
use serde_json::{Value, json};
use std::sync::Arc;
use tokio::time::{Instant, timeout};
use tracing::debug;

use self::event::Event;
use self::held::{Held, Release};
use super::bridge::{self, Close, CloseCode, Socket};
use super::line::Line;
use super::pages::Pages;
use super::subject::Subject;
use super::viewer::{Viewer, slowly};
use crate::actors::session::{CedeControl, Connected, Join, TakeControl, ViewerKind};
use crate::domain::ids::SessionId;
use crate::domain::session::SessionStatus;

/// The maximum length of a viewer's message, in bytes: an address with every byte escaped.
const LONGEST: usize = 64 << 10;
/// The maximum number of events that are being dispatched. Beyond it, movements of the pointer are
/// dropped, and all other events wait.
const MOST_UNDER_WAY: usize = 64;
/// The time for which a page counts as in view before it is looked up again.
const IN_VIEW_LIFETIME: Duration = Duration::from_millis(500);
/// The time to wait for a session whose browser is not ready.
const STARTING: Duration = Duration::from_secs(45);
/// Chromium's error for an address that its policy blocks.
const BLOCKED: &str = "net::ERR_BLOCKED_BY_ADMINISTRATOR";
/// The maximum number of events in a row that may fail, as pages come and go.
const MOST_FAILURES: u32 = 3;

/// Serves an input socket of a session or a run until either side disconnects. `what` is
/// `browser_session` or `workflow_run`.
pub async fn serve(socket: Socket, viewer: Viewer, what: &str, id: &str) {
    match Subject::find(&viewer.live, viewer.organization, what, id).await {
        Ok(subject) if subject.ended().is_none() => drive(socket, viewer, subject).await,
        Ok(_ended) => {
            let close = Close::new(CloseCode::NotFound, "it has ended");
            bridge::reject_accepted(socket, None, close).await;
        }
        Err(Close { reason, .. }) => {
            let close = Close::new(CloseCode::NotFound, reason);
            bridge::reject_accepted(socket, None, close).await;
        }
    }
}

async fn drive(socket: Socket, viewer: Viewer, mut subject: Subject) {
    let mut line = Line::new(socket, LONGEST);
    let begun = async {
        let session = subject.session().await.map_err(|close| {
            let closing = close.code == CloseCode::Normal;
            if closing { Close::new(CloseCode::Closing, "the run is closing") } else { close }
        })?;
        ready(&viewer, session).await?;
        let visit = viewer.visit.clone();
        let message = Join { visit, kind: ViewerKind::Input };
        Ok((session, viewer.ask(session, message).await?))
    };
    let begun = tokio::select! {
        begun = slowly(begun) => begun,
        close = line.left() => Err(close),
    };
    let close = match begun {
        Ok((session, connected)) => {
            let driving = Driving::new(viewer, session, connected, subject).await;
            match driving {
                Ok(mut driving) => {
                    let close = driving.serve(&mut line).await;
                    driving.release_all();
                    close
                }
                Err(close) => close,
            }
        }
        Err(close) => close,
    };
    debug!("an input socket ends: {close}");
    line.close(close).await;
}

/// Waits for a session that is starting or recovering.
async fn ready(viewer: &Viewer, session: SessionId) -> Result<(), Close> {
    let gone = || Close::new(CloseCode::NotFound, "the session has ended");
    viewer.awake(session).await?;
    let view = viewer.live.world.views.session(viewer.organization, session);
    let mut view = view.ok_or_else(gone)?;
    let coming = [SessionStatus::Created, SessionStatus::Retry];
    let settled = view.wait_for(|view| !coming.contains(&view.record.status));
    match timeout(STARTING, settled).await {
        Ok(Ok(view)) if view.record.status.is_final() => Err(gone()),
        Ok(Ok(view)) if view.closing => {
            Err(Close::new(CloseCode::Closing, "the session is closing"))
        }
        Ok(Ok(_running)) => Ok(()),
        Ok(Err(_gone)) => Err(gone()),
        Err(_late) => Err(Close::new(CloseCode::TimedOut, "the browser is not ready")),
    }
}

/// A viewer's message: about control, or an event.
#[derive(Debug, Deserialize)]
struct ViewerMessage {
    kind: Option<String>,
    #[serde(flatten)]
    rest: Value,
}

/// The outcome of an event.
enum Outcome {
    Done,
    /// The page could not be reached.
    Failed,
    /// The viewer gets this message.
    Say(Value),
}

/// A connected viewer that may drive the page while it has control.
struct Driving {
    viewer: Viewer,
    session: SessionId,
    connected: Connected,
    subject: Subject,
    pages: Arc<Pages>,
    /// The DevTools session of the page in view, and the time of that look-up.
    page: Option<(String, Instant)>,
    held: Held,
    under_way: FuturesUnordered<BoxFuture<'static, Outcome>>,
    failures: u32,
}

impl Driving {
    async fn new(
        viewer: Viewer,
        session: SessionId,
        connected: Connected,
        subject: Subject,
    ) -> Result<Self, Close> {
        let no_page = |why: String| Close::new(CloseCode::NoPage, why);
        let desktop = connected.view.borrow().record.desktop.clone();
        let desktop = desktop.ok_or_else(|| no_page("the browser is not ready".to_owned()))?;
        let pages = Pages::connect(&viewer.live.world, &desktop).await.map_err(no_page)?;
        pages.active().await.map_err(no_page)?;
        Ok(Self {
            viewer,
            session,
            connected,
            subject,
            pages: Arc::new(pages),
            page: None,
            held: Held::default(),
            under_way: FuturesUnordered::new(),
            failures: 0,
        })
    }

    fn in_control(&self) -> bool {
        let view = self.connected.view.borrow();
        self.connected.party.as_ref().is_some_and(|party| view.control.is_of(party))
    }

    async fn serve(&mut self, line: &mut Line) -> Close {
        if let Err(close) = line.say(&json!({ "kind": "ready" })).await {
            return close;
        }
        let (ended, out) = (self.connected.ended.clone(), self.connected.out.clone());
        let viewer = self.viewer.clone();
        let over = viewer.over(&ended, &out);
        tokio::pin!(over);
        let mut view = self.connected.view.clone();
        loop {
            tokio::select! {
                close = &mut over => return close,
                () = self.subject.has_ended() => {
                    return Close::new(CloseCode::Closing, "the run is closing");
                }
                said = line.hear(), if self.under_way.len() < MOST_UNDER_WAY => {
                    let answer = match said {
                        Ok(said) => self.take(&said).await,
                        Err(close) => return close,
                    };
                    match answer {
                        Ok(None) => {}
                        Ok(Some(answer)) => {
                            if let Err(close) = line.say(&answer).await {
                                return close;
                            }
                        }
                        Err(close) => return close,
                    }
                }
                Some(outcome) = self.under_way.next() => {
                    if let Err(close) = self.learn(outcome, line).await {
                        return close;
                    }
                }
                Ok(()) = view.changed() => {
                    if !self.in_control() {
                        self.release_all();
                    }
                }
            }
        }
    }

    async fn learn(&mut self, outcome: Outcome, line: &mut Line) -> Result<(), Close> {
        match outcome {
            Outcome::Done => self.failures = 0,
            Outcome::Failed => {
                self.page = None;
                self.failures += 1;
                if self.failures >= MOST_FAILURES {
                    let why = "the page takes no input";
                    return Err(Close::new(CloseCode::NotDispatched, why));
                }
            }
            Outcome::Say(message) => line.say(&message).await?,
        }
        Ok(())
    }

    /// Handles a viewer's message and returns the answer. A malformed message is ignored.
    async fn take(&mut self, text: &str) -> Result<Option<Value>, Close> {
        let Ok(said) = serde_json::from_str::<ViewerMessage>(text) else { return Ok(None) };
        let viewer = self.connected.id;
        match said.kind.as_deref() {
            Some("take-control") => {
                let message = TakeControl { viewer };
                let taken = self.viewer.ask(self.session, message).await;
                let refusal = taken.err().map(|close| {
                    let message = close.reason.into_owned();
                    json!({ "kind": "error", "failed_kind": "take-control", "message": message })
                });
                return Ok(refusal);
            }
            Some("cede-control") => {
                let message = CedeControl { viewer };
                let _ceded = self.viewer.ask(self.session, message).await;
                return Ok(None);
            }
            Some(_) | None => {}
        }
        let Ok(event) = serde_json::from_value::<Event>(said.rest) else { return Ok(None) };
        if !self.in_control() {
            return Ok(None);
        }
        self.connected.activity.note(self.viewer.live.world.clock.now());
        if event.is_movement() && self.under_way.len() >= MOST_UNDER_WAY / 2 {
            return Ok(None);
        }
        self.dispatch(event).await
    }

    /// Returns the DevTools session of the page in view.
    async fn in_view(&mut self) -> Result<String, Close> {
        if let Some((page, since)) = &self.page
            && since.elapsed() < IN_VIEW_LIFETIME
        {
            return Ok(page.clone());
        }
        let unresolved = |why: String| Close::new(CloseCode::NotDispatched, why);
        let tab = self.pages.active().await.map_err(unresolved)?;
        let page = self.pages.attach(&tab.id).await.map_err(unresolved)?;
        self.page = Some((page.clone(), Instant::now()));
        Ok(page)
    }

    async fn dispatch(&mut self, event: Event) -> Result<Option<Value>, Close> {
        let (method, params) = match event {
            Event::Navigate { url } => return self.navigate(&url).await,
            Event::GoBack => return self.travel(-1),
            Event::GoForward => return self.travel(1),
            Event::Reload => ("Page.reload", json!({})),
            Event::Mouse(mouse) => {
                let Some(mouse) = mouse.allowed(&self.viewer.live.policy) else { return Ok(None) };
                self.hold_in_view().await?.mouse(&mouse);
                ("Input.dispatchMouseEvent", mouse.params())
            }
            Event::Wheel(wheel) => ("Input.dispatchMouseEvent", wheel.params()),
            Event::Key(key) => {
                let Some(key) = key.allowed(&self.viewer.live.policy) else { return Ok(None) };
                self.hold_in_view().await?.key(&key);
                ("Input.dispatchKeyEvent", key.params())
            }
        };
        let page = self.in_view().await?;
        let sent = self.pages.send(&page, method, params);
        self.under_way.push(Box::pin(async move {
            if sent.await.is_ok() { Outcome::Done } else { Outcome::Failed }
        }));
        Ok(None)
    }

    async fn navigate(&mut self, url: &str) -> Result<Option<Value>, Close> {
        let Some(url) = event::address(url) else {
            return Ok(Some(navigate_error("invalid_url")));
        };
        let page = self.in_view().await?;
        let sent = self.pages.send(&page, "Page.navigate", json!({ "url": url.as_str() }));
        self.under_way.push(Box::pin(async move {
            match sent.await {
                Ok(answer) if answer.get("errorText").is_none() => Outcome::Done,
                Ok(answer) if answer.get("errorText").is_some_and(|it| it == BLOCKED) => {
                    Outcome::Say(navigate_error("blocked"))
                }
                Ok(_) | Err(_) => Outcome::Say(navigate_error("failed")),
            }
        }));
        Ok(None)
    }

    fn travel(&mut self, by: i64) -> Result<Option<Value>, Close> {
        let pages = Arc::clone(&self.pages);
        self.under_way.push(Box::pin(async move {
            // At the end of the history there is no page to go to.
            let _nowhere = pages.travel(by).await;
            Outcome::Done
        }));
        Ok(None)
    }

    /// Returns the keys held in the page in view, after those in any other page are released.
    async fn hold_in_view(&mut self) -> Result<&mut Held, Close> {
        let page = self.in_view().await?;
        let releases = self.held.in_page(&page);
        self.send_all(releases);
        Ok(&mut self.held)
    }

    /// Releases everything that is held down.
    fn release_all(&mut self) {
        let releases = self.held.releases();
        self.send_all(releases);
    }

    fn send_all(&self, releases: Vec<Release>) {
        for Release { page, method, params } in releases {
            self.pages.notify(&page, method, params);
        }
    }
}

fn navigate_error(reason: &str) -> Value {
    json!({ "kind": "navigate-error", "reason": reason })
}
