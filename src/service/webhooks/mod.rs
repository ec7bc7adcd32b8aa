//! Webhooks: events delivered to clients' servers.
//!
//! A message is a row, written in the transaction that stores its event: the end of a run that names
//! a webhook URL, or an event that a webhook of the organization subscribes to. [`deliver`] delivers
//! it at least once, also after a restart of the server; no other part waits for it. The body of a
//! message is the API's own form of a run or an event.

mod attempt;
mod client;
mod deliverer;
mod payload;
mod settings;

pub use self::attempt::Attempt;
pub use self::client::Webhooks;
pub use self::deliverer::{deliver, delivery};
pub use self::payload::{headers_of_run, of_run as body_of_run};
pub use self::settings::Settings;
