//! Integration tests of the real program `greenroom serve`, over HTTP.
//!
//! There are two rings. In the server ring, all but [`world`], the desktops' programs are fakes that start
//! quickly and misbehave on request (`tests/fakes`). In the world ring they are Xvfb, x11vnc and Chromium.
//! Each test has its own server with its own data directory, database, displays and ports. The end of the
//! server asserts that nothing of it is left.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    reason = "helpers of tests fail by panicking, start programs, and read what scripts/test sets"
)]

mod admin;
mod after_the_end;
mod architecture;
mod bench;
mod bounds;
mod commands;
mod connect;
mod credentials;
mod cursors;
mod deadlines;
mod debug_sessions;
mod definitions;
mod described;
mod devtools;
mod discovery;
mod durability;
mod egress;
mod egress_requests;
mod endings;
mod events;
mod explain;
mod extensions;
mod faults;
mod fields;
mod files;
mod idempotency;
mod inspector;
mod keys;
mod leaks;
mod leases;
mod matrix;
mod mcp;
mod metrics;
mod occupancy;
mod pool;
mod profile_faults;
mod profile_states;
mod profiles;
mod proxies;
mod queue;
mod quotas;
mod requests;
mod rotation;
mod sessions;
mod settings;
mod stopping;
mod storage;
mod storage_state;
mod support;
mod tenants;
mod tickets;
mod traces;
mod upgrade;
mod viewers;
mod webhooks;
mod world;
