//! The connection of a client that drives by calls, whose actions wait while a person has control.

use std::sync::Arc;

use futures_util::future::BoxFuture;
use serde_json::Value;
use tokio::sync::{mpsc, watch};

use crate::actors::views::SessionView;
use crate::domain::control::OnTakeover;
use crate::service::core::Core;
use crate::service::resources::session::on_takeover;
use crate::workflow::host::{Devtools, DevtoolsError, DevtoolsEvent};

/// A browser to which nothing is done while a person has control, unless the session shares control.
#[derive(Debug)]
pub(super) struct Gate {
    devtools: Arc<dyn Devtools>,
    view: watch::Receiver<SessionView>,
    core: Arc<Core>,
}

impl Gate {
    pub(super) fn new(
        devtools: Arc<dyn Devtools>,
        view: watch::Receiver<SessionView>,
        core: Arc<Core>,
    ) -> Self {
        Self { devtools, view, core }
    }
}

/// Returns the label of the person for whom a driver waits, according to the rule of the session.
pub(super) fn person(view: &SessionView, core: &Core) -> Option<String> {
    match on_takeover(&view.record, core) {
        OnTakeover::Share => None,
        OnTakeover::Hold | OnTakeover::Refuse => {
            let user = view.control.user().filter(|_user| !view.closing)?;
            Some(user.label.clone().unwrap_or_else(|| "a person".to_owned()))
        }
    }
}

impl Devtools for Gate {
    fn call(
        &self,
        session: Option<&str>,
        method: &str,
        params: Value,
    ) -> BoxFuture<'static, Result<Value, DevtoolsError>> {
        self.devtools.call(session, method, params)
    }

    fn events(&self) -> mpsc::Receiver<DevtoolsEvent> {
        self.devtools.events()
    }

    fn turn(&self) -> BoxFuture<'static, ()> {
        let (mut view, core) = (self.view.clone(), Arc::clone(&self.core));
        Box::pin(async move {
            // A closed channel means that the session has ended; the action then fails by itself.
            let _ended = view.wait_for(|view| person(view, &core).is_none()).await;
        })
    }

    fn is_held(&self) -> bool {
        person(&self.view.borrow(), &self.core).is_some()
    }
}
