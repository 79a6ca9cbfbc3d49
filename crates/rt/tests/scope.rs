//! Scopes on the real scheduler: from goroutines, tasks and plain threads; borrows, panics, limits,
//! errors, and what is dropped before a scope returns.

use millpond_rt::scope::{Builder as ScopeBuilder, Scope};
use millpond_rt::wait::{WaitReason, Waiting};
use millpond_rt::{Builder, GoBuilder, block_on, go, scope, spawn, try_scope, yield_now};
use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind, panic_any};
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

const UNTAKEN: &str = "a scoped goroutine panicked";

fn run<T: Send + 'static>(procs: usize, body: impl FnOnce() -> T + Send + 'static) -> T {
    Builder::new().procs(procs).private().run(body).expect("the runtime starts")
}

/// From a plain thread, and from a goroutine and a task under 1, 2 and 8 Ps.
fn from_everywhere(body: impl FnOnce() + Send + Clone + 'static) {
    body.clone()();
    for procs in [1, 2, 8] {
        run(procs, body.clone());
        let body = body.clone();
        run(procs, || spawn(async { body() }).join().unwrap());
    }
}

fn text(payload: &(dyn Any + Send)) -> &str {
    let string = payload.downcast_ref::<String>().map(String::as_str);
    string.or_else(|| payload.downcast_ref::<&str>().copied()).expect("a text")
}

/// The text of the panic that comes out of `f`.
fn panic_of<T>(f: impl FnOnce() -> T) -> String {
    let Err(payload) = catch_unwind(AssertUnwindSafe(f)) else { panic!("it did not panic") };
    text(&*payload).to_owned()
}

fn await_flag(flag: &AtomicBool) {
    while !flag.load(Ordering::Acquire) {
        yield_now();
    }
}

/// Sets a flag that it borrows when it is dropped.
struct Sets<'a>(&'a AtomicBool);

impl Drop for Sets<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Release);
    }
}

/// Counts its drops in a place that it borrows, after giving others every chance to go first.
struct Counts<'a>(&'a AtomicUsize);

