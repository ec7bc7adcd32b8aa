//! The egress program as a process, `greenroom egress`: loopback origins, real namespaces, real
//! signals. No server takes part.
//!
//! Run as root, the tests start the program as root and as an ordinary user; otherwise as the user of the tests.

mod files;
mod names;
mod namespaces;
mod origins;
mod policies;
mod proxies;
mod requests;
mod sockets;
mod stalls;
mod support;
mod upstreams;
