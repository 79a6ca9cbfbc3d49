//! A rate limit: a token bucket in a `select!` over a ticker, and workers that take a token for
//! each job.
//!
//! ```text
//!   ticker ──▶ ┌─────────────┐ ──token──▶ worker ──▶ a call to something that must not be hurried
//!    each 5 ms │ limiter: 10 │      ┌───▶ worker
//!      ctx ──▶ └─────────────┘      └───▶ worker
//! ```
//!
//! Use it in front of what others share with you: a service with a quota, a disk, a mail server.
//! Without a limit, "as fast as we can" is as fast as the fastest worker fails. With a `sleep` in
//! each worker instead, the rate depends on how many workers there are and on how long their calls
//! take; and a limit on *concurrency*, a `Semaphore`, is another thing: it lets a thousand short
//! calls through in a second.
//!
//! The limiter is a goroutine that owns the bucket, and the bucket is a number. A tick adds a token
//! up to the burst; a worker that receives takes one; with none left the send is not even offered,
//! which is what a guard (`, if tokens > 0`) is for, and in Go a nil channel. The channel is a
//! rendezvous, so no token waits in it that the number does not know of. Workers that find no token
//! park, and are served in the order in which they came.
//!
//! After a quiet time `BURST` jobs may start at once, and no more. From then on they start as fast
//! as the ticker ticks, together, however many workers there are. Ticks that nobody looked at in
//! time are dropped but for one: a limit is an upper bound, and a late limiter is a slower one.
//! Those to come stay where they were: a late tick does not move the ones after it.
//!
//! It ends when its context is done, or at the next send after the last worker has dropped its
//! receiver. Who waits for a token waits with the context of its *request*, as with all that may
//! take long.
//!
//! ```text
//! cargo run --release -p millpond --example ratelimit
//! ```

use millpond::chan::{Receiver, Sender, bounded};
use millpond::context::ContextError;
use millpond::time::{Instant, Ticker};
use millpond::{Context, JoinHandle, go, scope, select};
use std::time::Duration;

const INTERVAL: Duration = Duration::from_millis(5);
const BURST: u32 = 10;
const JOBS: usize = 50;
const WORKERS: usize = 4;

/// Lets callers through at a rate.
struct Limiter {
    tokens: Receiver<()>,
}

impl Limiter {
    /// A token each `interval`, of which at most `burst` are kept. It starts full, and ends with
    /// `ctx`; the handle tells how many tokens it gave out.
    fn start(ctx: &Context, interval: Duration, burst: u32) -> (Self, JoinHandle<usize>) {
        let (give, tokens) = bounded(0);
        let ctx = ctx.clone();
        (Self { tokens }, go(move || fill(&ctx, interval, burst, &give)))
    }

    /// Takes a token. Parks until there is one for the caller, or `ctx` is done.
    fn wait(&self, ctx: &Context) -> Result<(), Refused> {
        // Closed: the limiter's own context is done.
        self.tokens.recv_ctx(ctx).map_err(|_| Refused)
    }
}

/// No token, and none will come in time.
#[derive(Debug, PartialEq, Eq)]
struct Refused;

/// The limiter; how many tokens it gave out.
fn fill(ctx: &Context, interval: Duration, burst: u32, give: &Sender<()>) -> usize {
    let ticker = Ticker::new(interval);
    let (mut tokens, mut given) = (burst, 0);
    loop {
        select! {
            _ = ticker.tick() => tokens = burst.min(tokens + 1),
            sent = give.send(()), if tokens > 0 => {
                if sent.is_err() {
                    return given; // nobody is left to take one
                }
                tokens -= 1;
                given += 1;
            }
            _ = ctx.done() => return given,
        }
    }
}

/// Does jobs at the rate at which there are tokens; when it has started each.
fn worker(ctx: &Context, jobs: &Receiver<usize>, limiter: &Limiter) -> Vec<Instant> {
    let mut started = Vec::new();
    for _job in jobs {
        limiter.wait(ctx).expect("nothing ends it before the jobs do");
        started.push(Instant::now());
        // The call would stand here. It may take long: the others go on.
    }
    started
}

#[millpond::main]
fn main() {
    let begun = Instant::now();
    let (ctx, cancel) = Context::background().with_cancel();
    let (limiter, given) = Limiter::start(&ctx, INTERVAL, BURST);
    let (job_tx, jobs) = bounded(1);
    let mut started: Vec<Instant> = scope(|s| {
        let worker = || worker(&ctx, &jobs, &limiter);
        let workers: Vec<_> = (0..WORKERS).map(|_| s.go(worker)).collect();
        for job in 0..JOBS {
            job_tx.send(job).expect("the workers stay until the jobs end");
        }
        drop(job_tx);
        workers.into_iter().flat_map(|worker| worker.join().expect("no panic")).collect()
    });

    started.sort_unstable();
    assert_eq!(started.len(), JOBS);
    let burst = BURST as usize;
    // The nth job after the burst cannot have started before the nth tick.
    for (tick, at) in (1..).zip(&started[burst..]) {
        assert!(*at >= begun + INTERVAL * tick, "job {} was early", burst + tick as usize);
    }
    println!("the first {BURST} jobs had started after {:.1?}", started[burst - 1] - begun);
    println!("all {JOBS} jobs had started after {:.1?}", started[JOBS - 1] - begun);

    cancel.cancel();
    assert_eq!(given.join().expect("it does not panic"), JOBS, "a token was lost");
    assert_eq!(limiter.wait(&ctx), Err(Refused));
    assert_eq!(ctx.err(), Some(ContextError::Cancelled));
}
