//! `select!` against a sequential model, in random sequences of operations.
//!
//! One thread has both ends of four channels of different capacities, and futures that wait in them,
//! so that a rendezvous can be met. The model knows which arms are possible. A select must take one
//! of these, or the default if there is none; make the value of the arm that won and no other; and
//! leave all channels as the model has them. Arms are switched off by guards; all eight together are
//! both ends of every channel, and no select may serve itself.

use millpond::chan::{
    self, Receiver, RecvError, RecvFuture, Select, SendError, SendFuture, Sender,
};
use millpond::chan::{TryRecvError, TrySendError};
use millpond::{Context, select, select_async};
use proptest::prelude::*;
use std::cell::RefCell;
use std::collections::VecDeque;
use std::future::Future;
use std::pin::{Pin, pin};
use std::task::{self, Poll, Waker};

const CAPACITIES: [usize; CHANNELS] = [0, 1, 3, usize::MAX];
const CHANNELS: usize = 4;

#[derive(Debug, Clone, Copy)]
enum Op {
    TrySend(usize),
    TryRecv(usize),
    Close(usize),
    /// A future begins to wait in this channel, if none does.
    StartSend(usize),
    StartRecv(usize),
    /// It gives up.
    Cancel(usize),
    /// With the arms in this set: the lower four send, the upper four receive.
    Choose(Form, u8),
}

/// The ways to select.
#[derive(Debug, Clone, Copy)]
enum Form {
    /// With `default`.
    Try,
    /// Without; with a context that is done where nothing else is possible, which must then win.
    Wait,
    /// Polled once, with `default`.
    TryAsync,
    /// Polled once.
    Async,
    /// The dynamic one.
    Dynamic,
}

/// What came of a select.
#[derive(Debug, PartialEq)]
enum Won {
    Sent(usize, Result<(), SendError<u32>>),
    Got(usize, Result<u32, RecvError>),
    Nothing,
}

fn op() -> impl Strategy<Value = Op> {
    let channel = 0..CHANNELS;
    let form = prop_oneof![
        Just(Form::Try),
        Just(Form::Wait),
        Just(Form::TryAsync),
        Just(Form::Async),
        Just(Form::Dynamic),
    ];
    prop_oneof![
        3 => channel.clone().prop_map(Op::TrySend),
        2 => channel.clone().prop_map(Op::TryRecv),
        2 => channel.clone().prop_map(Op::StartSend),
        2 => channel.clone().prop_map(Op::StartRecv),
        1 => channel.clone().prop_map(Op::Cancel),
        12 => (form, any::<u8>()).prop_map(|(form, on)| Op::Choose(form, on)),
        // Rare: a closed channel is possible for ever.
        1 => (channel, 0..6).prop_map(|(channel, rare)| match rare {
            0 => Op::Close(channel),
            _ => Op::TrySend(channel),
        }),
    ]
}

/// Who waits in a channel, in the model.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Waits {
    Nobody,
    Sender(u32),
    Receiver,
}

/// What a future that waited says when it is polled.
#[derive(Debug, PartialEq)]
enum Said {
    Sent(Result<(), SendError<u32>>),
    Got(Result<u32, RecvError>),
}

struct Model {
    capacity: usize,
    buffer: VecDeque<u32>,
    closed: bool,
    waits: Waits,
    /// What the future that waited will say, once its wait has ended.
    says: Option<Said>,
}

impl Model {
    fn can_send(&self) -> bool {
        self.closed || self.buffer.len() < self.capacity || self.waits == Waits::Receiver
    }

    fn can_recv(&self) -> bool {
        self.closed || !self.buffer.is_empty() || matches!(self.waits, Waits::Sender(_))
    }

    /// A send that is possible.
    fn send(&mut self, value: u32) -> Result<(), SendError<u32>> {
        if self.closed {
            return Err(SendError(value));
        }
        if self.waits == Waits::Receiver {
            self.end(Said::Got(Ok(value)));
        } else {
            self.buffer.push_back(value);
        }
        Ok(())
    }

    /// A receive that is possible.
    fn recv(&mut self) -> Result<u32, RecvError> {
        let from_sender = match self.waits {
            Waits::Sender(value) => {
                self.end(Said::Sent(Ok(())));
                Some(value)
            }
            _ => None,
        };
        self.buffer.extend(from_sender);
        self.buffer.pop_front().ok_or(RecvError)
    }

