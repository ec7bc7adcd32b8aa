//! Changes of the named pools by operators while the server runs.
//!
//! A change is stored before it is in force. Changes are made one after the other, so the file has the latest.

use std::io;
use std::sync::Arc;

use tracing::{error, info};

use super::kept::OwnPools;
use super::named;
use super::settings::ShapeSettings;
use super::{Pool, PoolStatus};
use crate::actors::ask::Classified;
use crate::actors::journal::Outcome;

/// The most pools that the API may make, those of the settings with other numbers included.
const MOST: usize = 50;

/// The reason for which a pool was not changed.
#[derive(Debug, thiserror::Error)]
pub enum PoolError {
    /// Nothing has this name.
    #[error("there is no pool `{0}`")]
    Unknown(String),
    /// The pool has the numbers of the settings already, and the API cannot end it.
    #[error(
        "the pool `{0}` is in the settings and as they say; give it other numbers, or remove it from the settings"
    )]
    InSettings(String),
    /// Another pool has the same shape.
    #[error("the pool `{by}` has this size and executable")]
    ShapeTaken {
        /// The name of the other pool.
        by: String,
    },
    /// The limit on pools of the API is reached.
    #[error("the API has made {MOST} pools, which is the limit; delete one")]
    TooMany,
    /// The file in the data directory cannot be written. Nothing has changed.
    #[error("the pools cannot be stored in the data directory")]
    NotStored(#[source] io::Error),
}

impl Classified for PoolError {
    fn class(&self) -> Outcome {
        match self {
            Self::Unknown(_) | Self::InSettings(_) | Self::ShapeTaken { .. } | Self::TooMany => {
                Outcome::Refused
            }
            Self::NotStored(_) => Outcome::Failed,
        }
    }
}

impl Pool {
    /// The shape and the numbers of a pool in the settings.
    pub fn in_settings(&self, name: &str) -> Option<&ShapeSettings> {
        self.configured.get(name)
    }

    /// Makes a named pool, or gives it other numbers or another shape. Of a pool in the settings, only the numbers
    /// change. Desktops beyond the new numbers are shut down.
    ///
    /// # Errors
    ///
    /// A [`PoolError`]; nothing has changed then.
    pub async fn put(
        self: &Arc<Self>,
        name: String,
        settings: ShapeSettings,
    ) -> Result<PoolStatus, PoolError> {
        let _turn = self.changing.lock().await;
        let mut own = self.state.lock().own.clone();
        if own.len() >= MOST && !own.contains_key(&name) {
            return Err(PoolError::TooMany);
        }
        if let Some(by) = self.other_of_shape(&name, &settings) {
            return Err(PoolError::ShapeTaken { by });
        }
        own.insert(name.clone(), settings);
        self.store(own).await?;
        info!("an operator has set the pool `{name}`");
        Ok(self.status())
    }

    /// Ends a pool of the API: its desktops are shut down. A pool of the settings has their numbers again.
    ///
    /// # Errors
    ///
    /// A [`PoolError`]; nothing has changed then.
    pub async fn remove(self: &Arc<Self>, name: &str) -> Result<PoolStatus, PoolError> {
        let _turn = self.changing.lock().await;
        let mut own = self.state.lock().own.clone();
        if own.remove(name).is_none() {
            return Err(match self.in_settings(name) {
                Some(_) => PoolError::InSettings(name.to_owned()),
                None => PoolError::Unknown(name.to_owned()),
            });
        }
        self.store(own).await?;
        info!("an operator has removed the pool `{name}` of the API");
        Ok(self.status())
    }

    /// The name of another pool with this shape. A pool in the settings has its shape from there.
    fn other_of_shape(&self, name: &str, settings: &ShapeSettings) -> Option<String> {
        if self.configured.contains_key(name) {
            return None;
        }
        let state = self.state.lock();
        let mut others = state.pools.iter().filter(|pool| pool.name != name);
        others.find(|pool| pool.has_shape_of(settings)).map(|pool| pool.name.clone())
    }

    /// Stores the pools of the API, and puts them in force.
    async fn store(self: &Arc<Self>, own: OwnPools) -> Result<(), PoolError> {
        let (file, content) = (self.kept.clone(), own.clone());
        let written = self.runtime.spawn_blocking(move || file.write(content)).await;
        let written = written.unwrap_or_else(|cause| Err(io::Error::other(cause)));
        written.map_err(|cause| {
            error!("the pools cannot be stored: {cause}");
            PoolError::NotStored(cause)
        })?;
        self.apply(own);
        Ok(())
    }

    fn apply(self: &Arc<Self>, own: OwnPools) {
        let (mut pools, _left_out) = named::merged(&self.configured, &own);
        {
            let mut state = self.state.lock();
            state.own = own;
            named::carry_over(std::mem::take(&mut state.pools), &mut pools);
            state.pools = pools;
            // One that is being started for a pool that has ended.
            if let Some(starting) = &state.starting
                && !state.keeps(&starting.shape)
            {
                starting.call_off.cancel();
            }
        }
        self.retire(usize::MAX);
        self.changed.notify_one();
    }
}
