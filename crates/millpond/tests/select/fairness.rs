//! Of several arms that are possible, each wins as often as the others.

use crate::callers::from_each;
use millpond::chan::{self, Select};
use millpond::{go, select};

const ROUNDS: usize = 10_000;

/// Ten standard deviations around the mean of `ROUNDS` draws with chance `1 / arms`.
fn assert_fair(wins: &[usize]) {
    let (n, p) = (ROUNDS as f64, 1.0 / wins.len() as f64);
    let slack = 10.0 * (n * p * (1.0 - p)).sqrt();
    for won in wins {
        assert!((*won as f64 - n * p).abs() < slack, "{wins:?}");
    }
}

#[test]
fn arms_that_stay_possible_win_equally_often() {
    from_each(|| {
        let channels: Vec<_> = (0..4).map(|_| chan::bounded(1)).collect();
        for (tx, _) in &channels {
            tx.send(()).unwrap();
        }
        let mut wins = [0; 4];
        for _ in 0..ROUNDS {
            let won = select! {
                _ = channels[0].1.recv() => 0,
                _ = channels[1].1.recv() => 1,
                _ = channels[2].1.recv() => 2,
                _ = channels[3].1.recv() => 3,
            };
            wins[won] += 1;
            channels[won].0.send(()).unwrap();
        }
        assert_fair(&wins);
    });
}

#[test]
fn an_arm_after_idle_ones_is_not_favoured() {
    from_each(|| {
        let (first_tx, first) = chan::bounded::<()>(1);
        let (_idle_tx, idle) = chan::bounded::<()>(1);
        let (last_tx, last) = chan::bounded::<()>(1);
        first_tx.close();
        last_tx.close();
        let mut wins = [0; 2];
        for _ in 0..ROUNDS {
            select! {
                _ = first.recv() => wins[0] += 1,
                _ = idle.recv() => unreachable!("nobody sends"),
                _ = idle.recv() => unreachable!("nobody sends"),
                _ = last.recv() => wins[1] += 1,
            }
        }
        assert_fair(&wins);
    });
}

#[test]
fn the_arms_of_a_dynamic_select_win_equally_often() {
    from_each(|| {
        let channels: Vec<_> = (0..10).map(|_| chan::bounded::<()>(1)).collect();
        channels.iter().for_each(|(tx, _)| tx.close());
        let mut wins = [0; 10];
        let mut select = Select::new();
        for (number, (_, rx)) in channels.iter().enumerate() {
            select.recv(rx, move |_| number);
        }
        for _ in 0..ROUNDS {
            wins[select.wait()] += 1;
        }
        assert_fair(&wins);
    });
}

/// Go's `TestSelectFairness`: two producers that are always ready, a consumer that selects.
#[test]
fn two_busy_producers_are_both_heard() {
    from_each(|| {
        let produce = |value: u8| {
            let (tx, rx) = chan::bounded(0);
            go(move || while tx.send(value).is_ok() {});
            rx
        };
        let (a, b) = (produce(0), produce(1));
        let mut heard = [0usize; 2];
        while heard.iter().any(|times| *times < 1_000) {
            let value = select! { v = a.recv() => v, v = b.recv() => v }.unwrap();
            heard[usize::from(value)] += 1;
        }
        // Producers meet the consumer as the scheduler has it; neither may be all but deaf.
        let (less, more) = (heard.iter().min().unwrap(), heard.iter().max().unwrap());
        assert!(*more < 100 * *less, "{heard:?}");
    });
}
