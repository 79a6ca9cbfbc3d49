//! The scheduler: G, M, P, run queues, park and ready, timers, poller, blocking pool.
