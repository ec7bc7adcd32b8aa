//! The start of the store of objects.

use anyhow::Context as _;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::config::Settings;
use crate::system::objects::Objects;

/// Opens the store, and tends it until `closing`.
///
/// A store that does not work does not keep the server from starting: sessions of a former server
/// are adopted, their files wait in the outbox, and `/readyz` fails with the cause.
pub(super) async fn start(
    settings: &Settings,
    closing: &CancellationToken,
) -> anyhow::Result<Objects> {
    let objects =
        Objects::open(&settings.storage, &settings.data).context("storage cannot be used")?;
    info!("files are stored in {}", objects.name());
    // A directory answers at once; a service may take its time.
    if !objects.is_shared()
        && let Err(cause) = objects.check().await
    {
        warn!("the storage is not usable now: {cause}");
    }
    tokio::spawn(objects.clone().tend(closing.clone()));
    Ok(objects)
}
