//! What loom explores: jobs that run exactly once or come back, workers that start when they are
//! needed, and an end that is not missed.
//!
//! Workers are threads here, each as if on an M of its own. They have no clock, so they retire when
//! the queue is closed.

use super::queue::{Hand, Queue, Then};
use crate::until::Until;
use loom::sync::Arc;
use loom::sync::atomic::{AtomicUsize, Ordering};
use loom::thread;

/// A queue of numbers whose workers add them up.
struct Sum {
    queue: Queue<usize>,
    sum: AtomicUsize,
    /// How many workers were ever started.
    started: AtomicUsize,
}

fn sum(limit: usize, capacity: usize) -> Arc<Sum> {
    let (sum, started) = (AtomicUsize::new(0), AtomicUsize::new(0));
    Arc::new(Sum { queue: Queue::new(limit, capacity), sum, started })
}

fn follow(sum: &Arc<Sum>, then: Then) {
    if then.start {
        let sum = sum.clone();
        thread::spawn(move || work(&sum));
    }
    drop(then.fired);
}

fn work(sum: &Arc<Sum>) {
    let m = sum.started.fetch_add(1, Ordering::Relaxed) as u32;
    let hand = Hand::new();
    let mut turn = sum.queue.begin(m, &hand);
    while let Some((job, then)) = turn {
        follow(sum, then);
        sum.sum.fetch_add(job, Ordering::Relaxed);
        sum.queue.rest(&hand, || {});
        turn = sum.queue.next(&hand, || None);
    }
}

/// Submits; what comes back is what was refused.
fn submit(sum: &Arc<Sum>, job: usize) -> usize {
    match sum.queue.push(job, Until::Forever) {
        Ok(then) => {
            follow(sum, then);
            0
        }
        Err(refused) => refused.expect("a refused job comes back"),
    }
}

/// More jobs than the queue holds: each runs once, and the join sees all of them.
#[test]
fn every_job_runs_once_and_the_end_is_seen() {
    for limit in [1, 2] {
        loom::model(move || {
            let sum = sum(limit, 1);
            assert_eq!(submit(&sum, 1) + submit(&sum, 10), 0);
            sum.queue.close();
            sum.queue.join(Until::Forever);
            assert_eq!(sum.sum.load(Ordering::Relaxed), 11);
            assert_eq!(sum.queue.numbers().workers, 0);
        });
    }
}

/// Two submit while a third party closes: what was taken runs, what was not comes back.
#[test]
fn a_job_runs_or_comes_back_when_the_queue_closes() {
    loom::model(|| {
        let sum = sum(1, 1);
        let submitter = {
            let sum = sum.clone();
            thread::spawn(move || submit(&sum, 1))
        };
        let closer = {
            let sum = sum.clone();
            thread::spawn(move || sum.queue.close())
        };
        let refused = submit(&sum, 10) + submitter.join().unwrap();
        closer.join().unwrap();
        sum.queue.join(Until::Forever);
        assert_eq!(sum.sum.load(Ordering::Relaxed) + refused, 11);
    });
}

/// The only worker cannot begin while another submits: that job comes to nobody else, so it is
/// among the orphans or starts a worker of its own.
#[test]
fn jobs_of_a_worker_that_cannot_begin_are_not_forgotten() {
    loom::model(|| {
        let sum = sum(2, 1);
        let then = sum.queue.push(1, Until::Forever).unwrap_or_else(|_| unreachable!());
        assert!(then.start);
        let submitter = {
            let sum = sum.clone();
            thread::spawn(move || submit(&sum, 10))
        };
        let orphans: usize = sum.queue.abandon(&Hand::new()).into_iter().sum();
        assert_eq!(submitter.join().unwrap(), 0);
        sum.queue.close();
        sum.queue.join(Until::Forever);
        assert_eq!(sum.sum.load(Ordering::Relaxed) + orphans, 11);
    });
}
