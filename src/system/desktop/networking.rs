//! The egress program of a desktop: started with it, and adopted with it.

use std::sync::Arc;

use tokio::sync::watch;

use super::launch::Desktops;
use super::record::Record;
use super::repairs::Repairs;
use crate::domain::egress::{EgressAsked, EgressIdentity, NetworkLevel};
use crate::domain::session::{Failure, ProcessIdentity};
use crate::system::browser;
use crate::system::confine::spec::Network;
use crate::system::egress::{EgressCallbacks, EgressContext, Follower, Way, level};
use crate::system::seam::Order;

/// The network in which a browser starts.
#[derive(Debug, Clone)]
pub(super) struct Found {
    pub(super) identity: EgressIdentity,
    /// The namespace to join, if it is separate.
    pub(super) namespace: Option<Network>,
}

impl Found {
    /// True if the browser joins a namespace, and so has its own mounts as well.
    pub(super) fn is_separate(&self) -> bool {
        self.namespace.is_some()
    }

    /// The part of the network that the browser's start needs.
    pub(super) fn of_browser(&self) -> browser::Network<'_> {
        browser::Network { egress: &self.identity, namespace: self.namespace.as_ref() }
    }
}

/// All that an order asks of a network.
pub(super) fn asked(order: &Order) -> EgressAsked {
    let spec = &order.spec;
    EgressAsked {
        organization: spec.organization_egress.clone(),
        session: spec.egress.clone(),
        upstream: spec.proxy.clone(),
        is_exhausted: order.is_exhausted,
    }
}

/// Resolves with the running network; none if the desktop shares the server's.
pub(super) async fn up(way: Option<&Way>) -> Result<Option<Found>, Failure> {
    let Some(way) = way else { return Ok(None) };
    let identity = way.up().await?;
    Ok(Some(Found { identity, namespace: way.network() }))
}

impl Desktops {
    /// The egress program of a new desktop, not started yet; none if it shares the server's network.
    pub(super) async fn way(&self, order: &Order) -> Option<Way> {
        let level = *self.0.network.get_or_init(|| level(self.settings())).await;
        (level != NetworkLevel::None).then(|| self.way_at(order, level))
    }

    /// Adopts the egress program that a previous server has started.
    pub(super) fn way_again(
        &self,
        order: &Order,
        egress: &EgressIdentity,
        chromium: &ProcessIdentity,
    ) -> Way {
        let way = self.way_at(order, egress.level);
        way.adopt(egress.clone(), chromium.clone());
        // The server's own lists may be others by now.
        let (again, asked) = (way.clone(), asked(order));
        self.runtime().spawn(async move {
            if let Err(cause) = crate::system::desktop::Egress::apply(&again, asked).await {
                tracing::warn!("the former egress policy stays in force: {cause}");
            }
        });
        way
    }

    fn way_at(&self, order: &Order, level: NetworkLevel) -> Way {
        let directory = self.directory(order.session);
        let place = EgressContext {
            session: order.session,
            directory: directory.egress(),
            log: directory.log("egress"),
            level,
        };
        let settings = Arc::clone(self.settings());
        Way::new(place, asked(order), settings, self.runtime().clone())
    }
}

/// Follows an egress program, updates `desktop.json` and reports restarts.
pub(super) fn follow(
    way: &Way,
    record: &Arc<Record>,
    repairs: &Repairs,
    used: watch::Receiver<bool>,
) -> Follower {
    let (record, repairs) = (Arc::clone(record), repairs.clone());
    let callbacks = EgressCallbacks {
        on_started: Box::new(move |identity| record.egress_started(identity)),
        on_repaired: Box::new(move |repair| repairs.report(repair)),
    };
    Follower::start(way, used, callbacks)
}
