//! The task that keeps a store: it checks that the store works, and sends what waits in the outbox.

use std::time::Duration;

use bytes::Bytes;
use futures_util::stream::{self, StreamExt as _};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::error::ObjectError;
use super::outbox::Sent;
use super::work::{transfer_deadline, within};
use super::{ARTIFACTS, Backend, Deposit, Health, Objects, PROFILES};

/// The time after which a store that works is checked again.
const INTERVAL: Duration = Duration::from_secs(60);

/// The time after which a store that fails is checked again.
const FAILING_INTERVAL: Duration = Duration::from_secs(5);

/// The longest wait of a deposit for the store.
const PATIENCE: Duration = Duration::from_secs(5);

/// The number of files that are sent at once.
const SENT_AT_ONCE: usize = 2;

impl Objects {
    /// Fails if the store did not work when it was used or checked last.
    ///
    /// # Errors
    ///
    /// The cause, in words.
    pub fn health(&self) -> Result<(), String> {
        match &*self.0.health.borrow() {
            Health::Good => Ok(()),
            Health::Unknown => Err(format!("{} is not checked yet", self.name())),
            Health::Failing(cause) => Err(cause.to_string()),
        }
    }

    pub(super) fn set_health(&self, health: Health) {
        let mut former = None;
        self.0.health.send_if_modified(|now| {
            let is_new = *now != health;
            if is_new {
                former = Some(std::mem::replace(now, health.clone()));
            }
            is_new
        });
        match (former, health) {
            (Some(Health::Good | Health::Unknown), Health::Failing(cause)) => {
                warn!("files cannot be stored: {cause}");
            }
            (Some(Health::Failing(_)), Health::Good) => info!("{} works again", self.name()),
            (Some(_) | None, Health::Good | Health::Unknown | Health::Failing(_)) => {}
        }
    }

    /// Writes, reads and removes an object.
    ///
    /// # Errors
    ///
    /// [`ObjectError`], which names the store and the cause.
    pub async fn check(&self) -> Result<(), ObjectError> {
        const CONTENT: &[u8] = b"greenroom";
        let key = self.0.check_key.lock().await;
        let checked = async {
            self.put_bytes(&key, Bytes::from_static(CONTENT)).await?;
            let read = self.read_bytes(&key, 1024).await;
            self.delete(&key).await?;
            if read? != CONTENT {
                let cause = "it does not return what was stored".to_owned();
                return Err(ObjectError::StoreAway { store: self.name(), cause });
            }
            Ok(())
        };
        let checked = checked.await;
        match &checked {
            Ok(()) => self.set_health(Health::Good),
            Err(cause) => self.set_health(Health::Failing(cause.clone())),
        }
        checked
    }

    /// Checks the store from time to time, and sends the files of the outbox, until `closing`.
    pub async fn tend(self, closing: CancellationToken) {
        loop {
            let works = self.check().await.is_ok();
            let is_empty = !works || self.send_all().await;
            let pause = if works && is_empty { INTERVAL } else { FAILING_INTERVAL };
            tokio::select! {
                () = sleep(pause) => {}
                // An operation has failed: the next check follows soon, and not at once.
                () = self.0.attention.notified(), if works => sleep(Duration::from_secs(1)).await,
                () = closing.cancelled() => return,
            }
        }
    }

    /// Sends the files of the outbox. True if none is left.
    pub(super) async fn send_all(&self) -> bool {
        let Backend::Bucket { outbox, .. } = &self.0.place else { return true };
        let mut waiting = Vec::new();
        for area in [ARTIFACTS, PROFILES] {
            match outbox.list(area).await {
                Ok(found) => waiting.extend(found),
                Err(cause) => warn!("the outbox cannot be read: {cause}"),
            }
        }
        if waiting.is_empty() {
            return true;
        }
        let count = waiting.len();
        let sent = stream::iter(waiting)
            .map(|info| async move { self.send(&info.key).await })
            .buffer_unordered(SENT_AT_ONCE);
        let failed = sent.filter(|sent| std::future::ready(sent.is_err())).count().await;
        info!("{} of {count} files of the outbox are stored", count.saturating_sub(failed));
        failed == 0
    }

    /// Begins to send a file of the outbox, and waits a moment for it.
    pub(super) async fn send_soon(&self, key: &str) -> Deposit {
        if !matches!(&*self.0.health.borrow(), Health::Good) {
            return Deposit::Queued; // It is sent when the store is back.
        }
        let (this, owned) = (self.clone(), key.to_owned());
        let sending = tokio::spawn(async move { this.send(&owned).await });
        match timeout(PATIENCE, sending).await {
            Ok(Ok(Ok(()))) => Deposit::Stored,
            Ok(Ok(Err(_)) | Err(_)) | Err(_) => Deposit::Queued,
        }
    }

    /// Sends a file of the outbox to the bucket.
    async fn send(&self, key: &str) -> Result<(), ObjectError> {
        let Backend::Bucket { bucket, outbox } = &self.0.place else { return Ok(()) };
        let Some(_sending) = outbox.sending(key) else { return Ok(()) };
        let file = outbox.path(key);
        // A file that is replaced while it is sent is sent again.
        while let Some(version) = outbox.version(key).await? {
            let size = tokio::fs::metadata(&file).await.map_or(0, |it| it.len());
            let limit = transfer_deadline(bucket.pause(), size);
            let put = within(bucket.name(), limit, bucket.put_file(key, &file)).await;
            self.noted(put)?;
            match outbox.remove_sent(key, version).await? {
                Sent::Removed => return Ok(()),
                Sent::Replaced => {}
                Sent::Gone => return bucket.delete(key).await,
            }
        }
        Ok(())
    }
}
