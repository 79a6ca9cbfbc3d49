//! What may stand in an arm and in a body, and what the arms leave behind.

use crate::callers::{PATIENCE, from_each, runtime};
use millpond::chan::{self, Receiver, RecvError};
use millpond::sync::Mutex;
use millpond::time::{Ticker, after};
use millpond::{go, go_local, select, select_async, spawn};
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

#[test]
fn a_select_is_an_expression_and_its_bodies_may_leave_the_function() {
    fn first(rx: &Receiver<io::Result<u8>>, stop: &Receiver<()>) -> io::Result<u8> {
        loop {
            let doubled = select! {
                v = rx.recv() => match v {
                    Ok(v) => v? * 2,
                    Err(RecvError) => break Ok(0),
                },
                _ = stop.recv() => return Ok(255),
            };
            if doubled > 10 {
                return Ok(doubled);
            }
        }
    }
    from_each(|| {
        let (tx, rx) = chan::unbounded();
        let (_quit, stop) = chan::bounded(0);
        for v in [1, 2, 50] {
            tx.send(Ok(v)).unwrap();
        }
        tx.send(Err(io::ErrorKind::NotFound.into())).unwrap();
        assert_eq!(first(&rx, &stop).unwrap(), 100);
        assert_eq!(first(&rx, &stop).unwrap_err().kind(), io::ErrorKind::NotFound);
        stop.close();
        assert_eq!(first(&rx, &stop).unwrap(), 255);
    });
}

#[test]
fn the_operand_may_be_any_place() {
    struct Inbox {
        rx: Receiver<u8>,
        tx: chan::Sender<u8>,
    }
    impl Inbox {
        fn rx(&self) -> &Receiver<u8> {
            &self.rx
        }
    }
    from_each(|| {
        let (tx, rx) = chan::bounded(1);
        let inbox = Arc::new(Mutex::new(Inbox { rx, tx }));
        let boxes = [inbox.lock()];
        boxes[0].tx.send(4).unwrap();
        assert_eq!(select! { v = boxes[0].rx().recv() => v }, Ok(4));
        assert_eq!(select! { r = boxes[0].tx.send(5) => r }, Ok(()));
        let rx = &&boxes[0].rx;
        assert_eq!(select! { v = rx.recv() => v }, Ok(5));
    });
}

#[test]
fn the_bodies_may_use_what_the_arms_borrowed() {
    from_each(|| {
        let (tx, rx) = chan::bounded(1);
        tx.send(1).unwrap();
        let mut handle = go(|| 5);
        let kept = select! {
            v = handle.join(), if false => v.unwrap(),
            v = rx.recv() => {
                drop(rx);
                handle.join().unwrap() + v.unwrap()
            }
        };
        assert_eq!(kept, 6);
        assert!(tx.is_closed());
    });
}

#[test]
fn the_end_of_a_goroutine_or_task_is_an_arm() {
    from_each(|| {
        let (tx, rx) = chan::bounded::<u8>(0);
        let mut goroutine = go({
            let rx = rx.clone();
            move || rx.recv()
        });
        let mut task = spawn(async move { rx.recv_async().await });
        for _ in 0..2 {
            // While both wait, neither arm is possible, and the handles are as they were.
            select! {
                _ = goroutine.join() => panic!("it has not ended"),
                _ = task.join() => panic!("it has not ended"),
                _ = after(Duration::from_millis(1)) => {}
            }
        }
        tx.send(1).unwrap();
        tx.send(2).unwrap();
        let first = select! { v = goroutine.join() => v, v = task.join(), if false => v };
        let second = select! { v = task.join() => v };
        let mut got = [first.unwrap().unwrap(), second.unwrap().unwrap()];
        got.sort_unstable();
        assert_eq!(got, [1, 2]);
        let mut panics = go(|| {
            std::panic::resume_unwind(Box::new("on purpose"));
        });
        assert!(select! { v = panics.join() => v }.unwrap_err().is_panic());
    });
}

