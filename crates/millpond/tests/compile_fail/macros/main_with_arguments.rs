//! Nobody passes arguments to the first goroutine, and nobody chooses its type parameters.

#[millpond::main]
fn main<T>(arguments: Vec<String>) {}
