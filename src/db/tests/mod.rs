//! Tests, each of which runs on both databases.

mod events;
mod faults;
mod lists;
mod migrations;
mod profiles;
mod purging;
mod quotas;
mod round_trips;
mod rules;
mod sealed;
mod standing;
mod webhooks;
