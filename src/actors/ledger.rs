//! The ledger of leaks: reconciles the rows of the database, the state of the actors and what
//! exists on the machine. A healthy server has no leaks at any time.
//!
//! All three change during an inspection: a session ends, a file is stored before its row. So rows
//! are read before and after the machine is inspected, and a finding counts only if a second
//! inspection finds it again.
//!
//! The ledger needs no running server. Without one, what the next server will adopt is not a leak.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::spawn_blocking;
use tokio::time::sleep;

use super::ask::Address;
use super::registry::{Adopt, Registry};
use super::world::World;
use crate::db::store::{RunChange, Store as _};
use crate::db::{Db, DbError, artifacts, profiles, runs, sessions};
use crate::domain::deadlines::Deadlines;
use crate::domain::ids::{NodeId, OrganizationId, SessionId};
use crate::domain::leak::{Leak, LeakKind};
use crate::domain::occupancy::Occupancy;
use crate::domain::profile::{Described, LARGEST_DESCRIPTION};
use crate::domain::run::{RunRecord, RunStatus};
use crate::domain::session::{Failure, SessionRecord, SessionSpec, SessionStatus};
use crate::system::desktop::{Desktops, Files};
use crate::system::leaks::{self, Known};
use crate::system::objects::{ARTIFACTS, ObjectError, ObjectInfo, Objects, PROFILES};
use crate::system::process;

/// The pause between two inspections.
const INSPECTION_PAUSE: Duration = Duration::from_secs(1);

/// The number of most recently ended sessions that are inspected although nothing on the machine
/// names them.
const LATELY: i64 = 500;

/// The running server, whose actors are inspected as well.
#[derive(Debug, Clone)]
struct Server {
    registry: Address<Registry>,
    world: Arc<World>,
}

/// The ledger of one data directory.
#[derive(Debug, Clone)]
pub struct Ledger {
    db: Db,
    node: NodeId,
    desktops: Desktops,
    objects: Objects,
    server: Option<Server>,
}

/// The result of a removal of leaks.
#[derive(Debug, Clone, Default)]
pub struct Fixed {
    /// The leaks that were removed.
    pub removed: Vec<Leak>,
    /// Not removed: owned by something else, or the removal failed.
    pub left: Vec<Leak>,
}

/// The findings of one inspection, and the rows on which they rest.
#[derive(Debug, Default)]
struct Found {
    leaks: Vec<Leak>,
    known: Known,
    orphans: Vec<SessionRecord>,
    lost: Vec<RunRecord>,
}

impl Ledger {
    /// The ledger of a data directory without regard to a running server.
    pub fn new(db: Db, node: NodeId, desktops: Desktops, objects: Objects) -> Self {
        Self { db, node, desktops, objects, server: None }
    }

    /// The ledger of a server that runs in this process.
    #[must_use]
    pub fn of_server(self, registry: Address<Registry>, world: Arc<World>) -> Self {
        Self { server: Some(Server { registry, world }), ..self }
    }

    /// The current leaks, each with its owner and whether it can be removed.
    ///
    /// # Errors
    ///
    /// A [`DbError`]: without rows, leaks cannot be distinguished from what is in use.
    pub async fn inspect(&self) -> Result<Vec<Leak>, DbError> {
        Ok(self.twice().await?.leaks)
    }

    async fn twice(&self) -> Result<Found, DbError> {
        let first = self.once().await?;
        if first.leaks.is_empty() {
            return Ok(first);
        }
        sleep(INSPECTION_PAUSE).await;
        let mut found = self.once().await?;
        found.leaks.retain(|leak| first.leaks.iter().any(|before| before.is_same(leak)));
        found.leaks.sort_by(|one, other| (one.kind, &one.what).cmp(&(other.kind, &other.what)));
        Ok(found)
    }

    async fn once(&self) -> Result<Found, DbError> {
        let before = sessions::live_on(&self.db, self.node).await?;
        let place = self.desktops.place();
        let looking = place.clone();
        let suspects = spawn_blocking(move || looking.suspects()).await.unwrap_or_default();

        let mut rows = sessions::of_ids(&self.db, &suspects).await?;
        rows.extend(sessions::ended_lately(&self.db, self.node, LATELY).await?);
        let live = sessions::live_on(&self.db, self.node).await?;
        // A session that was live at either time is live for this inspection.
        rows.extend(live.iter().chain(&before).cloned());
        let waiting = self.waiting();
        rows.extend(waiting.iter().cloned());
        let rows = rows.into_iter().filter(|row| row.node == self.node);
        let mut known = Known::new();
        for row in rows {
            // A desktop that has waited belongs to the session whose row there is.
            known.entry(row.id).or_insert(row);
        }

        let looking = known.clone();
        let work = spawn_blocking(move || place.leaks(&looking));
        let mut leaks = work.await.unwrap_or_default();
        let with_ports: Vec<_> = live.iter().chain(&waiting).cloned().collect();
        leaks.extend(self.desktops.port_leaks(&with_ports));
        leaks.extend(self.artifact_leaks().await?);
        leaks.extend(self.archive_leaks().await?);
        let mut found = Found { leaks, known, ..Found::default() };
        if let Some(server) = &self.server {
            self.rows(server, &live, &mut found).await?;
        }
        Ok(found)
    }

