//! The causes and consequences of a message, from the ids of causes that the journal keeps.

use std::collections::BTreeMap;

use serde::Serialize;

use super::Entry;

/// The most messages among the causes, and among the consequences.
const MOST: usize = 500;

/// The deepest level of consequences; actors send messages a few levels deep.
const DEEPEST: usize = 32;

/// A message with the messages that led to it and those that it led to, as far as they are still kept.
#[derive(Debug, Serialize)]
pub struct Lineage {
    pub message: Entry,
    /// The messages in whose handling it was sent, the outermost first.
    pub causes: Vec<Entry>,
    /// The messages that were sent in its handling.
    pub consequences: Vec<Consequence>,
    /// True if there are more consequences than the answer has.
    pub truncated: bool,
}

/// A message that was sent in the handling of another.
#[derive(Debug, Serialize)]
pub struct Consequence {
    #[serde(flatten)]
    pub message: Entry,
    /// The messages that were sent in its handling.
    pub consequences: Vec<Self>,
}

/// A message that the journal still keeps.
pub(super) trait Kept {
    /// The id of the message in whose handling it was sent.
    fn cause(&self) -> Option<i64>;

    fn entry(&self) -> Entry;
}

/// Finds the causes and consequences of the message with this id.
pub(super) fn of<R: Kept>(id: i64, known: &BTreeMap<i64, R>) -> Option<Lineage> {
    let message = known.get(&id)?;
    let mut causes = Vec::new();
    let mut cause = message.cause();
    while let Some(record) = cause.and_then(|id| known.get(&id)).filter(|_| causes.len() < MOST) {
        causes.push(record.entry());
        cause = record.cause();
    }
    causes.reverse();
    let mut caused: BTreeMap<i64, Vec<i64>> = BTreeMap::new();
    for (id, record) in known {
        if let Some(cause) = record.cause() {
            caused.entry(cause).or_default().push(*id);
        }
    }
    let mut left = MOST;
    let consequences = below(id, known, &caused, DEEPEST, &mut left);
    Some(Lineage { message: message.entry(), causes, consequences, truncated: left == 0 })
}

fn below<R: Kept>(
    id: i64,
    known: &BTreeMap<i64, R>,
    caused: &BTreeMap<i64, Vec<i64>>,
    depth: usize,
    left: &mut usize,
) -> Vec<Consequence> {
    let Some(depth) = depth.checked_sub(1) else { return Vec::new() };
    let mut consequences = Vec::new();
    for id in caused.get(&id).into_iter().flatten() {
        let (Some(record), Some(rest)) = (known.get(id), left.checked_sub(1)) else { continue };
        *left = rest;
        let message = record.entry();
        let below = below(*id, known, caused, depth, left);
        consequences.push(Consequence { message, consequences: below });
    }
    consequences
}
