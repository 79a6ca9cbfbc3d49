//! Backtraces of parked goroutines: of warm stacks and of stacks at rest, on their own stack and on others, from every
//! kind of caller, and while everything moves.

mod common;

use common::Gate;
use millpond_rt::wait::WaitReason;
use millpond_rt::{
    Builder, GoBuilder, Goroutine, Rest, block_on, go, goroutines_with_stacks, rest_stats, scope,
    with_stack, yield_now,
};
use std::hint::black_box;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread;
use std::time::Duration;

/// Figures of rest are the process's, so one test at a time.
fn alone() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    TURN.lock().unwrap_or_else(|poison| poison.into_inner())
}

#[inline(never)]
fn outer(gate: &Gate, depth: usize) {
    black_box([depth; 20]);
    middle(gate, depth);
    black_box(gate);
}

#[inline(never)]
fn middle(gate: &Gate, depth: usize) {
    match black_box(depth) {
        0 => inner(gate),
        _ => middle(gate, depth - 1),
    }
    black_box(gate);
}

#[inline(never)]
fn inner(gate: &Gate) {
    let frame = black_box([7u64; 30]);
    gate.wait_here();
    black_box(&frame);
}

/// Functions of this file on a stack, innermost first, without paths and parameters.
fn functions(goroutine: &Goroutine) -> Vec<String> {
    let known = ["wait_here", "inner", "middle", "outer", "looks"];
    let Some(trace) = goroutine.backtrace.trace() else { return Vec::new() };
    let name = |name: &str| {
        let name = name.split('<').next().unwrap_or_default();
        name.rsplit("::").next().unwrap_or_default().to_owned()
    };
    let names = trace.frames.iter().map(|frame| name(&frame.function));
    names.filter(|name| known.contains(&&**name) || name.starts_with("under_")).collect()
}

/// Looks until a goroutine of this name looks as asked.
fn find(name: &str, mut is_it: impl FnMut(&Goroutine) -> bool) -> Goroutine {
    let mut last = None;
    for _ in 0..60_000 {
        let all = goroutines_with_stacks();
        let found = all.into_iter().find(|g| g.name.as_deref() == Some(name));
        match found {
            Some(goroutine) if is_it(&goroutine) => return goroutine,
            other => last = other,
        }
        millpond_rt::time::sleep(Duration::from_millis(1));
    }
    panic!("{name}: {last:?}");
}

fn waits(goroutine: &Goroutine) -> bool {
    goroutine.reason == WaitReason::Barrier && goroutine.backtrace.trace().is_some()
}

#[test]
fn a_warm_stack_says_who_called_whom() {
    let _turn = alone();
    for procs in [1, 2] {
        let body = || {
            let gate = Gate::default();
            let start = |name: &str, depth| {
                let gate = gate.clone();
                GoBuilder::new().name(name).go(move || outer(&gate, depth))
            };
            let handles = [start("shallow", 0), start("deep", 3)];
            let shallow = find("shallow", waits);
            assert_eq!(functions(&shallow), ["wait_here", "inner", "middle", "outer"]);
            let deep = find("deep", waits);
            let wanted = ["wait_here", "inner", "middle", "middle", "middle", "middle", "outer"];
            assert_eq!(functions(&deep), wanted);
            let text = deep.to_string();
            assert!(text.contains("[sync.Barrier") && text.contains("created at"), "{text}");
            assert!(!text.contains("short_backtrace") && !text.contains("corosensei"), "{text}");
            assert!(text.find("inner\n").unwrap() < text.find("outer\n").unwrap(), "{text}");
            gate.open();
            handles.into_iter().for_each(|handle| handle.join().unwrap());
        };
        Builder::new().procs(procs).warm_stacks(usize::MAX).private().run(body).unwrap();
    }
}

