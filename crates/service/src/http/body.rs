//! The body of a request, with a limit on its size and on the peer's silence.
//!
//! A body is a stream of frames that hyper hands over as they arrive; nothing is gathered here. The
//! size is counted as it comes, because a chunked body does not announce it. Silence is counted
//! only while somebody waits for a frame: a handler may take its time.

use super::alarm::Alarm;
use super::reply::Reply;
use super::{Response, StatusCode};
use bytes::Bytes;
use hyper::body::{Body as _, Frame, Incoming, SizeHint};
use std::fmt;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

/// The body of a request; a [`hyper::body::Body`], and for most uses just [`Body::next`].
#[derive(Debug)]
pub struct Body {
    incoming: Incoming,
    limit_bytes: u64,
    received_bytes: u64,
    patience: Duration,
    /// Since when a frame is waited for.
    waiting_since: Option<Instant>,
    alarm: Alarm,
    /// Atomic: set at the end; the connection looks at it. `None` for a body that has ended already.
    ended: Option<Arc<AtomicBool>>,
}

/// Why a body cannot be read to its end. As a reply ([`BodyError::into_reply`]) it is 413, 408 or
/// 400.
#[derive(Debug)]
#[non_exhaustive]
pub enum BodyError {
    /// It has more bytes than the limit, which is given.
    TooLarge(u64),
    /// The peer sent nothing for so long.
    Stalled(Duration),
    /// The connection broke, or what came is not HTTP.
    Broken(hyper::Error),
}

impl Body {
    pub(super) fn new(incoming: Incoming, limit_bytes: u64, patience: Duration) -> Self {
        let ended = (!incoming.is_end_stream()).then(Arc::default);
        let (received_bytes, waiting_since, alarm) = (0, None, Alarm::default());
        Self { incoming, limit_bytes, received_bytes, patience, waiting_since, alarm, ended }
    }

    /// Where the end of the body will be noted, if it is still to come.
    pub(super) fn end_to_be(&self) -> Option<Arc<AtomicBool>> {
        self.ended.clone()
    }

    fn note_end(&self) {
        if let Some(ended) = &self.ended {
            ended.store(true, Ordering::Release);
        }
    }

    /// The next piece, as it came over the wire; `None` at the end. Trailers are skipped. The first
    /// call answers an `Expect: 100-continue`.
    ///
    /// # Errors
    /// [`BodyError`]; the connection can then only be closed.
    pub async fn next(&mut self) -> Option<Result<Bytes, BodyError>> {
        loop {
            match poll_fn(|cx| Pin::new(&mut *self).poll_frame(cx)).await? {
                Ok(frame) => {
                    if let Ok(data) = frame.into_data() {
                        return Some(Ok(data));
                    }
                }
                Err(error) => return Some(Err(error)),
            }
        }
    }

    /// The whole body in one piece: at most as large as the limit.
    ///
    /// # Errors
    /// As [`Body::next`].
    pub async fn read_all(mut self) -> Result<Bytes, BodyError> {
        let mut all = Vec::new();
        while let Some(piece) = self.next().await {
            all.extend_from_slice(&piece?);
        }
        Ok(all.into())
    }

    /// How long it is, if the peer has said so.
    pub fn announced_bytes(&self) -> Option<u64> {
        self.incoming.size_hint().exact()
    }

    /// How much has been received.
    pub fn received_bytes(&self) -> u64 {
        self.received_bytes
    }
}

impl hyper::body::Body for Body {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = &mut *self;
        let Poll::Ready(next) = Pin::new(&mut this.incoming).poll_frame(cx) else {
            let since = *this.waiting_since.get_or_insert_with(Instant::now);
            ready!(this.alarm.poll(cx, since.checked_add(this.patience)));
            return Poll::Ready(Some(Err(BodyError::Stalled(this.patience))));
        };
        this.waiting_since = None;
        if !matches!(next, Some(Err(_))) && (next.is_none() || this.incoming.is_end_stream()) {
            this.note_end();
        }
        Poll::Ready(match next {
            None => None,
            Some(Err(error)) => Some(Err(BodyError::Broken(error))),
            Some(Ok(frame)) => {
                this.received_bytes += frame.data_ref().map_or(0, |data| data.len() as u64);
                Some(if this.received_bytes > this.limit_bytes {
                    Err(BodyError::TooLarge(this.limit_bytes))
                } else {
                    Ok(frame)
                })
            }
        })
    }

    fn is_end_stream(&self) -> bool {
        self.incoming.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.incoming.size_hint()
    }
}

impl BodyError {
    /// The status that tells the peer.
    pub fn status(&self) -> StatusCode {
        match self {
            Self::TooLarge(_) => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Stalled(_) => StatusCode::REQUEST_TIMEOUT,
            Self::Broken(_) => StatusCode::BAD_REQUEST,
        }
    }

    /// The reply that tells the peer, and closes the connection.
    pub fn into_reply(self) -> Response<Reply> {
        Reply::last_words(self.status(), &self.to_string())
    }
}

impl fmt::Display for BodyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLarge(limit) => write!(f, "request body: expected at most {limit} bytes"),
            Self::Stalled(limit) => write!(f, "request body: nothing came for {limit:?}"),
            Self::Broken(error) => write!(f, "request body: {error}"),
        }
    }
}

impl std::error::Error for BodyError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Broken(error) => Some(error),
            _ => None,
        }
    }
}
