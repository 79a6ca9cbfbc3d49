//! The project's own checks and test runs.
fn main() {}
