//! Channels and locks for goroutines, tasks and plain threads.
