//! The first error lies outside the body, so it borrows nothing from it.

#[millpond::main]
fn main() {
    let result = millpond::try_scope(|s| {
        let text = String::from("in the body");
        s.fail(text.as_str());
        Ok(())
    });
    println!("{result:?}");
}
