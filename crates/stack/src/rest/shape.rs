//! What the stacks that one place starts have in common, as it is now.
//!
//! A stack is packed against a template ([`super::pack`]), which is one of its kind as it was: same place of
//! start, same number of words. But what they have in common changes. The pointer to the state that all
//! goroutines of a burst share is the same in each of them, and another one in the next burst: with the
//! template of the first, each copy of the second would say it anew, at every place of the stack that holds it.
//!
//! ```text
//!   Origin ─▶ Shape (words: 129) ─▶ Kind ◀── Head of each copy that was packed with it
//!        └──▶ Shape (words: 71)       └─ template, never changed, freed with the last one
//! ```
//!
//! So the copies' sizes are watched ([`Shape::judge`]): the mean of a window of [`WINDOW`] stacks. When it has grown by
//! a sixteenth over the best one, or else at longer and longer intervals, the next stack becomes the template,
//! on trial: if the window that follows is not smaller by [`GAIN_SHARE`], the one before comes back. A place whose
//! stacks are all alike, or have nothing in common, costs a trial in [`MOST_PAUSE`] windows, and each trial a
//! template that lives for as long as the copies of its window.
//!
//! Who packs takes a kind once for stacks in a row that are of the same shape ([`Run`]), and says at the end how
//! large they became: a lock per batch.
//!
//! Rejected: the first stack for ever (a million goroutines took 31 bytes more each from the second round
//! on, and as much from the first one if the first stack was an odd one); several templates per shape, and the
//! best of them for each stack (packs as often).

use super::pack::{Anchors, Template};
use std::fmt;
use std::mem::replace;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock};

/// Shapes that are told apart per origin.
const SHAPES: usize = 4;

/// Stacks with more words are like no others.
const TEMPLATE_WORDS: usize = 1024;

/// Stacks whose mean size is judged.
const WINDOW: u32 = 256;

/// Most windows between two trials.
const MOST_PAUSE: u32 = 256;

/// One part in so many is a gain.
const GAIN_SHARE: u32 = 32;

/// When copies have grown, the next trial comes after so much less.
const GROWN_SHARE: u32 = 16;

/// How often a shape that was used much is passed over before another one gets its place.
const MOST_CREDIT: u32 = 16;

/// What stacks have in common that one place starts. Lives as long as the process.
#[derive(Debug, Default)]
pub struct Origin {
    /// Touches by threads that were not the stack's own. Atomic: the handler of a fault counts here.
    touched: AtomicU32,
    /// A leaf lock: no memory is taken or given back under it.
    shapes: Mutex<Shapes>,
    /// Of those that have no template.
    plain: OnceLock<Arc<Kind>>,
}

/// What a copy was packed with. Held by the copies and by the shape whose turn it is; never changed.
pub(crate) struct Kind {
    pub(crate) origin: &'static Origin,
    pub(crate) template: Option<Template>,
}

impl fmt::Debug for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Kind").field(&self.template.as_ref().map(Template::words)).finish()
    }
}

impl Origin {
    /// Of which nothing is known.
    pub const fn new() -> Self {
        Self {
            touched: AtomicU32::new(0),
            shapes: Mutex::new(Shapes { all: [const { None }; SHAPES], hand: 0 }),
            plain: OnceLock::new(),
        }
    }

    /// How often another thread has touched a stack from here while it was at rest.
    pub fn touched(&self) -> u32 {
        self.touched.load(Ordering::Relaxed)
    }

    /// Another thread has. Async-signal-safe.
    pub(crate) fn trip(&self) {
        self.touched.fetch_add(1, Ordering::Relaxed);
    }

    fn shapes(&self) -> MutexGuard<'_, Shapes> {
        self.shapes.lock().unwrap_or_else(|poison| poison.into_inner())
    }

    /// What to pack a stack of these words with.
    fn kind(&'static self, anchors: &Anchors, words: &[u64]) -> Arc<Kind> {
        let choice = match words.len() {
            ..=TEMPLATE_WORDS => self.shapes().choose(words.len()),
            _ => Choice::Plain,
        };
        match choice {
            Choice::Use(kind) => kind,
            Choice::Plain => {
                let plain = || Arc::new(Kind { origin: self, template: None });
                self.plain.get_or_init(plain).clone()
            }
            Choice::Make => {
                let template = Some(Template::of(anchors, words.iter().copied()));
                let made = Arc::new(Kind { origin: self, template });
                let replaced = self.shapes().install(words.len(), &made);
                drop(replaced);
                made
            }
        }
    }
}

/// Stacks in a row of one shape, and what they have become.
#[derive(Debug)]
pub(crate) struct Run {
    kind: Arc<Kind>,
    words: usize,
    stacks: u32,
    bytes: u64,
}

