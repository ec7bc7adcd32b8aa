//! Secrets that earlier versions stored in clear text, which are sealed at the first start.

use anyhow::Context as _;
use tracing::{error, info};

use super::data::DataDirectory;
use crate::db::Db;

/// The file in which a data directory records that its database contains no secret in clear text.
const NOTED: &str = "sealed";

/// Seals the clear-text secrets of the database, once. If interrupted, it continues at the next
/// start.
pub(super) async fn seal_former(db: &Db, data: &DataDirectory) -> anyhow::Result<()> {
    if data.read(NOTED).is_none() {
        let done = db.seal_former().await.context("the secrets in the database were not sealed")?;
        if done.rows > 0 {
            info!("sealed the secrets in {} rows of the database", done.rows);
        }
        if done.missed == 0 {
            data.write(NOTED, "1")?;
        }
    }
    let theirs = db.sealed_by_others().await.context("the database does not answer")?;
    if theirs > 0 {
        error!(
            "{theirs} webhooks or API keys have a secret that another file `secret` has sealed, and \
             nothing is signed with those: restore that file in the data directory (servers on one \
             database need the same one), or rotate the secrets of the webhooks"
        );
    }
    Ok(())
}
