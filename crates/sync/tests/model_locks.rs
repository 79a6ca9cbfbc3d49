//! Random sequences of operations on a semaphore and on a reader-writer lock, against models that
//! are simple enough to be believed.
//!
//! One thread drives the lock through futures that it polls and drops as the sequence says. Each
//! future has a place; the model says what is in each place, and after each step exactly what must be
//! seen there.

#![cfg(not(loom))]

use millpond_sync::{
    AcquireError, AcquireFuture, ReadFuture, RwLock, RwLockReadGuard, RwLockWriteGuard, Semaphore,
    SemaphorePermit, TryAcquireError, WriteFuture,
};
use proptest::prelude::*;
use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

const PLACES: usize = 6;

fn poll<F: Future + Unpin>(future: &mut F) -> Option<F::Output> {
    match Pin::new(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(output) => Some(output),
        Poll::Pending => None,
    }
}

mod semaphore {
    use super::*;

    #[derive(Debug, Clone, Copy)]
    enum Op {
        /// Acquires at once, into this place if it is free.
        Try(usize, u32),
        /// Makes and polls a future in this place, if it is free.
        Start(usize, u32),
        Poll(usize),
        /// Drops what is in this place: a future or a permit.
        Drop(usize),
        /// Drops all but this many permits of the permit in this place.
        Split(usize, u32),
        Add(usize),
        Forget(usize),
        Close,
    }

    fn op() -> impl Strategy<Value = Op> {
        prop_oneof![
            4 => (0..PLACES, 0..4u32).prop_map(|(place, n)| Op::Try(place, n)),
            8 => (0..PLACES, 0..5u32).prop_map(|(place, n)| Op::Start(place, n)),
            6 => (0..PLACES).prop_map(Op::Poll),
            6 => (0..PLACES).prop_map(Op::Drop),
            2 => (0..PLACES, 0..3u32).prop_map(|(place, n)| Op::Split(place, n)),
            1 => (0..3usize).prop_map(Op::Add),
            1 => (0..3usize).prop_map(Op::Forget),
            1 => Just(Op::Close),
        ]
    }

    #[derive(Debug, Clone, Copy, PartialEq)]
    enum Place {
        Free,
        /// A future that waits, and what it would say if it were polled.
        Waits(u32),
        Granted(u32),
        Closed,
        Holds(u32),
    }

    struct Model {
        available: usize,
        closed: bool,
        places: [Place; PLACES],
        line: VecDeque<usize>,
    }

    impl Model {
        fn try_acquire(&mut self, n: u32) -> Result<(), TryAcquireError> {
            if self.closed {
                return Err(TryAcquireError::Closed);
            }
            if !self.line.is_empty() || self.available < n as usize {
                return Err(TryAcquireError::NoPermits);
            }
            self.available -= n as usize;
            Ok(())
        }

        fn release(&mut self, n: usize) {
            self.available += n;
            while let Some(front) = self.line.front() {
                let Place::Waits(n) = self.places[*front] else { panic!("not in line") };
                if self.available < n as usize {
                    return;
                }
                self.available -= n as usize;
                self.places[*front] = Place::Granted(n);
                self.line.pop_front();
            }
        }

        fn close(&mut self) {
            self.closed = true;
            for place in self.line.drain(..) {
                self.places[place] = Place::Closed;
            }
        }

        fn remove(&mut self, place: usize) {
            self.line.retain(|other| *other != place);
            let back = match std::mem::replace(&mut self.places[place], Place::Free) {
                Place::Granted(n) | Place::Holds(n) => n as usize,
                _ => 0,
            };
            // Also when it was none: the one that left may have stood before others.
            self.release(back);
        }
    }

