//! The known keys: those of the defaults as they serialize.

use serde_json::Value as Json;

use crate::domain::given::nearest;

/// True if any keys may stand below this default.
fn is_open(default: &Json) -> bool {
    match default {
        Json::Null => true,
        Json::Object(members) => members.is_empty(),
        Json::Bool(_) | Json::Number(_) | Json::String(_) | Json::Array(_) => false,
    }
}

/// True if this default has keys of its own.
fn is_section(default: &Json) -> bool {
    default.as_object().is_some_and(|members| !members.is_empty())
}

/// The reason why a key is not known.
pub(super) enum Unknown {
    /// There is no key of this name; `near` is a similar one, if there is any.
    Name { key: String, near: Option<String> },
    /// The key is a section and was given a value.
    Section { key: String },
    /// The key is a single value and was given keys.
    Single { key: String },
}

impl Unknown {
    /// Returns the message, with the key written as in a file.
    pub(super) fn in_file(&self) -> String {
        self.show(str::to_owned)
    }

    /// Returns the message, with the key written as an environment variable.
    pub(super) fn in_variable(&self, prefix: &str) -> String {
        self.show(|key| format!("{prefix}{}", key.replace('.', "__").to_uppercase()))
    }

    fn show(&self, write: impl Fn(&str) -> String) -> String {
        match self {
            Self::Name { key, near: Some(near) } => {
                format!("unknown key `{key}`; did you mean `{}`?", write(near))
            }
            Self::Name { key, near: None } => {
                format!("unknown key `{key}`; `greenroom config` prints all keys")
            }
            Self::Section { key } => format!("`{key}` is a section, not a value"),
            Self::Single { key } => format!("`{key}` is a single value, not a section"),
        }
    }
}

/// Returns the reason why the key at `path` is not known, if it is not.
pub(super) fn unknown_key(known: &Json, path: &[String], is_value: bool) -> Option<Unknown> {
    let mut at = known;
    for (depth, step) in path.iter().enumerate() {
        if depth > 0 && is_open(at) {
            return None;
        }
        let Json::Object(members) = at else {
            let key = path.iter().take(depth).cloned().collect::<Vec<_>>().join(".");
            return Some(Unknown::Single { key });
        };
        let Some(member) = members.get(step) else {
            return Some(Unknown::Name {
                key: path.join("."),
                near: near_key(known, members, path, depth),
            });
        };
        at = member;
    }
    match (is_value, is_section(at)) {
        (true, true) => Some(Unknown::Section { key: path.join(".") }),
        (false, false) if !is_open(at) => Some(Unknown::Single { key: path.join(".") }),
        _ => None,
    }
}

/// Returns the known key that was probably meant: a sibling of the wrong step, or else a key of the
/// same name in any section.
fn near_key(
    known: &Json,
    siblings: &serde_json::Map<String, Json>,
    path: &[String],
    depth: usize,
) -> Option<String> {
    let wrong = path.get(depth)?;
    if let Some(sibling) = nearest(wrong, siblings.keys().map(String::as_str)) {
        let mut key: Vec<String> = path.iter().take(depth).cloned().collect();
        key.push(sibling.to_owned());
        let rest: Vec<String> = path.iter().skip(depth + 1).cloned().collect();
        let whole: Vec<String> = key.iter().chain(&rest).cloned().collect();
        let fits = unknown_key(known, &whole, true).is_none();
        return Some(if fits { whole.join(".") } else { key.join(".") });
    }
    let mut keys = Vec::new();
    leaves(known, "", &mut keys);
    let last = path.last()?;
    let by_name = nearest(last, keys.iter().filter_map(|key| key.rsplit('.').next()))?.to_owned();
    keys.into_iter().find(|key| key.rsplit('.').next() == Some(by_name.as_str()))
}

fn leaves(table: &Json, section: &str, keys: &mut Vec<String>) {
    let Json::Object(members) = table else { return };
    for (name, member) in members {
        let key = if section.is_empty() { name.clone() } else { format!("{section}.{name}") };
        if is_section(member) {
            leaves(member, &key, keys);
        } else {
            keys.push(key);
        }
    }
}
