//! Receipts, which report to an actor whether its asker received the answer.
//!
//! actix resolves an answer in a task of its own and sends it to a receiver in that task. So an
//! actor never sees that its asker has gone. Each message therefore carries a [`Receipt`], and the
//! asker holds the other end, a [`Hearing`]. An asker may miss the answer because its client has
//! gone or its time ran out. Then the actor can take back at once what it handed out.

use futures_util::future::try_join_all;
use tokio::sync::watch;

/// The asker's end of a receipt. Dropped before [`heard`](Self::heard), the answer was not
/// received.
#[derive(Debug, Default)]
pub(super) struct Hearing(watch::Sender<bool>);

impl Hearing {
    /// The receipt of a message that is sent on behalf of the asker of `asker`, if there is one.
    /// The answer counts as received when both have it.
    pub(super) fn receipt(&self, asker: Receipt) -> Receipt {
        let Receipt { mut askers } = asker;
        askers.push(self.0.subscribe());
        Receipt { askers }
    }

    /// Records that the asker has received the answer.
    pub(super) fn heard(self) {
        self.0.send_replace(true);
    }
}

/// The actor's end, which reports whether the answer to a message was received. A message without
/// an asker counts as received.
#[derive(Debug, Clone, Default)]
pub struct Receipt {
    /// The asker, and all askers on whose behalf it forwards the message.
    askers: Vec<watch::Receiver<bool>>,
}

impl Receipt {
    /// True if an asker has stopped waiting without the answer.
    pub fn is_unheard(&self) -> bool {
        self.askers.iter().any(|asker| asker.has_changed().is_err() && !*asker.borrow())
    }

    /// Resolves with true when every asker has received the answer, and with false as soon as one
    /// has stopped waiting without it.
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
        assert!(Receipt::default().heard().await, "no caller waits for it");
    }
}
