//! A context's value has the type that its key says, where it is set and where it is read.

use millpond::{Context, context::Key};

struct RequestId;
impl Key for RequestId {
    type Value = u64;
}

fn main() {
    let ctx = Context::background().with_value::<RequestId>("seven");
    let _: Option<&String> = ctx.value::<RequestId>();
}
