//! `/v1/browser_sessions/{id}/storage_state`: the cookies and the storage of a session's browser.
//!
//! They are logins: a client needs a key of the organization, and no answer to a fault repeats a value.

use std::sync::LazyLock;
use std::time::Duration;

use actix_web::HttpResponse;
use actix_web::http::StatusCode;
use actix_web::http::header::{CACHE_CONTROL, ContentType};
use actix_web::web::{Data, Json};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::sync::watch;
use tokio_util::task::AbortOnDropHandle;
use utoipa::{IntoParams, ToSchema};

use super::ask_session;
use crate::actors::clock::Clock;
use crate::actors::registry::{Route, RouteError};
use crate::actors::session::{OpenStorage, SessionError};
use crate::actors::views::SessionView;
use crate::domain::control;
use crate::domain::ids::{OrganizationId, SessionId};
use crate::domain::lease::{LeaseHash, LeaseToken};
use crate::domain::occupancy::{Generation, Refusal};
use crate::http::body::{LargeBody, PathId, Query, beside, parse_with_nul};
use crate::http::caller::Caller;
use crate::http::error::ApiError;
use crate::http::front::Front;
use crate::http::lasting::carried;
use crate::http::problem::{Detail, Problem};
use crate::http::shares::{Shares, Taken};
use crate::http::validation::{Fields, RequestPart};
use crate::system::storage_state::{
    Applied, MOST_ORIGINS, Mode, Selection, StorageError, StorageState, web_origin,
};

/// The unit in which the room for states is counted, in bytes.
const UNIT: usize = 1024;

/// The bodies that wait to be written or are being written: 256 MiB, 64 MiB of one organization. A state that was
/// read takes some times its body.
static BODIES: LazyLock<Shares> = LazyLock::new(|| Shares::new(256 * UNIT, 64 * UNIT));

/// The time after which a client may repeat a change for which there was no room.
const RETRY_AFTER: Duration = Duration::from_secs(5);

/// The cookies and the storage of a browser, in the form of Playwright's `storageState`.
#[derive(Debug, Deserialize, ToSchema)]
#[schema(as = StorageState)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "it describes `StorageState` of a floor that knows no API")]
pub struct StorageStateResource {
    /// The cookies: `{name, value, domain, path, expires, httpOnly, secure, sameSite, partitionKey}`. `expires`
    /// is -1 for a cookie that ends with the browser.
    #[schema(value_type = Vec<Object>)]
    cookies: Vec<Value>,
    /// The storage of each origin: `{origin, localStorage: [{name, value}], indexedDB: [{name, version,
    /// stores}]}`.
    #[schema(value_type = Option<Vec<Object>>)]
    origins: Option<Vec<Value>>,
    /// The parts that were left out. Without an effect in a request.
    warning: Option<String>,
}

#[derive(Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(default)]
pub struct ReadParams {
    /// False to leave out IndexedDB.
    indexed_db: Option<bool>,
    /// The origins to read, such as `https://example.com`; then only the cookies that they get are read as
    /// well. All of them by default.
    origins: Option<Vec<String>>,
}

#[derive(Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(default)]
pub struct WriteParams {
    /// True to remove all other cookies, and the storage, caches and service workers of all origins.
    replace: Option<bool>,
    /// The holder's fencing token, where the session is held.
    generation: Option<String>,
    /// The holder's lease token, where the session is held.
    lease_token: Option<String>,
}

/// The parts of a storage state that were applied.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = StorageStateApplied)]
pub struct Response {
    /// The session's id, `pbs_…`.
    browser_session_id: String,
    /// The number of cookies.
    cookies: usize,
    /// The number of origins whose storage was written.
    origins: usize,
    /// The cookies that the browser rejected, and the parts that it has not stored yet.
    #[serde(skip_serializing_if = "Option::is_none")]
    warning: Option<String>,
}

/// Reads the parameters that narrow a storage state.
pub fn selection(
    origins: Option<Vec<String>>,
    indexed_db: Option<bool>,
) -> Result<Selection, Problem> {
    let mut fields = Fields::of(RequestPart::Query);
    let given = origins.unwrap_or_default();
    let few = given.len() <= MOST_ORIGINS;
    fields.require("origins", given.len(), few, format!("expected at most {MOST_ORIGINS}"));
    let mut origins = Vec::new();
    for origin in &given {
        let read = web_origin(origin).ok_or("expected origins such as https://example.com");
        origins.extend(fields.check("origins", origin.as_str(), read));
    }
    fields.finish()?;
    let origins = (!given.is_empty()).then(|| origins.into_iter().collect());
    Ok(Selection { origins, indexed_db: indexed_db.unwrap_or(true) })
}

