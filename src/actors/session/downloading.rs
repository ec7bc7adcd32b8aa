//! The collection of a session's downloads.

use super::{Phase, Session};
use crate::actors::downloads::Collecting;
use crate::system::desktop::Desktop;

impl Session {
    /// Stores the downloads of the desktop from now on.
    pub(super) fn collect_downloads(&mut self, desktop: &dyn Desktop) {
        let (view, downloads) = (self.view.subscribe(), desktop.downloads());
        let collecting = Collecting::start(&self.world, view, downloads, self.span.clone());
        self.collecting = Some(collecting);
    }

    /// Resolves when the downloads that have begun are stored, or are no longer waited for.
    pub(super) fn downloads_settled(&self) -> impl Future<Output = ()> + use<> {
        let settled = match &self.phase {
            Phase::Running { desktop } => Some(desktop.downloads().settled()),
            Phase::Dormant
            | Phase::Starting { .. }
            | Phase::Recovering { .. }
            | Phase::Closing { .. } => None,
        };
        async move {
            if let Some(settled) = settled {
                settled.await;
            }
        }
    }
}
