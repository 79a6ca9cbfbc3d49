//! Where `block_on` polls: on a stack of the M, wherever that is enough, and as the same goroutine.

use millpond_rt::{Builder, GoBuilder, block_on, go, with_stack, yield_now};
use std::future::{Future, poll_fn};
use std::hint::black_box;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Poll;

fn run<T: Send + 'static>(procs: usize, body: impl FnOnce() -> T + Send + 'static) -> T {
    Builder::new().procs(procs).stack_size(64 << 10).run(body).unwrap()
}

/// Needs `BYTES` of stack.
#[inline(never)]
fn deep<const BYTES: usize>() -> usize {
    let room = black_box([1u8; BYTES]);
    room.iter().map(|byte| usize::from(*byte)).sum()
}

fn here() -> usize {
    let local = 0u8;
    &raw const local as usize
}

/// Where a future of the calling goroutine is polled: a frame's address.
fn where_polled() -> usize {
    block_on(async { here() })
}

#[test]
fn goroutines_of_one_m_poll_on_one_stack() {
    run(1, || {
        let places: Vec<usize> = (0..3).map(|_| go(where_polled).join().unwrap()).collect();
        assert!(places.iter().all(|place| place.abs_diff(places[0]) < 64 << 10), "{places:x?}");
        let (own, polled) = go(|| (here(), where_polled())).join().unwrap();
        assert!(own.abs_diff(polled) > 32 << 10);
    });
}

#[test]
fn a_poll_may_use_more_than_a_small_goroutine_has() {
    run(1, || {
        let small = GoBuilder::new().stack_size(16 << 10);
        let sum = small.go(|| block_on(async { deep::<{ 24 << 10 }>() }));
        assert_eq!(sum.join().unwrap(), 24 << 10);
    });
}

#[test]
fn a_larger_stack_that_was_asked_for_is_polled_on() {
    run(1, || {
        let large = GoBuilder::new().stack_size(1 << 20);
        let sum = large.go(|| block_on(async { deep::<{ 300 << 10 }>() }));
        assert_eq!(sum.join().unwrap(), 300 << 10);
        let sum = go(|| with_stack(1 << 20, || block_on(async { deep::<{ 300 << 10 }>() })));
        assert_eq!(sum.join().unwrap(), 300 << 10);
        // And after it as before.
        assert!(
            go(|| (with_stack(1 << 20, || ()), here().abs_diff(where_polled())).1 > 32 << 10)
                .join()
                .unwrap()
        );
    });
}

#[test]
fn polls_that_park_have_a_stack_each() {
    run(1, || {
        let inside = Arc::new(AtomicUsize::new(0));
        let goroutines: Vec<_> = (0..6)
            .map(|number| {
                let inside = inside.clone();
                go(move || {
                    block_on(async {
                        let mine = black_box([number; 64]);
                        inside.fetch_add(1, Ordering::Relaxed);
                        while inside.load(Ordering::Relaxed) < 6 {
                            yield_now();
                        }
                        assert_eq!(block_on(async { number }), number);
                        assert_eq!(mine, [number; 64]);
                        here()
                    })
                })
            })
            .collect();
        let mut places: Vec<_> = goroutines.into_iter().map(|g| g.join().unwrap()).collect();
        places.sort_unstable();
        assert!(places.windows(2).all(|two| two[1] - two[0] > 32 << 10), "{places:x?}");
    });
}

#[test]
fn a_poll_that_panics_gives_its_stack_back_and_the_panic_to_the_caller() {
    run(1, || {
        for _ in 0..3 {
            let caught = go(|| block_on(async { panic!("in a poll") })).join();
            assert!(caught.unwrap_err().is_panic());
        }
        let place = where_polled();
        let caught = catch_unwind(AssertUnwindSafe(|| block_on(async { panic!("in a poll") })));
        assert_eq!(caught.unwrap_err().downcast_ref::<&str>(), Some(&"in a poll"));
        assert_eq!(where_polled().abs_diff(place) / (64 << 10), 0);
    });
}

#[test]
fn wake_ups_between_polls_find_the_goroutine() {
    run(2, || {
        let goroutines: Vec<_> = (0..50)
            .map(|_| {
                go(|| {
                    let mut polls = 0;
                    block_on(async {
                        let mut helper = None;
                        let mut wait = pin!(poll_fn(|cx| {
                            polls += 1;
                            if polls > 20 {
                                return Poll::Ready(());
                            }
                            let waker = cx.waker().clone();
                            helper = Some(go(move || waker.wake()));
                            Poll::Pending
                        }));
                        wait.as_mut().await;
                    });
                    polls
                })
            })
            .collect();
        assert!(goroutines.into_iter().all(|g| g.join().unwrap() == 21));
    });
}

/// The same future, polled by a goroutine and then by a plain thread.
#[test]
fn a_plain_thread_polls_on_its_own_stack() {
    fn polled<F: Future<Output = usize>>(future: F) -> bool {
        let own = here();
        block_on(future).abs_diff(own) < 32 << 10
    }
    assert!(polled(async { here() }));
    assert!(!run(1, || polled(async { here() })));
}