impl Drop for Counts<'_> {
    fn drop(&mut self) {
        (0..10).for_each(|_| yield_now());
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

#[test]
fn children_write_what_they_borrow_and_the_scope_waits_for_them() {
    from_everywhere(|| {
        let mut numbers = vec![0; 100];
        let total = AtomicUsize::new(0);
        let returned = scope(|s| {
            for (i, number) in numbers.iter_mut().enumerate() {
                let total = &total;
                s.go(move || {
                    yield_now();
                    *number = i;
                    total.fetch_add(i, Ordering::Relaxed);
                });
            }
            "the body's value"
        });
        assert_eq!(returned, "the body's value");
        assert!(numbers.iter().enumerate().all(|(i, number)| i == *number));
        assert_eq!(total.into_inner(), 4_950);
    });
}

#[test]
fn results_may_borrow_what_outlives_the_scope() {
    from_everywhere(|| {
        let words = ["to", "be"].map(String::from);
        let longest = scope(|s| {
            let handles: Vec<_> = words.iter().map(|word| s.go(move || word.as_str())).collect();
            let awaited = s.go(|| words.iter().map(String::len).sum::<usize>());
            assert_eq!(block_on(awaited).unwrap(), 4);
            handles.into_iter().map(|handle| handle.join().unwrap()).max()
        });
        assert_eq!(longest, Some("to"));
    });
}

#[test]
fn a_handle_says_when_its_goroutine_has_ended() {
    from_everywhere(|| {
        let go_on = AtomicBool::new(false);
        scope(|s| {
            let handle = s.go(|| await_flag(&go_on));
            assert!(!handle.is_finished());
            go_on.store(true, Ordering::Release);
            while !handle.is_finished() {
                yield_now();
            }
            handle.join().unwrap();
        });
    });
}

#[test]
fn children_start_children_and_all_are_waited_for() {
    fn tree<'scope, 'env>(s: &'scope Scope<'scope, 'env>, leaves: &'env AtomicUsize, depth: u32) {
        if depth == 0 {
            leaves.fetch_add(1, Ordering::Relaxed);
            return;
        }
        for _ in 0..2 {
            s.go(move || {
                yield_now();
                tree(s, leaves, depth - 1);
            });
        }
    }
    from_everywhere(|| {
        let leaves = AtomicUsize::new(0);
        scope(|s| tree(s, &leaves, 6));
        assert_eq!(leaves.into_inner(), 64);
    });
}

#[test]
fn scopes_nest() {
    from_everywhere(|| {
        let sum = AtomicUsize::new(0);
        scope(|outer| {
            for i in 0..8 {
                let sum = &sum;
                outer.go(move || {
                    let local = AtomicUsize::new(i);
                    scope(|inner| {
                        inner.go(|| local.fetch_add(1, Ordering::Relaxed));
                        inner.go(|| {
                            // Of the outer scope, started by a child of the inner one.
                            outer.go(move || sum.fetch_add(100, Ordering::Relaxed));
                        });
                    });
                    sum.fetch_add(local.into_inner(), Ordering::Relaxed);
                });
            }
        });
        assert_eq!(sum.into_inner(), 800 + 36);
    });
}

#[test]
fn other_threads_start_children_through_the_scope() {
    run(2, || {
        let started = AtomicUsize::new(0);
        scope(|s| {
            std::thread::scope(|threads| {
                for _ in 0..2 {
                    let started = &started;
                    threads
                        .spawn(move || drop(s.go(move || started.fetch_add(1, Ordering::Relaxed))));
                }
            });
        });
        assert_eq!(started.into_inner(), 2);
    });
}

#[test]
fn a_body_that_panics_is_heard_after_its_children_have_ended() {
    from_everywhere(|| {
        let (go_on, ended) = (AtomicBool::new(false), AtomicBool::new(false));
        let said = panic_of(|| {
            scope(|s| {
                s.go(|| {
                    await_flag(&go_on);
                    (0..10).for_each(|_| yield_now());
                    ended.store(true, Ordering::Release);
                });
                let _released_by_the_unwinding = Sets(&go_on);
                panic!("the body, on purpose");
            });
        });
        assert_eq!(said, "the body, on purpose");
        assert!(ended.into_inner());
    });
}

#[test]
fn a_panic_that_a_join_took_is_dealt_with() {
    from_everywhere(|| {
        scope(|s| {
            let error = s.go(|| panic!("on purpose {}", 7)).join().unwrap_err();
            assert!(error.is_panic() && error.to_string().contains("on purpose 7"));
            let error = block_on(s.go(|| panic!("awaited, on purpose"))).unwrap_err();
            assert_eq!(text(&*error.into_panic()), "awaited, on purpose");
        });
    });
}

#[test]
fn a_panic_that_nobody_took_comes_out_of_the_scope() {
    from_everywhere(|| {
        let others = AtomicUsize::new(0);
        let said = panic_of(|| {
            scope(|s| {
                s.go(|| panic!("on purpose"));
                s.go(|| others.fetch_add(1, Ordering::Relaxed));
            });
        });
        assert_eq!(said, UNTAKEN);
        assert_eq!(others.load(Ordering::Relaxed), 1);
        let said = panic_of(|| scope(|s| std::mem::forget(s.go(|| panic!("on purpose")))));
        assert_eq!(said, UNTAKEN, "also if the handle was forgotten");
        let said = panic_of(|| {
            scope(|s| {
                let handle = s.go(|| panic!("on purpose"));
                while !handle.is_finished() {
                    yield_now();
                }
                drop(handle);
            });
        });
        assert_eq!(said, UNTAKEN, "also if the handle had it and was dropped");
    });
}

#[test]
fn the_panic_of_the_body_goes_before_a_child_s() {
    from_everywhere(|| {
        let said = panic_of(|| {
            scope(|s| {
                s.go(|| panic!("the child, on purpose"));
                panic!("the body, on purpose");
            });
        });
        assert_eq!(said, "the body, on purpose");
    });
}

#[test]
fn a_payload_whose_drop_panics_harms_nobody_else() {
    struct Payload;
    impl Drop for Payload {
        fn drop(&mut self) {
            if !std::thread::panicking() {
                panic_any(7);
            }
        }
    }
    from_everywhere(|| {
        let said = panic_of(|| {
            scope(|s| {
                s.go(|| panic_any(Payload));
                let held = s.go(|| panic_any(Payload));
                while !held.is_finished() {
                    yield_now();
                }
            });
        });
        assert_eq!(said, UNTAKEN);
    });
}

#[test]
fn a_result_whose_drop_panics_is_a_panic_of_its_child() {
    struct Panics;
    impl Drop for Panics {
        fn drop(&mut self) {
            panic!("in a result's drop, on purpose");
        }
    }
    from_everywhere(|| {
        assert_eq!(panic_of(|| scope(|s| drop(s.go(|| Panics)))), UNTAKEN);
    });
}

#[test]
fn captures_and_results_that_borrow_are_dropped_before_the_scope_returns() {
    from_everywhere(|| {
        let drops = AtomicUsize::new(0);
        scope(|s| {
            for _ in 0..20 {
                let captured = Counts(&drops);
                // One that ends before its handle is dropped, or after.
                let handle = s.go(|| {
                    let _captured = captured;
                    Counts(&drops)
                });
                yield_now();
                drop(handle);
            }
        });
        assert_eq!(drops.load(Ordering::Relaxed), 40);
        // The handle goes with another child, which keeps the scope open until it has dropped it.
        scope(|s| {
            let handle = s.go(|| Counts(&drops));
            s.go(move || drop(handle));
        });
        assert_eq!(drops.load(Ordering::Relaxed), 41);
        // A child that unwinds drops what it captured as well.
        let captured = Counts(&drops);
        let said = panic_of(|| {
            scope(|s| {
                s.go(move || {
                    let _captured = captured;
                    panic!("on purpose");
                });
            });
        });
        assert_eq!(said, UNTAKEN);
        assert_eq!(drops.load(Ordering::Relaxed), 42);
    });
}

#[test]
fn a_forgotten_handle_leaks_the_result_and_does_not_hold_up_the_scope() {
    from_everywhere(|| {
        let drops = AtomicUsize::new(0);
        scope(|s| std::mem::forget(s.go(|| Counts(&drops))));
        assert_eq!(drops.into_inner(), 0);
    });
}

#[test]
fn a_handle_may_lie_in_its_own_child() {
    from_everywhere(|| {
        let count = AtomicUsize::new(0);
        let drops = &count;
        scope(|s| {
            let place = Arc::new(Mutex::new(None));
            let theirs = place.clone();
            let handle = s.go(move || {
                let _dropped_with_my_captures = theirs;
                yield_now();
                Counts(drops)
            });
            *place.lock().unwrap() = Some(handle);
        });
        assert_eq!(count.into_inner(), 1);
    });
}

#[test]
fn a_child_that_cannot_be_started_is_dropped_and_counted_off() {
    from_everywhere(|| {
        let drops = AtomicUsize::new(0);
        let said = panic_of(|| {
            scope(|s| {
                let captured = Counts(&drops);
                let too_large = GoBuilder::new().stack_size(1 << 40);
                too_large.go_scoped(s, move || drop(captured));
            });
        });
        assert!(said.contains("Builder::stack_size"), "{said}");
        assert_eq!(drops.into_inner(), 1);
    });
}

#[test]
fn a_scope_works_in_a_destructor_that_runs_while_unwinding() {
    struct Scopes<'a>(&'a AtomicUsize);
    impl Drop for Scopes<'_> {
        fn drop(&mut self) {
            scope(|s| {
                for _ in 0..3 {
                    s.go(|| self.0.fetch_add(1, Ordering::Relaxed));
                }
            });
        }
    }
    from_everywhere(|| {
        let ran = AtomicUsize::new(0);
        let said = panic_of(|| {
            let _scopes = Scopes(&ran);
            panic!("on purpose");
        });
        assert_eq!((said.as_str(), ran.into_inner()), ("on purpose", 3));
    });
}

