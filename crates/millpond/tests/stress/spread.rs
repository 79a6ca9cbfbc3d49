//! Connections spread over the threads, because they stay where they start; and so do those that only
//! yield, because they need nobody.

use crate::harness::{Run, Table, as_main_with};
use crate::table;
use millpond::net::TcpListener;
use millpond::sync::WaitGroup;
use millpond::{Builder, chan, go, yield_now};
use std::collections::{BTreeMap, HashSet};
use std::io::Read;
use std::time::{Duration, Instant};

pub const TESTS: Table = table![
    what_an_accepting_goroutine_starts_is_spread,
    what_asks_for_it_is_spread,
    what_asks_for_its_maker_s_thread_is_there,
    those_that_only_yield_use_both_processors,
];

pub const SCENARIOS: Table = table![accepted, asked, local, yielders];

const PROCS: usize = 4;
const COUNT: usize = 800;

/// For what the kernel has a part in.
const PATIENCE: Duration = Duration::from_secs(120);

/// How many goroutines of this name live on each M.
fn per_m(name: &str) -> BTreeMap<u32, usize> {
    let mut counts = BTreeMap::new();
    for goroutine in &millpond::debug::goroutines_in_brief() {
        if goroutine.name.as_deref() == Some(name) {
            *counts.entry(goroutine.m).or_default() += 1;
        }
    }
    counts
}

/// No M has a tenth more than its share, and 8, or less.
fn is_even(counts: &BTreeMap<u32, usize>) -> bool {
    println!("{counts:?}");
    assert_eq!(counts.values().sum::<usize>(), COUNT);
    let share = COUNT / PROCS;
    let even = |count: &usize| count.abs_diff(share) <= share / 10 + 8;
    counts.len() == PROCS && counts.values().all(even)
}

/// A thread that the kernel holds up for milliseconds is rightly given nothing, and misses its share
/// of a burst that is shorter than that: so not each round need be even.
fn comes_out_even(mut round: impl FnMut() -> BTreeMap<u32, usize>) {
    let began = Instant::now();
    while !is_even(&round()) {
        assert!(began.elapsed() < PATIENCE, "no round was even");
    }
}

/// One round: [`COUNT`] connections at once, and on which M the goroutine of each lives.
fn accept_all() -> BTreeMap<u32, usize> {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let (started, ended) = (WaitGroup::new(), WaitGroup::new());
    started.add(COUNT);
    ended.add(COUNT);
    let theirs = (started.clone(), ended.clone());
    let acceptor = go(move || {
        let connection = Builder::new().name("connection");
        for _ in 0..COUNT {
            let (mut conn, _) = listener.accept().unwrap();
            let (started, ended) = theirs.clone();
            drop(connection.go(move || {
                started.done();
                let _ = conn.read(&mut [0]);
                ended.done();
            }));
        }
    });
    // From a plain thread, so that no goroutine of ours is in the way of the figures.
    let (done, is_done) = chan::bounded(1);
    std::thread::spawn(move || {
        let open: Vec<_> =
            (0..COUNT).map(|_| std::net::TcpStream::connect(address).unwrap()).collect();
        done.send(open).unwrap();
    });
    let open = is_done.recv().unwrap();
    started.wait();
    acceptor.join().unwrap();
    let counts = per_m("connection");
    drop(open);
    ended.wait();
    counts
}

fn accepted() {
    as_main_with(PROCS, || comes_out_even(accept_all));
}

fn what_an_accepting_goroutine_starts_is_spread() {
    Run::of("accepted").passes();
}

/// Starts [`COUNT`] goroutines that stay, and returns how many live where.
fn start(builder: &Builder) -> BTreeMap<u32, usize> {
    let (tx, rx) = chan::bounded::<()>(0);
    let started = WaitGroup::new();
    started.add(COUNT);
    let handles: Vec<_> = (0..COUNT)
        .map(|_| {
            let (rx, started) = (rx.clone(), started.clone());
            builder.go(move || {
                started.done();
                rx.recv().is_err()
            })
        })
        .collect();
    started.wait();
    let counts = per_m("one");
    drop(tx);
    handles.into_iter().for_each(|handle| assert!(handle.join().unwrap()));
    counts
}

fn asked() {
    as_main_with(PROCS, || comes_out_even(|| start(&Builder::new().name("one").spread())));
}

fn what_asks_for_it_is_spread() {
    Run::of("asked").passes();
}

fn local() {
    as_main_with(PROCS, || {
        let counts = start(&Builder::new().name("one").local());
        assert_eq!(counts.values().copied().collect::<Vec<_>>(), [COUNT], "{counts:?}");
        let here = per_m("main").into_keys().next();
        assert_eq!(counts.into_keys().next(), here);
    });
}

fn what_asks_for_its_maker_s_thread_is_there() {
    Run::of("local").passes();
}

/// On how many threads eight goroutines start that do nothing but yield.
fn threads_of_yielders() -> usize {
    let yielder = || {
        let thread = std::thread::current().id();
        (0..2_000).for_each(|_| yield_now());
        thread
    };
    let handles: Vec<_> = (0..8).map(|_| go(yielder)).collect();
    let threads: HashSet<_> = handles.into_iter().map(|handle| handle.join().unwrap()).collect();
    threads.len()
}

/// How soon a thread comes that was called is the kernel's affair, so not each round need succeed.
fn yielders() {
    as_main_with(2, || {
        let began = Instant::now();
        let (mut rounds, mut spread) = (0, 0);
        while spread < 5 {
            assert!(began.elapsed() < PATIENCE, "{spread} of {rounds} rounds used two threads");
            rounds += 1;
            spread += usize::from(threads_of_yielders() == 2);
        }
        println!("{spread} of {rounds} rounds used two threads");
    });
}

fn those_that_only_yield_use_both_processors() {
    Run::of("yielders").passes();
}
