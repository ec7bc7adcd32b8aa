//! The record of every message that passes between actors.
//!
//! The journal is not an actor: [`Address::ask`](super::ask::Address::ask) writes to it under a
//! lock that is held for a push. It is bounded, in memory, and forgets the oldest first;
//! messages that change state are also handed to the audit trail, which is stored.
//!
//! What a message says of itself is a summary that its type makes, never the message: secrets do
//! not come here.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use chrono::{DateTime, Utc};
use dashmap::DashMap;
use parking_lot::Mutex;
use serde::Serialize;
use serde_json::Value;
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;
use tokio::time::Instant;
use tracing::error;

use super::clock::Clock;
use crate::domain::audit::AuditEvent;
use crate::domain::ids::{Mint, OrganizationId, RunId, SessionId};

/// An actor's name: `registry`, or the id of the session or run; or who stands outside: `http`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name(Arc<str>);

impl From<&str> for Name {
    fn from(text: &str) -> Self {
        Self(Arc::from(text))
    }
}

impl std::ops::Deref for Name {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Display for Name {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl Serialize for Name {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

/// What a message is about.
#[derive(Debug, Clone, Copy, Default)]
pub struct About {
    /// Whose it is.
    pub organization: Option<OrganizationId>,
    /// Which session.
    pub session: Option<SessionId>,
    /// Which run.
    pub run: Option<RunId>,
}

impl About {
    /// With what `other` knows where this does not.
    #[must_use]
    pub fn or(self, other: Self) -> Self {
        Self {
            organization: self.organization.or(other.organization),
            session: self.session.or(other.session),
            run: self.run.or(other.run),
        }
    }
}

/// What became of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// It did what it should.
    Done,
    /// The rules said no; nothing has changed.
    Refused,
    /// The world did not comply.
    Failed,
    /// Nobody knows.
    Unanswered,
}

impl Outcome {
    /// As the API and the tables write it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Refused => "refused",
            Self::Failed => "failed",
            Self::Unanswered => "unanswered",
        }
    }
}

/// What is known of a message when it is sent.
#[derive(Debug)]
pub(super) struct Sent {
    pub kind: &'static str,
    pub sender: Name,
    pub receiver: Name,
    pub about: About,
    pub cause: Option<i64>,
    pub summary: Value,
    pub audited: bool,
}

/// One message, as operators see it. Times are UTC, durations microseconds.
#[derive(Debug, Clone, Serialize)]
pub struct Entry {
    /// Rises with every message of this server process.
    pub id: i64,
    /// What was asked.
    pub kind: &'static str,
    /// Who asked.
    pub sender: Name,
    /// Who was asked.
    pub receiver: Name,
    /// Whose it is.
    pub organization_id: Option<OrganizationId>,
    /// Which session it concerns.
    pub browser_session_id: Option<SessionId>,
    /// Which run it concerns.
    pub run_id: Option<RunId>,
    /// The message in whose handling it was sent.
    pub cause: Option<i64>,
    /// When it was put into the mailbox.
    pub enqueued_at: DateTime<Utc>,
    /// When the actor took it up.
    pub started_at: Option<DateTime<Utc>>,
    /// When it was answered.
    pub ended_at: Option<DateTime<Utc>>,
    /// How long it lay in the mailbox.
    pub wait_us: Option<u64>,
    /// How long it took from being taken up to being answered, waiting for others included.
    pub handling_us: Option<u64>,
    /// What became of it; nothing yet while it is under way.
    pub outcome: Option<Outcome>,
    /// Why it was refused, or failed.
    pub note: Option<String>,
    /// What it says of itself.
    pub summary: Value,
}

#[derive(Debug)]
struct Record {
    id: i64,
    sent: Sent,
    enqueued: Instant,
    enqueued_at: DateTime<Utc>,
    course: Mutex<Course>,
}

#[derive(Debug, Default)]
struct Course {
    started: Option<Instant>,
    ended: Option<Instant>,
    outcome: Option<Outcome>,
    note: Option<String>,
}

