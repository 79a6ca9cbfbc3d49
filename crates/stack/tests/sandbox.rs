//! Under a filter that refuses what older kernels and container profiles refuse, the pool takes
//! `mprotect`, and a mode that is forced all the same is one clear error.

mod common;

use common::passed_alone;
use millpond_stack::{GuardMode, Pool, SizeClass};
use millpond_sys::task;
use std::ffi::CString;
use std::os::unix::ffi::OsStrExt;

/// Makes `madvise(MADV_GUARD_INSTALL)` and `userfaultfd` fail for the rest of this process.
fn refuse_guards_that_split_nothing() {
    let load = |offset| statement(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, offset);
    let equal = |value, yes, no| libc::sock_filter {
        code: (libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K) as u16,
        jt: yes,
        jf: no,
        k: value,
    };
    let answer = |value| statement(libc::BPF_RET | libc::BPF_K, value);
    // `seccomp_data`: the number at 0, the low half of the third argument at 32.
    let program = [
        load(0),
        equal(libc::SYS_userfaultfd as u32, 5, 0),
        equal(libc::SYS_process_madvise as u32, 4, 0),
        equal(libc::SYS_madvise as u32, 0, 2),
        load(32),
        equal(102, 1, 0),
        answer(libc::SECCOMP_RET_ALLOW),
        answer(libc::SECCOMP_RET_ERRNO | libc::EINVAL as u32),
    ];
    let filter =
        libc::sock_fprog { len: program.len() as u16, filter: program.as_ptr().cast_mut() };
    // SAFETY: the program is complete, ends in a return on every path, and outlives the calls.
    unsafe {
        assert_eq!(libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), 0);
        let mode = libc::SECCOMP_MODE_FILTER;
        assert_eq!(libc::prctl(libc::PR_SET_SECCOMP, mode, &raw const filter), 0);
    }
}

fn statement(code: u32, value: u32) -> libc::sock_filter {
    libc::sock_filter { code: code as u16, jt: 0, jf: 0, k: value }
}

#[test]
fn without_guard_markers_the_pool_takes_mprotect_and_says_what_it_cannot_do() {
    let test = "without_guard_markers_the_pool_takes_mprotect_and_says_what_it_cannot_do";
    if passed_alone(test, &[("MILLPOND_GUARD", "")]) {
        return;
    }
    refuse_guards_that_split_nothing();
    let pool = Pool::global().unwrap();
    assert_eq!(pool.guard_mode(), GuardMode::Mprotect);
    assert!(pool.describe().contains("at most"), "{}", pool.describe());
    let stacks: Vec<_> = (0..100).map(|_| pool.take(SizeClass::Kib64).unwrap()).collect();
    drop(stacks);
    pool.check().unwrap();
}

fn a_forced_mode_is_refused(test: &str, mode: &str, remedy: &str) {
    if passed_alone(test, &[("MILLPOND_GUARD", mode)]) {
        return;
    }
    refuse_guards_that_split_nothing();
    let error = Pool::global().unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::Unsupported);
    let said = error.to_string();
    assert!(said.contains(&format!("in mode {mode} are not to be had")), "{said}");
    assert!(said.contains(remedy) && said.contains("MILLPOND_GUARD=mprotect"), "{said}");
}

#[test]
fn install_forced_where_it_is_not_to_be_had_is_a_clear_error() {
    let test = "install_forced_where_it_is_not_to_be_had_is_a_clear_error";
    a_forced_mode_is_refused(test, "install", "Linux 6.13");
}

#[test]
fn userfault_forced_where_it_is_not_to_be_had_is_a_clear_error() {
    let test = "userfault_forced_where_it_is_not_to_be_had_is_a_clear_error";
    a_forced_mode_is_refused(test, "userfault", "unprivileged_userfaultfd");
}

fn limit_addresses(bytes: u64) {
    set_limit(libc::RLIMIT_AS, bytes);
}

fn set_limit(which: libc::__rlimit_resource_t, bytes: u64) {
    let limit = libc::rlimit { rlim_cur: bytes, rlim_max: bytes };
    // SAFETY: reads one structure of ours.
    assert_eq!(unsafe { libc::setrlimit(which, &raw const limit) }, 0);
}

/// Addresses that this process has mapped.
fn mapped_bytes() -> u64 {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    statm.split(' ').next().unwrap().parse::<u64>().unwrap() * 4096
}

