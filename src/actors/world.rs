//! What actors need of the world, handed to each of them.

use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

use futures_util::future::BoxFuture;
use tokio::runtime::Handle;

use super::clock::Clock;
use super::events::Events;
use super::journal::Journal;
use super::lanes::Lanes;
use super::passes::{Passes, Reach};
use super::quotas::Quotas;
use super::secrets::Secrets;
use super::settings::Settings;
use super::views::Views;
use crate::db::store::Store;
use crate::domain::ids::{Mint, NodeId};
use crate::domain::session::DesktopIdentity;
use crate::system::desktop::{Directories, Launch};
use crate::system::film::Films;
use crate::system::python::Python;
use crate::workflow;
use crate::workflow::host::Devtools;

/// Connects to the DevTools of a session's browser.
pub trait Dial: fmt::Debug + Send + Sync + 'static {
    /// A connection, or why there is none.
    fn dial(
        &self,
        desktop: &DesktopIdentity,
    ) -> BoxFuture<'static, Result<Arc<dyn Devtools>, String>>;
}

/// The surroundings of every actor. Tests replace its seams: the store, the launcher.
#[derive(Debug)]
pub struct World {
    /// The server process that this is.
    pub node: NodeId,
    /// The time.
    pub clock: Clock,
    /// Where ids come from.
    pub mint: Mint,
    /// Where messages are recorded.
    pub journal: Arc<Journal>,
    /// Where to tell what has happened, for whoever follows it.
    pub events: Events,
    /// Where views are published.
    pub views: Views,
    /// Where lease tokens come from.
    pub secrets: Secrets,
    /// What actors write to.
    pub store: Arc<dyn Store>,
    /// What brings desktops up.
    pub launcher: Arc<dyn Launch>,
    /// What makes films.
    pub films: Films,
    /// What connects to browsers.
    pub browsers: Arc<dyn Dial>,
    /// Limits and defaults.
    pub settings: Settings,
    /// How the blocks of workflows are executed.
    pub workflow: workflow::Settings,
    /// What runs the code of blocks.
    pub python: Python,
    /// What programs have that execute blocks.
    pub passes: Passes,
    /// What organizations may have and use.
    pub quotas: Quotas,
    /// Runs that go one after the other.
    pub lanes: Lanes,
    /// Under which addresses such programs reach the server, from when it listens.
    pub reach: OnceLock<Reach>,
    /// Where work goes on that no mailbox should wait for.
    pub runtime: Handle,
    /// The directories of all sessions.
    pub directories: Directories,
    /// Where the files are kept that runs make, as `<organization>/<run>/<file>`.
    pub artifacts: PathBuf,
    /// Where the latest picture of each occupied session is kept, as
    /// `<organization>/<run or session>.png`.
    pub pictures: PathBuf,
}
