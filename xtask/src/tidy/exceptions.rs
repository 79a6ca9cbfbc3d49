//! What is allowed although a rule forbids it, each with its reason.
//!
//! The lists are ratchets. An entry holds the exact number that it allows: what grows is refused, and what has
//! shrunk is refused too, until the entry shrinks with it. So a list can only get longer in a commit that says why,
//! and never rots.
//!
//! Unsafe code is allowed by file. A new file with unsafe code is a decision about soundness; a further block in a file
//! that has the subject already is looked at by its own `// SAFETY:` comment, which clippy demands.

use super::Violation;

/// Where the lists stand; stale entries are reported there.
pub const LISTS: &str = "xtask/src/tidy/exceptions.rs";

/// All lists.
pub struct Exceptions {
    /// Arrows between crates that do not point down.
    pub sideways: &'static [Sideways],
    /// Files of more lines than the rule allows.
    pub long_files: &'static [Allowed],
    /// Functions of more lines than the rule allows, as `path::name`.
    pub long_functions: &'static [Allowed],
    /// Files of library crates that print, and how many times.
    pub output: &'static [Allowed],
    /// Files with unsafe code.
    pub unsafe_files: &'static [UnsafeFile],
}

/// An arrow that does not point down.
pub struct Sideways {
    /// The crate that depends.
    pub from: &'static str,
    /// The crate that is depended on.
    pub to: &'static str,
    /// Only for tests, examples and benchmarks.
    pub dev: bool,
    /// Why there is no other way.
    #[allow(dead_code, reason = "written for the reader of the list")]
    pub reason: &'static str,
}

/// One thing that may be as large as it is.
pub struct Allowed {
    /// The file, or `path::function`.
    pub what: &'static str,
    /// Exactly how large it is.
    pub limit: usize,
    /// Why it cannot be smaller.
    #[allow(dead_code, reason = "written for the reader of the list")]
    pub reason: &'static str,
}

/// A file that may contain unsafe code.
pub struct UnsafeFile {
    /// The file.
    pub path: &'static str,
    /// What it does that safe code cannot.
    #[allow(dead_code, reason = "written for the reader of the list")]
    pub reason: &'static str,
}