#[test]
fn a_limit_on_addresses_makes_regions_smaller_and_more() {
    if passed_alone("a_limit_on_addresses_makes_regions_smaller_and_more", &[]) {
        return;
    }
    limit_addresses(mapped_bytes() + (700 << 20));
    let pool = Pool::global().unwrap();
    // 256 MiB of stacks: more than one halved region is left room for by the limit.
    let stacks: Vec<_> = (0..9000).map(|_| pool.take(SizeClass::Kib64).unwrap()).collect();
    let stats = pool.stats().classes[SizeClass::Kib64.index()];
    assert!(stats.regions >= 2 && stats.reserved_bytes < 700 << 20, "{stats:?}");
    drop(stacks);
    pool.check().unwrap();
}

#[test]
fn without_addresses_the_error_says_which_limit() {
    if passed_alone("without_addresses_the_error_says_which_limit", &[]) {
        return;
    }
    let before = task::memory().unwrap();
    limit_addresses(mapped_bytes() + (32 << 20));
    let error = Pool::global().unwrap().take(SizeClass::Kib64).unwrap_err();
    assert!(error.to_string().contains("ulimit -v"), "{error}");
    assert!(task::memory().unwrap().rss_bytes < before.rss_bytes + (4 << 20));
}

/// Lets this process read 2 from `/proc/sys/vm/overcommit_memory`, in a mount namespace of its
/// own; `false` where it may not have one.
fn pretend_strict_overcommit() -> bool {
    let file = std::env::temp_dir().join(format!("millpond-overcommit-{}", std::process::id()));
    std::fs::write(&file, "2\n").unwrap();
    let from = CString::new(file.as_os_str().as_bytes()).unwrap();
    let nothing = std::ptr::null();
    let private = libc::MS_REC | libc::MS_PRIVATE;
    // SAFETY: the strings live for the calls, which change this process's view of files only.
    let pretended = unsafe {
        let to = c"/proc/sys/vm/overcommit_memory".as_ptr();
        libc::unshare(libc::CLONE_NEWNS) == 0
            && libc::mount(nothing, c"/".as_ptr(), nothing, private, nothing.cast()) == 0
            && libc::mount(from.as_ptr(), to, nothing, libc::MS_BIND, nothing.cast()) == 0
    };
    // A bind mount keeps the file alive.
    std::fs::remove_file(&file).unwrap();
    pretended
}

#[test]
#[cfg_attr(millpond_asan, ignore = "the sanitizer needs the memory that this test forbids")]
fn where_the_kernel_charges_stacks_open_in_steps_and_the_end_names_the_sysctl() {
    let test = "where_the_kernel_charges_stacks_open_in_steps_and_the_end_names_the_sysctl";
    if passed_alone(test, &[]) {
        return;
    }
    if !pretend_strict_overcommit() {
        eprintln!("not shown: this user may not have a mount namespace");
        return;
    }
    assert!(millpond_sys::mem::overcommit_is_strict());
    let pool = Pool::global().unwrap();
    let writable = || {
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmData:")).unwrap();
        line.trim_end_matches("kB").trim().parse::<usize>().unwrap() * 1024
    };
    let before = writable();
    let mut stacks = vec![pool.take(SizeClass::Kib64).unwrap()];
    let step = millpond_sys::mem::OPEN_STEP_BYTES;
    assert!(writable() - before < 2 * step, "{} B were opened", writable() - before);
    // What stands for the commit limit here: bytes that may be writable.
    set_limit(libc::RLIMIT_DATA, (writable() + 3 * step) as u64);
    let error = loop {
        match pool.take(SizeClass::Kib64) {
            Ok(stack) => stacks.push(stack),
            Err(error) => break error,
        }
        assert!(stacks.len() <= 4 * step / SizeClass::Kib64.bytes());
    };
    assert!(stacks.len() >= 3 * step / SizeClass::Kib64.bytes(), "only {}", stacks.len());
    assert!(error.to_string().contains("vm.overcommit_memory"), "{error}");
    // Each of them can be used to the bottom, and comes back.
    for stack in &stacks {
        // SAFETY: the lowest usable word of a stack that the test holds.
        unsafe { ((stack.limit_addr() + 4096) as *mut u64).write_volatile(1) };
    }
    drop(stacks);
    pool.check().unwrap();
    assert!(pool.take(SizeClass::Kib64).is_ok());
}
