//! Requests of the session's pages that its egress policy refuses. A browser shows no reason for
//! refused `https` requests, so viewers get it here.

use std::future::pending;

use serde_json::{Value, json};
use tokio::sync::mpsc;

use crate::actors::refusals::Refused;
use crate::actors::views::Views;
use crate::domain::ids::SessionId;
use crate::live::bridge::Close;

/// Reports each target and code that is refused from now on, at most once a minute:
/// `{"kind":"egress-refused","target":str|null,"code":str,"message":str,"count":int}`.
pub(super) async fn report(views: &Views, session: SessionId, say: &mpsc::Sender<Value>) -> Close {
    let Some(mut traffic) = views.traffic(session) else { return pending().await };
    traffic.refused.mark_unchanged();
    while traffic.refused.changed().await.is_ok() {
        let latest = traffic.refused.borrow_and_update().clone();
        if let Some(Refused { target, code, message, count }) = latest {
            let message = json!({
                "kind": "egress-refused",
                "target": target,
                "code": code,
                "message": message,
                "count": count,
            });
            let _ = say.send(message).await;
        }
    }
    pending().await
}

#[cfg(test)]
mod tests {
    use tokio::sync::watch;

    use super::*;
    use crate::actors::refusals::Traffic;

    #[tokio::test]
    async fn what_is_refused_after_a_viewer_came_is_reported_to_it() {
        let views = Views::default();
        let session = SessionId::from(7);
        let (_, status) = watch::channel(None);
        let (report, refused) = watch::channel(Some(Refused::new("old", 443, "host_denied", 1)));
        views.add_traffic(session, Traffic { status, refused });
        let (say, mut said) = mpsc::channel(4);
        let reporting = super::report(&views, session, &say);
        let reported = async {
            tokio::task::yield_now().await;
            report.send_replace(Some(Refused::new("intra", 443, "address_not_public", 2)));
            said.recv().await.unwrap()
        };
        let message = tokio::select! {
            _never = reporting => unreachable!("it ends with the channel"),
            message = reported => message,
        };
        assert_eq!(message["kind"], "egress-refused");
        assert_eq!((&message["target"], &message["count"]), (&json!("intra:443"), &json!(2)));
        assert!(message["message"].as_str().unwrap().contains("`egress.allow`"));
    }
}
