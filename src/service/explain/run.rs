//! The explanation of a run, with that of the session that it uses.

use chrono::{DateTime, Utc};

use super::words::span;
use super::{Explanation, LastError, Reader, Wait, messages};
use crate::actors::journal::Filter;
use crate::actors::views::RunView;
use crate::domain::ids::{OrganizationId, RunId};
use crate::domain::run::{BlockRecord, BlockStatus, RunStatus};
use crate::service::core::Core;
use crate::service::error::ServiceError;
use crate::service::lookup;
use crate::service::resources::egress::refused_of_run;
use crate::service::resources::run::WaitingFor;

/// Explains the state of a run.
///
/// # Errors
///
/// [`ServiceError::Unknown`] if the organization has no such run; those of the database.
pub async fn run(
    core: &Core,
    organization: OrganizationId,
    id: RunId,
    reader: Reader,
) -> Result<Explanation, ServiceError> {
    let view = lookup::run(core, organization, id).await?;
    let record = &view.record;
    let session = match record.session.filter(|_session| !record.status.is_final()) {
        Some(session) => Some(super::session(core, organization, session, reader).await?),
        None => None,
    };
    let waiting = WaitingFor::of(record, core);
    let now = core.world.clock.now();
    let Cause { cause, well, since, summary, waiting_for } =
        cause(&view, waiting.as_ref(), session.as_ref(), now);
    let failed_block = view.blocks.iter().rev().find(|block| block.failure.is_some());
    let block_failure = failed_block.and_then(|block| Some((block.failure.as_ref()?, block)));
    let last_error = match (&record.failure, block_failure) {
        (Some(failure), _) => Some(LastError::of(failure, record.finished_at)),
        (None, Some((failure, block))) => Some(LastError::of(failure, block.finished_at)),
        (None, None) => None,
    };
    let mut details = details(&view, now);
    for refused in refused_of_run(core, record).await? {
        let target = refused.target.as_deref().unwrap_or("further targets");
        details.push(format!("The network policy refused {target}: {}.", refused.message));
    }
    let filter = Filter { run: Some(id), ..Filter::default() };
    Ok(Explanation {
        id: id.to_string(),
        kind: "workflow_run",
        status: record.status.as_str(),
        well,
        cause,
        since,
        summary,
        details,
        waiting_for,
        occupancy: None,
        next_deadline: None,
        last_error,
        messages: messages(core, &id.to_string(), filter, reader),
        programs: Vec::new(),
        browser_session: session.map(Box::new),
    })
}

/// The cause of a run's state, in words.
struct Cause {
    cause: &'static str,
    well: bool,
    since: Option<DateTime<Utc>>,
    summary: String,
    waiting_for: Option<Wait>,
}

fn current(view: &RunView) -> Option<&BlockRecord> {
    view.blocks.iter().rev().find(|block| block.status == BlockStatus::Running)
}

