//! Faults that are not ours: they kill as they would without us, and reach who was there before.

use crate::endless;
use crate::harness::{Run, Table, as_main};
use crate::table;
use millpond::go;
use std::hint::black_box;

pub const TESTS: Table = table![
    a_null_pointer_in_a_goroutine_kills_by_sigsegv,
    a_null_pointer_reaches_the_handler_that_was_there_before,
    a_null_pointer_on_a_plain_thread_kills_by_sigsegv,
    an_overflow_of_a_plain_thread_is_still_explained_by_std,
];

pub const SCENARIOS: Table =
    table![null_in_a_goroutine, null_with_a_handler, null_on_a_thread, std_overflow];

const SIGSEGV: i32 = 11;
const SIGABRT: i32 = 6;

fn read_null() -> u8 {
    let nowhere: *const u8 = black_box(std::ptr::without_provenance(8));
    // SAFETY: it is not; the fault is what the test is about.
    unsafe { nowhere.read_volatile() }
}

fn null_in_a_goroutine() {
    as_main(|| drop(go(read_null).join()));
}

fn a_null_pointer_in_a_goroutine_kills_by_sigsegv() {
    Run::of("null_in_a_goroutine").end().has_signal(SIGSEGV).says_not("stack overflow");
}

extern "C" fn earlier_handler(signal: i32, info: *mut libc::siginfo_t, _: *mut libc::c_void) {
    // SAFETY: the kernel passes a valid record to a handler with SA_SIGINFO.
    let address = unsafe { (*info).si_addr() } as usize;
    let text: &[u8] = if address == 8 { b"the earlier handler: 8\n" } else { b"elsewhere\n" };
    // SAFETY: async-signal-safe calls on a static text; then the default action, so that the
    // instruction faults again and ends the process.
    unsafe {
        libc::write(2, text.as_ptr().cast(), text.len());
        libc::signal(signal, libc::SIG_DFL);
    }
}

fn null_with_a_handler() {
    // SAFETY: the handler is a function of the right shape that makes async-signal-safe calls.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = earlier_handler as *const () as usize;
        action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK;
        assert_eq!(libc::sigaction(libc::SIGSEGV, &action, std::ptr::null_mut()), 0);
    }
    as_main(|| drop(go(read_null).join()));
}

fn a_null_pointer_reaches_the_handler_that_was_there_before() {
    let ended = Run::of("null_with_a_handler").end();
    ended.has_signal(SIGSEGV).says(&["the earlier handler: 8"]).says_not("stack overflow");
}

fn null_on_a_thread() {
    as_main(|| {
        let (tx, rx) = millpond::chan::bounded::<()>(0);
        std::thread::spawn(move || {
            read_null();
            drop(tx);
        });
        let _ = rx.recv();
    });
}

fn a_null_pointer_on_a_plain_thread_kills_by_sigsegv() {
    Run::of("null_on_a_thread").end().has_signal(SIGSEGV).says_not("stack overflow");
}

fn std_overflow() {
    as_main(|| {
        let (tx, rx) = millpond::chan::bounded::<()>(0);
        let thread = std::thread::Builder::new().name("deep".into());
        thread
            .spawn(move || {
                black_box(endless(0));
                drop(tx);
            })
            .unwrap();
        let _ = rx.recv();
    });
}

fn an_overflow_of_a_plain_thread_is_still_explained_by_std() {
    let ended = Run::of("std_overflow").end();
    ended.has_signal(SIGABRT).says(&["thread 'deep'", "has overflowed its stack"]);
    ended.says_not("goroutine");
}
