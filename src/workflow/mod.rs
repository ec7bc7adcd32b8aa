//! Workflow definitions, and the execution of their blocks.
//!
//! This floor depends on neither actors nor tables nor processes. It declares what it needs of its
//! surroundings as traits in [`host`]; the caller supplies the implementations.
//!
//! A [`definition`] is read and checked, [`parameters`] get their values, and the [`engine`] executes
//! the blocks: it renders their [`template`]s and drives a [`page`]. [`response`] formats a workflow
//! for clients of the compatible API.

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
