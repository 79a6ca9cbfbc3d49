//! How the library is linked.
//!
//! - `nodelete`: once loaded it stays. Blocks of its heap are everywhere, the end of every thread calls into it, and
//!   it may have a thread of its own; `dlclose` must leave all of them with code.
//! - `initial-exec` thread-locals need no flag: the linker notes by itself that a place in the static block is needed.
//!
//! The profile `malloc` is for the library that is used. Built by it without the feature `initial-exec`, the library
//! would be right and slow, and nobody would know why: so that build is refused.

use std::path::Path;

fn main() {
    let out = std::env::var_os("OUT_DIR").unwrap_or_default();
    // target/PROFILE/build/PACKAGE/out
    let profile = Path::new(&out).ancestors().nth(3).and_then(Path::file_name);
    let has_feature = std::env::var_os("CARGO_FEATURE_INITIAL_EXEC").is_some();
    if profile.is_some_and(|name| name == "malloc") && !has_feature {
        println!(
            "cargo::error=the library for use is built by \
             `cargo build --profile malloc -p millpond-malloc --features initial-exec`"
        );
    }
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rustc-cdylib-link-arg=-Wl,-z,nodelete");
}
