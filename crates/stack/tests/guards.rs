//! Every way of guarding, forced by the environment: an overflow is caught, in a child process.

mod common;

use common::{alone, passed_alone, text};
use corosensei::Coroutine;
use millpond_stack::{Config, GuardMode, Pool, SizeClass, lookup};
use millpond_sys::fault::{self, Fault};
use millpond_sys::guard::Guards;
use millpond_sys::report::Report;
use millpond_sys::{AltStack, mem};
use std::hint::black_box;
use std::io::Write;
use std::mem::MaybeUninit;
use std::os::unix::process::ExitStatusExt;
use std::process::Output;

/// What the child's callback does with a fault in a guard: says so and aborts.
fn on_fault(addr: usize, fault: &Fault) -> bool {
    let Some(info) = lookup(addr).filter(|info| info.in_guard) else {
        return false;
    };
    let in_stack = (info.limit..info.base).contains(&fault.stack_pointer);
    Report::new()
        .str("overflow of a stack of ")
        .dec(info.stack_bytes as u64)
        .str(" bytes at ")
        .hex(addr as u64)
        .str(if in_stack { ", on it" } else { ", off it" })
        .str(if fault.is_hardware { "\n" } else { ", sent\n" })
        .send();
    std::process::abort()
}

/// The pool of this child, the mode that was forced, and the handler in place.
fn child(mode: &str) -> (&'static Pool, AltStack) {
    let pool = Pool::global().unwrap();
    assert_eq!(pool.guard_mode().name(), mode);
    fault::install(on_fault).unwrap();
    (pool, AltStack::new().unwrap())
}

fn on_coroutine(pool: &'static Pool, class: SizeClass, body: fn() -> usize) {
    let stack = pool.take(class).unwrap();
    let mut coroutine: Coroutine<(), (), usize, _> =
        Coroutine::with_stack(stack, move |_, ()| body());
    black_box(coroutine.resume(()));
}

#[inline(never)]
fn recurse(depth: usize) -> usize {
    let frame = black_box([depth; 16]);
    if depth == usize::MAX { 0 } else { recurse(depth + 1) + frame[depth % 16] }
}

#[inline(never)]
fn huge_frame() -> usize {
    let frame = black_box([1u8; 1 << 20]);
    frame.iter().map(|&byte| byte as usize).sum()
}

fn caught(output: &Output, size: &str) {
    assert_eq!(output.status.signal(), Some(6), "{}", text(output));
    let said = text(output);
    assert!(said.contains(&format!("overflow of a stack of {size} bytes")), "{said}");
    assert!(said.contains(", on it"), "{said}");
}

/// Whether the child had no such mode, and this process cannot have it either.
fn honestly_refused(mode: &str, said: &str) -> bool {
    let tried = match mode {
        "install" => Guards::install(),
        "userfault" => Guards::userfault(),
        _ => Guards::mprotect(),
    };
    said.contains("are not to be had") && tried.is_err()
}

