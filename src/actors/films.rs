//! Storing a film as an artifact: the file is moved first, and then its record is written.

use tracing::warn;

use super::storing::store_artifact;
use super::world::World;
use crate::domain::film::{BLACK_BOX, RECORDING};
use crate::domain::ids::{ArtifactId, OrganizationId, RunId, SessionId};
use crate::domain::run::ArtifactRecord;
use crate::system::film::{Film, FilmError, Films, RecordingMetadata};

/// Removes the files of a recording that cannot be finished.
pub(super) fn drop_recording(films: &Films, metadata: &RecordingMetadata, cause: &FilmError) {
    warn!("recording {} of a former server is lost: {cause}", metadata.id);
    if let Err(cause) = films.drop_recording(metadata) {
        warn!("its remains cannot be removed: {cause}");
    }
}

/// The artifact that a film becomes.
#[derive(Debug, Clone, Copy)]
pub(super) struct FilmArtifact {
    pub(super) id: ArtifactId,
    pub(super) run: Option<RunId>,
    pub(super) artifact_type: &'static str,
}

/// The owner of a film.
#[derive(Debug, Clone, Copy)]
pub(super) struct FilmOwner {
    pub(super) organization: OrganizationId,
    pub(super) session: SessionId,
}

/// Stores a film as an artifact. Then removes black boxes that are too old or too many.
pub(super) async fn store(
    world: &World,
    FilmOwner { organization, session }: FilmOwner,
    FilmArtifact { id, run, artifact_type }: FilmArtifact,
    film: Film,
) -> Result<ArtifactRecord, FilmError> {
    let failed = |cause: String| FilmError::Failed { cause };
    let (container, cut_short) = (film.container, film.cut_short.clone());
    if let Some(why) = cut_short {
        warn!("{artifact_type} {id} was cut short: {why}");
    }
    let owner = run.map_or_else(|| session.to_string(), |run| run.to_string());
    let name = format!("{artifact_type}.{}", container.extension());
    let path = format!("{organization}/{owner}/{id}_{name}");
    let measured = {
        let film = film.clone();
        tokio::task::spawn_blocking(move || film.measure())
    };
    let measured = measured.await.map_err(|cause| failed(cause.to_string()))?;
    let (size, checksum) = measured.map_err(|cause| failed(cause.to_string()))?;
    let now = world.clock.now();
    let record = ArtifactRecord {
        id,
        organization,
        session: Some(session),
        run,
        block: None,
        artifact_type: artifact_type.to_owned(),
        path,
        media_type: container.media_type().to_owned(),
        size: i64::try_from(size).unwrap_or(i64::MAX),
        checksum: Some(checksum),
        created_at: now,
        rotation: 0,
    };
    // After a failure the film stays in the session's folder, where the next server finds it.
    let deposited = world.objects.deposit(&record.key(), &film.file).await;
    deposited.map_err(|cause| failed(cause.to_string()))?;
    let forgotten = tokio::task::spawn_blocking(move || film.forget()).await;
    forgotten.map_err(|cause| failed(cause.to_string()))?;
    let stored = store_artifact(world, &record).await;
    stored.map_err(|cause| failed(cause.to_string()))?;
    if artifact_type == BLACK_BOX {
        retire(world, organization).await;
    }
    Ok(record)
}

/// Removes black boxes that are too old or too many: the file first, so that the row of a file that
/// is left finds it again.
async fn retire(world: &World, organization: OrganizationId) {
    let settings = world.films.settings();
    let days = chrono::Duration::days(settings.black_box_keep_days.into());
    let before = world.clock.now() - days;
    let old = world.store.old_artifacts(
        organization,
        BLACK_BOX.to_owned(),
        settings.black_box_keep,
        before,
    );
    let removed = match old.await {
        Ok(old) => remove(world, old).await,
        Err(cause) => Err(cause.to_string()),
    };
    if let Err(cause) = removed {
        warn!("old black boxes cannot be removed: {cause}");
    }
}

async fn remove(world: &World, old: Vec<ArtifactRecord>) -> Result<(), String> {
    let mut removed = Vec::new();
    let mut failure = None;
    for artifact in old {
        match world.objects.delete(&artifact.key()).await {
            Ok(()) => removed.push(artifact.id),
            Err(cause) => failure = Some(cause.to_string()),
        }
    }
    world.store.delete_artifacts(removed).await.map_err(|cause| cause.to_string())?;
    failure.map_or(Ok(()), Err)
}

/// Finishes the films that a former server was recording of a session that is not continued. Call
/// it before the session's directory is removed. Resolves when the films are stored, or cannot be.
pub async fn finish_films(world: &World, organization: OrganizationId, session: SessionId) {
    let films = &world.films;
    let place = FilmOwner { organization, session };
    let mut stored = Vec::new();
    for metadata in films.recordings(session) {
        match films.resume(metadata.clone()) {
            Ok((recording, filmed)) => {
                recording.stop();
                let kind =
                    FilmArtifact { id: metadata.id, run: metadata.run, artifact_type: RECORDING };
                stored.push((kind, filmed.await));
            }
            Err(cause) => drop_recording(films, &metadata, &cause),
        }
    }
    for frozen in films.frozen(session).into_iter().chain(films.freeze(session)) {
        let id = world.mint.mint(world.clock.now());
        let kind = FilmArtifact { id, run: None, artifact_type: BLACK_BOX };
        stored.push((kind, films.develop(session, frozen).await));
    }
    for (kind, film) in stored {
        let stored = match film {
            Ok(film) => store(world, place, kind, film).await.map(drop),
            Err(cause) => Err(cause),
        };
        if let Err(cause) = stored {
            warn!(session.id = %session, "no {} {} of session {session}: {cause}", kind.artifact_type, kind.id);
        }
    }
}
