//! What stacks are given out, come back, and what the pool says about it.

mod common;

use common::{passed_alone, text};
use corosensei::{Coroutine, CoroutineResult, on_stack};
use millpond_stack::{Cache, Config, GuardMode, Pool, SizeClass, Stack, lookup};
use std::collections::HashSet;
use std::sync::mpsc;

fn pool() -> &'static Pool {
    Pool::new(Config { region_bytes: Some(64 << 20), ..Config::from_env().unwrap() }).unwrap()
}

fn adds_up(pool: &Pool) {
    for class in pool.stats().classes {
        assert_eq!(class.accounted_bytes(), class.reserved_bytes, "{class:?}");
    }
    pool.check().unwrap();
}

#[test]
fn the_last_stack_in_is_the_first_out() {
    let mut cache = Cache::new(pool());
    for class in SizeClass::ALL {
        let stacks: Vec<_> = (0..3).map(|_| cache.take(class).unwrap()).collect();
        let limits: Vec<_> = stacks.iter().map(Stack::limit_addr).collect();
        cache.set_budget(class, 16);
        stacks.into_iter().for_each(|stack| cache.give(stack));
        for limit in limits.into_iter().rev() {
            let stack = cache.take(class).unwrap();
            assert_eq!(stack.limit_addr(), limit);
            std::mem::forget(stack);
        }
    }
}

#[test]
#[cfg_attr(
    millpond_asan,
    ignore = "instrumented frames leave less than a page of the smallest stack"
)]
fn every_class_runs_code_over_all_its_usable_bytes() {
    let mut cache = Cache::new(pool());
    for class in SizeClass::ALL {
        let stack = cache.take(class).unwrap();
        assert!(stack.usable_bytes() >= class.usable_bytes());
        let lowest = stack.limit_addr() + 4096;
        let sum = on_stack(stack, move || {
            let here = 0u8;
            let top = (&raw const here as usize) & !4095;
            // SAFETY: the pages between the guard and this frame are this stack's own.
            (lowest..top).step_by(4096).for_each(|page| unsafe { (page as *mut u8).write(1) });
            // SAFETY: as above.
            (lowest..top)
                .step_by(4096)
                .map(|page| unsafe { *(page as *const u8) as usize })
                .sum::<usize>()
        });
        // All but the pages of the frames that do the counting.
        assert!(sum + 3 >= class.usable_bytes() / 4096, "{class}: {sum}");
    }
}

#[test]
fn a_coroutine_suspends_and_resumes_on_a_pooled_stack() {
    let stack = pool().take(SizeClass::Kib16).unwrap();
    let mut coroutine = Coroutine::with_stack(stack, |yielder, start: u32| {
        let more = yielder.suspend(start + 1);
        more * 2
    });
    assert_eq!(coroutine.resume(1), CoroutineResult::Yield(2));
    assert_eq!(coroutine.resume(21), CoroutineResult::Return(42));
}

#[test]
fn stacks_do_not_overlap_and_their_bases_have_sixteen_colours() {
    let mut cache = Cache::new(pool());
    let stacks: Vec<_> = (0..256).map(|_| cache.take(SizeClass::Kib16).unwrap()).collect();
    let mut limits: Vec<_> = stacks.iter().map(Stack::limit_addr).collect();
    limits.sort_unstable();
    assert!(limits.windows(2).all(|pair| pair[0] + (16 << 10) <= pair[1]));
    let colours: HashSet<_> = stacks.iter().map(|stack| stack.base_addr() % 4096).collect();
    assert_eq!(colours.len(), 16);
    assert!(stacks.iter().all(|stack| stack.base_addr() % 128 == 0));
}

