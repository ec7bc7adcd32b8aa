//! The record of every message between actors.
//!
//! The journal is not an actor: [`Address::ask`](super::ask::Address::ask) writes to it under a
//! lock that is held for one push. It is bounded, in memory, and drops the oldest entries first.
//! Messages that change state are also handed to the audit trail, which is stored.
//!
//! The journal keeps the summary that a message's type makes, never the message itself, so that no
//! secrets get here.

mod audit;
mod filter;
mod lineage;
mod spans;
mod tail;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use chrono::{DateTime, Utc};
use dashmap::DashMap;
use parking_lot::Mutex;
use serde::Serialize;
use serde_json::Value;
use tokio::sync::mpsc;
use tokio::time::Instant;

pub(super) use audit::Draft;
pub use filter::Filter;
pub use lineage::{Consequence, Lineage};
use tail::Tail;
pub use tail::{Follower, Tailed};

use super::clock::Clock;
use super::requester::Requester;
pub use crate::domain::about::About;
use crate::domain::audit::AuditEvent;
use crate::domain::ids::{Mint, OrganizationId, RunId, SessionId};
use crate::metrics::{MessageMetrics, Table};
use crate::traces::{self, Open, Trace, Traces};

/// The name of an actor (`registry`, or the id of a session or run) or of an outside sender such as
/// `http`.
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

/// The outcome of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// The actor did what the message asks for.
    Done,
    /// A rule refused the message; nothing has changed.
    Refused,
    /// Something outside the actor failed.
    Failed,
    /// The outcome is not known.
    Unanswered,
}

impl Outcome {
    /// The outcome as the API and the tables write it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Refused => "refused",
            Self::Failed => "failed",
            Self::Unanswered => "unanswered",
        }
    }
}

/// A change to files of this server.
#[derive(Debug)]
pub struct FileChange {
    /// The kind of the change, in the form of a message's kind: `upload_extension`.
    pub kind: &'static str,
    /// The name of the sender, such as `http`.
    pub sender: &'static str,
    /// The name of the store that is changed.
    pub receiver: &'static str,
    /// The organization that owns the files.
    pub organization: OrganizationId,
    /// The details of the change, without secrets.
    pub summary: Value,
}

/// The metadata of a message at the time of sending.
#[derive(Debug)]
pub(super) struct Sent {
    pub kind: &'static str,
    pub sender: Name,
    pub receiver: Name,
    pub about: About,
    pub cause: Option<i64>,
    pub summary: Value,
    pub audited: bool,
    pub requester: Option<Arc<Requester>>,
    /// The trace of the work that sends it; none outside of every trace.
    pub trace: Option<Trace>,
}

/// One message, as operators see it. Times are in UTC, durations in microseconds.
#[derive(Debug, Clone, Serialize)]
pub struct Entry {
    /// A number that rises with every message of this server process.
    pub id: i64,
    /// The kind of the message.
    pub kind: &'static str,
    /// The name of the sending actor or user.
    pub sender: Name,
    /// The name of the receiving actor.
    pub receiver: Name,
    /// The organization that the message concerns.
    pub organization_id: Option<OrganizationId>,
    /// The session that the message concerns.
    pub browser_session_id: Option<SessionId>,
    /// The run that the message concerns.
    pub run_id: Option<RunId>,
    /// The id of the message in whose handling this one was sent.
    pub cause: Option<i64>,
    /// The time at which it was put into the mailbox.
    pub enqueued_at: DateTime<Utc>,
    /// The time at which the actor started to handle it.
    pub started_at: Option<DateTime<Utc>>,
    /// The time at which it was answered.
    pub ended_at: Option<DateTime<Utc>>,
    /// The time that it spent in the mailbox.
    pub wait_us: Option<u64>,
    /// The time from the start of its handling to the answer, including waits for others.
    pub handling_us: Option<u64>,
    /// The outcome; `None` while it is under way.
    pub outcome: Option<Outcome>,
    /// The reason of a refusal or failure.
    pub note: Option<String>,
    /// The summary that the message's type makes.
    pub summary: Value,
}

#[derive(Debug)]
struct Record {
    id: i64,
    sent: Sent,
    enqueued: Instant,
    enqueued_at: DateTime<Utc>,
    /// Its span, if its trace has spans.
    span: Option<Open>,
    course: Mutex<Course>,
    /// True once its event of the audit trail is stored with the change that it asked for.
    is_audited: AtomicBool,
}

