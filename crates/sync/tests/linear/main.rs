//! Short histories of several callers on one channel, each checked against a sequential channel.
//!
//! `history.rs` checks long histories for what must be true of their sums; this checks short ones
//! for everything. Callers of each kind meet at a gate and do a few random operations; each notes
//! the time before and after, from one counter; [`spec`] then looks for an order. The first caller
//! never waits without a limit and closes at the end, so every history ends.

#![cfg(not(loom))]

#[path = "../common/mod.rs"]
mod common;
mod guard;
mod spec;

use common::{
    BlockingTasks, Futures, GoroutineFutures, Goroutines, Rng, Runner, Tasks, Threads, runtime,
    seed,
};
use millpond_rt::select::{Arm, Finish, Selection, select, try_select};
use millpond_sync::chan::{self, Receiver, SendTimeoutError, Sender, TryRecvError, TrySendError};
use millpond_sync::chan::{RecvTimeoutError, SendError};
use spec::{Event, Seen, is_linearizable};
use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

/// So many histories for each capacity, kind of caller and mixture of operations.
const ROUNDS: usize = 25;

const UNBOUNDED: usize = usize::MAX;

#[derive(Debug, Clone, Copy)]
enum Op {
    TrySend,
    SendTimeout,
    Send,
    TryRecv,
    RecvTimeout,
    Recv,
    Close,
    /// A select of a receive, of a send, and of both.
    SelectRecv,
    SelectSend,
    SelectBoth,
    TrySelectRecv,
}

/// Operations that end by themselves.
const BRIEF: [Op; 4] = [Op::TrySend, Op::SendTimeout, Op::TryRecv, Op::RecvTimeout];
const PLAIN: [Op; 8] = [
    Op::Send,
    Op::Send,
    Op::Recv,
    Op::Recv,
    Op::TrySend,
    Op::SendTimeout,
    Op::TryRecv,
    Op::RecvTimeout,
];
const ARMS: [Op; 8] = [
    Op::SelectSend,
    Op::SelectRecv,
    Op::SelectBoth,
    Op::TrySelectRecv,
    Op::Send,
    Op::Recv,
    Op::TrySend,
    Op::TryRecv,
];

/// What the callers share.
struct Shared {
    channels: Vec<(Sender<u32>, Receiver<u32>)>,
    /// Callers that have come to a gate, all rounds together.
    arrived: AtomicUsize,
    callers: usize,
    clock: AtomicU64,
    ops: &'static [Op],
    seed: u64,
}

impl Shared {
    fn tick(&self) -> u64 {
        self.clock.fetch_add(1, Ordering::SeqCst)
    }

    /// Waits until all callers have come to this round.
    async fn gate<R: Runner>(&self, round: usize) {
        self.arrived.fetch_add(1, Ordering::SeqCst);
        let mut looks = 0;
        while self.arrived.load(Ordering::SeqCst) < (round + 1) * self.callers {
            looks += 1;
            match looks % 16 {
                0 if R::ASYNC => millpond_rt::yield_async().await,
                0 => millpond_rt::yield_now(),
                _ => std::hint::spin_loop(),
            }
        }
    }
}

/// All rounds of one caller.
async fn call<R: Runner>(runner: R, shared: Arc<Shared>, me: usize) -> Vec<Vec<Event>> {
    let mut rng = Rng::new(shared.seed ^ (me as u64) << 32);
    let mut rounds = Vec::new();
    for (round, (tx, rx)) in shared.channels.iter().enumerate() {
        let mut ops: Vec<Op> = (0..4 + rng.below(4))
            .map(|_| if me == 0 { BRIEF[rng.below(4)] } else { shared.ops[rng.below(8)] })
            .collect();
        match me {
            0 => ops.push(Op::Close),
            1 if rng.below(8) == 0 => ops[2] = Op::Close,
            _ => {}
        }
        shared.gate::<R>(round).await;
        let mut events = Vec::new();
        for (number, op) in ops.into_iter().enumerate() {
            let value = (me * 100 + number) as u32;
            let limit = Duration::from_micros(20 * rng.below(3) as u64);
            let begin = shared.tick();
            let seen = perform(runner, op, value, limit, tx, rx).await;
            let end = shared.tick();
            let loose = match op {
                Op::SelectRecv | Op::SelectSend | Op::SelectBoth | Op::TrySelectRecv => true,
                Op::Recv => R::ASYNC,
                _ => false,
            };
            events.push(Event { caller: me, begin, end, seen, loose });
        }
        rounds.push(events);
    }
    rounds
}

