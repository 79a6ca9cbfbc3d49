//! Neither a handle nor the scope itself gets out of the body.

#[millpond::main]
fn main() {
    let handle = millpond::scope(|s| s.go(|| 7));
    let mut kept = None;
    millpond::scope(|s| kept = Some(s));
    millpond::go(move || kept.unwrap().go(|| handle.join()));
}
