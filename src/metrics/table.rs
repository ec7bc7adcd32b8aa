//! A table of metrics by the values of their labels, read and extended without locks.

use std::sync::OnceLock;

/// The number of places, a power of two, of which some stay empty so that searches are short.
const PLACES: usize = 1024;

/// The most entries with labels of their own. Further ones share one entry.
const MOST: usize = PLACES / 2;

/// The value of every label of the entry that all further ones share.
const OTHER: &str = "other";

#[derive(Debug)]
struct Entry<T> {
    labels: Box<[Box<str>]>,
    figures: T,
}

/// Figures by their labels: a hash table whose entries are never removed.
#[derive(Debug)]
pub struct Table<T> {
    places: Box<[OnceLock<Entry<T>>]>,
    other: Entry<T>,
}

impl<T: Default> Default for Table<T> {
    fn default() -> Self {
        Self {
            places: (0..PLACES).map(|_place| OnceLock::new()).collect(),
            other: Entry { labels: Box::new([]), figures: T::default() },
        }
    }
}

impl<T: Default> Table<T> {
    /// The figures with these labels, which are created when they are first asked for.
    pub fn of(&self, labels: &[&str]) -> &T {
        let start = hash(labels);
        for step in 0..MOST {
            let Some(place) = self.places.get(start.wrapping_add(step) % PLACES) else { break };
            let entry = place.get_or_init(|| Entry {
                labels: labels.iter().map(|label| Box::from(*label)).collect(),
                figures: T::default(),
            });
            let is_same = entry.labels.len() == labels.len()
                && entry.labels.iter().zip(labels).all(|(one, other)| **one == **other);
            if is_same {
                return &entry.figures;
            }
        }
        &self.other.figures
    }

    /// Each entry with its labels. That of further labels has `other` for each of them.
    pub fn all(&self) -> impl Iterator<Item = (Vec<String>, &T)> {
        let entries = self.places.iter().filter_map(OnceLock::get);
        entries
            .map(|entry| (entry.labels.iter().map(|it| it.to_string()).collect(), &entry.figures))
    }

    /// The figures of all labels that have no entry of their own, with `count` labels.
    pub fn rest(&self, count: usize) -> (Vec<String>, &T) {
        (vec![OTHER.to_owned(); count], &self.other.figures)
    }
}

/// FNV-1a, whose inputs are names of this program.
fn hash(labels: &[&str]) -> usize {
    const BASIS: u64 = 0xcbf2_9ce4_8422_2325;
    const PRIME: u64 = 0x0100_0000_01b3;
    let bytes = labels.iter().flat_map(|label| label.bytes().chain([0]));
    let hash = bytes.fold(BASIS, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(PRIME));
    // Both halves, because the lower bits alone are not mixed well.
    usize::try_from((hash ^ (hash >> 32)) & 0xffff_ffff).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::Counter;

    #[test]
    fn each_set_of_labels_has_figures_of_its_own_until_the_table_is_full() {
        let table: Table<Counter> = Table::default();
        for number in 0..3 * PLACES {
            table.of(&["GET", &format!("/{number}")]).add(1);
        }
        table.of(&["GET", "/7"]).add(10);
        let seven = table.all().find(|(labels, _)| labels[1] == "/7").unwrap();
        assert_eq!(seven.1.get(), 11);
        let counted: u64 = table.all().map(|(_, counter)| counter.get()).sum();
        let (labels, rest) = table.rest(2);
        assert_eq!(labels, ["other", "other"]);
        assert_eq!(counted + rest.get(), 3 * 1024 + 10);
        assert!(table.all().count() <= PLACES);
    }

    #[test]
    fn threads_that_add_the_same_entry_share_it() {
        let table: Table<Counter> = Table::default();
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| (0..1000).for_each(|_| table.of(&["begin"]).add(1)));
            }
        });
        assert_eq!(table.all().map(|(_, counter)| counter.get()).collect::<Vec<_>>(), [4000]);
    }
}
