//! Changes of the named pools. The registry passes them on, so that they are in the journal and the audit trail.

use std::sync::Arc;

use actix::Context;
use serde_json::{Value, json};

use super::Registry;
use crate::actors::ask::{Answering, Ask, Handle};
use crate::actors::pool::{PoolError, PoolStatus, ShapeSettings};

/// Makes a named pool, or gives it other numbers. Answered when it is stored and in force.
#[derive(Debug)]
pub struct PutPool {
    /// The name of the pool, which is new or known.
    pub name: String,
    /// The shape of its desktops, and their number.
    pub settings: ShapeSettings,
}

impl Ask for PutPool {
    type Answer = Result<PoolStatus, PoolError>;
    const KIND: &'static str = "put_pool";
    const AUDITED: bool = true;

    fn summary(&self) -> Value {
        json!({ "pool": self.name, "settings": self.settings })
    }
}

/// Ends a pool of the API. Answered when that is stored; its desktops are being shut down then.
#[derive(Debug)]
pub struct DeletePool {
    /// The name of the pool.
    pub name: String,
}

impl Ask for DeletePool {
    type Answer = Result<PoolStatus, PoolError>;
    const KIND: &'static str = "delete_pool";
    const AUDITED: bool = true;

    fn summary(&self) -> Value {
        json!({ "pool": self.name })
    }
}

impl Handle<PutPool> for Registry {
    fn handle(
        &mut self,
        PutPool { name, settings }: PutPool,
        _: &mut Context<Self>,
    ) -> Answering<Result<PoolStatus, PoolError>> {
        let pool = Arc::clone(&self.world.pool);
        Box::pin(async move { pool.put(name, settings).await })
    }
}

impl Handle<DeletePool> for Registry {
    fn handle(
        &mut self,
        DeletePool { name }: DeletePool,
        _: &mut Context<Self>,
    ) -> Answering<Result<PoolStatus, PoolError>> {
        let pool = Arc::clone(&self.world.pool);
        Box::pin(async move { pool.remove(&name).await })
    }
}
