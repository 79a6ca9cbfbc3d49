//! Goroutines and tasks on the real scheduler: start, join, panic, abort, placement, blocking.

use millpond_rt::{Builder, GoBuilder, JoinHandle, go, go_local, spawn, yield_now};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

fn run<T: Send + 'static>(procs: usize, body: impl FnOnce() -> T + Send + 'static) -> T {
    Builder::new().procs(procs).private().run(body).expect("the runtime starts")
}

/// Under 1, 2 and 8 Ps.
fn on_all(body: impl FnOnce() + Send + Clone + 'static) {
    for procs in [1, 2, 8] {
        run(procs, body.clone());
    }
}

#[test]
fn results_come_back_in_whatever_order_they_are_joined() {
    on_all(|| {
        let handles: Vec<_> = (0..1_000u64).map(|i| go(move || i * i)).collect();
        for (i, handle) in handles.into_iter().enumerate().rev() {
            assert_eq!(handle.join().unwrap(), (i * i) as u64);
        }
    });
}

#[test]
fn a_goroutine_can_be_awaited() {
    on_all(|| {
        let task = spawn(async { go(|| 20).await.unwrap() + spawn(async { 1 }).await.unwrap() });
        assert_eq!(task.join().unwrap(), 21);
    });
}

#[test]
fn a_panic_ends_its_goroutine_and_nothing_else() {
    on_all(|| {
        let bad: JoinHandle<()> = go(|| panic!("on purpose {}", 7));
        let good = go(|| 7);
        let error = bad.join().unwrap_err();
        assert!(error.is_panic() && error.to_string().contains("on purpose 7"));
        assert_eq!(good.join().unwrap(), 7);
        let task: JoinHandle<()> = spawn(async { panic!("in a task") });
        assert!(task.join().unwrap_err().is_panic());
    });
}

#[test]
fn local_goroutines_share_what_is_not_send() {
    on_all(|| {
        let shared = Rc::new(std::cell::Cell::new(0));
        let handles: Vec<_> = (0..10)
            .map(|_| {
                let shared = shared.clone();
                go_local(move || {
                    for _ in 0..100 {
                        shared.set(shared.get() + 1);
                        yield_now();
                    }
                    shared
                })
            })
            .collect();
        for handle in handles {
            handle.join().unwrap();
        }
        assert_eq!(shared.get(), 1_000);
    });
}

#[test]
#[should_panic(expected = "go_local: called outside a goroutine")]
fn go_local_needs_a_goroutine() {
    drop(go_local(|| ()));
}

#[test]
fn dropped_handles_detach_and_results_are_dropped() {
    struct Counted(Arc<AtomicUsize>);
    impl Drop for Counted {
        fn drop(&mut self) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }
    on_all(|| {
        let drops = Arc::new(AtomicUsize::new(0));
        for i in 0..100 {
            let counted = Counted(drops.clone());
            let handle = go(move || counted);
            if i % 2 == 0 {
                drop(handle);
            } else if i % 3 == 0 {
                drop(handle.join().unwrap());
            } else {
                while !handle.is_finished() {
                    yield_now();
                }
            }
        }
        while drops.load(Ordering::SeqCst) < 100 {
            yield_now();
        }
    });
}

#[test]
fn an_unstarted_goroutine_can_be_aborted() {
    run(1, || {
        let handle = go(|| unreachable!("aborted before its turn"));
        handle.abort();
        assert!(handle.join().unwrap_err().is_cancelled());
    });
}

#[test]
fn an_aborted_task_drops_its_future_at_its_await() {
    on_all(|| {
        let held = Arc::new(());
        let task = {
            let held = held.clone();
            spawn(async move {
                std::future::pending::<()>().await;
                drop(held);
            })
        };
        yield_now();
        task.abort();
        assert!(task.join().unwrap_err().is_cancelled());
        assert_eq!(Arc::strong_count(&held), 1);
    });
}

#[test]
fn a_task_that_blocks_parks_its_runner_and_others_are_polled() {
    on_all(|| {
        let tasks: Vec<_> = (0..100)
            .map(|i| {
                spawn(async move {
                    let inner = go(move || {
                        yield_now();
                        i
                    });
                    // The blocking form, in a task.
                    inner.join().unwrap()
                })
            })
            .collect();
        let sum: i32 = tasks.into_iter().map(|task| task.join().unwrap()).sum();
        assert_eq!(sum, 4_950);
    });
}

#[test]
fn tasks_yield_to_each_other() {
    on_all(|| {
        let tasks: Vec<_> = (0..10)
            .map(|_| {
                spawn(async {
                    for _ in 0..1_000 {
                        millpond_rt::yield_async().await;
                    }
                })
            })
            .collect();
        tasks.into_iter().for_each(|task| task.join().unwrap());
    });
}

