//! Objects in a bucket of a service that speaks S3.

use std::error::Error;
use std::fs::File;
use std::io::Read as _;
use std::ops::Range;
use std::path::Path;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use futures_util::stream::{FuturesUnordered, TryStreamExt as _};
use object_store::aws::{AmazonS3, AmazonS3Builder};
use object_store::client::{ClientOptions, SpawnedReqwestConnector};
use object_store::path::Path as Location;
use object_store::{
    BackoffConfig, GetOptions, GetResult, MultipartUpload, ObjectStore as _, ObjectStoreExt as _,
    RetryConfig,
};
use tokio::runtime::Handle;
use tokio::task::spawn_blocking;
use tokio::time::timeout;

use super::directory::open_plain;
use super::error::ObjectError;
use super::object::{ARTIFACTS, ObjectInfo};
use super::reading::{Reading, checked};
use super::settings::Settings;

/// The size of the parts of a large object. Services accept 5 MiB to 5 GiB, and 10000 parts.
const PART: u64 = 8 * 1024 * 1024;

/// The number of parts that are sent at once.
const PARTS_AT_ONCE: usize = 3;

/// The longest pause before a request is repeated.
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// A bucket, and a folder in it.
#[derive(Debug, Clone)]
pub(super) struct Bucket {
    s3: AmazonS3,
    /// The bucket's name and address, for people.
    name: String,
    bucket: String,
    /// The folder for all keys: empty, or with a slash at its end.
    prefix: String,
    timeout: Duration,
}

