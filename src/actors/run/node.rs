//! The registry as a run knows it.

use crate::actors::ask::Asks;
use crate::actors::registry::{CancelRun, Create, Route, StartRun, Wake};
use crate::actors::session::{Begin, Close, Heartbeat, Record, Release, SanitizeWhenLeft, Wrap};

/// The messages that a run sends to the registry: it uses a session, and starts other runs.
pub(in crate::actors) trait Node:
    Asks<Create>
    + Asks<Wake>
    + Asks<Route<Begin>>
    + Asks<Route<Heartbeat>>
    + Asks<Route<Release>>
    + Asks<Route<SanitizeWhenLeft>>
    + Asks<Route<Record>>
    + Asks<Route<Wrap>>
    + Asks<Route<Close>>
    + Asks<StartRun>
    + Asks<CancelRun>
{
}

impl<T> Node for T where
    T: Asks<Create>
        + Asks<Wake>
        + Asks<Route<Begin>>
        + Asks<Route<Heartbeat>>
        + Asks<Route<Release>>
        + Asks<Route<SanitizeWhenLeft>>
        + Asks<Route<Record>>
        + Asks<Route<Wrap>>
        + Asks<Route<Close>>
        + Asks<StartRun>
        + Asks<CancelRun>
{
}
