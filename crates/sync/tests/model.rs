//! Random sequences of operations against a model that is simple enough to be believed.
//!
//! One thread drives a channel through its non-blocking forms and through futures that it polls
//! and drops as the sequence says. The model says, after each step, exactly what must be seen:
//! first in, first out, for values and for waiters.

#![cfg(not(loom))]

use millpond_sync::chan::{self, RecvError, RecvFuture, SendError, SendFuture};
use millpond_sync::chan::{TryRecvError, TrySendError};
use proptest::prelude::*;
use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

#[derive(Debug, Clone, Copy)]
enum Op {
    TrySend,
    TryRecv,
    /// Makes and polls a future in this place, if it is free.
    StartSend(usize),
    StartRecv(usize),
    /// Polls the future in this place.
    Poll(usize),
    /// Drops the future in this place.
    Drop(usize),
    Close,
}

const PLACES: usize = 6;

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        6 => Just(Op::TrySend),
        6 => Just(Op::TryRecv),
        5 => (0..PLACES).prop_map(Op::StartSend),
        5 => (0..PLACES).prop_map(Op::StartRecv),
        5 => (0..PLACES).prop_map(Op::Poll),
        5 => (0..PLACES).prop_map(Op::Drop),
        1 => Just(Op::Close),
    ]
}

/// What the future in a place would say if it were polled.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Place {
    Free,
    RecvWaits,
    RecvHas(u32),
    RecvClosed,
    SendWaits(u32),
    SendDone,
    SendClosed(u32),
}

struct Model {
    capacity: usize,
    buffer: VecDeque<u32>,
    closed: bool,
    places: [Place; PLACES],
    receivers: VecDeque<usize>,
    senders: VecDeque<usize>,
}

impl Model {
    fn new(capacity: usize) -> Self {
        Self {
            capacity,
            buffer: VecDeque::new(),
            closed: false,
            places: [Place::Free; PLACES],
            receivers: VecDeque::new(),
            senders: VecDeque::new(),
        }
    }

    fn try_send(&mut self, value: u32) -> Result<(), TrySendError<u32>> {
        if self.closed {
            return Err(TrySendError::Closed(value));
        }
        if let Some(place) = self.receivers.pop_front() {
            self.places[place] = Place::RecvHas(value);
        } else if self.buffer.len() < self.capacity {
            self.buffer.push_back(value);
        } else {
            return Err(TrySendError::Full(value));
        }
        Ok(())
    }

    fn try_recv(&mut self) -> Result<u32, TryRecvError> {
        if let Some(value) = self.buffer.pop_front() {
            if self.buffer.len() < self.capacity
                && let Some(sent) = self.take_from_sender()
            {
                self.buffer.push_back(sent);
            }
            return Ok(value);
        }
        match self.take_from_sender() {
            Some(value) => Ok(value),
            None if self.closed && !self.on_trial() => Err(TryRecvError::Closed),
            None => Err(TryRecvError::Empty),
        }
    }

    fn take_from_sender(&mut self) -> Option<u32> {
        let place = self.senders.pop_front()?;
        let Place::SendWaits(value) = self.places[place] else { panic!("not a sender") };
        self.places[place] = Place::SendDone;
        Some(value)
    }

    fn on_trial(&self) -> bool {
        self.places.iter().any(|place| matches!(place, Place::RecvHas(_)))
    }

    fn tell_receivers(&mut self) {
        if self.closed && !self.on_trial() {
            for place in self.receivers.drain(..) {
                self.places[place] = Place::RecvClosed;
            }
        }
    }

    fn close(&mut self) {
        self.closed = true;
        self.tell_receivers();
        for place in self.senders.drain(..) {
            let Place::SendWaits(value) = self.places[place] else { panic!("not a sender") };
            self.places[place] = Place::SendClosed(value);
        }
    }

    /// The future in this place is gone, after it was ready or before.
    fn remove(&mut self, place: usize) -> Place {
        self.receivers.retain(|other| *other != place);
        self.senders.retain(|other| *other != place);
        std::mem::replace(&mut self.places[place], Place::Free)
    }

