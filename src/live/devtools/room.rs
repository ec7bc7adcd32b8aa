//! The memory that unfinished commands of all drivers may take together.
//!
//! A command is read whole before it is judged. The first [`FREE`] bytes of each driver are not
//! counted. Beyond them, a driver is not read until its share is available.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

/// The bytes of each driver that are not counted.
const FREE: usize = 1 << 20;

/// The maximum number of bytes beyond those, of all drivers together.
const MOST: usize = 256 << 20;

/// The number of bytes that one permit stands for.
const UNIT: usize = 1 << 10;

/// The time that a driver waits for its share, and that a share waits for its driver.
pub(super) const PATIENCE: Duration = Duration::from_secs(30);

/// The memory of all drivers. Clones share it.
#[derive(Debug, Clone)]
pub struct Room(Arc<Semaphore>);

impl Default for Room {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(MOST / UNIT)))
    }
}

impl Room {
    /// Returns an empty share for one driver.
    pub(super) fn share(&self) -> Share {
        Share { room: Arc::clone(&self.0), held: None }
    }
}

/// The error if other drivers hold too much of the memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct NoRoom;

/// The part of the memory that one driver holds.
#[derive(Debug)]
pub(super) struct Share {
    room: Arc<Semaphore>,
    held: Option<OwnedSemaphorePermit>,
}

impl Share {
    /// Returns true if the share holds memory that other drivers could wait for.
    pub fn is_counted(&self) -> bool {
        self.held.is_some()
    }

    /// Waits until the share covers `bytes`.
    ///
    /// # Errors
    ///
    /// Fails when other drivers hold too much for [`PATIENCE`].
    pub async fn grow(&mut self, bytes: usize) -> Result<(), NoRoom> {
        let held = self.held.as_ref().map_or(0, OwnedSemaphorePermit::num_permits);
        let wanted = bytes.saturating_sub(FREE).div_ceil(UNIT).saturating_sub(held);
        if wanted == 0 {
            return Ok(());
        }
        let wanted = u32::try_from(wanted).map_err(|_too_many| NoRoom)?;
        let acquired = timeout(PATIENCE, Arc::clone(&self.room).acquire_many_owned(wanted)).await;
        let Ok(Ok(permit)) = acquired else { return Err(NoRoom) };
        match &mut self.held {
            Some(held) => held.merge(permit),
            None => self.held = Some(permit),
        }
        Ok(())
    }

    /// Frees the memory beyond `bytes`.
    pub fn shrink(&mut self, bytes: usize) {
        let needed = bytes.saturating_sub(FREE).div_ceil(UNIT);
        if needed == 0 {
            self.held = None;
        } else if let Some(held) = &mut self.held {
            drop(held.split(held.num_permits().saturating_sub(needed)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn small_commands_take_nothing_and_large_ones_wait_for_one_another() {
        let room = Room::default();
        let (mut first, mut second) = (room.share(), room.share());
        second.grow(FREE).await.unwrap();
        assert!(!second.is_counted());
        first.grow(FREE + MOST).await.unwrap();
        second.grow(FREE).await.unwrap();
        assert_eq!(second.grow(FREE + 1).await, Err(NoRoom), "after a while");

        first.shrink(FREE + MOST - UNIT);
        second.grow(FREE + 1).await.unwrap();
        second.grow(FREE + UNIT).await.unwrap();
        assert!(second.is_counted());
        second.shrink(0);
        assert!(!second.is_counted());
        drop(first);
        assert_eq!(room.0.available_permits(), MOST / UNIT);
    }

    #[tokio::test(start_paused = true)]
    async fn a_share_that_is_given_back_reaches_the_driver_that_waits() {
        let room = Room::default();
        let (mut first, mut second) = (room.share(), room.share());
        first.grow(FREE + MOST).await.unwrap();
        let (grown, ()) = tokio::join!(second.grow(FREE + MOST), async { first.shrink(0) });
        assert_eq!(grown, Ok(()));
    }
}
