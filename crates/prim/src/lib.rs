//! Atomics, locks, cells and threads behind one face: std, or loom when a model runs.
