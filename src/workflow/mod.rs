//! Workflow definitions, and how their blocks are executed.
//!
//! This floor knows neither actors nor tables nor processes. What it needs of the world it
//! states as traits in [`host`], and is handed.
//!
//! A [`definition`] is read and checked, [`parameters`] get their values, and the [`engine`]
//! executes the blocks: it renders their [`template`]s and drives a [`page`]. [`response`] shows a
//! workflow as clients of the compatible API read it.

pub mod agent;
pub mod definition;
pub mod dialect;
mod encoding;
pub mod engine;
pub mod guard;
pub mod host;
pub mod page;
pub mod parameters;
pub mod response;
mod settings;
pub mod template;

pub use settings::Settings;

#[cfg(test)]
mod testing;
