//! The wait word: one atomic that decides who ends a wait, and when the waiter may run again.
//!
//! Everything that blocks in Millpond blocks on one of these. A wait has one owner (the goroutine,
//! thread or task that waits) and any number of parties that may end it: a sender, a timer, a
//! `close`, a cancelled context, each holding the wait's sequence number. Two questions must have
//! exactly one answer each: *which* party ended the wait (the others must not think that they
//! did), and *when* the waiter may be resumed (never while it is still on its stack).
//!
//! ```text
//!   bits 63..16: seq       48 bits: which wait this is. A party from an earlier wait fails.
//!   bits 15..2 : outcome   what the winner had to say; meaningful in FIRED
//!   bits  1..0 : state
//!
//!   IDLE ──arm──▶ ARMED ──commit──▶ PARKED
//!    ▲              │ claim            │ claim  (claim: the winner must resume the waiter)
//!    │              ▼                  ▼
//!    └──finish──  FIRED  ◀─────────────┘
//!    ▲
//!    └──disarm── ARMED
//! ```
//!
//! | transition | by | when |
//! |---|---|---|
//! | arm    | owner | it is about to publish itself in a queue |
//! | commit | owner's scheduler, **after** the switch away | nobody claimed yet; else the owner goes on at once |
//! | claim  | anyone with the sequence number | once: compare-and-swap, the first wins |
//! | finish | owner | it runs again and reads the outcome |
//! | disarm | owner | it does not want to wait after all |
//!
//! A claim of ARMED does *not* resume: the owner has not left its stack, and its commit will fail
//! and send it on. A claim of PARKED must resume it. So "park commits after the switch" is the
//! difference between two states of one word, and no lock is held across a switch.
//!
//! 48 bits of sequence: at ten million waits a second, one year before a number returns, while a
//! stale party (a cancelled timer not yet swept) would have to have slept through all of it.
//!
//! Rejected: a token as in `std::thread::park` (spurious wake-ups, so every primitive loops and
//! `select` cannot tell which arm won); a pointer to a record on the waiter's stack (a stack at
//! rest must not be touched by other threads).

use millpond_prim::sync::atomic::{AtomicU64, Ordering};

const IDLE: u64 = 0;
const ARMED: u64 = 1;
const PARKED: u64 = 2;
const FIRED: u64 = 3;
const STATE: u64 = 3;
const OUTCOME_SHIFT: u32 = 2;
const OUTCOME_MAX: u16 = (1 << 14) - 1;
const SEQ_SHIFT: u32 = 16;

/// The wait word. See the module documentation for its states.
#[derive(Debug)]
pub(crate) struct WaitWord(AtomicU64);

/// What a successful [`WaitWord::claim`] obliges the winner to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Claimed {
    /// The waiter had not left yet; its commit will fail. Nothing to do.
    BeforePark,
    /// The waiter is parked: the winner, and nobody else, must resume it.
    Parked,
}

impl WaitWord {
    #[cfg(not(loom))]
    pub(crate) const fn new() -> Self {
        Self(AtomicU64::new(IDLE))
    }

    #[cfg(loom)]
    pub(crate) fn new() -> Self {
        Self(AtomicU64::new(IDLE))
    }

    /// Owner: begins a wait and returns its sequence number.
    #[inline]
    pub(crate) fn arm(&self) -> u64 {
        let old = self.0.load(Ordering::Relaxed);
        if old & STATE != IDLE {
            armed_already();
        }
        let seq = (old >> SEQ_SHIFT).wrapping_add(1);
        // Relaxed: parties learn the number through the queue that the ticket is put in, and
        // that queue's lock orders this store before their claim.
        self.0.store((seq << SEQ_SHIFT) | ARMED, Ordering::Relaxed);
        seq & (u64::MAX >> SEQ_SHIFT)
    }

    /// Owner's scheduler, after the switch: `true` if the waiter is now parked, `false` if it was
    /// claimed meanwhile and must go on at once.
    #[inline]
    pub(crate) fn commit(&self, seq: u64) -> bool {
        let armed = (seq << SEQ_SHIFT) | ARMED;
        let parked = (seq << SEQ_SHIFT) | PARKED;
        // Release: whoever claims from PARKED sees everything the waiter wrote before it left.
        self.0.compare_exchange(armed, parked, Ordering::Release, Ordering::Relaxed).is_ok()
    }

