//! The conversion of errors to answers: every variant has a status and a stable code.
//!
//! Every `match` here names every variant, so that a new variant does not compile without a status.

use std::error::Error;
use std::io;
use std::time::Duration;

use actix_web::http::StatusCode;
use actix_web::{HttpResponse, ResponseError};
use serde_json::json;
use tracing::{error, warn};

use super::problem::Problem;
use crate::actors::ask::{Classified as _, Unanswered};
use crate::actors::journal::Outcome;
use crate::actors::profiles::ProfileError;
use crate::actors::registry::{RegistryError, RouteError, RunRouteError};
use crate::actors::run::RunError;
use crate::actors::session::{FilmError, SessionError};
use crate::db::store::StoreError;
use crate::db::{DbError, Outage, Reason, Rejection};
use crate::domain::control;
use crate::domain::ids::SessionId;
use crate::domain::occupancy::Refusal;
use crate::domain::quota::QuotaExceeded;
use crate::domain::session::Failure;
use crate::domain::shown_name::shown;
use crate::service::error::ServiceError;
use crate::service::keys::KeyError;
use crate::system::desktop::files::{RenameError, UploadError};
use crate::system::desktop::{EgressError, NoRoom};
use crate::system::objects::ObjectError;

/// The reason why an endpoint failed or rejected a request.
#[derive(Debug, thiserror::Error)]
pub enum ApiError {
    /// A failed message to a session.
    #[error(transparent)]
    Route(#[from] RouteError),
    /// A failed message to a run.
    #[error(transparent)]
    Run(#[from] RunRouteError),
    /// A failed message to the registry.
    #[error(transparent)]
    Registry(#[from] RegistryError),
    /// The registry did not answer.
    #[error(transparent)]
    Unanswered(#[from] Unanswered),
    /// A failed query of the database.
    #[error(transparent)]
    Db(#[from] DbError),
    /// A failed operation on a stored file.
    #[error(transparent)]
    Object(#[from] ObjectError),
    /// A fault of the request itself.
    #[error(transparent)]
    Problem(#[from] Problem),
}

impl ResponseError for ApiError {
    fn status_code(&self) -> StatusCode {
        self.problem().status
    }

    fn error_response(&self) -> HttpResponse {
        self.problem().response()
    }
}

impl From<QuotaExceeded> for ApiError {
    fn from(refusal: QuotaExceeded) -> Self {
        Self::Problem(refusal.into())
    }
}

impl From<ServiceError> for ApiError {
    fn from(error: ServiceError) -> Self {
        match error {
            ServiceError::Unknown { prefix, id } => Self::Problem(Problem::unknown_of(prefix, &id)),
            ServiceError::NoProfile(_) => {
                let status = StatusCode::UNPROCESSABLE_ENTITY;
                Self::Problem(Problem::new(status, "profile_not_stored", error.to_string()))
            }
            ServiceError::TooManyProfiles { .. } => limited("too_many_profiles", error).into(),
            ServiceError::ProfileInUse { by, .. } => in_use(error, by).into(),
            ServiceError::ProfileChanged(_) => {
                conflict("profile_contended", error).retryable().into()
            }
            ServiceError::ProfileUnusable { code, message } => {
                Self::Problem(Problem::new(StatusCode::FAILED_DEPENDENCY, code, message))
            }
            ServiceError::StateTooLarge(message) => {
                let status = StatusCode::UNPROCESSABLE_ENTITY;
                Self::Problem(Problem::new(status, "storage_state_too_large", message))
            }
            ServiceError::Objects(cause) => {
                warn!("a file of a profile cannot be used: {cause}");
                unavailable("storage_unavailable", "the storage is unavailable: try again").into()
            }
            ServiceError::Store(cause) => store(&cause).into(),
            ServiceError::Contended => {
                conflict("debug_session_contended", error).retryable().into()
            }
            ServiceError::Route(cause) => Self::Route(cause),
            ServiceError::Registry(cause) => Self::Registry(cause),
            ServiceError::Unanswered(cause) => Self::Unanswered(cause),
            ServiceError::Db(cause) => Self::Db(cause),
        }
    }
}

impl From<KeyError> for ApiError {
    fn from(error: KeyError) -> Self {
        match error {
            KeyError::Invalid => Self::Problem(Problem::credentials()),
            KeyError::Suspended => Self::Problem(Problem::suspended()),
            KeyError::Insufficient { role, .. } => {
                let problem =
                    Problem::new(StatusCode::FORBIDDEN, "key_insufficient", error.to_string());
                Self::Problem(problem.with("role", role.as_str()))
            }
            KeyError::OtherSession(id) => Self::Problem(Problem::unknown::<SessionId>(id)),
            KeyError::Db(cause) => Self::Db(cause),
        }
    }
}

impl From<KeyError> for Problem {
    fn from(error: KeyError) -> Self {
        ApiError::from(error).problem()
    }
}

impl From<ServiceError> for Problem {
    fn from(error: ServiceError) -> Self {
        ApiError::from(error).problem()
    }
}

impl From<ApiError> for Problem {
    fn from(error: ApiError) -> Self {
        error.problem()
    }
}

impl ApiError {
    /// True if the request certainly changed nothing. A request without an answer, or whose change
    /// may be stored, may have been carried out.
    pub fn is_refusal(&self) -> bool {
        let is_refused = |outcome| outcome == Outcome::Refused;
        match self {
            Self::Route(cause) => is_refused(cause.class()),
            Self::Run(cause) => is_refused(cause.class()),
            Self::Registry(RegistryError::UnderWay) | Self::Unanswered(_) => false,
            Self::Registry(cause) => is_refused(cause.class()),
            Self::Db(cause) => matches!(cause, DbError::Conflict | DbError::Rejected(_)),
            Self::Object(cause) => matches!(cause, ObjectError::Missing { .. }),
            Self::Problem(problem) => problem.status.is_client_error(),
        }
    }

    fn problem(&self) -> Problem {
        match self {
            Self::Route(cause) => route(cause),
            Self::Run(cause) => run_route(cause),
            Self::Registry(cause) => registry(cause),
            Self::Unanswered(cause) => unanswered(*cause),
            Self::Db(cause) => database(cause),
            Self::Object(cause) => object(cause),
            Self::Problem(problem) => problem.clone(),
        }
    }
}

/// Returns the answer when a stored file cannot be used. The client gets the code and no cause.
fn object(cause: &ObjectError) -> Problem {
    error!("a stored file cannot be used: {cause}");
    match cause {
        ObjectError::StoreAway { .. } | ObjectError::Refused { .. } => {
            unavailable("storage_unavailable", "the store of files does not answer: try again")
        }
        ObjectError::Full { .. } => {
            unavailable("storage_full", "the store of files has no room: try again later")
        }
        ObjectError::Missing { .. } => gone("object_lost", "the stored file no longer exists"),
        ObjectError::TooLarge { .. }
        | ObjectError::Misconfigured { .. }
        | ObjectError::File { .. }
        | ObjectError::BadKey { .. } => {
            let detail = "the file cannot be used; the server's log has the cause";
            Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "file_unusable", detail)
        }
    }
}

fn conflict(code: &'static str, detail: impl ToString) -> Problem {
    Problem::new(StatusCode::CONFLICT, code, detail.to_string())
}

fn gone(code: &'static str, detail: impl ToString) -> Problem {
    Problem::new(StatusCode::GONE, code, detail.to_string())
}

fn unavailable(code: &'static str, detail: impl ToString) -> Problem {
    let status = StatusCode::SERVICE_UNAVAILABLE;
    Problem::new(status, code, detail.to_string()).retry_after(Duration::from_secs(1))
}

/// Returns the answer when a limit is reached. It is 429, because clients of the compatible API
/// retry statuses from 500 at once, and would make sessions twice.
fn limited(code: &'static str, detail: impl ToString) -> Problem {
    let status = StatusCode::TOO_MANY_REQUESTS;
    Problem::new(status, code, detail.to_string()).retry_after(Duration::from_secs(5))
}

/// Returns 503: the server stops, and did not begin with the request.
pub(super) fn stopping() -> Problem {
    draining("the server is stopping; repeat the request")
}

fn draining(detail: impl ToString) -> Problem {
    unavailable("server_stopping", detail)
}

fn unanswered(cause: Unanswered) -> Problem {
    match cause {
        Unanswered::Gone | Unanswered::Late => unavailable("unanswered", cause),
    }
}

fn route(cause: &RouteError) -> Problem {
    match cause {
        RouteError::Unknown(id) => {
            let detail = format!("Browser session {id} not found");
            Problem::new(StatusCode::NOT_FOUND, "session_unknown", detail)
        }
        RouteError::Draining => draining(cause),
        RouteError::Session(cause) => session(cause),
        RouteError::Unanswered(cause) => unanswered(*cause),
    }
}

fn session(cause: &SessionError) -> Problem {
    match cause {
        SessionError::Starting => conflict("session_starting", cause).retryable(),
        SessionError::Closing | SessionError::Refused(Refusal::Closed) => {
            gone("session_closed", cause)
        }
        SessionError::Refused(Refusal::Occupied { by, until })
        | SessionError::WaitedInVain { by, until } => {
            let occupancy = json!({
                "runnable_type": by.runnable_type,
                "runnable_id": by.runnable_id,
                "expires_at": until,
            });
            conflict("session_occupied", cause).retryable().with("occupancy", occupancy)
        }
        SessionError::Refused(Refusal::Lost { presented, latest }) => {
            conflict("occupancy_lost", cause)
                .with("generation", presented)
                .with("latest_generation", latest)
        }
        SessionError::Refused(Refusal::WrongLease { .. }) => {
            Problem::new(StatusCode::FORBIDDEN, "lease_token_wrong", cause.to_string())
        }
        SessionError::Control(control::Refusal::Held { label, until }) => {
            let control = json!({ "by": "user", "label": label, "expires_at": until });
            conflict("control_held", cause).retryable().with("control", control)
        }
        SessionError::Control(control::Refusal::WatchOnly) => {
            Problem::new(StatusCode::FORBIDDEN, "watch_only", cause.to_string())
        }
        SessionError::Control(control::Refusal::NotConnected) => {
            conflict("viewer_not_connected", cause)
        }
        SessionError::TooManyViewers { .. } => limited("too_many_viewers", cause),
        SessionError::TooManyDrivers { .. } => limited("too_many_drivers", cause),
        SessionError::TooManyTickets { .. } => limited("too_many_tickets", cause),
        SessionError::TicketUsed => {
            Problem::new(StatusCode::FORBIDDEN, "ticket_used", cause.to_string())
        }
        SessionError::TicketEnded => {
            Problem::new(StatusCode::FORBIDDEN, "ticket_ended", cause.to_string())
        }
        SessionError::NotRotated(failure) => {
            let status = StatusCode::FAILED_DEPENDENCY;
            Problem::new(status, "rotation_incomplete", cause.to_string()).with("failure", failure)
        }
        SessionError::UnknownViewer(_) => {
            Problem::new(StatusCode::NOT_FOUND, "viewer_unknown", cause.to_string())
        }
        SessionError::QueueFull { .. } => limited("queue_full", cause),
        SessionError::Quota(refusal) => QuotaExceeded::clone(refusal).into(),
        SessionError::WaitCalledOff => conflict("wait_called_off", cause),
        SessionError::TooManyRecordings { .. } => limited("too_many_recordings", cause),
        SessionError::NotInside { .. } => conflict("occupancy_lost", cause),
        SessionError::UnknownRecording(_) => {
            Problem::new(StatusCode::NOT_FOUND, "recording_unknown", cause.to_string())
        }
        SessionError::ProfileInUse { by, .. } => in_use(cause, *by),
        SessionError::Profile(cause) => profile(cause),
        SessionError::Film(cause) => film(cause),
        SessionError::NoEgress => conflict("egress_unavailable", cause),
        SessionError::Egress(EgressError::Invalid(_)) => {
            Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "egress_invalid", cause.to_string())
        }
        SessionError::Egress(EgressError::Unanswered(_)) => unavailable("egress_unanswered", cause),
        SessionError::Capture(_) => unavailable("capture_failed", cause),
        SessionError::Desktop(failure) => failed_start(failure),
        SessionError::NotStored(cause) => store(cause),
        SessionError::Unanswered(cause) => unanswered(*cause),
    }
}

/// Returns the answer when another session may write to a profile.
fn in_use(cause: impl ToString, by: SessionId) -> Problem {
    conflict("profile_in_use", cause).retryable().with("writer", by)
}

fn profile(cause: &ProfileError) -> Problem {
    match cause {
        ProfileError::UnderWay => conflict("profile_under_way", cause).retryable(),
        ProfileError::NotWriter(_) => conflict("profile_not_written", cause),
        ProfileError::NotPacked(failure) => {
            let status = StatusCode::FAILED_DEPENDENCY;
            Problem::new(status, "profile_not_packed", cause.to_string()).with("failure", failure)
        }
        ProfileError::Objects(_) | ProfileError::Late(_) => {
            unavailable("storage_unavailable", cause)
        }
        ProfileError::Row(cause) => store(cause),
        ProfileError::Quota(refusal) => QuotaExceeded::clone(refusal).into(),
    }
}

/// Returns the answer when a recording lacks something on the machine. The machine is at fault, but
/// the status stays below 500, see `limited`.
fn film(cause: &FilmError) -> Problem {
    let failed = |code| Problem::new(StatusCode::FAILED_DEPENDENCY, code, cause.to_string());
    match cause {
        FilmError::NoFfmpeg { .. } => failed("ffmpeg_missing"),
        FilmError::DiskFull { .. } => limited("disk_full", cause),
        FilmError::Failed { .. } => failed("recording_failed"),
    }
}

fn run_route(cause: &RunRouteError) -> Problem {
    match cause {
        RunRouteError::Unknown(id) => {
            Problem::new(StatusCode::NOT_FOUND, "run_unknown", format!("Run not found {id}"))
        }
        RunRouteError::Run(RunError::Ending { .. }) => conflict("run_ending", cause),
        RunRouteError::Run(RunError::NotPaused { .. }) => conflict("run_not_paused", cause),
        RunRouteError::Run(RunError::NotStored(cause)) => store(cause),
        RunRouteError::Run(RunError::Unanswered(cause)) | RunRouteError::Unanswered(cause) => {
            unanswered(*cause)
        }
    }
}

fn registry(cause: &RegistryError) -> Problem {
    match cause {
        RegistryError::Draining => draining(cause),
        RegistryError::TooManySessions { .. } | RegistryError::TooManyDormant { .. } => {
            limited("too_many_sessions", cause)
        }
        RegistryError::TooManyRuns { .. } => limited("too_many_runs", cause),
        RegistryError::Quota(refusal) => QuotaExceeded::clone(refusal).into(),
        RegistryError::UnderWay => conflict("idempotency_in_progress", cause).retryable(),
        RegistryError::ProfileInUse { by, .. } => in_use(cause, *by),
        RegistryError::NoRoom(NoRoom { what, available, needed, unit, setting }) => {
            limited("capacity_exceeded", cause)
                .with("what", what)
                .with("available", available)
                .with("needed", needed)
                .with("unit", unit)
                .with("hint", format!("close a session, or see `{setting}`"))
        }
        RegistryError::NotStored(cause) => store(cause),
        RegistryError::Unanswered(cause) => unanswered(*cause),
    }
}

fn store(cause: &StoreError) -> Problem {
    match cause {
        StoreError::Conflict { .. } => conflict("changed_by_another", cause).retryable(),
        StoreError::Final => gone("session_closed", "the session has ended"),
        StoreError::Missing => Problem::new(StatusCode::NOT_FOUND, "unknown", cause.to_string()),
        StoreError::Unavailable(outage) => {
            outage_of(outage, "the change may not have been made: try again")
        }
        StoreError::Rejected(rejection) => rejected(rejection),
    }
}

fn database(cause: &DbError) -> Problem {
    match cause {
        DbError::Conflict => conflict(
            "changed_by_another",
            "another request changed this at the same time: try again",
        )
        .retryable(),
        DbError::Unavailable(outage) => outage_of(outage, "the database is unavailable: try again"),
        DbError::Rejected(rejection) => rejected(rejection),
        DbError::Corrupt { .. } => {
            error!("a row of the database is damaged: {cause}");
            let detail = "the stored data cannot be read; the server's log names the row";
            Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "row_unreadable", detail)
        }
    }
}

/// Returns the answer when the database is unavailable. The client gets the code and no cause. A
/// full disk has its own code, because an operator must free space.
fn outage_of(outage: &Outage, detail: &str) -> Problem {
    let cause: &dyn Error = outage;
    error!(error = cause, "the database is unavailable");
    let code = if outage.is_disk_full() { "disk_full" } else { "database_unavailable" };
    unavailable(code, detail)
}

/// Returns the answer when the database rejects a value. A retry would be rejected as well, except
/// with a new id.
fn rejected(rejection: &Rejection) -> Problem {
    let cause: &dyn Error = rejection;
    warn!(error = cause, "the database rejected the content of a request");
    let status = StatusCode::UNPROCESSABLE_ENTITY;
    match rejection.reason() {
        Reason::Data => {
            let detail = "the database cannot hold a value of this request, such as a text that is \
                          too long; nothing was stored. Change the request";
            Problem::new(status, "data_refused", detail)
        }
        Reason::Constraint => {
            let detail = "this request refers to something that no longer exists, or contradicts \
                          stored data; nothing was stored. Change the request";
            Problem::new(status, "data_refused", detail)
        }
        Reason::IdTaken => unavailable("id_taken", "nothing was stored: try again"),
    }
}

/// Returns the answer when a file was not taken into a session. Nothing of it is left.
pub fn upload(cause: &UploadError) -> Problem {
    match cause {
        UploadError::TooLarge(_) => {
            Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "file_too_large", cause.to_string())
        }
        UploadError::TooMany(_) => limited("too_many_files", cause),
        UploadError::TooMuch(_) => limited("too_many_bytes", cause),
        UploadError::TooManyAtOnce => limited("too_many_uploads", cause),
        UploadError::DiskFull { .. } | UploadError::NoSpace => limited("disk_full", cause),
        UploadError::NoFolder => conflict("session_starting", cause).retryable(),
        UploadError::Failed(cause) => unreadable(cause),
    }
}

/// Returns the answer when a file of a session was not opened, renamed or deleted.
pub fn file(cause: &io::Error, name: &str) -> Problem {
    if cause.kind() == io::ErrorKind::NotFound {
        let name = shown(name.as_bytes());
        let detail = format!("File {name} not found");
        return Problem::new(StatusCode::NOT_FOUND, "file_unknown", detail);
    }
    unreadable(cause)
}

/// Returns the answer when a file of a session was not renamed.
pub fn renamed(cause: &RenameError, name: &str) -> Problem {
    match cause {
        RenameError::Taken => conflict("file_name_taken", cause),
        RenameError::Failed(cause) => file(cause, name),
    }
}

fn unreadable(cause: &io::Error) -> Problem {
    error!(error = %cause, "the files of a session cannot be used");
    let detail = "the files of the session cannot be used; the server's log has the cause";
    Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", detail)
}

/// Returns the answer for the files of a session that has ended.
pub fn files_gone(session: SessionId) -> Problem {
    let detail = format!(
        "the session has ended, and its files with it; what its browser downloaded is stored: see \
         GET /v1/browser_sessions/{session}/artifacts"
    );
    gone("session_closed", detail)
}

/// Returns the answer when a part of a desktop did not start. The client gets the whole failure,
/// because it concerns its own session. The status stays below 500, see `limited`.
pub fn failed_start(failure: &Failure) -> Problem {
    let problem = match failure.code.as_str() {
        "no_display_free" | "no_port_free" | "no_descriptor_free" => {
            limited("capacity_exceeded", &failure.message)
        }
        _ => {
            let status = StatusCode::FAILED_DEPENDENCY;
            Problem::new(status, failure.code.clone(), failure.message.clone())
        }
    };
    problem.with("failure", failure)
}
