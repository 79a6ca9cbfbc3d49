//! What the checker must refuse, and what it must not: a check that accepts everything finds
//! nothing.
//!
//! Each history is written as a picture of times: `(begin, end, what was seen)`. Those that are
//! refused each break one promise of a channel, and next to them stands the history that is nearest
//! and keeps it. Random histories are made from steps of a right channel, spread out over time, and
//! of a stack that takes itself for one.

use super::common::{Rng, seed};
use super::spec::Seen::*;
use super::spec::{Event, Seen, Spec, is_linearizable};

fn holds(capacity: usize, history: &[(u64, u64, Seen)]) -> bool {
    check(capacity, history, false)
}

fn check(capacity: usize, history: &[(u64, u64, Seen)], loose: bool) -> bool {
    let events: Vec<_> = history
        .iter()
        .map(|(begin, end, seen)| Event { caller: 0, begin: *begin, end: *end, seen: *seen, loose })
        .collect();
    is_linearizable(capacity, &events)
}

#[test]
fn values_come_in_the_order_in_which_they_were_sent() {
    assert!(holds(2, &[(0, 1, Sent(1)), (2, 3, Sent(2)), (4, 5, Got(1)), (6, 7, Got(2))]));
    assert!(!holds(2, &[(0, 1, Sent(1)), (2, 3, Sent(2)), (4, 5, Got(2)), (6, 7, Got(1))]));
    // Sends that overlap, or receives that do, may be in either order.
    assert!(holds(2, &[(0, 3, Sent(1)), (1, 2, Sent(2)), (4, 5, Got(2)), (6, 7, Got(1))]));
    assert!(holds(2, &[(0, 1, Sent(1)), (2, 3, Sent(2)), (4, 7, Got(2)), (5, 6, Got(1))]));
}

#[test]
fn a_value_comes_once_and_after_its_send_began() {
    assert!(!holds(2, &[(0, 1, Got(1))]));
    assert!(!holds(2, &[(0, 1, Got(1)), (2, 3, Sent(1))]));
    assert!(holds(2, &[(0, 2, Got(1)), (1, 3, Sent(1))]));
    assert!(!holds(2, &[(0, 1, Sent(1)), (2, 3, Got(1)), (4, 5, Got(1))]));
}

#[test]
fn a_value_that_was_sent_is_there() {
    assert!(!holds(2, &[(0, 1, Sent(1)), (2, 3, Empty)]));
    assert!(holds(2, &[(0, 2, Sent(1)), (1, 3, Empty)]));
    assert!(!holds(2, &[(0, 1, Sent(1)), (2, 3, Close), (4, 5, RecvClosed)]));
    assert!(holds(2, &[(0, 1, Sent(1)), (2, 3, Close), (4, 5, Got(1)), (6, 7, RecvClosed)]));
}

#[test]
fn a_buffer_holds_its_capacity_and_no_more() {
    assert!(!holds(1, &[(0, 1, Sent(1)), (2, 3, Sent(2)), (4, 5, Got(1))]));
    assert!(holds(1, &[(0, 1, Sent(1)), (2, 5, Sent(2)), (3, 4, Got(1))]));
    assert!(!holds(2, &[(0, 1, Sent(1)), (2, 3, Full)]));
    assert!(holds(1, &[(0, 1, Sent(1)), (2, 3, Full)]));
}

#[test]
fn a_rendezvous_is_one_moment() {
    assert!(holds(0, &[(0, 2, Sent(1)), (1, 3, Got(1))]));
    assert!(!holds(0, &[(0, 1, Sent(1)), (2, 3, Got(1))]));
    assert!(!holds(0, &[(0, 3, Sent(1)), (1, 2, Got(2))]));
    // Two pairs, each overlapping, that cannot both have had their moment.
    let crossed = [(0, 3, Sent(1)), (4, 7, Sent(2)), (2, 5, Got(2)), (1, 6, Got(1))];
    assert!(holds(0, &crossed));
    let crossed = [(0, 9, Sent(1)), (1, 4, Sent(2)), (2, 3, Got(1)), (5, 8, Got(2))];
    assert!(!holds(0, &crossed));
}

