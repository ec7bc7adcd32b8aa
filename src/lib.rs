//! Greenroom keeps persistent, watchable browsers ready for automation.
//!
//! The modules in reading order, each a floor that knows only those before it; `ARCHITECTURE.md`
//! is the map.

pub mod domain;
pub mod metrics;
pub mod schema;
pub mod traces;

pub mod db;
pub mod egress;
pub mod system;
pub mod workflow;

pub mod actors;

pub mod service;

pub mod live;

pub mod http;

pub mod config;

pub mod app;
pub mod cli;