    fn drop_future(&mut self, place: usize) {
        if let Place::RecvHas(value) = self.remove(place) {
            match self.receivers.pop_front() {
                Some(next) => self.places[next] = Place::RecvHas(value),
                None => self.buffer.push_front(value),
            }
        }
        // A value that went into the buffer is taken by those who look, and nobody waits then.
        self.tell_receivers();
    }

    fn poll(&mut self, place: usize) -> Seen {
        let seen = match self.places[place] {
            Place::Free | Place::RecvWaits | Place::SendWaits(_) => return Seen::Pending,
            Place::RecvHas(value) => Seen::Received(Ok(value)),
            Place::RecvClosed => Seen::Received(Err(RecvError)),
            Place::SendDone => Seen::Sent(Ok(())),
            Place::SendClosed(value) => Seen::Sent(Err(SendError(value))),
        };
        self.remove(place);
        self.tell_receivers();
        seen
    }
}

#[derive(Debug, PartialEq)]
enum Seen {
    Pending,
    Sent(Result<(), SendError<u32>>),
    Received(Result<u32, RecvError>),
}

enum Future_<'a> {
    Send(SendFuture<'a, u32>),
    Recv(RecvFuture<'a, u32>),
}

/// Polls the future in a place, if there is one, and frees the place if it was ready.
fn poll(place: &mut Option<Future_<'_>>) -> Seen {
    let cx = &mut Context::from_waker(Waker::noop());
    let seen = match place {
        None => Seen::Pending,
        Some(Future_::Send(future)) => match Pin::new(future).poll(cx) {
            Poll::Pending => Seen::Pending,
            Poll::Ready(result) => Seen::Sent(result),
        },
        Some(Future_::Recv(future)) => match Pin::new(future).poll(cx) {
            Poll::Pending => Seen::Pending,
            Poll::Ready(result) => Seen::Received(result),
        },
    };
    if seen != Seen::Pending {
        *place = None;
    }
    seen
}

fn run(capacity: Option<usize>, ops: &[Op]) {
    let (tx, rx) = capacity.map_or_else(chan::unbounded, chan::bounded);
    let mut model = Model::new(capacity.unwrap_or(usize::MAX));
    let mut places: [Option<Future_<'_>>; PLACES] = [const { None }; PLACES];
    for (value, op) in (0..).zip(ops) {
        match *op {
            Op::TrySend => assert_eq!(tx.try_send(value), model.try_send(value)),
            Op::TryRecv => assert_eq!(rx.try_recv(), model.try_recv()),
            Op::StartSend(place) if places[place].is_none() => {
                model.places[place] = match model.try_send(value) {
                    Ok(()) => Place::SendDone,
                    Err(TrySendError::Closed(value)) => Place::SendClosed(value),
                    Err(TrySendError::Full(value)) => {
                        model.senders.push_back(place);
                        Place::SendWaits(value)
                    }
                };
                places[place] = Some(Future_::Send(tx.send_async(value)));
                assert_eq!(poll(&mut places[place]), model.poll(place));
            }
            Op::StartRecv(place) if places[place].is_none() => {
                places[place] = Some(Future_::Recv(rx.recv_async()));
                let expected = match model.try_recv() {
                    Ok(value) => Seen::Received(Ok(value)),
                    Err(TryRecvError::Closed) => Seen::Received(Err(RecvError)),
                    Err(TryRecvError::Empty) => {
                        model.receivers.push_back(place);
                        model.places[place] = Place::RecvWaits;
                        Seen::Pending
                    }
                };
                assert_eq!(poll(&mut places[place]), expected);
            }
            Op::StartSend(_) | Op::StartRecv(_) => {}
            Op::Poll(place) => assert_eq!(poll(&mut places[place]), model.poll(place)),
            Op::Drop(place) => {
                places[place] = None;
                model.drop_future(place);
            }
            Op::Close => {
                if value % 2 == 0 {
                    tx.close()
                } else {
                    rx.close()
                }
                model.close();
            }
        }
        assert_eq!(rx.len(), model.buffer.len());
        assert_eq!(tx.is_closed(), model.closed);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..Default::default() })]

    #[test]
    fn a_channel_does_what_the_model_says(
        capacity in prop_oneof![Just(Some(0)), Just(Some(1)), Just(Some(3)), Just(None)],
        ops in prop::collection::vec(op(), 1..120),
    ) {
        run(capacity, &ops);
    }
}
