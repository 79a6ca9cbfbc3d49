//! loom: the central list of a class, with real frees from other threads: no block and no span is lost, none is in
//! two places, and each span goes to the page heap once, and not before everybody has let go of it.
//!
//! The code is that of `central` and of `remote`; only what they stand on is smaller ([`parts`](super::parts)).
//!
//! A model that cannot fail shows nothing, so each says which changes of the code make it fail; what several
//! models find stands at one or two of them. Whoever changes the protocol tries them again. Without any of the
//! following the models still hold, and so does the code: the look at the owner in `free` (`last_block` looks
//! again, under the lock), disarming a span that goes into the list (its next push tells what nobody waits for),
//! and the orders of
//! `Remote::settle` and `is_owed`, which stand under the lock of a class or belong to one thread. `cache` is not
//! compiled here: its walks are copies, in `parts`. And no model shows what the lock of `take_inbox` is for.

use super::parts::{BLOCKS, Cache, Span, State};
use super::{CENTRAL, free, last_block, release_holes};
use loom::thread;
use millpond_prim::sync::atomic::Ordering::Relaxed;

/// What a model works with, at addresses that stay until it is over.
#[derive(Clone, Copy)]
struct World {
    span: &'static Span,
    cache: &'static Cache,
}

impl World {
    /// A span of which so many blocks are in use, and none is free; the cache owns it.
    fn new(used: u32) -> Self {
        let world = Self {
            span: Box::leak(Box::new(Span::new(used))),
            cache: Box::leak(Box::new(Cache::new())),
        };
        world.cache.adopt(world.span);
        world
    }

    /// As before, and the cache has set it aside as full.
    fn owned(used: u32) -> Self {
        let world = Self::new(used);
        world.cache.set_aside(world.span);
        world
    }

    /// As before, but the cache's thread has ended.
    fn left_behind(used: u32) -> Self {
        let world = Self::owned(used);
        world.cache.surrender(true);
        world
    }

    /// Another thread that frees blocks.
    fn freeing(self, blocks: &'static [usize]) -> thread::JoinHandle<()> {
        thread::spawn(move || blocks.iter().for_each(|&block| free(self.span, block)))
    }

    fn is_gone(self) -> bool {
        self.span.state() == State::Gone
    }

    /// Another span of the same cache, of which one block is in use.
    fn and_another(self) -> Self {
        let span: &Span = Box::leak(Box::new(Span::new(1)));
        self.cache.adopt(span);
        self.cache.set_aside(span);
        Self { span, ..self }
    }

    /// The second of two worlds ends.
    fn end_of_another(self) {
        assert!(self.is_gone() && !self.span.remote.is_owed());
        // SAFETY: leaked in `and_another`, and the threads that had the address have ended.
        unsafe { drop(Box::from_raw(std::ptr::from_ref(self.span).cast_mut())) };
    }

    /// All threads have ended: nothing is left over, and nobody owes anything.
    fn end(self) {
        let (bin, span) = (&self.cache.bins[0], self.span);
        assert!(!span.remote.is_owed(), "a debt was forgotten");
        assert!(bin.inbox.load(Relaxed).is_null());
        let central = CENTRAL[0].lock().len();
        match span.state() {
            State::Gone => assert_eq!((central, bin.owned.len(), bin.partial.len()), (0, 0, 0)),
            State::Central => assert_eq!((central, bin.owned.len(), bin.partial.len()), (1, 0, 0)),
            State::Partial => assert_eq!((central, bin.owned.len(), bin.partial.len()), (0, 1, 1)),
            State::Full => assert_eq!((central, bin.owned.len(), bin.partial.len()), (0, 1, 0)),
            State::Alone => assert_eq!((central, bin.owned.len(), bin.partial.len()), (0, 0, 0)),
        }
        // SAFETY: leaked in `owned`, and the threads that had the addresses have ended.
        unsafe {
            drop(Box::from_raw(std::ptr::from_ref(self.span).cast_mut()));
            drop(Box::from_raw(self.cache.address()));
        }
    }
}

