//! The policy file of a session, read again when it is replaced.
//!
//! Each connection costs one `stat` of the file, and so does each request of the server. An invalid
//! policy leaves the previous one in force. Without a file everything is refused.

use std::fs::Metadata;
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::sync::Arc;

use parking_lot::Mutex;
use serde_json::Value;

use super::files::UPSTREAM;
use super::policy::Policy;
use super::status::PolicyState;
use crate::domain::sealing::{Vault, is_sealed};

/// The longest policy in bytes; a usual one has a few kilobytes.
const LONGEST: u64 = 1 << 20;

/// The policy file and its parsed content.
#[derive(Debug)]
pub struct PolicyFile {
    path: PathBuf,
    vault: Option<Vault>,
    read: Mutex<Reading>,
}

#[derive(Debug, Default)]
struct Reading {
    stamp: Option<Stamp>,
    policy: Option<Arc<Policy>>,
    error: Option<String>,
}

/// The identity of a file version. A replaced file has another inode or another time.
type Stamp = (u64, u64, i64, i64, u64);

/// The current policy, and whether it is new.
#[derive(Debug, Clone)]
pub struct Current {
    /// The policy in force; without one, everything is refused.
    pub policy: Option<Arc<Policy>>,
    /// True if the policy differs from the last call's.
    pub changed: bool,
}

impl PolicyFile {
    /// A file that has not been read yet. `vault` opens its upstream.
    pub fn new(path: PathBuf, vault: Option<Vault>) -> Self {
        Self { path, vault, read: Mutex::default() }
    }

    /// Returns the policy in force. Reads the file again if it was replaced.
    pub fn current(&self) -> Current {
        let mut read = self.read.lock();
        let metadata = std::fs::metadata(&self.path);
        let (stamp, missing) = match &metadata {
            Ok(metadata) => (Some(stamp(metadata)), None),
            Err(error) => (None, Some(error.to_string())),
        };
        let is_first = read.stamp.is_none() && read.error.is_none();
        if stamp == read.stamp && !is_first {
            return Current { policy: read.policy.clone(), changed: false };
        }
        let Some(stamp) = stamp else {
            let error = missing.map(|error| format!("the policy file cannot be read: {error}"));
            *read = Reading { stamp: None, policy: None, error };
            return Current { policy: None, changed: true };
        };
        read.stamp = Some(stamp);
        match self.load() {
            Ok(Ok(policy)) => {
                read.policy = Some(Arc::new(policy));
                read.error = None;
            }
            Ok(Err(error)) => {
                tracing::warn!(
                    "the new egress policy is invalid, and the former policy stays in force: {error}"
                );
                read.error = Some(error);
            }
            Err(error) => {
                *read = Reading {
                    stamp: None,
                    policy: None,
                    error: Some(format!("the policy file cannot be read: {error}")),
                };
            }
        }
        Current { policy: read.policy.clone(), changed: true }
    }

    fn load(&self) -> std::io::Result<Result<Policy, String>> {
        let mut text = Vec::new();
        std::fs::File::open(&self.path)?.take(LONGEST + 1).read_to_end(&mut text)?;
        if u64::try_from(text.len()).is_ok_and(|length| length > LONGEST) {
            return Ok(Err(format!("longer than {LONGEST} bytes")));
        }
        Ok(self
            .opened(text)
            .and_then(|text| Policy::parse(&text).map_err(|error| error.to_string())))
    }

    /// Returns the text with its upstream opened. A text without a sealed upstream is returned unchanged.
    fn opened(&self, text: Vec<u8>) -> Result<Vec<u8>, String> {
        let Some(vault) = &self.vault else { return Ok(text) };
        let Ok(mut policy) = serde_json::from_slice::<Value>(&text) else { return Ok(text) };
        let Some(Value::String(url)) = policy.pointer_mut("/upstream/url") else { return Ok(text) };
        if !is_sealed(url) {
            return Ok(text);
        }
        *url = vault.open(UPSTREAM, url).map_err(|error| error.to_string())?;
        Ok(policy.to_string().into_bytes())
    }

    /// Returns the part of the status about the policy.
    pub fn state(&self) -> PolicyState {
        let read = self.read.lock();
        let state = match (&read.policy, &read.stamp, &read.error) {
            (_, None, _) => "missing",
            (_, Some(_), Some(_)) => "invalid",
            (_, Some(_), None) => "in_force",
        };
        let revision = read.policy.as_ref().map(|policy| policy.revision);
        PolicyState { state: state.into(), revision, error: read.error.clone() }
    }
}

fn stamp(metadata: &Metadata) -> Stamp {
    (metadata.dev(), metadata.ino(), metadata.mtime(), metadata.mtime_nsec(), metadata.size())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bad_policy_leaves_the_former_and_no_file_leaves_none() {
        let path = std::env::temp_dir().join(format!("egress-policy-{}.json", std::process::id()));
        let replace = |text: &str| {
            let new = path.with_extension("new");
            std::fs::write(&new, text).unwrap();
            std::fs::rename(&new, &path).unwrap();
        };
        let file = PolicyFile::new(path.clone(), Some(Vault::new([7; 32])));
        assert!(file.current().policy.is_none());
        assert_eq!(file.state().state, "missing");
        replace(r#"{"revision": 1}"#);
        assert_eq!(file.current().policy.unwrap().revision, 1);
        assert!(!file.current().changed);
        replace(r#"{"revision": 2, "allow": "#);
        assert_eq!(file.current().policy.unwrap().revision, 1);
        assert_eq!((&*file.state().state, file.state().revision), ("invalid", Some(1)));
        replace(r#"{"revision": 3}"#);
        assert_eq!(file.current().policy.unwrap().revision, 3);
        assert_eq!(file.state().error, None);
        let sealed = Vault::new([7; 32]).seal(UPSTREAM, "http://ann:hunter2@proxy:1").unwrap();
        replace(&format!(r#"{{"revision": 4, "upstream": {{"url": "{sealed}"}}}}"#));
        let upstream = file.current().policy.unwrap().upstream.clone().unwrap();
        assert!(upstream.authorization().is_some());
        let other = Vault::new([8; 32]).seal(UPSTREAM, "http://ann:hunter2@proxy:1").unwrap();
        replace(&format!(r#"{{"revision": 5, "upstream": {{"url": "{other}"}}}}"#));
        assert_eq!(file.current().policy.unwrap().revision, 4);
        assert!(file.state().error.unwrap().contains("`secret`"));
        std::fs::remove_file(&path).unwrap();
        assert!(file.current().policy.is_none());
    }
}
