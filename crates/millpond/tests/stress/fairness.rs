//! Nobody starves: neither behind two that talk for ever, nor behind one that never waits.

use crate::harness::{Run, Table, as_main, as_main_with};
use crate::table;
use millpond::chan::{self, Receiver, Sender};
use millpond::net::{UdpSocket, UnixStream};
use millpond::{go, spawn, yield_now};
use std::io::{Read, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

pub const TESTS: Table = table![
    two_that_talk_for_ever_starve_nobody,
    one_whose_channel_is_never_empty_yields,
    one_whose_socket_is_never_empty_yields,
    one_whose_mutex_is_never_taken_yields,
    one_that_starts_others_for_ever_starves_nobody,
    a_task_that_is_always_ready_starves_nobody,
    tasks_that_wake_each_other_starve_no_goroutine,
    goroutines_that_yield_get_turns_alike,
];

pub const SCENARIOS: Table = table![
    ping_pong,
    full_channel,
    full_socket,
    free_mutex,
    fork_for_ever,
    ready_task,
    talking_tasks,
    turns,
];

/// Everybody is done within this, or starves.
const PATIENCE: Duration = Duration::from_secs(120);

/// Runs `greedy`, on one P, until a goroutine, a timer, a socket and a plain thread's goroutine
/// have had their turns beside it.
fn beside(greedy: impl FnOnce(Arc<AtomicBool>) + Send + 'static) {
    as_main_with(1, || {
        let began = Instant::now();
        let stop = Arc::new(AtomicBool::new(false));
        greedy(stop.clone());
        let third = go(|| (0..200).for_each(|_| yield_now()));
        let sleeper = go(|| (0..10).for_each(|_| millpond::time::sleep(Duration::from_millis(2))));
        let task = spawn(async {
            for _ in 0..10 {
                millpond::time::sleep_async(Duration::from_millis(2)).await;
            }
        });
        let (mut near, mut far) = UnixStream::pair().unwrap();
        let echo = go(move || {
            let mut byte = [0];
            while far.read(&mut byte).unwrap() == 1 {
                far.write_all(&byte).unwrap();
            }
        });
        let caller = go(move || {
            for i in 0..50 {
                near.write_all(&[i]).unwrap();
                let mut byte = [0];
                near.read_exact(&mut byte).unwrap();
                assert_eq!(byte, [i]);
            }
        });
        let outsider =
            millpond::blocking(|| std::thread::spawn(|| go(|| 5).join().unwrap()).join().unwrap());
        assert_eq!(outsider, 5);
        for handle in [third, sleeper, task, echo, caller] {
            handle.join().unwrap();
        }
        stop.store(true, Ordering::Relaxed);
        println!("everybody had turns within {:?}", began.elapsed());
        assert!(began.elapsed() < PATIENCE, "{:?}", began.elapsed());
    });
}

fn talk(tx: Sender<u64>, rx: Receiver<u64>) {
    while let Ok(n) = rx.recv() {
        if tx.send(n + 1).is_err() {
            return;
        }
    }
}

fn ping_pong() {
    beside(|_| {
        let (to_a, from_b) = chan::bounded(0);
        let (to_b, from_a) = chan::bounded(0);
        let start = to_a.clone();
        drop(go(move || talk(to_b, from_b)));
        drop(go(move || talk(to_a, from_a)));
        drop(go(move || start.send(0)));
    });
}

fn two_that_talk_for_ever_starve_nobody() {
    Run::of("ping_pong").passes();
}

fn full_channel() {
    beside(|stop| {
        drop(go(move || {
            let (tx, rx) = chan::bounded(4);
            while !stop.load(Ordering::Relaxed) {
                tx.send(1).unwrap();
                tx.try_send(2).unwrap();
                assert_eq!((rx.recv(), rx.try_recv()), (Ok(1), Ok(2)));
            }
        }));
    });
}

fn one_whose_channel_is_never_empty_yields() {
    Run::of("full_channel").passes();
}

fn full_socket() {
    beside(|stop| {
        drop(go(move || {
            let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
            socket.connect(socket.local_addr().unwrap()).unwrap();
            let mut byte = [0];
            while !stop.load(Ordering::Relaxed) {
                socket.send(&[7]).unwrap();
                assert_eq!((socket.recv(&mut byte).unwrap(), byte), (1, [7]));
            }
        }));
    });
}

fn one_whose_socket_is_never_empty_yields() {
    Run::of("full_socket").passes();
}

fn free_mutex() {
    beside(|stop| {
        drop(go(move || {
            let mutex = millpond::sync::Mutex::new(0u64);
            while !stop.load(Ordering::Relaxed) {
                *mutex.lock() += 1;
            }
        }));
    });
}

fn one_whose_mutex_is_never_taken_yields() {
    Run::of("free_mutex").passes();
}

fn fork_for_ever() {
    beside(|stop| {
        fn child(stop: Arc<AtomicBool>) {
            if !stop.load(Ordering::Relaxed) {
                drop(go(move || child(stop)));
            }
        }
        drop(go(move || child(stop)));
    });
}

fn one_that_starts_others_for_ever_starves_nobody() {
    Run::of("fork_for_ever").passes();
}

fn ready_task() {
    beside(|stop| {
        let (tx, rx) = chan::bounded(4);
        drop(spawn(async move {
            while !stop.load(Ordering::Relaxed) {
                tx.send_async(1).await.unwrap();
                rx.recv_async().await.unwrap();
            }
        }));
    });
}

fn a_task_that_is_always_ready_starves_nobody() {
    Run::of("ready_task").passes();
}

fn talking_tasks() {
    beside(|stop| {
        let (to_a, from_b) = chan::bounded(0);
        let (to_b, from_a) = chan::bounded(0);
        let start = to_a.clone();
        for (tx, rx) in [(to_b, from_b), (to_a, from_a)] {
            let stop = stop.clone();
            drop(spawn(async move {
                while let Ok(n) = rx.recv_async().await {
                    if stop.load(Ordering::Relaxed) || tx.send_async(n + 1u64).await.is_err() {
                        return;
                    }
                }
            }));
        }
        drop(spawn(async move { start.send_async(0).await }));
    });
}

fn tasks_that_wake_each_other_starve_no_goroutine() {
    Run::of("talking_tasks").passes();
}

fn turns() {
    as_main(|| {
        let stop = Arc::new(AtomicBool::new(false));
        let handles: Vec<_> = (0..50)
            .map(|_| {
                let stop = stop.clone();
                millpond::go_local(move || {
                    let mut turns = 0u32;
                    while !stop.load(Ordering::Relaxed) {
                        turns += 1;
                        yield_now();
                    }
                    turns
                })
            })
            .collect();
        (0..2_000).for_each(|_| yield_now());
        stop.store(true, Ordering::Relaxed);
        let turns: Vec<_> = handles.into_iter().map(|handle| handle.join().unwrap()).collect();
        let (least, most) = (turns.iter().min().unwrap(), turns.iter().max().unwrap());
        println!("{least} to {most} turns");
        assert!(*least >= 1_900 && *most <= 2_100, "{turns:?}");
    });
}

fn goroutines_that_yield_get_turns_alike() {
    Run::of("turns").passes();
}
