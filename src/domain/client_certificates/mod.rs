//! Certificates with which a session's browser authenticates itself to sites (mutual TLS).
//!
//! A client gives a key with its certificate as PKCS#12 or in PEM. [`open`] reads and checks it
//! before anything starts; from then on there is one form, a chain and a key in PEM.

mod names;
mod reading;

use std::collections::BTreeSet;

use chrono::{DateTime, Utc};
use p12_keystore::{Certificate, KeyStore, KeyStoreEntry, PrivateKey, PrivateKeyChain};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use url::Url;

use super::http_credentials::canonical_origin;
use super::sealing::is_sealed;
use super::secret::Secret;
use names::Names;
use reading::{Opened, decoded, read};

/// The most client certificates of a session.
const MOST: usize = 20;

/// The name of Chromium's policy that chooses a certificate by the origin.
pub const POLICY: &str = "AutoSelectCertificateForUrls";

/// A certificate and its key for one origin, as a client gives them.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GivenCertificate {
    /// The scheme, host and port of the site, such as `https://intra.example:8443`.
    origin: String,
    /// A PKCS#12 file in base64, with one key.
    #[serde(default)]
    pfx_base64: Option<Secret>,
    /// The passphrase of the PKCS#12 file.
    #[serde(default)]
    passphrase: Option<Secret>,
    /// The certificate in PEM, with those of its issuers after it.
    #[serde(default)]
    cert_pem: Option<String>,
    /// The key in PEM, without a passphrase.
    #[serde(default)]
    key_pem: Option<Secret>,
}

/// A certificate and its key for one origin. The key is neither printed nor serialized.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClientCertificate {
    /// The scheme, host and port of the site.
    pub origin: String,
    /// The certificate in PEM, with those of its issuers after it.
    pub cert_pem: String,
    /// The key in PEM, as PKCS#8.
    #[serde(skip_serializing)]
    pub key_pem: Secret,
}

impl PartialEq for ClientCertificate {
    fn eq(&self, other: &Self) -> bool {
        let Self { origin, cert_pem, key_pem } = self;
        *origin == other.origin
            && *cert_pem == other.cert_pem
            && key_pem.expose() == other.key_pem.expose()
    }
}

impl Eq for ClientCertificate {}

impl ClientCertificate {
    /// True if the key was sealed with the secret of another server, and so is not known.
    pub fn is_lost(&self) -> bool {
        is_sealed(self.key_pem.expose())
    }

    /// Returns the rule of [`POLICY`] by which Chromium sends this certificate to its origin.
    pub fn rule(&self) -> Option<String> {
        let url = Url::parse(&self.origin).ok()?;
        let pattern = format!("https://{}:{}", url.host_str()?, url.port_or_known_default()?);
        let leaf = decoded(&self.cert_pem).into_iter().next()?;
        let filter = Names::of(&leaf)?.filter();
        Some(json!({ "pattern": pattern, "filter": filter }).to_string())
    }
}

/// The wrong fields of a list: the path of each below the list, and the reason.
pub type Problems = Vec<(String, String)>;

/// Reads the certificates that a client gives.
///
/// # Errors
///
/// Returns the wrong fields. No reason has a part of a key or a passphrase.
pub fn open(
    given: &[GivenCertificate],
    now: DateTime<Utc>,
) -> Result<Vec<ClientCertificate>, Problems> {
    let mut found = Problems::new();
    if given.len() > MOST {
        found.push((String::new(), format!("expected at most {MOST} certificates")));
        return Err(found);
    }
    let mut read_ones: Vec<(usize, Opened)> = Vec::new();
    let mut certificates: Vec<ClientCertificate> = Vec::new();
    let mut origins = BTreeSet::new();
    for (index, one) in given.iter().enumerate() {
        let mut refuse = |field: &str, reason: &str| {
            found.push((format!("[{index}]{field}"), reason.to_owned()));
        };
        let origin = canonical_origin(&one.origin).filter(|it| it.starts_with("https://"));
        match &origin {
            None => refuse(".origin", "expected an origin such as `https://intra.example:8443`"),
            Some(origin) if !origins.insert(origin.clone()) => {
                refuse(".origin", "another certificate has this origin");
            }
            Some(_) => {}
        }
        match (read(one, now), origin) {
            (Err((field, reason)), _) => refuse(field, &reason),
            (Ok(opened), Some(origin)) => {
                // Chromium chooses by names alone.
                let other = read_ones.iter().find(|(_, other)| opened.is_like(other));
                if let Some((other, _)) = other {
                    refuse(
                        "",
                        &format!(
                            "the browser cannot distinguish it from another one, [{other}], of \
                                  the same issuer: give both another subject"
                        ),
                    );
                }
                let (cert_pem, key_pem) = (opened.cert_pem.clone(), opened.key_pem.clone());
                certificates.push(ClientCertificate { origin, cert_pem, key_pem });
                read_ones.push((index, opened));
            }
            (Ok(_), None) => {}
        }
    }
    if found.is_empty() { Ok(certificates) } else { Err(found) }
}

