//! The policy of a session: the server's permissions, narrowed by the organization and the session.

use serde_json::{Value, json};

use super::Settings;
use crate::domain::egress::EgressAsked;
use crate::domain::sealing::{SealError, Vault, has_credentials, is_sealed};
use crate::egress::files::UPSTREAM;
use crate::egress::policy::Policy;

/// The error for an upstream that the server cannot unseal.
pub(super) const SEALED_ELSEWHERE: &str = "the upstream proxy was sealed with another secret than that of this server: restore the file \
     `secret` of the data directory that sealed it, or set the proxy again";

/// The policy in the format that the program reads, see [`Policy::parse`].
pub(super) fn document(settings: &Settings, asked: &EgressAsked) -> Value {
    let EgressAsked { organization, session, upstream, is_exhausted } = asked;
    let deny: Vec<&String> =
        settings.deny.iter().chain(&organization.deny).chain(&session.deny).collect();
    let within = [&organization.allow, &session.allow];
    let within: Vec<_> = within.into_iter().filter(|list| !list.is_empty()).collect();
    let mut document = json!({
        "allow": settings.allow,
        "deny": deny,
        "within": within,
        "upstream_allowed": settings.any_upstream,
        "upstream": upstream.as_ref().map(|upstream| json!({ "url": upstream.as_str() })),
    });
    // Programs of servers before this know no such member, and read every policy without it.
    if let Some(members) = document.as_object_mut().filter(|_document| *is_exhausted) {
        members.insert("exhausted".to_owned(), true.into());
    }
    document
}

/// Seals the address of the upstream if it contains credentials.
pub(super) fn seal(vault: &Vault, document: &mut Value) -> Result<(), SealError> {
    if let Some(Value::String(url)) = document.pointer_mut("/upstream/url")
        && has_credentials(url)
    {
        *url = vault.seal(UPSTREAM, url)?;
    }
    Ok(())
}

/// Checks the requested policy as the program would. The error names the invalid entry.
pub(super) fn check(settings: &Settings, asked: &EgressAsked) -> Result<(), String> {
    if asked.upstream.as_ref().is_some_and(|url| is_sealed(url.as_str())) {
        return Err(SEALED_ELSEWHERE.to_owned());
    }
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
            is_exhausted: false,
        };
        let document = document(&settings, &asked);
        assert_eq!(document["allow"], json!(["10.0.0.0/8"]));
        assert_eq!(document["deny"], json!(["10.0.0.1", "b.example"]));
        assert_eq!(document["within"], json!([["*.example"], ["a.example"]]));
        assert!(check(&settings, &asked).is_ok());
        assert_eq!(self::document(&settings, &EgressAsked::default())["within"], json!([]));
        // Programs of servers before the member are given it only where it says something.
        assert_eq!(document.get("exhausted"), None);
        let asked = EgressAsked { is_exhausted: true, ..asked };
        assert_eq!(self::document(&settings, &asked)["exhausted"], true);
        assert!(check(&settings, &asked).is_ok());
    }

    #[test]
    fn an_upstream_that_cannot_be_opened_is_refused_with_the_way_out() {
        let sealed = Vault::new([8; 32]).seal(UPSTREAM, "http://u:p@proxy:1").unwrap();
        let asked = EgressAsked { upstream: sealed.parse().ok(), ..EgressAsked::default() };
        assert!(asked.upstream.is_some());
        let message = check(&Settings::default(), &asked).unwrap_err();
        assert!(message.contains("`secret`"), "{message}");
    }

    #[test]
    fn the_password_of_an_upstream_is_not_in_the_file() {
        let upstream = Some("http://ann:hunter2@proxy.example:3128".parse().unwrap());
        let asked = EgressAsked { upstream, ..EgressAsked::default() };
        let mut document = document(&Settings::default(), &asked);
        let vault = Vault::new([7; 32]);
        seal(&vault, &mut document).unwrap();
        assert!(!document.to_string().contains("hunter2"));
        let sealed = document["upstream"]["url"].as_str().unwrap();
        assert_eq!(vault.open(UPSTREAM, sealed).unwrap(), asked.upstream.unwrap().as_str());
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
