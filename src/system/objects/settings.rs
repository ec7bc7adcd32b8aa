//! Settings of the place where files are stored.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use url::Url;

use crate::domain::secret::Secret;

/// The kind of store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StoreKind {
    /// The data directory of this server.
    #[default]
    Directory,
    /// A bucket of a service that speaks S3.
    S3,
}

/// The section `storage`: the place of artifacts, recordings and profiles.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// The kind of store: `directory`, below `data`, or `s3`.
    pub kind: StoreKind,
    /// The bucket, with S3. It must exist.
    pub bucket: Option<String>,
    /// The address of the S3 service; Amazon's in `region` by default.
    pub endpoint: Option<String>,
    /// The region that requests are signed for.
    pub region: String,
    /// A folder within the bucket, for several servers with one bucket.
    pub prefix: Option<String>,
    /// The id of the access key. Without one, the role of the machine is used, as on EC2.
    pub access_key_id: Option<String>,
    /// The secret of the access key.
    pub secret_access_key: Option<Secret>,
    /// The token of temporary credentials.
    pub session_token: Option<Secret>,
    /// True if `endpoint` may be an address without TLS.
    pub allow_http: bool,
    /// True if the bucket is part of the path of requests; false if it is part of the host name.
    pub path_style: bool,
    /// The longest time for making a connection, in seconds.
    pub connect_seconds: u64,
    /// The longest time of one request, and of a pause within an answer, in seconds.
    pub timeout_seconds: u64,
    /// The number of times that a failed request is repeated at once.
    pub retries: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            kind: StoreKind::Directory,
            bucket: None,
            endpoint: None,
            region: "us-east-1".to_owned(),
            prefix: None,
            access_key_id: None,
            secret_access_key: None,
            session_token: None,
            allow_http: false,
            path_style: true,
            connect_seconds: 5,
            timeout_seconds: 30,
            retries: 3,
        }
    }
}

impl Settings {
    /// The settings that cannot hold: keys and messages.
    pub fn problems(&self) -> Vec<(&'static str, String)> {
        let mut wrong = Vec::new();
        for (key, value) in
            [("connect_seconds", self.connect_seconds), ("timeout_seconds", self.timeout_seconds)]
        {
            if !(1..=600).contains(&value) {
                wrong.push((key, format!("`{value}` is not 1 to 600")));
            }
        }
        if self.retries > 10 {
            wrong.push(("retries", format!("`{}` is not 0 to 10", self.retries)));
        }
        if self.prefix().split('/').any(|part| part == "." || part == "..") {
            wrong.push(("prefix", "a part of the folder is `.` or `..`".to_owned()));
        }
        if let Some(endpoint) = &self.endpoint
            && let Err(message) = check_endpoint(endpoint, self.allow_http)
        {
            wrong.push(("endpoint", message));
        }
        wrong
    }

    /// Fails if settings contradict each other.
    pub(super) fn check_together(&self) -> Result<(), &'static str> {
        let has_bucket = self.bucket.as_ref().is_some_and(|bucket| !bucket.is_empty());
        match self.kind {
            StoreKind::S3 if !has_bucket => {
                return Err("`storage.kind` is `s3`: name the bucket by `storage.bucket`");
            }
            StoreKind::Directory if has_bucket => {
                return Err("`storage.bucket` is set: set `storage.kind` to `s3` as well");
            }
            StoreKind::S3 | StoreKind::Directory => {}
        }
        if self.access_key_id.is_some() != self.secret_access_key.is_some() {
            return Err("`storage.access_key_id` and `storage.secret_access_key` need each other");
        }
        Ok(())
    }

    /// The folder within the bucket, without slashes at its ends.
    pub(super) fn prefix(&self) -> &str {
        self.prefix.as_deref().unwrap_or_default().trim_matches('/')
    }

    pub(super) fn connect(&self) -> Duration {
        Duration::from_secs(self.connect_seconds)
    }

    pub(super) fn timeout(&self) -> Duration {
        Duration::from_secs(self.timeout_seconds)
    }
}

fn check_endpoint(endpoint: &str, allow_http: bool) -> Result<(), String> {
    let url = Url::parse(endpoint).map_err(|cause| format!("`{endpoint}` is no URL: {cause}"))?;
    match url.scheme() {
        "https" => {}
        "http" if allow_http => {}
        "http" => {
            return Err("requests without TLS need the setting `storage.allow_http`".to_owned());
        }
        other => return Err(format!("`{other}` is not `https`")),
    }
    if url.host_str().is_none() || url.query().is_some() || !url.username().is_empty() {
        return Err("expected `https://HOST`, without credentials and parameters".to_owned());
    }
    Ok(())
}
