//! The attribute macros of Millpond.
