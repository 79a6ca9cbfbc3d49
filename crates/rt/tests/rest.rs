//! Stacks at rest, seen from goroutines: values stay, references of other threads stay good, and
//! dumps say who rests and who cannot.

mod common;

use common::Gate;
use millpond_rt::{
    Builder, GoBuilder, Goroutine, Rest, block_on, counts, go, goroutines, rest_sites, rest_stats,
    scope, set_warm_stacks, with_stack, yield_now,
};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread;
use std::time::Duration;

/// Figures and dumps are the process's, so one test at a time.
fn alone() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    TURN.lock().unwrap_or_else(|poison| poison.into_inner())
}

/// A runtime that puts every goroutine to rest as soon as its M is idle.
fn run<T: Send + 'static>(procs: usize, body: impl FnOnce() -> T + Send + 'static) -> T {
    let eager = Builder::new().procs(procs).warm_stacks(0).rest_after(Duration::ZERO);
    eager.private().run(body).expect("the runtime starts")
}

/// Waits for something that other threads bring about, without keeping an M busy.
fn until(what: &str, mut there: impl FnMut() -> bool) {
    for _ in 0..60_000 {
        if there() {
            return;
        }
        millpond_rt::time::sleep(Duration::from_millis(1));
    }
    panic!("{what}: did not come about; {:?}", rest_stats());
}

fn of_this_file() -> Vec<Goroutine> {
    goroutines().into_iter().filter(|g| g.location.file().ends_with("rest.rs")).collect()
}

#[inline(never)]
fn deep(frames: usize, inner: &mut dyn FnMut()) {
    let frame = std::hint::black_box([frames as u64; 40]);
    if frames == 0 {
        inner()
    } else {
        deep(frames - 1, inner)
    }
    assert!(std::hint::black_box(&frame).iter().all(|&word| word == frames as u64));
}

#[test]
fn what_is_on_a_stack_is_there_after_rest_however_deep() {
    let _turn = alone();
    const COUNT: usize = 500;
    let before = rest_stats();
    run(2, move || {
        for _ in 0..3 {
            let gate = Gate::default();
            let handles: Vec<_> = (0..COUNT)
                .map(|index| {
                    let gate = gate.clone();
                    go(move || {
                        let text = format!("goroutine {index}");
                        let borrowed = text.as_str();
                        deep(index % 20, &mut || gate.wait_here());
                        borrowed.len()
                    })
                })
                .collect();
            until("all are at rest", || rest_stats().resting >= before.resting + COUNT);
            assert!(counts().warm < COUNT);
            assert!(rest_stats().saved_bytes() > COUNT * 2048, "{}", rest_stats());
            gate.open();
            for (index, handle) in handles.into_iter().enumerate() {
                assert_eq!(handle.join().unwrap(), format!("goroutine {index}").len());
            }
        }
        assert!(rest_stats().woken - before.woken >= 3 * COUNT as u64);
    });
}

#[test]
fn threads_of_a_std_scope_count_on_a_stack_that_rests_meanwhile() {
    let _turn = alone();
    const EACH: u64 = 200_000;
    run(2, || {
        let before = rest_stats();
        let totals: Vec<_> = (0..4)
            .map(|_| {
                go(|| {
                    let counters: [AtomicU64; 16] =
                        std::array::from_fn(|_| AtomicU64::new(1 << 40));
                    let over = AtomicUsize::new(0);
                    thread::scope(|threads| {
                        for _ in 0..2 {
                            threads.spawn(|| {
                                for turn in 0..EACH {
                                    let counter = &counters[turn as usize % 16];
                                    assert!(counter.fetch_add(1, Ordering::Relaxed) >= 1 << 40);
                                }
                                over.fetch_add(1, Ordering::SeqCst);
                            });
                        }
                        // Parks in the middle of the threads' work, and is at rest in between.
                        while over.load(Ordering::SeqCst) < 2 {
                            millpond_rt::time::sleep(Duration::from_micros(200));
                        }
                    });
                    counters
                        .iter()
                        .map(|counter| counter.load(Ordering::Relaxed) - (1 << 40))
                        .sum::<u64>()
                })
            })
            .collect();
        let sum: u64 = totals.into_iter().map(|total| total.join().unwrap()).sum();
        assert_eq!(sum, 4 * 2 * EACH);
        assert!(rest_stats().rested > before.rested);
    });
}