/// One test per mode and kind of overflow.
macro_rules! overflow {
    ($($(#[$attribute:meta])* $name:ident: $mode:literal, $class:ident, $bytes:literal, $body:expr;)*) => {$(
        #[test]
        $(#[$attribute])*
        fn $name() {
            let Some(output) = alone(stringify!($name), &[("MILLPOND_GUARD", $mode)]) else {
                let (pool, _signal_stack) = child($mode);
                return on_coroutine(pool, SizeClass::$class, $body);
            };
            if honestly_refused($mode, &text(&output)) {
                return;
            }
            caught(&output, $bytes);
        }
    )*};
}

overflow! {
    install_catches_recursion: "install", Kib16, "16384", || recurse(0);
    #[cfg_attr(millpond_asan, ignore = "rustc leaves stack probes out under this sanitizer")]
    install_catches_a_huge_frame: "install", Kib64, "65536", huge_frame;
    userfault_catches_recursion: "userfault", Kib16, "16384", || recurse(0);
    #[cfg_attr(millpond_asan, ignore = "rustc leaves stack probes out under this sanitizer")]
    userfault_catches_a_huge_frame: "userfault", Kib64, "65536", huge_frame;
    mprotect_catches_recursion: "mprotect", Kib16, "16384", || recurse(0);
    #[cfg_attr(millpond_asan, ignore = "rustc leaves stack probes out under this sanitizer")]
    mprotect_catches_a_huge_frame: "mprotect", Kib64, "65536", huge_frame;
    mprotect_catches_recursion_on_a_large_stack: "mprotect", Mib1, "1048576", || recurse(0);
}

/// Every slot of several chunks, before and after a chunk was closed and opened again.
fn every_guard_is_there(test: &str, mode: &str) {
    if let Some(output) = alone(test, &[("MILLPOND_GUARD", mode)]) {
        let said = text(&output);
        assert!(output.status.success() || honestly_refused(mode, &said), "{said}");
        return;
    }
    let pool = Pool::global().unwrap();
    for _ in 0..2 {
        let stacks: Vec<_> = (0..128).map(|_| pool.take(SizeClass::Kib64).unwrap()).collect();
        for stack in &stacks {
            assert!(!writable(stack.limit_addr()), "no guard at {:#x}", stack.limit_addr());
            assert!(!writable(stack.limit_addr() + 4088));
            assert!(writable(stack.limit_addr() + 4096));
        }
        drop(stacks);
        assert_eq!(pool.stats().classes[SizeClass::Kib64.index()].open_chunks, 0);
    }
}

/// Lets the kernel write a byte: a guard makes that `EFAULT` instead of a signal.
fn writable(addr: usize) -> bool {
    let (reader, mut writer) = std::io::pipe().unwrap();
    writer.write_all(b"x").unwrap();
    let at = addr as *mut MaybeUninit<u8>;
    // SAFETY: the address belongs to a stack that the test holds and nobody runs on, and the
    // slice is only ever handed to the kernel.
    let buffer = unsafe { std::slice::from_raw_parts_mut(at, 1) };
    rustix::io::read(&reader, buffer).is_ok()
}

#[test]
fn install_guards_every_slot_again_and_again() {
    every_guard_is_there("install_guards_every_slot_again_and_again", "install");
}

#[test]
fn userfault_guards_every_slot_again_and_again() {
    every_guard_is_there("userfault_guards_every_slot_again_and_again", "userfault");
}

#[test]
fn mprotect_guards_every_slot_again_and_again() {
    every_guard_is_there("mprotect_guards_every_slot_again_and_again", "mprotect");
}

#[test]
fn an_unknown_mode_is_one_clear_error() {
    if passed_alone("an_unknown_mode_is_one_clear_error", &[("MILLPOND_GUARD", "maybe")]) {
        return;
    }
    for _ in 0..2 {
        let error = Pool::global().unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::InvalidInput);
        let said = error.to_string();
        assert!(said.contains("\"maybe\": expected install, userfault or mprotect"), "{said}");
    }
}

#[test]
fn without_a_wish_the_best_mode_that_works_is_taken() {
    let test = "without_a_wish_the_best_mode_that_works_is_taken";
    if passed_alone(test, &[("MILLPOND_GUARD", "")]) {
        return;
    }
    let best = match Guards::install() {
        Ok(_) => GuardMode::Install,
        Err(_) => GuardMode::Mprotect,
    };
    assert_eq!(Pool::global().unwrap().guard_mode(), best);
}

/// Takes stacks until there are no more, and checks that the error helps and that the process,
/// and the pool, live on.
fn exhaust(pool: &'static Pool, expected: &str) -> usize {
    let mut stacks = Vec::with_capacity(40_000);
    let error = loop {
        match pool.take(SizeClass::Kib64) {
            Ok(stack) => stacks.push(stack),
            Err(error) => break error,
        }
        assert!(stacks.len() < 4 * mem::max_map_count(), "mprotect has no limit here");
    };
    let count = stacks.len();
    assert!(error.to_string().contains(expected), "{error}");
    assert!(error.to_string().contains("sysctl -w vm.max_map_count="), "{error}");
    stacks.truncate(count - 64);
    assert!(pool.take(SizeClass::Kib64).is_ok());
    drop(stacks);
    pool.check().unwrap();
    assert_eq!(pool.stats().classes[SizeClass::Kib64.index()].close_failures, 0);
    count
}

#[test]
#[cfg_attr(millpond_asan, ignore = "the sanitizer's own mappings come out of the same budget")]
fn mprotect_stops_before_the_kernel_does() {
    let test = "mprotect_stops_before_the_kernel_does";
    if passed_alone(test, &[("MILLPOND_GUARD", "mprotect")]) {
        return;
    }
    let pool = Pool::global().unwrap();
    let before = mem::map_count().unwrap();
    let count = exhaust(pool, "are guarded by mprotect");
    assert!(count > mem::max_map_count() / 2 - 2000, "only {count}");
    // Nothing stays split.
    assert!(mem::map_count().unwrap() < before + 16, "{}", mem::map_count().unwrap());
}

#[test]
fn mprotect_names_the_sysctl_when_the_kernel_refuses() {
    let test = "mprotect_names_the_sysctl_when_the_kernel_refuses";
    if passed_alone(test, &[]) {
        return;
    }
    let guard = Some(GuardMode::Mprotect);
    let config = Config { guard, mprotect_stacks: Some(usize::MAX >> 1), ..Config::default() };
    exhaust(Pool::new(config).unwrap(), "no mapping left");
}