    enum Real<'a> {
        Free,
        Future(AcquireFuture<'a>),
        Permit(SemaphorePermit<'a>),
    }

    /// Polls the future in a place, which must say what the model says.
    fn poll_place(real: &mut Real<'_>, model: &mut Place) {
        let Real::Future(future) = real else { return };
        match (poll(future), *model) {
            (None, Place::Waits(_)) => {}
            (Some(Ok(permit)), Place::Granted(n)) => {
                assert_eq!(permit.num_permits(), n as usize);
                (*real, *model) = (Real::Permit(permit), Place::Holds(n));
            }
            (Some(Err(AcquireError)), Place::Closed) => {
                (*real, *model) = (Real::Free, Place::Free);
            }
            (seen, expected) => panic!("seen {seen:?}, expected {expected:?}"),
        }
    }

    fn run(permits: usize, ops: &[Op]) {
        let semaphore = Semaphore::new(permits);
        let mut real = [const { Real::Free }; PLACES];
        let mut model = Model {
            available: permits,
            closed: false,
            places: [Place::Free; PLACES],
            line: VecDeque::new(),
        };
        for op in ops {
            match *op {
                Op::Try(at, n) if model.places[at] == Place::Free => {
                    let expected = model.try_acquire(n);
                    match semaphore.try_acquire_many(n) {
                        Ok(permit) => {
                            assert_eq!(expected, Ok(()));
                            (real[at], model.places[at]) = (Real::Permit(permit), Place::Holds(n));
                        }
                        Err(error) => assert_eq!(expected, Err(error)),
                    }
                }
                Op::Start(at, n) if model.places[at] == Place::Free => {
                    model.places[at] = match model.try_acquire(n) {
                        Ok(()) => Place::Granted(n),
                        Err(TryAcquireError::Closed) => Place::Closed,
                        Err(TryAcquireError::NoPermits) => {
                            model.line.push_back(at);
                            Place::Waits(n)
                        }
                    };
                    real[at] = Real::Future(semaphore.acquire_many_async(n));
                    poll_place(&mut real[at], &mut model.places[at]);
                }
                Op::Try(..) | Op::Start(..) => {}
                Op::Poll(at) => poll_place(&mut real[at], &mut model.places[at]),
                Op::Drop(at) => {
                    real[at] = Real::Free;
                    model.remove(at);
                }
                Op::Split(at, keep) => {
                    if let (Real::Permit(permit), Place::Holds(n)) =
                        (&mut real[at], model.places[at])
                        && let Some(kept) = permit.split(keep)
                    {
                        real[at] = Real::Permit(kept);
                        model.places[at] = Place::Holds(keep);
                        model.release((n - keep) as usize);
                    }
                }
                Op::Add(n) => {
                    semaphore.add_permits(n);
                    model.release(n);
                }
                Op::Forget(n) => {
                    let expected = n.min(model.available);
                    model.available -= expected;
                    assert_eq!(semaphore.forget_permits(n), expected);
                }
                Op::Close => {
                    semaphore.close();
                    model.close();
                }
            }
            assert_eq!(semaphore.available_permits(), model.available);
            assert_eq!(semaphore.is_closed(), model.closed);
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..Default::default() })]

        #[test]
        fn a_semaphore_does_what_the_model_says(
            permits in 0..5usize,
            ops in prop::collection::vec(op(), 1..120),
        ) {
            run(permits, &ops);
        }
    }
}

mod rwlock {
    use super::*;

    #[derive(Debug, Clone, Copy)]
    enum Op {
        /// Locks at once, into this place if it is free.
        TryRead(usize),
        TryWrite(usize),
        /// Makes and polls a future in this place, if it is free.
        StartRead(usize),
        StartWrite(usize),
        Poll(usize),
        /// Drops what is in this place: a future or a guard.
        Drop(usize),
        Downgrade(usize),
    }

    fn op() -> impl Strategy<Value = Op> {
        prop_oneof![
            2 => (0..PLACES).prop_map(Op::TryRead),
            2 => (0..PLACES).prop_map(Op::TryWrite),
            6 => (0..PLACES).prop_map(Op::StartRead),
            6 => (0..PLACES).prop_map(Op::StartWrite),
            6 => (0..PLACES).prop_map(Op::Poll),
            8 => (0..PLACES).prop_map(Op::Drop),
            3 => (0..PLACES).prop_map(Op::Downgrade),
        ]
    }

    #[derive(Debug, Clone, Copy, PartialEq)]
    enum Place {
        Free,
        /// In line.
        WaitsToRead,
        WaitsToWrite,
        /// In, whether its future has been polled since or not.
        Reads,
        Writes,
    }

    /// The places are nearly all of it; who waits stands in `line`, in the order of arrival.
    struct Model {
        places: [Place; PLACES],
        line: VecDeque<usize>,
    }

    impl Model {
        fn any(&self, what: Place) -> bool {
            self.places.contains(&what)
        }

        fn may_read(&self) -> bool {
            !self.any(Place::Writes) && self.line.is_empty()
        }

        fn may_write(&self) -> bool {
            self.may_read() && !self.any(Place::Reads)
        }

        fn let_readers_in(&mut self) {
            for place in &mut self.places {
                if *place == Place::WaitsToRead {
                    *place = Place::Reads;
                }
            }
            self.line.retain(|at| self.places[*at] == Place::WaitsToWrite);
        }