    /// The sessions that desktops of the pool wait for, as if they had rows. Without a server:
    /// those that the next server adopts.
    fn waiting(&self) -> Vec<SessionRecord> {
        let waiting = match &self.server {
            Some(server) => server.world.pool.sessions(),
            None => {
                let directories = self.desktops.directories();
                let named = directories.named().into_iter();
                named
                    .filter(|id| directories.of(*id).pooled().is_some())
                    .map(|id| (id, true))
                    .collect()
            }
        };
        let row = |(id, waits): (SessionId, bool)| SessionRecord {
            id,
            organization: OrganizationId::from(0),
            node: self.node,
            status: if waits { SessionStatus::Running } else { SessionStatus::Created },
            spec: SessionSpec::default(),
            desktop: None,
            occupancy: Occupancy::default(),
            deadlines: Deadlines::default(),
            failure: None,
            created_at: id.minted_at(),
            started_at: None,
            completed_at: None,
            modified_at: id.minted_at(),
        };
        waiting.into_iter().map(row).collect()
    }

    async fn artifact_leaks(&self) -> Result<Vec<Leak>, DbError> {
        // The rows first: the file of a row that is inserted in between is then not missed.
        let rows = artifacts::of_node(&self.db, self.node).await?;
        let rows = rows.into_iter().map(|(id, path, run, session)| leaks::Stored {
            id,
            key: format!("{ARTIFACTS}/{path}"),
            run,
            session,
        });
        let files = match self.objects.list(ARTIFACTS).await {
            Ok(files) => files,
            Err(cause) => {
                tracing::warn!("artifacts are not inspected: {cause}");
                return Ok(Vec::new());
            }
        };
        let ids: Vec<_> = files.iter().filter_map(|it| leaks::artifact_of(&it.key)).collect();
        let named = artifacts::known_among(&self.db, &ids).await?;
        let is_unnamed =
            |it: &&ObjectInfo| leaks::artifact_of(&it.key).is_some_and(|id| !named.contains(&id));
        let unnamed: Vec<_> = files.iter().filter(is_unnamed).collect();
        let runs: HashSet<_> = unnamed.iter().filter_map(|it| leaks::run_of(&it.key)).collect();
        let runs: Vec<_> = runs.into_iter().collect();
        let sessions: HashSet<_> =
            unnamed.iter().filter_map(|it| leaks::session_of(&it.key)).collect();
        let sessions: Vec<_> = sessions.into_iter().collect();
        let sessions = sessions::of_ids(&self.db, &sessions).await?;
        let table = leaks::Table {
            rows: rows.collect(),
            named,
            runs: runs::known_among(&self.db, &runs).await?,
            sessions: sessions.into_iter().map(|row| row.id).collect(),
        };
        Ok(leaks::artifacts(&self.objects, &files, &table))
    }

    async fn archive_leaks(&self) -> Result<Vec<Leak>, DbError> {
        // The files first: a row that is inserted in between is then not missed.
        let files = match self.objects.list(PROFILES).await {
            Ok(files) => files,
            Err(cause) => {
                tracing::warn!("archives of profiles are not inspected: {cause}");
                return Ok(Vec::new());
            }
        };
        let files = leaks::archives_among(files);
        let keys: Vec<_> = files.iter().map(|it| it.key.clone()).collect();
        let named = profiles::known_among(&self.db, &keys).await?;
        let unnamed: Vec<_> = files.into_iter().filter(|it| !named.contains(&it.key)).collect();
        let ids: HashSet<_> = unnamed.iter().filter_map(|it| leaks::profile_of(&it.key)).collect();
        let ids: Vec<_> = ids.into_iter().collect();
        let changed = profiles::modified(&self.db, &ids).await?;
        let described = self.described(&unnamed).await;
        Ok(leaks::archives(&self.objects, &unnamed, &changed, &described))
    }

