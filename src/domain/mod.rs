//! Values and rules: pure and synchronous.
//!
//! Nothing here performs I/O, awaits, or reads the clock; each event carries the time that it
//! needs. Every other floor may use this one, and this one uses none.

pub mod about;
pub mod audit;
pub mod browser_flags;
pub mod browser_policies;
pub mod browser_settings;
pub mod certificates;
pub mod checksum;
pub mod client_certificates;
pub mod control;
pub mod deadlines;
pub mod debug_session;
pub mod egress;
pub mod event;
pub mod extension;
pub mod file_name;
pub mod film;
pub mod given;
pub mod hmac;
pub mod http_credentials;
pub mod ids;
pub mod labels;
pub mod leak;
pub mod lease;
pub mod masking;
pub mod objects;
pub mod occupancy;
pub mod profile;
pub mod quota;
pub mod retention;
pub mod rfb;
pub mod run;
pub mod sanitizing;
pub mod sealing;
pub mod secret;
pub mod session;
pub mod shown_name;
pub mod tenancy;
pub mod ticket;
pub mod webhook;
pub mod websocket;
pub mod workflow_settings;
