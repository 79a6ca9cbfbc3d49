//! What loom shows of the order that this crate promises: the edges of `ORDERING.md`, one model each.
//!
//! Every model has a [`Word`]: one side writes it, then does the first half of the edge; the other
//! does the second half, then reads. Nothing else orders the two accesses: no join comes before the
//! read, each side keeps its handles until the end, and the pointer to the word is counted by `std`,
//! which loom does not see. So an edge that is missing is a race, and a race fails the model whatever
//! value is read.
//!
//! An operation that may find nothing to do (`try_recv`) reads the word only if it found something;
//! [`met`] then checks that some interleaving came to that. It also matters who comes first: loom
//! looks for a race with the last access to an atomic alone, so who only loads comes last.
//!
//! What is *not* an edge is shown by a [`Sign`], a relaxed atomic in the place of the word: some
//! interleaving must miss it. (A race would end the model in the middle, with waits on its stacks
//! that cannot be unwound.)

use crate::chan::{Receiver, RecvError, Sender, TryRecvError, TrySendError, bounded, unbounded};
use crate::{Mutex, Once, WaitGroup};
use loom::cell::UnsafeCell;
use loom::future::block_on;
use loom::sync::atomic::{AtomicU32, Ordering::Relaxed};
use loom::thread;
use millpond_rt::select::{Arm, Finish, Selection, select};
use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;

/// Written before, read after. Protected by the edge that a model is about, and by nothing else.
#[derive(Clone)]
struct Word(Arc<UnsafeCell<u32>>);

impl Word {
    fn new() -> Self {
        Self(Arc::new(UnsafeCell::new(0)))
    }

    fn write(&self) {
        // SAFETY: the edge orders this access with the others; without it loom fails the model.
        self.0.with_mut(|word| unsafe { *word = 1 });
    }

    fn read(&self) {
        // SAFETY: as in `write`.
        assert_eq!(self.0.with(|word| unsafe { *word }), 1, "the write is not seen");
    }
}

/// A word whose reader may come too early.
#[derive(Clone)]
struct Sign(Arc<AtomicU32>);

impl Sign {
    fn new() -> Self {
        Self(Arc::new(AtomicU32::new(0)))
    }

    fn write(&self) {
        self.0.store(1, Relaxed);
    }

    fn is_missed(&self) -> bool {
        self.0.load(Relaxed) == 0
    }
}

/// The guard of all models here: two accesses without an edge fail.
#[test]
#[should_panic(expected = "Causality violation")]
fn a_word_without_an_edge_fails_the_model() {
    loom::model(|| {
        let word = Word::new();
        let writer = word.clone();
        let _unordered = thread::spawn(move || writer.write());
        word.0.with(|word| word.is_null());
    });
}

type Pair = (Sender<()>, Receiver<()>);

/// A model whose operation may find nothing to do: `model` says whether it did this time. Some
/// interleaving must have.
fn met(model: impl Fn() -> bool + Sync + Send + 'static) {
    let times = Arc::new(AtomicUsize::new(0));
    let count = times.clone();
    loom::model(move || {
        count.fetch_add(usize::from(model()), Relaxed);
    });
    assert!(times.load(Relaxed) > 0, "no interleaving came to the edge");
}

/// A select of `arm` and of a receive that is never possible.
fn select_one(arm: &mut dyn Arm) {
    let (_idle_tx, idle_rx) = bounded::<()>(0);
    let mut idle = idle_rx.__select_recv();
    let arms: [&mut dyn Arm; 2] = [&mut idle, arm];
    assert_eq!(select(&mut { arms }), 1);
}

/// The same, polled.
fn select_one_async(arm: &mut dyn Arm) {
    let mut selection = Selection::new();
    let won = block_on(poll_fn(|cx| {
        let arms: [&mut dyn Arm; 1] = [&mut *arm];
        selection.poll(cx, &mut { arms })
    }));
    assert_eq!(won, 0);
}

fn send(tx: &Sender<()>) {
    tx.send(()).unwrap();
}

fn send_async(tx: &Sender<()>) {
    block_on(tx.send_async(())).unwrap();
}

fn recv(rx: &Receiver<()>) {
    rx.recv().unwrap();
}

fn recv_async(rx: &Receiver<()>) {
    block_on(rx.recv_async()).unwrap();
}

fn select_send(tx: &Sender<()>) {
    let mut arm = tx.__select_send();
    select_one(&mut arm);
    arm.finish(()).unwrap();
}

