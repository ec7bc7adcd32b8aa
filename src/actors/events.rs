//! The queue through which actors record events.
//!
//! Recording an event costs one push. The owner of the [`PendingEvents`] end numbers, stores and publishes
//! events, without any mailbox. Acknowledgments do not wait for numbers. The event of a begin or a release is
//! stored with it, in one transaction; of other events those of the last moments before the server is killed
//! are lost.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use chrono::{DateTime, Utc};
use dashmap::DashMap;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::sync::{mpsc, watch};

use super::clock::Clock;
use crate::domain::event::{EventKind, NewEvent, Subject};
use crate::domain::ids::{Mint, OrganizationId};

/// The number of events that may wait to be stored while the database is unavailable. Further
/// events are lost, and their number becomes an event.
const MOST_WAITING: usize = 50_000;

/// The retention of stored events.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// The time that events are kept.
    pub keep_seconds: u64,
    /// The number of events that are kept for each organization at most.
    pub keep_most: u32,
}

impl Default for Settings {
    fn default() -> Self {
        Self { keep_seconds: 7 * 24 * 60 * 60, keep_most: 200_000 }
    }
}

#[derive(Debug, Default)]
struct Shared {
    waiting: AtomicUsize,
    lost: Mutex<BTreeMap<OrganizationId, u64>>,
    /// The number of the latest stored event, for each organization that has a follower.
    latest: DashMap<OrganizationId, watch::Sender<i64>>,
    /// A counter that rises each time that events are stored about which there are webhook messages.
    messages: watch::Sender<u64>,
}

/// The sending end, which also lets readers follow an organization.
#[derive(Debug)]
pub struct Events {
    clock: Clock,
    mint: Mint,
    queue: mpsc::UnboundedSender<NewEvent>,
    shared: Arc<Shared>,
}

/// The receiving end: events that are recorded and not stored yet.
#[derive(Debug)]
pub struct PendingEvents {
    clock: Clock,
    mint: Mint,
    queue: mpsc::UnboundedReceiver<NewEvent>,
    shared: Arc<Shared>,
}

impl Events {
    /// The sending and the receiving end.
    pub fn new(clock: Clock) -> (Self, PendingEvents) {
        let (queue, pending) = mpsc::unbounded_channel();
        let shared = Arc::new(Shared::default());
        let mint = || Mint::new(rand::random());
        let door = Self { clock, mint: mint(), queue, shared: Arc::clone(&shared) };
        (door, PendingEvents { clock, mint: mint(), queue: pending, shared })
    }

    /// Records an event of `subject`. `data` must not contain secrets.
    pub fn record(&self, subject: impl Into<Subject>, kind: EventKind, data: Value) {
        self.send([self.make(subject, kind, data)]);
    }

    /// Makes an event of `subject`, to be stored with the change that it reports, and then [sent](Self::send).
    /// `data` must not contain secrets.
    pub fn make(&self, subject: impl Into<Subject>, kind: EventKind, data: Value) -> NewEvent {
        let at = self.clock.now();
        NewEvent { id: self.mint.mint(at), subject: subject.into(), kind, data, at }
    }

    /// Puts events in the queue, in this order.
    pub fn send(&self, events: impl IntoIterator<Item = NewEvent>) {
        // Held during the send, so that a gap event keeps its place in the order.
        let mut lost = self.shared.lost.lock();
        for event in events {
            if self.shared.waiting.load(Ordering::Relaxed) >= MOST_WAITING {
                *lost.entry(event.subject.organization).or_default() += 1;
                continue;
            }
            let gaps = gaps(&mut lost, &self.mint, event.at);
            for event in gaps.into_iter().chain([event]) {
                self.shared.waiting.fetch_add(1, Ordering::Relaxed);
                let _ = self.queue.send(event); // At the end of the server there is no receiver.
            }
        }
    }

    /// Changes when events are stored about which webhook messages are due, of any organization.
    pub fn messages(&self) -> watch::Receiver<u64> {
        self.shared.messages.subscribe()
    }

    /// The number of an organization's latest stored event, as it rises; 0 if none was stored since
    /// the server started.
    pub fn latest(&self, organization: OrganizationId) -> watch::Receiver<i64> {
        self.shared.latest.entry(organization).or_insert_with(|| watch::channel(0).0).subscribe()
    }
}

/// A gap event for each organization that has lost events, which stands in their place.
fn gaps(lost: &mut BTreeMap<OrganizationId, u64>, mint: &Mint, at: DateTime<Utc>) -> Vec<NewEvent> {
    let lost = std::mem::take(lost).into_iter();
    lost.map(|(organization, lost)| gap(organization, json!({ "lost": lost }), mint, at)).collect()
}

fn gap(organization: OrganizationId, data: Value, mint: &Mint, at: DateTime<Utc>) -> NewEvent {
    let subject = Subject { organization, session: None, run: None };
    NewEvent { id: mint.mint(at), subject, kind: EventKind::Gap, data, at }
}

