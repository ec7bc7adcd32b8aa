//! A fake of the egress program.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::time::sleep;

use crate::domain::egress::EgressAsked;
use crate::system::desktop::{Egress, EgressError, EgressOutcome, EgressStatus, Order};

/// A fake egress program that keeps the policies that it was given, at launch, at adoption and
/// later.
#[derive(Debug, Default)]
pub struct FakeEgress {
    pub policies: Mutex<Vec<EgressAsked>>,
    /// The errors of the next changes.
    pub fails: Mutex<VecDeque<EgressError>>,
    /// The time that a change takes.
    pub slow: Mutex<Duration>,
    pub status: watch::Sender<Option<EgressStatus>>,
}

impl FakeEgress {
    /// The policy that was put in force last.
    pub fn in_force(&self) -> EgressAsked {
        self.policies.lock().last().cloned().expect("there is a policy")
    }
}

impl From<&Order> for EgressAsked {
    fn from(order: &Order) -> Self {
        Self {
            organization: order.spec.organization_egress.clone(),
            session: order.spec.egress.clone(),
            upstream: order.spec.proxy.clone(),
            is_exhausted: order.is_exhausted,
        }
    }
}

/// The fake as a desktop exposes it.
#[derive(Debug)]
pub(super) struct FakeWay(pub(super) Arc<FakeEgress>);

impl Egress for FakeWay {
    fn apply(&self, asked: EgressAsked) -> BoxFuture<'static, Result<(), EgressError>> {
        let fake = Arc::clone(&self.0);
        let fails = fake.fails.lock().pop_front();
        let takes = *fake.slow.lock();
        Box::pin(async move {
            sleep(takes).await;
            match fails {
                Some(error) => Err(error),
                None => {
                    fake.policies.lock().push(asked);
                    Ok(())
                }
            }
        })
    }

    fn check(
        &self,
        url: String,
        asked: Option<EgressAsked>,
    ) -> BoxFuture<'static, Result<EgressOutcome, EgressError>> {
        let asked = asked.unwrap_or_else(|| self.0.in_force());
        let is_denied = asked.session.deny.iter().any(|rule| url.contains(rule));
        let outcome = EgressOutcome {
            ok: !is_denied,
            reached: (!is_denied).then(|| "response".to_owned()),
            status: (!is_denied).then_some(200),
            code: is_denied.then(|| "host_denied".to_owned()),
            message: is_denied.then(|| "it is denied".to_owned()),
            elapsed_ms: 1,
        };
        Box::pin(async move { Ok(outcome) })
    }

    fn status(&self) -> watch::Receiver<Option<EgressStatus>> {
        self.0.status.subscribe()
    }
}
