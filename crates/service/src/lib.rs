//! Accept loops, connection tracking and drain.
