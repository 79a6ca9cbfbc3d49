//! Settings of a pool, before it is one.
//!
//! What can only be said at the start stands here: hooks, how many are kept, how many may exist.
//! Nothing of it changes later, so gets and gives read it without a lock.

use super::bound::Bound;
use super::core::{AtBound, Core};
use super::handle::{Hooks, Make, OwnedBytes, Pool, Reset, Shared};
use super::life::Life;
use super::shards::Shards;
use millpond_rt::Context;
use std::fmt;

/// How many idle values a pool keeps unless told.
const MAX_IDLE: usize = 1024;

/// More shards than this do not spread further.
const MAX_SHARDS: usize = 128;

/// Settings of a [`Pool`]. From [`Pool::builder`].
///
/// ```
/// # mod millpond { pub use millpond_rt::{*, GoBuilder as Builder}; pub use millpond_sync::{self as sync, chan}; }
/// use millpond::sync::Pool;
/// use millpond::sync::pool::AtBound;
///
/// let lines = Pool::builder(|| String::with_capacity(80))
///     .reset(|line| {
///         line.clear();
///         line.capacity() <= 4096 // one that has grown too large is dropped
///     })
///     .max_idle(64)
///     .bound(100, AtBound::Wait)
///     .build();
/// lines.get().push_str("hello");
/// assert_eq!(*lines.get(), "");
/// ```
pub struct PoolBuilder<T> {
    make: Make<T>,
    reset: Option<Reset<T>>,
    owned_bytes: Option<OwnedBytes<T>>,
    max_idle: usize,
    bound: Option<(usize, AtBound)>,
    context: Option<Context>,
}

impl<T: Send + 'static> PoolBuilder<T> {
    pub(super) fn new(make: impl Fn() -> T + Send + Sync + 'static) -> Self {
        let make = Box::new(make);
        Self {
            make,
            reset: None,
            owned_bytes: None,
            max_idle: MAX_IDLE,
            bound: None,
            context: None,
        }
    }

    /// Runs when a value goes back, in the goroutine that gives it, and makes it clean. If it
    /// returns `false` or panics, the value is dropped; the panic goes no further than its message.
    pub fn reset(mut self, reset: impl Fn(&mut T) -> bool + Send + Sync + 'static) -> Self {
        self.reset = Some(Box::new(reset));
        self
    }

    /// Says how many bytes a value owns beyond its own `size_of`: of a buffer its capacity. It runs when a value
    /// goes back to be idle, after the reset, in the goroutine that gives it; one that panics counts as 0.
    ///
    /// It is for the account only: [`PoolStats::idle_bytes`](super::PoolStats::idle_bytes),
    /// [`Shrunk::bytes`](super::Shrunk::bytes), and the line of pools on the balance sheet of memory.
    /// Default: 0, so a pool of `Vec`s seems to take 24 bytes for each.
    ///
    /// ```
    /// # mod millpond { pub use millpond_rt::{*, GoBuilder as Builder}; pub use millpond_sync::{self as sync, chan}; }
    /// use millpond::sync::Pool;
    ///
    /// let buffers = Pool::builder(|| Vec::<u8>::with_capacity(4096))
    ///     .owned_bytes(|buffer| buffer.capacity())
    ///     .build();
    /// drop(buffers.get());
    /// assert_eq!(buffers.stats().idle_bytes, 4096 + size_of::<Vec<u8>>());
    /// ```
    pub fn owned_bytes(
        mut self,
        owned_bytes: impl Fn(&T) -> usize + Send + Sync + 'static,
    ) -> Self {
        self.owned_bytes = Some(Box::new(owned_bytes));
        self
    }

    /// How many idle values are kept, over all shards. What comes back beyond it is dropped.
    /// Default: 1024.
    pub fn max_idle(mut self, values: usize) -> Self {
        self.max_idle = values;
        self
    }

    /// How many values may exist, idle and in use together, and what `get` does when nothing is
    /// idle and so many exist. Default: any number.
    ///
    /// # Panics
    /// If `values` is 0: nothing could ever come out.
    pub fn bound(mut self, values: usize, then: AtBound) -> Self {
        assert!(values > 0, "Pool: a bound of 0 values; expected at least 1");
        self.bound = Some((values, then));
        self
    }

    /// Binds the pool to the end of `ctx`, which may be that of a
    /// [scope](millpond_rt::scope::Scope::context): then it is closed, as by [`Pool::close`]. What is
    /// idle is dropped, and from then on all that comes back; gets make values and keep to the bound.
    ///
    /// Nobody waits for the end. The next who gets, gives, puts or shrinks notices it and drops what
    /// is idle, quietly; without such a one it stays until the last handle is dropped. A get that
    /// waits for a value goes on waiting; [`Pool::get_ctx`] gives up. With a deadline, each get and
    /// give before it reads the clock.
    ///
    /// ```
    /// # mod millpond { pub use millpond_rt::{*, GoBuilder as Builder}; pub use millpond_sync::{self as sync, chan}; }
    /// use millpond::{Context, sync::Pool};
    ///
    /// let (ctx, cancel) = Context::background().with_cancel();
    /// let buffers = Pool::builder(|| vec![0u8; 4096]).context(&ctx).build();
    /// let (one, other) = (buffers.get(), buffers.get());
    /// drop(one);
    /// assert_eq!(buffers.stats().idle, 1);
    /// cancel.cancel();
    /// drop(other); // drops both
    /// assert!(buffers.is_closed());
    /// assert_eq!(buffers.stats().idle, 0);
    /// ```
    pub fn context(mut self, ctx: &Context) -> Self {
        self.context = Some(ctx.clone());
        self
    }

    /// Makes the pool. It makes its first value when one is asked for.
    pub fn build(self) -> Pool<T> {
        // As many as Ms usually run at once. An M beyond them shares a shard.
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        let core = Core {
            shards: Shards::new(processors.min(MAX_SHARDS), self.max_idle),
            bound: self.bound.map(|(values, _)| Bound::new(values)),
            at_bound: self.bound.map(|(_, then)| then).unwrap_or_default(),
        };
        let hooks = Hooks { make: self.make, reset: self.reset, owned_bytes: self.owned_bytes };
        Pool::from_shared(Shared::new(core, hooks, self.context.map(Life::new)))
    }
}

impl<T> fmt::Debug for PoolBuilder<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PoolBuilder")
            .field("max_idle", &self.max_idle)
            .field("bound", &self.bound)
            .field("context", &self.context)
            .finish_non_exhaustive()
    }
}