#[test]
fn a_close_is_for_ever_and_for_all() {
    assert!(!holds(1, &[(0, 1, Close), (2, 3, Sent(1))]));
    assert!(!holds(1, &[(0, 1, SendClosed), (2, 3, Close)]));
    assert!(!holds(1, &[(0, 1, RecvClosed), (2, 3, Close)]));
    assert!(holds(1, &[(0, 2, RecvClosed), (1, 3, Close)]));
    assert!(!holds(1, &[(0, 1, Close), (2, 3, Empty)]));
    assert!(!holds(0, &[(0, 1, Close), (2, 3, Empty)]));
    assert!(!holds(0, &[(0, 1, Close), (2, 3, Full)]));
    assert!(!holds(0, &[(0, 1, Close), (2, 4, Sent(1)), (3, 5, Got(1))]));
}

/// What is loose is loose only beside what makes it so.
#[test]
fn what_is_held_for_a_moment_is_allowed_for_that_moment_alone() {
    assert!(check(1, &[(0, 3, Sent(1)), (1, 2, Full), (4, 5, Got(1))], true));
    assert!(!check(1, &[(0, 1, Full), (2, 3, Sent(1)), (4, 5, Got(1))], true));
    let ended = [(0, 1, Sent(1)), (2, 3, Close), (4, 5, Empty), (2, 6, Got(1))];
    assert!(check(1, &ended, true) && !check(1, &ended, false));
    let ended = [(0, 1, Sent(1)), (2, 3, Close), (6, 7, Empty), (2, 5, Got(1))];
    assert!(!check(1, &ended, true));
}

/// A history of steps, each spread out around its moment.
fn spread(rng: &mut Rng, steps: &[Seen]) -> Vec<(u64, u64, Seen)> {
    let around = |(number, seen): (usize, &Seen)| {
        let moment = 100 + 10 * number as u64;
        (moment - 1 - rng.below(30) as u64, moment + 1 + rng.below(30) as u64, *seen)
    };
    steps.iter().enumerate().map(around).collect()
}

/// What a channel with this capacity may do at random. `last_first`: it is a stack.
fn steps(rng: &mut Rng, capacity: usize, last_first: bool) -> Vec<Seen> {
    let (mut spec, mut steps) = (Spec::default(), Vec::new());
    for value in 0..24 {
        let (full, empty) = (spec.queue.len() >= capacity, spec.queue.is_empty());
        let seen = match rng.below(12) {
            0..5 if spec.closed => SendClosed,
            0..5 if full => Full,
            0..5 => Sent(value),
            5..11 if !empty => {
                let place = if last_first { spec.queue.len() - 1 } else { 0 };
                let value = spec.queue.remove(place).expect("it is not empty");
                spec.queue.push_front(value);
                Got(value)
            }
            5..11 if spec.closed => RecvClosed,
            5..11 => Empty,
            _ if value > 12 => Close,
            _ => continue,
        };
        assert!(spec.step(capacity, seen), "the model contradicts itself");
        steps.push(seen);
    }
    steps
}

#[test]
fn what_was_linear_is_accepted_however_it_is_spread() {
    let mut rng = Rng::new(seed());
    for round in 0..2_000 {
        let capacity = 1 + round % 3;
        let history = steps(&mut rng, capacity, false);
        let history = spread(&mut rng, &history);
        assert!(holds(capacity, &history), "{history:?}");
    }
}

#[test]
fn a_stack_is_not_taken_for_a_channel() {
    let mut rng = Rng::new(seed());
    let refused = (0..2_000).filter(|_| {
        let history = steps(&mut rng, 3, true);
        !holds(3, &spread(&mut rng, &history))
    });
    let refused = refused.count();
    assert!(refused > 500, "only {refused} of 2000 were refused");
}
