//! `main` starts the process: it belongs on `fn main` and on nothing else.

#[millpond::main]
fn start() {}
