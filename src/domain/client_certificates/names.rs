//! The names in a certificate by which Chromium chooses it for a site.

use serde_json::{Map, Value, json};
use x509_cert::Certificate;
use x509_cert::der::asn1::{Any, ObjectIdentifier};
use x509_cert::der::{Decode as _, Tag, Tagged as _};
use x509_cert::name::Name;

/// The attributes that Chromium compares: the name in its filters, the id, and whether it compares
/// one value of a certificate or any of several.
const ATTRIBUTES: [(&str, ObjectIdentifier, bool); 4] = [
    ("CN", ObjectIdentifier::new_unwrap("2.5.4.3"), false),
    ("L", ObjectIdentifier::new_unwrap("2.5.4.7"), false),
    ("O", ObjectIdentifier::new_unwrap("2.5.4.10"), true),
    ("OU", ObjectIdentifier::new_unwrap("2.5.4.11"), true),
];

/// The values of each attribute, in the order of [`ATTRIBUTES`].
type Principal = [Vec<String>; ATTRIBUTES.len()];

/// The issuer and the subject of a certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Names {
    issuer: Principal,
    subject: Principal,
}

impl Names {
    /// Reads the names of a certificate from its encoding; none if it is none.
    pub(super) fn of(der: &[u8]) -> Option<Self> {
        let tbs = Certificate::from_der(der).ok()?.tbs_certificate;
        Some(Self { issuer: principal(&tbs.issuer), subject: principal(&tbs.subject) })
    }

    /// Returns the filter that this certificate matches, as Chromium's policy has it.
    pub(super) fn filter(&self) -> Value {
        let side = |principal: &Principal| {
            let compared = ATTRIBUTES.iter().zip(principal).filter_map(|(attribute, values)| {
                let (name, _, any) = attribute;
                let value = values.first().filter(|_| *any || values.len() == 1)?;
                Some(((*name).to_owned(), json!(value)))
            });
            compared.collect::<Map<_, _>>()
        };
        json!({ "ISSUER": side(&self.issuer), "SUBJECT": side(&self.subject) })
    }

    /// True if the filter of this certificate matches the other one as well.
    pub(super) fn chooses(&self, other: &Self) -> bool {
        let filter = self.filter();
        [("ISSUER", &other.issuer), ("SUBJECT", &other.subject)].iter().all(|(side, principal)| {
            ATTRIBUTES.iter().zip(principal.iter()).all(|((name, ..), values)| {
                let wanted = filter.get(side).and_then(|side| side.get(name));
                wanted.is_none_or(|wanted| values.iter().any(|value| wanted == value))
            })
        })
    }
}

fn principal(name: &Name) -> Principal {
    ATTRIBUTES.map(|(_, oid, _)| {
        let attributes = name.0.iter().flat_map(|part| part.0.iter());
        attributes.filter(|it| it.oid == oid).filter_map(|it| text(&it.value)).collect()
    })
}

/// The text of a value; none in an encoding that is read differently by different programs.
fn text(value: &Any) -> Option<String> {
    let (tag, bytes) = (value.tag(), value.value());
    if tag == Tag::BmpString {
        let units = bytes.chunks_exact(2).map(|pair| pair.try_into().map(u16::from_be_bytes));
        return String::from_utf16(&units.collect::<Result<Vec<_>, _>>().ok()?).ok();
    }
    let is_text = [Tag::Utf8String, Tag::PrintableString, Tag::Ia5String].contains(&tag);
    is_text.then(|| String::from_utf8(bytes.to_vec()).ok()).flatten()
}
