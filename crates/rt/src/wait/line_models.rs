//! What loom explores of lines: values that pass through the slots of waiters, without a second lock.
//!
//! The waiters are threads, whose places are those of goroutines. The models of channels go through lines as
//! well, with all that may come between; these are about the slot alone.

use super::WaitReason;
use super::line::{Givers, Giving, Taken, Takers, Taking, give, take};
use loom::sync::Arc;
use loom::thread;
use millpond_prim::sync::Lock;

fn take_one(line: &Lock<Takers<u64>>) -> Taken<u64> {
    match take(line.lock(), |line| line, WaitReason::ChanRecv) {
        Taking::Over(taken) => taken,
        Taking::Leaving(_) => unreachable!("a thread"),
    }
}

/// Two takers, of whom one is given a value and one is told that nothing comes.
#[test]
fn each_taker_learns_what_it_was_given_without_the_lock() {
    loom::model(|| {
        let line = Arc::new(Lock::new(Takers::<u64>::new()));
        let takers: Vec<_> = (0..2)
            .map(|_| {
                let line = line.clone();
                thread::spawn(move || take_one(&line))
            })
            .collect();
        let mut given = false;
        let mut waited = 0;
        while waited < 2 {
            let mut fired = Vec::new();
            let mut takers = line.lock();
            waited += takers.len();
            if !given && let Ok(first) = takers.give(7) {
                given = true;
                fired.push(first);
            }
            takers.end_all(&mut fired);
            drop(takers);
            drop(fired);
            thread::yield_now();
        }
        let mut taken: Vec<_> = takers.into_iter().map(|t| t.join().unwrap()).collect();
        taken.sort_by_key(|taken| *taken == Taken::Nothing);
        assert_eq!(taken, [Taken::Value(7), Taken::Nothing]);
    });
}

/// A giver whose value is taken, or comes back, while another looks.
#[test]
fn a_value_is_with_the_giver_or_with_who_took_it() {
    loom::model(|| {
        let line = Arc::new(Lock::new(Givers::<Box<u64>>::new()));
        let giver = {
            let line = line.clone();
            thread::spawn(move || {
                match give(line.lock(), |line| line, Box::new(7), WaitReason::ChanSend) {
                    Giving::Over(kept) => kept,
                    Giving::Leaving(_) => unreachable!("a thread"),
                }
            })
        };
        let taker = {
            let line = line.clone();
            thread::spawn(move || {
                let (value, fired) = line.lock().take()?;
                fired.ready();
                Some(value)
            })
        };
        loop {
            let mut fired = Vec::new();
            line.lock().end_all(&mut fired);
            if !fired.is_empty() {
                break drop(fired);
            }
            if Arc::strong_count(&line) == 1 {
                break;
            }
            thread::yield_now();
        }
        let (kept, taken) = (giver.join().unwrap(), taker.join().unwrap());
        assert_eq!(kept.is_some(), taken.is_none());
        assert_eq!(*kept.or(taken).unwrap(), 7);
    });
}
