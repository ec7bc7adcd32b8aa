//! The section `http` of the settings: addresses, limits, other origins, and viewers' rights.

use std::net::{Ipv4Addr, SocketAddr};
use std::ops::RangeInclusive;

use chrono::TimeDelta;
use serde::{Deserialize, Serialize};
use url::Url;

use super::outside::Network;
use crate::domain::rfb::{Chord, Clipboard, Policy, RIGHT_BUTTON};
use crate::service::core::Streaming;

/// The permitted values of `signed_link_seconds`.
const LINK_SECONDS: RangeInclusive<u32> = 60..=7 * 24 * 60 * 60;

/// Settings of the section `http`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// Address and port to listen on; port 0 takes a free one.
    pub listen: SocketAddr,
    /// The address at which clients reach the server, for links; by default the address it listens
    /// on.
    pub public_url: Option<Url>,
    /// The domain below which each session has a host name of its own, `pbs-1.browsers.example.com`, for
    /// clients that drop the path of an address. A server that listens on loopback has `localhost`.
    pub session_domain: Option<String>,
    /// Addresses of proxies, `127.0.0.1` or `10.0.0.0/8`, whose `X-Forwarded-*` headers are
    /// trusted. Links follow these headers if there is no `public_url`, and the log has the
    /// client's address.
    pub trusted_proxies: Vec<Network>,
    /// Origins whose pages may call the API: `https://app.example.com`, or `*` for all. Greenroom
    /// sets no cookies, so a foreign page has no rights without a key.
    pub cors_origins: Vec<String>,
    /// Origins whose pages may show the view and the wall in a frame; none unless named.
    pub embed_origins: Vec<String>,
    /// The maximum size of a request's body in bytes, after decompression.
    pub max_body_bytes: usize,
    /// The time in seconds that a request's body may take to arrive.
    pub body_seconds: u64,
    /// The maximum size in bytes of the bodies of all requests together while they arrive. Bodies
    /// shorter than 64 KiB are not counted. Never less than `max_body_bytes`.
    pub max_bodies_bytes: usize,
    /// The maximum number of open connections. Never more than a quarter of the files that the
    /// server may open, because each connection may need several.
    pub max_connections: usize,
    /// The maximum number of open streams of events.
    pub max_event_streams: usize,
    /// The longest life of a link that needs no key, such as a file's `signed_url`, in seconds;
    /// from a minute to a week. A link lives for at least half of it, and ends with the key that
    /// made it.
    pub signed_link_seconds: u32,
    /// The transport that the compatible API's own viewers should use: `vnc`, or `cdp` for
    /// screencasts and input over DevTools. The server always offers both.
    pub streaming: Streaming,
    /// Key chords that a person in control cannot press. The default chords reach beyond the pages:
    /// dialogs for the machine's files, printing, and the developer tools.
    pub refused_chords: Vec<Chord>,
    /// True if a person in control may click with the right button.
    pub right_click: bool,
    /// The direction of the clipboard for a person in control: `both`, `in`, `out` or `none`.
    pub clipboard: ClipboardWay,
    /// The maximum size of a clipboard text in bytes as sent, perhaps compressed by the viewer; at
    /// most 1 MiB.
    pub clipboard_bytes: u32,
}

/// The direction of the clipboard between a viewer and its session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ClipboardWay {
    /// Both directions, in and out.
    #[default]
    Both,
    /// Only in: a text that the viewer has copied can be pasted into the session.
    In,
    /// Only out: a text that is copied in the session goes to the viewer.
    Out,
    /// Neither direction is allowed.
    None,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 8787)),
            public_url: None,
            session_domain: None,
            trusted_proxies: Vec::new(),
            cors_origins: vec!["*".to_owned()],
            embed_origins: Vec::new(),
            max_body_bytes: 8 * 1024 * 1024,
            body_seconds: 30,
            max_bodies_bytes: 64 * 1024 * 1024,
            max_connections: 4096,
            max_event_streams: 500,
            signed_link_seconds: 2 * 60 * 60,
            streaming: Streaming::Vnc,
            refused_chords: Chord::refused_by_default(),
            right_click: false,
            clipboard: ClipboardWay::Both,
            clipboard_bytes: Clipboard::MOST_BYTES,
        }
    }
}

/// A setting with an invalid value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wrong {
    /// The setting's key within the section.
    pub key: &'static str,
    /// The fault, and the values that are allowed.
    pub message: String,
}

impl Settings {
    /// Returns the faults that the types do not catch.
    pub fn check(&self) -> Vec<Wrong> {
        let mut wrong = Vec::new();
        for (key, origins, any) in [
            ("cors_origins", &self.cors_origins, true),
            ("embed_origins", &self.embed_origins, false),
        ] {
            for origin in origins {
                let all = any && origin == "*";
                if !all && !is_origin(origin) {
                    let message = format!(
                        "`{origin}` is not an origin; expected one such as https://app.example.com"
                    );
                    wrong.push(Wrong { key, message });
                }
            }
        }
        if let Some(url) = &self.public_url
            && (!matches!(url.scheme(), "http" | "https") || url.host().is_none())
        {
            let message = format!("`{url}` is not an address that starts with http:// or https://");
            wrong.push(Wrong { key: "public_url", message });
        }
        if let Some(domain) = &self.session_domain
            && !is_domain(domain)
        {
            let message = format!("`{domain}` is not a domain such as browsers.example.com");
            wrong.push(Wrong { key: "session_domain", message });
        }
        if self.max_body_bytes < 1024 {
            let message = "expected at least 1024 bytes".to_owned();
            wrong.push(Wrong { key: "max_body_bytes", message });
        }
        if self.body_seconds == 0 {
            let message = "expected at least 1".to_owned();
            wrong.push(Wrong { key: "body_seconds", message });
        }
        if self.max_connections == 0 {
            let message = "expected at least 1".to_owned();
            wrong.push(Wrong { key: "max_connections", message });
        }
        if !LINK_SECONDS.contains(&self.signed_link_seconds) {
            let (least, most) = (LINK_SECONDS.start(), LINK_SECONDS.end());
            let message = format!("expected {least} to {most}");
            wrong.push(Wrong { key: "signed_link_seconds", message });
        }
        if self.clipboard_bytes > Clipboard::MOST_BYTES {
            let message = format!("expected at most {}", Clipboard::MOST_BYTES);
            wrong.push(Wrong { key: "clipboard_bytes", message });
        }
        wrong
    }

