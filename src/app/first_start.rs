//! What must be there before anything else: an organization, a key, this node.

use std::fs;
use std::net::SocketAddr;

use anyhow::Context as _;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chrono::{SubsecRound as _, Utc};

use super::data::{DataDirectory, NODE_FILE};
use crate::actors::secrets::Secrets;
use crate::config;
use crate::db::{Db, api_keys, nodes, organizations};
use crate::domain::ids::{Mint, NodeId, OrganizationId};
use crate::domain::tenancy::{ApiKey, Node, Organization};
use crate::http::caller::hash_of;

/// The first organization, made if there is none, and what is to be announced: a key that was
/// made is shown this once.
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
            let name = "default".to_owned();
            let organization = Organization { id: mint.mint(now), name, created_at: now };
            organizations::insert(db, &organization)
                .await
                .context("no organization can be made")?;
            (organization, true)
        }
    };

    let (key, label) = match &keys.bootstrap {
        Some(given) => (given.expose().to_owned(), "bootstrap"),
        None if made => (format!("gr_{}", URL_SAFE_NO_PAD.encode(Secrets::random())), "first"),
        None => return Ok((organization.id, Vec::new())),
    };
    let hash = hash_of(&key);
    let known = api_keys::by_hash(db, &hash).await.context("the API keys cannot be read")?;
    if known.is_none() {
        let (id, label) = (mint.mint(now), label.to_owned());
        let organization = organization.id;
        let key = ApiKey { id, organization, hash, label, created_at: now, revoked_at: None };
        api_keys::insert(db, &key).await.context("no API key can be made")?;
    }
    let announced = match keys.bootstrap {
        Some(_) => Vec::new(), // Whoever gave it knows it.
        None => vec![format!("api key (shown this once): {key}")],
    };
    Ok((organization.id, announced))
}

/// This server process: the same node after every restart on the same data directory.
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
    };
    nodes::register(db, &node).await.context("this node cannot be registered")?;
    Ok(id)
}
