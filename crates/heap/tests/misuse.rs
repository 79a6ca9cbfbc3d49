//! Each message of the allocator, provoked in a process of its own.

use millpond_heap::{Hook, Sample, heap, set_hook, set_sampling_mean};
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, Output};

#[cfg(not(millpond_alloc))]
#[global_allocator]
static ALLOC: millpond_heap::Alloc = millpond_heap::Alloc;

/// Runs a case of [`child`] in a process of its own.
fn run(case: &str, settings: &[(&str, &str)]) -> Output {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "child", "--nocapture", "--test-threads=1"]).env("CASE", case);
    command.env_remove("MILLPOND_HEAP_CHECK").env_remove("MILLPOND_DEBUG");
    command.envs(settings.iter().copied()).output().unwrap()
}

fn says(case: &str, settings: &[(&str, &str)], parts: &[&str]) {
    let output = run(case, settings);
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.signal(), Some(libc::SIGABRT), "{case}: {text}");
    for part in parts {
        assert!(text.contains(part), "{case}: expected {part:?} in:\n{text}");
    }
}

fn free(address: usize) {
    // SAFETY: none: what comes of it is what is tested.
    unsafe { heap::dealloc(address as *mut u8) };
}

fn write(address: usize, value: u8) {
    // SAFETY: none, as above.
    unsafe { (address as *mut u8).write_volatile(value) };
}

/// Address of a block that the compiler cannot follow.
fn block(bytes: usize) -> usize {
    std::hint::black_box(heap::alloc(bytes, 8) as usize)
}

/// The cases in which a block is freed that is free.
fn free_twice(case: &str) {
    match case {
        "double" => {
            let at = block(64);
            free(at);
            free(at);
        }
        "double, of a full span" => {
            let all: Vec<usize> = (0..2000).map(|_| block(64)).collect();
            free(all[100]);
            free(all[100]);
        }
        "double, of one of many" => {
            let all: Vec<usize> = (0..1000).map(|_| block(64)).collect();
            // Some stay loose, the others go home to their spans, and more are taken and freed meanwhile.
            for round in 0..5 {
                let again: Vec<usize> = (0..200).map(|_| block(64)).collect();
                all[round * 100..round * 100 + 100].iter().for_each(|&at| free(at));
                again.into_iter().for_each(free);
            }
            let which = std::env::var("WHICH").unwrap().parse::<usize>().unwrap();
            free(all[which]);
        }
        "double, in a thread after another" => {
            let at = block(64);
            std::thread::spawn(move || free(at)).join().unwrap();
            free(at);
        }
        "double, from another thread" => {
            let at = block(64);
            free(at);
            std::thread::spawn(move || free(at)).join().unwrap();
        }
        "double, of a thread that has ended" => {
            let (at, kept) = std::thread::spawn(|| {
                let kept = block(64);
                let at = block(64);
                free(at);
                (at, kept)
            })
            .join()
            .unwrap();
            assert_ne!(at, kept);
            free(at);
        }
        "double, of a large object" => {
            let at = block(100_000);
            free(at);
            free(at);
        }
        other => panic!("no case {other}"),
    }
}

#[test]
fn child() {
    let Ok(case) = std::env::var("CASE") else { return };
    let neighbour = block(64);
    match &case[..] {
        "foreign" => free(&raw const case as usize),
        "middle" => free(block(64) + 8),
        "middle of large" => free(block(100_000) + 8192),
        "beyond the last block" => {
            // 28,672 B: the tail of a span of 896 B.
            let at = block(896);
            free(at / 8192 * 8192 + (1 << 30));
        }
        case if case.starts_with("double") => free_twice(case),
        "written to and freed again" => {
            let at = block(64);
            free(at);
            write(at + 7, 1);
            free(at);
            for _ in 0..10_000 {
                block(64);
            }
        }
        "written after free" => {
            let at = block(64);
            free(at);
            write(at + 3, 1);
            for _ in 0..10_000 {
                block(64);
            }
        }
        "wrong layout" => {
            let at = block(64);
            // SAFETY: none, as above.
            unsafe { heap::realloc(at as *mut u8, 4096, 8, 8192) };
        }
        "guarded overflow" => {
            for _ in 0..4 {
                let at = block(104);
                write(at + 104, 1);
            }
        }
        "guarded underflow" => {
            for _ in 0..4 {
                write(block(100) - 1, 1);
            }
        }
        "guarded overflow into the padding" => {
            for _ in 0..4 {
                let at = block(100);
                write(at + 100, 1);
                free(at);
            }
        }
        "guarded use after free" => {
            let at = block(100);
            free(at);
            write(at, 1);
        }
        "guarded double free" => {
            let at = block(100);
            free(at);
            free(at);
        }
        "filled" => {
            let at = block(100);
            write(at + 50, 1);
            free(at);
            // SAFETY: the pages of the heap stay mapped.
            let found = unsafe { ((at + 50) as *const u8).read_volatile() };
            assert_eq!(found, 0xDF);
            eprintln!("filled with a pattern");
        }
        "panic in a hook" => {
            fn panics(_: &Sample<'_>) {
                panic!("in the hook");
            }
            static HOOK: Hook = Hook { allocated: panics, freed: panics };
            set_sampling_mean(1);
            set_hook(Some(&HOOK));
            // The second allocation of a thread that begins with a hook is sampled.
            let caught = || std::panic::catch_unwind(|| block(64) + block(5000) + block(100_000));
            let outcome = std::thread::spawn(caught).join();
            set_hook(None);
            eprintln!("the panic was caught: {}", outcome.is_ok());
        }
        "balance" => {
            std::hint::black_box(block(100_000));
        }
        other => panic!("no case {other}"),
    }
    std::hint::black_box(neighbour);
}

