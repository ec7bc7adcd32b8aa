//! Tools that create, find, hold and end sessions.

use std::time::Duration;

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::time::timeout_at;

use super::super::answer::{Answer, inline};
use super::super::call::Call;
use super::super::entry::{Entry, Set};
use super::super::handle::Handle;
use super::super::holding::Opening;
use super::super::params::{OnlyBrowser, handle};
use crate::actors::ask::Address;
use crate::actors::registry::{Registry, Route};
use crate::actors::session::{Close, Release};
use crate::actors::views::SessionView;
use crate::domain::ids::{OrganizationId, SessionId};
use crate::domain::occupancy::Generation;
use crate::domain::session::SessionStatus;
use crate::http::error::ApiError;
use crate::http::problem::Problem;
use crate::http::sessions::{ask_session, close, create, find};
use crate::service::resources::session::SessionResource;

/// The most sessions in a list.
const LISTED: usize = 50;

/// The name of an agent that gives none.
const NAMELESS: &str = "agent";

pub fn entries() -> Vec<Entry> {
    vec![
        Entry::new(
            "session_create",
            Set::Sessions,
            "Create a browser and hold it. Answers its handle.",
            create_session,
        )
        .changes(),
        Entry::new(
            "session_open",
            Set::Sessions,
            "Hold a browser that exists, by its session id, or by its handle after `pending` or a lapse. If another client holds it, the answer names the holder; with `wait_seconds` it waits in the \
             queue.",
            open_session,
        )
        .changes(),
        Entry::new(
            "session_list",
            Set::Sessions,
            "List the live browsers of your organization, newest first, with their holders.",
            list_sessions,
        ),
        Entry::new(
            "session_show",
            Set::Sessions,
            "Show the state of one browser: status, holder, time left, page for people.",
            show_session,
        ),
        Entry::new(
            "session_release",
            Set::Sessions,
            "Stop holding a browser and leave it running, for you or others.",
            release_session,
        )
        .changes(),
        Entry::new(
            "session_close",
            Set::Sessions,
            "End a browser. With a profile, its logins are stored.",
            close_session,
        )
        .changes(),
    ]
}

#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
struct CreateParams {
    /// A name by which to find it again, unique among live sessions.
    name: Option<String>,
    /// Tags by which lists are narrowed.
    tags: Vec<String>,
    /// The profile with stored logins to start from, `bp_…`.
    profile: Option<String>,
    /// The page to open first.
    start_url: Option<String>,
    /// The lifetime in minutes.
    timeout_minutes: Option<u64>,
    /// True to record it as a video.
    record: bool,
    /// Your name, for people and other agents.
    agent: Option<String>,
}

async fn create_session(call: Call, params: CreateParams) -> Result<Answer, ApiError> {
    let caller = call.whole()?;
    let mut request = json!({ "tags": params.tags, "wait_seconds": call.left().as_secs().min(40) });
    if let Some(request) = request.as_object_mut() {
        let fields = [
            ("name", params.name.map(Value::from)),
            ("browser_profile_id", params.profile.map(Value::from)),
            ("start_url", params.start_url.map(Value::from)),
            (
                "timeout_seconds",
                params.timeout_minutes.map(|minutes| (minutes.saturating_mul(60)).into()),
            ),
            ("record", params.record.then_some(Value::Bool(true))),
        ];
        request
            .extend(fields.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))));
    }
    let created = create::from_json(call.front(), caller, request).await?;
    let session: SessionId = created
        .browser_session_id
        .parse()
        .map_err(|_never| Problem::unknown::<SessionId>(&created.browser_session_id))?;
    let handle = Handle::new(session);
    let made = Made::of(&call, session);
    if created.status == "created" {
        let text = format!(
            "pending: the browser is still starting. Call `session_open` with browser `{handle}`."
        );
        made.known();
        return Ok(Answer::text(text)
            .with("status", "pending")
            .with("browser", handle.to_string()));
    }
    let label = params.agent.as_deref().unwrap_or(NAMELESS);
    let answer = held(&call, &handle, label, Duration::ZERO).await?;
    made.known();
    Ok(answer)
}

/// A session of which no agent knows yet. If its call ends before the answer, it is closed, unless a client has
/// taken it by its name meanwhile.
struct Made {
    registry: Address<Registry>,
    organization: OrganizationId,
    view: Option<watch::Receiver<SessionView>>,
}

impl Made {
    fn of(call: &Call, session: SessionId) -> Self {
        let (front, organization) = (call.front(), call.client.organization);
        let view = front.world.views.session(organization, session);
        Self { registry: front.registry.clone(), organization, view }
    }

    /// Keeps the session, because the agent is about to get its handle.
    fn known(mut self) {
        self.view = None;
    }
}

impl Drop for Made {
    fn drop(&mut self) {
        let Some(view) = self.view.take() else { return };
        let (session, generation) = {
            let view = view.borrow();
            (view.record.id, view.record.occupancy.generation())
        };
        if generation == Generation::default() {
            let message = Close { status: SessionStatus::Completed };
            let route = Route { organization: self.organization, session, message };
            self.registry.notify(route); // The outcome is stored.
        }
    }
}

