//! The routes of the HTTP side.
//!
//! | method | path | answer |
//! |---|---|---|
//! | GET, HEAD | `/` | a greeting |
//! | GET, HEAD | `/healthz` | `ok`; 503 while draining, so that a balancer looks elsewhere |
//! | POST | `/echo` | the body, streamed back as it arrives |
//! | GET, HEAD | `/debug/goroutines` | who exists and waits for what |
//! | GET, HEAD | `/debug/memory` | the balance sheet: what was obtained from the system, and where it is |
//!
//! An echo begins its reply when the first piece has arrived: a body that is refused by then is
//! still answered with 413. After that the status is out, and all that can be done about a body
//! that grows over the limit is to cut the connection, which the peer sees as an incomplete reply.

use super::Server;
use millpond::net::TcpStream;
use millpond::service::Live;
use millpond::service::http::hyper::body::{Bytes, Frame, SizeHint};
use millpond::service::http::hyper::header::{ALLOW, CONTENT_TYPE, HeaderValue};
use millpond::service::http::{
    self, Body, BodyError, Limits, Method, Reply, Request, Response, StatusCode,
};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};

const GREETING: &str = "Hello from millpond: this request had a goroutine of its own.\n";

pub(super) fn handler(
    server: &Arc<Server>,
) -> impl Fn(TcpStream, SocketAddr, Live) + Send + Sync + 'static {
    let server = server.clone();
    let limits = Limits {
        max_header_bytes: server.args.max_header,
        max_body_bytes: server.args.max_body,
        header_timeout: server.args.header_timeout,
        idle_timeout: server.args.idle,
    };
    move |stream, _peer, live| {
        http::serve(stream, &live, &limits, |request| {
            server.served.fetch_add(1, Ordering::Relaxed);
            answer(&server, request)
        });
    }
}

async fn answer(server: &Server, request: Request<Body>) -> Response<Reply> {
    match request.uri().path() {
        "/" => read_only(&request, || Reply::text(StatusCode::OK, GREETING)),
        "/healthz" => read_only(&request, || health(server)),
        "/debug/goroutines" => read_only(&request, || {
            Reply::text(StatusCode::OK, millpond::debug::goroutines().to_string())
        }),
        "/debug/memory" => {
            read_only(&request, || Reply::text(StatusCode::OK, millpond::mem::stats().to_string()))
        }
        "/echo" if request.method() == Method::POST => echo(request).await,
        "/echo" => not_allowed("POST"),
        path => Reply::text(StatusCode::NOT_FOUND, format!("no such page: {path}\n")),
    }
}

fn read_only(request: &Request<Body>, page: impl FnOnce() -> Response<Reply>) -> Response<Reply> {
    match *request.method() {
        Method::GET | Method::HEAD => page(),
        _ => not_allowed("GET, HEAD"),
    }
}

fn not_allowed(allowed: &'static str) -> Response<Reply> {
    let text = format!("this page takes {allowed}\n");
    let mut reply = Reply::text(StatusCode::METHOD_NOT_ALLOWED, text);
    reply.headers_mut().insert(ALLOW, HeaderValue::from_static(allowed));
    reply
}

fn health(server: &Server) -> Response<Reply> {
    if server.connections.is_draining() {
        Reply::text(StatusCode::SERVICE_UNAVAILABLE, "draining\n")
    } else {
        Reply::text(StatusCode::OK, "ok\n")
    }
}

async fn echo(request: Request<Body>) -> Response<Reply> {
    let kind = request.headers().get(CONTENT_TYPE).cloned();
    let mut body = request.into_body();
    let first = match body.next().await {
        None => return Response::new(Reply::empty()),
        Some(Err(error)) => return error.into_reply(),
        Some(Ok(first)) => first,
    };
    let echo = Echo { first: Some(first), rest: body };
    let mut reply = Response::new(Reply::stream(echo));
    let kind = kind.unwrap_or(HeaderValue::from_static("application/octet-stream"));
    reply.headers_mut().insert(CONTENT_TYPE, kind);
    reply
}

/// What came, then what comes.
struct Echo {
    first: Option<Bytes>,
    rest: Body,
}

impl http::hyper::body::Body for Echo {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match self.first.take() {
            Some(first) => Poll::Ready(Some(Ok(Frame::data(first)))),
            None => Pin::new(&mut self.rest).poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.first.is_none() && self.rest.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let first_bytes = self.first.as_ref().map_or(0, Bytes::len) as u64;
        match self.rest.size_hint().exact() {
            Some(rest_bytes) => SizeHint::with_exact(first_bytes + rest_bytes),
            None => SizeHint::default(),
        }
    }
}
