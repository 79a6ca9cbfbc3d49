//! Backtraces of parked goroutines: what a dump shows below the line that says who waits for what.
//!
//! A parked stack may be read by whoever can be sure that it is not resumed meanwhile. That is its M, between
//! two turns; and, of a stack at rest, whoever holds the lock of the M's registry, because its M has to take it
//! before it puts the stack back ([`crate::rest`]). So there are two ways to the words:
//!
//! ```text
//!                        ┌─ at rest: from the copy, under the registry's lock ─┐
//!  collect ── 64 at once ┤                                                     ├─▶ Image ─▶ walk ─▶ Trace
//!                        └─ warm: the M copies what is live, between turns ────┘    (here, not on the M)
//!                           (survey; own goroutines at once)
//! ```
//!
//! A stack at rest stays at rest, and an M loses some ten microseconds for each 64 of its warm goroutines: it copies
//! words and walks nothing. Walks ([`millpond_frames`]) are made by who asked, on a thread's stack, since a small
//! goroutine has no room for them. An M that is kept by one goroutine (computing, asleep in a blocking call)
//! answers when it is back; it is not waited for longer than [`survey::PATIENCE`], and the dump says so.
//!
//! A hundred thousand goroutines wait at ten places. So equal stacks are kept once: a goroutine refers to its
//! [`Trace`], and names are looked up for each address once, off the scheduler's threads.
//!
//! What it costs: 2 µs for each goroutine of a hundred thousand, warm or at rest, and 90 ms for the names
//! of the first look (two processors; six frames on average, nine different stacks).
//!
//! Bounds: [`MOST_FRAMES`] of each stack, [`MOST_WORDS`] from its top, [`MOST_TRACES`] different ones.
//!
//! Rejected: reading a running M's warm stacks and looking afterwards whether anything has moved (a data race,
//! whatever comes of it); stopping all Ms for the time of the dump; a walk on the M itself, where a mistake in it
//! would take all stacks along; a signal to each thread, which may land in the allocator.

mod image;
mod survey;
mod trim;

pub(crate) use survey::Survey;

use crate::dump::Goroutine;
use crate::g::{GRef, Status};
use crate::m::{CurrentM, M};
use crate::runtime;
use crate::sched::Sched;
use image::Image;
use millpond_frames::{Names, Unwinder};
use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

pub use millpond_frames::Frame;

/// Frames of a stack that are looked at. Go shows a hundred.
const MOST_FRAMES: usize = 64;

/// Words of a stack that are looked at, from the top: 16 KiB.
const MOST_WORDS: usize = 2048;

/// Different stacks that are kept. A program has some dozen; one that recurses while it waits may have any number.
const MOST_TRACES: usize = 4096;

/// Goroutines that an M is asked about at once.
const BATCH: usize = 64;

/// What was on a stack: its functions, innermost first, without the runtime's own at both ends.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Trace {
    /// The functions, as they were called and inlined.
    pub frames: Vec<Frame>,
    /// There are more, which were not looked at.
    pub elided: bool,
}

/// In Go's form, a function and its place on two lines.
impl fmt::Display for Trace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.frames.iter().try_for_each(|frame| writeln!(f, "{frame}"))?;
        if self.elided { writeln!(f, "...additional frames elided...") } else { Ok(()) }
    }
}

/// The stack of one goroutine in a dump.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Backtrace {
    /// It was not read, and why.
    NotRead(&'static str),
    /// It was. Goroutines with equal stacks share one.
    Read(Arc<Trace>),
}

impl Backtrace {
    /// What was on the stack, if it was read.
    pub fn trace(&self) -> Option<&Arc<Trace>> {
        match self {
            Self::NotRead(_) => None,
            Self::Read(trace) => Some(trace),
        }
    }
}

pub(crate) const NOT_ASKED: Backtrace = Backtrace::NotRead("");
const RUNS: Backtrace = Backtrace::NotRead("it runs");
const AWAY: Backtrace = Backtrace::NotRead("its thread is kept by another goroutine");
const ENDED: Backtrace = Backtrace::NotRead("it ran on meanwhile");
const TOO_MANY: Backtrace = Backtrace::NotRead("too many different ones");

/// As [`crate::goroutines`], with the stacks of those that do not run, and of the caller.
///
/// Parks the calling goroutine (blocks a plain thread) while other threads of the scheduler answer, which takes
/// them some microseconds each, and for the look-up of names, tens of milliseconds the first time. About two
/// microseconds for each goroutine.
///
/// ```
/// # mod millpond { pub use millpond_rt::*; }
/// # millpond_rt::Builder::new().procs(1).run(|| {
/// for goroutine in millpond::goroutines_with_stacks() {
///     println!("{goroutine}");
/// }
/// # }).unwrap();
/// ```
pub fn goroutines_with_stacks() -> Vec<Goroutine> {
    match CurrentM::get() {
        Some(m) => of(m.sched()),
        None => of(&runtime::of_process()),
    }
}