/// The lists of this repository.
pub const PROJECT: Exceptions = Exceptions {
    sideways: &[
        Sideways {
            from: "millpond",
            to: "millpond-macros",
            dev: false,
            reason: "the facade re-exports the attribute macros, which expand to its own paths",
        },
        Sideways {
            from: "millpond-macros",
            to: "millpond",
            dev: true,
            reason: "the examples in the documentation of the macros are whole programs",
        },
    ],
    long_files: &[],
    long_functions: &[],
    output: &[
        Allowed {
            what: "crates/millpond/src/__private/mod.rs",
            limit: 1,
            reason: "a program whose runtime cannot start says so in one line before it ends",
        },
        Allowed {
            what: "crates/rt/src/say.rs",
            limit: 1,
            reason: "the one way to be captured by a test harness",
        },
    ],
    unsafe_files: &[
        UnsafeFile { path: "crates/heap/src/alloc.rs", reason: "is the global allocator" },
        UnsafeFile { path: "crates/heap/src/c.rs", reason: "frees and moves what callers give it" },
        UnsafeFile {
            path: "crates/heap/src/cache.rs",
            reason: "reaches spans by address: records live for ever",
        },
        UnsafeFile {
            path: "crates/heap/src/central.rs",
            reason: "reaches spans and caches by address",
        },
        UnsafeFile {
            path: "crates/heap/src/checked.rs",
            reason: "makes pages fault and reads records in the fault handler",
        },
        UnsafeFile {
            path: "crates/heap/src/fork.rs",
            reason: "lets go of locks that a fork has taken",
        },
        UnsafeFile { path: "crates/heap/src/ground.rs", reason: "reads the table of spans" },
        UnsafeFile {
            path: "crates/heap/src/heap.rs",
            reason: "frees and moves what callers give it",
        },
        UnsafeFile {
            path: "crates/heap/src/large.rs",
            reason: "moves pages and fills them with zeros",
        },
        UnsafeFile { path: "crates/heap/src/list.rs", reason: "lists of spans through the spans" },
        UnsafeFile {
            path: "crates/heap/src/loose.rs",
            reason: "free blocks that it marks and hands out",
        },
        UnsafeFile {
            path: "crates/heap/src/lock.rs",
            reason: "gives the value to the holder of the lock",
        },
        UnsafeFile {
            path: "crates/heap/src/misuse.rs",
            reason: "shows the word of a broken block",
        },
        UnsafeFile {
            path: "crates/heap/src/pages/backing.rs",
            reason: "bits and numbers over memory of the page heap",
        },
        UnsafeFile {
            path: "crates/heap/src/pages/huge.rs",
            reason: "bits over memory of the page heap, without its lock",
        },
        UnsafeFile {
            path: "crates/heap/src/pages/mod.rs",
            reason: "lays out its own tables and records",
        },
        UnsafeFile {
            path: "crates/heap/src/pages/summary.rs",
            reason: "a bitmap and summaries over memory of the page heap",
        },
        UnsafeFile {
            path: "crates/heap/src/sample.rs",
            reason: "keeps a stack behind each sampled object",
        },
        UnsafeFile {
            path: "crates/heap/src/scavenge.rs",
            reason: "gives pages back to the kernel",
        },
        UnsafeFile {
            path: "crates/heap/src/slot.rs",
            reason: "lays a thread-local out by hand and finds it by two instructions",
        },
        UnsafeFile {
            path: "crates/heap/src/span.rs",
            reason: "links free blocks through themselves",
        },
        UnsafeFile {
            path: "crates/heap/src/threads.rs",
            reason: "reaches caches of other threads by the protocol of claims",
        },
        UnsafeFile {
            path: "bench/may/src/spawn.rs",
            reason: "states once what may's unsafe spawn asks of a benchmark",
        },
        UnsafeFile {
            path: "crates/malloc/src/c.rs",
            reason: "has the names of C's functions, and is given pointers by C",
        },
        UnsafeFile { path: "crates/malloc/src/cpp.rs", reason: "the same for C++" },
        UnsafeFile {
            path: "crates/malloc/src/fail.rs",
            reason: "sets errno and looks up the next operator new",
        },
        UnsafeFile { path: "crates/malloc/src/glibc.rs", reason: "the same for glibc" },
        UnsafeFile { path: "crates/malloc/src/info.rs", reason: "writes to a stream of C" },
        UnsafeFile {
            path: "crates/malloc/src/profile/names.rs",
            reason: "asks the dynamic linker for names",
        },
        UnsafeFile {
            path: "crates/malloc/src/profile/stacks.rs",
            reason: "keeps its table in memory of its own",
        },
        UnsafeFile { path: "crates/malloc/src/start.rs", reason: "is called by the loader" },
        UnsafeFile {
            path: "crates/net/src/hyper.rs",
            reason: "lends hyper's uninitialised buffer to the kernel",
        },
        UnsafeFile {
            path: "crates/rt/src/first_run.rs",
            reason: "passes a place in the source on as a word",
        },
        UnsafeFile {
            path: "crates/rt/src/g/cell.rs",
            reason: "lays header, closure and result of a goroutine out in one block",
        },
        UnsafeFile { path: "crates/rt/src/g/exec.rs", reason: "enters and leaves coroutines" },
        UnsafeFile {
            path: "crates/rt/src/g/join.rs",
            reason: "hands one slot over by the state word beside it",
        },
        UnsafeFile {
            path: "crates/rt/src/g/mod.rs",
            reason: "shares a goroutine between its thread and its handles",
        },
        UnsafeFile {
            path: "crates/rt/src/g/registry.rs",
            reason: "a list through the goroutines themselves, under a lock",
        },
        UnsafeFile {
            path: "crates/rt/src/g/store.rs",
            reason: "takes blocks from the allocator and uses them again",
        },
        UnsafeFile {
            path: "crates/rt/src/handle.rs",
            reason: "takes the result out of the goroutine's cell",
        },
        UnsafeFile {
            path: "crates/rt/src/m/mod.rs",
            reason: "shares the record of a thread, with a part that is that thread's own",
        },
        UnsafeFile {
            path: "crates/rt/src/queue/inbox.rs",
            reason: "a lock-free list through the nodes themselves",
        },
        UnsafeFile {
            path: "crates/rt/src/rest/pass.rs",
            reason: "puts suspended goroutines of its own M to rest, and wakes them",
        },
        UnsafeFile {
            path: "crates/rt/src/scope/child.rs",
            reason: "starts goroutines that borrow from a frame that waits for them",
        },
        UnsafeFile {
            path: "crates/rt/src/task/registry.rs",
            reason: "takes wakers apart and puts them together again, to keep half of each",
        },
        UnsafeFile {
            path: "crates/rt/src/trace/image.rs",
            reason: "reads stacks of suspended goroutines",
        },
        UnsafeFile {
            path: "crates/rt/src/wait/line.rs",
            reason: "a line through the waiters themselves, and values handed over in them",
        },
        UnsafeFile {
            path: "crates/rt/src/wait/place.rs",
            reason: "holds a value for whoever the protocol of lines says",
        },
        UnsafeFile {
            path: "crates/rt/src/wait/ticket.rs",
            reason: "packs the reference to a waiter into one word",
        },
        UnsafeFile {
            path: "crates/rt/src/work.rs",
            reason: "packs a goroutine or a task into one word",
        },
        UnsafeFile {
            path: "crates/stack/src/cache.rs",
            reason: "gives back slots that it has taken apart",
        },
        UnsafeFile {
            path: "crates/stack/src/pool.rs",
            reason: "makes stacks of slots of a reservation",
        },
        UnsafeFile {
            path: "crates/stack/src/region.rs",
            reason: "finds regions, which are never freed, by address",
        },
        UnsafeFile {
            path: "crates/stack/src/rest/block.rs",
            reason: "copies live bytes of stacks into blocks of the allocator",
        },
        UnsafeFile {
            path: "crates/stack/src/rest/engine.rs",
            reason: "takes pages of suspended stacks away and puts them back",
        },
        UnsafeFile {
            path: "crates/stack/src/rest/mod.rs",
            reason: "frees copies, and reads suspended stacks",
        },
        UnsafeFile {
            path: "crates/stack/src/rest/table.rs",
            reason: "an array of words in a reservation",
        },
        UnsafeFile {
            path: "crates/stack/src/slot.rs",
            reason: "promises the context switch that a stack is one",
        },
        UnsafeFile {
            path: "crates/sync/src/mutex/mod.rs",
            reason: "gives the value to the holder of the lock",
        },
        UnsafeFile {
            path: "crates/sync/src/once_cell.rs",
            reason: "writes the value once and then only reads it",
        },
        UnsafeFile {
            path: "crates/sync/src/rwlock/guard.rs",
            reason: "gives the value to those who are in the lock",
        },
        UnsafeFile {
            path: "crates/sys/src/arena.rs",
            reason: "maps memory for an allocator, and gives it back",
        },
        UnsafeFile {
            path: "crates/sys/src/hooks.rs",
            reason: "registers what the process calls back",
        },
        UnsafeFile {
            path: "crates/sys/src/unwind.rs",
            reason: "walks the stack with the unwinder",
        },
        UnsafeFile {
            path: "crates/sys/src/altstack.rs",
            reason: "installs alternate signal stacks",
        },
        UnsafeFile { path: "crates/sys/src/clock.rs", reason: "reads the clock of a thread" },
        UnsafeFile { path: "crates/sys/src/epoll.rs", reason: "reads what the kernel wrote" },
        UnsafeFile { path: "crates/sys/src/fault.rs", reason: "installs signal handlers" },
        UnsafeFile { path: "crates/sys/src/guard.rs", reason: "sets and clears guard pages" },
        UnsafeFile {
            path: "crates/sys/src/modules.rs",
            reason: "asks the loader for tables and copies them",
        },
        UnsafeFile { path: "crates/sys/src/mem.rs", reason: "maps memory and gives it back" },
        UnsafeFile {
            path: "crates/sys/src/rest.rs",
            reason: "takes pages away and puts them back",
        },
        UnsafeFile { path: "crates/sys/src/uffd.rs", reason: "talks to userfaultfd by ioctl" },
    ],
};

/// Compares what was found with what is listed. Gives back which of the findings no entry covers, and reports the
/// entries that allow more than was found.
pub fn settle(
    found: &[(&str, usize)],
    allowed: &[Allowed],
    rule: &'static str,
    out: &mut Vec<Violation>,
) -> Vec<usize> {
    for entry in allowed {
        let size = found.iter().filter(|(what, _)| *what == entry.what).map(|&(_, n)| n).max();
        let advice = match size {
            None => "no longer needed: remove the entry".to_owned(),
            Some(n) if n < entry.limit => format!("has shrunk: lower the limit to {n}"),
            Some(_) => continue,
        };
        out.push(Violation::new(LISTS, 1, rule, format!("{} {advice}", entry.what)));
    }
    let covers =
        |what: &str, size: usize| allowed.iter().any(|e| e.what == what && size <= e.limit);
    let open = found.iter().enumerate().filter(|(_, (what, size))| !covers(what, *size));
    open.map(|(index, _)| index).collect()
}
