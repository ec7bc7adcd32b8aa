//! Requests and settings with their secrets masked.
//!
//! Clients can read back what they have sent. Passwords and the values of headers are masked for
//! every reader: an API key permits using them, not reading them.

use serde_json::{Map, Value};
use url::Url;

/// The placeholder for a header's value, the same as in the compatible API.
pub const MASKED: &str = "***";

/// Members whose values are headers.
const HEADERS: &[&str] = &["cdp_connect_headers", "extra_http_headers"];

/// Members that are addresses, which may contain a password.
const ADDRESSES: &[&str] = &[
    "proxy_location",
    "webhook_url",
    "webhook_callback_url",
    "totp_url",
    "totp_verification_url",
    "start_url",
    "url",
    "browser_address",
];

/// The member for the network of a session, including its proxy.
const EGRESS: &str = "egress";
const UPSTREAM: &str = "upstream";

/// Returns an address with its password masked, and the secrets in its query.
pub fn masked_url(text: &str) -> String {
    let Ok(mut url) = Url::parse(text) else { return text.to_owned() };
    let has_secret = |name: &str| {
        matches!(name, "apikey" | "api_key" | "token" | "lease_token" | "ticket" | "signature")
    };
    let mut changed = false;
    if url.password().is_some() {
        changed |= url.set_password(Some(MASKED)).is_ok();
    }
    if url.query_pairs().any(|(name, _)| has_secret(&name)) {
        let pairs: Vec<(String, String)> = url.query_pairs().into_owned().collect();
        let mut query = url.query_pairs_mut();
        query.clear();
        for (name, value) in &pairs {
            query.append_pair(name, if has_secret(name) { MASKED } else { value });
        }
        drop(query);
        changed = true;
    }
    if changed { url.into() } else { text.to_owned() }
}

/// Masks the secrets among the members of an object.
pub fn mask_members(members: &mut Map<String, Value>) {
    for (name, value) in members.iter_mut() {
        if HEADERS.contains(&name.as_str()) {
            mask_headers(value);
        } else if ADDRESSES.contains(&name.as_str()) {
            mask_address(value);
        } else if name == EGRESS
            && let Some(upstream) = value.get_mut(UPSTREAM)
        {
            mask_address(upstream);
        }
    }
}

/// Returns a value with the secrets of its members masked. A value that is not an object is
/// unchanged.
pub fn masked(mut value: Value) -> Value {
    if let Some(members) = value.as_object_mut() {
        mask_members(members);
    }
    value
}

/// Masks the values of headers.
pub fn mask_headers(headers: &mut Value) {
    if let Some(headers) = headers.as_object_mut() {
        headers.values_mut().for_each(|value| *value = MASKED.into());
    }
}

/// Masks the password in an address, or in the `url` of an object.
pub fn mask_address(value: &mut Value) {
    match value {
        Value::String(text) => *text = masked_url(text),
        Value::Object(members) => {
            if let Some(url) = members.get_mut("url") {
                mask_address(url);
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) => {}
    }
}

/// Returns a value with the password of its address masked.
pub fn masked_address(mut value: Value) -> Value {
    mask_address(&mut value);
    value
}

/// Restores secrets that a client has read as masked and sends back unchanged.
pub fn unmask(after: &mut Value, before: &Value) {
    let Some(members) = after.as_object_mut() else { return };
    for (name, value) in members.iter_mut() {
        let Some(kept) = before.get(name) else { continue };
        if HEADERS.contains(&name.as_str()) {
            let Some(headers) = value.as_object_mut() else { continue };
            for (header, value) in headers.iter_mut().filter(|(_, value)| *value == MASKED) {
                if let Some(kept) = kept.get(header) {
                    *value = kept.clone();
                }
            }
        } else if ADDRESSES.contains(&name.as_str()) {
            unmask_address(value, kept);
        } else if name == EGRESS
            && let (Some(value), Some(kept)) = (value.get_mut(UPSTREAM), kept.get(UPSTREAM))
        {
            unmask_address(value, kept);
        }
    }
}

fn unmask_address(value: &mut Value, kept: &Value) {
    if masked_address(kept.clone()) == *value {
        *value = kept.clone();
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn passwords_and_header_values_are_masked_wherever_a_request_has_them() {
        let request = json!({
            "proxy_location": { "url": "http://ann:p%40ss@proxy:3128" },
            "webhook_url": "https://u:hunter2@a.example/x?y=1",
            "browser_address": "wss://h/v1/browser_sessions/pbs_1/cdp?apikey=hunter2&a=b",
            "extra_http_headers": { "authorization": "Bearer hunter2" },
            "cdp_connect_headers": { "x-secret": "hunter2" },
            "egress": { "allow": ["a.example"], "upstream": "socks5://ann:hunter2@proxy:1080" },
            "title": "hunter",
        });
        let shown = masked(request.clone());
        assert!(!shown.to_string().contains("hunter2") && !shown.to_string().contains("p%40ss"));
        assert_eq!(shown["proxy_location"]["url"], "http://ann:***@proxy:3128/");
        assert_eq!(shown["extra_http_headers"], json!({ "authorization": "***" }));
        assert_eq!(shown["title"], "hunter");
        assert_eq!(shown["egress"]["upstream"], "socks5://ann:***@proxy:1080");

        let mut back = shown;
        unmask(&mut back, &request);
        assert_eq!(back, request);
        let mut other = json!({ "cdp_connect_headers": { "x-secret": "new", "y": "***" } });
        unmask(&mut other, &request);
        assert_eq!(other["cdp_connect_headers"], json!({ "x-secret": "new", "y": "***" }));
    }

    #[test]
    fn an_address_without_a_secret_stays_as_it_was_written() {
        for plain in ["https://a.example", "RESIDENTIAL", "", "http://u@h/?x=1"] {
            assert_eq!(masked_url(plain), plain);
        }
    }
}