    fn close(&mut self) {
        self.closed = true;
        match self.waits {
            Waits::Nobody => {}
            Waits::Sender(value) => self.end(Said::Sent(Err(SendError(value)))),
            Waits::Receiver => self.end(Said::Got(Err(RecvError))),
        }
    }

    fn end(&mut self, says: Said) {
        self.waits = Waits::Nobody;
        self.says = Some(says);
    }
}

enum Waiting<'a> {
    Send(SendFuture<'a, u32>),
    Recv(RecvFuture<'a, u32>),
}

/// The real channel beside its model.
struct Channel<'a> {
    tx: &'a Sender<u32>,
    rx: &'a Receiver<u32>,
    waiting: Option<Waiting<'a>>,
    model: Model,
}

impl Channel<'_> {
    fn poll(&mut self) -> Option<Said> {
        let cx = &mut task::Context::from_waker(Waker::noop());
        let said = match self.waiting.as_mut()? {
            Waiting::Send(future) => Pin::new(future).poll(cx).map(Said::Sent),
            Waiting::Recv(future) => Pin::new(future).poll(cx).map(Said::Got),
        };
        match said {
            Poll::Ready(said) => {
                self.waiting = None;
                Some(said)
            }
            Poll::Pending => None,
        }
    }

    /// After each step: what waited says what the model says, and nothing else is to be seen.
    fn check(&mut self) {
        assert_eq!(self.poll(), self.model.says.take());
        assert_eq!(self.waiting.is_some(), self.model.waits != Waits::Nobody);
        assert_eq!(self.rx.len(), self.model.buffer.len());
        assert_eq!(self.tx.is_closed(), self.model.closed);
    }

    fn try_send(&mut self, value: u32) {
        let expected = match self.model.can_send() {
            false => Err(TrySendError::Full(value)),
            true => self.model.send(value).map_err(|SendError(value)| TrySendError::Closed(value)),
        };
        assert_eq!(self.tx.try_send(value), expected);
    }

    fn try_recv(&mut self) {
        let expected = match self.model.can_recv() {
            false => Err(TryRecvError::Empty),
            true => self.model.recv().map_err(|RecvError| TryRecvError::Closed),
        };
        assert_eq!(self.rx.try_recv(), expected);
    }

    /// Only where the operation is not possible: then it waits.
    fn start(&mut self, send: Option<u32>) {
        let possible = if send.is_some() { self.model.can_send() } else { self.model.can_recv() };
        if possible || self.waiting.is_some() {
            return;
        }
        (self.waiting, self.model.waits) = match send {
            Some(value) => (Some(Waiting::Send(self.tx.send_async(value))), Waits::Sender(value)),
            None => (Some(Waiting::Recv(self.rx.recv_async())), Waits::Receiver),
        };
        assert_eq!(self.poll(), None, "a future that cannot go on is ready");
    }
}

/// All eight arms, and what else the select has.
macro_rules! choose {
    ($select:ident, $on:ident, $ends:ident, $make:ident; $($more:tt)*) => {
        $select! {
            r = $ends[0].0.send($make(0)), if $on[0] => Won::Sent(0, r),
            r = $ends[1].0.send($make(1)), if $on[1] => Won::Sent(1, r),
            r = $ends[2].0.send($make(2)), if $on[2] => Won::Sent(2, r),
            r = $ends[3].0.send($make(3)), if $on[3] => Won::Sent(3, r),
            v = $ends[0].1.recv(), if $on[4] => Won::Got(0, v),
            v = $ends[1].1.recv(), if $on[5] => Won::Got(1, v),
            v = $ends[2].1.recv(), if $on[6] => Won::Got(2, v),
            v = $ends[3].1.recv(), if $on[7] => Won::Got(3, v),
            $($more)*
        }
    };
}

fn poll_once(future: impl Future<Output = Won>) -> Won {
    match pin!(future).poll(&mut task::Context::from_waker(Waker::noop())) {
        Poll::Ready(won) => won,
        Poll::Pending => Won::Nothing,
    }
}

type Ends<'a> = [(&'a Sender<u32>, &'a Receiver<u32>); CHANNELS];

