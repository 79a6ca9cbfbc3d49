//! A Go-style runtime for Rust services.
