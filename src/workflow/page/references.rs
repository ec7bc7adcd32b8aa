//! References: the numbers by which a client names the elements of a snapshot, as in `e12`.
//!
//! A number is never used again within a [`Browser`](super::Browser), and an element keeps its number
//! for as long as its document is shown.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use parking_lot::Mutex;

use super::error::PageError;
use super::worlds::Frame;

/// The maximum number of references; the ones not seen for the longest time are dropped.
const MOST: usize = 20_000;

/// A document of a frame.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Shown {
    pub(super) frame: Frame,
    /// The id of the loader; changes with every navigation to another document.
    pub(super) loader: String,
}

/// The element that a reference stands for.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Referent {
    pub(super) document: Arc<Shown>,
    /// The DevTools id `backendNodeId`, unique within the process that renders the document.
    pub(super) node: i64,
}

/// All references handed out so far, as far as they are kept.
#[derive(Debug, Default)]
pub(super) struct References(Mutex<Table>);

#[derive(Debug, Default)]
struct Table {
    /// The last number given.
    last: u64,
    /// The number of snapshots so far.
    snapshot: u64,
    numbers: HashMap<Referent, u64>,
    /// The referents, each with the last snapshot that showed it.
    referents: BTreeMap<u64, (Referent, u64)>,
    /// The elements of the last snapshot on which a person can act.
    marked: Vec<u64>,
}

impl References {
    /// Begins a snapshot of documents, and drops the references to former documents of their frames.
    pub(super) fn begin(&self, documents: &[Arc<Shown>]) {
        let mut table = self.0.lock();
        table.snapshot += 1;
        table.marked.clear();
        let current: HashMap<&Frame, &str> =
            documents.iter().map(|document| (&document.frame, document.loader.as_str())).collect();
        let is_kept = |referent: &Referent| {
            let loader = current.get(&referent.document.frame);
            loader.is_none_or(|loader| *loader == referent.document.loader)
        };
        table.referents.retain(|_number, (referent, _snapshot)| is_kept(referent));
        table.numbers.retain(|referent, _number| is_kept(referent));
    }

    /// Returns the number of an element, and marks it if `marks` is true.
    pub(super) fn number(&self, referent: Referent, marks: bool) -> u64 {
        let mut table = self.0.lock();
        let snapshot = table.snapshot;
        let known = table.numbers.get(&referent).copied();
        let number = known.unwrap_or_else(|| {
            table.last += 1;
            table.last
        });
        if known.is_none() {
            table.numbers.insert(referent.clone(), number);
        }
        table.referents.insert(number, (referent, snapshot));
        if marks {
            table.marked.push(number);
        }
        if table.referents.len() > MOST {
            table.drop_oldest();
        }
        number
    }

    /// Returns the element of a number that is still known.
    pub(super) fn get(&self, number: u64) -> Option<Referent> {
        let table = self.0.lock();
        table.referents.get(&number).map(|(referent, _snapshot)| referent.clone())
    }

    /// Returns the elements of the last snapshot on which a person can act.
    pub(super) fn marked(&self) -> Vec<(u64, Referent)> {
        let table = self.0.lock();
        let of = |number: &u64| Some((*number, table.referents.get(number)?.0.clone()));
        table.marked.iter().filter_map(of).collect()
    }
}

impl Table {
    /// Drops a quarter, so that a full table is not searched for each further element.
    fn drop_oldest(&mut self) {
        let mut ages: Vec<(u64, u64)> =
            self.referents.iter().map(|(number, (_, snapshot))| (*snapshot, *number)).collect();
        ages.sort_unstable();
        for (_snapshot, number) in ages.into_iter().take(MOST / 4) {
            if let Some((referent, _snapshot)) = self.referents.remove(&number) {
                self.numbers.remove(&referent);
            }
        }
    }
}

/// Parses a reference such as `e12`.
pub(super) fn parse(text: &str) -> Option<u64> {
    let digits = text.strip_prefix('e')?;
    let is_number = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then(|| digits.parse().ok()).flatten()
}

/// Returns the error for a reference whose element is gone or unknown.
pub(super) fn stale(reference: &str) -> PageError {
    let reference: String = reference.chars().take(20).collect();
    PageError::StaleReference { reference }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn document(frame: &str, loader: &str) -> Arc<Shown> {
        let frame = Frame { session: "s".to_owned(), id: frame.to_owned() };
        Arc::new(Shown { frame, loader: loader.to_owned() })
    }

    fn of(document: &Arc<Shown>, node: i64) -> Referent {
        Referent { document: Arc::clone(document), node }
    }

    #[test]
    fn an_element_keeps_its_number_and_no_number_is_used_twice() {
        let references = References::default();
        let (main, inner) = (document("main", "1"), document("inner", "1"));
        references.begin(&[Arc::clone(&main), Arc::clone(&inner)]);
        assert_eq!(references.number(of(&main, 7), true), 1);
        assert_eq!(references.number(of(&inner, 7), false), 2);
        assert_eq!(references.marked(), [(1, of(&main, 7))]);

        references.begin(&[Arc::clone(&main)]);
        assert_eq!(references.number(of(&main, 8), true), 3);
        assert_eq!(references.number(of(&main, 7), false), 1);
        assert_eq!(references.marked(), [(3, of(&main, 8))]);

        let next = document("main", "2");
        references.begin(&[Arc::clone(&next)]);
        assert_eq!(references.get(1), None, "its document was replaced");
        assert_eq!(references.get(2), Some(of(&inner, 7)), "its frame was not looked at");
        assert_eq!(references.number(of(&next, 7), false), 4);
    }

    #[test]
    fn a_full_table_drops_what_was_not_seen_for_the_longest_time() {
        let references = References::default();
        let main = document("main", "1");
        references.begin(&[Arc::clone(&main)]);
        let most = i64::try_from(MOST).unwrap();
        for node in 0..most {
            references.number(of(&main, node), false);
        }
        references.begin(&[Arc::clone(&main)]);
        assert_eq!(references.number(of(&main, 0), false), 1);
        references.number(of(&main, most), false);
        assert_eq!(references.get(1), Some(of(&main, 0)), "seen again");
        assert_eq!(references.get(2), None);
        assert_eq!(references.get(most.unsigned_abs() + 1), Some(of(&main, most)));
        assert!(references.0.lock().referents.len() <= MOST);
    }

    #[test]
    fn references_are_an_e_and_a_number() {
        assert_eq!(parse("e12"), Some(12));
        for text in ["", "e", "12", "e-1", "e+1", "e1x", "f1e2", "e99999999999999999999"] {
            assert_eq!(parse(text), None, "{text}");
        }
    }
}