#[test]
fn a_result_that_lost_its_select_is_still_there() {
    from_each(|| {
        let mut lost = 0;
        for _ in 0..64 {
            let (mut a, mut b) = (spawn(async { 1 }), go(|| 2));
            while !(a.is_finished() && b.is_finished()) {
                millpond::yield_now();
            }
            let sum = select! {
                v = a.join() => { lost += 1; v.unwrap() + b.join().unwrap() }
                v = b.join() => v.unwrap() + a.join().unwrap(),
            };
            assert_eq!(sum, 3);
        }
        // Each of the two won at times: 64 draws all alike have a chance of 2^-63.
        assert!(lost > 0 && lost < 64);
    });
}

#[test]
fn a_local_handle_is_an_arm_too() {
    runtime(|| {
        let value = Rc::new(3);
        let mut local = go_local(move || value);
        assert_eq!(*select! { v = local.join() => v }.unwrap(), 3);
    });
}

#[test]
fn children_of_a_scope_and_jobs_are_arms() {
    from_each(|| {
        let words = ["to", "be"];
        let (tx, rx) = chan::bounded::<()>(0);
        let workers = millpond::pool::Workers::new(1);
        millpond::scope(|s| {
            let mut child = s.go(|| rx.recv().map(|()| words[0].len()));
            let mut job = workers.submit({
                let rx = rx.clone();
                move || rx.recv().map(|()| 3)
            });
            select! {
                _ = child.join() => panic!("it has not ended"),
                _ = job.join() => panic!("it has not ended"),
                _ = after(Duration::from_millis(1)) => {}
            }
            drop(tx);
            let ended = select! { v = child.join() => v.unwrap(), v = job.join() => v.unwrap() };
            assert_eq!(ended, Err(RecvError));
        });
        let mut done = workers.submit(|| 4);
        assert_eq!(select! { v = done.join() => v }.unwrap(), 4);
        assert_eq!(
            millpond::scope(|s| {
                let mut child = s.go(|| words.concat());
                select! { v = child.join() => v.unwrap() }
            }),
            "tobe"
        );
    });
}

#[test]
fn ticks_and_times_are_arms() {
    from_each(|| {
        let ticker = Ticker::new(Duration::from_millis(1));
        let (mut ticks, limit) = (0, after(Duration::from_millis(20)));
        loop {
            select! {
                _ = ticker.tick() => ticks += 1,
                _ = &limit => break,
            }
        }
        // It may be late, and then ticks are dropped; it is never early.
        assert!((1..=20).contains(&ticks), "{ticks}");
    });
}

#[test]
fn an_async_select_awaits_and_may_await_in_values_and_bodies() {
    runtime(|| {
        let (tx, rx) = chan::bounded(0);
        let (reply, replied) = chan::bounded(0);
        let task = spawn(async move {
            let mut sum = 0;
            loop {
                select_async! {
                    v = rx.recv() => match v {
                        Ok(v) => sum += v,
                        Err(RecvError) => break,
                    },
                    r = reply.send(async { sum }.await) => {
                        r.unwrap();
                        millpond::yield_async().await;
                    }
                }
            }
            sum
        });
        tx.send(2).unwrap();
        assert_eq!(replied.recv(), Ok(2));
        tx.send(3).unwrap();
        drop(tx);
        assert_eq!(task.join().unwrap(), 5);
        let word = millpond::block_on(async {
            select_async! {
                _ = replied.recv() => "closed",
                _ = after(PATIENCE) => "time",
            }
        });
        assert_eq!(word, "closed");
        let word = millpond::block_on(async {
            let (_tx, rx) = chan::bounded::<u8>(0);
            select_async! {
                _ = rx.recv() => "received",
                _ = after(Duration::from_millis(1)) => "time",
            }
        });
        assert_eq!(word, "time");
    });
}

#[test]
fn selects_nest() {
    from_each(|| {
        let (tx, rx) = chan::bounded(1);
        let (inner_tx, inner) = chan::bounded(1);
        tx.send(1).unwrap();
        inner_tx.send(10).unwrap();
        let sum = select! {
            v = rx.recv() => v.unwrap() + select! { w = inner.recv() => w.unwrap(), default => 0 },
        };
        assert_eq!(sum, 11);
        let sent = select! {
            r = tx.send(select! { default => 7 }) => r,
        };
        assert_eq!((sent, rx.recv()), (Ok(()), Ok(7)));
    });
}