#[derive(Debug, Default)]
struct Course {
    started: Option<Instant>,
    ended: Option<Instant>,
    outcome: Option<Outcome>,
    note: Option<String>,
}

impl Record {
    /// The time from the sending to the answer, or until now.
    fn took(&self) -> Duration {
        let ended = self.course.lock().ended;
        ended.unwrap_or_else(Instant::now).saturating_duration_since(self.enqueued)
    }

    /// True if `text` is in the names, the note or the summary.
    fn contains(&self, text: &str) -> bool {
        let Sent { kind, sender, receiver, summary, .. } = &self.sent;
        kind.contains(text)
            || sender.contains(text)
            || receiver.contains(text)
            || self.course.lock().note.as_ref().is_some_and(|note| note.contains(text))
            || summary.to_string().contains(text)
    }

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

/// One living actor, as operators see it.
#[derive(Debug, Clone, Serialize)]
pub struct ActorEntry {
    pub name: Name,
    /// `registry`, `session` or `run`.
    pub kind: &'static str,
    /// The phase of its life cycle.
    pub phase: String,
    /// The number of messages in its mailbox.
    pub mailbox_depth: usize,
    /// The message that has waited longest in the mailbox.
    pub oldest_waiting: Option<Entry>,
    /// The messages that it has started to handle and not answered yet, oldest first.
    pub in_progress: Vec<Entry>,
    /// The last message that failed or stayed unanswered.
    pub last_error: Option<Entry>,
    /// The next timer that it has set.
    pub next_timer: Option<NextTimer>,
    /// The number of messages that it has been sent.
    pub messages: u64,
    /// The time at which it started.
    pub started_at: DateTime<Utc>,
}

/// The timer that an actor waits for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct NextTimer {
    /// The action that the timer triggers.
    pub kind: String,
    /// The time at which it fires.
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

/// The number of messages that a journal keeps.
#[derive(Debug, Clone, Copy)]
pub struct Capacity {
    /// The number of messages for the whole server.
    pub server: usize,
    /// The number of messages for each actor, in addition to those of the whole server.
    pub actor: usize,
}

/// The number of audit events that may wait to be stored while the database is unavailable. Further
/// events are lost, which the log reports.
const MOST_UNAUDITED: usize = 50_000;

/// The record of every message between actors.
#[derive(Debug)]
pub struct Journal {
    clock: Clock,
    capacity: Capacity,
    last_id: AtomicI64,
    mint: Mint,
    ring: Mutex<VecDeque<Arc<Record>>>,
    actors: DashMap<Name, Arc<ActorLog>>,
    audit: mpsc::Sender<AuditEvent>,
    /// The number of audit events that were lost because too many waited to be stored.
    unaudited: AtomicU64,
    /// The figures of messages by kind.
    metrics: Table<MessageMetrics>,
    tail: Tail,
    traces: Traces,
}

impl Journal {
    /// An empty journal, and the receiver of its audit trail. Its messages are spans of `traces`.
    pub fn new(
        clock: Clock,
        mint: Mint,
        capacity: Capacity,
        traces: Traces,
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
            metrics: Table::default(),
            tail: Tail::default(),
            traces,
        };
        (Arc::new(journal), trail)
    }

    /// The figures of messages by kind.
    pub fn metrics(&self) -> &Table<MessageMetrics> {
        &self.metrics
    }

    /// The source of the traces to which messages belong.
    pub fn traces(&self) -> &Traces {
        &self.traces
    }

    /// The newest messages that match, newest first.
    pub fn messages(&self, filter: &Filter, limit: usize) -> Vec<Entry> {
        self.exported(filter, limit).collect()
    }

    /// The messages that match among the latest of the server, newest first.
    pub fn latest(&self, among: usize, filter: &Filter, limit: usize) -> Vec<Entry> {
        let latest: Vec<_> = self.ring.lock().iter().rev().take(among).cloned().collect();
        let matching = latest.iter().filter(|record| filter.matches(record));
        matching.take(limit).map(|record| record.entry()).collect()
    }

