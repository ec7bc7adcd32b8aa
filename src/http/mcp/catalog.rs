//! The tools that agents can call.

use std::sync::LazyLock;

use rmcp::model::Tool;

use super::client::Client;
use super::entry::Entry;
use super::tools;

static ENTRIES: LazyLock<Vec<Entry>> = LazyLock::new(|| {
    let mut entries = tools::sessions::entries();
    entries.extend(tools::reading::entries());
    entries.extend(tools::pages::entries());
    entries.extend(tools::actions::entries());
    entries.extend(tools::files::entries());
    entries.extend(tools::people::entries());
    entries.extend(tools::runs::entries());
    entries
});

/// Returns the tools that a client may call.
pub(super) fn offered(client: &Client) -> Vec<Tool> {
    ENTRIES.iter().filter(|entry| entry.is_offered_to(client)).map(Entry::shown).collect()
}

/// Returns a tool by its name, if the client may call it.
pub(super) fn find(client: &Client, name: &str) -> Option<&'static Entry> {
    ENTRIES.iter().find(|entry| entry.name == name && entry.is_offered_to(client))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_tool_has_a_description_and_a_closed_schema() {
        for entry in ENTRIES.iter() {
            let tool = entry.shown();
            assert!(tool.description.is_some_and(|it| it.len() > 20), "{}", entry.name);
            assert_eq!(tool.input_schema["type"], "object", "{}", entry.name);
            assert_eq!(tool.input_schema["additionalProperties"], false, "{}", entry.name);
            for (field, schema) in tool.input_schema["properties"].as_object().unwrap() {
                assert!(schema["description"].is_string(), "{}.{field}", entry.name);
            }
        }
    }

    #[test]
    fn names_are_unique() {
        let mut names: Vec<&str> = ENTRIES.iter().map(|entry| entry.name).collect();
        names.sort_unstable();
        let all = names.len();
        names.dedup();
        assert_eq!(names.len(), all);
    }
}
