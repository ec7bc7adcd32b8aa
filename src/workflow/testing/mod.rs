//! Fixtures for the tests of this floor: a real browser, a site, and a recording host.

mod chromium;
mod site;
mod stage;

pub use chromium::Chromium;
pub use site::Site;
pub use stage::{Stage, block_plan};