    /// The newest messages that match, newest first. An entry is made when it is taken, so that an export of all has
    /// them in memory once.
    pub fn exported(
        &self,
        filter: &Filter,
        limit: usize,
    ) -> impl Iterator<Item = Entry> + Send + use<> {
        let mut found: BTreeMap<i64, Arc<Record>> = BTreeMap::new();
        let mut add = |ring: Vec<Arc<Record>>| {
            let newest = ring.into_iter().rev();
            let matching = newest.filter(|record| filter.matches(record)).take(limit);
            found.extend(matching.map(|record| (record.id, record)));
        };
        // Every message takes these locks, so the filter runs on copies.
        let ring = self.ring.lock().iter().cloned().collect();
        add(ring);
        // The ring of a quiet actor may still hold what the server's ring has dropped.
        for log in self.actors.iter() {
            let ring = log.state.lock().ring.iter().cloned().collect();
            add(ring);
        }
        found.into_values().rev().take(limit).map(|record| record.entry())
    }

    /// The newest messages to a living actor, newest first; none if there is no such actor.
    pub fn messages_to(&self, name: &str, limit: usize) -> Option<Vec<Entry>> {
        let log = self.log(&Name::from(name))?;
        let state = log.state.lock();
        Some(state.ring.iter().rev().take(limit).map(|record| record.entry()).collect())
    }

    /// The last message to a living actor that failed or stayed unanswered.
    pub fn last_error(&self, name: &str) -> Option<Entry> {
        let log = self.log(&Name::from(name))?;
        let state = log.state.lock();
        state.last_error.as_ref().map(|record| record.entry())
    }

    /// Every living actor, by name.
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

    /// Records that an actor has started.
    pub fn enter(&self, name: &Name, kind: &'static str) {
        let log = ActorLog { kind, started_at: self.clock.now(), state: Mutex::default() };
        self.actors.insert(name.clone(), Arc::new(log));
    }

    /// Records that an actor has ended. Its messages stay in the server's ring.
    pub(super) fn leave(&self, name: &Name) {
        self.actors.remove(name);
    }

    /// Records that an actor has entered another phase.
    pub(super) fn phase(&self, name: &Name, phase: &str) {
        if let Some(log) = self.log(name) {
            phase.clone_into(&mut log.state.lock().phase);
        }
    }

    /// Records the next timer of an actor.
    pub(super) fn timer(&self, name: &Name, next: Option<NextTimer>) {
        if let Some(log) = self.log(name) {
            log.state.lock().next_timer = next;
        }
    }

    /// Opens the entry of a message that is about to be put into a mailbox.
    pub(super) fn open(self: &Arc<Self>, mut sent: Sent) -> OpenEntry {
        let log = self.log(&sent.receiver);
        let trace = sent.trace.take().or_else(|| self.traces.begin());
        let mut span = trace.as_ref().and_then(Trace::open);
        if let Some(span) = &mut span {
            span.about(sent.about);
        }
        let record = Arc::new(Record {
            id: self.last_id.fetch_add(1, Ordering::Relaxed) + 1,
            sent,
            enqueued: Instant::now(),
            enqueued_at: self.clock.now(),
            span,
            course: Mutex::default(),
            is_audited: AtomicBool::new(false),
        });
        push(&mut self.ring.lock(), &record, self.capacity.server);
        if let Some(log) = &log {
            let mut state = log.state.lock();
            state.messages += 1;
            state.waiting.insert(record.id, Arc::clone(&record));
            push(&mut state.ring, &record, self.capacity.actor);
        }
        let trace = record.span.as_ref().map(Open::trace).or(trace);
        OpenEntry { journal: Arc::clone(self), record, log, trace }
    }

    /// Records a change to files of this server, which no actor makes, as a message that has ended. It
    /// belongs in the audit trail.
    pub fn record(self: &Arc<Self>, change: FileChange, outcome: Outcome, note: Option<String>) {
        let FileChange { kind, sender, receiver, organization, summary } = change;
        let about = About { organization: Some(organization), ..About::default() };
        let (sender, receiver) = (Name::from(sender), Name::from(receiver));
        let sent = Sent {
            kind,
            sender,
            receiver,
            about,
            cause: None,
            summary,
            audited: true,
            requester: Requester::current(),
            trace: traces::current(),
        };
        let entry = self.open(sent);
        entry.started();
        entry.ended(outcome, note);
    }

    /// Records a message to an actor as if it were sent, handled and answered at once: the cost of a message without
    /// the actor, for measurements.
    pub fn rehearse(self: &Arc<Self>, sender: &Name, actor: &Name, about: About, summary: Value) {
        let entry = self.open(Sent {
            kind: "rehearsal",
            sender: sender.clone(),
            receiver: actor.clone(),
            about,
            cause: None,
            summary,
            audited: false,
            requester: None,
            trace: traces::current(),
        });
        entry.started();
        entry.ended(Outcome::Done, None);
    }

