//! The context of a scope, from goroutines, tasks and plain threads: what cancels it, when, and whom
//! that wakes. A scope whose failure does not reach those who wait is a test that does not end.

use millpond_rt::context::{ContextError, Key};
use millpond_rt::scope::{Builder as ScopeBuilder, Scope};
use millpond_rt::{Builder, Context, GoBuilder, go, scope, spawn, try_scope, yield_now};
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::pin::pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::{self, Wake, Waker};

const CANCELLED: ContextError = ContextError::Cancelled;

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

/// Until so many wait under the scope's context.
fn await_waiters(scope: &Scope<'_, '_>, waiters: usize) {
    while scope.context().waiters() < waiters {
        yield_now();
    }
}

#[test]
fn the_first_error_ends_the_children_that_wait() {
    from_everywhere(|| {
        let mut reasons = [None; 3];
        let result = try_scope(|s| {
            for reason in &mut reasons {
                s.go(|| *reason = Some(s.context().done().wait()));
            }
            s.go_try(|| {
                await_waiters(s, 3);
                Err::<(), _>("first")
            });
            Ok(())
        });
        assert_eq!(result, Err("first"));
        assert_eq!(reasons, [Some(CANCELLED); 3]);
    });
}

#[test]
fn the_body_s_error_ends_them_and_so_does_its_panic() {
    from_everywhere(|| {
        let result = try_scope(|s| {
            s.go(|| s.context().done().wait());
            await_waiters(s, 1);
            Err::<(), _>(())
        });
        assert_eq!(result, Err(()));
        let panicked = catch_unwind(AssertUnwindSafe(|| {
            scope(|s| {
                s.go(|| s.context().done().wait());
                await_waiters(s, 1);
                resume_unwind(Box::new("the body's"));
            });
        }));
        assert_eq!(panicked.unwrap_err().downcast_ref(), Some(&"the body's"));
    });
}

#[test]
fn a_panic_ends_them_also_when_a_join_has_taken_it() {
    from_everywhere(|| {
        scope(|s| {
            let patient = s.go(|| s.context().done().wait());
            let broken = s.go(|| {
                await_waiters(s, 1);
                resume_unwind(Box::new(()));
            });
            assert!(broken.join().unwrap_err().is_panic());
            assert_eq!(patient.join().unwrap(), CANCELLED);
        });
    });
}

#[test]
fn a_child_that_cannot_start_ends_them() {
    from_everywhere(|| {
        let refused = catch_unwind(AssertUnwindSafe(|| {
            scope(|s| {
                s.go(|| s.context().done().wait());
                await_waiters(s, 1);
                GoBuilder::new().stack_size(1 << 40).go_scoped(s, || ());
            });
        }));
        assert!(refused.is_err());
    });
}

#[test]
fn a_context_that_is_asked_for_after_a_failure_is_done() {
    from_everywhere(|| {
        let result = try_scope(|s| {
            s.fail("early");
            assert_eq!(s.context().err(), Some(CANCELLED));
            Ok(())
        });
        assert_eq!(result, Err("early"));
    });
}

#[test]
fn a_context_ends_with_its_scope_and_not_before_the_children() {
    from_everywhere(|| {
        let kept = scope(|s| {
            s.go(|| {
                (0..10).for_each(|_| yield_now());
                assert!(!s.context().is_done(), "a child runs");
            });
            s.context().clone()
        });
        assert_eq!(kept.err(), Some(CANCELLED));
        let value = try_scope(|s| Ok::<_, ()>(s.context().clone()));
        assert_eq!(value.unwrap().err(), Some(CANCELLED));
    });
}

struct Name;

impl Key for Name {
    type Value = &'static str;
}

#[test]
fn a_scope_s_context_has_what_its_parent_has() {
    from_everywhere(|| {
        let (parent, cancel) = Context::background().with_value::<Name>("mill").with_cancel();
        let scopes = ScopeBuilder::new().context(&parent);
        let result = scopes.clone().try_run(|s| {
            assert_eq!(s.context().value::<Name>(), Some(&"mill"));
            let child = s.go(|| s.context().done().wait());
            await_waiters(s, 1);
            cancel.cancel();
            assert_eq!(child.join().unwrap(), CANCELLED);
            assert!(!s.is_failed(), "the end of a parent is no failure");
            assert_eq!(s.go(|| 7).join().unwrap(), 7, "and goroutines still start");
            Ok::<_, ()>(())
        });
        assert_eq!(result, Ok(()));
        scopes.run(|s| assert_eq!(s.context().err(), Some(CANCELLED)));
    });
}

#[test]
fn a_failure_of_the_scope_does_not_end_its_parent() {
    from_everywhere(|| {
        let (parent, _cancel) = Context::background().with_cancel();
        let result = ScopeBuilder::new().context(&parent).try_run(|outer| {
            let inner = ScopeBuilder::new().context(outer.context()).try_run(|s| {
                s.context();
                Err::<(), _>("inner")
            });
            assert_eq!(inner, Err("inner"));
            assert!(!outer.context().is_done());
            Ok::<_, ()>(())
        });
        assert_eq!(result, Ok(()));
        assert!(!parent.is_done());
    });
}

/// The failure of a child runs the wakers of those who wait: user code, which may panic or use the
/// scope.
#[test]
fn a_waker_that_panics_in_a_failure_harms_nobody() {
    struct Bad;
    impl Wake for Bad {
        fn wake(self: Arc<Self>) {
            resume_unwind(Box::new("the waker's"));
        }
    }
    from_everywhere(|| {
        let result = try_scope(|s| {
            let waker = Waker::from(Arc::new(Bad));
            let mut done = pin!(s.context().done());
            assert!(done.as_mut().poll(&mut task::Context::from_waker(&waker)).is_pending());
            let failing = s.go_try(|| Err::<(), _>(1));
            assert_eq!(failing.join().unwrap(), None);
            let mut cx = task::Context::from_waker(Waker::noop());
            assert_eq!(done.as_mut().poll(&mut cx), task::Poll::Ready(CANCELLED));
            Ok(())
        });
        assert_eq!(result, Err(1));
    });
}

/// Children that a runtime's end drops before they have begun are a failure like any other. Tried
/// again if all had begun.
#[test]
fn the_end_of_a_runtime_ends_a_scope_s_context() {
    const CHILDREN: usize = 1000;
    loop {
        // How many were made, at least, and how many of them began.
        let (made, begun) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let (making, count) = (made.clone(), begun.clone());
        let ctx = run(1, move || {
            let shared = Arc::new(OnceLock::new());
            let owner = shared.clone();
            drop(go(move || {
                scope(|s| {
                    owner.set(s.context().clone()).unwrap();
                    for _ in 0..CHILDREN {
                        s.go(|| {
                            count.fetch_add(1, Ordering::Relaxed);
                            s.context().done().wait()
                        });
                        making.fetch_add(1, Ordering::Relaxed);
                    }
                });
            }));
            loop {
                yield_now();
                if let Some(ctx) = shared.get() {
                    return Context::clone(ctx);
                }
            }
        });
        if begun.load(Ordering::Relaxed) < made.load(Ordering::Relaxed) {
            // Closures that never ran are dropped by their M, which the end of the runtime does not
            // wait for.
            assert_eq!(ctx.done().wait(), CANCELLED);
            return;
        }
    }
}
