//! Storage states without a browser: merged, narrowed and measured.

use std::collections::{HashMap, HashSet};
use std::hash::Hash;

use super::state::{Cookie, LARGEST, MOST_COOKIES, MOST_ORIGINS, OriginStorage, StorageState};
use super::{Selection, host_of, length_of};

/// Adds parts to others, in the place of those with the same keys.
fn replaced<T, K: Hash + Eq>(parts: &mut Vec<T>, later: Vec<T>, key: impl Fn(&T) -> K) {
    let newer: HashSet<K> = later.iter().map(&key).collect();
    parts.retain(|part| !newer.contains(&key(part)));
    let mut known = HashSet::new();
    // Of two with one key, a browser keeps the last.
    let mut added: Vec<T> =
        later.into_iter().rev().filter(|part| known.insert(key(part))).collect();
    added.reverse();
    parts.append(&mut added);
}

/// The values by which a browser distinguishes cookies.
fn key_of(cookie: &Cookie) -> (String, String, String, Option<String>, Option<bool>) {
    let Cookie { name, domain, path, partition_key, has_cross_site_ancestor, .. } = cookie;
    let (name, domain, path) = (name.clone(), domain.clone(), path.clone());
    (name, domain, path, partition_key.clone(), *has_cross_site_ancestor)
}

impl OriginStorage {
    /// Adds the storage of the same origin in a later state.
    fn add(&mut self, later: Self) {
        replaced(&mut self.local_storage, later.local_storage, |item| item.name.clone());
        if let Some(databases) = later.indexed_db {
            let known = self.indexed_db.get_or_insert_default();
            replaced(known, databases, |database| database.name.clone());
        }
    }
}

impl StorageState {
    /// Adds a later state, whose cookies, items and databases take the place of those of the same names.
    #[must_use]
    pub fn merged(mut self, later: Self) -> Self {
        replaced(&mut self.cookies, later.cookies, key_of);
        let places = self.origins.iter().enumerate();
        let mut places: HashMap<String, usize> =
            places.map(|(place, storage)| (storage.origin.clone(), place)).collect();
        for storage in later.origins {
            let place = places.get(&storage.origin).copied();
            match place.and_then(|place| self.origins.get_mut(place)) {
                Some(known) => known.add(storage),
                None => {
                    places.insert(storage.origin.clone(), self.origins.len());
                    self.origins.push(storage);
                }
            }
        }
        self
    }

    /// Leaves out the parts that a selection does not name, and origins without storage.
    #[must_use]
    pub fn selected(mut self, selection: &Selection) -> Self {
        if let Some(origins) = &selection.origins {
            let hosts: Vec<String> = origins.iter().filter_map(|origin| host_of(origin)).collect();
            self.cookies.retain(|cookie| hosts.iter().any(|host| cookie.is_of(host)));
            self.origins.retain(|storage| origins.contains(&storage.origin));
        }
        for storage in &mut self.origins {
            if !selection.indexed_db {
                storage.indexed_db = None;
            }
        }
        let has_databases = |storage: &OriginStorage| {
            storage.indexed_db.as_ref().is_some_and(|databases| !databases.is_empty())
        };
        self.origins.retain(|it| !it.local_storage.is_empty() || has_databases(it));
        self
    }

    /// True if a client may send a state of this size.
    pub fn fits(&self) -> bool {
        self.cookies.len() <= MOST_COOKIES
            && self.origins.len() <= MOST_ORIGINS
            && length_of(self) <= LARGEST
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn state(value: Value) -> StorageState {
        serde_json::from_value(value).unwrap()
    }

    fn cookie(name: &str, value: &str, domain: &str) -> Value {
        json!({ "name": name, "value": value, "domain": domain, "path": "/", "expires": -1,
            "httpOnly": false, "secure": false })
    }

    fn database(name: &str, version: u64) -> Value {
        json!({ "name": name, "version": version, "stores": [] })
    }

    fn example() -> StorageState {
        let first = state(json!({
            "cookies": [cookie("a", "1", "a.example"), cookie("b", "1", ".a.example")],
            "origins": [
                { "origin": "https://a.example", "localStorage": [
                    { "name": "x", "value": "1" }, { "name": "y", "value": "1" } ],
                    "indexedDB": [database("d", 1), database("e", 1)] },
                { "origin": "https://empty.example" },
            ],
        }));
        let later = state(json!({
            "cookies": [cookie("a", "0", "a.example"), cookie("a", "2", "a.example"),
                cookie("a", "2", "b.example")],
            "origins": [
                { "origin": "https://a.example", "localStorage": [
                    { "name": "y", "value": "2" }, { "name": "z", "value": "2" } ],
                    "indexedDB": [database("d", 2)] },
                { "origin": "https://b.example", "localStorage": [{ "name": "x", "value": "2" }] },
            ],
        }));
        first.merged(later)
    }

    #[test]
    fn a_later_state_replaces_what_has_its_names_and_keeps_the_rest() {
        let merged = serde_json::to_value(example()).unwrap();
        let cookies = [
            cookie("b", "1", ".a.example"),
            cookie("a", "2", "a.example"),
            cookie("a", "2", "b.example"),
        ];
        assert_eq!(merged["cookies"], json!(cookies));
        let of_a = &merged["origins"][0];
        let items = json!([
            { "name": "x", "value": "1" }, { "name": "y", "value": "2" }, { "name": "z", "value": "2" },
        ]);
        assert_eq!(of_a["localStorage"], items);
        assert_eq!(of_a["indexedDB"], json!([database("e", 1), database("d", 2)]));
        assert_eq!(merged["origins"].as_array().unwrap().len(), 3);
    }

    #[test]
    fn a_selection_narrows_origins_and_their_cookies() {
        let all = Selection { origins: None, indexed_db: false };
        let read = serde_json::to_value(example().selected(&all)).unwrap();
        assert_eq!(read["origins"].as_array().unwrap().len(), 2, "no empty one: {read:#}");
        assert!(read["origins"][0].get("indexedDB").is_none());
        let origins = Some(["https://b.example".to_owned()].into());
        let read = example().selected(&Selection { origins, indexed_db: true });
        let read = serde_json::to_value(read).unwrap();
        assert_eq!(read["cookies"], json!([cookie("a", "2", "b.example")]));
        assert_eq!(read["origins"][0]["origin"], "https://b.example");
        assert_eq!(read["origins"].as_array().unwrap().len(), 1);
    }

    #[test]
    fn a_state_that_no_client_could_send_does_not_fit() {
        let mut large = example();
        assert!(large.fits());
        let one = large.cookies[0].clone();
        large.cookies = vec![one; MOST_COOKIES + 1];
        assert!(!large.fits());
        let mut long = example();
        long.origins[0].local_storage[0].value = "x".repeat(LARGEST);
        assert!(!long.fits());
    }
}