    /// Returns the restrictions of viewers in control.
    pub fn policy(&self) -> Policy {
        use ClipboardWay as Way;
        let clipboard = Clipboard {
            inward: matches!(self.clipboard, Way::Both | Way::In),
            outward: matches!(self.clipboard, Way::Both | Way::Out),
            most_bytes: self.clipboard_bytes,
        };
        Policy {
            clipboard,
            refused_chords: self.refused_chords.clone(),
            refused_buttons: if self.right_click { 0 } else { RIGHT_BUTTON },
            ..Policy::default()
        }
    }

    /// Returns the longest life of a link that needs no key.
    pub fn link_life(&self) -> TimeDelta {
        TimeDelta::seconds(i64::from(self.signed_link_seconds))
    }

    /// Returns the beginning of links, without a slash at the end. `bound` is the address that the
    /// server listens on.
    pub fn base_url(&self, bound: SocketAddr) -> String {
        match &self.public_url {
            Some(url) => url.as_str().trim_end_matches('/').to_owned(),
            None if bound.ip().is_unspecified() => format!("http://127.0.0.1:{}", bound.port()),
            None => format!("http://{bound}"),
        }
    }
}

/// True if the text is a domain: labels of letters, digits and hyphens.
fn is_domain(text: &str) -> bool {
    let is_label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
    };
    text.len() <= 200 && text.split('.').all(is_label)
}

/// True if the text is an origin: a scheme, a host and perhaps a port, and nothing that could break
/// out of a header.
fn is_origin(text: &str) -> bool {
    let Ok(url) = Url::parse(text) else { return false };
    matches!(url.scheme(), "http" | "https") && url.origin().ascii_serialization() == text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_origin_with_a_path_or_a_quote_is_refused_and_named() {
        for origin in ["https://a.example/x", "a.example", "https://a.example; script-src *", "*"] {
            let settings =
                Settings { embed_origins: vec![origin.to_owned()], ..Settings::default() };
            let wrong = settings.check();
            assert_eq!(wrong.len(), 1, "{origin}");
            assert_eq!(wrong[0].key, "embed_origins");
            assert!(wrong[0].message.contains(origin));
        }
        assert_eq!(Settings::default().check(), []);
    }

    #[test]
    fn a_domain_has_labels_and_nothing_else() {
        let wrong = |domain: &str| {
            let session_domain = Some(domain.to_owned());
            Settings { session_domain, ..Settings::default() }.check().len()
        };
        assert_eq!([wrong("localhost"), wrong("Browsers.example.com")], [0, 0]);
        for domain in ["", ".example.com", "*.example.com", "example.com:80", "a_b.example"] {
            assert_eq!(wrong(domain), 1, "{domain}");
        }
    }

    #[test]
    fn who_has_control_is_refused_what_is_named_and_what_is_no_chord_is_not_taken() {
        let default = Settings::default().policy();
        assert_eq!(default, Policy::default());
        assert_eq!(default.refused_chords.len(), 8);
        let given =
            serde_json::json!({ "refused_chords": ["F12", "Ctrl+Shift+I"], "right_click": true });
        let policy = serde_json::from_value::<Settings>(given).unwrap().policy();
        let shown: Vec<String> = policy.refused_chords.iter().map(ToString::to_string).collect();
        assert_eq!(shown, ["f12", "ctrl+shift+i"]);
        assert_eq!(policy.refused_buttons, 0);
        for (way, inward, outward) in [
            ("both", true, true),
            ("in", true, false),
            ("out", false, true),
            ("none", false, false),
        ] {
            let given = serde_json::json!({ "clipboard": way, "clipboard_bytes": 9 });
            let policy = serde_json::from_value::<Settings>(given).unwrap().policy();
            assert_eq!(policy.clipboard, Clipboard { inward, outward, most_bytes: 9 });
        }
        for (key, value) in [("clipboard_bytes", 2_000_000), ("signed_link_seconds", 1_000_000)] {
            let long = serde_json::json!({ key: value });
            let wrong = serde_json::from_value::<Settings>(long).unwrap().check();
            assert_eq!(wrong[0].key, key);
        }
        let wrong = serde_json::json!({ "refused_chords": ["strg+o"] });
        let error = serde_json::from_value::<Settings>(wrong).unwrap_err();
        assert!(error.to_string().starts_with("`strg+o` is not a chord"), "{error}");
    }

    #[test]
    fn links_begin_with_the_public_address_or_with_the_one_bound() {
        let bound = SocketAddr::from(([0, 0, 0, 0], 4000));
        assert_eq!(Settings::default().base_url(bound), "http://127.0.0.1:4000");
        let public_url = Some(Url::parse("https://g.example/room/").unwrap());
        let settings = Settings { public_url, ..Settings::default() };
        assert_eq!(settings.base_url(bound), "https://g.example/room");
    }
}
