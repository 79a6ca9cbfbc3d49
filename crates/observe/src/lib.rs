//! Goroutine dumps.
