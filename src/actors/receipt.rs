//! Receipts for answers.
//!
//! actix resolves an answer in a task of its own and sends it to a receiver that lives there, so an
//! actor never sees that its asker has gone. Each message therefore carries a [`Receipt`], and
//! whoever asked holds the other end, a [`Hearing`]. What was handed out to an asker that did not
//! hear of it (its client has gone, or it did not wait any longer) can be taken back at once.

use futures_util::future::try_join_all;
use tokio::sync::watch;

/// The end that an asker holds. Dropped before [`heard`](Self::heard), the answer was not heard.
#[derive(Debug, Default)]
pub(super) struct Hearing(watch::Sender<bool>);

impl Hearing {
    /// The receipt of a message that is sent for the asker of `asker`, if there is one: the answer
    /// is heard when both have it.
    pub(super) fn receipt(&self, asker: Receipt) -> Receipt {
        let Receipt { mut askers } = asker;
        askers.push(self.0.subscribe());
        Receipt { askers }
    }

    /// Notes that the asker has the answer.
    pub(super) fn heard(self) {
        self.0.send_replace(true);
    }
}

/// Knows whether the answer to a message was heard. One without an asker counts as heard.
#[derive(Debug, Clone, Default)]
pub struct Receipt {
    /// The one who asked, and all for whom it passes the message on.
    askers: Vec<watch::Receiver<bool>>,
}

impl Receipt {
    /// True once an asker has stopped waiting without the answer.
    pub fn is_unheard(&self) -> bool {
        self.askers.iter().any(|asker| asker.has_changed().is_err() && !*asker.borrow())
    }

    /// Resolves with true when the answer was heard, and with false as soon as an asker has stopped
    /// waiting without it.
    pub async fn heard(self) -> bool {
        let heard = self.askers.into_iter().map(|mut asker| async move {
            asker.wait_for(|heard| *heard).await.map(|_heard| ()).map_err(|_gone| ())
        });
        try_join_all(heard).await.is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_answer_is_heard_when_everybody_has_it_who_waits_for_it() {
        let (client, registry) = (Hearing::default(), Hearing::default());
        let receipt = registry.receipt(client.receipt(Receipt::default()));
        registry.heard();
        assert!(!receipt.is_unheard());
        client.heard();
        assert!(!receipt.is_unheard());
        assert!(receipt.heard().await);
    }

    #[tokio::test]
    async fn an_answer_is_unheard_as_soon_as_one_of_them_does_not_wait_any_more() {
        let (client, registry) = (Hearing::default(), Hearing::default());
        let receipt = registry.receipt(client.receipt(Receipt::default()));
        drop(client);
        assert!(receipt.is_unheard());
        assert!(!receipt.clone().heard().await);
        registry.heard();
        assert!(!receipt.heard().await);
        assert!(Receipt::default().heard().await, "nobody waits for it");
    }
}