fn select_send_async(tx: &Sender<()>) {
    let mut arm = tx.__select_send();
    select_one_async(&mut arm);
    arm.finish(()).unwrap();
}

fn select_recv(rx: &Receiver<()>) {
    let mut arm = rx.__select_recv();
    select_one(&mut arm);
    arm.finish().unwrap();
}

fn select_recv_async(rx: &Receiver<()>) {
    let mut arm = rx.__select_recv();
    select_one_async(&mut arm);
    arm.finish().unwrap();
}

/// A send comes before the receive of its value completes.
fn send_before_recv(make: fn() -> Pair, send: fn(&Sender<()>), recv: fn(&Receiver<()>)) {
    loom::model(move || {
        let ((tx, rx), word) = (make(), Word::new());
        let writer = word.clone();
        let sender = thread::spawn(move || {
            writer.write();
            send(&tx);
            tx
        });
        recv(&rx);
        word.read();
        sender.join().unwrap();
    });
}

#[test]
fn a_send_to_a_rendezvous_comes_before_its_receive_completes() {
    send_before_recv(|| bounded(0), send, recv);
    send_before_recv(|| bounded(0), send_async, recv_async);
}

#[test]
fn a_send_to_a_buffer_comes_before_its_receive_completes() {
    send_before_recv(|| bounded(1), send, recv);
    send_before_recv(|| bounded(1), send_async, recv_async);
}

#[test]
fn a_send_to_an_unbounded_buffer_comes_before_its_receive_completes() {
    send_before_recv(unbounded, send, recv);
    send_before_recv(unbounded, send_async, recv_async);
}

/// Each side in a select, then both.
#[test]
fn a_send_comes_before_its_receive_completes_through_the_arms_of_a_select() {
    for make in [|| bounded(0), || bounded(1)] {
        send_before_recv(make, send, select_recv);
        send_before_recv(make, select_send, recv);
        send_before_recv(make, select_send, select_recv);
        send_before_recv(make, select_send_async, select_recv_async);
    }
}

/// The value of an arm is made after the arm has won; what making it does comes before the receive
/// too.
#[test]
fn what_the_value_of_a_send_arm_does_comes_before_its_receive_completes() {
    for make in [|| bounded(0), || bounded(1)] {
        for recv in [recv, recv_async, select_recv] {
            loom::model(move || {
                let ((tx, rx), word) = (make(), Word::new());
                let writer = word.clone();
                let sender = thread::spawn(move || {
                    let mut arm = tx.__select_send();
                    select_one(&mut arm);
                    writer.write();
                    arm.finish(()).unwrap();
                    tx
                });
                recv(&rx);
                word.read();
                sender.join().unwrap();
            });
        }
    }
}

#[test]
fn a_send_comes_before_a_try_recv_that_has_its_value() {
    for make in [|| bounded(0), || bounded(1), unbounded] {
        met(move || {
            let ((tx, rx), word) = (make(), Word::new());
            let writer = word.clone();
            let sender = thread::spawn(move || {
                writer.write();
                // A rendezvous that is not met is ended by the close below.
                let _ = tx.send(());
                tx
            });
            let got = rx.try_recv().is_ok();
            if got {
                word.read();
            }
            rx.close();
            sender.join().unwrap();
            got
        });
    }
}

/// The `capacity + 1`st send completes after the first receive has begun.
fn recv_before_send(capacity: usize, recv: fn(&Receiver<()>), send: fn(&Sender<()>)) {
    loom::model(move || {
        let ((tx, rx), word) = (bounded(capacity), Word::new());
        let writer = word.clone();
        let receiver = thread::spawn(move || {
            writer.write();
            recv(&rx);
            rx
        });
        (0..=capacity).for_each(|_| send(&tx));
        word.read();
        receiver.join().unwrap();
    });
}

#[test]
fn a_receive_comes_before_the_send_of_a_rendezvous_completes() {
    recv_before_send(0, recv, send);
    recv_before_send(0, recv_async, send_async);
}

#[test]
fn the_kth_receive_comes_before_the_send_that_needs_its_place_completes() {
    recv_before_send(1, recv, send);
    recv_before_send(1, recv_async, send_async);
    recv_before_send(2, recv, send);
}

#[test]
fn a_receive_comes_before_a_send_completes_through_the_arms_of_a_select() {
    for capacity in [0, 1] {
        recv_before_send(capacity, select_recv, send);
        recv_before_send(capacity, recv, select_send);
        recv_before_send(capacity, select_recv, select_send);
        recv_before_send(capacity, select_recv_async, select_send_async);
    }
}

