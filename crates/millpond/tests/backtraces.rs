//! What a dump shows of goroutines that wait in each of the public primitives: the function that they called, the ones
//! that called it, and nothing of the scheduler. The switch is inlined into all of these, so each is a place
//! of its own from which a walk begins.

#![cfg(feature = "frames")]

use millpond::debug::{Goroutine, Rest, goroutines, rest_stats};
use millpond::sync::{Mutex, Semaphore, WaitGroup};
use millpond::{Builder, JoinHandle, chan, runtime, scope, select, time};
use std::hint::black_box;
use std::io::Read;
use std::sync::Arc;
use std::time::Duration;

/// Starts a goroutine that waits in `wait`, called by a function that has a name.
fn start(name: &str, wait: impl FnOnce() + Send + 'static) -> JoinHandle<()> {
    #[inline(never)]
    fn the_caller(wait: impl FnOnce()) {
        let frame = black_box([1u64; 16]);
        wait();
        black_box(&frame);
    }
    Builder::new().name(name).go(move || the_caller(wait))
}

fn find(all: impl IntoIterator<Item = Goroutine>, name: &str) -> Option<Goroutine> {
    all.into_iter().find(|g| g.name.as_deref() == Some(name))
}

/// Waits until each of these is parked, and gives them as they are then.
fn parked(names: &[&str], is_it: impl Fn(&Goroutine) -> bool) -> Vec<Goroutine> {
    loop {
        let dump = goroutines();
        let all: Vec<_> = names
            .iter()
            .filter_map(|name| find(dump.iter().cloned(), name))
            .filter(&is_it)
            .collect();
        if all.len() == names.len() {
            return all;
        }
        time::sleep(Duration::from_millis(1));
    }
}

/// The name of a goroutine, and of what it waits in.
type Wait = (&'static str, &'static str);

/// A goroutine in each kind of wait; what they wait in; and what ends it.
fn waits() -> (Vec<Wait>, Vec<JoinHandle<()>>, impl FnOnce()) {
    let (open, gate) = chan::bounded::<()>(0);
    let (send, full) = chan::bounded(1);
    send.send(0).unwrap();
    let mutex: &'static Mutex<()> = Box::leak(Box::default());
    let guard = mutex.lock();
    let semaphore = Arc::new(Semaphore::new(0));
    let group = WaitGroup::new();
    group.add(1);
    let (ours, mut theirs) = std::os::unix::net::UnixStream::pair()
        .map(|(a, b)| (a, millpond::net::UnixStream::from_std(b).unwrap()))
        .unwrap();
    let (other_send, other) = chan::bounded::<u64>(0);
    let (a, b, c, d, e) = (gate.clone(), gate.clone(), gate.clone(), mutex, semaphore.clone());
    let waits = group.clone();
    let handles = vec![
        start("receive", move || {
            let _ = a.recv();
        }),
        start("send", move || send.send(1).unwrap()),
        start("select", move || {
            select! { _ = b.recv() => (), _ = other.recv() => () }
        }),
        start("lock", move || drop(d.lock())),
        start("semaphore", move || drop(e.acquire())),
        start("group", move || waits.wait()),
        start("read", move || {
            let _ = theirs.read(&mut [0; 8]);
        }),
        start("scope", move || {
            scope(|s| drop(s.go(|| c.recv())));
        }),
    ];
    let names = vec![
        ("receive", "recv"),
        ("send", "send"),
        ("select", "select"),
        ("lock", "lock"),
        ("semaphore", "acquire"),
        ("group", "wait"),
        ("read", "read"),
        ("scope", "scope"),
    ];
    let end = move || {
        drop((guard, open, other_send, ours));
        full.recv().unwrap();
        semaphore.add_permits(1);
        group.done();
    };
    (names, handles, end)
}

fn look(is_it: impl Fn(&Goroutine) -> bool) {
    let (waits, handles, end) = waits();
    let names: Vec<&str> = waits.iter().map(|(name, _)| *name).collect();
    for (goroutine, (name, wanted)) in parked(&names, is_it).iter().zip(&waits) {
        let trace = goroutine.backtrace.trace().unwrap_or_else(|| panic!("{goroutine}"));
        let caller = trace.frames.iter().position(|frame| frame.function.contains("the_caller"));
        assert!(caller.is_some_and(|at| at < 6), "{name}: {goroutine}");
        // What was called is inlined. Where nobody kept debug information nobody knows of it.
        if trace.frames[caller.unwrap()].place.is_some() {
            let called = &trace.frames[0].function;
            assert!(called.to_lowercase().contains(wanted), "{name}: {goroutine}");
        }
        let last = &trace.frames[trace.frames.len() - 1].function;
        assert!(last.contains("closure"), "{name}: {goroutine}");
    }
    let text = goroutines().to_string();
    assert!(text.contains("the_caller"), "{text}");
    end();
    handles.into_iter().for_each(|handle| handle.join().unwrap());
}

#[test]
fn every_wait_names_what_was_called_and_who_called_it() {
    for procs in [1, 2] {
        let warm = runtime::Builder::new().procs(procs).warm_stacks(usize::MAX);
        warm.run(|| look(|g| g.backtrace.trace().is_some() && g.waited > Duration::ZERO)).unwrap();
    }
}

#[test]
fn so_does_every_wait_whose_stack_is_at_rest_and_none_of_them_is_woken() {
    let eager = runtime::Builder::new().procs(2).warm_stacks(0).rest_after(Duration::ZERO);
    let body = || {
        let before = rest_stats();
        look(|g| {
            g.backtrace.trace().is_some()
                && (g.rest == Rest::AtRest || g.name.as_deref() == Some("scope"))
        });
        assert!(rest_stats().rested > before.rested);
        assert_eq!(rest_stats().foreign_wakes, before.foreign_wakes);
    };
    eager.run(body).unwrap();
}

#[test]
fn equal_stacks_are_counted_and_shown_once() {
    let body = || {
        let (open, gate) = chan::bounded::<()>(0);
        let handles: Vec<_> = (0..50)
            .map(|index| {
                let gate = gate.clone();
                start(&format!("one of many {index}"), move || assert!(gate.recv().is_err()))
            })
            .collect();
        let names: Vec<_> = (0..50).map(|index| format!("one of many {index}")).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        parked(&names, |g| g.backtrace.trace().is_some_and(|trace| trace.frames.len() > 2));
        let dump = goroutines();
        let groups = dump.by_stack();
        assert_eq!(groups[0].0, 50, "{}", dump.profile());
        assert_eq!(groups.iter().map(|(count, _)| count).sum::<usize>(), dump.len());
        let profile = dump.profile().to_string();
        assert!(profile.starts_with(&format!("goroutine profile: total {}\n\n50 @", dump.len())));
        assert_eq!(profile.matches("the_caller").count(), 1, "{profile}");
        let text = dump.to_string();
        assert_eq!(text.matches("the_caller").count(), 1, "{text}");
        assert_eq!(text.matches("(stack of goroutine").count(), 49, "{text}");
        drop(open);
        handles.into_iter().for_each(|handle| handle.join().unwrap());
    };
    runtime::Builder::new().procs(2).run(body).unwrap();
}