fn cause(
    view: &RunView,
    waiting: Option<&WaitingFor>,
    session: Option<&Explanation>,
    now: DateTime<Utc>,
) -> Cause {
    let record = &view.record;
    let time = |since: Option<DateTime<Utc>>| {
        since.map(|since| format!(" for {}", span(now - since))).unwrap_or_default()
    };
    let waits = |cause, since, summary: String, what: String| Cause {
        cause,
        well: false,
        since,
        summary,
        waiting_for: Some(Wait { what, since }),
    };
    match record.status {
        RunStatus::Created => {
            let since = Some(record.created_at);
            let state = session.map(|it| format!(" {}", it.summary)).unwrap_or_default();
            let summary = format!("The run has waited for its session{}.{state}", time(since));
            waits("waits_for_session", since, summary, "its session".to_owned())
        }
        RunStatus::Queued => {
            let since = record.queued_at.or(Some(record.created_at));
            let (cause, summary) = match waiting {
                Some(WaitingFor {
                    browser_session_id,
                    runnable_type: Some(kind),
                    runnable_id: Some(holder),
                    place: Some(place),
                    ..
                }) => (
                    "waits_for_holder",
                    format!(
                        "The run has waited{} for session {browser_session_id}, which {kind} {holder} holds; it \
                         is number {place} in the queue.",
                        time(since)
                    ),
                ),
                Some(WaitingFor { browser_session_id, place: None, .. })
                    if session.is_some_and(|it| it.status == "running") =>
                {
                    (
                        "waits_for_turn",
                        format!(
                            "The run has waited{} for the runs before it in its serial queue \
                             (`run_sequentially`), or for session {browser_session_id}.",
                            time(since)
                        ),
                    )
                }
                Some(_) | None => {
                    let state = session.map(|it| format!(" {}", it.summary)).unwrap_or_default();
                    (
                        "waits_for_session",
                        format!("The run has waited{} for its session.{state}", time(since)),
                    )
                }
            };
            waits(cause, since, summary, "its session".to_owned())
        }
        RunStatus::Paused => {
            let since = current(view).map(|block| block.started_at).or(Some(record.modified_at));
            let summary = format!(
                "The run is paused{}, until a person continues it (`POST …/continue`).",
                time(since)
            );
            waits("paused", since, summary, "a person who continues it".to_owned())
        }
        RunStatus::Running => running(view, session, now),
        RunStatus::Completed => {
            ended(view, now, "completed", "completed: every block succeeded", true)
        }
        RunStatus::Canceled => {
            ended(view, now, "canceled", "was canceled by a client or operator", true)
        }
        RunStatus::Failed => ended(view, now, "failed", "failed", false),
        RunStatus::Terminated => {
            ended(view, now, "terminated", "ended itself, because a block decided so", false)
        }
        RunStatus::TimedOut => ended(view, now, "timed_out", "exceeded its time limit", false),
    }
}

fn running(view: &RunView, session: Option<&Explanation>, now: DateTime<Utc>) -> Cause {
    let record = &view.record;
    let block = current(view);
    let since = block.map(|block| block.started_at).or(record.started_at);
    let at = block.map(|BlockRecord { label, block_type, started_at, .. }| {
        format!("block `{label}` ({block_type}) for {}", span(now - *started_at))
    });
    let at = at.unwrap_or_else(|| "no block".to_owned());
    // The holder of the session is the run itself, which explains nothing.
    let obstacle = session.filter(|it| !it.well && it.cause != "held");
    match obstacle {
        Some(obstacle) => Cause {
            cause: obstacle.cause,
            well: false,
            since: obstacle.since,
            summary: format!("{} The run executes {at}.", obstacle.summary),
            waiting_for: Some(Wait { what: "its session".to_owned(), since: obstacle.since }),
        },
        None => Cause {
            cause: "running",
            well: true,
            since,
            summary: format!("The run executes {at}."),
            waiting_for: None,
        },
    }
}

fn ended(view: &RunView, now: DateTime<Utc>, cause: &'static str, what: &str, well: bool) -> Cause {
    let since = view.record.finished_at;
    let ago = since.map(|at| format!(" {} ago", span(now - at))).unwrap_or_default();
    let why = view.record.failure.as_ref().map(|failure| {
        let hint = failure.hint.as_ref().map(|hint| format!("; {hint}")).unwrap_or_default();
        format!(": {}{hint}", failure.message.trim_end_matches('.'))
    });
    let summary = format!("The run {what}{ago}{}.", why.unwrap_or_default());
    Cause { cause, well, since, summary, waiting_for: None }
}

fn details(view: &RunView, now: DateTime<Utc>) -> Vec<String> {
    let count = |status: BlockStatus| view.blocks.iter().filter(|it| it.status == status).count();
    let (done, failed) = (count(BlockStatus::Completed), count(BlockStatus::Failed));
    let mut details = Vec::new();
    if !view.blocks.is_empty() {
        details.push(format!("{done} blocks have completed, and {failed} have failed."));
    }
    if let Some(started_at) = view.record.started_at.filter(|_| !view.record.status.is_final()) {
        details.push(format!("The run began {} ago.", span(now - started_at)));
    }
    details
}
