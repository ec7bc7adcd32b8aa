//! One call of a tool: its client, its time, and the browser that it drives.

use std::time::Duration;

use actix_web::http::StatusCode;
use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};

use super::answer::Answer;
use super::client::Client;
use super::handle::{Handle, lapsed};
use crate::actors::registry::Route;
use crate::actors::session::{Grant, Heartbeat};
use crate::actors::views::SessionView;
use crate::domain::ids::SessionId;
use crate::domain::quota::Quota;
use crate::domain::tenancy::KeyRole;
use crate::http::devtools::not_connected;
use crate::http::error::ApiError;
use crate::http::front::Front;
use crate::http::problem::Problem;
use crate::http::sessions::{ask_session, find};
use crate::live::agents::{CallTurn, Occupancy, TurnError};
use crate::service::keys::Caller;
use crate::workflow::page::{Browser, PageError};

/// The part of a call's time that is kept for its answer.
pub(super) const FOR_THE_ANSWER: Duration = Duration::from_secs(2);

/// A call of a tool.
#[derive(Debug, Clone)]
pub(super) struct Call {
    /// The client that calls.
    pub client: std::sync::Arc<Client>,
    /// The time by which the work must end.
    pub deadline: Instant,
}

/// The browser that a call drives, in the call's turn.
#[derive(Debug)]
pub(super) struct Held {
    /// The handle that the client named.
    pub handle: Handle,
    turn: CallTurn,
    /// The number of tabs before the call.
    tabs: usize,
}

impl Call {
    /// Begins a call, whose time runs from now.
    pub fn new(client: std::sync::Arc<Client>) -> Self {
        let time = client.front.mcp.settings.call();
        let deadline = Instant::now() + time.saturating_sub(FOR_THE_ANSWER);
        Self { client, deadline }
    }

    pub fn front(&self) -> &Front {
        &self.client.front
    }

    /// Returns the time for which a handle lasts without a call.
    pub fn idle(&self) -> Duration {
        self.front().mcp.settings.idle(self.front().world.settings.max_lease_seconds)
    }

    /// Returns the time that is left of the call.
    pub fn left(&self) -> Duration {
        self.deadline.saturating_duration_since(Instant::now())
    }

    /// Returns the caller for tools that need a key that opens everything of its organization.
    ///
    /// # Errors
    ///
    /// 403 for other clients.
    pub fn whole(&self) -> Result<Caller, ApiError> {
        let only_session = self.client.only.is_some();
        match &self.client.bearer {
            Some(bearer) if !only_session => Ok(bearer.clone().whole()?),
            Some(_) | None => {
                let detail =
                    "this address opens one session: use `/mcp` with a key of the organization";
                Err(Problem::new(StatusCode::FORBIDDEN, "key_insufficient", detail).into())
            }
        }
    }

    /// Returns the caller for tools that read or store what belongs to one session.
    ///
    /// # Errors
    ///
    /// 403 for a ticket, and for a key with a role below `organization`.
    pub fn keyholder(&self, session: SessionId) -> Result<Caller, ApiError> {
        self.check_session(session)?;
        match &self.client.bearer {
            Some(bearer) => Ok(bearer.of_session(KeyRole::Organization, &session.to_string())?),
            None => {
                let detail = "a ticket opens the browser, not what is stored of it: use a key";
                Err(Problem::new(StatusCode::FORBIDDEN, "ticket_insufficient", detail).into())
            }
        }
    }

    /// Checks that the client may drive a session.
    ///
    /// # Errors
    ///
    /// 404 for a session that its key or its address does not open; 403 if its role does not suffice.
    pub fn check_session(&self, session: SessionId) -> Result<(), ApiError> {
        if self.client.only.is_some_and(|only| only != session) {
            return Err(Problem::unknown::<SessionId>(session).into());
        }
        if let Some(bearer) = &self.client.bearer {
            bearer.of_session(KeyRole::Drive, &session.to_string())?;
        }
        Ok(())
    }

