//! The expansion of `select!` in surroundings that it did not choose: names, scopes, macros, lints.

#![deny(warnings, clippy::all, clippy::pedantic, clippy::nursery)]

use crate::callers::runtime;
use millpond::chan;

/// Nothing of the prelude, and other things by its names.
mod strange {
    #![no_implicit_prelude]
    #![allow(dead_code, non_camel_case_types, reason = "in the way is all that they are")]

    mod core {}
    mod std {}
    struct Some;
    struct None;
    struct Option;
    struct drop;
    trait Arm {}
    trait Finish {}
    #[allow(unused_macros, reason = "as above")]
    macro_rules! unreachable {
        () => {};
    }

    type Answer = ::std::result::Result<u8, ::millpond::chan::RecvError>;

    pub fn both(rx: &::millpond::chan::Receiver<u8>, tx: &::millpond::chan::Sender<u8>) -> Answer {
        let on = true;
        ::millpond::select! {
            v = rx.recv(), if on => v,
            r = tx.send(2) => r.map(|()| 0).map_err(|_| ::millpond::chan::RecvError),
            _ = ::millpond::time::after(::std::time::Duration::MAX) => ::std::result::Result::Ok(9),
            default => ::std::result::Result::Ok(8),
        }
    }

    pub async fn later(rx: &::millpond::chan::Receiver<u8>) -> Answer {
        ::millpond::select_async! { v = rx.recv() => v }
    }
}

#[test]
fn what_the_surroundings_name_does_not_matter() {
    runtime(|| {
        let (tx, rx) = chan::bounded(1);
        assert_eq!(strange::both(&rx, &tx), Ok(0));
        assert_eq!(strange::both(&rx, &tx), Ok(2));
        tx.send(3).unwrap();
        assert_eq!(millpond::block_on(strange::later(&rx)), Ok(3));
    });
}

#[test]
fn the_users_names_are_the_users() {
    runtime(|| {
        let (arm0, arm1, selection, cx, won, value) = (1, 2, 3, 4, 5, 6);
        let (tx, rx) = chan::bounded(1);
        let sum = || arm0 + arm1 + selection + cx + won + value;
        let sent = millpond::select! {
            r = tx.send(arm0 + arm1 + selection + cx + won + value), if arm1 == 2 => (r, sum()),
            arm0 = rx.recv() => (arm0.map(drop).map_err(|_| unreachable!()), 0),
        };
        assert_eq!(sent, (Ok(()), 21));
        let arm1 = rx;
        let got = millpond::block_on(async {
            millpond::select_async! {
                arm0 = arm1.recv(), if cx == 4 => arm0.unwrap() + selection + cx,
                cx = tx.send(cx) => { cx.unwrap(); 0 }
            }
        });
        assert_eq!(got, 28);
    });
}

macro_rules! first_of {
    ($a:expr, $b:expr; $then:expr) => {
        millpond::select! {
            v = $a.recv() => ($then)(v.unwrap()),
            v = $b.recv() => ($then)(v.unwrap()),
        }
    };
    (send $tx:ident, $value:expr, $body:block) => {
        millpond::select! { _ = $tx.send($value) => $body }
    };
}

#[test]
fn other_macros_may_write_a_select() {
    runtime(|| {
        let (tx, rx) = chan::bounded(1);
        let (other, never) = (&rx.clone(), chan::bounded::<u8>(0));
        assert_eq!(first_of!(send tx, 1 + 2, { 7 }), 7);
        assert_eq!(first_of!(never.1, other; |v: u8| v + 1), 4);
        drop(never.0);
        let words = [millpond::select! { default => "to" }, {
            millpond::select! { _ = rx.recv(), if false => "", default => "be" }
        }];
        assert_eq!(words.concat(), "tobe");
    });
}

#[test]
fn control_flow_leaves_from_values_and_bodies() {
    fn question(tx: &chan::Sender<u8>, text: &str) -> Result<u8, std::num::ParseIntError> {
        'outer: loop {
            for round in 0u8.. {
                millpond::select! {
                    r = tx.send(match round {
                        0 => continue,
                        1 => text.parse()?,
                        2 => break 'outer Ok(2),
                        _ => return Ok(3),
                    }) => {
                        r.unwrap();
                        if text == "4" { break }
                    }
                }
            }
            if text == "4" {
                return Ok(0);
            }
        }
    }
    runtime(|| {
        let (tx, rx) = chan::bounded(1);
        assert!(question(&tx, "x").is_err());
        assert_eq!(question(&tx, "4"), Ok(0));
        assert_eq!(rx.recv(), Ok(4));
        // Every place that was won and not used is free again.
        assert_eq!(tx.try_send(9), Ok(()));
        assert_eq!(rx.recv(), Ok(9));
        let first = std::cell::Cell::new(true);
        let labelled = 'block: {
            millpond::select! {
                _ = tx.send(if first.replace(false) { break 'block 1 } else { 2 }) => 2,
            }
        };
        assert_eq!((labelled, rx.len()), (1, 0));
    });
}

#[test]
fn attributes_and_comments_stand_where_they_stand_in_a_match() {
    runtime(|| {
        let (tx, rx) = chan::bounded(1);
        tx.send(1).unwrap();
        let got = millpond::select! {
            // The one that there is.
            #[cfg(any())]
            v = rx.no_such_method() => v,
            /* and */
            #[cfg(all())]
            v = rx.recv() => { v }
            #[allow(unused_variables, reason = "what is tested")]
            unused = rx.recv(), if false => Ok(2),
        };
        assert_eq!(got, Ok(1));
    });
}