/// Not only the first: `k` counts on.
#[test]
fn the_second_receive_comes_before_the_third_send_to_a_buffer_of_one() {
    loom::model(|| {
        let ((tx, rx), word) = (bounded(1), Word::new());
        let writer = word.clone();
        let receiver = thread::spawn(move || {
            recv(&rx);
            writer.write();
            recv(&rx);
            rx
        });
        (0..3).for_each(|_| send(&tx));
        word.read();
        receiver.join().unwrap();
    });
}

#[test]
fn a_receive_comes_before_a_try_send_to_a_rendezvous_that_succeeds() {
    met(|| {
        let ((tx, rx), word) = (bounded(0), Word::new());
        let writer = word.clone();
        let receiver = thread::spawn(move || {
            writer.write();
            let _ = rx.recv();
            rx
        });
        let sent = tx.try_send(()).is_ok();
        if sent {
            word.read();
        }
        tx.close();
        receiver.join().unwrap();
        sent
    });
}

/// `sends` sends to a channel of this capacity: whether the sender can miss what the receiver did
/// before it received.
fn recv_is_missed(capacity: usize, sends: usize) {
    met(move || {
        let ((tx, rx), sign) = (bounded(capacity), Sign::new());
        let writer = sign.clone();
        let receiver = thread::spawn(move || {
            writer.write();
            recv(&rx);
            rx
        });
        (0..sends).for_each(|_| send(&tx));
        let missed = sign.is_missed();
        receiver.join().unwrap();
        missed
    });
}

#[test]
fn a_send_into_a_buffer_is_not_ordered_after_its_own_receive() {
    recv_is_missed(1, 1);
}

#[test]
fn a_receive_is_not_ordered_before_a_send_that_does_not_need_its_place() {
    recv_is_missed(2, 2);
}

/// `close` ends a channel with an empty buffer.
fn close_before_recv(close: fn(Sender<()>), recv: fn(&Receiver<()>) -> Result<(), RecvError>) {
    loom::model(move || {
        let ((tx, rx), word) = (bounded(1), Word::new());
        let writer = word.clone();
        let closer = thread::spawn(move || {
            writer.write();
            close(tx);
        });
        assert_eq!(recv(&rx), Err(RecvError));
        word.read();
        closer.join().unwrap();
    });
}

#[test]
fn a_close_comes_before_a_receive_that_fails() {
    for close in [|tx: Sender<()>| tx.close(), |tx: Sender<()>| drop(tx)] {
        close_before_recv(close, Receiver::recv);
        close_before_recv(close, |rx| block_on(rx.recv_async()));
        close_before_recv(close, |rx| {
            let mut arm = rx.__select_recv();
            select_one(&mut arm);
            arm.finish()
        });
    }
}

/// From the receiving end.
#[test]
fn a_close_by_a_receiver_comes_before_another_one_fails() {
    loom::model(|| {
        let ((tx, rx), word) = (bounded::<()>(0), Word::new());
        let (other, writer) = (rx.clone(), word.clone());
        let closer = thread::spawn(move || {
            writer.write();
            other.close();
            other
        });
        assert_eq!(rx.recv(), Err(RecvError));
        word.read();
        closer.join().unwrap();
        drop(tx);
    });
}

#[test]
fn a_close_comes_before_a_try_recv_that_says_so() {
    met(|| {
        let ((tx, rx), word) = (bounded::<()>(1), Word::new());
        let writer = word.clone();
        let closer = thread::spawn(move || {
            writer.write();
            tx.close();
            tx
        });
        let closed = rx.try_recv() == Err(TryRecvError::Closed);
        if closed {
            word.read();
        }
        closer.join().unwrap();
        closed
    });
}

/// A channel on which a send waits: its buffer, if it has one, is full.
fn full(capacity: usize) -> Pair {
    let (tx, rx) = bounded(capacity);
    (0..capacity).for_each(|_| send(&tx));
    (tx, rx)
}

fn close_before_send(
    capacity: usize,
    close: fn(Receiver<()>),
    send_fails: fn(&Sender<()>) -> bool,
) {
    loom::model(move || {
        let ((tx, rx), word) = (full(capacity), Word::new());
        let writer = word.clone();
        let closer = thread::spawn(move || {
            writer.write();
            close(rx);
        });
        assert!(send_fails(&tx));
        word.read();
        closer.join().unwrap();
    });
}

