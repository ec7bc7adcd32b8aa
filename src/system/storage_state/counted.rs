//! Lists of a state, whose elements count towards one limit while the state is read.
//!
//! Three characters can name a record that takes sixty bytes, so the length of a text does not bound the memory
//! that reading it takes.

use std::cell::Cell;
use std::fmt;
use std::marker::PhantomData;

use serde::de::{Deserialize, Deserializer, Error, SeqAccess, Visitor};

/// The most elements of all lists of a state: its cookies, origins, items, databases, stores, records, indexes and
/// parts of key paths.
pub const MOST_PARTS: usize = 250_000;

/// The most elements for which a list has room before they are read.
const ROOM: usize = 1_024;

thread_local! {
    /// The elements that the state that this thread reads may still have; none outside of a state.
    static LEFT: Cell<Option<usize>> = const { Cell::new(None) };
}

/// Restores the count of an outer state.
struct Outer(Option<usize>);

impl Drop for Outer {
    fn drop(&mut self) {
        LEFT.set(self.0);
    }
}

/// Reads a state with `read`, within [`MOST_PARTS`].
pub(super) fn within_limit<T>(read: impl FnOnce() -> T) -> T {
    let _outer = Outer(LEFT.replace(Some(MOST_PARTS)));
    read()
}

/// A list whose elements count.
struct Counted<T>(Vec<T>);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Counted<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_seq(Elements(PhantomData)).map(Self)
    }
}

struct Elements<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for Elements<T> {
    type Value = Vec<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a sequence")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Vec<T>, A::Error> {
        let mut elements = Vec::with_capacity(list.size_hint().unwrap_or(0).min(ROOM));
        while let Some(element) = list.next_element()? {
            if let Some(left) = LEFT.get() {
                let left = left.checked_sub(1).ok_or_else(|| {
                    A::Error::custom(format!(
                        "expected at most {MOST_PARTS} cookies, items, records and other elements in all \
                         lists of the state together"
                    ))
                })?;
                LEFT.set(Some(left));
            }
            elements.push(element);
        }
        Ok(elements)
    }
}

/// Reads a list, for `deserialize_with`.
pub(super) fn list<'de, D, T>(deserializer: D) -> Result<Vec<T>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    Counted::deserialize(deserializer).map(|Counted(list)| list)
}

/// Reads a list or null, for `deserialize_with`.
pub(super) fn some_list<'de, D, T>(deserializer: D) -> Result<Option<Vec<T>>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    Option::<Counted<T>>::deserialize(deserializer).map(|list| list.map(|Counted(list)| list))
}
