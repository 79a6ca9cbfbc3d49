//! An actor: state that one goroutine owns, and that others reach by messages.
//!
//! ```text
//!   buyer ──┐  Request { what, reply }     ┌──────────────────┐
//!   buyer ──┼────────────────────────────▶ │ office: the seats│
//!   buyer ──┘            16                └──────────────────┘
//!     ▲                                             │
//!     └────────── reply, a channel with room for 1 ─┘
//! ```
//!
//! The seats of a theatre are a plain `HashMap` in a goroutine's hands. Requests come one after
//! the other, so each sees the state that the one before has left: "is it free? then it is mine"
//! needs no lock. What the office does it may also do slowly, with files or sockets: a mutex held
//! meanwhile would look the same from outside, but here who waits is a queue that can be seen,
//! bounded, and refused.
//!
//! A request carries the channel for its reply. It has room for one, so the office never waits for
//! a buyer, not even for one who has gone.
//!
//! [`Office`] hides all that behind methods. Its clones are cheap; with the last one the channel of
//! requests is closed, the loop ends, and the state comes back through the handle.
//!
//! When is a mutex better? When the critical section is short: two messages cost more than an
//! uncontended lock (see `kv/store.rs`, which chose the lock).
//!
//! ```text
//! cargo run --release -p millpond --example actor
//! ```

use millpond::chan::{Receiver, Sender, bounded};
use millpond::{JoinHandle, go};
use std::collections::HashMap;

const SEATS: u32 = 100;
const BUYERS: u32 = 30;

/// A question to the office, with the channel for the answer.
enum Request {
    Reserve { seat: u32, buyer: u32, reply: Sender<Result<(), Taken>> },
    Cancel { seat: u32, buyer: u32, reply: Sender<bool> },
    Free { reply: Sender<usize> },
}

/// Somebody else has the seat.
#[derive(Debug, PartialEq, Eq)]
struct Taken {
    by: u32,
}

/// What the office has: who has which seat.
type Seats = HashMap<u32, u32>;

/// The way to the office. Clones lead to the same one.
#[derive(Clone)]
struct Office {
    requests: Sender<Request>,
}

impl Office {
    /// Opens an office. The handle gives its seats when the last `Office` is gone.
    fn open() -> (Self, JoinHandle<Seats>) {
        let (requests, inbox) = bounded(16);
        (Self { requests }, go(move || run(inbox)))
    }

    /// Parks until the office has decided.
    fn reserve(&self, seat: u32, buyer: u32) -> Result<(), Taken> {
        self.ask(|reply| Request::Reserve { seat, buyer, reply })
    }

    /// Whether the seat was this buyer's. Parks until the office has decided.
    fn cancel(&self, seat: u32, buyer: u32) -> bool {
        self.ask(|reply| Request::Cancel { seat, buyer, reply })
    }

    /// How many seats are free. Parks until the office has counted.
    fn free(&self) -> usize {
        self.ask(|reply| Request::Free { reply })
    }

    /// Sends a request and waits for the reply.
    fn ask<T>(&self, request: impl FnOnce(Sender<T>) -> Request) -> T {
        let (reply, answer) = bounded(1);
        // The office ends after its last `Office`, and this is one.
        assert!(self.requests.send(request(reply)).is_ok(), "the office has panicked");
        answer.recv().expect("the office answers each request")
    }
}

/// The office: the only code that touches the seats.
fn run(inbox: Receiver<Request>) -> Seats {
    let mut seats = Seats::new();
    for request in inbox {
        // A reply that nobody waits for any more is lost, which is right.
        match request {
            Request::Reserve { seat, buyer, reply } => {
                let owner = *seats.entry(seat).or_insert(buyer);
                let _ = reply.send(if owner == buyer { Ok(()) } else { Err(Taken { by: owner }) });
            }
            Request::Cancel { seat, buyer, reply } => {
                let was_his = seats.get(&seat) == Some(&buyer);
                if was_his {
                    seats.remove(&seat);
                }
                let _ = reply.send(was_his);
            }
            Request::Free { reply } => {
                let _ = reply.send(SEATS as usize - seats.len());
            }
        }
    }
    seats
}

/// Wants each seat, in an order of its own, and gives the first one back. How many it has.
fn buy(office: &Office, buyer: u32) -> usize {
    let wishes = (0..SEATS).map(|i| (i * 37 + buyer * 11) % SEATS);
    let mine: Vec<u32> = wishes.filter(|&seat| office.reserve(seat, buyer).is_ok()).collect();
    match mine.first() {
        Some(&seat) if office.cancel(seat, buyer) => mine.len() - 1,
        _ => mine.len(),
    }
}

#[millpond::main]
fn main() {
    let (office, closed) = Office::open();
    let buyers: Vec<_> = (0..BUYERS)
        .map(|buyer| {
            let office = office.clone();
            go(move || buy(&office, buyer))
        })
        .collect();
    let bought: Vec<usize> = buyers.into_iter().map(|b| b.join().expect("no panic")).collect();
    let free = office.free();
    println!("{} seats are sold, {free} are free", bought.iter().sum::<usize>());

    // With the last way to it the office closes, and hands over its books.
    drop(office);
    let seats = closed.join().expect("the office does not panic");
    for (buyer, count) in bought.iter().enumerate() {
        let has = seats.values().filter(|owner| **owner == buyer as u32).count();
        assert_eq!(has, *count, "buyer {buyer} and the office disagree");
    }
    assert_eq!(seats.len() + free, SEATS as usize);
}