/// The owner's thread ends, or its cache is given up, while two others free all that is in use.
///
/// Fails when: `gather` has no fence, or looks only once; a push has none, or looks at owner and number before and
/// not after; the owner is cleared after the last look at the list; a span is given back without a look at debts,
/// in `settle_down`, in `give_back_if_empty` or in `release_holes`; a push notes no debt, loses one, or a collection
/// does; `owed` leaves a span in the list to itself.
#[test]
fn the_last_blocks_come_while_the_owner_gives_the_span_up() {
    loom::model(|| {
        let world = World::owned(2);
        let others = [world.freeing(&[0]), world.freeing(&[1])];
        world.cache.surrender(true);
        release_holes(0);
        others.into_iter().for_each(|other| other.join().unwrap());
        assert!(world.is_gone(), "nobody has seen that it was the last");
        world.end();
    });
}

/// The same with one thread that frees one block after the other, so that its second comes after its message.
///
/// Fails when: `owed` or `surrender` does not settle, does not hold the lock, or lets go of it in between; `owed`
/// asks for the owner before it has the lock; `surrender` leaves the inbox; `free` asks for the class after the push.
#[test]
fn one_after_the_other_comes_while_the_owner_gives_the_span_up() {
    loom::model(|| {
        let world = World::owned(3);
        let other = world.freeing(&[0, 1, 2]);
        world.cache.surrender(true);
        other.join().unwrap();
        assert!(world.is_gone(), "nobody has seen that it was the last");
        world.end();
    });
}

/// A span that was never set aside, because it was the current one, is given up without room.
///
/// Fails when: `settle_down` does not arm it.
#[test]
fn a_span_without_room_is_told_of_when_it_has_no_owner() {
    loom::model(|| {
        let world = World::new(2);
        world.cache.bins[0].partial.push_front(world.span);
        let others = [world.freeing(&[0]), world.freeing(&[1])];
        world.cache.surrender(false);
        others.into_iter().for_each(|other| other.join().unwrap());
        assert!(world.is_gone(), "nobody has seen that it was the last");
        world.end();
    });
}

/// The owner frees what it has of the span and would retire it, while another has freed the rest and owes a message.
///
/// Fails when: `retire` does not look at debts.
#[test]
fn the_last_block_comes_from_elsewhere_while_the_owner_retires_the_span() {
    loom::model(|| {
        let world = World::owned(2);
        let other = world.freeing(&[0]);
        world.cache.give(world.span, 1);
        world.cache.bring_home(world.span);
        world.cache.open_inbox();
        other.join().unwrap();
        world.cache.open_inbox();
        // Not gone if the block came after both looks: then it is in the list of a span with room.
        world.cache.surrender(false);
        assert!(world.is_gone());
        world.end();
    });
}

/// A block comes while the owner sets the span aside as full: the owner sees it, or is told of it.
///
/// Fails when: a list that is not empty is armed.
#[test]
fn a_block_that_comes_while_its_span_is_set_aside_is_not_overlooked() {
    loom::model(|| {
        let world = World::new(2);
        let other = world.freeing(&[0]);
        world.cache.set_aside(world.span);
        other.join().unwrap();
        world.cache.open_inbox();
        assert_eq!(world.span.state(), State::Partial);
        world.end();
    });
}

/// What a message is about has come home already, and the span is full again, when the next block comes: one
/// message is on its way at any time, however many have been asked for.
///
/// Fails when: a list is armed while somebody owes a message.
#[test]
fn a_span_fills_up_again_while_a_message_about_it_is_on_its_way() {
    loom::model(|| {
        let world = World::owned(3);
        let others = [world.freeing(&[0]), world.freeing(&[1])];
        world.cache.give(world.span, 2);
        let taken = world.cache.use_up_partial();
        others.into_iter().for_each(|other| other.join().unwrap());
        world.cache.open_inbox();
        world.span.absorb();
        assert_eq!(world.span.used.load(Relaxed), taken);
        assert_eq!(world.span.state() == State::Partial, taken < 3, "room is not overlooked");
        world.end();
    });
}

