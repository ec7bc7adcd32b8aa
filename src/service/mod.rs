//! Services that work beside the API: webhooks, debug sessions, and the lookup of API keys.
//!
//! This floor also contains what these services share with the API: the forms of sessions, runs and
//! files in responses ([`resources`]), and the state that everything above it works with ([`core`]).
//! It knows nothing of HTTP requests; its errors become answers in `http`.

pub mod address;
pub mod core;
pub mod debug_sessions;
pub mod error;
pub mod explain;
pub mod keys;
pub mod lookup;
pub mod metrics;
pub mod pictures;
pub mod profile_states;
pub mod profiles;
pub mod resources;
pub mod retention;
pub mod webhooks;
