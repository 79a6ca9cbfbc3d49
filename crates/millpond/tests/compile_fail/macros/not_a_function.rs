//! The attributes belong on functions.

#[millpond::test]
struct Test;

fn main() {}
