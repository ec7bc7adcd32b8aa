//! The classes of DevTools commands, read from `commands.txt`.

use std::collections::HashMap;
use std::sync::LazyLock;

use serde::Deserialize;
use serde_json::Value;

/// The class of a command while a person has control.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Class {
    Reads,
    Evaluates,
    Depends,
    Detaches,
    Acts,
}

/// The class of a command at all times, by its reach beyond pages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Reach {
    /// It stays within pages.
    #[default]
    Page,
    /// It reaches beyond pages, and is refused.
    Refused,
    /// Its parameters decide whether it is refused.
    Judged,
}

/// The classes of one command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Entry {
    pub class: Class,
    pub reach: Reach,
}

/// The table of all listed commands.
static COMMANDS: LazyLock<HashMap<&str, Entry>> = LazyLock::new(|| lines().collect());

/// Parses the well-formed lines of the table.
fn lines() -> impl Iterator<Item = (&'static str, Entry)> {
    let lines = include_str!("commands.txt").lines().filter(|line| !line.starts_with('#'));
    lines.filter_map(|line| {
        let mut words = line.split(' ');
        let (name, class) = (words.next()?, words.next()?);
        let class = Class::deserialize(Value::from(class)).ok()?;
        let reach = match words.next() {
            Some(word) => Reach::deserialize(Value::from(word)).ok()?,
            None => Reach::Page,
        };
        words.next().is_none().then_some((name, Entry { class, reach }))
    })
}

/// Returns the entry of a command; `None` if the command is not listed.
pub(super) fn entry(method: &str) -> Option<Entry> {
    COMMANDS.get(method).copied()
}

/// Returns every command with its entry, in the order of the table.
#[cfg(test)]
pub(super) fn all() -> Vec<(&'static str, Entry)> {
    lines().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_of_chromium_is_listed_once_with_its_words_and_in_order() {
        let lines = include_str!("commands.txt").lines().filter(|line| !line.starts_with('#'));
        let names: Vec<_> = lines.map(|line| line.split_once(' ').unwrap().0).collect();
        assert!(names.is_sorted_by(|a, b| a < b), "sorted, so that none is there twice");
        assert_eq!(names.len(), COMMANDS.len(), "a line has a word that does not exist");
        assert!(names.len() > 670, "Chromium 156 has 674");
    }

    #[test]
    fn whole_domains_that_reach_past_the_page_are_refused() {
        let domains = [
            "Cast.",
            "DeviceAccess.",
            "Extensions.",
            "PWA.",
            "SystemInfo.",
            "Tethering.",
            "Tracing.",
        ];
        for (name, entry) in all() {
            if domains.iter().any(|domain| name.starts_with(domain)) {
                assert_eq!(entry.reach, Reach::Refused, "{name}");
            }
        }
        assert_eq!(entry("IO.read").map(|entry| entry.reach), Some(Reach::Page));
        assert_eq!(entry("NotYet.invented"), None);
    }
}
