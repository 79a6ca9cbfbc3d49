//! The heap on kernels and under limits that most machines do not have: `vm.overcommit_memory=2`, no `membarrier`, no
//! advice about huge pages, and few addresses. Each in a process of its own, which is made to see such a kernel.
//!
//! The strict kernel is played by a file in front of the setting, in a mount namespace of the child: the heap then
//! opens its ranges step by step, as it would have to. Where namespaces are refused, the test says so.

use millpond_heap::{check, heap, release, stats};
use millpond_sys::arena::{Arena, HUGE_BYTES};
use std::ffi::{CStr, CString};
use std::io;
use std::os::unix::process::CommandExt;
use std::process::Command;

#[cfg(not(millpond_alloc))]
#[global_allocator]
static ALLOC: millpond_heap::Alloc = millpond_heap::Alloc;

fn done(result: libc::c_int) -> io::Result<()> {
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Runs a case of [`child`] after `prepare`, which may only make system calls.
fn run(case: &str, prepare: impl Fn() -> io::Result<()> + Send + Sync + 'static) {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "child", "--nocapture", "--test-threads=1"]).env("CASE", case);
    // SAFETY: the closures make system calls and nothing else.
    unsafe { command.pre_exec(prepare) };
    match command.output() {
        Err(error) => println!("skipped: this process may not play `{case}`: {error}"),
        Ok(output) => {
            let text = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success(), "{case}: {text}");
        }
    }
}

/// Threads that come and go, with blocks of all kinds that another thread frees.
fn work() {
    for round in 0..2 {
        let threads: Vec<_> = (0..4)
            .map(|thread| {
                std::thread::spawn(move || {
                    let bytes = |n: usize| 8 << ((n * 7 + thread + round) % 15);
                    (0..2000).map(|n| vec![n as u8; bytes(n)]).collect::<Vec<_>>()
                })
            })
            .collect();
        for thread in threads {
            let blocks = thread.join().unwrap();
            let all = blocks.iter().enumerate();
            assert!(all.clone().all(|(n, block)| block.iter().all(|&byte| byte == n as u8)));
        }
        release();
        assert_eq!(check(), Ok(()));
        let stats = stats();
        assert_eq!(stats.obtained, stats.accounted(), "{stats}");
    }
}

/// Whether the child of a `fork` can allocate and end.
fn fork_works() -> bool {
    // SAFETY: the child allocates, which is what is tested, and ends without running anything else.
    let child = unsafe { libc::fork() };
    if child == 0 {
        let blocks: Vec<Vec<u8>> = (0..1000).map(|n| vec![1; n]).collect();
        let right = blocks.iter().map(Vec::len).sum::<usize>() == 499_500;
        // SAFETY: ends the child.
        unsafe { libc::_exit(i32::from(!right)) };
    }
    let mut status = 0;
    // SAFETY: the child is this process's.
    child > 0 && unsafe { libc::waitpid(child, &raw mut status, 0) } == child && status == 0
}

/// Bytes of the longest mapping that can be written to.
fn longest_writable() -> usize {
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
    let length = |line: &str| {
        let (range, rest) = line.split_once(' ')?;
        let (start, end) = range.split_once('-')?;
        let at = |text| usize::from_str_radix(text, 16).ok();
        rest.starts_with("rw").then_some(at(end)? - at(start)?)
    };
    maps.lines().filter_map(length).max().unwrap()
}

#[test]
fn child() {
    let Ok(case) = std::env::var("CASE") else { return };
    match &case[..] {
        "strict" => {
            work();
            assert!(longest_writable() < 1 << 32, "the heap was not opened step by step");
        }
        "no advice" => {
            let arena = Arena::reserve(HUGE_BYTES, HUGE_BYTES, c"test").unwrap();
            let part = arena.start()..arena.start() + HUGE_BYTES;
            assert!(arena.open(part.clone()) && !arena.back(part));
            // Enough to ask for them.
            let blocks: Vec<[u64; 8]> = (0..1 << 20).map(|n| [n; 8]).collect();
            let boxes: Vec<_> = blocks.iter().map(|block| Box::new(*block)).collect();
            assert!(boxes.iter().zip(0..).all(|(block, n)| **block == [n; 8]));
            drop((blocks, boxes));
            work();
        }
        "no membarrier" => {
            assert!(!millpond_sys::barrier::register());
            work();
        }
        "few addresses" => {
            work();
            assert!(heap::alloc(6 << 30, 8).is_null(), "more than there are addresses");
            work();
        }
        other => panic!("no case {other}"),
    }
    assert!(fork_works());
}

