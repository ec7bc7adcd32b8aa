//! The dependencies of actors, shared by all of them.

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
use super::pool::Pool;
use super::quotas::Quotas;
use super::secrets::Secrets;
use super::settings::Settings;
use super::views::Views;
use crate::db::store::Store;
use crate::domain::ids::{Mint, NodeId};
use crate::domain::session::DesktopIdentity;
use crate::metrics::Metrics;
use crate::system::desktop::{Directories, Launch};
use crate::system::film::Films;
use crate::system::objects::Objects;
use crate::system::python::Python;
use crate::workflow;
use crate::workflow::host::Devtools;

/// A connector to the DevTools of a session's browser.
pub trait Dial: fmt::Debug + Send + Sync + 'static {
    /// Connects to the DevTools of a desktop's browser, or returns the reason of the failure.
    fn dial(
        &self,
        desktop: &DesktopIdentity,
    ) -> BoxFuture<'static, Result<Arc<dyn Devtools>, String>>;
}

/// The dependencies of every actor. Tests replace its seams, such as the store and the launcher.
#[derive(Debug)]
pub struct World {
    /// The id of this server's node.
    pub node: NodeId,
    pub clock: Clock,
    /// The source of new ids.
    pub mint: Mint,
    /// The journal that records messages.
    pub journal: Arc<Journal>,
    /// The figures that actors, streams and endpoints record.
    pub metrics: Arc<Metrics>,
    /// The queue for events about sessions and runs.
    pub events: Events,
    /// The published views of sessions and runs.
    pub views: Views,
    /// The source of lease tokens.
    pub secrets: Secrets,
    /// The database that actors write to.
    pub store: Arc<dyn Store>,
    /// The launcher of desktops.
    pub launcher: Arc<dyn Launch>,
    /// The desktops that run before a session asks for one.
    pub pool: Arc<Pool>,
    /// The recorder of films.
    pub films: Films,
    /// The connector to browsers.
    pub browsers: Arc<dyn Dial>,
    /// Limits and defaults of sessions and runs.
    pub settings: Settings,
    /// The settings for executing the blocks of workflows.
    pub workflow: workflow::Settings,
    /// The interpreter that runs the code of blocks.
    pub python: Python,
    /// The valid passes of programs that execute blocks.
    pub passes: Passes,
    /// The quotas of organizations, and their use.
    pub quotas: Quotas,
    /// Runs that go one after the other.
    pub lanes: Lanes,
    /// The addresses at which such programs reach the server; set once it listens.
    pub reach: OnceLock<Reach>,
    /// The runtime for work that no mailbox should wait for.
    pub runtime: Handle,
    /// The directories of all sessions.
    pub directories: Directories,
    /// The store of artifacts, recordings and profiles.
    pub objects: Objects,
    /// The directory for archives of profiles on their way, which the server empties at its start.
    pub transit: PathBuf,
    /// The directory for the latest picture of each occupied session, as `<organization>/<run or
    /// session>.png`.
    pub pictures: PathBuf,
}
