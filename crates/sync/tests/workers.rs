//! Workers under goroutines, tasks and plain threads: one body, three runners.

mod common;

use common::{Goroutines, Runner, Tasks, Threads, poll_once, runtime};
use millpond_sync::chan;
use millpond_sync::pool::{Closed, JobHandle, TrySubmitError, Workers};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

async fn submit<R: Runner, T: Send + 'static>(
    _: R,
    workers: &Workers,
    job: impl FnOnce() -> T + Send + 'static,
) -> JobHandle<T> {
    if R::ASYNC { workers.submit_async(job).await } else { workers.submit(job) }
}

/// Many submit more than the queue holds; never more run than there are workers.
fn a_limit_holds_and_every_job_runs_once<R: Runner>(runner: R) {
    const LIMIT: usize = 3;
    let workers = Workers::builder(LIMIT).queue(2).build();
    let (running, ran) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let submitters: Vec<_> = (0..4u64)
        .map(|n| {
            let (workers, running, ran) = (workers.clone(), running.clone(), ran.clone());
            runner.start(async move {
                let mut handles = Vec::new();
                for i in 0..100u64 {
                    let (running, ran) = (running.clone(), ran.clone());
                    let job = move || {
                        assert!(running.fetch_add(1, Ordering::Relaxed) < LIMIT);
                        ran.fetch_add(1, Ordering::Relaxed);
                        millpond_rt::yield_now();
                        running.fetch_sub(1, Ordering::Relaxed);
                        n * 100 + i
                    };
                    handles.push(submit(runner, &workers, job).await);
                }
                let mut sum = 0;
                for handle in handles {
                    sum += if R::ASYNC { handle.await } else { handle.join() }.unwrap();
                }
                sum
            })
        })
        .collect();
    let sum: u64 = submitters.into_iter().map(|join| join()).sum();
    assert_eq!(sum, (0..400).sum());
    assert_eq!(ran.load(Ordering::Relaxed), 400);
    assert!(workers.workers() <= LIMIT);
    let ended = {
        let workers = workers.clone();
        runner.start(async move {
            if R::ASYNC { workers.shutdown_async().await } else { workers.shutdown() }
        })
    };
    ended();
    assert_eq!((workers.workers(), workers.queued()), (0, 0));
}

/// Jobs that park do not hold up others: as many run at once as are allowed.
fn jobs_that_park_run_side_by_side<R: Runner>(runner: R) {
    const LIMIT: usize = 5;
    let workers = Workers::new(LIMIT);
    let (arrived, all) = chan::bounded(LIMIT);
    let (open, gate) = chan::bounded::<()>(0);
    let body = {
        let workers = workers.clone();
        runner.start(async move {
            for _ in 0..LIMIT + 1 {
                let (arrived, gate) = (arrived.clone(), gate.clone());
                let job = move || {
                    arrived.send(()).unwrap();
                    gate.recv().is_err()
                };
                drop(submit(runner, &workers, job).await);
            }
        })
    };
    body();
    (0..LIMIT).for_each(|_| all.recv().unwrap());
    assert!(all.try_recv().is_err(), "one waits for a worker");
    assert_eq!((workers.workers(), workers.queued()), (LIMIT, 1));
    drop(open);
    workers.shutdown();
    all.recv().expect("the last job ran before the end");
}

/// A panic is its job's alone, and a closed queue cancels.
fn panics_and_refusals_are_answers<R: Runner>(runner: R) {
    let workers = Workers::new(2);
    let body = runner.start(async move {
        let broken = submit(runner, &workers, || std::panic::resume_unwind(Box::new("broken")));
        let broken: JobHandle<()> = broken.await;
        let error = if R::ASYNC { broken.await } else { broken.join() }.unwrap_err();
        assert_eq!(error.into_panic().downcast_ref::<&str>(), Some(&"broken"));
        workers.execute(|| std::panic::resume_unwind(Box::new("nobody asks"))).unwrap();
        assert_eq!(submit(runner, &workers, || 5).await.join().unwrap(), 5);
        workers.close();
        let late = submit(runner, &workers, || 5).await;
        assert!(late.is_finished() && late.join().unwrap_err().is_cancelled());
        assert_eq!(workers.execute(|| 5), Err(Closed));
        let Err(TrySubmitError::Closed(job)) = workers.try_submit(|| 5) else { panic!("closed") };
        assert_eq!(job(), 5);
        workers.join();
    });
    body();
}

fn all<R: Runner>(runner: R) {
    a_limit_holds_and_every_job_runs_once(runner);
    jobs_that_park_run_side_by_side(runner);
    panics_and_refusals_are_answers(runner);
}

#[test]
fn plain_threads() {
    all(Threads);
}

#[test]
fn goroutines() {
    runtime(2, || all(Goroutines));
}

#[test]
fn goroutines_on_one_p() {
    runtime(1, || all(Goroutines));
}

#[test]
fn tasks() {
    runtime(2, || all(Tasks));
}

/// A worker that parks until the gate is closed, and says when it has begun.
fn hold(workers: &Workers) -> chan::Sender<()> {
    let (open, gate) = chan::bounded::<()>(0);
    let (begun, seen) = chan::bounded::<()>(1);
    workers
        .execute(move || {
            begun.send(()).unwrap();
            gate.recv().is_err()
        })
        .unwrap();
    seen.recv().unwrap();
    open
}

#[test]
fn the_last_handle_closes_and_what_is_queued_still_runs() {
    runtime(2, || {
        let workers = Workers::builder(1).queue(8).build();
        let open = hold(&workers);
        let handles: Vec<_> = (0..8).map(|i| workers.submit(move || i)).collect();
        let dropped = workers.clone();
        drop((workers, dropped));
        drop(open);
        assert_eq!(handles.into_iter().map(|job| job.join().unwrap()).sum::<i32>(), 28);
    });
}