#[test]
fn the_first_touch_by_another_thread_ends_rest_for_what_its_place_starts() {
    let _turn = alone();
    run(1, || {
        let start = |gate: &Gate| {
            let (gate, at) = (gate.clone(), Arc::new(AtomicUsize::new(0)));
            let told = at.clone();
            let handle = go(move || {
                let word = AtomicU64::new(5);
                told.store(&raw const word as usize, Ordering::SeqCst);
                gate.wait_here();
                word.load(Ordering::SeqCst)
            });
            (handle, at)
        };
        let (first, second) = (Gate::default(), Gate::default());
        let (handle, at) = start(&first);
        let before = rest_stats();
        until("it rests", || first.waiting() == 1 && rest_stats().resting > before.resting);
        let address = at.load(Ordering::SeqCst);
        let touch = move || {
            // SAFETY: a word on the stack of a goroutine that is joined below.
            let word = unsafe { AtomicU64::from_ptr(address as *mut u64) };
            word.fetch_add(1, Ordering::SeqCst)
        };
        assert_eq!(thread::spawn(touch).join().unwrap(), 5);
        assert_eq!(rest_stats().foreign_wakes, before.foreign_wakes + 1);
        let (other, _) = start(&second);
        until("it is known", || {
            of_this_file()
                .iter()
                .any(|g| matches!(g.rest, Rest::Cannot(why) if why.contains("touched")))
        });
        first.open();
        second.open();
        assert_eq!((handle.join().unwrap(), other.join().unwrap()), (6, 5));
        assert!(rest_sites().iter().any(|site| site.foreign_wakes == 1));
    });
}

#[test]
fn who_cannot_rest_says_why() {
    let _turn = alone();
    run(1, || {
        let gate = Gate::default();
        let (a, b, c, d) = (gate.clone(), gate.clone(), gate.clone(), gate.clone());
        let told = GoBuilder::new().name("told").restable(false).go(move || a.wait_here());
        let scoped = GoBuilder::new()
            .name("scoped")
            .go(move || scope(|s| s.go(|| b.wait_here()).join().unwrap()));
        let elsewhere =
            GoBuilder::new().name("elsewhere").go(move || with_stack(1 << 20, || c.wait_here()));
        let free = GoBuilder::new().name("free").go(move || {
            scope(|s| drop(s.go(|| ())));
            d.wait_here();
        });
        let found = |name: &str, wanted: &str| {
            let all = goroutines();
            let g = all.iter().find(|g| g.name.as_deref() == Some(name));
            let Some(g) = g else { return false };
            matches!(g.rest, Rest::Cannot(why) if why.contains(wanted))
                && g.to_string().contains("kept warm")
        };
        until("reasons", || {
            found("told", "restable(false)")
                && found("scoped", "scope")
                && found("elsewhere", "with_stack")
        });
        until("free rests", || {
            goroutines().iter().any(|g| {
                g.name.as_deref() == Some("free")
                    && g.rest == Rest::AtRest
                    && g.live_bytes.is_some_and(|bytes| bytes > 64)
                    && g.to_string().contains("at rest")
            })
        });
        gate.open();
        [told, elsewhere, free].into_iter().for_each(|handle| handle.join().unwrap());
        scoped.join().unwrap();
    });
}

#[test]
fn who_waits_in_a_poll_cannot_rest_until_it_is_back_on_its_own_stack() {
    let _turn = alone();
    run(1, || {
        let (first, second) = (Gate::default(), Gate::default());
        let (a, b) = (first.clone(), second.clone());
        let handle = GoBuilder::new().name("polls").go(move || {
            block_on(std::future::poll_fn(|_| {
                a.wait_here();
                std::task::Poll::Ready(())
            }));
            b.wait_here();
        });
        let rest = || {
            let all = goroutines();
            all.iter().find(|g| g.name.as_deref() == Some("polls")).map(|g| g.rest)
        };
        until(
            "it says so",
            || matches!(rest(), Some(Rest::Cannot(why)) if why.contains("poll of block_on")),
        );
        first.open();
        until("it rests", || rest() == Some(Rest::AtRest));
        second.open();
        handle.join().unwrap();
    });
}

#[test]
fn a_stack_with_locked_memory_stays_and_says_so() {
    let _turn = alone();
    run(1, || {
        let gate = Gate::default();
        let inside = gate.clone();
        let locks = move || {
            let word = std::hint::black_box(5u64);
            let page = (&raw const word as usize & !4095) as *const libc::c_void;
            // SAFETY: a page of this goroutine's stack, locked for as long as it waits.
            let locked = unsafe { libc::mlock(page, 1) } == 0;
            if locked {
                inside.wait_here();
                // SAFETY: as above.
                assert_eq!(unsafe { libc::munlock(page, 1) }, 0);
            }
            locked && std::hint::black_box(&word) == &5
        };
        let handle = GoBuilder::new().name("locked").go(locks);
        until("it says so, or could not lock", || {
            handle.is_finished()
                || goroutines().iter().any(|g| {
                    g.name.as_deref() == Some("locked")
                        && matches!(g.rest, Rest::Cannot(why) if why.contains("locked"))
                        && g.to_string().contains("kept warm")
                })
        });
        gate.open();
        if !handle.join().unwrap() {
            println!("skipped: this process may not lock memory (ulimit -l)");
        }
    });
}

