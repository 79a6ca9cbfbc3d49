//! Everybody is asleep, and somebody outside may still wake one: no deadlock is reported.
//!
//! Each scenario stands still for [`A_WHILE`], many times what it takes to report a deadlock, and
//! is then woken by the one party that the test is about.

use crate::harness::{Run, Table, as_main};
use crate::table;
use millpond::chan;
use millpond::net::{TcpListener, UdpSocket, UnixListener, signal};
use millpond::{go, spawn};
use std::sync::Arc;
use std::time::Duration;

pub const TESTS: Table = table![
    a_plain_thread_that_holds_a_sender_may_wake_somebody,
    a_plain_thread_that_holds_a_handle_s_result_may_wake_somebody,
    a_plain_thread_that_holds_a_waker_may_wake_somebody,
    a_timer_will_wake_somebody,
    a_timer_of_a_task_will_wake_somebody,
    a_listener_may_wake_somebody,
    a_datagram_may_wake_somebody,
    a_blocking_job_will_wake_somebody,
    a_signal_may_wake_somebody,
    a_goroutine_that_blocks_its_thread_may_wake_somebody,
    a_plain_thread_that_waits_with_a_limit_goes_on,
];

pub const SCENARIOS: Table = table![
    sender_in_a_thread,
    mutex_in_a_thread,
    waker_in_a_thread,
    timer,
    timer_of_a_task,
    listener,
    datagram,
    job,
    subscription,
    blocked_thread,
    limited_thread,
    knock_on_tcp,
    knock_on_udp,
    knock_by_signal,
];

const A_WHILE: Duration = Duration::from_millis(250);
const ADDRESS: &str = "MILLPOND_TEST_ADDRESS";

fn goes_on(scenario: &str) {
    let ended = Run::of(scenario).passes();
    ended.says_not("deadlock");
    assert!(ended.stdout.contains("woken"), "{ended}");
    assert!(ended.took >= A_WHILE, "it stood still: {ended}");
}

/// The scenario is time passing, so it may sleep.
fn stand_still() {
    std::thread::sleep(A_WHILE);
}

fn sender_in_a_thread() {
    as_main(|| {
        let (tx, rx) = chan::bounded(0);
        std::thread::spawn(move || {
            stand_still();
            tx.send("woken").unwrap();
        });
        println!("{}", rx.recv().unwrap());
    });
}

fn a_plain_thread_that_holds_a_sender_may_wake_somebody() {
    goes_on("sender_in_a_thread");
}

fn mutex_in_a_thread() {
    as_main(|| {
        let mutex = Arc::new(millpond::sync::Mutex::new("woken"));
        let (locked, is_locked) = chan::bounded(1);
        let theirs = mutex.clone();
        std::thread::spawn(move || {
            let _guard = theirs.lock();
            locked.send(()).unwrap();
            stand_still();
        });
        is_locked.recv().unwrap();
        println!("{}", mutex.lock());
    });
}

fn a_plain_thread_that_holds_a_handle_s_result_may_wake_somebody() {
    goes_on("mutex_in_a_thread");
}

fn waker_in_a_thread() {
    as_main(|| {
        let mut polled = false;
        let task = spawn(std::future::poll_fn(move |cx| {
            if std::mem::replace(&mut polled, true) {
                return std::task::Poll::Ready("woken");
            }
            let waker = cx.waker().clone();
            std::thread::spawn(move || {
                stand_still();
                waker.wake();
            });
            std::task::Poll::Pending
        }));
        println!("{}", task.join().unwrap());
    });
}

fn a_plain_thread_that_holds_a_waker_may_wake_somebody() {
    goes_on("waker_in_a_thread");
}

fn timer() {
    as_main(|| {
        let (tx, rx) = chan::bounded(0);
        go(move || {
            millpond::time::sleep(A_WHILE);
            tx.send("woken").unwrap();
        });
        println!("{}", rx.recv().unwrap());
    });
}

fn a_timer_will_wake_somebody() {
    goes_on("timer");
}

fn timer_of_a_task() {
    as_main(|| {
        spawn(millpond::time::sleep_async(A_WHILE)).join().unwrap();
        println!("woken");
    });
}

fn a_timer_of_a_task_will_wake_somebody() {
    goes_on("timer_of_a_task");
}

fn listener() {
    as_main(|| {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let mut child = Run::of("knock_on_tcp").env(ADDRESS, &address).start();
        listener.accept().unwrap();
        println!("woken");
        child.wait().unwrap();
        // And a socket that nobody will ever knock at keeps the peace as well.
        let path = std::env::temp_dir().join(format!("millpond-{}.sock", std::process::id()));
        let quiet = UnixListener::bind(&path).unwrap();
        go(move || quiet.accept());
        millpond::time::sleep(Duration::from_millis(1));
        std::fs::remove_file(path).unwrap();
    });
}

fn knock_on_tcp() {
    stand_still();
    std::net::TcpStream::connect(std::env::var(ADDRESS).unwrap()).unwrap();
}

fn a_listener_may_wake_somebody() {
    goes_on("listener");
}

fn datagram() {
    as_main(|| {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let address = socket.local_addr().unwrap().to_string();
        let mut child = Run::of("knock_on_udp").env(ADDRESS, &address).start();
        let task = spawn(async move {
            let mut text = [0; 16];
            let (length, _) = socket.recv_from_async(&mut text).await.unwrap();
            String::from_utf8_lossy(&text[..length]).into_owned()
        });
        println!("{}", task.join().unwrap());
        child.wait().unwrap();
    });
}

fn knock_on_udp() {
    stand_still();
    let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.send_to(b"woken", std::env::var(ADDRESS).unwrap()).unwrap();
}

fn a_datagram_may_wake_somebody() {
    goes_on("datagram");
}

fn job() {
    as_main(|| {
        millpond::blocking(stand_still);
        println!("woken");
    });
}

fn a_blocking_job_will_wake_somebody() {
    goes_on("job");
}

fn subscription() {
    as_main(|| {
        let signals = signal::notify(&[signal::SIGUSR1]).unwrap();
        let mut child = Run::of("knock_by_signal").start();
        assert_eq!(signals.recv().unwrap(), signal::SIGUSR1);
        println!("woken");
        child.wait().unwrap();
    });
}

fn knock_by_signal() {
    stand_still();
    // SAFETY: plain system calls; the parent waits for this process, so its number is its own.
    assert_eq!(unsafe { libc::kill(libc::getppid(), libc::SIGUSR1) }, 0);
}

fn a_signal_may_wake_somebody() {
    goes_on("subscription");
}

fn blocked_thread() {
    as_main(|| {
        let (tx, rx) = chan::bounded(0);
        go(move || {
            stand_still();
            tx.send("woken").unwrap();
        });
        println!("{}", rx.recv().unwrap());
    });
}

fn a_goroutine_that_blocks_its_thread_may_wake_somebody() {
    goes_on("blocked_thread");
}

fn limited_thread() {
    as_main(|| {
        let (tx, rx) = chan::bounded::<()>(0);
        let (wake, woken) = chan::bounded(1);
        std::thread::spawn(move || {
            assert!(rx.recv_timeout(A_WHILE).is_err());
            wake.send("woken").unwrap();
        });
        println!("{}", woken.recv().unwrap());
        drop(tx);
    });
}

fn a_plain_thread_that_waits_with_a_limit_goes_on() {
    goes_on("limited_thread");
}
