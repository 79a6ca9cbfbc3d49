//! Heap profiles of programs of C: that they say what was allocated and what is held, by whom; when they are written,
//! and when not.

#[allow(dead_code, reason = "no test program uses all of it")]
mod common;

use common::pprof::{Decoded, Kind, go};
use common::{command, compile, passes, symbols};
use std::path::{Path, PathBuf};
use std::process::Command;

/// A folder of a test's own, empty.
fn folder(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("profiles").join(name);
    let _ = std::fs::remove_dir_all(&folder);
    std::fs::create_dir_all(&folder).unwrap();
    folder
}

/// At a fixed address, so that `nm` says what the addresses are.
fn program(name: &str) -> PathBuf {
    compile("profile.c", &format!("profile {name}"), &["-O0", "-no-pie"])
}

fn profiled(program: &Path, file: &Path, settings: &str) -> Command {
    let mut command = command(program, true);
    command.env("MILLPOND_HEAP_PROFILE", format!("{}{settings}", file.display()));
    command
}

/// Whether an estimate from samples, one per 64 KiB, is right: of 8 MiB there are 128 samples, whose number has
/// a standard deviation of a tenth; so five of them.
fn assert_near(found: i64, wanted_mib: i64, what: &str) {
    let wanted = wanted_mib << 20;
    let deviation = ((wanted as f64) * f64::from(64 << 10)).sqrt();
    let far = (found - wanted).abs() as f64;
    assert!(far < 5.0 * deviation, "{what}: {found} B, expected {wanted} B ± {deviation:.0}");
}

#[test]
fn a_profile_says_who_holds_memory_and_who_allocated_it() {
    let (folder, program) = (folder("all"), program("all"));
    let file = folder.join("heap.pb.gz");
    passes(profiled(&program, &file, ",64K").arg("all"));
    let profile = Decoded::read(&file);
    assert_eq!(profile.period, 64 << 10);
    let symbols = symbols(&program);
    let bytes =
        |kind, function| profile.of(kind, |address| symbols.name(address) == Some(function));
    assert_near(bytes(Kind::InUseSpace, "holds_here"), 32, "held");
    assert_near(bytes(Kind::AllocSpace, "holds_here"), 32, "allocated and held");
    assert_near(bytes(Kind::AllocSpace, "frees_here"), 64, "allocated and freed");
    assert_eq!(bytes(Kind::InUseSpace, "frees_here"), 0);
    // An object that is far larger than the distance is always sampled, and stands for itself.
    assert_eq!(bytes(Kind::InUseSpace, "deep_down"), 8 << 20);
    assert_eq!(bytes(Kind::InUseObjects, "deep_down"), 8);
    // All have 1 KiB; each sample is rounded down to a byte, of which there are some hundreds.
    let objects = bytes(Kind::AllocObjects, "holds_here");
    assert!((bytes(Kind::AllocSpace, "holds_here") / 1024 - objects).abs() <= 2, "{objects}");
    // What the library itself does is in nobody's way: the innermost frame is the program's.
    assert_eq!(profile.innermost(|address| symbols.name(address).is_none()), 0);
}

#[test]
fn a_profile_is_read_by_pprof() {
    let Some(go) = go() else {
        eprintln!("skipped: `go` is not here: apt-get install golang-go");
        return;
    };
    let (folder, program) = (folder("pprof"), program("pprof"));
    let file = folder.join("heap.pb.gz");
    passes(profiled(&program, &file, ",64K").arg("all"));
    let mut read = Command::new(go);
    read.args(["tool", "pprof", "-top", "-sample_index=inuse_space"]).arg(&file);
    read.env("PPROF_TMPDIR", &folder);
    let text = passes(&mut read);
    assert!(text.contains("Type: inuse_space") && text.contains("profile pprof"), "{text}");
    let line = text.lines().find(|line| line.contains("holds_here"));
    assert!(line.is_some_and(|line| line.contains("MB")), "{text}");
    assert!(!text.contains("frees_here"), "{text}");
}

#[test]
fn signals_write_numbered_profiles_of_the_moment() {
    let (folder, program) = (folder("signals"), program("signals"));
    let file = folder.join("heap,64K.pb.gz");
    let numbered = |n| folder.join(format!("heap,64K.pb.gz.{n}"));
    let mut command = profiled(&program, &file, ",64K");
    command.env("MILLPOND_DEBUG", "heap-usr2");
    passes(command.arg("signals").arg(numbered(1)).arg(numbered(2)));
    let symbols = symbols(&program);
    let held = |file: &Path| {
        let is_there = |address| symbols.name(address) == Some("holds_here");
        Decoded::read(file).of(Kind::InUseSpace, is_there)
    };
    assert_near(held(&numbered(1)), 32, "before all is freed");
    assert_eq!(held(&numbered(2)), 0);
    assert!(!file.exists(), "the program has ended by _exit");
    assert_eq!(std::fs::read_dir(&folder).unwrap().count(), 2, "nothing is left beside the files");
}

#[test]
fn a_child_writes_a_file_of_its_own_or_none() {
    let (folder, program) = (folder("child"), program("child"));
    let file = folder.join("%p.pb.gz");
    let said = passes(profiled(&program, &file, ",64K").arg("child"));
    let processes: Vec<&str> = said.split_whitespace().collect();
    assert_eq!(processes.len(), 2, "{said}");
    let symbols = symbols(&program);
    let allocated = processes.iter().map(|process| {
        let profile = Decoded::read(&folder.join(format!("{process}.pb.gz")));
        profile.of(Kind::AllocSpace, |address| symbols.name(address) == Some("frees_here"))
    });
    let allocated: Vec<i64> = allocated.collect();
    assert_eq!(allocated[0], 0, "the parent");
    assert_near(allocated[1], 64, "the child");
    // Without the process's number, the parent's only.
    let file = folder.join("one.pb.gz");
    passes(profiled(&program, &file, ",64K").arg("child"));
    let profile = Decoded::read(&file);
    assert_eq!(
        profile.of(Kind::AllocSpace, |address| symbols.name(address) == Some("frees_here")),
        0
    );
}

#[test]
fn stacks_beyond_the_table_are_counted_together() {
    let (folder, program) = (folder("many"), program("many"));
    let file = folder.join("heap.pb.gz");
    passes(profiled(&program, &file, ",4K").arg("many"));
    let profile = Decoded::read(&file);
    // 32,768 stacks with 64 KiB each, which at that distance are always sampled.
    // A thread's very first allocation begins its distance.
    let objects = profile.of(Kind::AllocObjects, |_| true);
    assert!((32_766..=32_769).contains(&objects), "{objects}");
    assert!(profile.stacks() > 10_000 && profile.stacks() <= 1 << 14, "{}", profile.stacks());
    assert!(profile.names.iter().any(|name| name == "stacks beyond the table"));
}

#[test]
fn a_file_that_cannot_be_written_is_said_and_harms_nobody() {
    let program = program("refused");
    let said = passes(profiled(&program, Path::new("/no/such/folder/heap"), "").arg(""));
    assert!(said.contains("heap profile /no/such/folder/heap: "), "{said}");
}
