//! One request and its reply: the service that hyper calls when a head is complete.
//!
//! The order matters: the size that a head announces is checked before the handler sees anything,
//! and before anybody asks for the body, because asking answers an `Expect: 100-continue`.

use super::body::{Body, BodyError};
use super::reply::{Noted, Reply};
use super::watch::{Phase, Progress};
use super::{Limits, Request, Response};
use hyper::StatusCode;
use hyper::body::{Body as _, Incoming};
use hyper::header::{HeaderMap, TRANSFER_ENCODING};
use hyper::service::Service;
use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

/// The service of one connection.
pub(super) struct Exchange<'a, H> {
    pub(super) handler: H,
    pub(super) limits: &'a Limits,
    pub(super) progress: Rc<Progress>,
}

impl<H, F> Service<Request<Incoming>> for Exchange<'_, H>
where
    H: Fn(Request<Body>) -> F,
    F: Future<Output = Response<Reply>>,
{
    type Response = Response<Noted>;
    type Error = Infallible;
    type Future = Answer<F>;

    fn call(&self, request: Request<Incoming>) -> Answer<F> {
        self.progress.enter(Phase::Busy);
        let limit_bytes = self.limits.max_body_bytes;
        let answer = if codings(request.headers()) > 1 {
            // hyper takes `chunked` twice; a proxy in front may not mean the same by it.
            self.progress.expect_body(Some(Arc::default()));
            let reply =
                Reply::last_words(StatusCode::BAD_REQUEST, "transfer-encoding: given twice");
            Kind::Refused(Some(reply))
        } else if request.body().size_hint().lower() > limit_bytes {
            // Nobody will read it: its end will not be seen.
            self.progress.expect_body(Some(Arc::default()));
            Kind::Refused(Some(BodyError::TooLarge(limit_bytes).into_reply()))
        } else {
            let patience = self.limits.idle_timeout;
            let request = request.map(|incoming| Body::new(incoming, limit_bytes, patience));
            self.progress.expect_body(request.body().end_to_be());
            Kind::Handler(Box::pin((self.handler)(request)))
        };
        Answer { answer, progress: self.progress.clone() }
    }
}

/// How many transfer codings a request names. RFC 9112, 6.1: `chunked` is applied once.
fn codings(headers: &HeaderMap) -> usize {
    let values = headers.get_all(TRANSFER_ENCODING).iter();
    values.map(|value| value.as_bytes().split(|byte| *byte == b',').count()).sum()
}

/// The reply to come.
pub(super) struct Answer<F> {
    answer: Kind<F>,
    progress: Rc<Progress>,
}

enum Kind<F> {
    Refused(Option<Response<Reply>>),
    Handler(Pin<Box<F>>),
}

impl<F: Future<Output = Response<Reply>>> Future for Answer<F> {
    type Output = Result<Response<Noted>, Infallible>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let reply = match &mut self.answer {
            Kind::Refused(reply) => reply.take().expect("polled again after it was ready"),
            Kind::Handler(future) => ready!(future.as_mut().poll(cx)),
        };
        let progress = self.progress.clone();
        Poll::Ready(Ok(reply.map(|reply| Noted::new(reply, progress))))
    }
}