impl WriteParams {
    /// Returns the proof of the holder, if the request presents one.
    fn holder(&self) -> Result<Option<(Generation, LeaseHash)>, Problem> {
        if self.generation.is_none() && self.lease_token.is_none() {
            return Ok(None);
        }
        let mut fields = Fields::of(RequestPart::Query);
        let given = self.generation.as_deref().unwrap_or_default();
        let number = given.parse::<i64>();
        let number = number.map_err(|_no_number| "expected the generation that begin returned");
        let generation = fields.check("generation", given, number);
        // The error does not repeat a secret, not even a wrong one.
        let token = self.lease_token.as_deref().unwrap_or_default().parse::<LeaseToken>();
        let token = fields.check("lease_token", Value::Null, token);
        fields.finish()?;
        let proof = generation.zip(token);
        Ok(proof.map(|(generation, token)| (Generation::new(generation), token.hash())))
    }
}

/// Checks a storage state that a request has in `field`; an empty text for the whole body.
pub fn checked(state: StorageState, field: &str) -> Result<StorageState, Problem> {
    state.checked().map_err(|faults| {
        let mut fields = Fields::new();
        for fault in faults {
            let at =
                if field.is_empty() { fault.field } else { format!("{field}.{}", fault.field) };
            fields.refuse(&at, Value::Null, fault.message);
        }
        fields.finish().err().unwrap_or_else(|| Problem::invalid(Vec::new()))
    })
}

/// Returns a problem that repeats no value of a storage state.
pub fn without_values(mut problem: Problem) -> Problem {
    if let Detail::Fields(fields) = &mut problem.detail {
        for field in fields {
            field.input = Value::Null;
        }
    }
    problem
}

/// The answer if a storage state was not read or written.
fn failed(cause: &StorageError, view: Option<&watch::Receiver<SessionView>>) -> ApiError {
    let is_over = |view: &watch::Receiver<SessionView>| view.borrow().closing;
    if matches!(cause, StorageError::Unanswered) && view.is_none_or(is_over) {
        return RouteError::Session(SessionError::Closing).into();
    }
    let status = match cause {
        StorageError::Unanswered => StatusCode::SERVICE_UNAVAILABLE,
        StorageError::TooLarge => StatusCode::UNPROCESSABLE_ENTITY,
        StorageError::TooManyChanges => StatusCode::TOO_MANY_REQUESTS,
        StorageError::Refused { .. } | StorageError::Unsupported | StorageError::Incomplete(_) => {
            StatusCode::FAILED_DEPENDENCY
        }
    };
    let problem = Problem::new(status, cause.code(), cause.to_string());
    match cause {
        StorageError::Unanswered => problem.retryable().into(),
        StorageError::TooManyChanges => problem.retry_after(RETRY_AFTER).into(),
        StorageError::Incomplete(failed) => problem.with("failed", failed).into(),
        StorageError::TooLarge | StorageError::Refused { .. } | StorageError::Unsupported => {
            problem.into()
        }
    }
}

/// Returns the cookies, the `localStorage` and the databases of the session's browser, in the form of
/// Playwright's `storageState`. Tabs stay where they are, and nothing is requested from the network.
#[utoipa::path(
    get,
    path = "/v1/browser_sessions/{browser_session_id}/storage_state",
    tag = "Browser sessions",
    params(("browser_session_id" = String, Path, description = "`pbs_…`"), ReadParams),
    responses(
        (status = 200, description = "The storage state; `warning` names what was left out", body = StorageStateResource),
        (status = 404, description = "There is no such session"),
        (status = 409, description = "Its browser does not run yet"),
        (status = 410, description = "The session has ended"),
        (status = 422, description = "Parameters are invalid, or the state is larger than 32 MiB"),
        (status = 424, description = "The browser rejected a command"),
    ),
)]
pub async fn show(
    caller: Caller,
    PathId(id): PathId<SessionId>,
    Query(params): Query<ReadParams>,
    front: Data<Front>,
) -> Result<HttpResponse, ApiError> {
    let selection = selection(params.origins, params.indexed_db)?;
    Ok(unstored(read(&front, caller, id, selection).await?))
}

