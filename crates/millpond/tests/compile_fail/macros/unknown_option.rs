//! An option that does not exist is named together with those that do.

#[millpond::main(threads = 4)]
fn main() {}
