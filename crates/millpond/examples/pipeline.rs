//! A pipeline: stages in goroutines, joined by bounded channels, passing ownership along.
//!
//! ```text
//!            lines              words                counts
//!   reader ───────▶ splitters ───────▶ counters ───────────▶ main
//!    (1)      8        (3)       64       (2)          2
//! ```
//!
//! A value is sent, not shared: each has one owner at a time, so there is no lock. The channels are
//! bounded, so a fast stage waits for a slow one instead of filling the memory. Each stage ends
//! when its input is closed, and closes its output by dropping the last sender: the end runs down
//! the pipeline by itself.
//!
//! Words are spread over the counters by their hash, so each counter owns its share of the table.
//! The result is compared with a plain loop: the program checks itself.
//!
//! ```text
//! cargo run --release -p millpond --example pipeline
//! ```

use millpond::chan::{Receiver, Sender, bounded};
use millpond::{JoinHandle, go};
use std::collections::HashMap;
use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher};

type Counts = HashMap<String, usize>;

const LINES: usize = 2_000;
const SPLITTERS: usize = 3;
const COUNTERS: usize = 2;

#[millpond::main]
fn main() {
    let counts = count_on_goroutines();
    assert_eq!(counts, count_in_a_loop(), "the pipeline and the loop disagree");
    let mut most: Vec<_> = counts.iter().collect();
    most.sort_by(|a, b| b.1.cmp(a.1).then(a.0.cmp(b.0)));
    for (word, count) in most.iter().take(3) {
        println!("{count:>6} {word}");
    }
}

fn count_on_goroutines() -> Counts {
    let (line_tx, lines) = bounded(8);
    let reader = go(move || read(&line_tx));

    let (word_txs, counters): (Vec<_>, Vec<_>) = (0..COUNTERS).map(|_| start_counter()).unzip();
    let splitters: Vec<_> = (0..SPLITTERS)
        .map(|_| {
            let (lines, word_txs) = (lines.clone(), word_txs.clone());
            go(move || split(lines, &word_txs))
        })
        .collect();
    // The splitters have their own: with ours gone, the counters end when the splitters do.
    drop(word_txs);

    let mut all = Counts::new();
    for counter in counters {
        all.extend(counter.join().expect("a counter does not panic"));
    }
    for stage in splitters.into_iter().chain([reader]) {
        stage.join().expect("a stage does not panic");
    }
    all
}

/// Stage 1: makes lines. The text is the same in each run.
fn read(out: &Sender<String>) {
    for line in text() {
        out.send(line).expect("the splitters stay until the lines end");
    }
}

/// Stage 2: takes lines apart. Which splitter gets a line does not matter.
fn split(lines: Receiver<String>, out: &[Sender<String>]) {
    let hasher = BuildHasherDefault::<DefaultHasher>::default();
    for line in lines {
        for word in line.split_whitespace() {
            let share = hasher.hash_one(word) as usize % out.len();
            out[share].send(word.to_owned()).expect("the counters stay until the words end");
        }
    }
}

/// Stage 3: counts its share of the words, and hands the table over when they end.
fn start_counter() -> (Sender<String>, JoinHandle<Counts>) {
    let (tx, words) = bounded::<String>(64);
    let counter = go(move || {
        let mut counts = Counts::new();
        for word in words {
            *counts.entry(word).or_default() += 1;
        }
        counts
    });
    (tx, counter)
}

/// What the pipeline must find.
fn count_in_a_loop() -> Counts {
    let mut counts = Counts::new();
    for line in text() {
        for word in line.split_whitespace() {
            *counts.entry(word.to_owned()).or_default() += 1;
        }
    }
    counts
}

fn text() -> impl Iterator<Item = String> {
    let words = ["still", "water", "stored", "until", "the", "mill", "is", "driven", "by", "it"];
    (0..LINES).map(move |line| {
        let pick = |place: usize| words[(line * line + place * place * 7) % words.len()];
        (0..12).map(pick).collect::<Vec<_>>().join(" ")
    })
}
