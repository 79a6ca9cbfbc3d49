//! An actor: state that one goroutine owns, and that others reach by messages.
//!
//! ```text
//!   buyer ──┐  Request { what, reply }     ┌───────────────────┐ ◀── ticker: holds lapse
//!   buyer ──┼────────────────────────────▶ │ office: the seats │
//!   buyer ──┘            16                └───────────────────┘ ◀── ctx: it closes
//!     ▲                                             │
//!     └────────── reply, a channel with room for 1 ─┘
//! ```
//!
//! The seats of a theatre are a plain `HashMap` in a goroutine's hands. Its loop is a `select!` over
//! all that can happen to them: a request, the next tick of the clock, the end. One thing happens
//! after the other, so each sees the state that the one before has left: "is it free? then it is
//! mine" needs no lock, and neither does "held for too long? then it is free".
//!
//! Use it where state has a life of its own: something to do at times, a connection to look after,
//! an order to keep. Who waits for it is a queue that can be seen, bounded and refused. With a mutex
//! instead, the clock would be one more goroutine with the same lock, and who does something slow
//! under it holds up all others, invisibly.
//!
//! When is a mutex better? When the critical section is short and nothing happens by itself: two
//! messages cost more than an uncontended lock (see `kv/store.rs`, which chose the lock).
//!
//! What goes wrong in actors, and how not to:
//!
//! - *The actor waits for who waits for it.* A reply channel has room for one, so the office never
//!   waits for a buyer, not even for one who has gone; news of seats goes where sends never wait.
//! - *A reply that never comes.* A request that the office did not get to is dropped with its inbox,
//!   and its reply channel with it, so [`Office::ask`] is told that it is closed.
//! - *An actor that nobody ends.* This one ends with its context, or with its last [`Office`], and
//!   hands its state over through the handle.
//!
//! [`Office`] hides all that behind methods. Its clones are cheap.
//!
//! ```text
//! cargo run --release -p millpond --example actor
//! ```

use millpond::chan::{Receiver, Sender, bounded, unbounded};
use millpond::time::{Instant, Ticker};
use millpond::{Context, JoinHandle, go, scope, select};
use std::collections::HashMap;
use std::time::Duration;

const SEATS: u32 = 100;
const BUYERS: u32 = 30;

/// How long a seat is held for who has not paid.
const HOLD: Duration = Duration::from_millis(20);

/// A question to the office, with the channel for the answer.
enum Request {
    Hold { seat: u32, buyer: u32, reply: Sender<Result<(), Refused>> },
    Pay { seat: u32, buyer: u32, reply: Sender<Result<(), Refused>> },
}

#[derive(Debug, PartialEq, Eq)]
enum Refused {
    /// Somebody else has the seat.
    Taken,
    /// The hold is over.
    Lapsed,
    /// The office is closed.
    Closed,
}

/// Whose a seat is.
struct Owner {
    buyer: u32,
    /// `None` once it is paid for.
    until: Option<Instant>,
}

/// What the office has.
type Seats = HashMap<u32, Owner>;

/// The way to the office. Clones lead to the same one.
#[derive(Clone)]
struct Office {
    requests: Sender<Request>,
}

impl Office {
    /// Opens an office, until `ctx` is done. Seats whose holds lapse are told to `lapsed`. The
    /// handle gives the books.
    fn open(ctx: &Context, lapsed: Sender<u32>) -> (Self, JoinHandle<Seats>) {
        let (requests, inbox) = bounded(16);
        let ctx = ctx.clone();
        (Self { requests }, go(move || run(&ctx, &inbox, &lapsed)))
    }

    /// Holds a seat for a while. Parks until the office has decided.
    fn hold(&self, seat: u32, buyer: u32) -> Result<(), Refused> {
        self.ask(|reply| Request::Hold { seat, buyer, reply })
    }

    /// Buys a seat that is held. Parks until the office has decided.
    fn pay(&self, seat: u32, buyer: u32) -> Result<(), Refused> {
        self.ask(|reply| Request::Pay { seat, buyer, reply })
    }

