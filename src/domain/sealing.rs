//! Secrets at rest: encrypted with a key of the server, and bound to their storage location.
//!
//! ```text
//! sealed:v1:<key>:<base64url of nonce, ciphertext, tag>      AES-256-GCM-SIV
//! ```
//!
//! `<key>` is a fingerprint that distinguishes another key from damage. Each kind of location has
//! its own key, derived from the file `secret` of the data directory. A text that was moved to
//! another location does not open. A text without the prefix was stored by an earlier version, and
//! is read unchanged.

use std::fmt;

use aws_lc_rs::aead::{AES_256_GCM_SIV, Aad, NONCE_LEN, Nonce, RandomizedNonceKey};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::Value;
use url::Url;

/// The prefix of every sealed text.
const PREFIX: &str = "sealed:v1:";

/// The members of requests and settings that name proxies.
const PROXIES: [&str; 2] = ["proxy_location", "egress"];

/// The storage location of a secret: the kind, as a table and column or a file, and the row or
/// session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SecretLocation<'a> {
    /// The kind of location: `webhooks.signer`, `memory.json`.
    pub kind: &'static str,
    /// The id of the row or of the session.
    pub of: &'a str,
}

/// The reason why a text was not opened or sealed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SealError {
    /// The file `secret` has been replaced, or is from another server.
    #[error(
        "{kind} of {of} was sealed with another secret (key {theirs}, here {ours}): restore the file \
         `secret` of the data directory that sealed it, or give the value anew"
    )]
    OtherKey {
        /// The kind of location.
        kind: &'static str,
        /// The id of the row or session.
        of: String,
        /// The fingerprint of the key that sealed it.
        theirs: String,
        /// The fingerprint of the key of this server.
        ours: String,
    },
    /// The text was changed, or belongs to another location.
    #[error(
        "{kind} of {of} is damaged or was moved there from elsewhere: restore it from a backup, or give \
         the value anew"
    )]
    Damaged {
        /// The kind of location.
        kind: &'static str,
        /// The id of the row or session.
        of: String,
    },
    /// The machine provides no random bytes.
    #[error("{kind} of {of} was not sealed: the system gives no random bytes")]
    NotSealed {
        /// The kind of location.
        kind: &'static str,
        /// The id of the row or session.
        of: String,
    },
}

/// Seals and opens texts with a key of the server.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Vault {
    secret: [u8; 32],
}

impl fmt::Debug for Vault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Vault(…)")
    }
}

impl Vault {
    /// Creates a vault from 32 unpredictable bytes.
    pub fn new(secret: [u8; 32]) -> Self {
        Self { secret }
    }

    fn derived(&self, label: &str) -> [u8; 32] {
        *blake3::keyed_hash(&self.secret, format!("sealing\0{label}").as_bytes()).as_bytes()
    }

    /// Returns the secret of a vault that opens only what belongs to one program.
    pub fn secret_of_program(&self, name: &str) -> [u8; 32] {
        self.derived(&format!("program\0{name}"))
    }

    /// Returns the fingerprint of the key, which reveals nothing about it.
    pub fn fingerprint(&self) -> String {
        self.derived("fingerprint").iter().take(4).map(|byte| format!("{byte:02x}")).collect()
    }

    fn key(&self, place: SecretLocation<'_>) -> Option<RandomizedNonceKey> {
        let key = self.derived(&format!("place\0{}", place.kind));
        RandomizedNonceKey::new(&AES_256_GCM_SIV, &key).ok()
    }

    /// Seals a text for this location.
    ///
    /// # Errors
    ///
    /// Fails with [`SealError::NotSealed`].
    pub fn seal(&self, place: SecretLocation<'_>, text: &str) -> Result<String, SealError> {
        let SecretLocation { kind, of } = place;
        let mut sealed = text.as_bytes().to_vec();
        let nonce = self.key(place).and_then(|key| {
            key.seal_in_place_append_tag(Aad::from(of.as_bytes()), &mut sealed).ok()
        });
        let nonce = nonce.ok_or_else(|| SealError::NotSealed { kind, of: of.to_owned() })?;
        let mut bytes = nonce.as_ref().to_vec();
        bytes.append(&mut sealed);
        let (key, bytes) = (self.fingerprint(), URL_SAFE_NO_PAD.encode(bytes));
        Ok(format!("{PREFIX}{key}:{bytes}"))
    }

    /// Opens a text of this location. A text that is not sealed, from an earlier version, is
    /// returned unchanged.
    ///
    /// # Errors
    ///
    /// Fails with [`SealError::OtherKey`] or [`SealError::Damaged`].
    pub fn open(&self, place: SecretLocation<'_>, text: &str) -> Result<String, SealError> {
        let Some(rest) = text.strip_prefix(PREFIX) else { return Ok(text.to_owned()) };
        let SecretLocation { kind, of } = place;
        let damaged = || SealError::Damaged { kind, of: of.to_owned() };
        let (theirs, bytes) = rest.split_once(':').ok_or_else(damaged)?;
        let ours = self.fingerprint();
        if theirs != ours {
            let theirs = theirs.chars().take(16).collect();
            return Err(SealError::OtherKey { kind, of: of.to_owned(), theirs, ours });
        }
        let mut bytes = URL_SAFE_NO_PAD.decode(bytes).map_err(|_text| damaged())?;
        let (nonce, sealed) = bytes.split_at_mut_checked(NONCE_LEN).ok_or_else(damaged)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_length| damaged())?;
        let key = self.key(place).ok_or_else(damaged)?;
        let opened = key.open_in_place(nonce, Aad::from(of.as_bytes()), sealed);
        let opened = opened.map_err(|_unspecified| damaged())?;
        String::from_utf8(opened.to_vec()).map_err(|_bytes| damaged())
    }
}

