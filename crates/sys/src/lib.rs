//! The only caller of the kernel: memory, events, faults, thread states.