    /// Anyone: ends wait `seq` with `outcome`, if nobody has.
    #[inline]
    pub(crate) fn claim(&self, seq: u64, outcome: u16) -> Option<Claimed> {
        debug_assert!(outcome <= OUTCOME_MAX);
        let fired = (seq << SEQ_SHIFT) | (u64::from(outcome) << OUTCOME_SHIFT) | FIRED;
        let mut now = self.0.load(Ordering::Relaxed);
        loop {
            let state = Self::open_state(now, seq)?;
            // Release: the waiter's finish sees what the winner wrote before claiming.
            // Acquire: the winner sees what the waiter wrote before it parked.
            match self.0.compare_exchange_weak(now, fired, Ordering::AcqRel, Ordering::Relaxed) {
                Ok(_) if state == PARKED => return Some(Claimed::Parked),
                Ok(_) => return Some(Claimed::BeforePark),
                Err(seen) => now = seen,
            }
        }
    }

    /// Holder of the lock of the line that the owner is in: ends the wait with which it joined, if it
    /// was not withdrawn. That is the one that the word is at, so no number is needed.
    #[inline]
    pub(crate) fn claim_current(&self, outcome: u16) -> Option<Claimed> {
        let mut now = self.0.load(Ordering::Relaxed);
        loop {
            let state = now & STATE;
            if !matches!(state, ARMED | PARKED) {
                return None;
            }
            let fired = now | (u64::from(outcome) << OUTCOME_SHIFT) | FIRED;
            // As in `claim`.
            match self.0.compare_exchange_weak(now, fired, Ordering::AcqRel, Ordering::Relaxed) {
                Ok(_) if state == PARKED => return Some(Claimed::Parked),
                Ok(_) => return Some(Claimed::BeforePark),
                Err(seen) => now = seen,
            }
        }
    }

    /// As [`claim_current`](Self::claim_current), if the owner is parked. On `true` the caller must resume it.
    #[cfg(not(loom))]
    #[inline(always)]
    pub(crate) fn claim_parked(&self, outcome: u16) -> bool {
        let now = self.0.load(Ordering::Relaxed);
        let fired = now | (u64::from(outcome) << OUTCOME_SHIFT) | FIRED;
        // As in `claim`.
        now & STATE == PARKED
            && self.0.compare_exchange(now, fired, Ordering::AcqRel, Ordering::Relaxed).is_ok()
    }

    /// Whether wait `seq` can still be claimed. A hint: the answer may be old.
    #[inline]
    pub(crate) fn is_open(&self, seq: u64) -> bool {
        Self::open_state(self.0.load(Ordering::Relaxed), seq).is_some()
    }

    /// The state, if wait `seq` can be claimed in it. The outcome is 0 then, so what is left of the
    /// word without the number is the state.
    #[inline]
    fn open_state(now: u64, seq: u64) -> Option<u64> {
        let state = now ^ (seq << SEQ_SHIFT);
        matches!(state, ARMED | PARKED).then_some(state)
    }

    /// Owner: whether no wait is under way.
    #[cfg(not(loom))]
    pub(crate) fn is_idle(&self) -> bool {
        self.0.load(Ordering::Relaxed) & STATE == IDLE
    }

    /// Whether the waiter is parked and nobody has claimed. For the deadlock report.
    #[cfg(not(loom))]
    pub(crate) fn is_parked(&self) -> bool {
        self.0.load(Ordering::SeqCst) & STATE == PARKED
    }

    /// Owner: the outcome if the wait has been claimed.
    #[inline]
    pub(crate) fn outcome(&self) -> Option<u16> {
        let now = self.0.load(Ordering::Acquire);
        (now & STATE == FIRED).then_some(((now >> OUTCOME_SHIFT) as u16) & OUTCOME_MAX)
    }

