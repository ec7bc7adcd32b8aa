//! Downloads of a session's browser, stored as artifacts of the session and of the run that holds
//! it.
//!
//! No mailbox is involved: a task takes the desktop's notices, and reads in the session's view
//! which run holds it.

use std::sync::Arc;

use serde_json::json;
use tokio::sync::watch;
use tokio_util::sync::{CancellationToken, DropGuard};
use tracing::{Instrument as _, Span, info, warn};

use super::storing::store_artifact;
use super::views::SessionView;
use super::world::World;
use crate::domain::event::{EventKind, Subject};
use crate::domain::ids::{OrganizationId, RunId, SessionId};
use crate::domain::run::{ArtifactRecord, DOWNLOAD};
use crate::system::desktop::{Arrival, Downloads, Notice};

/// A guard of the task that stores what a desktop downloads. Its drop ends the task after the file
/// that is being stored.
#[derive(Debug)]
pub(super) struct Collecting {
    _over: DropGuard,
}

impl Collecting {
    /// Starts to collect; the task ends when the returned guard is dropped.
    pub(super) fn start(
        world: &Arc<World>,
        view: watch::Receiver<SessionView>,
        downloads: Downloads,
        span: Span,
    ) -> Self {
        let over = CancellationToken::new();
        let (ended, owned) = (over.clone(), Arc::clone(world));
        let work = async move {
            loop {
                let notice = tokio::select! {
                    () = ended.cancelled() => return,
                    notice = downloads.next() => notice,
                };
                let owner = Owner::now(&view);
                take(&owned, owner, notice).await;
            }
        };
        world.runtime.spawn(work.instrument(span));
        Self { _over: over.drop_guard() }
    }
}

/// The owner of a download.
#[derive(Debug, Clone, Copy)]
struct Owner {
    organization: OrganizationId,
    session: SessionId,
    run: Option<RunId>,
}

impl Owner {
    fn now(view: &watch::Receiver<SessionView>) -> Self {
        let view = view.borrow();
        let holder = view.record.occupancy.holder();
        let run = holder.and_then(|held| held.occupant.runnable_id.as_str().parse().ok());
        Self { organization: view.record.organization, session: view.record.id, run }
    }

    fn subject(self) -> Subject {
        let Self { organization, session, run } = self;
        Subject { organization, session: Some(session), run }
    }
}

/// Stores what the browser of a session without a desktop had downloaded. Call it before the
/// session's directory is removed.
pub async fn finish_downloads(
    world: &World,
    organization: OrganizationId,
    session: SessionId,
    run: Option<RunId>,
) {
    let downloads = world.launcher.downloads_left(session);
    let finished = downloads.finish();
    tokio::pin!(finished);
    loop {
        tokio::select! {
            biased;
            notice = downloads.next() => {
                take(world, Owner { organization, session, run }, notice).await;
            }
            () = &mut finished => return,
        }
    }
}

async fn take(world: &World, owner: Owner, notice: Notice) {
    let (name, failed) = match notice {
        Notice::Began { name, url, size } => {
            let data = json!({ "filename": name, "file_size": size, "origin": origin(&url) });
            world.events.record(owner.subject(), EventKind::SessionDownloadStarted, data);
            return;
        }
        Notice::Arrived(arrival) => {
            let (name, url) = (arrival.name.clone(), arrival.url.clone());
            match store(world, owner, arrival).await {
                Ok(artifact) => {
                    info!("download {}: {} bytes", artifact.id, artifact.size);
                    let data = json!({
                        "artifact": artifact.id, "filename": name, "file_size": artifact.size,
                    });
                    world.events.record(owner.subject(), EventKind::SessionDownload, data);
                    return;
                }
                Err(cause) => {
                    warn!(url = %origin(&url), "a download is not stored: {cause}");
                    (name, cause)
                }
            }
        }
        Notice::Refused { name, reason } => {
            warn!("a download is rejected: {reason}");
            (name, reason)
        }
    };
    let data = json!({ "filename": name, "failure": failed });
    world.events.record(owner.subject(), EventKind::SessionDownload, data);
}

/// The origin of a URL, the only part that may be logged: paths and queries carry secrets.
fn origin(url: &str) -> String {
    url::Url::parse(url).map(|url| url.origin().ascii_serialization()).unwrap_or_default()
}

/// Stores a downloaded file as an artifact.
async fn store(world: &World, owner: Owner, arrival: Arrival) -> Result<ArtifactRecord, String> {
    let Owner { organization, session, run } = owner;
    // A file that is not kept stays in the session's folder, and goes with it.
    let admitted = world.quotas.check_storage(world.store.as_ref(), organization).await;
    admitted.map_err(|refusal| refusal.to_string())?;
    let now = world.clock.now();
    let id = world.mint.mint(now);
    let folder = run.map_or_else(|| session.to_string(), |run| run.to_string());
    let path = format!("{organization}/{folder}/{id}_{}", arrival.name);
    let record = ArtifactRecord {
        id,
        organization,
        session: Some(session),
        run,
        block: None,
        artifact_type: DOWNLOAD.to_owned(),
        path,
        media_type: mime_guess::from_path(&arrival.name).first_or_octet_stream().to_string(),
        size: i64::try_from(arrival.size).unwrap_or(i64::MAX),
        checksum: Some(arrival.checksum.clone()),
        created_at: now,
        rotation: 0,
    };
    let deposited = world.objects.deposit(&record.key(), &arrival.file).await;
    deposited.map_err(|cause| cause.to_string())?;
    let stored = store_artifact(world, &record).await;
    stored.map_err(|cause| cause.to_string())?;
    arrival.stored(id);
    Ok(record)
}
