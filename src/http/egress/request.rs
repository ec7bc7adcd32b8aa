//! The field `egress` of a request: two lists of rules and a proxy.

use std::fmt;

use serde::{Deserialize, Deserializer};
use serde_json::{Value, json};
use url::Url;

use crate::actors::session::EgressPatch;
use crate::domain::egress::EgressLists;
use crate::domain::session::SessionSpec;
use crate::egress::rule::Rule;
use crate::http::proxy;
use crate::http::validation::Fields;

/// The maximum number of rules in a list.
pub const MOST_RULES: usize = 1000;

/// The requested network of a session. A missing field keeps its value; null removes an earlier
/// value.
#[derive(Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct EgressRequest {
    /// The only targets that the session may reach.
    #[serde(deserialize_with = "given")]
    allow: Option<Option<Vec<String>>>,
    /// Targets that the session may not reach.
    #[serde(deserialize_with = "given")]
    deny: Option<Option<Vec<String>>>,
    /// The proxy for all traffic, with its credentials.
    #[serde(deserialize_with = "given")]
    upstream: Option<Option<String>>,
}

impl fmt::Debug for EgressRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The proxy's URL contains a password.
        let mut shown = f.debug_struct("EgressRequest");
        shown.field("allow", &self.allow).field("deny", &self.deny).finish_non_exhaustive()
    }
}

/// Distinguishes a field that is null from one that is missing.
fn given<'de, T, D>(deserializer: D) -> Result<Option<Option<T>>, D::Error>
where
    T: Deserialize<'de>,
    D: Deserializer<'de>,
{
    Option::deserialize(deserializer).map(Some)
}

impl EgressRequest {
    /// Returns the requested change to a session whose present proxy is `known`. A proxy that is
    /// sent back as it was shown, without its password, stays. Wrong entries are added to `fields`.
    pub fn patch(&self, place: &str, known: Option<&Url>, fields: &mut Fields) -> EgressPatch {
        let mut list = |name: &str, rules: &Option<Option<Vec<String>>>| {
            let rules = rules.clone()?.unwrap_or_default();
            check_rules(&format!("{place}.{name}"), &rules, fields);
            Some(rules)
        };
        let (allow, deny) = (list("allow", &self.allow), list("deny", &self.deny));
        let upstream = self.upstream.as_ref().map(|upstream| {
            let text = upstream.as_deref()?;
            proxy::upstream(text, known, &format!("{place}.upstream"), fields)
        });
        EgressPatch { allow, deny, upstream }
    }

    /// Returns the lists and the proxy of a new session; `proxy` is that of its `proxy_location`.
    pub fn read(
        request: Option<&Self>,
        proxy: Option<Url>,
        fields: &mut Fields,
    ) -> (EgressLists, Option<Url>) {
        let mut spec = SessionSpec::default();
        let patch = request.map(|request| request.patch("egress", None, fields));
        patch.unwrap_or_default().apply(&mut spec);
        if let (Some(upstream), Some(proxy)) = (&spec.proxy, &proxy) {
            let wrong = "it is another proxy than that of `proxy_location`; give one of them";
            fields.require("egress.upstream", Value::Null, upstream == proxy, wrong);
        }
        (spec.egress, spec.proxy.or(proxy))
    }

    /// Checks the network in a workflow's settings, which may have any shape.
    pub fn check(settings: &Value, proxy: Option<Url>, fields: &mut Fields) {
        if settings.is_null() {
            return;
        }
        match serde_json::from_value::<Self>(settings.clone()) {
            Ok(egress) => drop(Self::read(Some(&egress), proxy, fields)),
            Err(_shape) => {
                let wrong =
                    "expected {\"allow\": [rule, …], \"deny\": [rule, …], \"upstream\": URL}";
                fields.refuse("egress", Value::Null, wrong);
            }
        }
    }
}

/// Adds each entry of a list that is no rule to `fields`.
pub fn check_rules(place: &str, rules: &[String], fields: &mut Fields) {
    if rules.len() > MOST_RULES {
        return fields.refuse(place, Value::Null, format!("expected at most {MOST_RULES} rules"));
    }
    for (index, text) in rules.iter().enumerate() {
        fields.check(&format!("{place}[{index}]"), json!(text), text.parse::<Rule>());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::body::parse;

    fn read(text: &Value) -> EgressRequest {
        parse(text.to_string().as_bytes()).unwrap()
    }

    #[test]
    fn each_wrong_entry_is_named_and_no_password_is_repeated() {
        let request = read(&json!({
            "allow": ["intra.example:8080", "a b", "10.0.0.0/8"],
            "deny": ["*.example", "http://a/"],
            "upstream": "ftp://ann:hunter2@proxy:1",
        }));
        assert!(!format!("{request:?}").contains("hunter2"));
        let mut fields = Fields::new();
        request.patch("egress", None, &mut fields);
        let body = fields.finish().unwrap_err().body();
        assert!(!body.to_string().contains("hunter2"), "{body}");
        let places: Vec<String> =
            body["detail"].as_array().unwrap().iter().map(|it| it["loc"].to_string()).collect();
        assert_eq!(
            places,
            [
                r#"["body","egress","allow",1]"#,
                r#"["body","egress","deny",1]"#,
                r#"["body","egress","upstream"]"#,
            ]
        );
        let mut fields = Fields::new();
        let many = vec!["a".to_owned(); MOST_RULES + 1];
        check_rules("allow", &many, &mut fields);
        fields.finish().unwrap_err();
    }

    #[test]
    fn a_missing_field_stays_null_takes_back_and_a_masked_proxy_keeps_its_password() {
        let known: Url = "http://ann:hunter2@proxy:3128/".parse().unwrap();
        let patch = |text: Value| {
            let mut fields = Fields::new();
            let patch = read(&text).patch("egress", Some(&known), &mut fields);
            fields.finish().map(|()| patch)
        };
        assert_eq!(patch(json!({})).unwrap(), EgressPatch::default());
        let nothing = patch(json!({ "allow": null, "upstream": null })).unwrap();
        assert_eq!((nothing.allow, nothing.deny), (Some(vec![]), None));
        assert_eq!(nothing.upstream, Some(None));
        let masked = patch(json!({ "upstream": "http://ann:***@proxy:3128/" })).unwrap();
        assert_eq!(masked.upstream, Some(Some(known.clone())));
        for other in ["http://ann:***@other:3128/", "socks4://proxy:1", "proxy", "http://h/path"] {
            let refused = patch(json!({ "upstream": other })).unwrap_err();
            assert_eq!(refused.status, 422, "{other}");
        }
        let fresh = patch(json!({ "upstream": "socks5://bob:secret@other" })).unwrap();
        assert_eq!(fresh.upstream.flatten().unwrap().password(), Some("secret"));
    }

    #[test]
    fn one_proxy_has_two_names_and_two_proxies_are_refused() {
        let proxy: Option<Url> = "http://proxy:1/".parse().ok();
        let request = |upstream: &str| read(&json!({ "upstream": upstream }));
        let mut fields = Fields::new();
        let (_, same) =
            EgressRequest::read(Some(&request("http://proxy:1")), proxy.clone(), &mut fields);
        assert_eq!(same, proxy);
        assert_eq!(EgressRequest::read(None, proxy.clone(), &mut fields).1, proxy);
        fields.finish().unwrap();
        let mut fields = Fields::new();
        EgressRequest::read(Some(&request("http://other:1")), proxy, &mut fields);
        fields.finish().unwrap_err();
        let mut fields = Fields::new();
        EgressRequest::check(&json!({ "alow": [] }), None, &mut fields);
        fields.finish().unwrap_err();
    }
}
