//! The work and the limits of a run.

use std::time::Duration;

use super::work::Work;
use crate::actors::lanes::Lane;
use crate::domain::film::FilmOptions;
use crate::domain::occupancy::Generation;
use crate::domain::session::SessionSpec;

/// The work and the limits of a run, in addition to its record.
#[derive(Debug)]
pub struct Assignment {
    /// The work that it executes.
    pub work: Box<dyn Work>,
    /// The session that it makes for itself when its record names none.
    pub own_session: SessionSpec,
    /// The options of its recording, if it is recorded.
    pub record: Option<FilmOptions>,
    /// True if a session that the run did not make is sanitized once the run has ended.
    pub sanitize: bool,
    /// The time that it waits for its session.
    pub wait: Duration,
    /// The limit on its total duration.
    pub limit: Duration,
    /// The number of runs in which it is nested, each of which triggered the next.
    pub depth: u8,
    /// The occupancy of the parent run that triggered it and waits for it. The run drives under
    /// that occupancy while it lasts, and neither begins nor releases.
    pub lent: Option<Generation>,
    /// The lane in which it begins when the runs before it have ended.
    pub lane: Option<Lane>,
}
