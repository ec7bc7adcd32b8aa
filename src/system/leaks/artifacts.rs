//! Files that runs have made, compared with the rows that name them.

use std::collections::HashSet;
use std::time::Duration;

use super::LEFT_ALONE;
use crate::domain::ids::{ArtifactId, RunId, SessionId};
use crate::domain::leak::{Leak, LeakKind};
use crate::system::objects::{ObjectInfo, Objects};

/// The age below which a file needs no row, because it is stored before its row.
const UNDER_WAY: Duration = Duration::from_secs(60);

/// The columns of an artifact's row that matter here.
#[derive(Debug, Clone)]
pub struct Stored {
    /// The id of the artifact.
    pub id: ArtifactId,
    /// The key of the file.
    pub key: String,
    /// The run that made the artifact.
    pub run: Option<RunId>,
    /// The session in which the artifact was made.
    pub session: Option<SessionId>,
}

/// The database's records of the artifacts of this node.
#[derive(Debug, Clone, Default)]
pub struct Table {
    /// The rows of sessions of this node.
    pub rows: Vec<Stored>,
    /// The artifacts with a file here that have a row, of any node.
    pub named: HashSet<ArtifactId>,
    /// The runs of these files that have a row.
    pub runs: HashSet<RunId>,
    /// The sessions of these files that have a row, if the file is in a session's folder.
    pub sessions: HashSet<SessionId>,
}

/// The artifact to which a file belongs, by the id in the file's name.
pub fn artifact_of(key: &str) -> Option<ArtifactId> {
    // `artifacts/<organization>/<run or session>/<id>_<name>`
    let (_, name) = key.rsplit_once('/')?;
    let (end, _) = name.match_indices('_').nth(1)?;
    name.get(..end)?.parse().ok()
}

/// The run whose folder contains a file.
pub fn run_of(key: &str) -> Option<RunId> {
    folder(key)?.parse().ok()
}

/// The session whose folder contains a file.
pub fn session_of(key: &str) -> Option<SessionId> {
    folder(key)?.parse().ok()
}

fn folder(key: &str) -> Option<&str> {
    key.rsplit('/').nth(1)
}

/// The files without a row, and the rows without a file.
pub fn artifacts(objects: &Objects, files: &[ObjectInfo], table: &Table) -> Vec<Leak> {
    let is_old = |file: &ObjectInfo| file.stored.elapsed().is_ok_and(|elapsed| elapsed > UNDER_WAY);
    let unnamed = files.iter().filter(|file| is_old(file)).filter_map(|file| {
        let id = artifact_of(&file.key)?;
        (!table.named.contains(&id)).then_some((id, file))
    });
    let unnamed = unnamed.map(|(id, file)| {
        let (run, session) = (run_of(&file.key), session_of(&file.key));
        // If the database does not know the owner either, the file may belong to another database.
        let fixable = run.is_some_and(|run| table.runs.contains(&run))
            || session.is_some_and(|session| table.sessions.contains(&session));
        let remedy = if fixable { "the file is removed" } else { LEFT_ALONE };
        Leak {
            kind: LeakKind::Artifact,
            what: objects.address(&file.key),
            session,
            run,
            since: Some(file.stored.into()),
            why: format!("no row names it: there is no artifact {id}"),
            fixable,
            remedy: remedy.to_owned(),
        }
    });
    let present: HashSet<_> = files.iter().map(|file| file.key.as_str()).collect();
    let lost = table.rows.iter().filter(|row| !present.contains(row.key.as_str()));
    let lost = lost.map(|row| Leak {
        kind: LeakKind::Artifact,
        what: format!("artifact {} ({})", row.id, row.key),
        session: row.session,
        run: row.run,
        since: None,
        why: "its file is gone".to_owned(),
        fixable: false,
        remedy: "left alone: the row documents the lost file".to_owned(),
    });
    unnamed.chain(lost).collect()
}

/// Removes a file without a row that was found a moment ago.
pub async fn remove_artifact(objects: &Objects, leak: &Leak) {
    if let Some(key) = objects.key_of(&leak.what)
        && let Err(cause) = objects.delete(key).await
    {
        tracing::warn!("{} is not removed: {cause}", leak.what);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_artifact_is_known_by_the_id_in_its_name() {
        let id = |key: &str| artifact_of(key).map(|id| id.to_string());
        assert_eq!(id("artifacts/o_1/wr_2/a_3_page_1.png"), Some("a_3".to_owned()));
        assert_eq!(id("artifacts/o_1/wr_2/a_3"), None);
        assert_eq!(id("artifacts/o_1/wr_2/notes_of_mine.txt"), None);
        assert_eq!(
            run_of("artifacts/o_1/wr_2/a_3_x").map(|id| id.to_string()),
            Some("wr_2".into())
        );
    }
}