#[test]
fn blocking_jobs_run_beside_the_goroutines() {
    on_all(|| {
        let jobs: Vec<_> = (0..20).map(|i| go(move || millpond_rt::blocking(move || i))).collect();
        let sum: i32 = jobs.into_iter().map(|job| job.join().unwrap()).sum();
        assert_eq!(sum, 190);
        let panicked = go(|| millpond_rt::blocking(|| panic!("in a job"))).join();
        assert!(panicked.unwrap_err().to_string().contains("in a job"));
        let task = spawn(async { millpond_rt::blocking_async(|| 9).await });
        assert_eq!(task.join().unwrap(), 9);
    });
}

#[test]
fn sleepers_wake_in_the_order_of_their_deadlines() {
    use millpond_rt::time::{Instant, sleep_until};
    use std::time::Duration;
    // One M: between several there is no order, only none too early.
    run(1, || {
        let start = Instant::now() + Duration::from_millis(5);
        let order = Arc::new(std::sync::Mutex::new(Vec::new()));
        let sleepers: Vec<_> = [3u32, 1, 2]
            .into_iter()
            .map(|n| {
                let order = order.clone();
                go(move || {
                    let at = start + n * Duration::from_millis(10);
                    sleep_until(at);
                    assert!(Instant::now() >= at);
                    order.lock().unwrap().push(n);
                })
            })
            .collect();
        sleepers.into_iter().for_each(|sleeper| sleeper.join().unwrap());
        assert_eq!(*order.lock().unwrap(), [1, 2, 3]);
    });
}

#[test]
fn plain_threads_start_and_join_goroutines_in_the_background_runtime() {
    let handles: Vec<_> = (0..4)
        .map(|t| {
            std::thread::spawn(move || {
                (0..100).map(|i| go(move || i).join().unwrap() + t).sum::<i32>()
            })
        })
        .collect();
    for (t, handle) in handles.into_iter().enumerate() {
        assert_eq!(handle.join().unwrap(), 4_950 + 100 * t as i32);
    }
    assert_eq!(spawn(async { 3 }).join().unwrap(), 3);
}

#[test]
fn with_stack_holds_deep_recursion_and_may_park() {
    fn depth(n: u32) -> u32 {
        let pad = std::hint::black_box([n; 64]);
        if n == 0 {
            yield_now();
            0
        } else {
            1 + depth(n - 1) + pad[0] - n
        }
    }
    on_all(|| {
        let deep: Vec<_> =
            (0..4).map(|_| go(|| millpond_rt::with_stack(8 << 20, || depth(5_000)))).collect();
        deep.into_iter().for_each(|handle| assert_eq!(handle.join().unwrap(), 5_000));
        let caught = go(|| millpond_rt::with_stack(1 << 20, || panic!("deep"))).join();
        assert!(caught.unwrap_err().to_string().contains("deep"));
    });
}

#[test]
fn with_stack_needs_little_of_the_stack_that_it_leaves() {
    on_all(|| {
        let small = GoBuilder::new().stack_size(16 << 10);
        for bytes in [64 << 10, 1 << 20, 8 << 20] {
            let answer = small.go(move || millpond_rt::with_stack(bytes, || 5));
            assert_eq!(answer.join().unwrap(), 5);
        }
    });
}

#[test]
fn the_end_of_run_cancels_what_is_left() {
    for procs in [1, 2, 8] {
        let (parked, unstarted, task) = run(procs, || {
            let parked = go(|| {
                millpond_rt::block_on(std::future::pending::<()>());
            });
            let task = spawn(std::future::pending::<()>());
            yield_now();
            (parked, GoBuilder::new().local().go(|| ()), task)
        });
        assert!(parked.join().unwrap_err().is_cancelled());
        drop(unstarted);
        drop(task);
    }
}

#[test]
fn a_computing_goroutine_does_not_keep_fresh_work_from_another_p() {
    run(2, || {
        let flag = Arc::new(AtomicUsize::new(0));
        let other = flag.clone();
        let _helper = go(move || other.store(1, Ordering::SeqCst));
        // Never yields: only a thief can run the helper.
        while flag.load(Ordering::SeqCst) == 0 {
            std::hint::spin_loop();
        }
    });
}

#[test]
fn a_goroutine_that_blocks_its_thread_does_not_keep_fresh_work_waiting() {
    run(1, || {
        let (tx, rx) = std::sync::mpsc::channel();
        let _helper = go(move || tx.send(5).unwrap());
        // Blocks the only M in the kernel: a hand-off must bring another.
        assert_eq!(rx.recv().unwrap(), 5);
    });
}