    /// Returns those of these archives that the description of their profile names, or may name because
    /// it cannot be read.
    async fn described(&self, archives: &[ObjectInfo]) -> HashSet<String> {
        let descriptions: HashSet<String> =
            archives.iter().filter_map(|it| leaks::description_of(&it.key)).collect();
        let mut described = HashSet::new();
        for key in descriptions {
            let read = match self.objects.read_bytes(&key, LARGEST_DESCRIPTION).await {
                Ok(bytes) => serde_json::from_slice::<Described>(&bytes).ok(),
                // The profile never had a row, or was removed with its description.
                Err(ObjectError::Missing { .. }) => continue,
                Err(cause) => {
                    tracing::warn!("{key} is not inspected: {cause}");
                    None
                }
            };
            let is_beside =
                |it: &&ObjectInfo| leaks::description_of(&it.key).as_ref() == Some(&key);
            let beside = archives.iter().filter(is_beside);
            let may_name = |archive: &&ObjectInfo| {
                read.as_ref().is_none_or(|Described { versions, .. }| {
                    versions.iter().any(|version| version.path == archive.key)
                })
            };
            described.extend(beside.filter(may_name).map(|it| it.key.clone()));
        }
        described
    }

    /// Adds rows that claim a state which is not so, for example a live session without an actor.
    async fn rows(
        &self,
        server: &Server,
        live: &[SessionRecord],
        found: &mut Found,
    ) -> Result<(), DbError> {
        let views = &server.world.views;
        for row in live {
            let Some(view) = views.session(row.organization, row.id) else {
                found.leaks.push(row_leak(row, "this server has no actor for it", true));
                found.orphans.push(row.clone());
                continue;
            };
            let view = view.borrow();
            let says_running = view.record.status == SessionStatus::Running && !view.closing;
            if says_running && let Some(desktop) = &view.record.desktop {
                let parts = [("X server", &desktop.xvfb), ("browser", &desktop.chromium)];
                for (part, _) in parts.iter().filter(|(_, part)| !process::is_alive(part)) {
                    let why = format!("its row has the status `running`, but its {part} has ended");
                    found.leaks.push(row_leak(row, &why, false));
                }
            }
        }
        for run in runs::unfinished(&self.db, self.node).await? {
            if views.run(run.organization, run.id).is_none() {
                found.leaks.push(Leak {
                    kind: LeakKind::Row,
                    what: format!("run {}", run.id),
                    session: run.session,
                    run: Some(run.id),
                    since: Some(run.modified_at),
                    why: format!(
                        "its row has the status `{}`, but this server has no actor for it",
                        run.status
                    ),
                    fixable: true,
                    remedy: "it is stored as failed".to_owned(),
                });
                found.lost.push(run);
            }
        }
        Ok(())
    }

    /// Removes the leaks that provably belong to this data directory, and inspects again.
    ///
    /// # Errors
    ///
    /// A [`DbError`].
    pub async fn fix(&self) -> Result<Fixed, DbError> {
        let Found { leaks, known, orphans, lost } = self.twice().await?;
        let wanted = |leak: &&Leak| leak.fixable;
        let of: HashSet<_> = leaks.iter().filter(wanted).filter_map(|leak| leak.session).collect();
        for row in of.iter().filter_map(|id| known.get(id)).filter(|row| row.status.is_final()) {
            // The profile of a failed session may have been kept on purpose.
            let failed = row.status == SessionStatus::Failed;
            let files = if failed { Files::Kept } else { Files::AsSet };
            for what in self.desktops.end_remains(row.id, files).await {
                tracing::warn!("left behind by session {}: {what}", row.id);
            }
        }
        self.desktops.remove_leaks(&known).await;
        for leak in leaks.iter().filter(wanted).filter(|leak| leak.kind == LeakKind::Artifact) {
            leaks::remove_artifact(&self.objects, leak).await;
        }
        if let Some(server) = &self.server {
            if !orphans.is_empty() {
                // Running sessions among them are adopted; the rows of the others are ended.
                let _ = server.registry.ask(Adopt { records: orphans }).await;
            }
            for run in lost {
                self.fail(server, run).await;
            }
        }
        let left = self.inspect().await?;
        let is_left = |leak: &Leak| left.iter().any(|still| still.is_same(leak));
        let removed = leaks.into_iter().filter(|leak| !is_left(leak)).collect();
        Ok(Fixed { removed, left })
    }

    async fn fail(&self, server: &Server, run: RunRecord) {
        let failure = Failure::new(
            "run_actor_ended",
            "the run's actor ended without storing the end of the run",
        );
        let change = RunChange {
            status: Some(RunStatus::Failed),
            failure: Some(failure),
            finished_at: Some(server.world.clock.now()),
            ..RunChange::default()
        };
        if let Err(cause) = self.db.change_run(run.id, change).await {
            tracing::warn!("the end of run {} is not stored: {cause}", run.id);
        }
    }
}

fn row_leak(row: &SessionRecord, why: &str, fixable: bool) -> Leak {
    let remedy = match fixable {
        true => "it is adopted as after a restart, or stored as failed",
        false => "left alone: the session recovers by itself",
    };
    Leak {
        kind: LeakKind::Row,
        what: format!("session {}: {why}", row.id),
        session: Some(row.id),
        run: None,
        since: Some(row.modified_at),
        why: why.to_owned(),
        fixable,
        remedy: remedy.to_owned(),
    }
}
