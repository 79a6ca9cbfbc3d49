//! Channels and locks for goroutines, tasks and plain threads.
//!
//! | to | take |
//! |---|---|
//! | pass values on, wait for the first of several | [`chan`] |
//! | change shared state, in short steps | [`Mutex`]; [`Condvar`] to wait until it is as needed |
//! | read it mostly, sometimes change it in place | [`RwLock`] |
//! | read it all the time, seldom replace it as a whole | [`Snapshot`] |
//! | set it once, by whoever needs it first | [`OnceCell`]; [`Once`] for a step without a value |
//! | limit how many do something at once | [`Semaphore`]; [`pool::Workers`] with a queue of jobs |
//! | wait until a group has finished | [`WaitGroup`]; a `scope` if it may borrow |
//! | wait for one another at each step | [`Barrier`] |
//! | use buffers again | [`Pool`]; [`pool::BlockPool`] for bytes |
//!
//! Locks have no poison: one whose holder panicked is unlocked. Guards may be held across a wait, of
//! course at the cost of who waits for them.
//!
//! # How it is built
//! Everything here works from three kinds of caller and asks none of them which it is: a goroutine
//! parks, a task registers its waker, a plain thread blocks. That is [`millpond_rt::wait`]'s work.
//! What this crate adds is always the same shape, and it is worth reading once:
//!
//! ```text
//! primitive = a word or a small lock that decides   +   a WaitList under that lock
//!
//! waiter                                    waker
//!  1. lock; not possible now                 1. lock; take the longest waiting entry whose
//!  2. begin a wait, push its ticket             ticket can still be claimed
//!  3. unlock; park                           2. put into the entry what is handed over
//!  4. lock; remove the entry,                3. unlock; ready the waiter
//!     look at what it holds; unlock
//! ```
//!
//! An entry belongs to its waiter from push to remove; it is in the primitive, never on the
//! waiter's stack. No code of a user runs under a lock of this crate: values are moved there,
//! never dropped, cloned or compared.
//!
//! | module | what |
//! |---|---|
//! | [`chan`] | channels: rendezvous, bounded, unbounded |
//! | `mutex` | [`Mutex`], its guard and its future |
//! | `rwlock` | [`RwLock`], its guards and its futures |
//! | `condvar` | [`Condvar`]: waiting, with a mutex unlocked, to be notified |
//! | `semaphore` | [`Semaphore`] and its permits |
//! | `waitgroup` | [`WaitGroup`] |
//! | `once` | [`Once`] |
//! | `once_cell` | [`OnceCell`]: a value that is set once |
//! | `barrier` | [`Barrier`] |
//! | [`pool`] | [`Pool`], blocks of bytes, workers |
//! | `snapshot` | [`Snapshot`]: what is read all the time and replaced now and then |
//! | `wait_list` | the queue of waiters that all of them use |
//! | `edges` | models of the order that all of them promise; the table is `ORDERING.md` |
//! | `until` | limits of a wait: a time, a context, turned into a deadline only when somebody really waits |

mod barrier;
pub mod chan;
mod condvar;
#[cfg(all(test, loom))]
mod edges;
mod mutex;
mod once;
mod once_cell;
pub mod pool;
mod rwlock;
mod semaphore;
#[cfg(not(loom))]
mod snapshot;
mod until;
mod wait_list;
mod waitgroup;

#[cfg(all(test, loom))]
mod models;
#[cfg(all(test, not(loom)))]
mod tests;

pub use barrier::{Barrier, BarrierWaitFuture, BarrierWaitResult};
pub use condvar::{Condvar, CondvarWaitFuture, WaitTimeoutResult};
pub use mutex::{LockFuture, Mutex, MutexGuard};
pub use once::Once;
pub use once_cell::{OnceCell, OnceCellWaitFuture};
#[cfg(not(loom))]
pub use pool::{Pool, PoolGuard};
pub use rwlock::{ReadFuture, RwLock, RwLockReadGuard, RwLockWriteGuard, WriteFuture};
pub use semaphore::{
    AcquireCtxError, AcquireError, AcquireFuture, AcquireOwnedFuture, AcquireTimeoutError,
    OwnedSemaphorePermit, Semaphore, SemaphorePermit, TryAcquireError,
};
#[cfg(not(loom))]
pub use snapshot::{Cached, Snapshot, SnapshotGuard};
pub use waitgroup::{WaitFuture, WaitGroup};