#[test]
fn a_pointer_of_another_allocator_is_refused() {
    says("foreign", &[], &["millpond heap: free of 0x", "found a pointer from elsewhere"]);
}

#[test]
fn a_pointer_into_a_block_is_refused_and_the_block_named() {
    let parts =
        ["size class 7 (64 B)", "expected the start of a block", "8 B into the block at 0x"];
    says("middle", &[], &parts);
    let parts = ["an object of 100000 B with its own pages", "8192 B into it"];
    says("middle of large", &[], &parts);
    says("beyond the last block", &[], &["expected a live block", "never allocated"]);
}

#[test]
fn a_double_free_is_refused_whoever_owns_the_span() {
    let parts =
        ["millpond heap: free of 0x", "size class 7 (64 B)", "found one that is free: double"];
    for case in [
        "double",
        "double, of a full span",
        "double, from another thread",
        "double, of a thread that has ended",
    ] {
        says(case, &[], &parts);
    }
    says("double, of a large object", &[], &["found pages that are free"]);
}

#[test]
fn a_double_free_is_refused_wherever_the_free_block_lies() {
    for which in [0, 50, 99, 100, 250, 399, 498, 499] {
        let parts = ["millpond heap: free of 0x", "found one that is free: double"];
        says("double, of one of many", &[("WHICH", &which.to_string())], &parts);
    }
    says("double, in a thread after another", &[], &["found one that is free: double"]);
}

#[test]
fn a_double_free_that_a_write_hides_is_found_when_the_block_is_taken_again() {
    says("written to and freed again", &[], &["allocation of 0x", "written to after it was freed"]);
}

#[test]
fn a_write_after_free_is_found_when_the_block_is_taken_again() {
    let parts = ["allocation of 0x", "size class 7 (64 B)", "expected the link of a free block"];
    says("written after free", &[], &parts);
}

#[test]
fn a_size_that_cannot_be_the_block_s_is_refused() {
    says("wrong layout", &[], &["realloc of 0x", "found 4096 B", "layout"]);
}

#[test]
fn a_panic_in_a_hook_does_not_leave_the_allocator() {
    let parts = ["in the hook", "sampling of 0x", "found that it panicked"];
    says("panic in a hook", &[], &parts);
}

#[test]
fn a_setting_that_cannot_be_understood_is_said() {
    let output = run("balance", &[("MILLPOND_HEAP_CHECK", "yes")]);
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && text.contains("MILLPOND_HEAP_CHECK=yes"), "{text}");
    for off in ["", "0", "off"] {
        let output = run("balance", &[("MILLPOND_HEAP_CHECK", off)]);
        let text = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success() && !text.contains("MILLPOND_HEAP_CHECK"), "{text}");
    }
}

#[test]
fn the_checked_mode_faults_at_the_access_and_shows_both_stacks() {
    let on = [("MILLPOND_HEAP_CHECK", "1")];
    let parts = ["millpond heap: overflow at 0x", "an object of 104 B", "allocated by thread"];
    says("guarded overflow", &on, &parts);
    let parts = ["millpond heap: overflow or underflow, found by free", "an object of 100 B"];
    says("guarded overflow into the padding", &on, &parts);
    says("guarded underflow", &on, &["millpond heap: underflow at 0x", "allocated by thread"]);
    let parts = ["millpond heap: use after free at 0x", "allocated by thread", "freed by thread"];
    says("guarded use after free", &on, &parts);
    says("guarded double free", &on, &["double free at 0x", "freed by thread", "this free by"]);
}

#[test]
fn the_checked_mode_fills_what_is_freed_and_finds_the_rest_as_ever() {
    let on = [("MILLPOND_HEAP_CHECK", "1000000000")];
    let output = run("filled", &on);
    assert!(output.status.success(), "{output:?}");
    assert!(String::from_utf8_lossy(&output.stderr).contains("filled with a pattern"));
    says("double", &on, &["size class 7 (64 B)", "double free"]);
}

#[test]
fn the_sheet_is_printed_at_exit_when_it_is_asked_for() {
    let output = run("balance", &[("MILLPOND_DEBUG", "heap")]);
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{text}");
    let line = |name: &str| -> u64 {
        let line =
            text.lines().find(|line| line.contains(name)).unwrap_or_else(|| panic!("{text}"));
        line.split_whitespace().next().unwrap().parse().unwrap()
    };
    let parts = [
        "small blocks in use",
        "large objects in use",
        "rest of their pages",
        "free in caches",
        "free without owner",
        "not carved",
        "idle pages",
        "released pages",
        "records and tables",
    ];
    assert_eq!(parts.map(line).iter().sum::<u64>(), line("obtained from the system"), "{text}");
    assert!(line("large objects in use") >= 100_000);
}

#[test]
fn a_limit_that_cannot_be_understood_is_said() {
    let output = run("balance", &[("MILLPOND_MEMORY_LIMIT", "9 cats")]);
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && text.contains("MILLPOND_MEMORY_LIMIT=9 cats"), "{text}");
}
