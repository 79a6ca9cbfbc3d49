//! Pooled stacks for goroutines: huge reservations, guards, reuse.