#[test]
fn any_address_of_a_stack_leads_to_it() {
    let stack = pool().take(SizeClass::Kib64).unwrap();
    let (limit, base) = (stack.limit_addr(), stack.base_addr());
    for (addr, in_guard) in
        [(limit, true), (limit + 4095, true), (limit + 4096, false), (base - 1, false)]
    {
        let info = lookup(addr).unwrap();
        assert_eq!((info.class, info.stack_bytes), (SizeClass::Kib64, 64 << 10));
        assert_eq!((info.limit, info.base, info.in_guard), (limit, base, in_guard));
    }
    let elsewhere = Box::new(0u8);
    assert_eq!(lookup(&raw const *elsewhere as usize), None);
    assert_eq!(lookup(0), None);
    assert_eq!(lookup(usize::MAX), None);
}

#[test]
fn a_stack_comes_back_clean_beyond_the_budget_and_warm_within_it() {
    let pool = pool();
    let mut cache = Cache::new(pool);
    let touch = |stack: &Stack, value: u8| {
        let top = (stack.base_addr() - 1) as *mut u8;
        // SAFETY: the top byte of a stack that the test holds.
        unsafe { top.replace(value) }
    };
    let warm = cache.take(SizeClass::Kib64).unwrap();
    touch(&warm, 7);
    cache.give(warm);
    let warm = cache.take(SizeClass::Kib64).unwrap();
    assert_eq!(touch(&warm, 7), 7);
    cache.set_budget(SizeClass::Kib64, 0);
    let limit = warm.limit_addr();
    cache.give(warm);
    assert_eq!(cache.len(SizeClass::Kib64), 0);
    let cold = cache.take(SizeClass::Kib64).unwrap();
    assert_eq!((cold.limit_addr(), touch(&cold, 0)), (limit, 0));
    adds_up(pool);
}

#[test]
fn a_stack_with_locked_pages_comes_back_all_the_same() {
    let pool = pool();
    let mut cache = Cache::new(pool);
    cache.set_budget(SizeClass::Kib64, 0);
    for _ in 0..2 {
        let stack = cache.take(SizeClass::Kib64).unwrap();
        let top = (stack.base_addr() - 4096) as *mut libc::c_void;
        // SAFETY: locking changes no content, and the page is the test's own stack's.
        assert_eq!(unsafe { libc::mlock(top, 4096) }, 0);
        cache.give(stack);
        // The rest of the chunk too: it closes, and opens again in the next round.
        cache.trim(0);
        let stats = pool.stats();
        assert_eq!((stats.discard_failures, stats.classes[1].close_failures), (0, 0));
    }
    adds_up(pool);
}

#[test]
fn a_leaked_stack_is_never_given_out_again() {
    let pool = pool();
    let mut cache = Cache::new(pool);
    let leaked = cache.take(SizeClass::Mib1).unwrap();
    let address = leaked.limit_addr();
    std::mem::forget(leaked);
    drop(cache);
    let mut cache = Cache::new(pool);
    // More than the region holds: the class must grow, and still avoid the leaked one.
    let stacks: Vec<_> = (0..100).map(|_| cache.take(SizeClass::Mib1).unwrap()).collect();
    assert!(stacks.iter().all(|stack| stack.limit_addr() != address));
    assert!(pool.stats().classes[SizeClass::Mib1.index()].regions >= 2);
    assert_eq!(pool.stats().live(), 101);
    adds_up(pool);
}

#[test]
fn the_lines_of_the_balance_sheet_add_up_at_every_step() {
    let pool = pool();
    adds_up(pool);
    let mut cache = Cache::new(pool);
    let mut held = Vec::new();
    for round in 0..2000usize {
        // A walk that swings by more than the budget, over all classes, by a fixed rule.
        let class = SizeClass::ALL[round * 7 % 5 * usize::from(round % 3 == 0)];
        match round / 500 % 2 {
            0 => held.push(cache.take(class).unwrap()),
            _ => held.pop().into_iter().for_each(|stack| cache.give(stack)),
        }
        if round % 97 == 0 {
            adds_up(pool);
            cache.check().unwrap();
            assert_eq!(pool.stats().live(), held.len());
        }
    }
    held.into_iter().for_each(drop);
    assert_eq!(pool.stats().live(), 0);
    drop(cache);
    let stats = pool.stats();
    assert_eq!((stats.cached(), stats.caches), (0, 0));
    for class in stats.classes {
        assert_eq!((class.open_chunks, class.free, class.close_failures), (0, 0, 0), "{class:?}");
    }
    assert!(stats.returned_stacks > 0);
    adds_up(pool);
}