/// True for a text with the prefix of sealed texts.
pub fn is_sealed(text: &str) -> bool {
    text.starts_with(PREFIX)
}

/// True for the address of a proxy that contains credentials and is not sealed.
pub fn has_credentials(text: &str) -> bool {
    text.contains("://")
        && Url::parse(text).is_ok_and(|url| url.password().is_some() || !url.username().is_empty())
}

/// Replaces the texts below the members of a request, settings or an echo that name proxies.
///
/// # Errors
///
/// Returns the errors of `replace`.
pub fn each_proxy<E>(
    members: &mut Value,
    replace: &mut impl FnMut(&mut String) -> Result<(), E>,
) -> Result<(), E> {
    let Some(members) = members.as_object_mut() else { return Ok(()) };
    for (_, value) in members.iter_mut().filter(|(name, _)| PROXIES.contains(&name.as_str())) {
        match value {
            Value::String(text) => replace(text)?,
            Value::Object(place) => {
                for (_, value) in place.iter_mut() {
                    if let Value::String(text) = value {
                        replace(text)?;
                    }
                }
            }
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) => (),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const PLACE: SecretLocation<'_> = SecretLocation { kind: "webhooks.signer", of: "wh_1" };

    #[test]
    fn what_was_sealed_opens_in_its_place_and_says_nothing() {
        let vault = Vault::new([7; 32]);
        for text in ["", "hunter2", "zwölf\0\u{1F3AD}", &"long".repeat(100_000)] {
            let sealed = vault.seal(PLACE, text).unwrap();
            assert!(is_sealed(&sealed) && (text.is_empty() || !sealed.contains(text)));
            assert_eq!(vault.open(PLACE, &sealed).unwrap(), text);
            assert_ne!(vault.seal(PLACE, text).unwrap(), sealed, "two of the same differ");
        }
        assert!(!format!("{vault:?}").contains('7'));
    }

    #[test]
    fn another_key_is_told_from_damage_and_the_message_names_the_file() {
        let sealed = Vault::new([7; 32]).seal(PLACE, "hunter2").unwrap();
        let refused = Vault::new([8; 32]).open(PLACE, &sealed).unwrap_err();
        assert!(matches!(refused, SealError::OtherKey { .. }), "{refused:?}");
        let message = refused.to_string();
        for part in ["webhooks.signer of wh_1", "`secret`", "data directory"] {
            assert!(message.contains(part), "{message}");
        }
        let damaged = Err(SealError::Damaged { kind: PLACE.kind, of: PLACE.of.to_owned() });
        let vault = Vault::new([7; 32]);
        let key = vault.fingerprint();
        for wrong in [
            sealed.replace(&sealed[30..34], "AAAA"),
            sealed[..sealed.len() - 4].to_owned(),
            format!("{PREFIX}{key}:"),
            format!("{PREFIX}{key}:AAAA"),
            format!("{PREFIX}{key}:not base64"),
            PREFIX.to_owned(),
        ] {
            assert_eq!(vault.open(PLACE, &wrong), damaged, "{wrong}");
        }
    }

    #[test]
    fn what_was_moved_to_another_row_or_column_does_not_open() {
        let vault = Vault::new([7; 32]);
        let sealed = vault.seal(PLACE, "hunter2").unwrap();
        for place in [
            SecretLocation { of: "wh_2", ..PLACE },
            SecretLocation { kind: "webhooks.former_signer", ..PLACE },
        ] {
            let refused = vault.open(place, &sealed).unwrap_err();
            assert!(matches!(refused, SealError::Damaged { .. }), "{refused:?}");
        }
    }

    #[test]
    fn a_text_of_before_is_read_as_it_is() {
        let vault = Vault::new([7; 32]);
        for text in ["", "hunter2", "http://ann:hunter2@proxy:1"] {
            assert_eq!(vault.open(PLACE, text).unwrap(), text);
        }
    }

    #[test]
    fn a_programs_secret_opens_nothing_of_the_server_or_of_another_program() {
        let vault = Vault::new([7; 32]);
        let sealed = vault.seal(PLACE, "hunter2").unwrap();
        let one = Vault::new(vault.secret_of_program("pbs_1"));
        assert!(one.open(PLACE, &sealed).is_err());
        assert_ne!(one, Vault::new(vault.secret_of_program("pbs_2")));
    }

    #[test]
    fn the_proxies_of_a_request_are_found_in_each_of_its_forms() {
        let mut request = json!({
            "proxy_location": { "url": "http://ann:hunter2@proxy:1" },
            "egress": { "allow": ["a.example"], "upstream": "socks5://ann@proxy:2" },
            "webhook_url": "http://ann:hunter2@hook.example",
        });
        let mut found = Vec::new();
        let mut note = |text: &mut String| {
            if has_credentials(text) {
                found.push(std::mem::take(text));
            }
            Ok::<_, SealError>(())
        };
        each_proxy(&mut request, &mut note).unwrap();
        each_proxy(&mut json!({ "proxy_location": "RESIDENTIAL", "egress": null }), &mut note)
            .unwrap();
        each_proxy(&mut json!([1]), &mut note).unwrap();
        assert_eq!(found, ["http://ann:hunter2@proxy:1", "socks5://ann@proxy:2"]);
        assert_eq!(request["webhook_url"], "http://ann:hunter2@hook.example");
    }
}
