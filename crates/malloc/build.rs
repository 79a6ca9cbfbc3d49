//! How the library is linked.
//!
//! - `nodelete`: once loaded it stays. Blocks of its heap are everywhere, the end of every thread calls into it, and
//!   it may have a thread of its own; `dlclose` must leave all of them with code.
//! - `initial-exec` thread-locals need no flag: the linker notes by itself that a place in the static block is needed.

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rustc-cdylib-link-arg=-Wl,-z,nodelete");
}