/// Returns the rules for all of these certificates, as the value of [`POLICY`].
pub fn rules(certificates: &[ClientCertificate]) -> Value {
    certificates.iter().filter_map(ClientCertificate::rule).collect()
}

/// Returns a PKCS#12 file with all of these certificates, encrypted with `password`.
///
/// # Errors
///
/// Returns the reason, as a lower-case phrase.
pub fn pkcs12(certificates: &[ClientCertificate], password: &Secret) -> Result<Vec<u8>, String> {
    let text = |cause: p12_keystore::error::Error| cause.to_string();
    let mut store = KeyStore::new();
    let mut known = BTreeSet::new();
    for (index, one) in certificates.iter().enumerate() {
        let chain = decoded(&one.cert_pem);
        // The same certificate may be for several origins.
        if !chain.first().is_some_and(|leaf| known.insert(leaf.clone())) {
            continue;
        }
        let key = decoded(one.key_pem.expose()).into_iter().next().unwrap_or_default();
        let key = PrivateKey::from_der(&key).map_err(text)?;
        let chain = chain.iter().map(|der| Certificate::from_der(der));
        let chain = chain.collect::<Result<Vec<_>, _>>().map_err(text)?;
        let id = index.to_be_bytes().as_slice().to_owned();
        let entry = KeyStoreEntry::PrivateKeyChain(PrivateKeyChain::new(id, key, chain));
        store.add_entry(&format!("client {index}"), entry);
    }
    // The password is random, so that more iterations add nothing.
    let writer = store.writer(password.expose()).encryption_iterations(1).mac_iterations(1);
    writer.write().map_err(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ANN: &str = include_str!("../../../tests/tls/ann.pem");
    const ANN_KEY: &str = include_str!("../../../tests/tls/ann.key");
    const BOB: &str = include_str!("../../../tests/tls/bob.pem");
    const BOB_KEY: &str = include_str!("../../../tests/tls/bob.key");
    const ANN_P12: &[u8] = include_bytes!("../../../tests/tls/ann.p12");
    const BOB_P12: &[u8] = include_bytes!("../../../tests/tls/bob-legacy.p12");
    const SERVER: &str = include_str!("../../../tests/tls/server-only.pem");
    const AUTHORITY: &str = include_str!("../../../tests/tls/client-authority.pem");

    fn at(text: &str) -> DateTime<Utc> {
        text.parse().unwrap()
    }

    fn given(value: Value) -> Vec<GivenCertificate> {
        serde_json::from_value(value).unwrap()
    }

    fn base64(bytes: &[u8]) -> String {
        use base64::Engine as _;
        base64::engine::general_purpose::STANDARD.encode(bytes)
    }

    fn refused(value: Value) -> Problems {
        open(&given(value), at("2030-01-01T00:00:00Z")).unwrap_err()
    }

    fn opened(value: Value) -> Vec<ClientCertificate> {
        open(&given(value), at("2030-01-01T00:00:00Z")).unwrap()
    }

    #[test]
    fn both_forms_of_a_certificate_become_the_same_one_and_the_key_is_not_shown() {
        let pfx = json!([{ "origin": "HTTPS://Intra.Example:443/", "pfx_base64": base64(ANN_P12),
            "passphrase": "pass" }]);
        let pem = json!([{ "origin": "https://intra.example", "cert_pem": format!("{ANN}{AUTHORITY}"),
            "key_pem": ANN_KEY }]);
        let (pfx, pem) = (opened(pfx), opened(pem));
        assert_eq!(pfx, pem);
        let shown = serde_json::to_value(&pfx).unwrap();
        let one = &pfx[0];
        assert_eq!(shown, json!([{ "origin": "https://intra.example", "cert_pem": one.cert_pem }]));
        assert_eq!(one.cert_pem.matches("BEGIN CERTIFICATE").count(), 2);
        assert!(one.key_pem.expose().starts_with("-----BEGIN PRIVATE KEY-----\n"));
        let body = one.key_pem.expose().lines().nth(1).unwrap();
        assert!(!format!("{one:?} {shown}").contains(body));
        assert!(!one.is_lost());
    }

    #[test]
    fn keys_in_older_forms_and_files_in_older_encryption_are_read() {
        let legacy = json!([{ "origin": "https://a.example", "pfx_base64": base64(BOB_P12),
            "passphrase": "pass" }]);
        for (name, key) in
            [("sec1", include_str!("../../../tests/tls/bob-sec1.key")), ("pkcs8", BOB_KEY)]
        {
            let pem = json!([{ "origin": "https://a.example", "cert_pem": BOB, "key_pem": key }]);
            assert_eq!(
                opened(pem)[0].key_pem.expose(),
                opened(legacy.clone())[0].key_pem.expose(),
                "{name}"
            );
        }
    }

    #[test]
    fn the_rule_names_the_origin_with_its_port_and_the_names_of_the_certificate() {
        let pem = json!([
            { "origin": "https://a.example", "cert_pem": ANN, "key_pem": ANN_KEY },
            { "origin": "https://[::1]:8443", "cert_pem": BOB, "key_pem": BOB_KEY },
        ]);
        let rules = rules(&opened(pem));
        let rule = |at: usize| serde_json::from_str::<Value>(rules[at].as_str().unwrap()).unwrap();
        let issuer = json!({ "CN": "Client CA" });
        let expected = json!({ "pattern": "https://a.example:443", "filter": {
            "ISSUER": issuer, "SUBJECT": { "CN": "Ann", "O": "Müller & Co" } } });
        assert_eq!(rule(0), expected);
        assert_eq!(rule(1)["pattern"], "https://[::1]:8443");
        assert_eq!(rule(1)["filter"]["SUBJECT"], json!({ "CN": "Bob" }));
    }

    #[test]
    fn each_wrong_field_is_named_and_no_reason_has_a_secret() {
        let origin = "https://a.example";
        let pem =
            |cert: &str, key: &str| json!({ "origin": origin, "cert_pem": cert, "key_pem": key });
        let pfx = |file: &str, pass: &str| json!({ "origin": origin, "pfx_base64": file, "passphrase": pass });
        let encrypted =
            "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----";
        for (one, field, reason) in [
            (pfx("*", "pass"), ".pfx_base64", "expected base64"),
            (pfx(&base64(b"junk"), "pass"), ".pfx_base64", "is no PKCS#12 file"),
            (pfx(&base64(ANN_P12), "hunter2"), ".passphrase", "does not open the file"),
            (pfx(&base64(&[0; 70_000]), "pass"), ".pfx_base64", "at most 65536 bytes"),
            (
                json!({ "origin": origin, "pfx_base64": base64(ANN_P12) }),
                ".passphrase",
                "does not open",
            ),
            (
                pfx(&base64(include_bytes!("../../../tests/tls/no-key.p12")), "pass"),
                ".pfx_base64",
                "has no key",
            ),
            (pem(ANN, BOB_KEY), ".key_pem", "does not belong to the first certificate"),
            (pem(ANN, "hunter2"), ".key_pem", "expected one key in PEM"),
            (pem(ANN, encrypted), ".key_pem", "give PKCS#12 instead"),
            (pem("x", ANN_KEY), ".cert_pem", "expected a certificate in PEM"),
            (pem(SERVER, ANN_KEY), ".cert_pem", "CN=Server is not for clients"),
            (json!({ "origin": origin }), ".pfx_base64", "expected `pfx_base64`, or `cert_pem`"),
            (json!({ "origin": origin, "cert_pem": ANN }), ".key_pem", "expected the key"),
            (
                json!({ "origin": origin, "key_pem": ANN_KEY }),
                ".cert_pem",
                "expected the certificate",
            ),
            (
                json!({ "origin": origin, "cert_pem": ANN, "key_pem": ANN_KEY, "passphrase": "p" }),
                ".passphrase",
                "belongs to `pfx_base64`",
            ),
            (
                json!({ "origin": origin, "pfx_base64": base64(ANN_P12), "passphrase": "pass",
                    "cert_pem": ANN }),
                ".cert_pem",
                "either",
            ),
        ] {
            let found = refused(json!([one]));
            assert_eq!(found.len(), 1, "{found:?}");
            assert_eq!(found[0].0, format!("[0]{field}"), "{found:?}");
            assert!(found[0].1.contains(reason), "{found:?} has no {reason:?}");
            assert!(!format!("{found:?}").contains("hunter2"));
        }
        let many: Vec<Value> = (0..21).map(|_| pem(ANN, ANN_KEY)).collect();
        assert_eq!(refused(many.into())[0].0, "");
    }

    #[test]
    fn an_origin_is_one_of_https_and_has_one_certificate() {
        let one = |origin: &str| json!({ "origin": origin, "cert_pem": ANN, "key_pem": ANN_KEY });
        let list = json!([
            one("https://a.example"),
            one("http://a.example"),
            one("https://A.example:443"),
            one("https://*.example"),
            one("https://b.example:8443")
        ]);
        let fields: Vec<String> = refused(list).into_iter().map(|(field, _)| field).collect();
        assert_eq!(fields, ["[1].origin", "[2].origin", "[3].origin"]);
    }

    #[test]
    fn two_certificates_that_chromium_would_confuse_are_refused() {
        let twin = include_str!("../../../tests/tls/ann-twin.pem");
        let list = json!([
            { "origin": "https://a.example", "cert_pem": ANN, "key_pem": ANN_KEY },
            { "origin": "https://b.example", "cert_pem": twin, "key_pem": BOB_KEY },
            { "origin": "https://c.example", "cert_pem": ANN, "key_pem": ANN_KEY },
        ]);
        let found = refused(list);
        let fields: Vec<&str> = found.iter().map(|(field, _)| field.as_str()).collect();
        assert_eq!(fields, ["[1]", "[2]"]);
        assert!(found[0].1.contains("distinguish"), "{found:?}");
    }

    #[test]
    fn an_expired_certificate_is_refused_with_its_name() {
        let one =
            given(json!([{ "origin": "https://a.example", "cert_pem": ANN, "key_pem": ANN_KEY }]));
        let late = open(&one, at("2200-01-01T00:00:00Z")).unwrap_err();
        assert_eq!(late[0].0, "[0].cert_pem");
        assert!(late[0].1.contains("expired at 21"), "{late:?}");
        let early = open(&one, at("2000-01-01T00:00:00Z")).unwrap_err();
        assert!(early[0].1.contains("is valid from 20"), "{early:?}");
    }

    #[test]
    fn the_file_for_the_database_has_each_key_once() {
        let certificates = opened(json!([
            { "origin": "https://a.example", "cert_pem": ANN, "key_pem": ANN_KEY },
            { "origin": "https://b.example", "cert_pem": ANN, "key_pem": ANN_KEY },
            { "origin": "https://c.example", "cert_pem": BOB, "key_pem": BOB_KEY },
        ]));
        let file = pkcs12(&certificates, &"secret".into()).unwrap();
        let archive = p12_keystore::Pkcs12Archive::from_pkcs12(&file, "secret").unwrap();
        assert_eq!((archive.keys.len(), archive.certs.len()), (2, 2));
        assert!(p12_keystore::Pkcs12Archive::from_pkcs12(&file, "other").is_err());
    }
}