/// Reads the whole storage state of a session's browser, as JSON.
///
/// # Errors
///
/// Those of `GET /v1/browser_sessions/{id}/storage_state`.
pub async fn read_all(front: &Front, caller: Caller, id: SessionId) -> Result<Vec<u8>, ApiError> {
    read(front, caller, id, Selection { origins: None, indexed_db: false }).await
}

/// Reads the storage state of a session's browser, as JSON.
///
/// # Errors
///
/// Those of `GET /v1/browser_sessions/{id}/storage_state`.
async fn read(
    front: &Front,
    caller: Caller,
    id: SessionId,
    selection: Selection,
) -> Result<Vec<u8>, ApiError> {
    let message = OpenStorage { holder: None, writes: false };
    let route = Route { organization: caller.organization, session: id, message };
    let storage = ask_session(front, route).await?;
    let view = front.world.views.session(caller.organization, id);
    let work = async move {
        let state = storage.capture(&selection).await?;
        serde_json::to_vec(&state).map_err(|_cause| StorageError::Unanswered)
    };
    // A client that leaves ends it.
    let read = AbortOnDropHandle::new(front.world.runtime.spawn(carried(work))).await;
    let read = read.unwrap_or(Err(StorageError::Unanswered));
    read.map_err(|cause| failed(&cause, view.as_ref()))
}

/// Answers with a state in JSON, which no cache keeps.
pub fn unstored(state: Vec<u8>) -> HttpResponse {
    HttpResponse::Ok()
        .content_type(ContentType::json())
        .insert_header((CACHE_CONTROL, "no-store"))
        .body(state)
}

/// Writes cookies, `localStorage` and databases into the session's browser, from a file of Playwright's
/// `storageState` or the answer of `GET`. Answered when they outlive the browser. Rejected while the session is
/// held (`session_occupied`), unless the holder presents its lease, and while a person has control; it also ends
/// so when another client begins, or a person takes control, before it is complete.
#[utoipa::path(
    put,
    path = "/v1/browser_sessions/{browser_session_id}/storage_state",
    tag = "Browser sessions",
    params(("browser_session_id" = String, Path, description = "`pbs_…`"), WriteParams),
    request_body = StorageStateResource,
    responses(
        (status = 200, description = "The parts that were applied", body = Response),
        (status = 404, description = "There is no such session"),
        (status = 409, description = "The session is occupied, the caller no longer holds it, a person has control, or its browser does not run yet"),
        (status = 410, description = "The session has ended"),
        (status = 422, description = "Fields are invalid; `detail` lists them"),
        (status = 424, description = "The browser did not take the storage of some origins; `failed` names them"),
        (status = 429, description = "Other changes wait: of the session (`too_many_storage_changes`), or of the organization (`too_many_storage_states`)"),
    ),
)]
pub async fn put(
    caller: Caller,
    PathId(id): PathId<SessionId>,
    Query(params): Query<WriteParams>,
    LargeBody(body): LargeBody,
    front: Data<Front>,
) -> Result<Json<Response>, ApiError> {
    let holder = params.holder()?;
    let mode = if params.replace == Some(true) { Mode::Replace } else { Mode::Merge };
    let message = OpenStorage { holder, writes: true };
    let route = Route { organization: caller.organization, session: id, message };
    let storage = ask_session(&front, route).await?;
    let view = front.world.views.session(caller.organization, id);
    let generation = holder.map(|(generation, _lease)| generation);
    let mut lost = Box::pin(until_refused(view.clone(), generation, front.world.clock));
    let refused = |cause: SessionError| ApiError::from(RouteError::Session(cause));
    let room = room_for(caller.organization, body.len())?;
    // A client that leaves gives up its place.
    let turn = tokio::select! {
        biased;
        refusal = &mut lost => return Err(refused(refusal)),
        turn = front.keys.unless_revoked(caller.key, storage.turn()) => turn?,
    };
    let turn = turn.map_err(|cause| failed(&cause, view.as_ref()))?;
    // Read after the wait, because a state takes more memory than its text.
    let state = beside(body, |bytes| {
        let state = parse_with_nul::<StorageState>(bytes).map_err(without_values)?;
        checked(state, "")
    });
    let state = state.await?;
    let work = async move {
        let _room = room;
        tokio::select! {
            biased;
            refusal = lost => Err(Interrupted::Refused(Box::new(refusal))),
            applied = turn.apply(&state, mode) => applied.map_err(Interrupted::Failed),
        }
    };
    // It goes on if the client leaves.
    let applied = front.world.runtime.spawn(carried(work)).await;
    let applied = applied.unwrap_or(Err(Interrupted::Failed(StorageError::Unanswered)));
    let Applied { cookies, origins, warning } = applied.map_err(|cause| match cause {
        Interrupted::Failed(cause) => failed(&cause, view.as_ref()),
        Interrupted::Refused(refusal) => refused(*refusal),
    })?;
    Ok(Json(Response { browser_session_id: id.to_string(), cookies, origins, warning }))
}