impl Record {
    fn entry(&self) -> Entry {
        let course = self.course.lock();
        let micros =
            |from: Instant, to: Instant| u64::try_from((to - from).as_micros()).unwrap_or(u64::MAX);
        let at = |instant: Instant| self.enqueued_at + (instant - self.enqueued);
        Entry {
            id: self.id,
            kind: self.sent.kind,
            sender: self.sent.sender.clone(),
            receiver: self.sent.receiver.clone(),
            organization_id: self.sent.about.organization,
            browser_session_id: self.sent.about.session,
            run_id: self.sent.about.run,
            cause: self.sent.cause,
            enqueued_at: self.enqueued_at,
            started_at: course.started.map(at),
            ended_at: course.ended.map(at),
            wait_us: course.started.map(|started| micros(self.enqueued, started)),
            handling_us: course.started.zip(course.ended).map(|(from, to)| micros(from, to)),
            outcome: course.outcome,
            note: course.note.clone(),
            summary: self.sent.summary.clone(),
        }
    }
}

/// One actor, as operators see it.
#[derive(Debug, Clone, Serialize)]
pub struct ActorEntry {
    /// Its name.
    pub name: Name,
    /// `registry`, `session` or `run`.
    pub kind: &'static str,
    /// Where it stands in its own life.
    pub phase: String,
    /// How many messages lie in its mailbox.
    pub mailbox_depth: usize,
    /// The message that has lain there longest.
    pub oldest_waiting: Option<Entry>,
    /// What it has taken up and not answered yet, oldest first.
    pub in_progress: Vec<Entry>,
    /// The last message that failed.
    pub last_error: Option<Entry>,
    /// What its clock will do next, and when.
    pub next_timer: Option<NextTimer>,
    /// How many messages it has been sent.
    pub messages: u64,
    /// When it started.
    pub started_at: DateTime<Utc>,
}

/// The timer that an actor waits for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct NextTimer {
    /// What happens then.
    pub kind: String,
    /// When.
    pub at: DateTime<Utc>,
}

#[derive(Debug)]
struct ActorLog {
    kind: &'static str,
    started_at: DateTime<Utc>,
    state: Mutex<ActorState>,
}

#[derive(Debug, Default)]
struct ActorState {
    phase: String,
    waiting: BTreeMap<i64, Arc<Record>>,
    in_progress: BTreeMap<i64, Arc<Record>>,
    ring: VecDeque<Arc<Record>>,
    last_error: Option<Arc<Record>>,
    next_timer: Option<NextTimer>,
    messages: u64,
}

/// Which messages an operator would like to see. What is `None` matches all.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    /// Sent by it or to it.
    pub actor: Option<String>,
    /// About this session.
    pub session: Option<SessionId>,
    /// About this run.
    pub run: Option<RunId>,
    /// Of this kind.
    pub kind: Option<String>,
    /// With this outcome; `pending` for none yet.
    pub outcome: Option<String>,
    /// Not sent before.
    pub since: Option<DateTime<Utc>>,
    /// With a lower id: the cursor of a page.
    pub before: Option<i64>,
}

impl Filter {
    fn matches(&self, record: &Record) -> bool {
        let Record { sent, .. } = record;
        let outcome = |wanted: &String| {
            let outcome = record.course.lock().outcome;
            wanted == outcome.map_or("pending", Outcome::as_str)
        };
        self.before.is_none_or(|before| record.id < before)
            && self.since.is_none_or(|since| record.enqueued_at >= since)
            && self.session.is_none_or(|session| sent.about.session == Some(session))
            && self.run.is_none_or(|run| sent.about.run == Some(run))
            && self.kind.as_ref().is_none_or(|kind| sent.kind == kind)
            && self
                .actor
                .as_ref()
                .is_none_or(|actor| *sent.sender == **actor || *sent.receiver == **actor)
            && self.outcome.as_ref().is_none_or(outcome)
    }
}

