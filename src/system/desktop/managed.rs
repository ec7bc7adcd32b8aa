//! The policies and the certificates of authorities that a session's browser starts with.

use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::directory::{Directory, replace};
use crate::domain::browser_policies::Policies;
use crate::domain::browser_settings::BrowserSettings;
use crate::domain::certificates;
use crate::domain::client_certificates;
use crate::domain::session::Failure;
use crate::system::confine::spec;
use crate::system::failure::{directory as directory_failed, failure};

/// Writes the policies of a session's browser for its next start; none if it has none.
///
/// # Errors
///
/// `policies_unavailable` if the browser has no mount namespace of its own, or the machine no
/// folder for its policies.
pub(super) fn managed(
    directory: &Directory,
    settings: &BrowserSettings,
    browser: &Path,
    has_namespace: bool,
) -> Result<Option<spec::Policies>, Failure> {
    let Some(policies) = document(settings) else { return Ok(None) };
    if !has_namespace {
        let message = "`policies`, `ca_certificates` and `client_certificates` need a mount namespace, \
                       which this session's browser does not have";
        let hint = "set `isolation.network` to `namespace` and see `greenroom doctor`, or create the \
                    session without them";
        return Err(unavailable(message).hint(hint));
    }
    let folder = folder_of(browser);
    if !folder.is_dir() {
        let folder = folder.display();
        let message =
            format!("the browser reads its policies below {folder}, which does not exist");
        return Err(unavailable(&message).hint(format!("`mkdir -p {folder}` as root")));
    }
    let file = directory.path().join("policies.json");
    replace(&file, policies.to_string().as_bytes())
        .map_err(|cause| directory_failed(&file, &cause))?;
    Ok(Some(spec::Policies { folder, file }))
}

fn unavailable(message: &str) -> Failure {
    failure("chromium", "policies_unavailable", message.to_owned())
}

/// The policies as Chromium reads them; none if there are none.
fn document(settings: &BrowserSettings) -> Option<Value> {
    let BrowserSettings { policies, ca_certificates, client_certificates, .. } = settings;
    if policies.is_empty() && ca_certificates.is_empty() && client_certificates.is_empty() {
        return None;
    }
    let mut policies: Policies = policies.clone();
    let authorities = ca_certificates.iter().filter_map(|pem| certificates::der(pem).ok());
    let authorities: Vec<String> = authorities.map(|der| STANDARD.encode(der)).collect();
    if !authorities.is_empty() {
        policies.insert("CACertificates".to_owned(), json!(authorities));
    }
    if !client_certificates.is_empty() {
        let rules = client_certificates::rules(client_certificates);
        policies.insert(client_certificates::POLICY.to_owned(), rules);
    }
    Some(Value::Object(policies))
}

/// The folder below which a browser reads its policies.
fn folder_of(browser: &Path) -> PathBuf {
    let program = browser.canonicalize().unwrap_or_else(|_missing| browser.to_owned());
    let is_chrome = program.starts_with("/opt/google");
    let chromium = Path::new("/etc/chromium");
    // Ubuntu's Chromium has another one.
    let other = Path::new("/etc/chromium-browser");
    match (is_chrome, chromium.is_dir(), other.is_dir()) {
        (true, _, _) => Path::new("/etc/opt/chrome"),
        (false, false, true) => other,
        (false, _, _) => chromium,
    }
    .to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::client_certificates::ClientCertificate;

    #[test]
    fn the_document_has_the_policies_and_the_certificates_in_their_encoding() {
        assert_eq!(document(&BrowserSettings::default()), None);
        let authority = include_str!("../../../tests/tls/authority.pem");
        let policies = json!({ "DefaultImagesSetting": 2 });
        let settings = BrowserSettings {
            policies: policies.as_object().unwrap().clone(),
            ca_certificates: vec![authority.to_owned()],
            ..BrowserSettings::default()
        };
        let document = document(&settings).unwrap();
        assert_eq!(document["DefaultImagesSetting"], 2);
        let encoded: String = authority.lines().filter(|line| !line.starts_with('-')).collect();
        assert_eq!(document["CACertificates"], json!([encoded]));
        assert_eq!(document.get("AutoSelectCertificateForUrls"), None);
        let certificate = ClientCertificate {
            origin: "https://a.example".to_owned(),
            cert_pem: include_str!("../../../tests/tls/bob.pem").to_owned(),
            key_pem: "secret".into(),
        };
        let settings = BrowserSettings {
            client_certificates: vec![certificate],
            ..BrowserSettings::default()
        };
        let document = super::document(&settings).unwrap();
        let rule = document["AutoSelectCertificateForUrls"][0].as_str().unwrap();
        assert!(rule.contains("https://a.example:443") && rule.contains("Bob"), "{rule}");
        assert!(!document.to_string().contains("secret"));
    }

    #[test]
    fn chrome_has_a_folder_of_its_own() {
        let folder = folder_of(Path::new("/opt/google/chrome/chrome"));
        assert_eq!(folder, Path::new("/etc/opt/chrome"));
        assert!(folder_of(Path::new("/usr/lib/chromium/chromium")).starts_with("/etc"));
    }
}
