//! Values are numbers; a string and a zero are refused where they stand.

#[millpond::test(procs = "4")]
fn a_string() {}

#[millpond::test(procs = 0)]
fn a_zero() {}

#[millpond::test(stack_size)]
fn nothing() {}

#[millpond::test(procs = 1, procs = 2)]
fn twice() {}

fn main() {}
