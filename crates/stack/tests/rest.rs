//! Stacks at rest under threads that hold references into them: nothing is lost, nothing reads as
//! zeros, nothing is split for good; on each road.

mod common;

use common::passed_alone;
use corosensei::{Coroutine, CoroutineResult};
use millpond_stack::{
    Config, GuardMode, Origin, Parked, Pool, RestMode, SizeClass, Stack, on_fault,
};
use millpond_sys::{AltStack, fault};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::channel;
use std::thread;

static ORIGIN: Origin = Origin::new();

/// Every way in which stacks rest on this kernel.
const ROADS: [(&str, &str); 3] =
    [("install", "copy"), ("install", "closed"), ("mprotect", "closed")];

/// Runs the test once per road, alone, and `body` in each child.
fn on_each_road(test: &str, body: impl FnOnce(&'static Pool)) {
    for (guard, rest) in ROADS {
        let config = Config {
            guard: Some(guard.parse().unwrap()),
            rest: Some(rest.parse().unwrap()),
            ..Config::default()
        };
        if Pool::new(config).is_err() {
            println!("skipped: no {rest} with {guard} guards here");
        } else if !passed_alone(test, &[("MILLPOND_GUARD", guard), ("MILLPOND_REST", rest)]) {
            fault::install(|addr, _| on_fault(addr)).unwrap();
            return body(Pool::global().unwrap());
        }
    }
}

type Co = Coroutine<(), (), u64, Stack>;

/// A suspended coroutine, with what it keeps on its stack.
struct Sleeper {
    co: Co,
    sp: usize,
    counters: usize,
}

const COUNTERS: usize = 8;
const START: u64 = 1 << 40;

/// Parks with `COUNTERS` counters and `depth` further frames on its stack; returns the sum.
fn sleeper(stack: Stack, depth: usize) -> Sleeper {
    let (tell, told) = channel();
    let mut co = Co::with_stack(stack, move |yielder, ()| {
        let counters: [AtomicU64; COUNTERS] = std::array::from_fn(|_| AtomicU64::new(START));
        let at = counters.as_ptr() as usize;
        deep(depth, &mut || {
            let here = 0u8;
            // Below everything that is live when this is suspended: the frames of the switch are
            // small.
            tell.send((at, (&raw const here as usize - 1024) & !15)).unwrap();
            yielder.suspend(());
        });
        counters.iter().map(|counter| counter.load(Ordering::SeqCst) - START).sum()
    });
    assert!(matches!(co.resume(()), CoroutineResult::Yield(())));
    let (counters, sp) = told.recv().unwrap();
    Sleeper { co, sp, counters }
}

#[inline(never)]
fn deep(depth: usize, inner: &mut dyn FnMut()) {
    let frame = std::hint::black_box([depth as u64 + 1; 64]);
    if depth == 0 {
        inner()
    } else {
        deep(depth - 1, inner)
    }
    assert!(std::hint::black_box(&frame).iter().all(|&word| word == depth as u64 + 1));
}

impl Sleeper {
    fn parked(&self, key: usize) -> Parked {
        Parked { sp: self.sp, origin: &ORIGIN, key, copy_bytes: 0 }
    }

    /// Lets it run to its end; its sum and its stack.
    fn finish(mut self, pool: &Pool) -> (u64, Stack) {
        // SAFETY: this thread put it to rest, if it is.
        unsafe { pool.wake(self.sp) };
        match self.co.resume(()) {
            CoroutineResult::Return(sum) => (sum, self.co.into_stack()),
            CoroutineResult::Yield(()) => panic!("suspended twice"),
        }
    }
}

fn rest(pool: &Pool, sleepers: &[Sleeper]) -> usize {
    let mut parked: Vec<_> = sleepers.iter().enumerate().map(|(key, s)| s.parked(key)).collect();
    // SAFETY: all are suspended, and this thread alone resumes them.
    unsafe { pool.rest(&mut parked) };
    parked.iter().filter(|parked| parked.copy_bytes > 0).count()
}

fn sleepers(pool: &'static Pool, class: SizeClass, count: usize) -> Vec<Sleeper> {
    let mut cache = millpond_stack::Cache::new(pool);
    let most = if class == SizeClass::Kib16 { 4 } else { 12 };
    let depth = |index: usize| if index.is_multiple_of(7) { most } else { 0 };
    (0..count).map(|index| sleeper(cache.take(class).unwrap(), depth(index))).collect()
}

#[test]
fn foreign_threads_lose_no_increment_and_see_no_zero() {
    const EACH: u64 = 400_000;
    on_each_road("foreign_threads_lose_no_increment_and_see_no_zero", |pool| {
        for class in [SizeClass::Kib16, SizeClass::Kib64] {
            // More than a chunk, and not whole chunks only.
            let mut sleepers = sleepers(pool, class, 200);
            let counters: Vec<usize> = sleepers.iter().map(|sleeper| sleeper.counters).collect();
            let mappings = mappings_of_stacks();
            let before = pool.rest_stats().foreign_wakes;
            // A machine that is busy elsewhere may run them only while all are awake; then they go on.
            let met = || pool.rest_stats().foreign_wakes > before;
            let over = AtomicBool::new(false);
            let (done, turns) = (AtomicU64::new(0), AtomicU64::new(0));
            let rested = thread::scope(|scope| {
                for thread in 0..2u64 {
                    let (counters, done, over) = (&counters, &done, &over);
                    let (turns, met) = (&turns, &met);
                    scope.spawn(move || {
                        let _signal_stack = AltStack::new().unwrap();
                        let mut turn = 0;
                        while turn < EACH || !met() {
                            let mix = (turn * 2 + thread).wrapping_mul(0x9E37_79B9_7F4A_7C15);
                            let at = counters[(mix >> 32) as usize % counters.len()]
                                + (mix >> 24) as usize % COUNTERS * 8;
                            // SAFETY: a counter on the stack of a coroutine that ends after this
                            // scope.
                            let counter = unsafe { AtomicU64::from_ptr(at as *mut u64) };
                            assert!(counter.fetch_add(1, Ordering::SeqCst) >= START);
                            assert!(counter.load(Ordering::SeqCst) > START);
                            turn += 1;
                        }
                        turns.fetch_add(turn, Ordering::SeqCst);
                        if done.fetch_add(1, Ordering::SeqCst) == 1 {
                            over.store(true, Ordering::SeqCst);
                        }
                    });
                }
                let mut rested = 0;
                while !over.load(Ordering::SeqCst) || rested == 0 {
                    rested += rest(pool, &sleepers);
                    for sleeper in sleepers.iter().step_by(3) {
                        // SAFETY: this thread put it to rest.
                        unsafe { pool.wake(sleeper.sp) };
                    }
                    assert!(mappings_of_stacks() <= mappings + 40);
                    // Those that a foreign thread has woken rest again only after their copy is
                    // taken.
                    for sleeper in &sleepers {
                        // SAFETY: as above.
                        unsafe { pool.wake(sleeper.sp) };
                    }
                }
                rested
            });
            let stats = pool.rest_stats();
            println!("{class}: rested {rested}, {stats:?}");
            assert!(rested > 0 && stats.foreign_wakes > before);
            let sum: u64 = sleepers.drain(..).map(|sleeper| sleeper.finish(pool).0).sum();
            assert_eq!(sum, turns.into_inner(), "increments were lost");
            assert_eq!((pool.rest_stats().resting, pool.rest_stats().copy_bytes), (0, 0));
            assert!(mappings_of_stacks() <= mappings);
        }
        assert!(ORIGIN.touched() > 0);
    });
}

#[test]
fn whole_chunks_and_parts_of_them_come_back_in_any_order() {
    on_each_road("whole_chunks_and_parts_of_them_come_back_in_any_order", |pool| {
        for class in SizeClass::ALL {
            let count = if class <= SizeClass::Kib64 { 300 } else { 9 };
            let mut sleepers = sleepers(pool, class, count);
            let mut state = 7u64;
            for _ in 0..4 {
                rest(pool, &sleepers);
                let stats = pool.rest_stats();
                assert_eq!(stats.resting, count);
                assert!(stats.live_bytes > stats.copy_bytes && stats.saved_bytes() > 0, "{stats}");
                for index in 0..count {
                    state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                    let sleeper = &sleepers[(state >> 33) as usize % (index + 1)];
                    // SAFETY: this thread put it to rest.
                    unsafe { assert!(!pool.wake(sleeper.sp)) };
                }
            }
            rest(pool, &sleepers);
            for sleeper in sleepers.drain(..) {
                assert_eq!(sleeper.finish(pool).0, 0);
            }
        }
        assert!(pool.is_valid());
    });
}

#[test]
fn a_guard_is_a_guard_again_after_its_chunk_was_closed() {
    on_each_road("a_guard_is_a_guard_again_after_its_chunk_was_closed", |pool| {
        let slots = (2 << 20) / SizeClass::Kib64.bytes();
        let sleepers = sleepers(pool, SizeClass::Kib64, slots);
        assert_eq!(rest(pool, &sleepers), slots);
        // SAFETY: this thread put it to rest.
        unsafe { pool.wake(sleepers[3].sp) };
        for sleeper in &sleepers {
            let limit = millpond_stack::lookup(sleeper.sp).unwrap().limit;
            assert!(!reads(limit) && !reads(limit + 4088), "{limit:#x} has no guard");
        }
        for sleeper in sleepers {
            sleeper.finish(pool);
        }
    });
}

/// Mappings that the reservations of stacks are split into.
fn mappings_of_stacks() -> usize {
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
    maps.lines().filter(|line| line.contains("millpond stacks")).count()
}

/// Whether a system call may read from an address.
fn reads(addr: usize) -> bool {
    let (_out, into) = rustix::pipe::pipe().unwrap();
    // SAFETY: the kernel checks the address, and the pipe takes one byte.
    unsafe { libc::write(std::os::fd::AsRawFd::as_raw_fd(&into), addr as *const _, 1) == 1 }
}

#[test]
fn a_system_call_into_a_resting_stack_gets_efault_and_nothing_worse() {
    on_each_road("a_system_call_into_a_resting_stack_gets_efault_and_nothing_worse", |pool| {
        let sleepers = sleepers(pool, SizeClass::Kib64, 40);
        assert!(reads(sleepers[5].counters));
        assert_eq!(rest(pool, &sleepers), 40);
        let zeros = std::fs::File::open("/dev/zero").unwrap();
        for sleeper in &sleepers {
            assert!(!reads(sleeper.counters));
            let fd = std::os::fd::AsRawFd::as_raw_fd(&zeros);
            // SAFETY: the kernel checks the address.
            let read = unsafe { libc::read(fd, sleeper.counters as *mut _, 8) };
            let error = std::io::Error::last_os_error();
            assert_eq!((read, error.raw_os_error()), (-1, Some(libc::EFAULT)));
        }
        assert_eq!(pool.rest_stats().foreign_wakes, 0);
        for sleeper in sleepers {
            assert_eq!(sleeper.finish(pool).0, 0);
        }
    });
}

#[test]
fn what_somebody_has_locked_stays_in_memory_and_whole() {
    on_each_road("what_somebody_has_locked_stays_in_memory_and_whole", |pool| {
        let sleepers = sleepers(pool, SizeClass::Kib64, 64);
        let page = sleepers[20].counters & !4095;
        // SAFETY: locking changes no content.
        if unsafe { libc::mlock(page as *const _, 4096) } != 0 {
            println!("skipped: this process may not lock memory");
        } else {
            let rested = rest(pool, &sleepers);
            assert!(rested < 64, "locked memory was taken away");
            assert!(reads(sleepers[20].counters));
            // SAFETY: as above.
            unsafe { libc::munlock(page as *const _, 4096) };
        }
        for sleeper in sleepers {
            assert_eq!(sleeper.finish(pool).0, 0);
        }
    });
}

#[test]
fn a_deep_stack_that_became_shallow_gives_back_what_is_below() {
    on_each_road("a_deep_stack_that_became_shallow_gives_back_what_is_below", |pool| {
        let stack = pool.take(SizeClass::Kib64).unwrap();
        let low = stack.limit_addr() + 8192;
        // SAFETY: a word of a stack that nobody runs on yet.
        unsafe { (low as *mut u64).write_volatile(5) };
        let sleeper = sleeper(stack, 0);
        // SAFETY: suspended, and this thread alone resumes it.
        assert!(unsafe { pool.shrink(sleeper.sp) } > 32 << 10);
        // SAFETY: below the stack pointer, mapped, and nobody's.
        assert_eq!(unsafe { (low as *const u64).read_volatile() }, 0);
        assert_eq!(sleeper.finish(pool).0, 0);
    });
}

#[test]
fn a_pool_that_is_told_so_puts_nothing_to_rest() {
    let config = Config { rest: Some(RestMode::Off), ..Config::default() };
    let pool = Pool::new(config).unwrap();
    assert!(!pool.can_rest() && pool.describe_rest().contains("off"));
    let sleepers = sleepers(pool, SizeClass::Kib16, 3);
    assert_eq!(rest(pool, &sleepers), 0);
    sleepers.into_iter().for_each(|sleeper| assert_eq!(sleeper.finish(pool).0, 0));
    let refused = Pool::new(Config {
        guard: Some(GuardMode::Mprotect),
        rest: Some(RestMode::Copy),
        ..Config::default()
    });
    assert!(refused.unwrap_err().to_string().contains("MILLPOND_REST=copy is not to be had"));
}

/// In a child of `fork`: ends it with what `body` says, without running anything of this process's.
fn in_child(body: impl FnOnce() -> bool) -> bool {
    // SAFETY: the child makes system calls and touches memory of its own until it ends, and lets nothing
    // that the parent's threads may have held be waited for.
    match unsafe { libc::fork() } {
        0 => {
            let status = if body() { 0 } else { 1 };
            // SAFETY: ends the child.
            unsafe { libc::_exit(status) }
        }
        child => {
            assert!(child > 0, "{}", std::io::Error::last_os_error());
            let mut status = 0;
            // SAFETY: a child of this process, and a local to write to.
            assert_eq!(unsafe { libc::waitpid(child, &raw mut status, 0) }, child);
            status == 0
        }
    }
}

#[test]
fn a_child_of_fork_has_the_stacks_at_rest_and_its_parent_notices_nothing() {
    on_each_road("a_child_of_fork_has_the_stacks_at_rest_and_its_parent_notices_nothing", |pool| {
        let _signal_stack = AltStack::new().unwrap();
        // Whole chunks, which are closed, and single stacks.
        let mut sleepers = sleepers(pool, SizeClass::Kib64, 100);
        assert_eq!(rest(pool, &sleepers), sleepers.len());
        let counters: Vec<usize> = sleepers.iter().map(|sleeper| sleeper.counters).collect();
        let touch = |by: u64| {
            counters.iter().all(|&at| {
                // SAFETY: a counter on the stack of a suspended coroutine.
                let counter = unsafe { AtomicU64::from_ptr(at as *mut u64) };
                counter.fetch_add(by, Ordering::SeqCst) == START
            })
        };
        let resting = pool.rest_stats().resting;
        assert!(in_child(|| touch(5) && pool.rest_stats().resting == 0), "a child lost a stack");
        assert_eq!(pool.rest_stats().resting, resting, "the child woke the parent's");
        // A child of a child, and one that goes on with what it has woken itself, as its owner.
        assert!(in_child(|| in_child(|| touch(7)) && touch(6)));
        assert!(in_child(|| {
            // SAFETY: in the child this thread is their owner.
            sleepers.iter().for_each(|sleeper| assert!(!unsafe { pool.wake(sleeper.sp) }));
            touch(1) && pool.rest_stats().resting == 0
        }));
        assert_eq!(pool.rest_stats().resting, resting);
        assert!(touch(3), "what a child wrote came to the parent");
        assert!(sleepers.drain(..).all(|sleeper| sleeper.finish(pool).0 == 3));
    });
}

#[test]
fn stacks_are_read_at_rest_and_warm_and_stay_what_they_are() {
    on_each_road("stacks_are_read_at_rest_and_warm_and_stay_what_they_are", |pool| {
        let sleepers = sleepers(pool, SizeClass::Kib64, 70);
        let read = |at: usize, most| {
            let mut words = Vec::new();
            // SAFETY: suspended, and this thread alone resumes them.
            unsafe { pool.read(at, most, &mut words) };
            words
        };
        let all = || -> Vec<_> { sleepers.iter().map(|sleeper| read(sleeper.sp, 4096)).collect() };
        let warm = all();
        assert_eq!(rest(pool, &sleepers), sleepers.len());
        assert!(all() == warm, "a copy differs from its stack");
        for (sleeper, words) in sleepers.iter().zip(&warm) {
            let from = (sleeper.counters - sleeper.sp) / 8;
            assert_eq!(read(sleeper.counters, COUNTERS), words[from..from + COUNTERS]);
            assert_eq!(words[from..from + COUNTERS], [START; COUNTERS]);
            assert!(read(sleeper.sp, 0).is_empty());
            assert!(read(sleeper.sp - 64, 8).is_empty(), "below what is live there is nothing");
        }
        assert_eq!(pool.rest_stats().resting, sleepers.len());
        assert_eq!(pool.rest_stats().woken, 0);
        assert!(read(&raw const warm as usize, 8).is_empty(), "no stack of a pool");
        sleepers.into_iter().for_each(|sleeper| drop(sleeper.finish(pool)));
    });
}