#[test]
fn a_stack_of_another_pool_goes_home() {
    let (mine, other) = (pool(), pool());
    let mut cache = Cache::new(mine);
    cache.give(other.take(SizeClass::Kib64).unwrap());
    assert_eq!(cache.len(SizeClass::Kib64), 0);
    assert_eq!(other.stats().live(), 0);
    adds_up(other);
}

#[test]
fn threads_take_give_and_drop_each_others_stacks() {
    let pool = pool();
    let (send, receive) = mpsc::channel::<Stack>();
    std::thread::scope(|scope| {
        for seed in 0..4usize {
            let send = send.clone();
            scope.spawn(move || {
                let mut cache = Cache::new(pool);
                cache.set_budget(SizeClass::Kib64, 24);
                for round in 0..3000 {
                    let stack = cache.take(SizeClass::Kib64).unwrap();
                    let mark = stack.base_addr() - 8;
                    // SAFETY: the top word of a stack that only this thread holds.
                    unsafe { (mark as *mut usize).write_volatile(seed) };
                    match (round + seed) % 5 {
                        0 => send.send(stack).unwrap(),
                        _ => cache.give(stack),
                    }
                }
            });
        }
        drop(send);
        scope.spawn(move || receive.into_iter().for_each(drop));
    });
    assert_eq!(pool.stats().live(), 0);
    assert_eq!(pool.stats().classes[1].open_chunks, 0);
    adds_up(pool);
}

/// Writes to the top byte; what was there before.
fn mark(stack: &Stack, value: u8) -> u8 {
    // SAFETY: the top byte of a stack that the test holds.
    unsafe { ((stack.base_addr() - 1) as *mut u8).replace(value) }
}

#[test]
fn what_a_deferring_cache_has_left_over_is_warm_for_another() {
    let pool = pool();
    let (mut gives, mut takes) = (Cache::deferring(pool), Cache::new(pool));
    gives.set_budget(SizeClass::Mib1, 0);
    let stack = gives.take(SizeClass::Mib1).unwrap();
    mark(&stack, 7);
    let limit = stack.limit_addr();
    gives.give(stack);
    assert!(pool.has_surplus() && gives.len(SizeClass::Mib1) == 0);
    let growth = pool.growth();
    // The two stacks of the chunk, one of which was never used.
    let both = [SizeClass::Mib1; 2].map(|class| takes.take(class).unwrap());
    let again = both.iter().find(|stack| stack.limit_addr() == limit).unwrap();
    assert_eq!((mark(again, 0), pool.growth()), (7, growth));
    assert!(!pool.has_surplus());
    adds_up(pool);
}

#[test]
fn settling_ends_with_every_chunk_closed_and_every_stack_clean() {
    let pool = pool();
    let mut cache = Cache::deferring(pool);
    cache.set_budget(SizeClass::Kib64, 0);
    let stacks: Vec<_> = (0..1000).map(|_| cache.take(SizeClass::Kib64).unwrap()).collect();
    let mut kept = Vec::new();
    for (i, stack) in stacks.into_iter().enumerate() {
        mark(&stack, 7);
        // So that some chunks are whole and some are not.
        match i % 50 {
            0 => kept.push(stack),
            _ => cache.give(stack),
        }
    }
    adds_up(pool);
    while pool.settle() {}
    assert_eq!((pool.stats().cached(), pool.stats().live()), (0, kept.len()));
    adds_up(pool);
    let fresh = cache.take(SizeClass::Kib64).unwrap();
    assert_eq!(mark(&fresh, 0), 0);
    drop((fresh, kept));
    cache.trim(0);
    while pool.settle() {}
    assert_eq!(pool.stats().classes[SizeClass::Kib64.index()].open_chunks, 0);
    adds_up(pool);
}

