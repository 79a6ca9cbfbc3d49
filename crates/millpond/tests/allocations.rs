//! What does not allocate: the operations that a service does all the time, once they are warm.
// The counter is a global allocator itself.
#![cfg(not(millpond_alloc))]

use allocation_counter::measure;
use millpond::time::{Ticker, after};
use millpond::{Context, chan, go_local, select};
use std::time::Duration;

/// Runs `body` as the first goroutine on one P, so that whatever it causes happens on its thread,
/// where allocations are counted.
fn on_one_p(body: fn()) {
    millpond::runtime::Builder::new().procs(1).private().run(body).expect("the runtime starts");
}

#[test]
fn a_select_of_eight_arms_that_parks_does_not_allocate() {
    on_one_p(|| {
        let (ping, pings) = chan::bounded(0);
        let (pong, pongs) = chan::bounded(0);
        let (_never, idle) = chan::bounded::<u32>(1);
        let (ctx, _cancel) = Context::background().with_cancel();
        let ticker = Ticker::new(Duration::from_secs(3600));
        let never = after(Duration::from_secs(3600));
        let mut other = go_local({
            let idle = idle.clone();
            move || idle.recv()
        });
        let echo = go_local(move || {
            for value in pings.iter() {
                if pong.send(value).is_err() {
                    break;
                }
            }
        });
        let mut rounds = |count: u32| {
            let (mut sent, mut got) = (0, 0);
            while got < count {
                select! {
                    r = ping.send(sent), if sent == got => { r.unwrap(); sent += 1 }
                    v = pongs.recv() => { assert_eq!(v, Ok(got)); got += 1 }
                    _ = idle.recv() => unreachable!("nobody sends"),
                    _ = idle.recv(), if false => unreachable!("it is off"),
                    _ = ctx.done() => unreachable!("nobody cancels"),
                    _ = ticker.tick() => unreachable!("an hour has not passed"),
                    _ = &never => unreachable!("an hour has not passed"),
                    _ = other.join() => unreachable!("it waits for ever"),
                }
            }
        };
        // Long enough for the timers that did not fire to have been swept out several times.
        rounds(2_000);
        let allocations = measure(|| rounds(1_000));
        assert_eq!(allocations.count_total, 0, "{allocations:?}");
        drop(ping);
        echo.join().unwrap();
    });
}
