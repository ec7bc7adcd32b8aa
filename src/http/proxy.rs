//! `proxy_location`: the proxy of a session's browser, by its address.
//!
//! The compatible API also names locations in its own cloud; those have no effect here, and the
//! answer has a warning about it.

use serde_json::{Value, json};
use url::Url;

use super::validation::Fields;
use crate::domain::masking::{MASKED, masked_url};
use crate::egress::policy::{Policy, PolicyError};

/// Returns the requested proxy, if any. Rejects values that can be neither a proxy nor a place.
pub fn proxy(location: &Value, field: &str, fields: &mut Fields) -> Option<Url> {
    let text = match location {
        Value::Null | Value::String(_) => return None,
        Value::Object(place) => match place.get("url") {
            Some(Value::String(text)) => text,
            None | Some(Value::Null) if place.contains_key("country") => return None,
            None | Some(_) => {
                let wrong = "expected {\"url\": \"http://proxy:3128\"}, or a place";
                fields.refuse(field, Value::Null, wrong);
                return None;
            }
        },
        Value::Bool(_) | Value::Number(_) | Value::Array(_) => {
            fields.refuse(field, location.clone(), "expected {\"url\": \"http://proxy:3128\"}");
            return None;
        }
    };
    upstream(text, None, field, fields)
}

/// Parses the address of a proxy, with its credentials: `http`, `https` or `socks5`. An address
/// that is sent back as it was shown, with a mask in place of its password, stands for `known`.
pub fn upstream(text: &str, known: Option<&Url>, field: &str, fields: &mut Fields) -> Option<Url> {
    if let Some(known) = known.filter(|known| masked_url(known.as_str()) == text) {
        return Some(known.clone());
    }
    // The error does not repeat the given address, which may contain a password.
    let mut refuse = |wrong: String| {
        fields.refuse(field, Value::Null, wrong);
        None
    };
    let Ok(url) = Url::parse(text) else {
        let wrong = "expected the URL of an http, https or socks5 proxy, such as \
                     http://name:password@proxy.example:3128";
        return refuse(wrong.to_owned());
    };
    if url.password() == Some(MASKED) {
        return refuse(format!(
            "`{MASKED}` is the placeholder of a hidden password; give the password"
        ));
    }
    match Policy::parse(json!({ "upstream": { "url": text } }).to_string().as_bytes()) {
        Ok(_) => Some(url),
        Err(PolicyError::Upstream(cause)) => refuse(cause.to_string()),
        Err(cause) => refuse(cause.to_string()),
    }
}

/// Returns the warning that a place has no effect.
pub fn warning(location: &Value) -> Option<String> {
    let is_place = match location {
        Value::String(place) => !place.is_empty() && place != "NONE",
        Value::Object(place) => place.get("url").is_none_or(Value::is_null) && !place.is_empty(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) => false,
    };
    is_place.then(|| {
        "`proxy_location` has no effect: this server has no proxies in places; give \
         {\"url\": …} for one of your own"
            .to_owned()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_proxy_is_taken_a_place_warned_of_and_all_else_refused() {
        let mut fields = Fields::new();
        let given = json!({ "url": "socks5://proxy:1080" });
        assert_eq!(proxy(&given, "p", &mut fields).unwrap().as_str(), "socks5://proxy:1080");
        for place in [json!("RESIDENTIAL_DE"), json!({ "country": "US" })] {
            assert_eq!(proxy(&place, "p", &mut fields), None);
            assert!(warning(&place).unwrap().contains("has no effect"), "{place}");
        }
        for nothing in [json!(null), json!("NONE"), given] {
            assert_eq!(warning(&nothing), None, "{nothing}");
        }
        let secret = json!({ "url": "http://ann:hunter2@proxy:3128" });
        let url = proxy(&secret, "p", &mut fields).unwrap();
        assert_eq!((url.username(), url.password()), ("ann", Some("hunter2")));
        fields.finish().unwrap();

        for wrong in [
            json!(5),
            json!([]),
            json!({ "url": 7 }),
            json!({ "url": "ftp://h" }),
            json!({ "uri": "http://h" }),
            json!({ "url": "http://ann:hunter2@pro xy:3128" }),
            json!({ "url": "http://ann:***@proxy:3128" }),
            json!({ "url": "socks4://proxy:1080" }),
            json!({ "url": "http://:hunter2@proxy:3128" }),
            json!({ "url": "http://ann:hunter2@proxy:3128/path" }),
            json!({ "url": "ftp://ann:hunter2@proxy" }),
        ] {
            let mut fields = Fields::new();
            assert_eq!(proxy(&wrong, "p", &mut fields), None);
            let said = fields.finish().unwrap_err().body().to_string();
            assert!(!said.contains("hunter2"), "{said}");
        }
    }
}
