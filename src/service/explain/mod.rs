//! Explanations: why a session or a run is in its state, in sentences and in fields.
//!
//! The facts come from published snapshots, the rows, the journal and `/proc`. No message is sent to an
//! actor, so a session that does not answer can be explained too. `words` makes the sentences; it
//! knows only the facts that it is given.

mod facts;
mod run;
mod words;

use chrono::{DateTime, Utc};
use serde::Serialize;
use serde_json::{Value, json};
use utoipa::ToSchema;

use self::facts::Facts;
pub use self::run::run;
use super::core::Core;
use super::error::ServiceError;
use super::lookup;
use super::resources::session::OccupancyResource;
use crate::actors::journal::{Entry, Filter, Outcome};
use crate::actors::views::SessionView;
use crate::domain::ids::{OrganizationId, SessionId};
use crate::domain::session::Failure;
use crate::system::programs::ProgramReport;

/// The number of messages in an explanation.
const MESSAGES: usize = 20;

/// The number of the server's latest messages among which those to an actor that has ended are looked for.
const LATEST: usize = 2_000;

/// The reader of an explanation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reader {
    /// An operator of the server, who is shown processes, logs and the details of messages.
    Operator,
    /// A client of the organization that owns the session or run.
    Organization,
}

/// The state of a session or a run, and its cause.
#[derive(Debug, Serialize, ToSchema)]
pub struct Explanation {
    /// The id of the session or run.
    pub id: String,
    /// The kind of the object: `browser_session` or `workflow_run`.
    pub kind: &'static str,
    /// The status, as the session or run shows it.
    pub status: &'static str,
    /// True if nothing is wrong, and nothing waits.
    pub well: bool,
    /// The cause of the state, for programs: `program_stopped`, `held`, `start_failed`, …
    pub cause: &'static str,
    /// The time since which the cause holds.
    pub since: Option<DateTime<Utc>>,
    /// One sentence for people that names the cause.
    pub summary: String,
    /// Further sentences, about what is true beside the cause.
    pub details: Vec<String>,
    /// The event that the session or run waits for.
    pub waiting_for: Option<Wait>,
    /// The holder of the session, and the queue of waiters.
    pub occupancy: Option<OccupancyResource>,
    /// The next deadline of the session, with its time: `{kind, at}`.
    #[schema(value_type = Option<Object>)]
    pub next_deadline: Option<Value>,
    /// The last error, also if it is over.
    pub last_error: Option<LastError>,
    /// The latest messages to the actor, newest first. Operators are shown the entries of the journal; others the kind,
    /// the times and the outcome of each.
    #[schema(value_type = Vec<Object>)]
    pub messages: Vec<Value>,
    /// The programs of the session on this node.
    pub programs: Vec<ProgramResource>,
    /// The explanation of the session that a run uses.
    #[schema(value_type = Option<Object>)]
    pub browser_session: Option<Box<Self>>,
}

/// An object that a session or a run waits for.
#[derive(Debug, PartialEq, Serialize, ToSchema)]
pub struct Wait {
    /// The awaited event, for people.
    pub what: String,
    /// The time since which it waits.
    pub since: Option<DateTime<Utc>>,
}

/// The last error of a session or a run.
#[derive(Debug, PartialEq, Serialize, ToSchema)]
pub struct LastError {
    /// The stable code of a failure, or the kind of the message that failed.
    pub code: String,
    /// The error, in one sentence.
    pub message: String,
    /// The error followed by its causes.
    pub chain: Vec<String>,
    /// The remedy, if one is known.
    pub hint: Option<String>,
    /// The time of the error.
    pub at: Option<DateTime<Utc>>,
}

impl LastError {
    fn of(failure: &Failure, at: Option<DateTime<Utc>>) -> Self {
        let last_line = failure.log_tail.last().map(|line| format!("its log ends with: {line}"));
        let causes = failure.exit.clone().into_iter().chain(last_line);
        Self {
            code: failure.code.clone(),
            message: failure.message.clone(),
            chain: std::iter::once(failure.message.clone()).chain(causes).collect(),
            hint: failure.hint.clone(),
            at,
        }
    }

    /// The error of a message between actors. Its reason may be internal, so only operators are shown it.
    fn of_message(entry: &Entry, reader: Reader) -> Self {
        let outcome = entry.outcome.map_or("pending", Outcome::as_str);
        let message = format!("the message `{}` has the outcome `{outcome}`", entry.kind);
        let note = entry.note.clone().filter(|_note| reader == Reader::Operator);
        Self {
            code: entry.kind.to_owned(),
            chain: std::iter::once(message.clone()).chain(note).collect(),
            message,
            hint: None,
            at: entry.ended_at,
        }
    }
}

