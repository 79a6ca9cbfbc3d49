//! Stacks at rest and children of `fork`: those that a goroutine starts to run a program, and those that go on.

use millpond_rt::wait::{Ticket, WaitReason, Waiting};
use millpond_rt::{Builder, go, rest_stats, time};
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

const COUNT: usize = 100;

/// Goroutines that are at rest, each with a word on its stack.
struct Sleepers {
    tickets: Arc<Mutex<Vec<Ticket>>>,
    words: Arc<Mutex<Vec<usize>>>,
    handles: Vec<millpond_rt::JoinHandle<u64>>,
}

impl Sleepers {
    fn at_rest() -> Self {
        let (tickets, words) =
            (Arc::<Mutex<Vec<Ticket>>>::default(), Arc::<Mutex<Vec<_>>>::default());
        let start = |_| {
            let (tickets, words) = (tickets.clone(), words.clone());
            go(move || {
                let word = AtomicU64::new(1000);
                words.lock().unwrap().push(&raw const word as usize);
                let waiting = Waiting::begin();
                tickets.lock().unwrap().push(waiting.ticket());
                waiting.park(WaitReason::Barrier, None);
                word.load(Ordering::SeqCst)
            })
        };
        let before = rest_stats().resting;
        let handles = (0..COUNT).map(start).collect();
        while rest_stats().resting < before + COUNT {
            time::sleep(Duration::from_millis(1));
        }
        Self { tickets, words, handles }
    }

    /// Wakes them; each has its word as it was.
    fn end(self) {
        self.tickets.lock().unwrap().drain(..).for_each(|ticket| assert!(ticket.fire(0)));
        for handle in self.handles {
            assert_eq!(handle.join().unwrap(), 1000);
        }
    }
}

fn run(body: impl FnOnce() + Send + 'static) {
    static TURN: Mutex<()> = Mutex::new(());
    let _turn = TURN.lock().unwrap_or_else(|poison| poison.into_inner());
    let eager = Builder::new().procs(2).warm_stacks(0).rest_after(Duration::ZERO);
    eager.private().run(body).expect("the runtime starts");
}

#[test]
fn a_goroutine_starts_programs_while_stacks_rest() {
    run(|| {
        let sleepers = Sleepers::at_rest();
        let programs: Vec<_> = (0..8)
            .map(|number| {
                go(move || {
                    let mut command = Command::new("/bin/sh");
                    command.args(["-c", "exit $0", &number.to_string()]);
                    if number % 2 == 0 {
                        // The other road: a copy of the process in place of a shared one.
                        // SAFETY: does nothing.
                        unsafe { command.pre_exec(|| Ok(())) };
                    }
                    command.status().unwrap().code()
                })
            })
            .collect();
        for (number, program) in programs.into_iter().enumerate() {
            assert_eq!(program.join().unwrap(), Some(number as i32));
        }
        assert_eq!(rest_stats().foreign_wakes, 0);
        sleepers.end();
    });
}

#[test]
fn a_child_that_goes_on_in_a_goroutine_has_its_own_stack_and_those_at_rest() {
    run(|| {
        let sleepers = Sleepers::at_rest();
        let words: Vec<usize> = sleepers.words.lock().unwrap().clone();
        let resting = rest_stats().resting;
        let forks = go(move || {
            let own = std::hint::black_box([AtomicUsize::new(3), AtomicUsize::new(4)]);
            // SAFETY: the child touches memory of its own, allocates, and ends; it parks nowhere.
            let child = unsafe { libc::fork() };
            if child == 0 {
                own[0].fetch_add(1, Ordering::SeqCst);
                let sums: Vec<u64> = words
                    .iter()
                    // SAFETY: words on stacks of goroutines that nobody resumes in the child.
                    .map(|&at| unsafe { AtomicU64::from_ptr(at as *mut u64) })
                    .map(|word| word.fetch_add(7, Ordering::SeqCst) + word.load(Ordering::SeqCst))
                    .collect();
                let right =
                    sums.iter().all(|&sum| sum == 2007) && own[0].load(Ordering::SeqCst) == 4;
                // SAFETY: ends the child.
                unsafe { libc::_exit(if right { 0 } else { 1 }) };
            }
            assert!(child > 0);
            let mut status = 0;
            // SAFETY: a child of this process, and a local to write to.
            assert_eq!(unsafe { libc::waitpid(child, &raw mut status, 0) }, child);
            assert_eq!(status, 0, "the child did not find everything");
            own[0].load(Ordering::SeqCst)
        });
        assert_eq!(forks.join().unwrap(), 3);
        assert!(rest_stats().resting >= resting, "the parent's came back too");
        sleepers.end();
    });
}