        /// Whoever was in this place is out of it, and in another state if it is still there.
        fn change(&mut self, at: usize, to: Place) {
            let was = std::mem::replace(&mut self.places[at], to);
            self.line.retain(|other| *other != at);
            if self.any(Place::Writes) {
                return;
            }
            let readers_turn = was == Place::Writes && self.any(Place::WaitsToRead);
            if readers_turn || !self.any(Place::WaitsToWrite) {
                self.let_readers_in();
            } else if !self.any(Place::Reads) {
                let writer = |at: &usize| self.places[*at] == Place::WaitsToWrite;
                let index = self.line.iter().position(writer).expect("a writer waits");
                let at = self.line.remove(index).expect("just found");
                self.places[at] = Place::Writes;
            }
        }
    }

    enum Real<'a> {
        Free,
        ToRead(ReadFuture<'a, ()>),
        ToWrite(WriteFuture<'a, ()>),
        #[allow(dead_code, reason = "held until the place is dropped")]
        Reads(RwLockReadGuard<'a, ()>),
        Writes(RwLockWriteGuard<'a, ()>),
    }

    /// Polls the future in a place, which must say what the model says.
    fn poll_place(real: &mut Real<'_>, model: Place) {
        match real {
            Real::ToRead(future) => match poll(future) {
                None => assert_eq!(model, Place::WaitsToRead),
                Some(guard) => {
                    assert_eq!(model, Place::Reads);
                    *real = Real::Reads(guard);
                }
            },
            Real::ToWrite(future) => match poll(future) {
                None => assert_eq!(model, Place::WaitsToWrite),
                Some(guard) => {
                    assert_eq!(model, Place::Writes);
                    *real = Real::Writes(guard);
                }
            },
            Real::Free | Real::Reads(_) | Real::Writes(_) => {}
        }
    }

    fn run(ops: &[Op]) {
        let lock = RwLock::new(());
        let mut real = [const { Real::Free }; PLACES];
        let mut model = Model { places: [Place::Free; PLACES], line: VecDeque::new() };
        for op in ops {
            let (Op::TryRead(at)
            | Op::TryWrite(at)
            | Op::StartRead(at)
            | Op::StartWrite(at)
            | Op::Poll(at)
            | Op::Drop(at)
            | Op::Downgrade(at)) = *op;
            let free = model.places[at] == Place::Free;
            match op {
                Op::TryRead(_) if free => {
                    let guard = lock.try_read();
                    assert_eq!(guard.is_some(), model.may_read());
                    if let Some(guard) = guard {
                        (real[at], model.places[at]) = (Real::Reads(guard), Place::Reads);
                    }
                }
                Op::TryWrite(_) if free => {
                    let guard = lock.try_write();
                    assert_eq!(guard.is_some(), model.may_write());
                    if let Some(guard) = guard {
                        (real[at], model.places[at]) = (Real::Writes(guard), Place::Writes);
                    }
                }
                Op::StartRead(_) if free => {
                    let may = model.may_read();
                    model.places[at] = if may { Place::Reads } else { Place::WaitsToRead };
                    if !may {
                        model.line.push_back(at);
                    }
                    real[at] = Real::ToRead(lock.read_async());
                    poll_place(&mut real[at], model.places[at]);
                }
                Op::StartWrite(_) if free => {
                    let may = model.may_write();
                    model.places[at] = if may { Place::Writes } else { Place::WaitsToWrite };
                    if !may {
                        model.line.push_back(at);
                    }
                    real[at] = Real::ToWrite(lock.write_async());
                    poll_place(&mut real[at], model.places[at]);
                }
                Op::Poll(_) => poll_place(&mut real[at], model.places[at]),
                Op::Drop(_) => {
                    real[at] = Real::Free;
                    model.change(at, Place::Free);
                }
                Op::Downgrade(_) => match std::mem::replace(&mut real[at], Real::Free) {
                    Real::Writes(guard) => {
                        real[at] = Real::Reads(RwLockWriteGuard::downgrade(guard));
                        model.change(at, Place::Reads);
                    }
                    other => real[at] = other,
                },
                _ => {}
            }
        }
        real.iter_mut().for_each(|place| *place = Real::Free);
        assert!(lock.try_write().is_some(), "something is left behind");
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..Default::default() })]

        #[test]
        fn a_lock_does_what_the_model_says(ops in prop::collection::vec(op(), 1..120)) {
            run(&ops);
        }
    }
}
