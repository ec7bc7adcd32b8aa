//! The rows that must exist before the server starts: an organization, an API key, this node.

use std::fs;
use std::net::SocketAddr;

use anyhow::Context as _;
use chrono::{SubsecRound as _, Utc};

use super::data::{DataDirectory, NODE_FILE};
use crate::config;
use crate::db::{Db, api_keys, nodes, organizations};
use crate::domain::ids::{Mint, NodeId, OrganizationId};
use crate::domain::tenancy::{ApiKey, Node, Organization};
use crate::service::keys::{fresh_key, hash_of};

/// Returns the first organization, created if there is none, with the lines to print. A new API key
/// is printed only this once.
pub(super) async fn prepare(
    db: &Db,
    keys: &config::Keys,
    _data: &DataDirectory,
) -> anyhow::Result<(OrganizationId, Vec<String>)> {
    let mint = Mint::new(rand::random());
    let now = Utc::now().trunc_subsecs(6);
    let first = organizations::first(db).await.context("the organizations cannot be read")?;
    let (organization, made) = match first {
        Some(organization) => (organization, false),
        None => {
            let organization = Organization::new(mint.mint(now), "default".to_owned(), now);
            organizations::insert(db, &organization)
                .await
                .context("the first organization cannot be created")?;
            (organization, true)
        }
    };

    let (key, label) = match &keys.bootstrap {
        Some(given) => (given.expose().to_owned(), "bootstrap"),
        None if made => (fresh_key(), "first"),
        None => return Ok((organization.id, Vec::new())),
    };
    let hash = hash_of(&key);
    let is_bootstrap = keys.bootstrap.is_some();
    let known = api_keys::by_hash(db, &hash).await.context("the API keys cannot be read")?;
    if known.is_none() {
        let is_known =
            api_keys::is_known(db, &hash).await.context("the API keys cannot be read")?;
        anyhow::ensure!(
            !is_known,
            "keys.bootstrap: this key was revoked or has expired; set another key, or remove the setting"
        );
        let (id, label) = (mint.mint(now), label.to_owned());
        let key =
            ApiKey { is_bootstrap, ..ApiKey::new(id, organization.id, hash.clone(), label, now) };
        api_keys::insert(db, &key).await.context("the first API key cannot be created")?;
    }
    if is_bootstrap {
        let revoked = api_keys::revoke_former_bootstrap(db, &hash).await;
        if revoked.context("the former key of keys.bootstrap cannot be revoked")? > 0 {
            tracing::warn!("keys.bootstrap has changed: the former key is revoked");
        }
    }
    let announced = match keys.bootstrap {
        Some(_) => Vec::new(), // The operator has set this key and knows it.
        None => vec![format!("api key (shown this once): {key}")],
    };
    Ok((organization.id, announced))
}

/// Registers this server process: the same node after every restart on the same data directory.
pub(super) async fn register_node(
    db: &Db,
    data: &DataDirectory,
    listen: SocketAddr,
) -> anyhow::Result<NodeId> {
    let now = Utc::now().trunc_subsecs(6);
    let known = data.read(NODE_FILE).and_then(|text| text.trim().parse().ok());
    let id = match known {
        Some(id) => id,
        None => {
            let id: NodeId = Mint::new(rand::random()).mint(now);
            data.write(NODE_FILE, &id.to_string())?;
            id
        }
    };
    let read = |path: &str| fs::read_to_string(path).map(|text| text.trim().to_owned());
    let node = Node {
        id,
        hostname: read("/proc/sys/kernel/hostname").unwrap_or_default(),
        address: listen.to_string(),
        boot_id: read("/proc/sys/kernel/random/boot_id").context("the boot id cannot be read")?,
        started_at: now,
        seen_at: now,
        version: env!("CARGO_PKG_VERSION").to_owned(),
    };
    warn_of_other_versions(db, &node).await?;
    nodes::register(db, &node).await.context("this node cannot be registered")?;
    Ok(id)
}

/// Warns of live nodes with another version: nodes that share a database run the same one.
async fn warn_of_other_versions(db: &Db, this: &Node) -> anyhow::Result<()> {
    let nodes = nodes::list(db).await.context("the nodes cannot be listed")?;
    let others = nodes.iter().filter(|node| node.id != this.id && node.version != this.version);
    for node in others.filter(|node| node.was_seen_recently(this.started_at)) {
        let theirs = if node.version.is_empty() { "an earlier version" } else { &node.version };
        tracing::warn!(
            "the node {} ({}) runs {theirs}, this one {}: nodes on one database run the same version",
            node.id,
            node.hostname,
            this.version,
        );
    }
    Ok(())
}
