//! Spinning that a model can see: under loom a spin must hand the turn to another thread.
//!
//! Without it the model would explore a loop that never ends, since nothing else may run. In a
//! program it is the processor's own hint. Rejected: yielding to the kernel in a program too, which
//! costs more than every spin of ours is allowed to last.

/// Tells the processor (or the model) that this thread waits for another one.
#[inline(always)]
pub fn spin_loop() {
    #[cfg(not(loom))]
    core::hint::spin_loop();
    #[cfg(loom)]
    loom::thread::yield_now();
}
