//! Two test attributes would run the body twice.

#[millpond::test]
#[test]
fn twice() {}

fn main() {}