async fn perform<R: Runner>(
    runner: R,
    op: Op,
    value: u32,
    limit: Duration,
    tx: &Sender<u32>,
    rx: &Receiver<u32>,
) -> Seen {
    match op {
        Op::TrySend => match tx.try_send(value) {
            Ok(()) => Seen::Sent(value),
            Err(TrySendError::Full(_)) => Seen::Full,
            Err(TrySendError::Closed(_)) => Seen::SendClosed,
        },
        Op::SendTimeout => match tx.send_timeout(value, limit) {
            Ok(()) => Seen::Sent(value),
            Err(SendTimeoutError::Timeout(_)) => Seen::Full,
            Err(SendTimeoutError::Closed(_)) => Seen::SendClosed,
        },
        Op::Send => sent(value, runner.send(tx, value).await),
        Op::TryRecv => match rx.try_recv() {
            Ok(value) => Seen::Got(value),
            Err(TryRecvError::Empty) => Seen::Empty,
            Err(TryRecvError::Closed) => Seen::RecvClosed,
        },
        Op::RecvTimeout => match rx.recv_timeout(limit) {
            Ok(value) => Seen::Got(value),
            Err(RecvTimeoutError::Timeout) => Seen::Empty,
            Err(RecvTimeoutError::Closed) => Seen::RecvClosed,
        },
        Op::Recv => runner.recv(rx).await.map_or(Seen::RecvClosed, Seen::Got),
        Op::Close => {
            if value.is_multiple_of(2) {
                tx.close()
            } else {
                rx.close()
            }
            Seen::Close
        }
        Op::SelectRecv => choose::<R>(None, Some(rx), value).await,
        Op::SelectSend => choose::<R>(Some(tx), None, value).await,
        Op::SelectBoth => choose::<R>(Some(tx), Some(rx), value).await,
        Op::TrySelectRecv => {
            let mut recv = rx.__select_recv();
            let arms: [&mut dyn Arm; 1] = [&mut recv];
            match try_select(&mut { arms }) {
                None => Seen::Empty,
                Some(_) => recv.finish().map_or(Seen::RecvClosed, Seen::Got),
            }
        }
    }
}

fn sent(value: u32, result: Result<(), SendError<u32>>) -> Seen {
    match result {
        Ok(()) => Seen::Sent(value),
        Err(SendError(back)) => {
            assert_eq!(back, value, "another value came back");
            Seen::SendClosed
        }
    }
}

/// A select; an arm without a channel is one behind a guard that said no.
async fn choose<R: Runner>(
    tx: Option<&Sender<u32>>,
    rx: Option<&Receiver<u32>>,
    value: u32,
) -> Seen {
    let (mut send, mut recv) = (tx.map(Sender::__select_send), rx.map(Receiver::__select_recv));
    let won = if R::ASYNC {
        let mut selection = Selection::new();
        poll_fn(|cx| {
            let arms: [&mut dyn Arm; 2] = [&mut send, &mut recv];
            selection.poll(cx, &mut { arms })
        })
        .await
    } else {
        let arms: [&mut dyn Arm; 2] = [&mut send, &mut recv];
        select(&mut { arms })
    };
    match (won, send, recv) {
        (0, Some(send), _) => sent(value, send.finish(value)),
        (_, _, Some(recv)) => recv.finish().map_or(Seen::RecvClosed, Seen::Got),
        _ => panic!("an arm won that there is not"),
    }
}

