//! The sentences of a session's explanation. Pure: it reads no clock and no file.

use chrono::{DateTime, TimeDelta, Utc};

use super::facts::Facts;
use super::{Reader, Wait};
use crate::actors::views::{SessionView, WaiterView};
use crate::domain::deadlines::{DeadlineKind, NextDeadline};
use crate::domain::occupancy::{Held, RunnableType};
use crate::domain::session::{Failure, SessionStatus};
use crate::system::desktop::NoRoom;
use crate::system::programs::{ProcessState, ProgramReport};

/// The cause of a session's state, in words.
#[derive(Debug, PartialEq)]
pub(super) struct Verdict {
    pub(super) cause: &'static str,
    pub(super) well: bool,
    pub(super) since: Option<DateTime<Utc>>,
    pub(super) summary: String,
    pub(super) details: Vec<String>,
    pub(super) waiting_for: Option<Wait>,
}

impl Verdict {
    fn new(cause: &'static str, since: Option<DateTime<Utc>>, summary: impl Into<String>) -> Self {
        let (summary, details) = (summary.into(), Vec::new());
        Self { cause, well: false, since, summary, details, waiting_for: None }
    }

    fn well(self) -> Self {
        Self { well: true, ..self }
    }

    fn waits_for(self, what: impl Into<String>) -> Self {
        let waiting_for = Some(Wait { what: what.into(), since: self.since });
        Self { waiting_for, ..self }
    }
}

/// Returns the cause of a session's state. The most severe one comes first: a program that is stopped
/// explains more than the holder that waits for it.
pub(super) fn verdict(view: &SessionView, facts: &Facts, reader: Reader) -> Verdict {
    let record = &view.record;
    let mut verdict = if record.status.is_final() {
        ended(view, facts)
    } else if let Some(program) = facts.programs.iter().find(|it| is_cause(it, record.status)) {
        stuck(program, facts.now, reader)
    } else {
        match record.status {
            SessionStatus::Created if record.is_dormant() => dormant(view, facts),
            SessionStatus::Created => starting(view, facts),
            SessionStatus::Retry => recovering(view, facts),
            SessionStatus::Running if view.closing => Verdict::new(
                "closing",
                None,
                "The session is closing: its programs are being ended.",
            )
            .waits_for("the end of its programs"),
            SessionStatus::Running => running(view, facts),
            // Final, which is decided above.
            SessionStatus::Completed | SessionStatus::Failed | SessionStatus::Timeout => {
                ended(view, facts)
            }
        }
    };
    if !record.status.is_final() {
        further(&mut verdict, view, facts, reader);
    }
    verdict
}

/// A time span for people: `12 s`, `3 min 05 s`, `2 h 10 min`.
pub(super) fn span(time: TimeDelta) -> String {
    let seconds = time.num_seconds().max(0);
    let (minutes, rest) = (seconds / 60, seconds % 60);
    match (minutes / 60, minutes % 60) {
        (0, 0) => format!("{seconds} s"),
        (0, minutes) => format!("{minutes} min {rest:02} s"),
        (hours, minutes) => format!("{hours} h {minutes:02} min"),
    }
}

fn ended(view: &SessionView, facts: &Facts) -> Verdict {
    let record = &view.record;
    let at = record.completed_at;
    let ago = at.map(|at| format!(" {} ago", span(facts.now - at))).unwrap_or_default();
    match (&record.failure, record.status) {
        (Some(failure), _) if record.started_at.is_none() => start_failed(failure, facts, at),
        (Some(failure), _) => {
            Verdict::new("failed", at, format!("The session failed{ago}: {}.", said(failure)))
        }
        (None, SessionStatus::Timeout) => {
            let which = match record.deadlines.end(&record.occupancy).map(|end| end.kind) {
                Some(DeadlineKind::Idle) => "no client held it for too long",
                Some(DeadlineKind::Lifetime | DeadlineKind::StartUp | DeadlineKind::Occupancy)
                | None => "its lifetime was over",
            };
            Verdict::new("timed_out", at, format!("The session ended{ago}, because {which}."))
        }
        (
            None,
            SessionStatus::Created
            | SessionStatus::Running
            | SessionStatus::Retry
            | SessionStatus::Completed
            | SessionStatus::Failed,
        ) => Verdict::new("closed", at, format!("The session was closed{ago}.")).well(),
    }
}

/// A failure as part of a sentence: its message and its hint.
fn said(failure: &Failure) -> String {
    let message = failure.message.trim_end_matches('.');
    match &failure.hint {
        Some(hint) => format!("{message}; {}", hint.trim_end_matches('.')),
        None => message.to_owned(),
    }
}