    /// Returns the view of a live session.
    ///
    /// # Errors
    ///
    /// 404 for an unknown session; 410 for one that has ended.
    pub async fn view(&self, session: SessionId) -> Result<watch::Receiver<SessionView>, ApiError> {
        let (front, organization) = (self.front(), self.client.organization);
        if let Some(view) = front.world.views.session(organization, session) {
            return Ok(view);
        }
        find(front, organization, session).await?;
        let closing = crate::actors::session::SessionError::Closing;
        Err(crate::actors::registry::RouteError::Session(closing).into())
    }

    /// Waits for the turn of this call to drive the browser of a handle, and renews the handle.
    ///
    /// # Errors
    ///
    /// 409 for a handle that has lapsed, and while another call of the handle takes all of the time; 503 if the
    /// browser cannot be reached.
    pub async fn hold(&self, handle: &Handle) -> Result<Held, ApiError> {
        let occupancy = self.occupancy(handle).await?;
        let (front, organization) = (self.front(), self.client.organization);
        let place = || front.place(organization, Quota::DevtoolsConnections);
        let turn = front.mcp.agents.turn(&front.live, occupancy.clone(), self.deadline, place);
        let mut turn = turn.await.map_err(|cause| match cause {
            TurnError::Busy => ApiError::from(busy(handle)),
            TurnError::Late => unreachable().into(),
            TurnError::Over => lapsed(handle).into(),
            TurnError::Refused(refused) => refused.into(),
            TurnError::Connect(cause) => not_connected(cause),
        })?;
        if turn.is_due(self.idle()) {
            self.renew(&occupancy).await?;
            turn.renewed();
        }
        let tabs = turn.browser().map_err(page)?.tabs_open().len();
        Ok(Held { handle: handle.clone(), turn, tabs })
    }

    /// Like [`hold`](Self::hold), for a call that acts on the page.
    ///
    /// # Errors
    ///
    /// Also 409 while a person has control.
    pub async fn act(&self, handle: &Handle) -> Result<Held, ApiError> {
        let held = self.hold(handle).await?;
        match held.turn.held_by() {
            Some(person) => Err(person_has_control(&person).into()),
            None => Ok(held),
        }
    }

    /// Renews the lease of a handle.
    pub async fn renew(&self, occupancy: &Occupancy) -> Result<Grant, ApiError> {
        let Occupancy { session, lease, .. } = occupancy;
        let ttl = Some(self.idle());
        let message = Heartbeat { generation: lease.generation, lease: lease.hash, ttl, run: None };
        let organization = self.client.organization;
        ask_session(self.front(), Route { organization, session: *session, message }).await
    }
}

impl Held {
    /// Returns the browser that the call drives.
    ///
    /// # Errors
    ///
    /// 409 if the connection to the browser has ended.
    pub fn browser(&self) -> Result<&Browser, ApiError> {
        self.turn.browser().map_err(page)
    }

    /// Runs an action of the page driver within the time of the call.
    ///
    /// # Errors
    ///
    /// The error of the action as a problem; 409 if a person took control meanwhile; 504 if the
    /// time of the call is over.
    pub async fn run<T>(
        &self,
        call: &Call,
        action: impl Future<Output = Result<T, PageError>>,
    ) -> Result<T, ApiError> {
        let ran = tokio::select! {
            biased;
            () = self.turn.over() => return Err(lapsed(&self.handle).into()),
            ran = timeout_at(call.deadline, action) => ran,
        };
        match ran {
            Ok(done) => done.map_err(|cause| {
                let is_lost = matches!(cause, PageError::Disconnected);
                if is_lost && self.turn.is_restarting() { restarted().into() } else { page(cause) }
            }),
            Err(_elapsed) => Err(match self.turn.held_by() {
                Some(person) => interrupted(&person).into(),
                None => late().into(),
            }),
        }
    }