    /// Owner: reads the outcome of a claimed wait and makes the word ready for the next.
    #[inline]
    pub(crate) fn finish(&self) -> u16 {
        let outcome = self.outcome().expect("finish: the wait has not been claimed");
        self.0.store(self.0.load(Ordering::Relaxed) & !0xFFFF, Ordering::Relaxed);
        outcome
    }

    /// Owner, not parked or woken for another reason: withdraws. `Some(outcome)` if a party was
    /// faster; what it handed over is then the owner's to use or pass on.
    #[inline]
    pub(crate) fn disarm(&self) -> Option<u16> {
        let mut now = self.0.load(Ordering::Relaxed);
        loop {
            match now & STATE {
                IDLE => return None,
                FIRED => return Some(self.finish()),
                _ => {}
            }
            let idle = now & !0xFFFF;
            match self.0.compare_exchange_weak(now, idle, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => return None,
                Err(seen) => now = seen,
            }
        }
    }
}

#[cold]
#[inline(never)]
fn armed_already() -> ! {
    panic!(
        "a wait is already under way: was one forgotten, or begun by what runs in the middle of it?"
    )
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn a_party_of_an_earlier_wait_fails() {
        let word = WaitWord::new();
        let first = word.arm();
        assert_eq!(word.disarm(), None);
        let second = word.arm();
        assert_ne!(first, second);
        assert_eq!(word.claim(first, 1), None);
        assert_eq!(word.claim(second, 2), Some(Claimed::BeforePark));
        assert!(!word.commit(second));
        assert_eq!(word.finish(), 2);
    }

    #[test]
    fn the_first_claim_wins_and_the_outcome_is_kept_whole() {
        let word = WaitWord::new();
        let seq = word.arm();
        assert!(word.commit(seq));
        assert_eq!(word.claim(seq, OUTCOME_MAX), Some(Claimed::Parked));
        assert_eq!(word.claim(seq, 1), None);
        assert_eq!(word.finish(), OUTCOME_MAX);
        assert_eq!(word.disarm(), None);
    }
}

#[cfg(all(test, loom))]
mod models {
    use super::*;
    use loom::cell::UnsafeCell;
    use loom::sync::Arc;
    use loom::thread;

    /// Two parties race to end one wait while the scheduler commits: exactly one wins, what it
    /// wrote is visible, and exactly one of {commit failed, winner must resume} holds.
    #[test]
    fn one_winner_and_one_resume() {
        loom::model(|| {
            let word = Arc::new(WaitWord::new());
            let data = Arc::new([UnsafeCell::new(0u32), UnsafeCell::new(0u32)]);
            let seq = word.arm();
            let parties: Vec<_> = (0..2usize)
                .map(|i| {
                    let (word, data) = (word.clone(), data.clone());
                    thread::spawn(move || {
                        // SAFETY: each party writes its own cell, and the owner reads only the
                        // winner's, after the claim.
                        data[i].with_mut(|p| unsafe { *p = 7 });
                        word.claim(seq, i as u16)
                    })
                })
                .collect();
            let parked = word.commit(seq);
            let claims: Vec<_> = parties.into_iter().map(|t| t.join().unwrap()).collect();
            let winners: Vec<_> = claims.iter().flatten().collect();
            assert_eq!(winners.len(), 1, "exactly one party ends the wait");
            let must_resume = *winners[0] == Claimed::Parked;
            assert_eq!(parked, must_resume, "resumed by the commit or by the winner, not both");
            let outcome = word.finish() as usize;
            assert!(claims[outcome].is_some());
            // SAFETY: the winner's write happens before our finish.
            data[outcome].with(|p| assert_eq!(unsafe { *p }, 7));
        });
    }

    /// A withdrawal races with a claim: either nothing was handed over, or the owner learns of it.
    #[test]
    fn disarm_against_claim_loses_nothing() {
        loom::model(|| {
            let word = Arc::new(WaitWord::new());
            let seq = word.arm();
            let party = {
                let word = word.clone();
                thread::spawn(move || word.claim(seq, 5).is_some())
            };
            let got = word.disarm();
            let claimed = party.join().unwrap();
            assert_eq!(got.is_some(), claimed);
            assert!(got.is_none_or(|outcome| outcome == 5));
        });
    }
}
