//! Faults that are not ours reach whoever handled them before, each in a child process.

use millpond_sys::fault::{self, Fault};
use millpond_sys::guard::Guards;
use millpond_sys::mem::{self, Reservation};
use millpond_sys::report::Report;
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, Output};
use std::sync::atomic::{AtomicUsize, Ordering};

const CHILD: &str = "MILLPOND_TEST_CHILD";

/// Runs the test again in a child; `None` there, and in the parent what came of it.
fn alone(test: &str) -> Option<Output> {
    if std::env::var_os(CHILD).is_some() {
        return None;
    }
    let mut child = Command::new(std::env::current_exe().unwrap());
    let arguments = ["--exact", test, "--nocapture", "--test-threads=1"];
    Some(child.args(arguments).env(CHILD, "1").output().unwrap())
}

fn said(output: &Output, words: &str) {
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(text.contains(words), "{}: {text}", output.status);
}

/// An address that is never mapped and never the runtime's.
const NOWHERE: usize = 0x10;

fn fault_at(addr: usize) {
    // SAFETY: there is nothing at this address: the write does not happen, which is the test.
    unsafe { (addr as *mut u8).write_volatile(1) };
}

/// Is asked about every fault and never takes it.
fn not_ours(addr: usize, fault: &Fault) -> bool {
    Report::new()
        .str("asked about ")
        .hex(addr as u64)
        .str(", signal ")
        .dec(fault.signal as u64)
        .str("\n")
        .send();
    false
}

extern "C" fn previous_info(signal: i32, info: *mut libc::siginfo_t, _context: *mut libc::c_void) {
    // SAFETY: the kernel's own record, passed on.
    let addr = unsafe { (*info).si_addr() } as u64;
    let masked = blocked(libc::SIGUSR1) && blocked(signal);
    let mut report = Report::new();
    report.str("previous handler: signal ").dec(signal as u64).str(" at ").hex(addr);
    report.str(if masked { ", masked\n" } else { ", not masked\n" }).send();
    // SAFETY: ends the process, async-signal-safe.
    unsafe { libc::_exit(33) };
}

extern "C" fn previous_plain(signal: i32) {
    Report::new().str("plain previous handler: signal ").dec(signal as u64).str("\n").send();
    if CALLS.fetch_add(1, Ordering::Relaxed) == 1 {
        // SAFETY: ends the process, async-signal-safe.
        unsafe { libc::_exit(34) };
    }
}

static CALLS: AtomicUsize = AtomicUsize::new(0);

fn blocked(signal: i32) -> bool {
    // SAFETY: a query of this thread's mask.
    unsafe {
        let mut mask: libc::sigset_t = std::mem::zeroed();
        libc::pthread_sigmask(libc::SIG_SETMASK, std::ptr::null(), &raw mut mask);
        libc::sigismember(&raw const mask, signal) == 1
    }
}

/// Puts a disposition in place for both signals, as some library would have before us.
fn set_previous(handler: usize, flags: i32) {
    for signal in [libc::SIGSEGV, libc::SIGBUS] {
        // SAFETY: all-zero is a valid `sigaction`, and the handlers above match their flags.
        unsafe {
            let mut action: libc::sigaction = std::mem::zeroed();
            action.sa_sigaction = handler;
            action.sa_flags = flags;
            libc::sigaddset(&raw mut action.sa_mask, libc::SIGUSR1);
            assert_eq!(libc::sigaction(signal, &raw const action, std::ptr::null_mut()), 0);
        }
    }
}

fn send(signal: i32) {
    // SAFETY: takes a number.
    assert_eq!(unsafe { libc::raise(signal) }, 0);
}

#[test]
fn a_foreign_fault_reaches_the_previous_handler_with_its_address_and_mask() {
    let Some(output) =
        alone("a_foreign_fault_reaches_the_previous_handler_with_its_address_and_mask")
    else {
        set_previous(previous_info as *const () as usize, libc::SA_SIGINFO);
        fault::install(not_ours).unwrap();
        // A second installation must not take our own handler for the previous one.
        fault::install(not_ours).unwrap();
        return fault_at(NOWHERE);
    };
    said(&output, "asked about 0x10, signal 11\n");
    said(&output, "previous handler: signal 11 at 0x10, masked");
    assert_eq!(output.status.code(), Some(33));
}