#[test]
fn a_stack_at_rest_is_read_and_stays_at_rest() {
    let _turn = alone();
    const COUNT: usize = 200;
    let body = || {
        let before = rest_stats();
        let gate = Gate::default();
        let handles: Vec<_> = (0..COUNT)
            .map(|index| {
                let gate = gate.clone();
                GoBuilder::new().name(format!("at rest {index}")).go(move || outer(&gate, 1))
            })
            .collect();
        while rest_stats().resting < before.resting + COUNT {
            millpond_rt::time::sleep(Duration::from_millis(1));
        }
        let woken = rest_stats().woken;
        let all = goroutines_with_stacks();
        let resting: Vec<_> = all.iter().filter(|g| g.rest == Rest::AtRest).collect();
        assert!(resting.len() >= COUNT);
        let named = |g: &&&Goroutine| g.name.as_deref().is_some_and(|name| name.starts_with("at"));
        let mut traces = resting.iter().filter(named).map(|g| {
            assert_eq!(functions(g), ["wait_here", "inner", "middle", "middle", "outer"]);
            g.backtrace.trace().unwrap()
        });
        let first = traces.next().unwrap();
        assert!(traces.all(|trace| Arc::ptr_eq(trace, first)), "equal stacks are kept once");
        // This goroutine itself may have rested and been woken for its own sleep, nobody else.
        assert!(
            rest_stats().woken <= woken + 1 && rest_stats().foreign_wakes == before.foreign_wakes
        );
        assert!(rest_stats().resting >= before.resting + COUNT);
        gate.open();
        handles.into_iter().for_each(|handle| handle.join().unwrap());
    };
    for procs in [1, 2] {
        let eager = Builder::new().procs(procs).warm_stacks(0).rest_after(Duration::ZERO);
        eager.private().run(body).unwrap();
    }
}

#[test]
fn a_walk_crosses_from_a_bigger_stack_and_from_a_poll_to_the_goroutines_own() {
    let _turn = alone();
    #[inline(never)]
    fn under_a_bigger_stack(gate: &Gate) {
        with_stack(1 << 20, || outer(gate, 0));
        black_box(gate);
    }
    #[inline(never)]
    fn under_a_poll(gate: &Gate) {
        block_on(std::future::poll_fn(|_| {
            inner(gate);
            std::task::Poll::Ready(())
        }));
        black_box(gate);
    }
    #[inline(never)]
    fn under_a_scope(gate: &Gate) {
        scope(|s| drop(s.go(|| inner(gate))));
        black_box(gate);
    }
    let body = || {
        let gate = Gate::default();
        let (a, b, c) = (gate.clone(), gate.clone(), gate.clone());
        let handles = [
            GoBuilder::new().name("bigger").go(move || under_a_bigger_stack(&a)),
            GoBuilder::new().name("poll").go(move || under_a_poll(&b)),
            GoBuilder::new().name("scope").go(move || under_a_scope(&c)),
        ];
        let bigger = find("bigger", waits);
        let wanted = ["wait_here", "inner", "middle", "outer", "under_a_bigger_stack"];
        assert_eq!(functions(&bigger), wanted, "{bigger}");
        let poll = find("poll", waits);
        assert_eq!(functions(&poll), ["wait_here", "inner", "under_a_poll"], "{poll}");
        let parent = find("scope", |g| g.backtrace.trace().is_some() && !functions(g).is_empty());
        assert_eq!(functions(&parent), ["under_a_scope"], "{parent}");
        gate.open();
        handles.into_iter().for_each(|handle| handle.join().unwrap());
    };
    Builder::new().procs(2).private().run(body).unwrap();
}

#[test]
fn who_asks_sees_its_own_stack_too() {
    let _turn = alone();
    #[inline(never)]
    fn looks() -> Goroutine {
        let all = goroutines_with_stacks();
        all.into_iter().find(|g| g.name.as_deref() == Some("looks")).unwrap()
    }
    let body = || GoBuilder::new().name("looks").go(looks).join().unwrap();
    let own = Builder::new().procs(1).private().run(body).unwrap();
    assert_eq!(functions(&own), ["looks"], "{own}");
}

