//! The run in a session, as reported to the session's viewers. Of all runs, they may know this one
//! only, whatever their credentials are.

use std::future::pending;

use serde_json::{Value, json};
use tokio::sync::{mpsc, watch};

use super::bridge::Close;
use crate::actors::session::Connected;
use crate::actors::views::{RunView, SessionView, Views};
use crate::domain::ids::{OrganizationId, RunId};
use crate::domain::run::BlockStatus;

/// Reports the run in the session and its current block, at once and at every change:
/// `{"kind":"run","run":{"run_id","title","status","block":{"label","block_type"}|null}|null}`.
pub(super) async fn report(
    views: &Views,
    organization: OrganizationId,
    connected: &Connected,
    say: &mpsc::Sender<Value>,
) -> Close {
    let mut session = connected.view.clone();
    let mut followed: Option<(RunId, watch::Receiver<RunView>)> = None;
    let mut reported = None;
    loop {
        let there = run_in(&session.borrow_and_update());
        if followed.as_ref().map(|(id, _)| *id) != there {
            followed = there.and_then(|id| Some((id, views.run(organization, id)?)));
        }
        let run = followed.as_mut().map(|(_, view)| shown(&view.borrow_and_update()));
        let message = json!({ "kind": "run", "run": run });
        if reported.as_ref() != Some(&message) {
            let _ = say.send(message.clone()).await;
            reported = Some(message);
        }
        let gone = tokio::select! {
            changed = session.changed() => changed.is_err(),
            // The view of a run that has ended is closed; then only the session is followed.
            () = changed(&mut followed) => false,
        };
        if gone {
            return pending().await;
        }
    }
}

async fn changed(followed: &mut Option<(RunId, watch::Receiver<RunView>)>) {
    let Some((_, view)) = followed else { return pending().await };
    if view.changed().await.is_err() {
        pending::<()>().await;
    }
}

fn run_in(view: &SessionView) -> Option<RunId> {
    view.record.occupancy.holder()?.occupant.runnable_id.as_str().parse().ok()
}

fn shown(view: &RunView) -> Value {
    let block = view.blocks.iter().rev().find(|block| block.status == BlockStatus::Running);
    json!({
        "run_id": view.record.id,
        "title": view.record.title,
        "status": view.record.status.as_str(),
        "block": block.map(|block| json!({
            "label": block.label,
            "block_type": block.block_type,
        })),
    })
}
