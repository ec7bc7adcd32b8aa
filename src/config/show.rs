//! Prints the settings in force, as a file that could be read again, with the origin of each.

use std::fmt::Write as _;

use serde::Serialize;
use serde_json::{Map, Value, json};
use url::Url;

use super::layers::Loaded;
use crate::domain::secret::MASK;

/// Formats the settings as TOML, with the origin as a comment after each value. Secrets are masked;
/// a setting without a value is commented out.
pub fn as_toml<S: Serialize>(loaded: &Loaded<S>) -> serde_json::Result<String> {
    let mut text = String::new();
    if let Value::Object(members) = serde_json::to_value(&loaded.settings)? {
        section(&mut text, "", &members, loaded);
    }
    Ok(text)
}

/// Formats the settings as JSON: `settings`, and the origin of each key in `origins`. Secrets are
/// masked.
pub fn as_json<S: Serialize>(loaded: &Loaded<S>) -> serde_json::Result<Value> {
    let mut settings = serde_json::to_value(&loaded.settings)?;
    let mut origins = Map::new();
    mask_all(&mut settings, "", &mut |key| {
        origins.insert(key.to_owned(), loaded.origin(key).to_string().into());
    });
    Ok(json!({"settings": settings, "origins": origins}))
}

fn section<S>(text: &mut String, name: &str, members: &Map<String, Value>, loaded: &Loaded<S>) {
    let is_table = |value: &Value| matches!(value, Value::Object(inner) if !inner.is_empty());
    let mut lines: Vec<(String, String)> = Vec::new();
    for (key, value) in members.iter().filter(|(_, value)| !is_table(value)) {
        let whole = join(name, key);
        let line = match toml::Value::try_from(masked(&whole, value)) {
            Ok(value) => format!("{key} = {value}"),
            Err(_not_set) => format!("# {key} is not set"),
        };
        lines.push((line, loaded.origin(&whole).to_string()));
    }
    let set = lines.iter().filter(|(line, _)| !line.starts_with('#'));
    let width = set.map(|(line, _)| line.chars().count()).max().unwrap_or(0).min(48);
    for (line, origin) in lines {
        if line.starts_with('#') {
            let _ = writeln!(text, "{line}");
        } else {
            let _ = writeln!(text, "{line:width$}  # {origin}");
        }
    }
    for (key, value) in members {
        if let Value::Object(inner) = value
            && !inner.is_empty()
        {
            let whole = join(name, key);
            let _ = writeln!(text, "\n[{whole}]");
            section(text, &whole, inner, loaded);
        }
    }
}

fn join(section: &str, key: &str) -> String {
    if section.is_empty() { key.to_owned() } else { format!("{section}.{key}") }
}

fn mask_all(value: &mut Value, key: &str, seen: &mut dyn FnMut(&str)) {
    if let Value::Object(members) = value
        && !members.is_empty()
    {
        for (name, member) in members {
            mask_all(member, &join(key, name), seen);
        }
        return;
    }
    *value = masked(key, value);
    seen(key);
}

/// Masks a value for display. Secrets have a type that masks itself; this covers the rest:
/// passwords in addresses, and keys whose names indicate a secret.
fn masked(key: &str, value: &Value) -> Value {
    let Value::String(text) = value else { return value.clone() };
    let name = key.rsplit('.').next().unwrap_or(key).to_ascii_lowercase();
    let says_so = ["secret", "password", "token"].iter().any(|word| name.contains(word));
    if says_so || name.ends_with("_key") {
        return MASK.into();
    }
    let Ok(mut url) = Url::parse(text) else { return value.clone() };
    if url.password().is_some() && url.set_password(Some(MASK)).is_ok() {
        return url.to_string().into();
    }
    value.clone()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::config::{Keys, Origin, Settings};

    fn loaded() -> Loaded<Settings> {
        let keys = Keys { operator: Some("hunter2-hunter2".into()), ..Keys::default() };
        let settings = Settings { keys, ..Settings::default() };
        let origin = Origin::Environment { name: "GREENROOM_OPERATOR_KEY".into() };
        let origins = BTreeMap::from([("keys.operator".to_owned(), origin)]);
        Loaded { settings, origins, warnings: Vec::new() }
    }

    #[test]
    fn what_is_printed_can_be_read_again_names_origins_and_hides_secrets() {
        let text = as_toml(&loaded()).unwrap();
        let again: toml::Table = text.parse().unwrap();
        assert_eq!(again["http"]["listen"].as_str(), Some("127.0.0.1:8787"));
        assert!(text.contains("# bootstrap is not set\n"), "{text}");
        let line = text.lines().find(|line| line.starts_with("operator = ")).unwrap();
        assert!(line.starts_with("operator = \"********\" "), "{text}");
        assert!(line.ends_with("# GREENROOM_OPERATOR_KEY"), "{text}");
        assert!(!text.contains("hunter2"), "{text}");
    }

    #[test]
    fn the_json_has_every_key_with_its_origin() {
        let json = as_json(&loaded()).unwrap();
        assert_eq!(json["settings"]["keys"]["operator"], MASK);
        assert_eq!(json["origins"]["keys.operator"], "GREENROOM_OPERATOR_KEY");
        assert_eq!(json["origins"]["data"], "default");
    }

    #[test]
    fn a_password_in_an_address_is_masked() {
        let shown = masked("proxy", &"socks5://ann:hunter2@h:1080".into());
        assert_eq!(shown, "socks5://ann:********@h:1080");
        assert_eq!(masked("desktop.agent_token", &"x".into()), MASK);
        assert_eq!(masked("http.public_url", &"https://g.example/".into()), "https://g.example/");
    }
}