impl PendingEvents {
    /// At most `most` events in the order in which they were recorded; none once no sender is left.
    /// A `gap` event stands for lost ones: after the events before them and before all later ones.
    /// With gap events the result may exceed `most`.
    pub async fn next(&mut self, most: usize) -> Vec<NewEvent> {
        let mut events = Vec::new();
        let count = self.queue.recv_many(&mut events, most).await;
        self.shared.waiting.fetch_sub(count, Ordering::Relaxed);
        let mut lost = self.shared.lost.lock();
        if self.queue.is_empty() {
            events.extend(gaps(&mut lost, &self.mint, self.clock.now()));
        }
        events
    }

    /// Adds to `events` those that have been recorded since, up to `most` in all.
    pub fn gathered(&mut self, events: &mut Vec<NewEvent>, most: usize) {
        while events.len() < most
            && let Ok(event) = self.queue.try_recv()
        {
            self.shared.waiting.fetch_sub(1, Ordering::Relaxed);
            events.push(event);
        }
    }

    /// The replacement for an event that the database refuses.
    pub fn refused(&self, event: &NewEvent) -> NewEvent {
        let data = json!({ "lost": 1, "kind": event.kind, "reason": "refused_by_database" });
        gap(event.subject.organization, data, &self.mint, self.clock.now())
    }

    /// Notifies followers that events are stored, and the deliverer of webhook messages if there are `messages`.
    pub fn stored(&self, latest: &BTreeMap<OrganizationId, i64>, messages: bool) {
        if messages {
            self.shared.messages.send_modify(|count| *count += 1);
        }
        for (organization, seq) in latest {
            // Organizations without a follower are removed.
            self.shared.latest.remove_if(organization, |_, sender| sender.receiver_count() == 0);
            if let Some(sender) = self.shared.latest.get(organization) {
                sender.send_if_modified(|known| {
                    let rises = *known < *seq;
                    *known = (*known).max(*seq);
                    rises
                });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn subject(organization: u64) -> Subject {
        Subject { organization: OrganizationId::from(organization), session: None, run: None }
    }

    #[tokio::test]
    async fn events_that_come_meanwhile_are_gathered_up_to_a_number() {
        let (events, mut pending) = Events::new(Clock::start());
        let record = |number: i32| events.record(subject(1), EventKind::RunStarted, json!(number));
        let numbers = |events: &[NewEvent]| -> Vec<i64> {
            events.iter().filter_map(|event| event.data.as_i64()).collect()
        };
        record(0);
        let mut batch = pending.next(3).await;
        pending.gathered(&mut batch, 3);
        assert_eq!(numbers(&batch), [0], "nothing has come");
        (1..5).for_each(record);
        pending.gathered(&mut batch, 3);
        assert_eq!(numbers(&batch), [0, 1, 2]);
        assert_eq!(pending.shared.waiting.load(Ordering::Relaxed), 2);
        assert_eq!(numbers(&pending.next(3).await), [3, 4]);
    }

    #[tokio::test]
    async fn what_cannot_wait_any_more_is_counted_and_becomes_an_event() {
        let (events, mut pending) = Events::new(Clock::start());
        for number in 0..MOST_WAITING + 3 {
            events.record(subject(1), EventKind::RunStarted, json!(number));
        }
        assert_eq!(pending.next(10).await.len(), 10);
        events.record(subject(1), EventKind::RunEnded, Value::Null);
        events.record(subject(2), EventKind::RunQueued, Value::Null);
        drop(events);
        let mut rest = Vec::new();
        loop {
            let more = pending.next(10_000).await;
            if more.is_empty() {
                break;
            }
            rest.extend(more);
        }
        let (before, after) = rest.split_at(MOST_WAITING - 10);
        assert!(before.iter().all(|event| event.kind == EventKind::RunStarted));
        let after: Vec<_> = after.iter().map(|event| (event.kind, event.data.clone())).collect();
        assert_eq!(
            after,
            [
                (EventKind::Gap, json!({ "lost": 3 })),
                (EventKind::RunEnded, Value::Null),
                (EventKind::RunQueued, Value::Null),
            ]
        );
    }

    #[tokio::test]
    async fn what_was_lost_last_is_told_when_all_before_it_was() {
        let (events, mut pending) = Events::new(Clock::start());
        for number in 0..MOST_WAITING + 2 {
            events.record(subject(1), EventKind::RunStarted, json!(number));
        }
        let all = pending.next(MOST_WAITING).await;
        let last = all.last().unwrap();
        assert_eq!(all.len(), MOST_WAITING + 1);
        assert_eq!((last.kind, &last.data), (EventKind::Gap, &json!({ "lost": 2 })));
    }

    #[tokio::test]
    async fn whoever_follows_an_organization_hears_of_its_events_alone() {
        let (events, pending) = Events::new(Clock::start());
        let (mut ours, theirs) =
            (events.latest(OrganizationId::from(1)), events.latest(OrganizationId::from(2)));
        pending.stored(&BTreeMap::from([(OrganizationId::from(1), 4)]), false);
        assert_eq!(*ours.wait_for(|seq| *seq > 0).await.unwrap(), 4);
        pending.stored(&BTreeMap::from([(OrganizationId::from(1), 3)]), false);
        assert_eq!((*ours.borrow(), *theirs.borrow()), (4, 0));
    }
}