#[test]
fn a_plain_previous_handler_is_called_with_one_argument_and_the_fault_repeats() {
    let test = "a_plain_previous_handler_is_called_with_one_argument_and_the_fault_repeats";
    let Some(output) = alone(test) else {
        set_previous(previous_plain as *const () as usize, 0);
        fault::install(not_ours).unwrap();
        return fault_at(NOWHERE);
    };
    said(&output, "plain previous handler: signal 11");
    assert_eq!(output.status.code(), Some(34));
}

#[test]
fn a_previous_handler_that_resets_is_called_once() {
    let Some(output) = alone("a_previous_handler_that_resets_is_called_once") else {
        set_previous(previous_plain as *const () as usize, libc::SA_RESETHAND);
        fault::install(not_ours).unwrap();
        return fault_at(NOWHERE);
    };
    said(&output, "plain previous handler: signal 11");
    assert_eq!(output.status.signal(), Some(libc::SIGSEGV));
}

#[test]
fn without_a_previous_handler_a_foreign_fault_kills_as_it_would_have() {
    let test = "without_a_previous_handler_a_foreign_fault_kills_as_it_would_have";
    let Some(output) = alone(test) else {
        set_previous(libc::SIG_DFL, 0);
        fault::install(not_ours).unwrap();
        return fault_at(NOWHERE);
    };
    said(&output, "asked about 0x10, signal 11");
    assert_eq!(output.status.signal(), Some(libc::SIGSEGV));
}

#[test]
fn a_true_fault_cannot_be_ignored() {
    let Some(output) = alone("a_true_fault_cannot_be_ignored") else {
        set_previous(libc::SIG_IGN, 0);
        fault::install(not_ours).unwrap();
        return fault_at(NOWHERE);
    };
    assert_eq!(output.status.signal(), Some(libc::SIGSEGV));
}

#[test]
fn a_sent_signal_is_ignored_if_it_was_and_kills_if_it_did() {
    let Some(output) = alone("a_sent_signal_is_ignored_if_it_was_and_kills_if_it_did") else {
        set_previous(libc::SIG_IGN, 0);
        fault::install(not_ours).unwrap();
        send(libc::SIGSEGV);
        send(libc::SIGBUS);
        Report::new().str("still here\n").send();
        return;
    };
    said(&output, "still here");
    assert!(output.status.success());
}

#[test]
fn a_sent_signal_kills_by_its_own_name() {
    let Some(output) = alone("a_sent_signal_kills_by_its_own_name") else {
        set_previous(libc::SIG_DFL, 0);
        fault::install(not_ours).unwrap();
        return send(libc::SIGBUS);
    };
    assert_eq!(output.status.signal(), Some(libc::SIGBUS));
}

/// The page that [`take_it`] opens.
static PAGE: AtomicUsize = AtomicUsize::new(0);

/// Handles a fault as rest will: makes the page usable and lets the instruction run again.
fn take_it(addr: usize, fault: &Fault) -> bool {
    let page = PAGE.load(Ordering::Relaxed);
    let ours = fault.is_hardware && addr & !(mem::page_size() - 1) == page;
    if ours {
        // SAFETY: the page is the test's own reservation, and only this thread looks at it.
        unsafe {
            libc::mprotect(page as *mut _, mem::page_size(), libc::PROT_READ | libc::PROT_WRITE)
        };
    }
    ours
}

#[test]
fn a_handled_fault_runs_the_instruction_again() {
    let Some(output) = alone("a_handled_fault_runs_the_instruction_again") else {
        let page = mem::page_size();
        let range = Reservation::new(4 * page, page, c"test").unwrap();
        range.open(4 * page).unwrap();
        let guard = range.start() + page..range.start() + 2 * page;
        // SAFETY: the reservation is the test's own.
        unsafe { Guards::mprotect().unwrap().set(std::slice::from_ref(&guard)) }.unwrap();
        let guard = guard.start;
        PAGE.store(guard, Ordering::Relaxed);
        fault::install(take_it).unwrap();
        fault_at(guard + 5);
        // SAFETY: opened by the handler.
        assert_eq!(unsafe { ((guard + 5) as *const u8).read_volatile() }, 1);
        return;
    };
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}
