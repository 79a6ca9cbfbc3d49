//! The unit tests of the key-value example. `cargo test` builds an example as a program, and runs
//! the tests in it only if told to build no program; so its modules are a test program here.

#![allow(dead_code, reason = "the parts are put together in the example's main.rs")]

#[path = "../examples/kv/commands/mod.rs"]
mod commands;
#[path = "../examples/kv/connection.rs"]
mod connection;
#[path = "../examples/kv/desk.rs"]
mod desk;
#[path = "../examples/kv/glob.rs"]
mod glob;
#[path = "../examples/kv/inline.rs"]
mod inline;
#[path = "../examples/kv/number.rs"]
mod number;
#[path = "../examples/kv/parser.rs"]
mod parser;
#[path = "../examples/kv/reply.rs"]
mod reply;
#[path = "../examples/kv/server.rs"]
mod server;
#[path = "../examples/kv/shard.rs"]
mod shard;
#[path = "../examples/kv/store.rs"]
mod store;
#[path = "../examples/kv/sweep.rs"]
mod sweep;
#[path = "../examples/kv/value.rs"]
mod value;