fn start_failed(failure: &Failure, facts: &Facts, at: Option<DateTime<Utc>>) -> Verdict {
    let of_browser = failure.stage.as_deref() == Some("chromium");
    // A browser that finds no shared memory ends with a message that does not name it.
    let lack = facts.lack.as_ref().filter(|lack| of_browser && lack.what == SHARED_MEMORY);
    match lack {
        Some(lack) => Verdict {
            details: vec![format!("The browser reported: {}.", said(failure))],
            ..Verdict::new("start_failed", at, format!("The start failed: {}.", lacking(lack)))
        },
        None => Verdict {
            details: facts.lack.iter().map(|lack| format!("Now {}.", lacking(lack))).collect(),
            ..Verdict::new("start_failed", at, format!("The start failed: {}.", said(failure)))
        },
    }
}

const SHARED_MEMORY: &str = "/dev/shm";

/// A lack of room as part of a sentence, with the remedy.
fn lacking(lack: &NoRoom) -> String {
    let NoRoom { what, available, needed, unit, setting } = lack;
    let remedy = match what.as_str() {
        SHARED_MEMORY => {
            "enlarge it with `mount -o remount,size=1g /dev/shm`, or with `--shm-size=1g` in Docker"
        }
        "memory" => "close other sessions, or add memory",
        "open files" => "raise `LimitNOFILE=` in the unit, or `ulimit -n`",
        _the_data_directory => "make room on the disk",
    };
    format!(
        "{what} has {available} {unit} free, and another session needs {needed} ({setting}); {remedy}"
    )
}

/// The name of a program at the start of a sentence.
fn named(program: &ProgramReport) -> String {
    let name = match program.name.as_str() {
        "chromium" => "Chromium",
        "xvfb" => "The X server (Xvfb)",
        "tigervnc" => "The X and VNC server (Xtigervnc)",
        "x11vnc" => "The VNC server (x11vnc)",
        "egress" => "The egress program",
        other => return format!("The program {other}"),
    };
    match program.role.as_deref() {
        None => name.to_owned(),
        Some("") => format!("A process of {name}"),
        Some(role) => format!("The process `{role}` of {name}"),
    }
}

/// True if the state of a program explains that of its session. Programs end while a session starts and
/// recovers, and helpers of a running one do.
fn is_cause(program: &ProgramReport, status: SessionStatus) -> bool {
    match program.state {
        ProcessState::Stopped | ProcessState::Traced => true,
        ProcessState::Zombie | ProcessState::Gone => {
            let is_part =
                matches!(program.name.as_str(), "chromium" | "xvfb" | "tigervnc" | "egress");
            status == SessionStatus::Running && is_part && program.role.is_none()
        }
        ProcessState::Running
        | ProcessState::Sleeping
        | ProcessState::Blocked
        | ProcessState::Other(_) => false,
    }
}

fn stuck(program: &ProgramReport, now: DateTime<Utc>, reader: Reader) -> Verdict {
    let is_operator = reader == Reader::Operator;
    let pid = if is_operator { format!(" (pid {})", program.pid) } else { String::new() };
    let stuck_for = program.stuck_for.and_then(|time| TimeDelta::from_std(time).ok());
    let for_how_long = stuck_for.map(|time| format!(" for {}", span(time))).unwrap_or_default();
    let since = stuck_for.map(|time| now - time);
    let name = named(program);
    let (cause, sentence) = match program.state {
        ProcessState::Stopped => {
            ("program_stopped", format!("{name}{pid} has been stopped (SIGSTOP){for_how_long}."))
        }
        ProcessState::Traced => (
            "program_stopped",
            format!("{name}{pid} has been stopped by a debugger{for_how_long}."),
        ),
        ProcessState::Zombie => (
            "program_ended",
            format!("{name}{pid} has ended{for_how_long}, and is not reaped yet (zombie)."),
        ),
        ProcessState::Gone
        | ProcessState::Running
        | ProcessState::Sleeping
        | ProcessState::Blocked
        | ProcessState::Other(_) => ("program_ended", format!("{name}{pid} has ended.")),
    };
    let mut verdict = Verdict::new(cause, since, sentence);
    if cause == "program_stopped" {
        verdict = verdict.waits_for("a signal that continues the program");
        verdict.details.push(match reader {
            Reader::Operator => format!("`kill -CONT {}` continues it.", program.pid),
            Reader::Organization => "An operator can continue it.".to_owned(),
        });
        verdict.details.push(
            "While the session is driven or watched, the server ends a stopped program and recovers \
             the session."
                .to_owned(),
        );
    } else {
        verdict = verdict.waits_for("the recovery of the session");
    }
    verdict
}

fn dormant(view: &SessionView, facts: &Facts) -> Verdict {
    let since = Some(view.record.created_at);
    match &facts.lack {
        Some(lack) => {
            let sentence = format!(
                "The browser waits for its first use, and cannot start: {}.",
                lacking(lack)
            );
            Verdict::new("no_room", since, sentence).waits_for("room on the machine")
        }
        None => {
            Verdict::new("dormant", since, "The browser waits for its first use, which starts it.")
                .waits_for("the first use")
                .well()
        }
    }
}