#[test]
fn a_close_gives_up_who_is_in_line_and_not_what_is_queued() {
    runtime(2, || {
        let workers = Workers::builder(1).queue(1).build();
        let open = hold(&workers);
        let queued = workers.submit(|| "ran");
        let mut in_line = Box::pin(workers.submit_async(|| "ran"));
        let mut given_up = Box::pin(workers.submit_async(|| "ran"));
        let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
        assert!(in_line.as_mut().poll(&mut cx).is_pending());
        assert!(given_up.as_mut().poll(&mut cx).is_pending());
        drop(given_up);
        workers.close();
        let refused = poll_once(in_line).expect("close ends the wait");
        assert!(refused.join().unwrap_err().is_cancelled());
        drop(open);
        assert_eq!(queued.join().unwrap(), "ran");
    });
}

#[test]
fn an_aborted_job_does_not_start_and_its_closure_is_dropped() {
    runtime(2, || {
        let workers = Workers::builder(1).queue(4).build();
        let open = hold(&workers);
        let witness = Arc::new(());
        let theirs = witness.clone();
        let job = workers.submit(move || drop(theirs));
        job.abort();
        assert!(job.join().unwrap_err().is_cancelled(), "answered before its turn");
        drop(open);
        workers.shutdown();
        assert_eq!(Arc::strong_count(&witness), 1);
    });
}

#[test]
fn drops_that_panic_harm_no_worker() {
    struct Brittle;
    impl Drop for Brittle {
        fn drop(&mut self) {
            std::panic::resume_unwind(Box::new(Nested));
        }
    }
    struct Nested;
    impl Drop for Nested {
        fn drop(&mut self) {
            std::panic::resume_unwind(Box::new("the payload broke too"));
        }
    }
    runtime(1, || {
        let workers = Workers::new(1);
        drop(workers.submit(|| Brittle));
        workers.execute(|| Brittle).unwrap();
        assert_eq!(workers.submit(|| 1).join().unwrap(), 1);
        assert_eq!(workers.workers(), 1, "the same worker");
        workers.shutdown();
    });
}

#[test]
fn idle_workers_retire_and_others_start_when_they_are_needed() {
    runtime(1, || {
        let workers = Workers::builder(4).idle_for(Duration::from_millis(1)).build();
        for _ in 0..3 {
            workers.submit(|| ()).join().unwrap();
            while workers.workers() > 0 {
                millpond_rt::time::sleep(Duration::from_millis(1));
            }
        }
    });
}

#[test]
fn a_job_that_its_runtime_ends_before_is_answered() {
    for _ in 0..20 {
        let (workers, job) = runtime(1, || {
            let workers = Workers::new(1);
            let job = workers.submit(|| 1);
            (workers, job)
        });
        // Its worker began in time, or was dropped with its runtime; either way there is an answer.
        match job.join() {
            Ok(value) => assert_eq!(value, 1),
            Err(error) => {
                assert!(error.is_cancelled());
                assert_eq!((workers.workers(), workers.queued()), (0, 0));
            }
        }
    }
}

fn in_a_runtime<T: Send + 'static>(body: impl FnOnce() -> T + Send + 'static) -> T {
    millpond_rt::Builder::new().procs(1).private().run(body).expect("the runtime starts")
}

/// Its worker waits for more as the first runtime ends.
#[test]
fn workers_serve_one_runtime_after_the_other() {
    let workers = Workers::new(1);
    for i in 0..3 {
        let of_this = workers.clone();
        assert_eq!(in_a_runtime(move || of_this.submit(move || i).join().unwrap()), i);
        assert_eq!(workers.workers(), 0);
    }
    workers.shutdown();
}

/// Whatever a worker is at when its runtime ends, nobody waits for it: not for the job, not for what is queued, and
/// not for the workers.
#[test]
fn what_a_runtime_leaves_behind_when_it_ends_answers_cancelled() {
    let workers = Workers::new(1);
    let of_first = workers.clone();
    let (parked, queued) = in_a_runtime(move || {
        let (begun, seen) = chan::bounded(0);
        let (open, gate) = chan::bounded::<()>(0);
        let parked = of_first.submit(move || {
            begun.send(()).unwrap();
            gate.recv().is_ok()
        });
        seen.recv().unwrap();
        let queued = of_first.submit(|| ());
        std::mem::forget(open);
        (parked, queued)
    });
    assert!(parked.join().unwrap_err().is_cancelled());
    assert!(queued.join().unwrap_err().is_cancelled());
    let of_second = workers.clone();
    assert_eq!(in_a_runtime(move || of_second.submit(|| 2).join().unwrap()), 2);
    workers.shutdown();
}

/// A job that was handed to an idle worker, which has not been resumed yet.
#[test]
fn a_job_that_was_handed_over_as_the_runtime_ends_answers_cancelled() {
    let workers = Workers::new(1);
    for _ in 0..20 {
        let of_this = workers.clone();
        let handed = in_a_runtime(move || {
            of_this.submit(|| ()).join().unwrap();
            while of_this.queued() > 0 {
                millpond_rt::yield_now();
            }
            (0..3).for_each(|_| millpond_rt::yield_now());
            of_this.submit(|| ())
        });
        let answer = handed.join();
        assert!(answer.is_ok() || answer.is_err_and(|error| error.is_cancelled()));
        assert_eq!(workers.workers(), 0);
    }
    workers.shutdown();
}