#[test]
fn times_and_live_bytes_are_counted_by_size() {
    let _turn = alone();
    const COUNT: u64 = 100;
    run(1, || {
        let before = rest_stats();
        let gate = Gate::default();
        let line = line!() + 5;
        let handles: Vec<_> = (0..COUNT)
            .map(|_| {
                let gate = gate.clone();
                // Forty words in each of ten frames: more than 3 KiB.
                go(move || deep(9, &mut || gate.wait_here()))
            })
            .collect();
        until("all rest", || rest_stats().resting as u64 >= before.resting as u64 + COUNT);
        let sites = rest_sites();
        let of_line = |site: &&millpond_rt::RestSite| {
            site.location.file().ends_with("rest.rs") && site.location.line() == line
        };
        let site = sites.iter().find(of_line).unwrap_or_else(|| panic!("{line}: {sites:?}"));
        assert_eq!(site.live_bytes.iter().map(|&(_, count)| count).sum::<u64>(), COUNT);
        assert!(site.live_bytes.iter().all(|&(most, count)| most >= 4096 && count > 0), "{site:?}");
        gate.open();
        handles.into_iter().for_each(|handle| handle.join().unwrap());
        let after = rest_stats();
        assert_eq!(after.rest_times.count(), after.rested);
        assert_eq!(after.wake_times.count(), after.woken);
        assert!(after.woken >= before.woken + COUNT);
        let (half, most) = (after.wake_times.quantile_ns(0.5), after.wake_times.quantile_ns(1.0));
        assert!(0 < half && half <= most);
        assert!(after.to_string().contains("p99"), "{after}");
    });
}

#[test]
fn a_future_is_polled_where_it_was_after_its_goroutine_rested() {
    let _turn = alone();
    run(1, || {
        let before = rest_stats();
        let mut polls = 0;
        let answer = block_on(std::future::poll_fn(|cx| {
            polls += 1;
            if polls == 5 {
                return std::task::Poll::Ready(7);
            }
            let waker = cx.waker().clone();
            thread::spawn(move || {
                let rested = before.rested;
                while rest_stats().rested == rested {
                    thread::yield_now();
                }
                waker.wake();
            });
            std::task::Poll::Pending
        }));
        assert_eq!(answer, 7);
    });
}

#[test]
fn nothing_rests_within_the_budget_and_a_smaller_one_takes_effect() {
    let _turn = alone();
    let patient = Builder::new().procs(1).warm_stacks(50).rest_after(Duration::ZERO).private();
    let body = || {
        let gate = Gate::default();
        let before = rest_stats();
        let handles: Vec<_> = (0..120)
            .map(|_| {
                let gate = gate.clone();
                go(move || gate.wait_here())
            })
            .collect();
        // Main is the 51st that is warm while it sleeps, or not.
        until("those beyond rest", || rest_stats().resting - before.resting >= 70);
        // What is in the last one's chunk may go with it.
        assert!(rest_stats().resting - before.resting <= 71 + 31);
        set_warm_stacks(10);
        until("more of them rest", || rest_stats().resting - before.resting >= 110);
        set_warm_stacks(usize::MAX);
        gate.open();
        for handle in handles {
            handle.join().unwrap();
        }
        let rested = rest_stats().rested;
        let quiet = go(|| (0..50).for_each(|_| yield_now()));
        quiet.join().unwrap();
        assert_eq!(rest_stats().rested, rested);
    };
    patient.run(body).unwrap();
}

#[test]
fn frozen_stacks_at_rest_outlive_their_runtime() {
    let _turn = alone();
    let at = Arc::new(AtomicUsize::new(0));
    let told = at.clone();
    run(1, move || {
        let before = rest_stats();
        let gate = Gate::default();
        drop(go(move || {
            let word = AtomicU64::new(77);
            told.store(&raw const word as usize, Ordering::SeqCst);
            gate.wait_here();
            std::hint::black_box(&word);
        }));
        until("it rests", || rest_stats().resting > before.resting);
    });
    // SAFETY: a frozen stack is never unmapped and never reused.
    let word = unsafe { AtomicU64::from_ptr(at.load(Ordering::SeqCst) as *mut u64) };
    assert_eq!(word.load(Ordering::SeqCst), 77);
}