#[test]
fn the_last_cache_takes_along_what_waits() {
    let pool = pool();
    let (mut one, two) = (Cache::deferring(pool), Cache::deferring(pool));
    one.set_budget(SizeClass::Kib16, 0);
    let stack = one.take(SizeClass::Kib16).unwrap();
    one.give(stack);
    drop(one);
    assert!(pool.has_surplus());
    drop(two);
    assert_eq!((pool.has_surplus(), pool.stats().cached()), (false, 0));
    assert_eq!(pool.stats().classes[SizeClass::Kib16.index()].open_chunks, 0);
    adds_up(pool);
}

#[test]
fn trimming_keeps_the_warmest() {
    let mut cache = Cache::new(pool());
    let stacks: Vec<_> = (0..10).map(|_| cache.take(SizeClass::Kib64).unwrap()).collect();
    let last = stacks[9].limit_addr();
    stacks.into_iter().for_each(|stack| cache.give(stack));
    cache.trim(1);
    assert_eq!(cache.len(SizeClass::Kib64), 1);
    assert_eq!(cache.take(SizeClass::Kib64).unwrap().limit_addr(), last);
}

#[test]
fn the_budget_of_mprotect_ends_in_an_error_that_names_the_sysctl() {
    // The budget is the process's: other tests would spend it.
    if passed_alone("the_budget_of_mprotect_ends_in_an_error_that_names_the_sysctl", &[]) {
        return;
    }
    let pool = Pool::new(Config {
        guard: Some(GuardMode::Mprotect),
        region_bytes: Some(64 << 20),
        mprotect_stacks: Some(4),
        ..Config::default()
    })
    .unwrap();
    assert!(pool.describe().contains("at most 4 stacks"));
    let kept = [pool.take(SizeClass::Mib1).unwrap(), pool.take(SizeClass::Mib1).unwrap()];
    let error = pool.take(SizeClass::Kib64).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::OutOfMemory);
    assert!(error.to_string().contains("vm.max_map_count"), "{error}");
    drop(kept);
    // What came back pays for others, also what still waits to be settled.
    let mut cache = Cache::deferring(pool);
    cache.set_budget(SizeClass::Kib256, 0);
    assert!(cache.take(SizeClass::Kib256).is_err());
    cache.set_budget(SizeClass::Mib1, 0);
    let stacks = [SizeClass::Mib1; 4].map(|class| cache.take(class).unwrap());
    stacks.into_iter().for_each(|stack| cache.give(stack));
    assert!(pool.has_surplus());
    let others: Vec<_> = (0..4).map(|_| pool.take(SizeClass::Mib8).unwrap()).collect();
    assert!(pool.take(SizeClass::Mib8).is_err());
    drop(others);
    adds_up(pool);
}

/// Runs this whole file in another mode. A mode that is not to be had here is told apart by
/// trying it.
fn all_of_it_again(mode: GuardMode) {
    if Pool::new(Config { guard: Some(mode), ..Config::default() }).is_err() {
        return;
    }
    let output = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--skip", "every_behaviour_holds", "--test-threads=1"])
        .env("MILLPOND_GUARD", mode.name())
        .output()
        .unwrap();
    assert!(output.status.success(), "{mode}: {}", text(&output));
}

#[test]
fn every_behaviour_holds_with_guards_by_mprotect() {
    all_of_it_again(GuardMode::Mprotect);
}

#[test]
fn every_behaviour_holds_with_guards_by_userfaultfd() {
    all_of_it_again(GuardMode::Userfault);
}
