//! Fresh work that its M leaves to another one for a moment.
//!
//! Usually an M starts at once what it has made: who talks is then together, and what ends soon is
//! gone before a thief could look. Goroutines that *yield* are another case. They have work of
//! their own, need nobody, and would share one processor for ever if they had been started in the
//! same microsecond. So when one yields while several wait for their first run, and another M has
//! nothing to do, the M *offers* them: thieves need no patience ([`super::search`]), and it runs
//! what it has started already until they have come.
//!
//! 1. `yield_now` sees fresh work: [`CurrentM::offer`] calls somebody.
//! 2. `pick` takes started work only, while the offer stands ([`CurrentM::offers`]).
//! 3. It ends when nothing is left, when for [`BUSY_LOOKS`] turns no processor had nothing to do (one look
//!    may fall between a search and a sleep), or after [`OFFER_NS`]. Then there is no other one before the
//!    ring has been empty: whoever did not come will not come soon.
//!
//! One piece is no reason for an offer: a loop that yields until the goroutine that it has started is
//! done would wait for a thread to wake up.

use super::CurrentM;

/// How long an offer stands. To wake a thread takes about half of it at worst.
const OFFER_NS: u64 = 250_000;

/// Turns in a row at which all processors were busy, after which it ends.
const BUSY_LOOKS: u32 = 64;

/// While an offer stands, the thread calls again and steps aside once in so many turns: the kernel often
/// puts the one that was called behind the one that called it, on the same processor, where it would come
/// milliseconds late.
const ASIDE_TURNS: u32 = 32;

/// Fewer pieces are not offered.
const OFFER_PIECES: u32 = 2;

/// What an M remembers of its offer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Offer {
    /// There is none.
    None,
    /// It stands since then, on the exact clock; so many looks in a row found all processors busy, of so
    /// many turns.
    Stands { since_ns: u64, busy: u32, turns: u32 },
    /// It has ended, and the ring has not been empty since.
    Over,
}

impl CurrentM {
    /// The running goroutine yields of its own accord.
    #[inline]
    pub(super) fn offer(&self) {
        let offer = &self.local().offer;
        if self.p.ring.len() == 0 {
            if offer.get() == Offer::Over {
                offer.set(Offer::None);
            }
        } else if offer.get() == Offer::None {
            self.begin_offer();
        }
    }

    #[cold]
    fn begin_offer(&self) {
        let sched = self.sched();
        let few = self.p.ring.len() < OFFER_PIECES;
        if few || sched.procs() == 1 || !self.p.has_licence() || sched.is_discouraged() {
            return;
        }
        self.local().offer.set(Offer::Stands {
            since_ns: crate::clock::now_ns(),
            busy: 0,
            turns: 0,
        });
        self.p.set_offered(true);
        sched.recruit();
    }

    /// Whether fresh work is left to others for now.
    #[inline]
    pub(super) fn offers(&self) -> bool {
        match self.local().offer.get() {
            Offer::Stands { since_ns, busy, turns } => self.still_offers(since_ns, busy, turns + 1),
            _ => false,
        }
    }

    #[cold]
    fn still_offers(&self, since_ns: u64, busy: u32, turns: u32) -> bool {
        let sched = self.sched();
        let busy = if sched.anybody_idle() { 0 } else { busy + 1 };
        let late = crate::clock::now_ns().saturating_sub(since_ns) >= OFFER_NS;
        if late || busy >= BUSY_LOOKS || self.p.ring.len() == 0 || !self.local().has_ready() {
            self.p.set_offered(false);
            self.local().offer.set(Offer::Over);
            return false;
        }
        self.local().offer.set(Offer::Stands { since_ns, busy, turns });
        if turns.is_multiple_of(ASIDE_TURNS) {
            sched.recruit();
            std::thread::yield_now();
        }
        true
    }
}