fn dynamic(on: [bool; 8], ends: Ends<'_>, make: &dyn Fn(usize) -> u32) -> Won {
    let mut select = Select::new();
    for (number, (tx, rx)) in ends.into_iter().enumerate() {
        if on[number] {
            select.send(tx, move || make(number), move |r| Won::Sent(number, r));
        }
        if on[CHANNELS + number] {
            select.recv(rx, move |v| Won::Got(number, v));
        }
    }
    select.try_wait().unwrap_or(Won::Nothing)
}

/// A select over the arms that are on: it and the model must agree.
fn run_select(channels: &mut [Channel<'_>], form: Form, on: u8, value: u32) {
    let on = std::array::from_fn::<_, 8, _>(|arm| on >> arm & 1 == 1);
    let ends: Ends<'_> = std::array::from_fn(|number| (channels[number].tx, channels[number].rx));
    let possible = (0..8).any(|arm| {
        let model = &channels[arm % CHANNELS].model;
        on[arm] && if arm < CHANNELS { model.can_send() } else { model.can_recv() }
    });
    let (done, cancel) = Context::background().with_cancel();
    cancel.cancel();
    let made = RefCell::new(Vec::new());
    let make = |number| {
        made.borrow_mut().push(number);
        value
    };
    let won = match form {
        Form::Try => choose!(select, on, ends, make; default => Won::Nothing),
        Form::Wait => {
            choose!(select, on, ends, make; _ = done.done(), if !possible => Won::Nothing)
        }
        Form::TryAsync => {
            poll_once(async { choose!(select_async, on, ends, make; default => Won::Nothing) })
        }
        Form::Async => poll_once(async { choose!(select_async, on, ends, make;) }),
        Form::Dynamic => dynamic(on, ends, &make),
    };
    let expected_values = match &won {
        Won::Sent(number, _) => vec![*number],
        _ => Vec::new(),
    };
    assert_eq!(made.into_inner(), expected_values, "the value of the winner is made, and no other");
    match won {
        Won::Nothing => assert!(!possible, "an arm was possible"),
        Won::Sent(number, result) => {
            let model = &mut channels[number].model;
            assert!(on[number] && model.can_send(), "the send to {number} was not possible");
            assert_eq!(result, model.send(value));
        }
        Won::Got(number, result) => {
            let model = &mut channels[number].model;
            assert!(on[CHANNELS + number] && model.can_recv(), "nothing to receive from {number}");
            assert_eq!(result, model.recv());
        }
    }
}

fn run(ops: &[Op]) {
    let pairs = CAPACITIES.map(|capacity| match capacity {
        usize::MAX => chan::unbounded(),
        _ => chan::bounded(capacity),
    });
    let mut channels: Vec<_> = std::iter::zip(&pairs, CAPACITIES)
        .map(|((tx, rx), capacity)| {
            let (buffer, waits) = (VecDeque::new(), Waits::Nobody);
            let model = Model { capacity, buffer, closed: false, waits, says: None };
            Channel { tx, rx, waiting: None, model }
        })
        .collect();
    for (value, op) in (0..).zip(ops) {
        match *op {
            Op::TrySend(number) => channels[number].try_send(value),
            Op::TryRecv(number) => channels[number].try_recv(),
            Op::StartSend(number) => channels[number].start(Some(value)),
            Op::StartRecv(number) => channels[number].start(None),
            Op::Cancel(number) => {
                channels[number].waiting = None;
                channels[number].model.waits = Waits::Nobody;
            }
            Op::Close(number) => {
                if value % 2 == 0 {
                    pairs[number].0.close();
                } else {
                    pairs[number].1.close();
                }
                channels[number].model.close();
            }
            Op::Choose(form, on) => run_select(&mut channels, form, on, value),
        }
        channels.iter_mut().for_each(Channel::check);
    }
    // What is left comes out in its order.
    for channel in &mut channels {
        while channel.model.can_recv() && !(channel.model.closed && channel.rx.is_empty()) {
            channel.try_recv();
            channel.check();
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, failure_persistence: None, ..Default::default() })]

    #[test]
    fn a_select_does_what_the_model_allows(ops in prop::collection::vec(op(), 1..150)) {
        run(&ops);
    }
}
