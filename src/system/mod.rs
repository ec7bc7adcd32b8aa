//! What lies outside: processes, displays, browsers, pictures.
//!
//! This floor knows nothing of actors, tables or HTTP. What it must tell an upper floor it
//! returns, or sends to a receiver that it was handed.

pub mod desktop;
