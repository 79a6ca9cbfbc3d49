//! Lines of waiters, as goroutines use them: order, what passes, and misuse.

use millpond_prim::sync::Lock;
use millpond_rt::wait::line::{Givers, Giving, Taken, Takers, Taking, fits, give, take};
use millpond_rt::wait::{WaitReason, Waiting};
use millpond_rt::{Builder, JoinHandle, go, yield_now};
use std::sync::Arc;

type Line = Arc<Lock<Takers<Box<usize>>>>;

fn run(f: impl FnOnce() + Send + 'static) {
    Builder::new().procs(1).run(f).unwrap();
}

fn take_one(line: &Line) -> Taken<Box<usize>> {
    match take(line.lock(), |line| line, WaitReason::ChanRecv) {
        Taking::Over(taken) => taken,
        Taking::Leaving(taker) => taker.leave(),
    }
}

/// Goroutines that wait in `line`, in the order of their handles.
fn takers(line: &Line, count: usize) -> Vec<JoinHandle<Taken<Box<usize>>>> {
    let handles = (0..count).map(|before| {
        let handle = {
            let line = line.clone();
            go(move || take_one(&line))
        };
        while line.lock().len() == before {
            yield_now();
        }
        handle
    });
    handles.collect()
}

#[test]
fn goroutines_are_given_values_in_the_order_in_which_they_came() {
    run(|| {
        let line = Line::default();
        let waiting = takers(&line, 4);
        for number in 0..2 {
            let fired = line.lock().give(Box::new(number)).unwrap();
            fired.ready();
        }
        let told = line.lock().tell(9).unwrap();
        told.ready();
        let mut ended = Vec::new();
        line.lock().end_all(&mut ended);
        drop(ended);
        let taken: Vec<_> = waiting.into_iter().map(|handle| handle.join().unwrap()).collect();
        let value = |number| Taken::Value(Box::new(number));
        assert_eq!(taken, [value(0), value(1), Taken::Number(9), Taken::Nothing]);
        assert!(line.lock().give(Box::new(3)).is_err());
    });
}

#[test]
fn a_value_of_a_goroutine_is_taken_or_comes_back() {
    run(|| {
        let line = Arc::new(Lock::new(Givers::<Box<u64>>::new()));
        let giver = |value| {
            let line = line.clone();
            go(move || {
                match give(line.lock(), |line| line, Box::new(value), WaitReason::ChanSend) {
                    Giving::Over(kept) => kept,
                    Giving::Leaving(giver) => giver.leave(),
                }
            })
        };
        let (first, second) = (giver(1), giver(2));
        while line.lock().len() < 2 {
            yield_now();
        }
        let (value, fired) = line.lock().take().unwrap();
        fired.ready();
        let mut ended = Vec::new();
        line.lock().end_all(&mut ended);
        drop(ended);
        let mut kept = [first.join().unwrap(), second.join().unwrap()];
        kept.sort();
        assert_eq!(kept, [None, Some(Box::new(3 - *value))]);
    });
}

#[test]
fn who_will_never_run_again_is_passed_over() {
    let line = Line::default();
    let in_line = line.clone();
    run(move || {
        let waiting = takers(&in_line, 2);
        drop(waiting);
    });
    let live = {
        let line = line.clone();
        std::thread::spawn(move || take_one(&line))
    };
    // The two frozen ones stand in front.
    while line.lock().len() < 3 {
        std::thread::yield_now();
    }
    let fired = line.lock().give(Box::new(7)).unwrap();
    fired.ready();
    assert_eq!(live.join().unwrap(), Taken::Value(Box::new(7)));
    assert_eq!(line.lock().len(), 0);
}

#[test]
fn a_goroutine_that_forgot_to_leave_cannot_begin_another_wait() {
    run(|| {
        let line = Line::default();
        let forgetful = {
            let line = line.clone();
            go(move || {
                let joined = take(line.lock(), |line| line, WaitReason::ChanRecv);
                std::mem::forget(joined);
                let waiting = Waiting::begin();
                waiting.park(WaitReason::Sleep, None);
            })
        };
        assert!(forgetful.join().unwrap_err().is_panic());
        // It is in line for nothing; who gives reaches memory that is still there.
        drop(line.lock().give(Box::new(1)).unwrap());
    });
}

#[test]
fn only_the_goroutine_that_joined_can_leave() {
    run(|| {
        let line = Line::default();
        let joined = take(line.lock(), |line| line, WaitReason::ChanRecv);
        let Taking::Leaving(taker) = joined else { panic!("a goroutine leaves") };
        let other = millpond_rt::go_local(move || drop(taker.leave()));
        while !other.is_finished() {
            yield_now();
        }
        assert!(other.join().unwrap_err().is_panic());
    });
}

#[test]
fn what_does_not_fit_is_known() {
    assert!(fits::<u64>() && fits::<(usize, usize)>() && fits::<&str>() && fits::<()>());
    assert!(!fits::<[usize; 3]>() && !fits::<u128>());
}