impl Bucket {
    pub(super) fn open(settings: &Settings) -> Result<Self, ObjectError> {
        let bucket = settings.bucket.clone().unwrap_or_default();
        let name = match &settings.endpoint {
            Some(endpoint) => format!("the bucket `{bucket}` at {endpoint}"),
            None => format!("the bucket `{bucket}` in {}", settings.region),
        };
        let options = ClientOptions::new()
            .with_connect_timeout(settings.connect())
            .with_read_timeout(settings.timeout())
            // A large object may take longer; pauses are limited instead.
            .with_timeout_disabled()
            .with_allow_http(settings.allow_http);
        let retries = RetryConfig {
            backoff: BackoffConfig { max_backoff: LONGEST_PAUSE, ..BackoffConfig::default() },
            max_retries: settings.retries,
            retry_timeout: settings.timeout(),
        };
        let mut builder = AmazonS3Builder::new()
            .with_client_options(options)
            // A connection must not end with the HTTP worker whose request has made it.
            .with_http_connector(SpawnedReqwestConnector::new(Handle::current()))
            .with_retry(retries)
            .with_bucket_name(&bucket)
            .with_region(&settings.region)
            .with_allow_http(settings.allow_http)
            .with_virtual_hosted_style_request(!settings.path_style)
            // Not every service removes several objects by one request.
            .with_disable_bulk_delete(true);
        if let Some(endpoint) = &settings.endpoint {
            builder = builder.with_endpoint(endpoint_of(endpoint, &bucket, settings.path_style));
        }
        if let (Some(id), Some(secret)) = (&settings.access_key_id, &settings.secret_access_key) {
            builder = builder.with_access_key_id(id).with_secret_access_key(secret.expose());
        }
        if let Some(token) = &settings.session_token {
            builder = builder.with_token(token.expose());
        }
        let prefix = match settings.prefix() {
            "" => String::new(),
            prefix => format!("{prefix}/"),
        };
        let s3 = builder
            .build()
            .map_err(|cause| ObjectError::Misconfigured { cause: deepest(&cause) })?;
        Ok(Self { s3, name, bucket, prefix, timeout: settings.timeout() })
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// The address of an object, for people.
    pub(super) fn url(&self, key: &str) -> String {
        format!("s3://{}/{}{key}", self.bucket, self.prefix)
    }

    pub(super) fn pause(&self) -> Duration {
        self.timeout
    }

    fn location(&self, key: &str) -> Result<Location, ObjectError> {
        let bad = |_cause| ObjectError::BadKey { key: key.to_owned() };
        Location::parse(format!("{}{key}", self.prefix)).map_err(bad)
    }

    fn away(&self, cause: String) -> ObjectError {
        ObjectError::StoreAway { store: self.name.clone(), cause }
    }

    /// Waits for a request, including its repetitions.
    async fn within<T>(
        &self,
        key: &str,
        request: impl Future<Output = object_store::Result<T>>,
    ) -> Result<T, ObjectError> {
        match timeout(self.timeout, request).await {
            Ok(answer) => answer.map_err(|cause| self.failure(key, &cause)),
            Err(_late) => Err(self.away(format!("no answer within {} s", self.timeout.as_secs()))),
        }
    }

    /// Stores a regular file. The object appears when all parts have arrived. After a crash, parts
    /// that nobody sees stay until the bucket's own rule for incomplete uploads removes them.
    pub(super) async fn put_file(&self, key: &str, source: &Path) -> Result<u64, ObjectError> {
        let path = source.to_owned();
        let opened = blocking(move || {
            let file = open_plain(&path)?;
            let size = file.metadata()?.len();
            Ok((file, size))
        });
        let failed = |cause: &std::io::Error| ObjectError::file(source, cause);
        let (file, size) = opened.await.map_err(|cause| failed(&cause))?;
        let location = self.location(key)?;
        let mut parts = Parts { file: Some(file), left: size };
        if size <= PART {
            let bytes = parts.next().await.map_err(|cause| failed(&cause))?.unwrap_or_default();
            self.within(key, self.s3.put(&location, bytes.into())).await?;
            return Ok(size);
        }
        let mut upload = self.within(key, self.s3.put_multipart(&location)).await?;
        let sent = self.send(key, source, upload.as_mut(), parts).await;
        let sent = match sent {
            Ok(()) => self.within(key, upload.complete()).await.map(drop),
            Err(cause) => Err(cause),
        };
        if let Err(cause) = sent {
            // The store removes the parts now or by its rule for incomplete uploads.
            let _ = timeout(self.timeout, upload.abort()).await;
            return Err(cause);
        }
        Ok(size)
    }

    async fn send(
        &self,
        key: &str,
        source: &Path,
        upload: &mut dyn MultipartUpload,
        mut parts: Parts,
    ) -> Result<(), ObjectError> {
        let mut under_way = FuturesUnordered::new();
        loop {
            let part = parts.next().await.map_err(|cause| ObjectError::file(source, &cause))?;
            let Some(part) = part else { break };
            under_way.push(self.within(key, upload.put_part(part.into())));
            if under_way.len() >= PARTS_AT_ONCE {
                under_way.try_next().await?;
            }
        }
        while under_way.try_next().await?.is_some() {}
        Ok(())
    }

    pub(super) async fn put_bytes(&self, key: &str, bytes: Bytes) -> Result<(), ObjectError> {
        let location = self.location(key)?;
        self.within(key, self.s3.put(&location, bytes.into())).await?;
        Ok(())
    }

    pub(super) async fn head(&self, key: &str) -> Result<ObjectInfo, ObjectError> {
        let location = self.location(key)?;
        match self.within(key, self.s3.head(&location)).await {
            Ok(meta) => {
                let stored = SystemTime::from(meta.last_modified);
                Ok(ObjectInfo { key: key.to_owned(), size: meta.size, stored })
            }
            Err(cause) => Err(self.missing_or_refused(cause).await),
        }
    }

    pub(super) async fn read(
        &self,
        key: &str,
        range: Option<Range<u64>>,
    ) -> Result<Reading, ObjectError> {
        let options = GetOptions::new().with_range(range);
        let location = self.location(key)?;
        let got = match self.within(key, self.s3.get_opts(&location, options)).await {
            Ok(got) => got,
            Err(cause) => return Err(self.missing_or_refused(cause).await),
        };
        Ok(self.reading(key, got))
    }

    fn reading(&self, key: &str, got: GetResult) -> Reading {
        let (size, range) = (got.meta.size, got.range.clone());
        let length = range.end.saturating_sub(range.start);
        let (this, key) = (self.clone(), key.to_owned());
        let failure = move |cause: object_store::Error| this.failure(&key, &cause);
        let bytes = checked(self.name.clone(), got.into_stream(), length, self.timeout, failure);
        Reading { size, range, bytes }
    }

    pub(super) async fn delete(&self, key: &str) -> Result<(), ObjectError> {
        let location = self.location(key)?;
        match self.within(key, self.s3.delete(&location)).await {
            Ok(()) | Err(ObjectError::Missing { .. }) => Ok(()),
            Err(cause) => Err(cause),
        }
    }

    pub(super) async fn list(&self, prefix: &str) -> Result<Vec<ObjectInfo>, ObjectError> {
        let location = self.location(prefix)?;
        let mut pages = self.s3.list(Some(&location));
        let mut found = Vec::new();
        loop {
            let Some(meta) = self.within(prefix, pages.try_next()).await? else {
                return Ok(found);
            };
            let Some(key) = meta.location.as_ref().strip_prefix(&self.prefix) else { continue };
            let stored = SystemTime::from(meta.last_modified);
            found.push(ObjectInfo { key: key.to_owned(), size: meta.size, stored });
        }
    }

    /// Fails unless the bucket exists and may be listed.
    pub(super) async fn probe(&self) -> Result<(), ObjectError> {
        let location = self.location(ARTIFACTS)?;
        // One page at most: its first object is not waited for.
        let mut pages = self.s3.list(Some(&location));
        self.within("", pages.try_next()).await.map(drop)
    }

    /// Some answers do not distinguish a missing object from a missing bucket.
    async fn missing_or_refused(&self, cause: ObjectError) -> ObjectError {
        if matches!(cause, ObjectError::Missing { .. })
            && let Err(refused) = self.probe().await
        {
            return refused;
        }
        cause
    }

    fn failure(&self, key: &str, cause: &object_store::Error) -> ObjectError {
        use object_store::Error as E;
        let store = self.name.clone();
        let answer = Answer::of(cause);
        let text = answer.text.clone();
        let code = answer.code.as_deref().unwrap_or_default();
        if code == "NoSuchBucket" {
            return ObjectError::Refused { store, cause: "there is no such bucket".to_owned() };
        }
        if matches!(cause, E::NotFound { .. }) {
            // The service has no bucket of this name either when it answers a listing so.
            return match key {
                "" => ObjectError::Refused { store, cause: "there is no such bucket".to_owned() },
                key => ObjectError::Missing { store, key: key.to_owned() },
            };
        }
        let is_refused = matches!(cause, E::PermissionDenied { .. } | E::Unauthenticated { .. })
            || REFUSED.contains(&code);
        if is_refused {
            return ObjectError::Refused { store, cause: text };
        }
        if FULL.contains(&code) || answer.whole.contains("status code: 507") {
            return ObjectError::Full { store, cause: text };
        }
        ObjectError::StoreAway { store, cause: text }
    }
}

/// Codes of services that mean wrong credentials, with a status other than 401 and 403.
const REFUSED: [&str; 9] = [
    "AccessDenied",
    "AuthorizationHeaderMalformed",
    "ExpiredToken",
    "InvalidAccessKeyId",
    "InvalidBucketName",
    "InvalidToken",
    "PermanentRedirect",
    "RequestTimeTooSkewed",
    "SignatureDoesNotMatch",
];

/// Codes of services that mean a full disk or an exhausted quota.
const FULL: [&str; 5] = [
    "InsufficientCapacity",
    "InsufficientStorage",
    "QuotaExceeded",
    "XMinioAdminBucketQuotaExceeded",
    "XMinioStorageFull",
];

/// The part of a failed answer that may be shown: documents of errors quote the request.
struct Answer {
    whole: String,
    code: Option<String>,
    text: String,
}

impl Answer {
    fn of(cause: &object_store::Error) -> Self {
        let mut whole = cause.to_string();
        let mut next = cause.source();
        while let Some(inner) = next {
            whole = format!("{whole}: {inner}");
            next = inner.source();
        }
        let element = |name: &str| {
            let (_, rest) = whole.split_once(&format!("<{name}>"))?;
            let (text, _) = rest.split_once("</")?;
            Some(text.chars().filter(|c| !c.is_control()).take(200).collect::<String>())
        };
        let code = element("Code");
        let text = match (&code, element("Message")) {
            (Some(code), Some(message)) if !message.is_empty() => format!("{code}: {message}"),
            (Some(code), Some(_) | None) => code.clone(),
            (None, _) => match whole.split_once("status code: ") {
                Some((_, status)) => {
                    let status = status.split(':').next().unwrap_or_default();
                    format!("it answered {}", status.trim())
                }
                None => deepest(cause),
            },
        };
        Self { whole, code, text }
    }
}

/// The text of the first cause.
fn deepest(cause: &dyn Error) -> String {
    let mut deepest = cause;
    while let Some(inner) = deepest.source() {
        deepest = inner;
    }
    deepest.to_string()
}

/// Returns the address that the library needs, which contains the bucket if the host does.
fn endpoint_of(endpoint: &str, bucket: &str, path_style: bool) -> String {
    match endpoint.split_once("://") {
        Some((scheme, host)) if !path_style && !host.starts_with(&format!("{bucket}.")) => {
            format!("{scheme}://{bucket}.{host}")
        }
        Some(_) | None => endpoint.to_owned(),
    }
}

/// A file that is read part by part.
struct Parts {
    file: Option<File>,
    left: u64,
}

impl Parts {
    /// The next part; none after the last. Fails if the file has become shorter.
    async fn next(&mut self) -> std::io::Result<Option<Bytes>> {
        let Some(mut file) = self.file.take().filter(|_| self.left > 0) else { return Ok(None) };
        let length = self.left.min(PART);
        let read = blocking(move || {
            let mut part = Vec::with_capacity(usize::try_from(length).unwrap_or_default());
            (&mut file).take(length).read_to_end(&mut part)?;
            Ok((file, part))
        });
        let (file, part) = read.await?;
        if u64::try_from(part.len()).ok() != Some(length) {
            return Err(std::io::Error::other("its length changed while it was sent"));
        }
        self.left -= length;
        self.file = Some(file);
        Ok(Some(Bytes::from(part)))
    }
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> std::io::Result<T> + Send + 'static,
) -> std::io::Result<T> {
    spawn_blocking(work).await.unwrap_or_else(|cause| Err(std::io::Error::other(cause)))
}
