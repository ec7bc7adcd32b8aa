//! Sessions, runs, files and events in the forms that responses and webhooks show.

pub mod artifact;
pub mod debug_session;
pub mod egress;
pub mod event;
pub mod links;
pub mod run;
pub mod session;
