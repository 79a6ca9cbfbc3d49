//! What `fuzz/` does with inputs that it finds by itself, with a fixed number of random ones: every compiler can run
//! this. `MILLPOND_FUZZ_INPUTS` is another number.

mod blocks;

use blocks::{Model, steps_of};

/// SplitMix64: an input is its seed.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ z >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ z >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ z >> 31
    }
}

#[test]
fn no_sequence_of_bytes_breaks_a_block() {
    let asked = std::env::var("MILLPOND_FUZZ_INPUTS").ok().and_then(|text| text.parse().ok());
    let inputs = asked.unwrap_or(if cfg!(debug_assertions) { 4 } else { 300 });
    for seed in 0..inputs {
        let mut random = Random(seed);
        let length = random.next() as usize % 6000;
        let mut bytes: Vec<u8> = (0..length).map(|_| random.next() as u8).collect();
        // Runs of one kind of step, as programs have them: bytes without any order never fill a span.
        let kind = random.next() as u8;
        for at in (0..length).filter(|at| at / 512 % 2 == 1 && at % 3 == 0) {
            bytes[at] = kind & 15;
        }
        println!("seed {seed}: {length} bytes");
        Model::run(&steps_of(&bytes), |_| ());
        assert_eq!(millpond_heap::check(), Ok(()), "seed {seed}");
    }
}

#[test]
fn all_kinds_of_steps_can_be_written_in_bytes() {
    let first = |byte: u8| steps_of(&[byte, 1, 2, 3, 4]).remove(0);
    let steps = format!("{:?}", (0..=255).map(first).collect::<Vec<_>>());
    for kind in ["Alloc", "zeroed: true", "Free {", "FreeElsewhere", "Realloc", "Release"] {
        assert!(steps.contains(kind), "{kind}");
    }
}
