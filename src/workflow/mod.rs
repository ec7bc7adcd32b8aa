//! Workflow definitions, and how their blocks are executed.
//!
//! This floor knows neither actors nor tables nor processes. What it needs of the world it
//! states as traits in [`host`], and is handed.

pub mod host;
