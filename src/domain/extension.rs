//! Browser extensions that organizations upload, and the rules of their manifests.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::ids::ExtensionId;

/// Permissions by which an extension would leave its session, or take the browser away from the
/// server: DevTools of every page, programs of the machine, other ways to the network, the files of
/// downloads in other programs, and other extensions.
const FORBIDDEN: [&str; 18] = [
    "debugger",
    "nativeMessaging",
    "proxy",
    "privacy",
    "vpnProvider",
    "dns",
    "management",
    "downloads.open",
    "webAuthenticationProxy",
    "certificateProvider",
    "platformKeys",
    "fileSystem",
    "fileSystemProvider",
    "usb",
    "serial",
    "hid",
    "bluetooth",
    "processes",
];

/// The longest name of an extension, in characters.
const LONGEST_NAME: usize = 200;

/// An extension that an organization has uploaded.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Extension {
    pub id: ExtensionId,
    /// The name in its manifest.
    pub name: String,
    /// The version in its manifest.
    pub version: String,
    /// The permissions that it declares, the optional ones included.
    pub permissions: Vec<String>,
    /// The SHA-256 of the uploaded archive, in hexadecimal digits.
    pub sha256: String,
    /// The unpacked size, in bytes.
    pub bytes: u64,
    /// The number of files.
    pub files: u64,
    pub created_at: DateTime<Utc>,
}

/// The parts of a manifest that the server reads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Manifest {
    pub name: String,
    pub version: String,
    pub permissions: Vec<String>,
}

impl Manifest {
    /// Reads a `manifest.json`. Forbidden permissions that are among `allowed` pass.
    ///
    /// # Errors
    ///
    /// Returns the reason for which this is no extension that a session may have.
    pub fn read(bytes: &[u8], allowed: &[String]) -> Result<Self, String> {
        let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
        let manifest: Value = serde_json::from_slice(bytes)
            .map_err(|cause| format!("manifest.json is not valid JSON: {cause}"))?;
        let text = |name: &str| manifest.get(name).and_then(Value::as_str).unwrap_or_default();
        if manifest.get("manifest_version").and_then(Value::as_u64) != Some(3) {
            return Err("manifest.json has no `manifest_version` 3".to_owned());
        }
        let (name, version) = (text("name").to_owned(), text("version").to_owned());
        if name.is_empty() || name.chars().count() > LONGEST_NAME {
            return Err(format!("manifest.json has no `name` of 1 to {LONGEST_NAME} characters"));
        }
        let parts: Vec<_> = version.split('.').collect();
        let is_version = parts.len() <= 4 && parts.iter().all(|part| part.parse::<u16>().is_ok());
        if !is_version {
            return Err("manifest.json has no `version` of one to four numbers".to_owned());
        }
        if manifest.get("theme").is_some() || manifest.get("app").is_some() {
            return Err("it is a theme or an app".to_owned());
        }
        let mut permissions = Vec::new();
        for field in ["permissions", "optional_permissions"] {
            permissions.extend(listed(&manifest, field)?);
        }
        for permission in &permissions {
            let is_allowed = allowed.iter().any(|allowed| allowed == permission);
            let is_forbidden = |name: &&str| {
                let rest = permission.strip_prefix(*name);
                rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
            };
            if !is_allowed && FORBIDDEN.iter().any(is_forbidden) {
                return Err(format!(
                    "the permission {permission} could undo the isolation of a session; \
                     isolation.extension_permissions_allow permits it"
                ));
            }
        }
        let mut hosts = listed(&manifest, "host_permissions")?;
        hosts.extend(listed(&manifest, "optional_host_permissions")?);
        let scripts = manifest.get("content_scripts").and_then(Value::as_array);
        for script in scripts.into_iter().flatten() {
            hosts.extend(listed(script, "matches")?);
        }
        if let Some(host) = hosts.iter().find(|host| host.trim_start().starts_with("file:")) {
            return Err(format!("the target {host} is not a web page"));
        }
        Ok(Self { name, version, permissions })
    }
}

/// The texts of a list, and the names of objects in it.
fn listed(value: &Value, field: &str) -> Result<Vec<String>, String> {
    let wrong = || format!("`{field}` of manifest.json is not a list of texts");
    let Some(list) = value.get(field) else { return Ok(Vec::new()) };
    let mut found = Vec::new();
    for item in list.as_array().ok_or_else(wrong)? {
        match (item.as_str(), item.as_object()) {
            (Some(text), _) => found.push(text.to_owned()),
            (None, Some(members)) => found.extend(members.keys().cloned()),
            (None, None) => return Err(wrong()),
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(manifest: &Value) -> Result<Manifest, String> {
        Manifest::read(manifest.to_string().as_bytes(), &["privacy".to_owned()])
    }

    #[test]
    fn a_manifest_is_read_and_one_that_leaves_its_session_is_refused() {
        let good = json!({
            "manifest_version": 3, "name": "Probe", "version": "1.2",
            "permissions": ["storage", "privacy", { "socket": [] }],
            "optional_permissions": ["tabs"], "host_permissions": ["<all_urls>"],
            "content_scripts": [{ "matches": ["https://*/*"], "js": ["c.js"] }],
        });
        let manifest = read(&good).unwrap();
        assert_eq!((manifest.name.as_str(), manifest.version.as_str()), ("Probe", "1.2"));
        assert_eq!(manifest.permissions, ["storage", "privacy", "socket", "tabs"]);

        for (field, value, reason) in [
            ("manifest_version", json!(2), "manifest_version"),
            ("name", json!(""), "`name`"),
            ("version", json!("1.2.3.4.5"), "`version`"),
            ("version", json!("../1"), "`version`"),
            ("theme", json!({}), "theme"),
            ("permissions", json!(["debugger"]), "permission debugger"),
            ("optional_permissions", json!(["nativeMessaging"]), "permission nativeMessaging"),
            ("permissions", json!([{ "proxy": {} }]), "permission proxy"),
            ("permissions", json!(["fileSystem.write"]), "permission fileSystem.write"),
            ("permissions", json!("debugger"), "not a list"),
            ("host_permissions", json!(["file:///*"]), "file:///*"),
            ("content_scripts", json!([{ "matches": ["file:///etc/*"] }]), "file:///etc/*"),
        ] {
            let mut wrong = good.clone();
            wrong[field] = value;
            let refused = read(&wrong).unwrap_err();
            assert!(refused.contains(reason), "{field}: {refused}");
        }
        assert!(Manifest::read(b"{", &[]).is_err());
        assert!(Manifest::read(b"[]", &[]).is_err());
        assert!(Manifest::read(&[0xff; 9], &[]).is_err());
    }
}
