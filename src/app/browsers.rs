//! The adapter between the workflow engine and the browsers: DevTools as the engine defines it,
//! implemented by the client of the system floor.

use std::fmt;
use std::sync::Arc;

use futures_util::future::BoxFuture;
use serde_json::Value;
use tokio::sync::mpsc;

use crate::actors::world::Dial;
use crate::domain::session::DesktopIdentity;
use crate::system::cdp::{BUSY, CdpError, Connection, Devtools as Way};
use crate::workflow::host::{Devtools, DevtoolsError, DevtoolsEvent};

/// The most events that may wait for a receiver.
const BEHIND: usize = 4096;

/// Connects the engine to real browsers.
#[derive(Debug)]
pub(super) struct Browsers;

impl Dial for Browsers {
    fn dial(
        &self,
        desktop: &DesktopIdentity,
    ) -> BoxFuture<'static, Result<Arc<dyn Devtools>, String>> {
        let devtools = Way::of(desktop);
        Box::pin(async move {
            let connection = Connection::open(&devtools).await;
            let connection = connection.map_err(|cause| cause.to_string())?;
            let devtools: Arc<dyn Devtools> = Arc::new(Browser(connection));
            Ok(devtools)
        })
    }
}

struct Browser(Connection);

impl fmt::Debug for Browser {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Browser")
    }
}

impl Devtools for Browser {
    fn call(
        &self,
        session: Option<&str>,
        method: &str,
        params: Value,
    ) -> BoxFuture<'static, Result<Value, DevtoolsError>> {
        let called = self.0.call(session, method, params);
        let method = method.to_owned();
        Box::pin(async move { called.await.map_err(|cause| refused(method, cause)) })
    }

    fn events(&self) -> mpsc::Receiver<DevtoolsEvent> {
        let mut events = self.0.events();
        let (passed, receiver) = mpsc::channel(BEHIND);
        tokio::spawn(async move {
            while let Some(event) = events.recv().await {
                let event = DevtoolsEvent {
                    session: event.session,
                    method: event.method,
                    params: event.params,
                };
                // A receiver that is too far behind would act on outdated events.
                if passed.try_send(event).is_err() {
                    return;
                }
            }
        });
        receiver
    }
}

fn refused(method: String, cause: CdpError) -> DevtoolsError {
    match cause {
        CdpError::Refused { code, message, .. } => DevtoolsError::Refused { method, code, message },
        CdpError::Busy { .. } => {
            DevtoolsError::Refused { method, code: -32000, message: BUSY.to_owned() }
        }
        CdpError::NotConnected { .. } | CdpError::Disconnected => DevtoolsError::Disconnected,
    }
}