/// Messages about two spans come while the owner looks into its inbox: it gets each of them, once.
#[test]
fn messages_come_while_the_owner_opens_its_inbox() {
    loom::model(|| {
        let world = World::owned(1);
        let another = world.and_another();
        let others = [world.freeing(&[0]), another.freeing(&[0])];
        world.cache.open_inbox();
        others.into_iter().for_each(|other| other.join().unwrap());
        world.cache.open_inbox();
        assert!(world.is_gone());
        another.end_of_another();
        world.end();
    });
}

/// The scavenger takes what a sleeping cache has room in, while the message about a full span is on its way: it
/// stays with the cache, or goes, and the message is never for somebody who has gone.
///
/// Fails when: `owed` or `surrender` does not hold the lock, or `surrender` does not settle.
#[test]
fn a_message_finds_the_span_s_owner_or_that_it_has_none() {
    loom::model(|| {
        let world = World::owned(2);
        let other = world.freeing(&[0]);
        world.cache.surrender(false);
        other.join().unwrap();
        world.cache.open_inbox();
        let owned = world.cache.bins[0].owned.len();
        let place = if owned == 1 { State::Partial } else { State::Central };
        assert_eq!(world.span.state(), place, "it has room, and is where that is looked for");
        assert_eq!(world.span.used.load(Relaxed), 1);
        world.end();
    });
}

/// A cache fetches a span from the central list and uses it up while another thread frees the rest of it.
///
/// Fails when: `last_block` does not look at the state; `fetch` sets no owner, or after it has unlocked; a list is
/// armed by a load and a store.
#[test]
fn a_span_is_fetched_while_its_last_blocks_come() {
    loom::model(|| {
        let world = World::left_behind(BLOCKS as u32);
        free(world.span, 0);
        assert_eq!(world.span.state(), State::Central);
        let other = world.freeing(&[1, 2]);
        let taken = world.cache.fetch().map_or(0, |span| world.cache.use_up(span));
        other.join().unwrap();
        world.cache.open_inbox();
        assert_eq!(world.is_gone(), taken == 0, "it is used again, or given back");
        if taken > 0 {
            world.span.absorb();
            assert_eq!(world.span.used.load(Relaxed), taken);
            assert_eq!(world.span.state() == State::Partial, taken < 3, "room is not overlooked");
        }
        world.end();
    });
}

/// The scavenger looks for holes in a span without an owner while two threads free the rest of it.
///
/// Fails when: `release_holes` brings home what was freed without the second look of `gather`.
#[test]
fn the_last_blocks_come_while_the_scavenger_looks_for_holes() {
    loom::model(|| {
        let world = World::left_behind(BLOCKS as u32);
        free(world.span, 0);
        let others = [world.freeing(&[1]), world.freeing(&[2])];
        release_holes(0);
        others.into_iter().for_each(|other| other.join().unwrap());
        assert!(world.is_gone(), "nobody has seen that it was the last");
        world.end();
    });
}

/// A thread has freed the last block of a span without an owner and is on its way to say so, while the record goes
/// through two more lives: a span of another class without an owner, and one of its own class in a cache.
///
/// Fails when: `last_block` asks for the state and for the class one after the other.
#[test]
fn a_record_has_two_more_lives_while_a_last_block_is_on_its_way() {
    loom::model(|| {
        let world = World::left_behind(2);
        free(world.span, 0);
        // The last block, whose thread has yet to come by.
        assert!(!world.span.push_remote(1).owes);
        release_holes(0);
        assert!(world.is_gone());
        world.span.set_up(1, 0);
        world.span.set_state(State::Central);
        CENTRAL[1].lock().push_front(world.span);
        let late = thread::spawn(move || last_block(world.span, 0));
        release_holes(1);
        world.span.set_up(0, 1);
        world.cache.adopt(world.span);
        world.cache.set_aside(world.span);
        late.join().unwrap();
        assert_eq!(world.span.state(), State::Full, "it was taken from its cache");
        world.end();
    });
}