    /// Sends a request and waits for the reply.
    fn ask(
        &self,
        request: impl FnOnce(Sender<Result<(), Refused>>) -> Request,
    ) -> Result<(), Refused> {
        let (reply, answer) = bounded(1);
        self.requests.send(request(reply)).map_err(|_| Refused::Closed)?;
        answer.recv().unwrap_or(Err(Refused::Closed))
    }
}

/// The office: the only code that touches the seats.
fn run(ctx: &Context, inbox: &Receiver<Request>, lapsed: &Sender<u32>) -> Seats {
    let mut seats = Seats::new();
    let ticker = Ticker::new(HOLD / 4);
    loop {
        select! {
            request = inbox.recv() => match request {
                Ok(request) => answer(&mut seats, request),
                Err(_) => return seats, // the last `Office` is gone
            },
            now = ticker.tick() => lapse(&mut seats, now, lapsed),
            _ = ctx.done() => return seats,
        }
    }
}

/// A reply that nobody waits for any more is lost, which is right.
fn answer(seats: &mut Seats, request: Request) {
    match request {
        Request::Hold { seat, buyer, reply } => {
            let until = Some(Instant::now() + HOLD);
            let is_free = !seats.contains_key(&seat);
            if is_free {
                seats.insert(seat, Owner { buyer, until });
            }
            let _ = reply.send(if is_free { Ok(()) } else { Err(Refused::Taken) });
        }
        Request::Pay { seat, buyer, reply } => {
            let held = seats.get_mut(&seat).filter(|owner| owner.buyer == buyer);
            let _ = reply.send(match held {
                Some(owner) => {
                    owner.until = None;
                    Ok(())
                }
                None => Err(Refused::Lapsed),
            });
        }
    }
}

/// Frees the seats that were held for too long.
fn lapse(seats: &mut Seats, now: Instant, lapsed: &Sender<u32>) {
    seats.retain(|seat, owner| {
        let stays = owner.until.is_none_or(|until| now < until);
        if !stays {
            // Unbounded: never waits. Nobody may want to know.
            let _ = lapsed.send(*seat);
        }
        stays
    });
}

/// What a buyer did.
#[derive(Default, Clone, Copy)]
struct Done {
    held: usize,
    paid: usize,
}

/// Wants each seat, in an order of its own, and does not pay for the first one that it gets.
fn buy(office: &Office, buyer: u32) -> Done {
    let mut done = Done::default();
    for seat in (0..SEATS).map(|i| (i * 37 + buyer * 11) % SEATS) {
        if office.hold(seat, buyer).is_ok() {
            done.held += 1;
            // Too late, if this machine is busy with other things: then the seat is not ours.
            done.paid += usize::from(done.held > 1 && office.pay(seat, buyer).is_ok());
        }
    }
    done
}

#[millpond::main]
fn main() {
    let (ctx, cancel) = Context::background().with_cancel();
    let (lapsed, news) = unbounded();
    let (office, books) = Office::open(&ctx, lapsed);
    let buyers: Vec<Done> = scope(|s| {
        let office = &office;
        let buyers: Vec<_> = (0..BUYERS).map(|buyer| s.go(move || buy(office, buyer))).collect();
        buyers.into_iter().map(|buyer| buyer.join().expect("no panic")).collect()
    });
    let held: usize = buyers.iter().map(|done| done.held).sum();
    let paid: usize = buyers.iter().map(|done| done.paid).sum();
    // What was held was paid for, or lapses.
    let lapses = news.iter().take(held - paid).count();
    println!("{paid} seats are sold, {} are free", SEATS as usize - paid);
    println!("{} buyers had seats that they did not pay for, {lapses} in all", {
        buyers.iter().filter(|done| done.held > done.paid).count()
    });

    // It closes, and hands over its books.
    cancel.cancel();
    let seats = books.join().expect("the office does not panic");
    assert_eq!(office.hold(0, 0), Err(Refused::Closed));
    assert_eq!(lapses, held - paid);
    assert!(news.recv().is_err(), "a seat lapsed that was paid for");
    for (buyer, done) in (0..).zip(&buyers) {
        let has = seats.values().filter(|owner| owner.buyer == buyer).count();
        assert_eq!(has, done.paid, "buyer {buyer} and the office disagree");
    }
}
