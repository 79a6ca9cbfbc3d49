//! Signals as messages. One test: signals are the process's.

mod common;

use millpond_net::signal::{self, SIGINT, SIGTERM, SIGUSR1, SIGUSR2};
use std::io::ErrorKind;
use std::time::Duration;

fn raise(signal: i32) {
    signal_hook::low_level::raise(signal).unwrap();
}

#[test]
fn signals_arrive_as_messages() {
    let signals = signal::notify(&[SIGUSR1, SIGUSR2, SIGUSR1]).unwrap();
    let others = signal::notify(&[SIGUSR2]).unwrap();
    assert_eq!(signals.try_recv().unwrap(), None);
    assert_eq!(signals.recv_timeout(Duration::from_millis(1)).unwrap(), None);

    raise(SIGUSR2);
    raise(SIGUSR1);
    raise(SIGUSR1);
    let mut got = [signals.recv().unwrap(), signals.recv().unwrap()];
    got.sort_unstable();
    assert_eq!(got, [SIGUSR1, SIGUSR2]);
    assert_eq!(signals.try_recv().unwrap(), None, "the same signal counts once");
    assert_eq!(others.recv().unwrap(), SIGUSR2);

    for _ in 0..200 {
        std::thread::scope(|scope| {
            scope.spawn(|| raise(SIGUSR1));
            assert_eq!(signals.recv().unwrap(), SIGUSR1);
        });
        std::thread::scope(|scope| {
            scope.spawn(|| raise(SIGUSR1));
            assert_eq!(common::block_on(signals.recv_async()).unwrap(), SIGUSR1);
        });
    }
    raise(SIGUSR1);
    assert_eq!(signals.iter().next(), Some(SIGUSR1));

    drop((signals, others));
    raise(SIGUSR1);
    for bad in [&[][..], &[9], &[11], &[12345], &[SIGINT, SIGTERM, -1]] {
        let error = signal::notify(bad).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput, "{error}");
    }
    // Subscriptions leave nothing behind.
    let before = common::open_descriptors();
    for _ in 0..100 {
        drop(signal::notify(&[SIGUSR1, SIGUSR2]).unwrap());
        signal::notify(&[SIGUSR1, 9]).unwrap_err();
    }
    assert_eq!(common::open_descriptors(), before);
}
