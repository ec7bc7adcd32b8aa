//! The policy of a session: what the server allows, narrowed by the organization and the session.

use serde_json::{Value, json};

use super::Settings;
use crate::domain::egress::EgressAsked;
use crate::egress::policy::Policy;

/// The policy as the program reads it, see [`Policy::parse`].
pub(super) fn document(settings: &Settings, asked: &EgressAsked) -> Value {
    let EgressAsked { organization, session, upstream } = asked;
    let deny: Vec<&String> =
        settings.deny.iter().chain(&organization.deny).chain(&session.deny).collect();
    let within = [&organization.allow, &session.allow];
    let within: Vec<_> = within.into_iter().filter(|list| !list.is_empty()).collect();
    json!({
        "allow": settings.allow,
        "deny": deny,
        "within": within,
        "upstream_allowed": settings.any_upstream,
        "upstream": upstream.as_ref().map(|upstream| json!({ "url": upstream.as_str() })),
    })
}

/// Checks what is asked for, as the program would. The message names the entry.
pub(super) fn check(settings: &Settings, asked: &EgressAsked) -> Result<(), String> {
    let text = document(settings, asked).to_string();
    Policy::parse(text.as_bytes()).map(drop).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::egress::EgressLists;

    #[test]
    fn what_a_session_asks_for_narrows_what_the_server_allows() {
        let settings = Settings {
            allow: vec!["10.0.0.0/8".to_owned()],
            deny: vec!["10.0.0.1".to_owned()],
            ..Settings::default()
        };
        let asked = EgressAsked {
            organization: EgressLists { allow: vec!["*.example".to_owned()], deny: Vec::new() },
            session: EgressLists {
                allow: vec!["a.example".to_owned()],
                deny: vec!["b.example".to_owned()],
            },
            upstream: Some("http://u:p@proxy.example:3128".parse().unwrap()),
        };
        let document = document(&settings, &asked);
        assert_eq!(document["allow"], json!(["10.0.0.0/8"]));
        assert_eq!(document["deny"], json!(["10.0.0.1", "b.example"]));
        assert_eq!(document["within"], json!([["*.example"], ["a.example"]]));
        assert!(check(&settings, &asked).is_ok());
        assert_eq!(self::document(&settings, &EgressAsked::default())["within"], json!([]));
    }

    #[test]
    fn a_wrong_entry_is_named_and_a_password_is_not() {
        let mut asked = EgressAsked::default();
        asked.session.deny = vec!["a b".to_owned()];
        assert!(check(&Settings::default(), &asked).unwrap_err().contains("a b"));
        let asked = EgressAsked {
            upstream: Some("ftp://u:secret@proxy.example".parse().unwrap()),
            ..EgressAsked::default()
        };
        let message = check(&Settings::default(), &asked).unwrap_err();
        assert!(message.contains("scheme") && !message.contains("secret"), "{message}");
    }
}
