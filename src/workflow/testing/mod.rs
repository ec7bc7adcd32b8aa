//! What the tests of this floor stand on: a real browser, a site, and a host that remembers.

mod chromium;
mod site;
mod stage;

pub use chromium::Chromium;
pub use site::Site;
pub use stage::{Stage, block_plan};
