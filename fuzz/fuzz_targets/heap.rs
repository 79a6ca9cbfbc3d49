//! The allocator against the model of live blocks: `cargo +nightly fuzz run heap`. The same with random inputs, on any
//! compiler, is `crates/heap/tests/fuzz.rs`.

#![no_main]

#[path = "../../crates/heap/tests/blocks/mod.rs"]
mod blocks;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    blocks::Model::run(&blocks::steps_of(bytes), |_| ());
    assert_eq!(millpond_heap::check(), Ok(()));
});
