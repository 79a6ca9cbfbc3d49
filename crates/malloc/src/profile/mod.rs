//! Heap profiles of programs that know nothing of us: `MILLPOND_HEAP_PROFILE=FILE[,BYTES]`.
//!
//! ```text
//!   allocation ──(one in BYTES, drawn by the heap)──► stacks: count it   ┐ on the way of the allocation:
//!   free of such an object ─────────────────────────► stacks: count it   ┘ no lock, no allocation
//!   exit      ──► FILE       ┐ addresses, mappings, names ──► millpond-pprof ──► gzip
//!   SIGUSR2   ──► FILE.1, …  ┘
//! ```
//!
//! The file is for `go tool pprof` and everything else that reads its format. It has what is in use (`inuse_objects`,
//! `inuse_space`) and all that was allocated (`alloc_objects`, `alloc_space`), each sample scaled up to what it
//! stands for. The names of functions are those that the dynamic linker knows; mappings with their build ids let the
//! reader find the others, and lines, in debug information. Frames of this library are left out.
//!
//! - `BYTES` is the mean distance of samples, 512 KiB if it is not said; a size such as `64K`.
//! - `%p` in the file's name is the process's number. Without it a child of `fork` leaves the file to its parent. What
//!   a process executes has the environment as well, so a program that starts others needs `%p`.
//! - A file is written beside its place and renamed, so that nobody reads half of one.
//! - `_exit` and a signal that kills write nothing, as with everything that happens at exit.
//! - A process with more rights than its user (set-user-id) writes nothing: the environment is that user's.
//!
//! Writing allocates, and is not sampled itself. A process that is out of memory is told so, and writes none.
//!
//! Rejected: compressing and naming in the background, sample by sample. Samples come in the middle of allocations, on
//! any stack and under any lock of the program; what can wait, waits for a quiet place.

mod names;
mod stacks;

use self::stacks::{Counts, STACKS};
use millpond_heap::{
    FRAMES, Hook, Sample, c, sampling_mean, set_hook, set_sampling_mean, unsampled,
};
use millpond_pprof::{Profile, maps};
use millpond_sys::hooks;
use millpond_sys::report::Report;
use std::ffi::OsStr;
use std::io::{self, Write};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::SystemTime;

/// What the environment asked for.
struct Asked {
    /// An absolute path, perhaps with `%p`.
    path: PathBuf,
    /// The process that was asked, and not a child of it.
    process: u32,
    since: SystemTime,
}

static ASKED: OnceLock<Asked> = OnceLock::new();

/// Numbers of the files that signals asked for. Written by the thread that serves the signal.
static NUMBER: AtomicU32 = AtomicU32::new(0);

static HOOK: Hook = Hook { allocated, freed };

fn allocated(sample: &Sample<'_>) {
    STACKS.count(sample.stack, Counts::allocated(sample.bytes, sample.mean_bytes));
}

fn freed(sample: &Sample<'_>) {
    STACKS.count(sample.stack, Counts::freed(sample.bytes, sample.mean_bytes));
}

/// Begins to sample if the environment asks for it; whether it does.
pub fn set_up() -> bool {
    let asked = hooks::setting(c"MILLPOND_HEAP_PROFILE", |text| {
        let (path, mean_bytes) = parse(text).filter(|_| has_room(START_BYTES))?;
        let path = std::path::absolute(OsStr::from_bytes(path)).ok()?;
        Some((path, mean_bytes))
    });
    let Some((path, mean_bytes)) = asked.flatten() else { return false };
    if hooks::is_privileged() {
        return false;
    }
    if !STACKS.make() {
        complain("there is no room for the stacks", &path);
        return false;
    }
    let (process, since) = (std::process::id(), SystemTime::now());
    if ASKED.set(Asked { path, process, since }).is_err() {
        return false;
    }
    mean_bytes.into_iter().for_each(set_sampling_mean);
    set_hook(Some(&HOOK));
    hooks::at_exit(write_at_exit);
    true
}

/// The file, and the mean distance if it is said. A comma that no size follows belongs to the name.
fn parse(text: &[u8]) -> Option<(&[u8], Option<u64>)> {
    let comma = text.iter().rposition(|&byte| byte == b',');
    let split = comma.and_then(|at| Some((&text[..at], c::parse_bytes(&text[at + 1..])?)));
    let (path, bytes) = split.map_or((text, None), |(path, bytes)| (path, Some(bytes)));
    (!path.is_empty()).then_some((path, bytes))
}