type Join = Box<dyn FnOnce() -> Vec<Vec<Event>> + Send>;
type Start = fn(Arc<Shared>, usize) -> Join;

fn threads(shared: Arc<Shared>, me: usize) -> Join {
    Threads.start(call(Threads, shared, me))
}

fn futures(shared: Arc<Shared>, me: usize) -> Join {
    Futures.start(call(Futures, shared, me))
}

fn goroutines(shared: Arc<Shared>, me: usize) -> Join {
    Goroutines.start(call(Goroutines, shared, me))
}

fn goroutine_futures(shared: Arc<Shared>, me: usize) -> Join {
    GoroutineFutures.start(call(GoroutineFutures, shared, me))
}

fn tasks(shared: Arc<Shared>, me: usize) -> Join {
    Tasks.start(call(Tasks, shared, me))
}

fn blocking_tasks(shared: Arc<Shared>, me: usize) -> Join {
    BlockingTasks.start(call(BlockingTasks, shared, me))
}

/// One caller for each of `starts`; histories on channels of this capacity.
fn histories(starts: &[Start], capacity: usize, ops: &'static [Op]) {
    let seed = seed();
    let channel =
        |_| if capacity == UNBOUNDED { chan::unbounded() } else { chan::bounded(capacity) };
    let shared = Arc::new(Shared {
        channels: (0..ROUNDS).map(channel).collect(),
        arrived: AtomicUsize::new(0),
        callers: starts.len(),
        clock: AtomicU64::new(0),
        ops,
        seed,
    });
    let joins: Vec<_> =
        starts.iter().enumerate().map(|(me, start)| start(shared.clone(), me)).collect();
    let mut histories = vec![Vec::new(); ROUNDS];
    let mut overlaps = 0;
    for join in joins {
        histories.iter_mut().zip(join()).for_each(|(history, events)| history.extend(events));
    }
    for (round, history) in histories.iter_mut().enumerate() {
        history.sort_unstable_by_key(|event| event.begin);
        overlaps += history.windows(2).filter(|pair| pair[1].begin < pair[0].end).count();
        assert!(
            is_linearizable(capacity, history),
            "capacity {capacity}, round {round}, MILLPOND_TEST_SEED={seed}: not linearizable: \
             {}",
            history.iter().map(|event| format!("\n  {event:?}")).collect::<String>()
        );
    }
    // One P runs one goroutine at a time, but those who wait overlap with it.
    assert!(overlaps > 0, "no two operations overlapped: nothing was tested");
}

fn all_histories(starts: &[Start]) {
    for capacity in [0, 1, 2, UNBOUNDED] {
        histories(starts, capacity, &PLAIN);
        histories(starts, capacity, &ARMS);
    }
}

/// In runtimes with one, two and eight Ps.
fn on_all(starts: &'static [Start]) {
    for procs in [1, 2, 8] {
        runtime(procs, || all_histories(starts));
    }
}

#[test]
fn histories_of_threads_are_linearizable() {
    all_histories(&[threads as Start; 3]);
}

#[test]
fn histories_of_futures_are_linearizable() {
    all_histories(&[futures as Start; 3]);
}

#[test]
fn histories_of_goroutines_are_linearizable() {
    on_all(&[goroutines as Start; 4]);
}

#[test]
fn histories_of_goroutines_that_drive_futures_are_linearizable() {
    on_all(&[goroutine_futures as Start; 3]);
}

#[test]
fn histories_of_tasks_are_linearizable() {
    on_all(&[tasks as Start; 4]);
}

#[test]
fn histories_of_different_callers_are_linearizable() {
    on_all(&[goroutines, tasks, threads, blocking_tasks]);
    on_all(&[futures, goroutines, goroutine_futures]);
}
