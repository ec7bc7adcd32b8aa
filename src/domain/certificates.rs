//! Certificates that a client gives to the browser of its session.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use chrono::{DateTime, Utc};
use x509_cert::der::Decode as _;
use x509_cert::ext::pkix::{BasicConstraints, KeyUsage};
use x509_cert::{Certificate, TbsCertificate};

/// The most certificates of a session.
const MOST: usize = 20;

/// The longest certificate, in bytes of PEM.
const LONGEST: usize = 16 * 1024;

const BEGIN: &str = "-----BEGIN CERTIFICATE-----";
const END: &str = "-----END CERTIFICATE-----";

/// Returns the encoding (DER) of the one certificate in a PEM text.
///
/// # Errors
///
/// Returns the reason, as a lower-case phrase.
pub fn der(pem: &str) -> Result<Vec<u8>, &'static str> {
    const EXPECTED: &str = "expected one certificate in PEM: `-----BEGIN CERTIFICATE-----` …";
    // Lines of text before the certificate are allowed, as `openssl x509 -text` writes them.
    let (_before, rest) = pem.split_once(BEGIN).ok_or(EXPECTED)?;
    let (body, after) = rest.split_once(END).ok_or(EXPECTED)?;
    if after.contains(BEGIN) {
        return Err("expected one certificate: give each of a chain as an entry of its own");
    }
    let digits: String = body.chars().filter(|char| !char.is_ascii_whitespace()).collect();
    STANDARD.decode(digits).map_err(|_text| EXPECTED)
}

/// Returns the wrong ones among the certificates of authorities: the path below the list, and the
/// reason.
pub fn problems(authorities: &[String], now: DateTime<Utc>) -> Vec<(String, String)> {
    let mut found = Vec::new();
    if authorities.len() > MOST {
        found.push((String::new(), format!("expected at most {MOST} certificates")));
    }
    for (index, pem) in authorities.iter().enumerate().take(MOST) {
        if let Err(reason) = check(pem, now) {
            found.push((format!("[{index}]"), reason));
        }
    }
    found
}

fn check(pem: &str, now: DateTime<Utc>) -> Result<(), String> {
    if pem.len() > LONGEST {
        return Err(format!("expected at most {LONGEST} bytes"));
    }
    let certificate = Certificate::from_der(&der(pem)?)
        .map_err(|_shape| "the text between BEGIN and END is no X.509 certificate".to_owned())?;
    let tbs = &certificate.tbs_certificate;
    let constraints = tbs.get::<BasicConstraints>().ok().flatten();
    if !constraints.is_some_and(|(_, constraints)| constraints.ca) {
        let subject = &tbs.subject;
        return Err(format!(
            "{subject} is not the certificate of an authority (basic constraints CA:TRUE): give that of \
             its issuer"
        ));
    }
    let signs = |usage: KeyUsage| usage.key_cert_sign();
    if tbs.get::<KeyUsage>().ok().flatten().is_some_and(|(_, usage)| !signs(usage)) {
        return Err(format!("{} may not sign certificates (key usage)", tbs.subject));
    }
    check_validity(tbs, now)
}

/// Checks that a certificate is valid at this time.
///
/// # Errors
///
/// Returns the reason, as a lower-case phrase.
pub fn check_validity(tbs: &TbsCertificate, now: DateTime<Utc>) -> Result<(), String> {
    let seconds = |time: x509_cert::time::Time| {
        i64::try_from(time.to_unix_duration().as_secs()).unwrap_or(i64::MAX)
    };
    let shown = |at: i64| DateTime::from_timestamp(at, 0).unwrap_or_default().to_rfc3339();
    let (from, until) = (seconds(tbs.validity.not_before), seconds(tbs.validity.not_after));
    if until < now.timestamp() {
        return Err(format!("{} expired at {}", tbs.subject, shown(until)));
    }
    if from > now.timestamp() {
        return Err(format!("{} is valid from {} on", tbs.subject, shown(from)));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const AUTHORITY: &str = include_str!("../../tests/tls/authority.pem");
    const SITE: &str = include_str!("../../tests/tls/site.pem");

    fn at(text: &str) -> DateTime<Utc> {
        text.parse().unwrap()
    }

    #[test]
    fn a_valid_authority_is_taken_and_has_its_encoding() {
        let now = at("2030-01-01T00:00:00Z");
        let commented = format!("subject=CN = Private CA\n{AUTHORITY}\n");
        assert_eq!(problems(&[AUTHORITY.to_owned(), commented.clone()], now), []);
        assert_eq!(der(&commented), der(AUTHORITY));
        assert_eq!(der(AUTHORITY).unwrap()[0], 0x30);
    }

    #[test]
    fn each_wrong_certificate_is_named_with_the_reason() {
        let now = at("2030-01-01T00:00:00Z");
        let reason = |pem: &str, now| {
            let found = problems(&[pem.to_owned()], now);
            assert_eq!(found.len(), 1, "{pem}");
            assert_eq!(found[0].0, "[0]");
            found[0].1.clone()
        };
        for (pem, expected) in [
            (SITE, "CN=127.0.0.1 is not the certificate of an authority"),
            ("", "expected one certificate in PEM"),
            ("-----BEGIN CERTIFICATE-----\nAAAA", "expected one certificate in PEM"),
            ("-----BEGIN CERTIFICATE-----\n*\n-----END CERTIFICATE-----", "expected one"),
            (
                "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----",
                "no X.509 certificate",
            ),
            (&format!("{AUTHORITY}\n{SITE}"), "entry of its own"),
            (&" ".repeat(16 * 1024 + 1), "at most 16384 bytes"),
        ] {
            let found = reason(pem, now);
            assert!(found.contains(expected), "{found}");
        }
        let late = reason(AUTHORITY, at("2200-01-01T00:00:00Z"));
        assert!(late.starts_with("CN=Private CA expired at 21"), "{late}");
        let early = reason(AUTHORITY, at("2000-01-01T00:00:00Z"));
        assert!(early.starts_with("CN=Private CA is valid from 20"), "{early}");
        assert_eq!(problems(&vec![AUTHORITY.to_owned(); 21], now)[0].0, "");
    }
}