#[test]
fn a_kernel_that_charges_for_what_is_writable() {
    let file = std::env::temp_dir().join(format!("millpond-overcommit-{}", std::process::id()));
    std::fs::write(&file, "2\n").unwrap();
    let from = CString::new(file.to_str().unwrap()).unwrap();
    run("strict", move || {
        let to = c"/proc/sys/vm/overcommit_memory".as_ptr();
        let mount = |from: *const libc::c_char, to: *const libc::c_char, flags| {
            // SAFETY: strings that live, or null.
            done(unsafe { libc::mount(from, to, std::ptr::null(), flags, std::ptr::null()) })
        };
        // SAFETY: a system call without pointers.
        let own = |flags| done(unsafe { libc::unshare(flags) });
        own(libc::CLONE_NEWNS).or_else(|_| own(libc::CLONE_NEWNS | libc::CLONE_NEWUSER))?;
        // Nobody else is to see it.
        mount(std::ptr::null(), CStr::as_ptr(c"/"), libc::MS_REC | libc::MS_PRIVATE)?;
        mount(from.as_ptr(), to, libc::MS_BIND)
    });
    std::fs::remove_file(&file).unwrap();
}

fn statement(code: u32, jt: u8, jf: u8, k: u32) -> libc::sock_filter {
    libc::sock_filter { code: code as u16, jt, jf, k }
}

/// Loads a word of what is known of a call.
fn load(offset: u32) -> libc::sock_filter {
    statement(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0, offset)
}

/// Goes on behind `jt` statements if the word is `k`, else behind `jf`.
fn is(k: u32, jt: u8, jf: u8) -> libc::sock_filter {
    statement(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, jt, jf, k)
}

fn answer(k: u32) -> libc::sock_filter {
    statement(libc::BPF_RET | libc::BPF_K, 0, 0, k)
}

/// From here on, calls are answered by a filter.
fn put_up(filter: &mut [libc::sock_filter]) -> io::Result<()> {
    let program = libc::sock_fprog { len: filter.len() as u16, filter: filter.as_mut_ptr() };
    // SAFETY: system calls with a program that lives.
    unsafe {
        done(libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))?;
        done(libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &raw const program))
    }
}

#[test]
fn a_kernel_without_membarrier() {
    run("no membarrier", || {
        put_up(&mut [
            // The number of the call is the first word.
            load(0),
            is(libc::SYS_membarrier as u32, 0, 1),
            answer(libc::SECCOMP_RET_ERRNO | libc::ENOSYS as u32),
            answer(libc::SECCOMP_RET_ALLOW),
        ])
    });
}

#[test]
fn a_kernel_that_knows_nothing_of_huge_pages() {
    run("no advice", || {
        put_up(&mut [
            load(0),
            is(libc::SYS_mincore as u32, 4, 0),
            is(libc::SYS_madvise as u32, 0, 4),
            // The low half of the third argument, behind number, architecture, address and two arguments.
            load(32),
            is(libc::MADV_HUGEPAGE as u32, 1, 0),
            is(libc::MADV_POPULATE_WRITE as u32, 0, 1),
            answer(libc::SECCOMP_RET_ERRNO | libc::EINVAL as u32),
            answer(libc::SECCOMP_RET_ALLOW),
        ])
    });
}

#[test]
fn fewer_addresses_than_a_heap_would_like() {
    run("few addresses", || {
        let most = libc::rlimit { rlim_cur: 6 << 30, rlim_max: 6 << 30 };
        // SAFETY: a system call with a value that lives.
        done(unsafe { libc::setrlimit(libc::RLIMIT_AS, &raw const most) })
    });
}
