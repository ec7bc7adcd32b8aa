//! Reading of a key and its certificate, from PKCS#12 or PEM.

use aws_lc_rs::encoding::AsDer as _;
use aws_lc_rs::rsa;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1_SIGNING, ECDSA_P384_SHA384_ASN1_SIGNING, ECDSA_P521_SHA512_ASN1_SIGNING,
    EcdsaKeyPair, KeyPair as _,
};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use chrono::{DateTime, Utc};
use p12_keystore::Pkcs12Archive;
use p12_keystore::error::Error as FileError;
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::{PemObject as _, SectionKind};
use x509_cert::Certificate;
use x509_cert::der::Decode as _;
use x509_cert::der::asn1::ObjectIdentifier;
use x509_cert::ext::pkix::{ExtendedKeyUsage, KeyUsage};

use super::GivenCertificate;
use super::names::Names;
use crate::domain::certificates::check_validity;
use crate::domain::secret::Secret;

/// The longest file or text, in bytes.
const LONGEST: usize = 64 * 1024;

/// The longest passphrase, in bytes.
const LONGEST_PASSPHRASE: usize = 1024;

/// The longest chain, with the certificate of the client.
const LONGEST_CHAIN: usize = 10;

/// Purposes of a key: clients of TLS, and any.
const FOR_CLIENTS: [ObjectIdentifier; 2] = [
    ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.3.2"),
    ObjectIdentifier::new_unwrap("2.5.29.37.0"),
];

