//! A pipeline: stages in goroutines, joined by bounded channels, passing ownership along.
//!
//! ```text
//!            lines              words                counts
//!   reader ───────▶ splitters ───────▶ counters ───────────▶ the caller
//!    (1)      8        (3)       64       (2)
//! ```
//!
//! Use it where a stream goes through steps of different kinds: read, decode, transform, write. Each
//! step is a loop from one channel to the next, and says nothing of threads.
//!
//! *Ownership.* A value is sent, not shared: it has one owner at a time, so there is no lock, and
//! who has sent a line cannot change it any more. (In Go it can, by mistake; here it does not
//! compile.) Words are spread over the counters by their hash, so each owns its share of the table.
//!
//! *Back-pressure.* The channels are bounded, so a fast stage waits for a slow one. With unbounded
//! ones the slowest stage decides how much memory the program needs.
//!
//! *The end* runs down by itself: each stage ends when its input is closed, and closes its output
//! by dropping the last sender.
//!
//! *Stopping early* is what pipelines get wrong: the last stage has seen enough and goes, and the
//! others wait in a send for ever. Two things see to it here.
//!
//! - A send whose last receiver is gone fails, so the end also runs *up* by itself, as far as stages
//!   look at what their sends return. That is enough where the consumer stops.
//! - All waits take the `Context`, so it stops from anywhere, at once, at every stage: here a
//!   counter that has seen enough cancels it; elsewhere it is the request's deadline, or its client
//!   that went away. A stage that computes for long asks `ctx.check()`.
//!
//! The stages live in a `scope`: they borrow the context and the text, and when the function
//! returns none of them is left.
//!
//! A finite text is compared with a plain loop; an endless one is counted until a word has been seen
//! often enough.
//!
//! ```text
//! cargo run --release -p millpond --example pipeline
//! ```

use millpond::chan::{Receiver, Sender, bounded};
use millpond::context::Cancel;
use millpond::{Context, scope};
use std::collections::HashMap;
use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher};

type Counts = HashMap<String, usize>;

const LINES: usize = 2_000;
const SPLITTERS: usize = 3;
const COUNTERS: usize = 2;

/// How often is often enough.
const ENOUGH: usize = 1_000;

#[millpond::main]
fn main() {
    let counts = count(&Context::background(), text().take(LINES), usize::MAX);
    assert_eq!(counts, count_in_a_loop(text().take(LINES)), "the pipeline and the loop disagree");
    let mut most: Vec<_> = counts.iter().collect();
    most.sort_by(|a, b| b.1.cmp(a.1).then(a.0.cmp(b.0)));
    for (word, count) in most.iter().take(3) {
        println!("{count:>6} {word}");
    }

    // That it comes back at all says that every stage has stopped.
    let counts = count(&Context::background(), text(), ENOUGH);
    let most = counts.values().max();
    assert_eq!(most, Some(&ENOUGH), "it went on, or stopped before");
    println!("an endless text: stopped when a word had come {ENOUGH} times");
}

/// Counts words until the text ends, a word has come `enough` times, or `ctx` is done. Parks until
/// no stage is left.
fn count(ctx: &Context, text: impl Iterator<Item = String> + Send, enough: usize) -> Counts {
    let (ctx, cancel) = &ctx.with_cancel();
    scope(|s| {
        let (line_tx, lines) = bounded(8);
        s.go(move || read(ctx, text, &line_tx));

        let (word_txs, words): (Vec<_>, Vec<_>) = (0..COUNTERS).map(|_| bounded(64)).unzip();
        for _ in 0..SPLITTERS {
            let (lines, word_txs) = (lines.clone(), word_txs.clone());
            s.go(move || split(ctx, &lines, &word_txs));
        }
        // The splitters have their own. With ours, the counters would wait for ever.
        drop((lines, word_txs));

        let count = |words| s.go(move || count_share(ctx, &words, enough, cancel));
        let counters: Vec<_> = words.into_iter().map(count).collect();
        counters.into_iter().flat_map(|c| c.join().expect("a counter does not panic")).collect()
    })
}

/// Stage 1: gives lines away. It ends with the text, with the context, or with the splitters.
fn read(ctx: &Context, text: impl Iterator<Item = String>, out: &Sender<String>) {
    for line in text {
        if out.send_ctx(ctx, line).is_err() {
            return;
        }
    }
}

/// Stage 2: takes lines apart. Which splitter gets a line does not matter.
fn split(ctx: &Context, lines: &Receiver<String>, out: &[Sender<String>]) {
    let hasher = BuildHasherDefault::<DefaultHasher>::default();
    while let Ok(line) = lines.recv_ctx(ctx) {
        for word in line.split_whitespace() {
            let share = hasher.hash_one(word) as usize % out.len();
            if out[share].send_ctx(ctx, word.to_owned()).is_err() {
                return;
            }
        }
    }
}

/// Stage 3: counts its share of the words; calls the whole off when it has seen enough.
fn count_share(ctx: &Context, words: &Receiver<String>, enough: usize, cancel: &Cancel) -> Counts {
    let mut counts = Counts::new();
    while let Ok(word) = words.recv_ctx(ctx) {
        let count = counts.entry(word).or_default();
        *count += 1;
        if *count == enough {
            cancel.cancel();
        }
    }
    counts
}

/// What the pipeline must find.
fn count_in_a_loop(text: impl Iterator<Item = String>) -> Counts {
    let mut counts = Counts::new();
    for line in text {
        for word in line.split_whitespace() {
            *counts.entry(word.to_owned()).or_default() += 1;
        }
    }
    counts
}

/// Lines without end, the same in each run.
fn text() -> impl Iterator<Item = String> + Send {
    let words = ["still", "water", "stored", "until", "the", "mill", "is", "driven", "by", "it"];
    (0..).map(move |line: usize| {
        let line = line % LINES;
        let pick = |place: usize| words[(line * line + place * place * 7) % words.len()];
        (0..12).map(pick).collect::<Vec<_>>().join(" ")
    })
}