extern "C" fn write_at_exit() {
    let Some(asked) = ASKED.get() else { return };
    // A child that was told of no file of its own says nothing: programs of which every command is a child would
    // say it all the time.
    if let Some(path) = asked.path_here("") {
        unsampled(|| write(asked, &path));
    }
}

/// Writes the next numbered file, at a signal.
pub fn write_numbered() {
    let Some(asked) = ASKED.get() else { return };
    let number = NUMBER.fetch_add(1, Ordering::Relaxed) + 1;
    match asked.path_here(&format!(".{number}")) {
        Some(path) => unsampled(|| write(asked, &path)),
        None => complain("a child's needs %p in the name", &asked.path),
    }
}

impl Asked {
    /// The file of this process; `None` if that is its parent's.
    fn path_here(&self, suffix: &str) -> Option<PathBuf> {
        let process = std::process::id();
        let name = self.path.as_os_str().as_bytes();
        let Some(at) = name.windows(2).position(|pair| pair == b"%p") else {
            let name = [name, suffix.as_bytes()].concat();
            return (process == self.process).then(|| std::ffi::OsString::from_vec(name).into());
        };
        let (number, rest) = (process.to_string(), &name[at + 2..]);
        let name = [&name[..at], number.as_bytes(), rest, suffix.as_bytes()].concat();
        Some(std::ffi::OsString::from_vec(name).into())
    }
}

/// Bytes that are needed beside what is needed for each stack: the packer's tables, the list of mappings.
const REST_BYTES: usize = 4 << 20;

/// Bytes that are needed to begin.
const START_BYTES: usize = 64 << 10;

/// Whether there is so much memory: what `std` allocates is there or the process ends, so somebody has to look first.
fn has_room(bytes: usize) -> bool {
    let mut room = Vec::<u8>::new();
    let has_room = room.try_reserve_exact(bytes).is_ok();
    drop(std::hint::black_box(room));
    has_room
}

fn write(asked: &Asked, path: &Path) {
    if !has_room(STACKS.used() * (FRAMES * 64 + 512) + REST_BYTES) {
        return complain("there is no memory to write it", path);
    }
    let file = collect(asked).gzipped();
    if let Err(error) = put(path, &file) {
        complain(&error.to_string(), path);
    }
}

fn collect(asked: &Asked) -> Profile {
    let kinds = [
        ("alloc_objects", "count"),
        ("alloc_space", "bytes"),
        ("inuse_objects", "count"),
        ("inuse_space", "bytes"),
    ];
    let mappings = maps::own();
    let own =
        mappings.iter().find(|mapping| mapping.contains(collect as fn(_) -> _ as usize as u64));
    let own = own.map_or(0..0, |own| own.start..own.end);
    let mut profile = Profile::new(&kinds, mappings);
    profile.set_period(("space", "bytes"), sampling_mean());
    let now = SystemTime::now();
    let since_1970 = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let duration = now.duration_since(asked.since).unwrap_or_default();
    profile.set_time(since_1970.as_nanos() as u64, duration.as_nanos() as u64);
    STACKS.each(|stack, counts| {
        // Return addresses; the call is before them.
        let calls: Vec<u64> =
            stack.iter().map(|&address| (address as u64).saturating_sub(1)).collect();
        let inner = calls.iter().take_while(|call| own.contains(call)).count();
        // An allocation of our own has nobody else's frame.
        let calls = if inner < calls.len() { &calls[inner..] } else { &calls[..] };
        profile.sample(calls, &counts.values());
    });
    for address in profile.addresses().collect::<Vec<_>>() {
        if address == stacks::OTHERS as u64 - 1 {
            profile.name(address, "stacks beyond the table");
        } else if let Some(name) = names::of(address as usize) {
            profile.name(address, &name);
        }
    }
    profile
}

/// Writes beside the place and renames.
fn put(path: &Path, file: &[u8]) -> io::Result<()> {
    let mut beside = path.as_os_str().to_owned();
    beside.push(format!(".part{}", std::process::id()));
    let _ = std::fs::remove_file(&beside);
    let written = std::fs::File::create_new(&beside).and_then(|mut part| part.write_all(file));
    let done = written.and_then(|()| std::fs::rename(&beside, path));
    if done.is_err() {
        let _ = std::fs::remove_file(&beside);
    }
    done
}

/// To standard error, without allocating.
fn complain(what: &str, path: &Path) {
    let mut report = Report::new();
    report.str("millpond malloc: heap profile ").str(path.to_str().unwrap_or("?"));
    report.str(": ").str(what).str("\n").send();
}