/// How much a journal remembers.
#[derive(Debug, Clone, Copy)]
pub struct Capacity {
    /// Messages of the whole server.
    pub server: usize,
    /// Messages of each actor, beyond those of the whole server.
    pub actor: usize,
}

/// How many audit events may wait to be stored, while the database is away. More are lost, which
/// the log says.
const MOST_UNAUDITED: usize = 50_000;

/// The record of every message.
#[derive(Debug)]
pub struct Journal {
    clock: Clock,
    capacity: Capacity,
    last_id: AtomicI64,
    mint: Mint,
    ring: Mutex<VecDeque<Arc<Record>>>,
    actors: DashMap<Name, Arc<ActorLog>>,
    audit: mpsc::Sender<AuditEvent>,
    /// How many audit events were lost, because too many waited to be stored.
    unaudited: AtomicU64,
}

impl Journal {
    /// An empty journal, and the end at which the audit trail comes out.
    pub fn new(
        clock: Clock,
        mint: Mint,
        capacity: Capacity,
    ) -> (Arc<Self>, mpsc::Receiver<AuditEvent>) {
        let (audit, trail) = mpsc::channel(MOST_UNAUDITED);
        let journal = Self {
            clock,
            capacity,
            last_id: AtomicI64::new(0),
            mint,
            ring: Mutex::default(),
            actors: DashMap::new(),
            audit,
            unaudited: AtomicU64::new(0),
        };
        (Arc::new(journal), trail)
    }

    /// The newest messages that match, newest first.
    pub fn messages(&self, filter: &Filter, limit: usize) -> Vec<Entry> {
        let mut found: BTreeMap<i64, Arc<Record>> = BTreeMap::new();
        let mut add = |ring: &VecDeque<Arc<Record>>| {
            let matching = ring.iter().rev().filter(|record| filter.matches(record)).take(limit);
            found.extend(matching.map(|record| (record.id, Arc::clone(record))));
        };
        add(&self.ring.lock());
        // What the server's ring has forgotten, the ring of a quiet actor may still know.
        for log in self.actors.iter() {
            add(&log.state.lock().ring);
        }
        found.values().rev().take(limit).map(|record| record.entry()).collect()
    }

    /// Every actor that lives, by name.
    pub fn actors(&self) -> Vec<ActorEntry> {
        let mut actors: Vec<_> = self
            .actors
            .iter()
            .map(|log| {
                let state = log.state.lock();
                ActorEntry {
                    name: log.key().clone(),
                    kind: log.kind,
                    phase: state.phase.clone(),
                    mailbox_depth: state.waiting.len(),
                    oldest_waiting: state.waiting.values().next().map(|record| record.entry()),
                    in_progress: state.in_progress.values().map(|record| record.entry()).collect(),
                    last_error: state.last_error.as_ref().map(|record| record.entry()),
                    next_timer: state.next_timer.clone(),
                    messages: state.messages,
                    started_at: log.started_at,
                }
            })
            .collect();
        actors.sort_by(|one, other| one.name.cmp(&other.name));
        actors
    }

    /// An actor has started.
    pub(super) fn enter(&self, name: &Name, kind: &'static str) {
        let log = ActorLog { kind, started_at: self.clock.now(), state: Mutex::default() };
        self.actors.insert(name.clone(), Arc::new(log));
    }

    /// An actor has ended. What it was asked stays in the server's ring.
    pub(super) fn leave(&self, name: &Name) {
        self.actors.remove(name);
    }

    /// An actor has moved to another phase.
    pub(super) fn phase(&self, name: &Name, phase: &str) {
        if let Some(log) = self.log(name) {
            phase.clone_into(&mut log.state.lock().phase);
        }
    }

    /// An actor has set its clock.
    pub(super) fn timer(&self, name: &Name, next: Option<NextTimer>) {
        if let Some(log) = self.log(name) {
            log.state.lock().next_timer = next;
        }
    }