#[test]
fn a_thread_that_a_goroutine_keeps_is_not_waited_for() {
    let _turn = alone();
    let body = || {
        let (kept, free) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
        let (inside, until) = (kept.clone(), free.clone());
        let gate = Gate::default();
        let opened = gate.clone();
        // The keeper's neighbour, which is parked on the thread that it keeps.
        let keeper = go(move || {
            let neighbour = millpond_rt::go_local(move || outer(&gate, 0));
            yield_now();
            inside.store(true, Ordering::SeqCst);
            while !until.load(Ordering::SeqCst) {
                thread::yield_now();
            }
            neighbour.join().unwrap();
        });
        // From a plain thread, since this goroutine may be at home on the thread that is kept, too.
        let ask = move || {
            while !kept.load(Ordering::SeqCst) {
                thread::yield_now();
            }
            let all = goroutines_with_stacks();
            free.store(true, Ordering::SeqCst);
            opened.open();
            all.into_iter().find(|g| g.reason == WaitReason::Barrier).unwrap()
        };
        let neighbour = millpond_rt::blocking(ask);
        keeper.join().unwrap();
        let why = neighbour.backtrace.trace().is_none();
        assert!(why && neighbour.to_string().contains("stack not read: its thread"), "{neighbour}");
    };
    Builder::new().procs(1).run(body).unwrap();
}

#[test]
fn dumps_from_everywhere_while_goroutines_come_rest_wake_and_go() {
    let _turn = alone();
    let body = || {
        let over = Arc::new(AtomicBool::new(false));
        let movers: Vec<_> = (0..40)
            .map(|index| {
                let over = over.clone();
                go(move || {
                    while !over.load(Ordering::SeqCst) {
                        let gate = Gate::default();
                        let other = gate.clone();
                        let child = go(move || outer(&other, index % 5));
                        yield_now();
                        if index % 3 == 0 {
                            millpond_rt::time::sleep(Duration::from_micros(300));
                        }
                        gate.open();
                        child.join().unwrap();
                    }
                })
            })
            .collect();
        let looks = |rounds: usize| {
            (0..rounds).map(|_| {
                let all = goroutines_with_stacks();
                for goroutine in &all {
                    let names = functions(goroutine);
                    if names.first().is_some_and(|name| name == "wait_here") {
                        assert_eq!(names[1], "inner", "{goroutine}");
                        assert_eq!(names.last().unwrap(), "outer", "{goroutine}");
                    }
                }
                all.iter().filter(|g| g.backtrace.trace().is_some()).count()
            })
        };
        let dumpers: Vec<_> = (0..3).map(|_| go(move || looks(8).sum::<usize>())).collect();
        let read: usize = dumpers.into_iter().map(|dumper| dumper.join().unwrap()).sum();
        assert!(read > 0);
        over.store(true, Ordering::SeqCst);
        movers.into_iter().for_each(|mover| mover.join().unwrap());
    };
    for procs in [1, 3] {
        let eager = Builder::new().procs(procs).warm_stacks(0).rest_after(Duration::ZERO);
        eager.private().run(body).unwrap();
    }
}

#[test]
fn a_plain_thread_may_ask_and_long_stacks_are_cut() {
    let _turn = alone();
    let gate = Gate::default();
    let inside = gate.clone();
    // Of the process, so that threads see it.
    let body = move || {
        let gate = inside.clone();
        let handle = GoBuilder::new().name("very deep").go(move || outer(&gate, 200));
        let ask = || {
            let all = goroutines_with_stacks();
            all.into_iter().find(|g| g.name.as_deref() == Some("very deep"))
        };
        let deep = loop {
            let asked = block_on(millpond_rt::blocking_async(ask));
            if let Some(deep) = asked.filter(waits) {
                break deep;
            }
        };
        let trace = deep.backtrace.trace().unwrap().clone();
        assert!(trace.elided && trace.frames.len() <= 80, "{deep}");
        assert!(deep.to_string().contains("additional frames elided"));
        inside.open();
        handle.join().unwrap();
    };
    Builder::new().procs(1).run(body).unwrap();
    gate.open();
}
