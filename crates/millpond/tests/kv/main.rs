//! The key-value example, spoken to as its clients do: in raw bytes, with Redis' own programs, and
//! side by side with Redis itself.

#[path = "../support/mod.rs"]
mod support;

mod client;
mod clients;
mod protocol;
mod semantics;
mod side_by_side;

use client::Client;
use support::Server;

/// A server of its own for each test.
fn start() -> Server {
    Server::start("kv", &["--addr", "127.0.0.1:0"])
}

fn connect(server: &Server) -> Client<std::net::TcpStream> {
    Client::new(server.connect().into_inner())
}