#[test]
fn a_close_comes_before_a_send_that_fails() {
    for capacity in [0, 1] {
        for close in [|rx: Receiver<()>| rx.close(), |rx: Receiver<()>| drop(rx)] {
            close_before_send(capacity, close, |tx| tx.send(()).is_err());
            close_before_send(capacity, close, |tx| block_on(tx.send_async(())).is_err());
            close_before_send(capacity, close, |tx| {
                let mut arm = tx.__select_send();
                select_one(&mut arm);
                arm.finish(()).is_err()
            });
        }
    }
}

#[test]
fn a_close_comes_before_a_try_send_that_says_so() {
    met(|| {
        let ((tx, rx), word) = (bounded(1), Word::new());
        let writer = word.clone();
        let closer = thread::spawn(move || {
            writer.write();
            rx.close();
            rx
        });
        let closed = tx.try_send(()) == Err(TrySendError::Closed(()));
        if closed {
            word.read();
        }
        closer.join().unwrap();
        closed
    });
}

#[test]
fn a_close_comes_before_an_is_closed_that_says_so() {
    met(|| {
        let ((tx, rx), word) = (bounded::<()>(1), Word::new());
        let writer = word.clone();
        let closer = thread::spawn(move || {
            writer.write();
            tx.close();
            tx
        });
        let closed = rx.is_closed();
        if closed {
            word.read();
        }
        closer.join().unwrap();
        closed
    });
}

/// No edge leads to a close: who closes learns nothing of those who wait.
#[test]
fn a_close_is_not_ordered_after_a_receive_that_it_fails() {
    met(|| {
        let ((tx, rx), sign) = (bounded::<()>(1), Sign::new());
        let writer = sign.clone();
        let receiver = thread::spawn(move || {
            writer.write();
            assert!(rx.recv().is_err());
            rx
        });
        tx.close();
        let missed = sign.is_missed();
        receiver.join().unwrap();
        missed
    });
}

/// An unlock comes before the lock that follows: the value says that the other came first.
fn unlock_before_lock(lock: fn(&Mutex<bool>) -> Option<bool>) {
    met(move || {
        let (mutex, word) = (Arc::new(Mutex::new(false)), Word::new());
        let (theirs, writer) = (mutex.clone(), word.clone());
        let first = thread::spawn(move || {
            let mut guard = theirs.lock();
            writer.write();
            *guard = true;
            drop(guard);
            theirs
        });
        let second = lock(&mutex) == Some(true);
        if second {
            word.read();
        }
        first.join().unwrap();
        second
    });
}

#[test]
fn an_unlock_comes_before_the_next_lock() {
    unlock_before_lock(|mutex| Some(*mutex.lock()));
    unlock_before_lock(|mutex| block_on(async { Some(*mutex.lock_async().await) }));
    unlock_before_lock(|mutex| mutex.try_lock().map(|guard| *guard));
}

#[test]
fn an_initialiser_comes_before_every_return_of_call_once() {
    loom::model(|| {
        let (once, word) = (Arc::new(Once::new()), Word::new());
        let others: Vec<_> = (0..2)
            .map(|_| {
                let (once, word) = (once.clone(), word.clone());
                thread::spawn(move || {
                    once.call_once(|| word.write());
                    word.read();
                })
            })
            .collect();
        once.call_once(|| word.write());
        word.read();
        others.into_iter().for_each(|other| other.join().unwrap());
    });
}

#[test]
fn an_initialiser_comes_before_an_is_completed_that_says_so() {
    met(|| {
        let (once, word) = (Arc::new(Once::new()), Word::new());
        let (theirs, reader) = (once.clone(), word.clone());
        let looker = thread::spawn(move || {
            let completed = theirs.is_completed();
            if completed {
                reader.read();
            }
            completed
        });
        once.call_once(|| word.write());
        looker.join().unwrap()
    });
}

/// Both members' writes are seen, by a thread and by a future that wait.
#[test]
fn every_done_comes_before_the_end_of_a_wait() {
    for wait in [WaitGroup::wait, |group: &WaitGroup| block_on(group.wait_async())] {
        loom::model(move || {
            let (group, words) = (WaitGroup::new(), [Word::new(), Word::new()]);
            group.add(2);
            let members = words.clone().map(|word| {
                let group = group.clone();
                thread::spawn(move || {
                    word.write();
                    group.done();
                    group
                })
            });
            wait(&group);
            words.iter().for_each(Word::read);
            members.into_iter().for_each(|member| drop(member.join().unwrap()));
        });
    }
}