    /// Follows the messages that end from now on.
    pub fn follow(&self, filter: Filter) -> Follower {
        self.tail.follow(filter)
    }

    /// The message with this id, if it is still kept, with its causes and consequences.
    pub fn lineage(&self, id: i64) -> Option<Lineage> {
        let mut known: BTreeMap<i64, Arc<Record>> = BTreeMap::new();
        let mut add = |ring: &VecDeque<Arc<Record>>| {
            known.extend(ring.iter().map(|record| (record.id, Arc::clone(record))));
        };
        add(&self.ring.lock());
        for log in self.actors.iter() {
            add(&log.state.lock().ring);
        }
        lineage::of(id, &known)
    }

    fn log(&self, name: &Name) -> Option<Arc<ActorLog>> {
        self.actors.get(name).map(|log| Arc::clone(&log))
    }
}

impl lineage::Kept for Arc<Record> {
    fn cause(&self) -> Option<i64> {
        self.sent.cause
    }

    fn entry(&self) -> Entry {
        Record::entry(self)
    }
}

fn push(ring: &mut VecDeque<Arc<Record>>, record: &Arc<Record>, capacity: usize) {
    if ring.len() >= capacity {
        ring.pop_front();
    }
    ring.push_back(Arc::clone(record));
}

/// The entry of a message that is under way. It ends with the answer, or as unanswered when it is
/// dropped.
#[derive(Debug)]
pub(super) struct OpenEntry {
    journal: Arc<Journal>,
    record: Arc<Record>,
    log: Option<Arc<ActorLog>>,
    trace: Option<Trace>,
}

impl OpenEntry {
    pub(super) fn id(&self) -> i64 {
        self.record.id
    }

    fn metrics(&self) -> &MessageMetrics {
        self.journal.metrics.of(&[self.record.sent.kind])
    }

    /// The request on whose behalf the message was sent.
    pub(super) fn requester(&self) -> Option<Arc<Requester>> {
        self.record.sent.requester.clone()
    }

    /// The trace of what the handling of the message causes.
    pub(super) fn trace(&self) -> Option<Trace> {
        self.trace.clone()
    }

    pub(super) fn receiver(&self) -> &Name {
        &self.record.sent.receiver
    }

    /// The event of the audit trail for the change that the message asks for; none if it is not audited.
    pub(super) fn draft(&self) -> Option<Draft> {
        let (journal, record) = (Arc::clone(&self.journal), Arc::clone(&self.record));
        self.record.sent.audited.then(|| Draft::new(journal, record))
    }

    /// Records that the actor has started to handle the message.
    pub(super) fn started(&self) {
        let started = Instant::now();
        self.record.course.lock().started = Some(started);
        self.metrics().wait.record(started.saturating_duration_since(self.record.enqueued));
        if let Some(log) = &self.log {
            let mut state = log.state.lock();
            state.waiting.remove(&self.record.id);
            state.in_progress.insert(self.record.id, Arc::clone(&self.record));
        }
    }

    /// Records that the message has been answered. Only the first end counts.
    pub(super) fn ended(&self, outcome: Outcome, note: Option<String>) {
        let ended = Instant::now();
        let started = {
            let mut course = self.record.course.lock();
            if course.outcome.is_some() {
                return;
            }
            let metrics = self.metrics();
            if let Some(started) = course.started {
                metrics.handling.record(ended.saturating_duration_since(started));
            }
            metrics.outcomes.add(outcome.as_str(), 1);
            course.ended = Some(ended);
            course.outcome = Some(outcome);
            course.note = note;
            course.started
        };
        self.record.trace(ended, started, outcome);
        if let Some(log) = &self.log {
            let mut state = log.state.lock();
            state.waiting.remove(&self.record.id);
            state.in_progress.remove(&self.record.id);
            if matches!(outcome, Outcome::Failed | Outcome::Unanswered) {
                state.last_error = Some(Arc::clone(&self.record));
            }
        }
        self.journal.tail.put(&self.record);
        let is_stored = outcome == Outcome::Done && self.record.is_audited.load(Ordering::Acquire);
        if self.record.sent.audited && !is_stored {
            self.journal.audit(&self.record, outcome);
        }
    }
}

impl Drop for OpenEntry {
    fn drop(&mut self) {
        self.ended(Outcome::Unanswered, Some("the actor ended before it answered".to_owned()));
    }
}