/// One program of a session, or a process below it that is stuck.
#[derive(Debug, Serialize, ToSchema)]
pub struct ProgramResource {
    /// The name of the program: `chromium`, `xvfb`, `x11vnc`, `egress`.
    pub name: String,
    /// The role of a process below a browser that is stuck, such as `renderer`.
    pub role: Option<String>,
    /// The number of the process. For operators only.
    pub pid: Option<i32>,
    /// The state as `ps` shows it: `R`, `S`, `D`, `T`, `Z`; `X` if the process is gone.
    pub state: char,
    /// The time since a stopped process last ran, in seconds, if the kernel reports it.
    pub stuck_seconds: Option<f64>,
    /// The processor time of it and of the processes below it.
    pub cpu_seconds: f64,
    /// The resident memory of it and of the processes below it. Memory that they share counts for each.
    pub memory_bytes: u64,
    /// The number of processes: itself and those below it.
    pub processes: usize,
    /// The time at which it started.
    pub started_at: Option<DateTime<Utc>>,
    /// The last lines of its log. For operators only.
    pub log_tail: Option<Vec<String>>,
}

impl ProgramResource {
    fn of(report: ProgramReport, reader: Reader) -> Self {
        let is_operator = reader == Reader::Operator;
        Self {
            name: report.name,
            role: report.role,
            pid: is_operator.then_some(report.pid),
            state: report.state.letter(),
            stuck_seconds: report.stuck_for.map(|time| time.as_secs_f64()),
            cpu_seconds: report.cpu.as_secs_f64(),
            memory_bytes: report.memory_bytes,
            processes: report.processes,
            started_at: report.started_at.map(DateTime::from),
            log_tail: is_operator.then_some(report.log),
        }
    }
}

/// Explains the state of a session.
///
/// # Errors
///
/// [`ServiceError::Unknown`] if the organization has no such session; those of the database.
pub async fn session(
    core: &Core,
    organization: OrganizationId,
    id: SessionId,
    reader: Reader,
) -> Result<Explanation, ServiceError> {
    let view = lookup::session(core, organization, id).await?;
    let facts = Facts::of(core, &view, reader).await;
    let verdict = words::verdict(&view, &facts, reader);
    let live = !view.record.status.is_final();
    let next = view.record.deadlines.next(&view.record.occupancy).filter(|_next| live);
    let Facts { programs, .. } = facts;
    Ok(Explanation {
        id: id.to_string(),
        kind: "browser_session",
        status: view.record.status.as_str(),
        well: verdict.well,
        cause: verdict.cause,
        since: verdict.since,
        summary: verdict.summary,
        details: verdict.details,
        waiting_for: verdict.waiting_for,
        occupancy: live.then(|| OccupancyResource::of(&view)),
        next_deadline: next.and_then(|next| serde_json::to_value(next).ok()),
        last_error: last_error(core, &view, reader),
        messages: messages(core, &id.to_string(), session_filter(id), reader),
        programs: programs.into_iter().map(|it| ProgramResource::of(it, reader)).collect(),
        browser_session: None,
    })
}

fn session_filter(id: SessionId) -> Filter {
    Filter { session: Some(id), ..Filter::default() }
}

fn last_error(core: &Core, view: &SessionView, reader: Reader) -> Option<LastError> {
    let record = &view.record;
    if let Some(failure) = &record.failure {
        return Some(LastError::of(failure, record.completed_at));
    }
    let death = view.last_death.as_ref();
    let death = death.map(|death| LastError::of(&death.failure, Some(death.at)));
    let message = core.world.journal.last_error(&record.id.to_string());
    let message = message.map(|entry| LastError::of_message(&entry, reader));
    death.into_iter().chain(message).max_by_key(|error| error.at)
}

/// The latest messages to an actor, also after its end, if they are among the latest of the server.
fn messages(core: &Core, actor: &str, ended: Filter, reader: Reader) -> Vec<Value> {
    let journal = &core.world.journal;
    let entries = journal.messages_to(actor, MESSAGES);
    let entries = entries.unwrap_or_else(|| journal.latest(LATEST, &ended, MESSAGES));
    entries.iter().map(|entry| shown(entry, reader)).collect()
}

fn shown(entry: &Entry, reader: Reader) -> Value {
    match reader {
        Reader::Operator => serde_json::to_value(entry).unwrap_or_default(),
        Reader::Organization => {
            // The reason of a refusal is in its answer too. Other reasons are internal.
            let refused = entry.outcome == Some(Outcome::Refused);
            json!({
                "kind": entry.kind,
                "enqueued_at": entry.enqueued_at,
                "ended_at": entry.ended_at,
                "wait_us": entry.wait_us,
                "handling_us": entry.handling_us,
                "outcome": entry.outcome,
                "note": entry.note.as_ref().filter(|_note| refused),
            })
        }
    }
}
