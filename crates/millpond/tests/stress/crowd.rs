//! Many at once: parked on channels, and started from many plain threads.

use crate::harness::{Run, Table, as_main, most_stacks, until_parked};
use crate::table;
use millpond::debug::WaitReason;
use millpond::{chan, go, spawn};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

pub const TESTS: Table = table![
    a_hundred_thousand_park_and_are_woken,
    a_hundred_thousand_on_one_channel_get_one_value_each,
    a_hundred_thousand_tasks_wait_and_are_woken,
    plain_threads_start_and_join_all_at_once,
    stacks_that_run_out_are_an_answer_and_not_the_end,
];

pub const SCENARIOS: Table =
    table![own_channels, one_channel, waiting_tasks, plain_threads, stacks_run_out];

fn crowd() -> u64 {
    100_000.min(most_stacks()) as u64
}

fn own_channels() {
    as_main(|| {
        let count = crowd();
        let parked: Vec<_> = (0..count)
            .map(|_| {
                let (tx, rx) = chan::bounded::<u64>(0);
                (tx, go(move || rx.recv().unwrap()))
            })
            .collect();
        until_parked(count as usize, WaitReason::ChanRecv);
        let mut sum = 0;
        for (i, (tx, handle)) in (0..).zip(parked) {
            tx.send(i).unwrap();
            sum += handle.join().unwrap();
        }
        assert_eq!(sum, count * (count - 1) / 2);
    });
}

fn a_hundred_thousand_park_and_are_woken() {
    Run::of("own_channels").passes();
}

fn one_channel() {
    as_main(|| {
        let count = crowd();
        let (tx, rx) = chan::bounded::<u64>(0);
        let sum = Arc::new(AtomicU64::new(0));
        let group = millpond::sync::WaitGroup::new();
        for _ in 0..count {
            let (rx, sum, group) = (rx.clone(), sum.clone(), group.clone());
            group.add(1);
            drop(go(move || {
                sum.fetch_add(rx.recv().unwrap(), Ordering::Relaxed);
                group.done();
            }));
        }
        until_parked(count as usize, WaitReason::ChanRecv);
        // Half from here, half from a plain thread.
        let theirs = tx.clone();
        let thread = std::thread::spawn(move || {
            (0..count / 2).for_each(|i| theirs.send(i).unwrap());
        });
        (count / 2..count).for_each(|i| tx.send(i).unwrap());
        group.wait();
        thread.join().unwrap();
        assert_eq!(sum.load(Ordering::Relaxed), count * (count - 1) / 2);
        assert_eq!(rx.len(), 0);
    });
}

fn a_hundred_thousand_on_one_channel_get_one_value_each() {
    Run::of("one_channel").passes();
}

fn waiting_tasks() {
    as_main(|| {
        let tasks: Vec<_> = (0..100_000u64)
            .map(|_| {
                let (tx, rx) = chan::bounded::<u64>(1);
                (tx, spawn(async move { rx.recv_async().await.unwrap() }))
            })
            .collect();
        let mut sum = 0;
        for (i, (tx, task)) in (0..).zip(tasks) {
            tx.send(i).unwrap();
            sum += task.join().unwrap();
        }
        assert_eq!(sum, 4_999_950_000);
    });
}

fn a_hundred_thousand_tasks_wait_and_are_woken() {
    Run::of("waiting_tasks").passes();
}

/// No `main` goroutine here: the runtime is the one in the background.
fn plain_threads() {
    let threads: Vec<_> = (0..16u64)
        .map(|t| {
            std::thread::spawn(move || {
                let mut sum = 0;
                for round in 0..20 {
                    let parts: Vec<_> = (0..50).map(|i| go(move || t + round + i)).collect();
                    let tasks: Vec<_> = (0..10).map(|i| spawn(async move { i })).collect();
                    sum += parts.into_iter().map(|part| part.join().unwrap()).sum::<u64>();
                    sum += tasks.into_iter().map(|task| task.join().unwrap()).sum::<u64>();
                }
                sum
            })
        })
        .collect();
    for (t, thread) in (0..).zip(threads) {
        // 50 parts of each of 20 rounds hold t, the round's number and their own; then the tasks.
        let expected = 20 * 50 * t + 50 * 190 + 20 * 1_225 + 20 * 45;
        assert_eq!(thread.join().unwrap(), expected);
    }
}

fn plain_threads_start_and_join_all_at_once() {
    Run::of("plain_threads").passes();
}

/// More than the one guard mode with a limit allows.
fn stacks_run_out() {
    as_main(|| {
        let (tx, rx) = chan::bounded::<()>(0);
        let handles: Vec<_> = (0..70_000)
            .map(|_| {
                let rx = rx.clone();
                millpond::Builder::new().stack_size(16 << 10).go(move || rx.recv().is_err())
            })
            .collect();
        drop(rx);
        while !handles.iter().any(|handle| handle.is_finished()) {
            millpond::time::sleep(std::time::Duration::from_millis(1));
        }
        drop(tx);
        let (mut ended, mut refused) = (0, 0);
        for handle in handles {
            match handle.join() {
                Ok(closed) => ended += usize::from(closed),
                Err(error) => {
                    assert!(error.is_cancelled() && error.to_string().contains("max_map_count"));
                    refused += 1;
                }
            }
        }
        println!("{ended} ended, {refused} refused");
        assert!(ended > 10_000 && refused > 0 && ended + refused == 70_000);
        assert!(go(|| true).join().unwrap(), "there are stacks again");
    });
}

fn stacks_that_run_out_are_an_answer_and_not_the_end() {
    let limit = std::fs::read_to_string("/proc/sys/vm/max_map_count").unwrap();
    if limit.trim().parse::<usize>().unwrap() > 65_530 {
        return println!("skipped: vm.max_map_count is not the default");
    }
    let ended = Run::of("stacks_run_out").env("MILLPOND_GUARD", "mprotect").passes();
    ended.says(&["a goroutine got no stack and was not started", "vm.max_map_count"]);
    assert!(ended.stderr.lines().count() < 20, "once a second: {ended}");
}