/// As [`crate::dump::of`].
pub(crate) fn of(sched: &Sched) -> Vec<Goroutine> {
    let mut collector = Collector::new();
    let mut all = Vec::new();
    for m in sched.ms().iter() {
        let mut here = crate::dump::on(m, |registry, g| registry.hold(g));
        collector.read(m, &mut here);
        all.extend(here.into_iter().map(|(goroutine, _)| goroutine));
    }
    // Under nobody's lock: from here on it is about addresses only.
    let traces = named(collector.found);
    for goroutine in &mut all {
        if let Some(index) = goroutine.trace_index.take() {
            let trace = traces.get(index as usize).cloned();
            goroutine.backtrace = trace.map_or(TOO_MANY, Backtrace::Read);
        }
    }
    all.sort_by_key(|goroutine| goroutine.id);
    all
}

/// The addresses of one stack, and whether there are more.
type Walked = (Box<[usize]>, bool);

/// What one dump has read so far.
struct Collector {
    unwinder: Unwinder,
    /// Different stacks, with their numbers.
    found: HashMap<Walked, u32>,
}

impl Collector {
    fn new() -> Self {
        Self { unwinder: roomy(Unwinder::new), found: HashMap::new() }
    }

    /// Reads the stacks of goroutines of one M.
    fn read(&mut self, m: &M, all: &mut [(Goroutine, Option<GRef>)]) {
        let here = CurrentM::get().filter(|here| std::ptr::eq(here.as_ptr(), m));
        let caller = here.as_ref().and_then(CurrentM::running).map(|g| g.id);
        let mut is_away = false;
        for batch in all.chunks_mut(BATCH) {
            for (goroutine, _) in batch.iter_mut() {
                goroutine.backtrace = RUNS;
                if caller == Some(goroutine.id) {
                    self.keep(goroutine, own_stack());
                }
            }
            let suspended = |goroutine: &Goroutine| {
                matches!(goroutine.status, Status::Waiting | Status::Runnable)
            };
            let mut asked: Vec<(&mut Goroutine, GRef)> = batch
                .iter_mut()
                .filter_map(|(goroutine, g)| suspended(goroutine).then_some((goroutine, g.take()?)))
                .collect();
            if here.is_none() {
                let resting = roomy(|| self.read_resting(m, &mut asked));
                asked = resting;
            }
            if asked.is_empty() {
                continue;
            }
            let gs: Vec<GRef> = asked.iter().map(|(_, g)| g.clone()).collect();
            let images = match &here {
                Some(here) => Some(here.on_thread_stack(|| here.images(&gs))),
                None if is_away => None,
                None => survey::ask(m, gs),
            };
            is_away = images.is_none();
            let mut images = images.unwrap_or_default().into_iter();
            roomy(|| {
                for (goroutine, _) in asked {
                    match images.next() {
                        None => goroutine.backtrace = AWAY,
                        Some(None) => goroutine.backtrace = ENDED,
                        Some(Some(image)) => self.walk(goroutine, &image),
                    }
                }
            });
            crate::coop::yield_now();
        }
    }

    /// Reads those of another M that are at rest, and gives the others back.
    fn read_resting<'a>(
        &mut self,
        m: &M,
        asked: &mut Vec<(&'a mut Goroutine, GRef)>,
    ) -> Vec<(&'a mut Goroutine, GRef)> {
        let registry = m.registry.lock();
        let images: Vec<_> = asked.iter().map(|(_, g)| registry.image_of_resting(g)).collect();
        drop(registry);
        let mut warm = Vec::new();
        for ((goroutine, g), image) in asked.drain(..).zip(images) {
            match image {
                Some(image) => self.walk(goroutine, &image),
                None => warm.push((goroutine, g)),
            }
        }
        warm
    }

    fn walk(&mut self, goroutine: &mut Goroutine, image: &Image) {
        let mut frames = Vec::with_capacity(16);
        let more =
            self.unwinder.walk(image.registers(), |at| image.word(at), MOST_FRAMES, &mut frames);
        self.keep(goroutine, (frames.into(), more));
    }

    fn keep(&mut self, goroutine: &mut Goroutine, walked: Walked) {
        let next = self.found.len() as u32;
        let index = match self.found.get(&walked) {
            Some(&index) => index,
            None if next as usize == MOST_TRACES => next,
            None => *self.found.entry(walked).or_insert(next),
        };
        goroutine.trace_index = Some(index);
    }
}

/// The caller's own, by the unwinder that the program has anyway.
fn own_stack() -> Walked {
    let mut frames = [0; MOST_FRAMES];
    let used = millpond_sys::unwind::frames(&mut frames, 0);
    (frames[..used].into(), used == MOST_FRAMES)
}

/// On a thread's stack: what is to be done takes more than a small goroutine has left.
fn roomy<R>(f: impl FnOnce() -> R) -> R {
    match CurrentM::get() {
        Some(m) => m.on_thread_stack(f),
        None => f(),
    }
}

/// Looks names up. Off the scheduler's threads, which others wait for.
fn named(found: HashMap<Walked, u32>) -> Vec<Arc<Trace>> {
    let look_up = move || {
        let mut names = Names::new();
        let mut traces: Vec<_> = found.into_iter().collect();
        traces.sort_unstable_by_key(|&(_, index)| index);
        let trace = |((frames, elided), _): (Walked, u32)| {
            let frames = frames.iter().flat_map(|&at| names.of(at).to_vec()).collect();
            Arc::new(Trace { frames: trim::without_runtime(frames), elided })
        };
        traces.into_iter().map(trace).collect()
    };
    match CurrentM::get() {
        Some(m) if m.is_running() => crate::blocking(look_up),
        _ => look_up(),
    }
}
