//! Answers that break off when the right to read them ends: a client can read one for hours.

use std::error::Error;
use std::fmt;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use actix_web::HttpResponse;
use actix_web::body::{BodySize, BoxBody, MessageBody};
use actix_web::web::Bytes;
use futures_util::future::{FutureExt as _, LocalBoxFuture};

/// A body that breaks off when `over` resolves.
struct Ending {
    body: BoxBody,
    over: Option<LocalBoxFuture<'static, ()>>,
}

impl fmt::Debug for Ending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ending").finish_non_exhaustive()
    }
}

impl MessageBody for Ending {
    type Error = Box<dyn Error>;

    fn size(&self) -> BodySize {
        self.body.size()
    }

    fn poll_next(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Bytes, Self::Error>>> {
        let this = &mut *self;
        if this.over.as_mut().is_some_and(|over| over.poll_unpin(context).is_ready()) {
            this.over = None;
            let cause =
                io::Error::new(io::ErrorKind::ConnectionAborted, "its reader may not go on");
            return Poll::Ready(Some(Err(cause.into())));
        }
        Pin::new(&mut this.body).poll_next(context)
    }
}

/// Returns the answer, whose body breaks off when `over` resolves, so that no client takes it for whole.
pub fn until(answer: HttpResponse, over: impl Future<Output = ()> + 'static) -> HttpResponse {
    let over = Some(over.boxed_local());
    answer.map_body(|_head, body| BoxBody::new(Ending { body, over }))
}

#[cfg(test)]
mod tests {
    use actix_web::body::to_bytes;
    use tokio::sync::oneshot;

    use super::*;

    #[tokio::test]
    async fn a_body_has_its_size_and_breaks_off_at_the_end_of_the_right() {
        let (end, ended) = oneshot::channel::<()>();
        let mut body = until(HttpResponse::Ok().body("whole"), ended.map(drop)).into_body();
        assert_eq!(body.size(), BodySize::Sized(5));
        end.send(()).unwrap();
        let piece = std::future::poll_fn(|context| Pin::new(&mut body).poll_next(context)).await;
        assert!(piece.unwrap().is_err());
        let whole = until(HttpResponse::Ok().body("whole"), std::future::pending()).into_body();
        assert_eq!(to_bytes(whole).await.unwrap(), "whole");
    }
}
