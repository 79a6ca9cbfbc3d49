//! Where goroutines of a test wait: they park until the test lets them go.

use millpond_rt::wait::{Ticket, WaitReason, Waiting};
use std::hint::black_box;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

/// Many goroutines wait here until it is opened.
#[derive(Clone, Default)]
pub struct Gate(Arc<(AtomicBool, Mutex<Vec<Ticket>>)>);

impl Gate {
    /// Parks until the gate is open. A frame of its own, which backtraces of those that wait show.
    #[inline(never)]
    pub fn wait_here(&self) {
        let waiting = Waiting::begin();
        let mut tickets = self.0.1.lock().unwrap();
        if self.0.0.load(Ordering::SeqCst) {
            drop(tickets);
            waiting.cancel();
            return;
        }
        tickets.push(waiting.ticket());
        drop(tickets);
        waiting.park(WaitReason::Barrier, None);
        black_box(self);
    }

    /// How many wait.
    #[allow(dead_code, reason = "not every test program counts")]
    pub fn waiting(&self) -> usize {
        self.0.1.lock().unwrap().len()
    }

    /// Lets all go, and everybody who comes later pass.
    pub fn open(&self) {
        self.0.0.store(true, Ordering::SeqCst);
        let tickets = std::mem::take(&mut *self.0.1.lock().unwrap());
        for ticket in tickets {
            ticket.fire(0);
        }
    }
}