    /// A message is about to be put into a mailbox.
    pub(super) fn open(self: &Arc<Self>, sent: Sent) -> OpenEntry {
        let log = self.log(&sent.receiver);
        let record = Arc::new(Record {
            id: self.last_id.fetch_add(1, Ordering::Relaxed) + 1,
            sent,
            enqueued: Instant::now(),
            enqueued_at: self.clock.now(),
            course: Mutex::default(),
        });
        push(&mut self.ring.lock(), &record, self.capacity.server);
        if let Some(log) = &log {
            let mut state = log.state.lock();
            state.messages += 1;
            state.waiting.insert(record.id, Arc::clone(&record));
            push(&mut state.ring, &record, self.capacity.actor);
        }
        OpenEntry { journal: Arc::clone(self), record, log }
    }

    fn log(&self, name: &Name) -> Option<Arc<ActorLog>> {
        self.actors.get(name).map(|log| Arc::clone(&log))
    }

    fn audit(&self, record: &Record) {
        let Entry { ended_at, outcome, note, mut summary, .. } = record.entry();
        if let (Some(note), Value::Object(fields)) = (note, &mut summary) {
            fields.insert("note".to_owned(), Value::String(note));
        }
        let at = ended_at.unwrap_or(record.enqueued_at);
        let event = AuditEvent {
            id: self.mint.mint(at),
            message_id: record.id,
            cause: record.sent.cause,
            kind: record.sent.kind.to_owned(),
            sender: record.sent.sender.to_string(),
            receiver: record.sent.receiver.to_string(),
            organization: record.sent.about.organization,
            session: record.sent.about.session,
            run: record.sent.about.run,
            outcome: outcome.unwrap_or(Outcome::Unanswered).as_str().to_owned(),
            summary,
            at: record.enqueued_at,
        };
        match self.audit.try_send(event) {
            // At the very end of the server nobody listens.
            Ok(()) | Err(TrySendError::Closed(_)) => {}
            Err(TrySendError::Full(_)) => {
                let lost = self.unaudited.fetch_add(1, Ordering::Relaxed) + 1;
                if lost.is_power_of_two() {
                    error!("{lost} audit events are lost: the database does not take them");
                }
            }
        }
    }
}

fn push(ring: &mut VecDeque<Arc<Record>>, record: &Arc<Record>, capacity: usize) {
    if ring.len() >= capacity {
        ring.pop_front();
    }
    ring.push_back(Arc::clone(record));
}

/// A message under way. It ends when it is answered, or as unanswered when it is dropped.
#[derive(Debug)]
pub(super) struct OpenEntry {
    journal: Arc<Journal>,
    record: Arc<Record>,
    log: Option<Arc<ActorLog>>,
}

impl OpenEntry {
    pub(super) fn id(&self) -> i64 {
        self.record.id
    }

    pub(super) fn receiver(&self) -> &Name {
        &self.record.sent.receiver
    }

    /// The actor has taken it up.
    pub(super) fn started(&self) {
        self.record.course.lock().started = Some(Instant::now());
        if let Some(log) = &self.log {
            let mut state = log.state.lock();
            state.waiting.remove(&self.record.id);
            state.in_progress.insert(self.record.id, Arc::clone(&self.record));
        }
    }

    /// It has been answered. Only the first end counts.
    pub(super) fn ended(&self, outcome: Outcome, note: Option<String>) {
        {
            let mut course = self.record.course.lock();
            if course.outcome.is_some() {
                return;
            }
            course.ended = Some(Instant::now());
            course.outcome = Some(outcome);
            course.note = note;
        }
        if let Some(log) = &self.log {
            let mut state = log.state.lock();
            state.waiting.remove(&self.record.id);
            state.in_progress.remove(&self.record.id);
            if matches!(outcome, Outcome::Failed | Outcome::Unanswered) {
                state.last_error = Some(Arc::clone(&self.record));
            }
        }
        if self.record.sent.audited {
            self.journal.audit(&self.record);
        }
    }
}

impl Drop for OpenEntry {
    fn drop(&mut self) {
        self.ended(Outcome::Unanswered, Some("the actor ended before it answered".to_owned()));
    }
}