/// A wrong field, and the reason.
type Wrong = (&'static str, String);

/// A certificate and its key that belong together.
#[derive(Debug)]
pub(super) struct Opened {
    pub(super) cert_pem: String,
    pub(super) key_pem: Secret,
    leaf: Vec<u8>,
    names: Names,
}

impl Opened {
    /// True if this is another certificate than `other`, and Chromium may take one for the other.
    pub(super) fn is_like(&self, other: &Self) -> bool {
        self.leaf != other.leaf
            && (self.names.chooses(&other.names) || other.names.chooses(&self.names))
    }
}

/// Reads one certificate with its key.
pub(super) fn read(given: &GivenCertificate, now: DateTime<Utc>) -> Result<Opened, Wrong> {
    let GivenCertificate { origin: _, pfx_base64, passphrase, cert_pem, key_pem } = given;
    let wrong = |field, reason: &str| (field, reason.to_owned());
    match (pfx_base64, cert_pem, key_pem) {
        (Some(file), None, None) => from_file(file, passphrase.as_ref(), now),
        (Some(_), Some(_), _) => Err(wrong(".cert_pem", "expected either this or `pfx_base64`")),
        (Some(_), None, Some(_)) => Err(wrong(".key_pem", "expected either this or `pfx_base64`")),
        (None, Some(_), Some(_)) if passphrase.is_some() => {
            Err(wrong(".passphrase", "it belongs to `pfx_base64`; a key in PEM has none"))
        }
        (None, Some(certificate), Some(key)) => from_pem(certificate, key, now),
        (None, Some(_), None) => Err(wrong(".key_pem", "expected the key of `cert_pem`")),
        (None, None, Some(_)) => Err(wrong(".cert_pem", "expected the certificate of `key_pem`")),
        (None, None, None) => {
            Err(wrong(".pfx_base64", "expected `pfx_base64`, or `cert_pem` and `key_pem`"))
        }
    }
}

fn from_file(
    file: &Secret,
    passphrase: Option<&Secret>,
    now: DateTime<Utc>,
) -> Result<Opened, Wrong> {
    const FIELD: &str = ".pfx_base64";
    let wrong = |reason: &str| (FIELD, reason.to_owned());
    let digits: String = file.expose().chars().filter(|it| !it.is_ascii_whitespace()).collect();
    if digits.len() > LONGEST / 3 * 4 + 4 {
        return Err((FIELD, format!("expected at most {LONGEST} bytes")));
    }
    let bytes = STANDARD.decode(digits);
    let bytes = bytes.map_err(|_text| wrong("expected base64 of a PKCS#12 file"))?;
    let passphrase = passphrase.map_or("", Secret::expose);
    if passphrase.len() > LONGEST_PASSPHRASE {
        return Err((".passphrase", format!("expected at most {LONGEST_PASSPHRASE} bytes")));
    }
    let archive = Pkcs12Archive::from_pkcs12(&bytes, passphrase).map_err(|cause| match cause {
        FileError::MacError(_) | FileError::Pkcs5Error(_) | FileError::UnpadError => {
            (".passphrase", "it does not open the file".to_owned())
        }
        FileError::InvalidParameters => {
            wrong("its encryption takes too long to open: export it with fewer iterations")
        }
        FileError::UnsupportedEncryptionScheme | FileError::UnsupportedMacAlgorithm => {
            wrong("its encryption is not known: export it with AES-256")
        }
        FileError::IoError(_)
        | FileError::DerError(_)
        | FileError::InvalidVersion
        | FileError::UnsupportedContentType
        | FileError::UnsupportedCertificateType
        | FileError::X509Error(_)
        | FileError::InvalidLength
        | FileError::InvalidData
        | FileError::InvalidPrivateKey => {
            wrong("it is no PKCS#12 file with a certificate and its key")
        }
    })?;
    let mut keys: Vec<&[u8]> = archive.keys.iter().map(|it| it.key.as_der()).collect();
    keys.dedup();
    let key = match keys.as_slice() {
        [] => return Err(wrong("the file has no key")),
        [key] => Key::read(key).ok_or_else(|| wrong(UNKNOWN_KEY))?,
        _ => return Err(wrong("the file has several keys: export the one for this origin")),
    };
    let mut others: Vec<Vec<u8>> =
        archive.certs.iter().map(|it| it.cert.as_der().to_vec()).collect();
    let own = others.iter().position(|der| key.belongs_to(der));
    let own = own.ok_or_else(|| wrong("no certificate in the file belongs to its key"))?;
    let leaf = others.remove(own);
    opened(leaf, others, &key, now).map_err(|reason| (FIELD, reason))
}

fn from_pem(certificate: &str, key: &Secret, now: DateTime<Utc>) -> Result<Opened, Wrong> {
    const FIELD: &str = ".cert_pem";
    let too_long = || format!("expected at most {LONGEST} bytes");
    if certificate.len() > LONGEST {
        return Err((FIELD, too_long()));
    }
    if key.expose().len() > LONGEST {
        return Err((".key_pem", too_long()));
    }
    let mut others = decoded(certificate);
    others.retain(|der| Certificate::from_der(der).is_ok());
    if others.is_empty() {
        return Err((FIELD, "expected a certificate in PEM".to_owned()));
    }
    let leaf = others.remove(0);
    let wrong = |reason: &str| (".key_pem", reason.to_owned());
    if key.expose().contains("ENCRYPTED") {
        return Err(wrong("the key has a passphrase: give PKCS#12 instead, or a key without one"));
    }
    let read = PrivateKeyDer::from_pem_slice(key.expose().as_bytes());
    let read =
        read.map_err(|_cause| wrong("expected one key in PEM: `-----BEGIN PRIVATE KEY-----` …"))?;
    let key = Key::read(read.secret_der()).ok_or_else(|| wrong(UNKNOWN_KEY))?;
    if !key.belongs_to(&leaf) {
        return Err(wrong("it does not belong to the first certificate of `cert_pem`"));
    }
    opened(leaf, others, &key, now).map_err(|reason| (FIELD, reason))
}

const UNKNOWN_KEY: &str =
    "browsers sign with keys of RSA (2048 to 8192 bits) and ECDSA (P-256, P-384 or P-521) only";

/// A private key in PKCS#8, and its public key as a certificate has it.
struct Key {
    der: Vec<u8>,
    public: Vec<u8>,
}

impl Key {
    /// Reads a key from PKCS#8, PKCS#1 or SEC 1.
    fn read(der: &[u8]) -> Option<Self> {
        let rsa = rsa::KeyPair::from_pkcs8(der).or_else(|_other| rsa::KeyPair::from_der(der));
        if let Ok(pair) = rsa {
            let public = pair.public_key().as_ref().to_vec();
            let der: aws_lc_rs::encoding::Pkcs8V1Der<'_> = pair.as_der().ok()?;
            return Some(Self { der: der.as_ref().to_vec(), public });
        }
        let curves = [
            &ECDSA_P256_SHA256_ASN1_SIGNING,
            &ECDSA_P384_SHA384_ASN1_SIGNING,
            &ECDSA_P521_SHA512_ASN1_SIGNING,
        ];
        let pair =
            curves.into_iter().find_map(|it| EcdsaKeyPair::from_private_key_der(it, der).ok())?;
        let public = pair.public_key().as_ref().to_vec();
        Some(Self { der: pair.to_pkcs8v1().ok()?.as_ref().to_vec(), public })
    }

    fn belongs_to(&self, certificate: &[u8]) -> bool {
        Certificate::from_der(certificate).is_ok_and(|certificate| {
            let key = certificate.tbs_certificate.subject_public_key_info.subject_public_key;
            key.raw_bytes() == self.public
        })
    }
}

/// Puts a certificate together with those of its issuers, if a browser may use it now.
fn opened(
    leaf: Vec<u8>,
    mut others: Vec<Vec<u8>>,
    key: &Key,
    now: DateTime<Utc>,
) -> Result<Opened, String> {
    let odd = || "the certificate cannot be read".to_owned();
    let certificate = Certificate::from_der(&leaf).map_err(|_shape| odd())?;
    let names = Names::of(&leaf).ok_or_else(odd)?;
    let tbs = &certificate.tbs_certificate;
    check_validity(tbs, now)?;
    let purposes = tbs.get::<ExtendedKeyUsage>().ok().flatten();
    let is_for_clients =
        |usage: &ExtendedKeyUsage| usage.0.iter().any(|it| FOR_CLIENTS.contains(it));
    if purposes.is_some_and(|(_, usage)| !is_for_clients(&usage)) {
        return Err(format!("{} is not for clients (extended key usage)", tbs.subject));
    }
    let usage = tbs.get::<KeyUsage>().ok().flatten();
    if usage.is_some_and(|(_, usage)| !usage.digital_signature()) {
        return Err(format!("{} may not sign (key usage)", tbs.subject));
    }
    let mut issuer = tbs.issuer.clone();
    let mut chain = vec![leaf.clone()];
    while chain.len() < LONGEST_CHAIN {
        let subject = |der: &Vec<u8>| Certificate::from_der(der).ok().map(|it| it.tbs_certificate);
        let next =
            others.iter().position(|der| subject(der).is_some_and(|it| it.subject == issuer));
        let Some(der) = next.map(|next| others.remove(next)) else { break };
        issuer = subject(&der).map(|it| it.issuer).unwrap_or_default();
        chain.push(der);
    }
    let cert_pem = chain.iter().map(|der| pem("CERTIFICATE", der)).collect();
    let key_pem = pem("PRIVATE KEY", &key.der).into();
    Ok(Opened { cert_pem, key_pem, leaf, names })
}

/// The contents of all sections of a text in PEM.
pub(super) fn decoded(pem: &str) -> Vec<Vec<u8>> {
    let sections = <(SectionKind, Vec<u8>)>::pem_slice_iter(pem.as_bytes());
    sections.filter_map(|section| Some(section.ok()?.1)).collect()
}

fn pem(label: &str, der: &[u8]) -> String {
    let digits = STANDARD.encode(der);
    let mut text = format!("-----BEGIN {label}-----\n");
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && at.is_multiple_of(64) {
            text.push('\n');
        }
        text.push(digit);
    }
    text + &format!("\n-----END {label}-----\n")
}