impl Run {
    /// The kind for a stack of these words: that of the run if it goes on, else that of a new one.
    pub(crate) fn kind<'a>(
        run: &'a mut Option<Self>,
        origin: &'static Origin,
        anchors: &Anchors,
        words: &[u64],
    ) -> &'a Arc<Kind> {
        let goes_on = |run: &&mut Self| {
            run.words == words.len() && std::ptr::eq(run.kind.origin, origin) && run.stacks < WINDOW
        };
        if run.as_mut().filter(goes_on).is_none() {
            run.take().into_iter().for_each(Self::end);
        }
        let fresh =
            || Self { kind: origin.kind(anchors, words), words: words.len(), stacks: 0, bytes: 0 };
        &run.get_or_insert_with(fresh).kind
    }

    /// One has become so large.
    pub(crate) fn packed(&mut self, bytes: usize) {
        self.stacks += 1;
        self.bytes += bytes as u64;
    }

    /// There are no more.
    pub(crate) fn end(self) {
        let dropped = self.kind.origin.shapes().note(&self);
        drop(dropped);
    }
}

#[derive(Debug)]
enum Choice {
    Use(Arc<Kind>),
    /// Of this stack, and [`Shapes::install`] it.
    Make,
    /// None.
    Plain,
}

#[derive(Debug, Default)]
struct Shapes {
    all: [Option<Shape>; SHAPES],
    /// Whose credit a stack of another shape takes next.
    hand: usize,
}

impl Shapes {
    fn find(&mut self, words: usize) -> Option<&mut Shape> {
        self.all.iter_mut().flatten().find(|shape| shape.words == words)
    }

    fn choose(&mut self, words: usize) -> Choice {
        if let Some(shape) = self.find(words) {
            shape.credit = MOST_CREDIT.min(shape.credit + 1);
            return match shape.trial {
                Trial::Wanted => Choice::Make,
                _ => Choice::Use(shape.kind.clone()),
            };
        }
        if self.all.iter().any(Option::is_none) {
            return Choice::Make;
        }
        self.hand = (self.hand + 1) % SHAPES;
        let shape = self.all[self.hand].as_mut().expect("all are there");
        shape.credit = shape.credit.saturating_sub(1);
        if shape.credit == 0 { Choice::Make } else { Choice::Plain }
    }

    /// Puts what was made in its place. What had it before is to be dropped when the lock is free.
    fn install(&mut self, words: usize, made: &Arc<Kind>) -> Option<Shape> {
        if let Some(shape) = self.find(words) {
            // Else somebody else came first.
            if shape.trial == Trial::Wanted {
                shape.begin_trial(made.clone());
            }
            return None;
        }
        let free = self.all.iter().position(Option::is_none);
        let place = &mut self.all[free.unwrap_or(self.hand)];
        place.replace(Shape::new(words, made.clone()))
    }

    fn note(&mut self, run: &Run) -> Option<Arc<Kind>> {
        let shape = self.find(run.words).filter(|shape| Arc::ptr_eq(&shape.kind, &run.kind))?;
        shape.stacks += run.stacks;
        shape.bytes += run.bytes;
        if shape.stacks < WINDOW {
            return None;
        }
        let mean = (shape.bytes / u64::from(shape.stacks)) as u32;
        (shape.stacks, shape.bytes) = (0, 0);
        shape.judge(mean)
    }
}

/// Stacks with so many words, and what they are packed with.
#[derive(Debug)]
struct Shape {
    words: usize,
    kind: Arc<Kind>,
    /// How much it is used.
    credit: u32,
    /// Of the window under way.
    stacks: u32,
    bytes: u64,
    /// Mean bytes of the best window with this kind, and of the last one.
    best: u32,
    last: u32,
    /// Windows to the next trial, and to the one after it if that is in vain.
    wait: u32,
    pause: u32,
    trial: Trial,
    /// During a trial: what was before.
    before: Option<Arc<Kind>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Trial {
    No,
    /// The next stack is the template.
    Wanted,
    /// It was: what the first window says.
    On,
}

impl Shape {
    fn new(words: usize, kind: Arc<Kind>) -> Self {
        Self {
            words,
            kind,
            credit: 1,
            stacks: 0,
            bytes: 0,
            best: u32::MAX,
            last: 0,
            wait: 1,
            pause: 1,
            trial: Trial::No,
            before: None,
        }
    }

    fn begin_trial(&mut self, kind: Arc<Kind>) {
        self.trial = Trial::On;
        (self.stacks, self.bytes) = (0, 0);
        self.before = Some(replace(&mut self.kind, kind));
    }

