//! Files that runs have made, compared with the rows that name them.

use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::{LEFT_ALONE, made, modified};
use crate::domain::ids::{ArtifactId, RunId, SessionId};
use crate::domain::leak::{Leak, LeakKind};

/// The age below which a file needs no row, because it is stored before its row.
const UNDER_WAY: Duration = Duration::from_secs(60);

/// The columns of an artifact's row that matter here.
#[derive(Debug, Clone)]
pub struct Stored {
    /// The id of the artifact.
    pub id: ArtifactId,
    /// The path of the file, relative to the directory of all artifacts.
    pub path: String,
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

/// The artifacts that have a file, by the id in the file's name.
pub fn files(folder: &Path) -> Vec<(ArtifactId, PathBuf)> {
    let below = |folder: PathBuf| {
        let entries = fs::read_dir(folder).into_iter().flatten().filter_map(Result::ok);
        entries.map(|entry| entry.path()).collect::<Vec<_>>()
    };
    // `<organization>/<run or session>/<id>_<name>`
    let runs = below(folder.to_owned()).into_iter().flat_map(below);
    let files = runs.flat_map(below);
    files.filter_map(|file| Some((id_of(&file)?, file))).collect()
}

fn id_of(file: &Path) -> Option<ArtifactId> {
    let name = file.file_name()?.to_str()?;
    let (end, _) = name.match_indices('_').nth(1)?;
    name.get(..end)?.parse().ok()
}

/// The run whose folder contains a file.
pub fn run_of(file: &Path) -> Option<RunId> {
    file.parent()?.file_name()?.to_str()?.parse().ok()
}

/// The session whose folder contains a file.
pub fn session_of(file: &Path) -> Option<SessionId> {
    file.parent()?.file_name()?.to_str()?.parse().ok()
}

/// The files without a row, and the rows without a file.
pub fn artifacts(folder: &Path, table: &Table) -> Vec<Leak> {
    let is_old = |file: &Path| {
        made(file).is_some_and(|at| at.elapsed().is_ok_and(|elapsed| elapsed > UNDER_WAY))
    };
    let unnamed = files(folder).into_iter().filter(|(id, _)| !table.named.contains(id));
    let unnamed = unnamed.filter(|(_, file)| is_old(file)).map(|(id, file)| {
        let (run, session) = (run_of(&file), session_of(&file));
        // If the database does not know the owner either, the file may belong to another database.
        let fixable = run.is_some_and(|run| table.runs.contains(&run))
            || session.is_some_and(|session| table.sessions.contains(&session));
        let remedy = if fixable { "the file is removed" } else { LEFT_ALONE };
        Leak {
            kind: LeakKind::Artifact,
            what: file.display().to_string(),
            session,
            run,
            since: modified(&file),
            why: format!("no row names it: there is no artifact {id}"),
            fixable,
            remedy: remedy.to_owned(),
        }
    });
    let lost = table.rows.iter().filter(|row| !folder.join(&row.path).exists());
    let lost = lost.map(|row| Leak {
        kind: LeakKind::Artifact,
        what: format!("artifact {} ({})", row.id, row.path),
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
pub fn remove_artifact(folder: &Path, leak: &Leak) {
    let file = Path::new(&leak.what);
    if file.starts_with(folder)
        && let Err(cause) = fs::remove_file(file)
    {
        tracing::warn!(error = %cause, "{} is not removed", leak.what);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_artifact_is_known_by_the_id_in_its_name() {
        let id = |name: &str| id_of(Path::new(name)).map(|id| id.to_string());
        assert_eq!(id("o_1/wr_2/a_3_page_1.png"), Some("a_3".to_owned()));
        assert_eq!(id("o_1/wr_2/a_3"), None);
        assert_eq!(id("o_1/wr_2/notes_of_mine.txt"), None);
    }
}