/// The last child may still be on its way out when the scope has returned and its frame is another's.
#[test]
fn many_short_scopes_leave_nothing_behind_in_their_frames() {
    from_everywhere(|| {
        for i in 0..2_000 {
            let mut frame = [i; 16];
            scope(|s| {
                for word in &mut frame {
                    s.go(move || *word += 1);
                }
            });
            assert_eq!(frame, [i + 1; 16]);
        }
    });
}

#[test]
fn no_more_children_run_at_once_than_the_limit_allows() {
    from_everywhere(|| {
        for limit in [1, 3] {
            let (inside, most, all) =
                (AtomicUsize::new(0), AtomicUsize::new(0), AtomicUsize::new(0));
            ScopeBuilder::new().limit(limit).run(|s| {
                for _ in 0..50 {
                    s.go(|| {
                        most.fetch_max(inside.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                        yield_now();
                        inside.fetch_sub(1, Ordering::SeqCst);
                        all.fetch_add(1, Ordering::SeqCst);
                    });
                }
            });
            assert_eq!(all.into_inner(), 50);
            assert!((1..=limit).contains(&most.into_inner()));
        }
    });
}

#[test]
fn several_starters_wait_for_one_place() {
    from_everywhere(|| {
        let ran = AtomicUsize::new(0);
        ScopeBuilder::new().limit(2).run(|limited| {
            scope(|starters| {
                for _ in 0..8 {
                    starters.go(|| {
                        for _ in 0..5 {
                            limited.go(|| {
                                yield_now();
                                ran.fetch_add(1, Ordering::Relaxed);
                            });
                        }
                    });
                }
            });
        });
        assert_eq!(ran.into_inner(), 40);
    });
}

#[test]
fn a_full_scope_refuses_and_gives_the_closure_back() {
    from_everywhere(|| {
        let go_on = AtomicBool::new(false);
        ScopeBuilder::new().limit(1).run(|s| {
            let first = s.try_go(|| await_flag(&go_on)).ok().expect("nothing runs");
            let refused = s.try_go(|| 7).expect_err("one runs");
            go_on.store(true, Ordering::Release);
            first.join().unwrap();
            // The place is free when a join returns.
            assert_eq!(s.try_go(refused).ok().expect("nothing runs").join().unwrap(), 7);
        });
    });
}

#[test]
#[should_panic(expected = "scope::Builder::limit(0)")]
fn a_limit_of_zero_is_refused() {
    let _ = ScopeBuilder::new().limit(0);
}

#[test]
fn children_are_started_as_the_builders_say() {
    run(2, || {
        let names = Mutex::new(Vec::new());
        let note_names = || {
            let all = millpond_rt::goroutines();
            let named = all.iter().filter_map(|g| g.name.as_deref().map(String::from));
            names.lock().unwrap().extend(named.filter(|name| name.starts_with("of ")));
        };
        ScopeBuilder::new().goroutines(GoBuilder::new().name("of the scope")).run(|s| {
            s.go(note_names).join().unwrap();
            GoBuilder::new().name("of its own").go_scoped(s, note_names).join().unwrap();
        });
        assert_eq!(*names.lock().unwrap(), ["of the scope", "of its own"]);
    });
}

#[test]
fn the_first_error_is_kept_and_the_others_see_it() {
    from_everywhere(|| {
        let texts = [String::from("first"), String::from("later")];
        // The error borrows, too.
        let result: Result<(), &str> = try_scope(|s| {
            let watcher = s.go(|| {
                while !s.is_failed() {
                    yield_now();
                }
            });
            assert!(!s.is_failed());
            assert_eq!(s.go_try(|| Ok(7)).join().unwrap(), Some(7));
            assert_eq!(s.go_try(|| Err::<(), _>(texts[0].as_str())).join().unwrap(), None);
            watcher.join().unwrap();
            s.go(|| s.fail(&texts[1]));
            Ok(())
        });
        assert_eq!(result, Err("first"));
        assert_eq!(try_scope(|s| s.go_try(|| Err(5)).join().unwrap().ok_or(6)), Err::<(), _>(5));
    });
}

#[test]
fn the_body_s_error_is_seen_by_children_that_run() {
    from_everywhere(|| {
        let result: Result<(), &str> = try_scope(|s| {
            s.go(|| {
                while !s.is_failed() {
                    yield_now();
                }
            });
            Err("the body's")
        });
        assert_eq!(result, Err("the body's"));
        let said = panic_of(|| {
            try_scope(|s: &millpond_rt::scope::TryScope<'_, '_, ()>| -> Result<(), ()> {
                s.go(|| {
                    while !s.is_failed() {
                        yield_now();
                    }
                });
                panic!("the body, on purpose")
            })
        });
        assert_eq!(said, "the body, on purpose");
    });
}

#[test]
fn without_an_error_the_body_s_value_comes_out() {
    from_everywhere(|| {
        let sum = AtomicUsize::new(0);
        let result: Result<_, ()> = ScopeBuilder::new().limit(2).try_run(|s| {
            for i in 0..10 {
                let sum = &sum;
                s.go_try(move || Ok(sum.fetch_add(i, Ordering::Relaxed)));
            }
            Ok("value")
        });
        assert_eq!((result, sum.into_inner()), (Ok("value"), 45));
    });
}

#[test]
fn a_panic_that_nobody_took_goes_before_an_error() {
    from_everywhere(|| {
        let said = panic_of(|| {
            try_scope(|s| -> Result<(), &str> {
                let panicked = s.go_try(|| -> Result<(), _> { panic!("on purpose") });
                while !panicked.is_finished() {
                    yield_now();
                }
                assert!(s.is_failed());
                Err("an error")
            })
        });
        assert_eq!(said, UNTAKEN);
    });
}

#[test]
fn a_scope_whose_runtime_ends_is_frozen_with_its_children() {
    for procs in [1, 2, 8] {
        let frame = Arc::new(());
        let theirs = frame.clone();
        let handle = run(procs, move || {
            let parked = Arc::new(AtomicBool::new(false));
            let is_parked = parked.clone();
            let handle = go(move || {
                let frame = theirs;
                scope(|s| {
                    let child = s.go(|| {
                        let _borrowed = &frame;
                        let waiting = Waiting::begin();
                        let _never_fired = waiting.ticket();
                        parked.store(true, Ordering::Release);
                        waiting.park(WaitReason::ChanRecv, None);
                    });
                    await_flag(&parked);
                    let _ = child.join();
                });
                unreachable!("the child never ends");
            });
            await_flag(&is_parked);
            handle
        });
        assert!(handle.join().unwrap_err().is_cancelled());
        assert_eq!(Arc::strong_count(&frame), 2, "the frame is as it was");
    }
}