    /// A window is over. What is to be dropped.
    fn judge(&mut self, mean: u32) -> Option<Arc<Kind>> {
        if let Some(before) = self.before.take() {
            self.trial = Trial::No;
            if mean < self.last - self.last / GAIN_SHARE {
                (self.best, self.wait, self.pause) = (mean, 1, 1);
                return Some(before);
            }
            // That is how large they are now.
            self.best = self.last;
            self.pause = MOST_PAUSE.min(self.pause * 2);
            self.wait = self.pause;
            return Some(replace(&mut self.kind, before));
        }
        self.last = mean;
        self.best = self.best.min(mean);
        if mean > self.best + self.best / 16 {
            self.wait = self.wait.min(self.pause.div_ceil(GROWN_SHARE));
        }
        self.wait = self.wait.saturating_sub(1);
        if self.wait == 0 {
            self.trial = Trial::Wanted;
        }
        None
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::rest::pack::Packer;

    /// A place that never ends.
    fn origin() -> &'static Origin {
        Box::leak(Box::new(Origin::new()))
    }

    /// Packs stacks as a batch does; their mean size.
    fn pack(origin: &'static Origin, stacks: impl Iterator<Item = Vec<u64>>) -> usize {
        let (anchors, mut packer, mut run) = (Anchors::of(1 << 40), Packer::default(), None);
        let (mut bytes, mut count) = (0, 0);
        for words in stacks {
            let kind = Run::kind(&mut run, origin, &anchors, &words).clone();
            let size = packer.pack(&anchors, kind.template.as_ref(), words.into_iter());
            run.as_mut().unwrap().packed(size);
            bytes += size;
            count += 1;
        }
        run.into_iter().for_each(Run::end);
        bytes / count
    }

    const COUNT: usize = 40;

    /// Stacks of a burst: all alike, but for a number.
    fn burst(seed: u64, stacks: u64) -> impl Iterator<Item = Vec<u64>> {
        let common = (1..=COUNT as u64).map(move |place| (seed * 77 + place) << 40 | place << 20);
        (0..stacks).map(move |number| std::iter::once(number).chain(common.clone()).collect())
    }

    fn random(stacks: u64) -> impl Iterator<Item = Vec<u64>> {
        (0..stacks).map(|number| {
            (0..=COUNT as u64)
                .map(|place| (number * 64 + place).wrapping_mul(0x9E37_79B9_7F4A_7C15))
                .collect()
        })
    }

    #[test]
    fn copies_of_the_next_burst_are_as_small_as_those_of_the_first() {
        let (origin, window) = (origin(), u64::from(WINDOW));
        let first = pack(origin, burst(1, 100 * window));
        for seed in 2..12 {
            pack(origin, burst(seed, 20 * window));
            assert_eq!(pack(origin, burst(seed, 80 * window)), first, "burst {seed}");
        }
    }

    #[test]
    fn an_odd_first_stack_is_not_the_template_for_long() {
        let (alike, odd) = (origin(), origin());
        let best = pack(alike, burst(1, u64::from(WINDOW)));
        pack(odd, random(1).chain(burst(1, 4 * u64::from(WINDOW))));
        assert_eq!(pack(odd, burst(1, u64::from(WINDOW))), best);
    }

    #[test]
    fn a_template_in_vain_is_taken_back_and_the_next_one_comes_later() {
        let (origin, window) = (origin(), u64::from(WINDOW));
        let mut made = Vec::new();
        let anchors = Anchors::of(1 << 40);
        for _ in 0..4 * MOST_PAUSE {
            pack(origin, random(window));
            let kind = origin.kind(&anchors, &[1; COUNT + 1]);
            if !made.iter().any(|other| Arc::ptr_eq(other, &kind)) {
                made.push(kind);
            }
        }
        let trials = made.len() - 1;
        assert!((1..=14).contains(&trials), "{trials} trials");
    }

    #[test]
    fn a_template_goes_with_the_last_copy() {
        let origin = origin();
        let anchors = Anchors::of(1 << 40);
        let held = origin.kind(&anchors, &burst(1, 1).next().unwrap());
        let watch = Arc::downgrade(&held);
        for seed in 2..4 {
            pack(origin, burst(seed, 20 * u64::from(WINDOW)));
        }
        assert_eq!(watch.strong_count(), 1, "no shape's any more");
        drop(held);
        assert!(watch.upgrade().is_none());
    }

    #[test]
    fn a_shape_that_is_not_used_any_more_makes_room() {
        let (origin, anchors) = (origin(), Anchors::of(1 << 40));
        let has = |words: usize| origin.kind(&anchors, &vec![7; words]).template.is_some();
        (1..=SHAPES).for_each(|words| assert!(has(words)));
        for _ in 0..100 {
            assert!(has(1) && has(2) && has(3));
            has(9);
        }
        assert!(has(9) && has(1) && has(2) && has(3));
        assert!(!has(TEMPLATE_WORDS + 1));
    }
}