    /// Returns the answer to an action: what was done, and what it changed beside the page.
    pub fn done(&self, what: impl Into<String>) -> Result<Answer, ApiError> {
        let browser = self.browser()?;
        let mut answer = Answer::text(what);
        answer.line(format!("Page: {}", super::answer::inline(&browser.url(), 300)));
        for dialog in browser.take_dialogs() {
            let message = super::answer::inline(&dialog.message, 300);
            answer.line(format!(
                "A dialog ({}) said {message}; it was answered by the policy of `dialogs`.",
                dialog.kind
            ));
        }
        let now = browser.tabs_open().len();
        if now > self.tabs {
            answer.line(format!(
                "A new tab has opened: {now} tabs, of which the new one is current."
            ));
        } else if now < self.tabs {
            answer.line(format!("A tab has closed: {now} left."));
        }
        Ok(answer)
    }
}

/// Converts an error of the page driver. Its code is stable; the explanation says what to do next.
pub(super) fn page(cause: PageError) -> ApiError {
    let (status, advice) = match &cause {
        PageError::Disconnected => (
            StatusCode::CONFLICT,
            "the browser was closed or restarted: call again, and take a new snapshot",
        ),
        PageError::StaleReference { .. }
        | PageError::NoSuchTab(_)
        | PageError::LastTab
        | PageError::NoHistory(_) => (StatusCode::CONFLICT, ""),
        PageError::Crashed => (StatusCode::CONFLICT, "open it again with `navigate`"),
        PageError::Closed => (StatusCode::CONFLICT, "list the `tabs`, or open one"),
        PageError::Navigation { .. } => (StatusCode::UNPROCESSABLE_ENTITY, "check the URL"),
        PageError::Timeout { .. } => {
            (StatusCode::GATEWAY_TIMEOUT, "the page may be busy: look at a `snapshot`")
        }
        PageError::NotReady { .. } => {
            (StatusCode::CONFLICT, "take a `snapshot` and choose a reference of it")
        }
        PageError::Unfit { .. } | PageError::Selector(_) | PageError::Refused { .. } => {
            (StatusCode::UNPROCESSABLE_ENTITY, "")
        }
        PageError::Script(_) => (StatusCode::UNPROCESSABLE_ENTITY, "correct the script"),
    };
    let detail = if advice.is_empty() { cause.to_string() } else { format!("{cause}: {advice}") };
    Problem::new(status, cause.code(), detail).into()
}

fn person_has_control(person: &str) -> Problem {
    let detail = format!(
        "{person} has control of the browser, and nothing was done: wait with `ask_person`, or read with `snapshot`"
    );
    Problem::new(StatusCode::CONFLICT, "person_has_control", detail).retryable()
}

fn interrupted(person: &str) -> Problem {
    let detail = format!(
        "{person} took control within the call, which may be done in part: wait with `ask_person`, then take a \
         `snapshot`"
    );
    Problem::new(StatusCode::CONFLICT, "person_has_control", detail).retryable()
}

fn unreachable() -> Problem {
    let detail = "the browser does not answer: it may be starting again; call again";
    Problem::new(StatusCode::SERVICE_UNAVAILABLE, "browser_unreachable", detail).retryable()
}

fn restarted() -> Problem {
    let detail = "the browser failed within the call and is being restarted, and its page may be lost: call again, \
                  then take a `snapshot`";
    Problem::new(StatusCode::CONFLICT, "browser_restarting", detail).retryable()
}

pub(super) fn late() -> Problem {
    let detail = "the page or the server did not answer within the time of a call (mcp.call_seconds): look at a \
                  `screenshot` of the display, or `navigate` elsewhere";
    Problem::new(StatusCode::GATEWAY_TIMEOUT, "call_timeout", detail)
}

fn busy(handle: &Handle) -> Problem {
    let detail =
        format!("another call drives {handle} now: one at a time; call again when it has answered");
    Problem::new(StatusCode::CONFLICT, "handle_busy", detail).retryable()
}