/// The reason for which a state was not written to its end.
enum Interrupted {
    Failed(StorageError),
    Refused(Box<SessionError>),
}

/// Takes room for a state whose body has `length` bytes, until the result is dropped.
///
/// # Errors
///
/// 429 if too many bytes of other states are being written, of the organization or in all.
pub fn room_for(organization: OrganizationId, length: usize) -> Result<Taken, Problem> {
    BODIES.take(organization, length.div_ceil(UNIT)).ok_or_else(|| {
        let detail = "too many bytes of other storage states of the organization, or of all, are being \
                      written: wait for the answer to one, then try again";
        Problem::new(StatusCode::TOO_MANY_REQUESTS, "too_many_storage_states", detail)
            .retry_after(RETRY_AFTER)
    })
}

/// Resolves with the refusal when the session's storage may no longer be written: when the holder of this
/// generation no longer holds the session, when a client begins that is another than the writer, or when a person
/// takes control.
async fn until_refused(
    view: Option<watch::Receiver<SessionView>>,
    generation: Option<Generation>,
    clock: Clock,
) -> SessionError {
    let Some(mut view) = view else {
        return std::future::pending().await;
    };
    let mut found = None;
    let changed = view.wait_for(|view| {
        found = refusal(view, generation, clock);
        found.is_some()
    });
    let is_gone = changed.await.is_err();
    found.filter(|_| !is_gone).unwrap_or(SessionError::Closing)
}

/// The refusal of a write to a session with this view; none if the write is admitted.
fn refusal(
    view: &SessionView,
    generation: Option<Generation>,
    clock: Clock,
) -> Option<SessionError> {
    let occupancy = &view.record.occupancy;
    match (occupancy.holder(), generation) {
        (Some(held), Some(presented)) if held.generation == presented => {}
        (_, Some(presented)) => return Some(occupancy.lost(presented).into()),
        (Some(held), None) if held.expires_at > clock.now() => {
            let (by, until) = (held.occupant.clone(), held.expires_at);
            return Some(Refusal::Occupied { by, until }.into());
        }
        (Some(_) | None, None) => {}
    }
    let user = view.control.user()?;
    let (label, until) = (user.label.clone(), user.expires_at());
    Some(control::Refusal::Held { label, until }.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn selected(origins: &[&str]) -> Result<Selection, Problem> {
        selection(Some(origins.iter().map(|&origin| origin.to_owned()).collect()), None)
    }

    #[test]
    fn only_origins_of_web_pages_can_be_read() {
        let read = selected(&["https://a.example/", "http://b.example:80"]).unwrap();
        let expected = ["http://b.example", "https://a.example"].map(str::to_owned);
        assert_eq!(read.origins, Some(expected.into()));
        assert!(read.indexed_db);
        assert_eq!(selected(&[]).unwrap().origins, None);
        for wrong in ["chrome://settings", "file:///", "a.example", "https://a.example/b"] {
            assert!(selected(&[wrong]).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_fault_in_a_state_repeats_no_value() {
        let body = br#"{"cookies": [{"name": "a", "value": "hush", "domain": "a", "path": "/", "x": "hush"}]}"#;
        let problem = parse_with_nul::<StorageState>(body).map_err(without_values).unwrap_err();
        let text = problem.body().to_string();
        assert!(text.contains("extra_forbidden") && !text.contains("hush"), "{text}");
        let body = br#"{"cookies": [{"name": "a", "value": "hush"}]}"#;
        let problem = parse_with_nul::<StorageState>(body).map_err(without_values).unwrap_err();
        let text = problem.body().to_string();
        assert!(text.contains("missing") && !text.contains("hush"), "{text}");
    }
}