fn starting(view: &SessionView, facts: &Facts) -> Verdict {
    let record = &view.record;
    // A session that was lazily started knows only the time by which it has to run.
    let asked = record.created_at;
    let by = record.deadlines.start_by.map(|by| by - facts.now);
    let by = by.map(|left| format!("; it fails unless the browser runs within {}", span(left)));
    let sentence = format!(
        "The browser is starting; the session was requested {} ago{}.",
        span(facts.now - asked),
        by.unwrap_or_default()
    );
    Verdict::new("starting", Some(asked), sentence).waits_for("the browser")
}

fn recovering(view: &SessionView, facts: &Facts) -> Verdict {
    match &view.last_death {
        Some(death) => {
            let sentence = format!(
                "The session is being recovered for {}: {}.",
                span(facts.now - death.at),
                said(&death.failure)
            );
            Verdict::new("recovering", Some(death.at), sentence)
        }
        None => {
            let since = view.record.modified_at;
            let time = span(facts.now - since);
            let sentence = format!("The browser is being restarted or cleared for {time}.");
            Verdict::new("recovering", Some(since), sentence)
        }
    }
    .waits_for("the restarted browser")
}

fn running(view: &SessionView, facts: &Facts) -> Verdict {
    let now = facts.now;
    if !facts.is_here {
        let node = view.record.node;
        let sentence = format!("The session runs on node {node}, which knows more about it.");
        return Verdict::new("elsewhere", None, sentence).well();
    }
    if let Some(user) = view.control.user() {
        let who = user.label.as_deref().map(|label| format!(" ({label})")).unwrap_or_default();
        let sentence = format!(
            "A person{who} has had control for {}, and the automation waits; control returns in {} \
             unless the person acts.",
            span(now - user.since),
            span(user.expires_at() - now)
        );
        let verdict = Verdict::new("person_in_control", Some(user.since), sentence);
        return verdict.waits_for("the person to give control back");
    }
    if let Some(held) = view.record.occupancy.holder() {
        return self::held(held, &view.waiters, now);
    }
    let since = view.record.started_at;
    if facts.is_draining {
        let sentence = "The session is free, but the server is draining and admits no new holder.";
        return Verdict::new("draining", since, sentence).waits_for("the next server");
    }
    Verdict::new("free", since, "The session runs, and is free for the next client.").well()
}

fn held(held: &Held, waiters: &[WaiterView], now: DateTime<Utc>) -> Verdict {
    let id = &held.occupant.runnable_id;
    let holder = match held.occupant.runnable_type {
        RunnableType::WorkflowRun => format!("run {id}"),
        RunnableType::TaskRun => format!("task {id}"),
        RunnableType::External => format!("client {id}"),
    };
    let (time, left) = (span(now - held.since), span(held.expires_at - now));
    let queue = match waiters.len() {
        0 => "; no caller waits".to_owned(),
        1 => ", and 1 caller waits".to_owned(),
        count => format!(", and {count} callers wait"),
    };
    let sentence = format!(
        "The session has been held by {holder} for {time}{queue}; the lease ends in {left} unless it is renewed."
    );
    let verdict = Verdict::new("held", Some(held.since), sentence);
    let Some(first) = waiters.iter().map(|waiter| waiter.since).min() else {
        return verdict.well();
    };
    let waiting_for =
        Some(Wait { what: format!("{holder} to release the session"), since: Some(first) });
    Verdict { waiting_for, ..verdict }
}

/// Adds what is true beside the cause: other stuck programs, waiters, the next deadline.
fn further(verdict: &mut Verdict, view: &SessionView, facts: &Facts, reader: Reader) {
    let now = facts.now;
    let status = view.record.status;
    let stuck_programs = facts.programs.iter().filter(|it| is_cause(it, status)).skip(1);
    verdict.details.extend(stuck_programs.map(|it| stuck(it, now, reader).summary));
    if let Some(held) = view.record.occupancy.holder().filter(|_held| verdict.cause != "held") {
        verdict.details.push(self::held(held, &view.waiters, now).summary);
    }
    for waiter in &view.waiters {
        verdict.details.push(format!(
            "{} has waited for {}, and waits {} more.",
            waiter.occupant,
            span(now - waiter.since),
            span(waiter.until - now)
        ));
    }
    if let Some(death) = view.last_death.as_ref().filter(|_death| verdict.cause != "recovering") {
        let ago = span(now - death.at);
        verdict.details.push(format!("It was last recovered {ago} ago: {}.", said(&death.failure)));
    }
    if let Some(NextDeadline { kind, at }) = view.record.deadlines.end(&view.record.occupancy) {
        let left = span(at - now);
        verdict.details.push(match kind {
            DeadlineKind::Idle => format!("It ends in {left} if no client begins before."),
            DeadlineKind::Lifetime | DeadlineKind::StartUp | DeadlineKind::Occupancy => {
                format!("Its lifetime ends in {left}.")
            }
        });
    }
}

#[cfg(test)]
mod tests;