/// Takes a session for a handle, and answers what the agent needs to drive it.
async fn held(
    call: &Call,
    handle: &Handle,
    label: &str,
    patience: Duration,
) -> Result<Answer, ApiError> {
    match call.open(handle, label, patience).await? {
        Opening::Held(grant) => {
            let idle = call.idle().as_secs();
            let base = call.front().base_url();
            let view = format!("{base}/view/{}", handle.session);
            let mut answer = Answer::text(format!("browser: {handle}"));
            answer.line(format!(
                "It is yours until {idle} s pass without a call. People watch it at {view}"
            ));
            Ok(answer
                .with("status", "held")
                .with("browser", handle.to_string())
                .with("browser_session_id", handle.session.to_string())
                .with("generation", grant.generation.number())
                .with("view", view))
        }
        Opening::Pending => {
            let text = format!(
                "pending: others hold the browser, and you keep your place in the queue for 90 s. Call `session_open` \
                 with browser `{handle}` again."
            );
            Ok(Answer::text(text).with("status", "pending").with("browser", handle.to_string()))
        }
    }
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct OpenParams {
    /// A session id `pbs_…`, or a handle.
    browser: String,
    /// The time to wait in the queue while another client holds it, in seconds.
    #[serde(default)]
    wait_seconds: u64,
    /// Your name, for people and other agents.
    agent: Option<String>,
}

async fn open_session(call: Call, params: OpenParams) -> Result<Answer, ApiError> {
    let text = params.browser.trim();
    let label = params.agent.as_deref().unwrap_or(NAMELESS);
    let handle = match text.parse::<SessionId>() {
        Ok(session) => {
            let known = call.waiting_handle(session, label);
            known.unwrap_or_else(|| Handle::new(session))
        }
        Err(_not_a_session) => handle(text)?,
    };
    let patience = Duration::from_secs(params.wait_seconds.min(24 * 60 * 60));
    held(&call, &handle, label, patience).await
}

#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
struct ListParams {
    /// Only the session of this name.
    name: Option<String>,
    /// Only sessions with all of these tags.
    tags: Vec<String>,
}

async fn list_sessions(call: Call, params: ListParams) -> Result<Answer, ApiError> {
    let client = &call.client;
    let mut views = call.front().world.views.sessions(client.organization);
    views.retain(|view| {
        let (id, spec) = (view.record.id, &view.record.spec);
        let is_named = params
            .name
            .as_ref()
            .is_none_or(|name| spec.name.as_ref().is_some_and(|known| known.as_str() == name));
        call.check_session(id).is_ok() && is_named && spec.tags.has_all(&params.tags)
    });
    let all = views.len();
    views.truncate(LISTED);
    let mut answer = Answer::text(match all {
        0 => "No live browser. Create one with `session_create`.".to_owned(),
        all => format!("{all} live"),
    });
    for view in &views {
        answer.line(line(view));
    }
    if all > LISTED {
        answer.line(format!("… and {} more: narrow by `name` or `tags`", all - LISTED));
    }
    Ok(answer)
}

fn holder(view: &SessionView) -> Option<String> {
    view.record.occupancy.holder().map(|held| held.occupant.runnable_id.to_string())
}

fn line(view: &SessionView) -> String {
    let record = &view.record;
    let name = record.spec.name.as_ref().map(|name| format!(" {}", inline(name.as_str(), 100)));
    let state = match holder(view) {
        Some(holder) => format!("held by {holder}"),
        None => "free".to_owned(),
    };
    format!("- {}{}: {}, {state}", record.id, name.unwrap_or_default(), record.status.as_str())
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct SessionParams {
    /// A session id `pbs_…`, or a handle.
    browser: String,
}

/// Reads a session id, or the session of a handle.
fn session_of(text: &str) -> Result<SessionId, Problem> {
    let text = text.trim();
    text.parse::<SessionId>().or_else(|_not_a_session| Ok(handle(text)?.session))
}

async fn show_session(call: Call, params: SessionParams) -> Result<Answer, ApiError> {
    let session = session_of(&params.browser)?;
    call.check_session(session)?;
    let view = find(call.front(), call.client.organization, session).await?;
    let shown = SessionResource::of(&view, call.front());
    let mut answer = Answer::text(line(&view));
    if let Some(user) = view.control.user() {
        let label = user.label.as_deref().unwrap_or("a person");
        answer.line(format!("{} has control", inline(label, 100)));
    }
    answer.line(format!("{} in the queue, {} watching", view.waiters.len(), view.viewers));
    answer.line(format!("people watch it at {}", shown.app_url));
    if let Some(failure) = &view.record.failure {
        answer.line(format!("failure: {} {}", failure.code, inline(&failure.message, 300)));
    }
    Ok(answer)
}

async fn release_session(call: Call, params: OnlyBrowser) -> Result<Answer, ApiError> {
    let handle = handle(&params.browser)?;
    let occupancy = call.occupancy(&handle).await?;
    let message =
        Release { generation: occupancy.lease.generation, lease: occupancy.lease.hash, run: None };
    let organization = call.client.organization;
    ask_session(call.front(), Route { organization, session: handle.session, message }).await?;
    Ok(Answer::text(format!("Released. `session_open` with {} takes it again.", handle.session)))
}

async fn close_session(call: Call, params: SessionParams) -> Result<Answer, ApiError> {
    let session = session_of(&params.browser)?;
    let caller = call.whole()?;
    let closing = close::end(call.front(), caller, session);
    match timeout_at(call.deadline, closing).await {
        Ok(closed) => {
            closed?;
            Ok(Answer::text(format!("Closed {session}; none of its programs runs.")))
        }
        Err(_elapsed) => {
            let text = format!(
                "pending: {session} is closing, which stores its profile; see `session_show`."
            );
            Ok(Answer::text(text).with("status", "pending"))
        }
    }
}
