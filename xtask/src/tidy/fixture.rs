//! Small trees for the tests of the rules.
//!
//! A rule gets a tree and a set of exceptions, and nothing from the disk; these are the shortest ways to write
//! both. The crate of the fixtures is called `a`, lives in `crates/a`, and depends on nothing.

use super::exceptions::Exceptions;
use super::source::Source;
use super::tree::{Arrow, Crate, Tree};

/// Nothing is excepted.
pub const NONE: Exceptions = Exceptions {
    sideways: &[],
    long_files: &[],
    long_functions: &[],
    output: &[],
    unsafe_files: &[],
};

/// A crate in `crates/<name>` with these arrows: target and whether it is a dev-dependency.
pub fn krate(name: &str, arrows: &[(&str, bool)]) -> Crate {
    let arrow = |&(to, dev): &(&str, bool)| Arrow { to: to.to_owned(), dev };
    Crate {
        name: name.to_owned(),
        folder: format!("crates/{name}"),
        arrows: arrows.iter().map(arrow).collect(),
        roots: Vec::new(),
    }
}

/// A tree of the crate `a` and one file.
pub fn file(path: &str, text: &str) -> Tree {
    let sources = vec![Source::new(path, text)];
    Tree { crates: vec![krate("a", &[])], sources, texts: Vec::new() }
}
