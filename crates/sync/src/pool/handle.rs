//! The handle of a pool, and what the handles share: the core with the user's hooks around it.
//!
//! The hooks run here and nowhere else, between steps of the core: a value is made after its place
//! was taken and before anybody else sees it; it is reset while it still belongs to who gives it.

use super::builder::PoolBuilder;
use super::core::{AtBound, Core, Got};
use super::future::GetFuture;
use super::guard::PoolGuard;
use super::life::Life;
use super::quiet::quietly;
use super::registry::{self, Shrink, Shrunk};
use super::shards::{Counts, Idle, Kept, Weigh};
use super::stats::PoolStats;
use crate::until::Until;
use millpond_rt::context::{Context, ContextError};
use millpond_rt::{coop, place};
use std::fmt;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

pub(super) type Make<T> = Box<dyn Fn() -> T + Send + Sync>;
pub(super) type Reset<T> = Box<dyn Fn(&mut T) -> bool + Send + Sync>;
pub(super) type OwnedBytes<T> = Box<dyn Fn(&T) -> usize + Send + Sync>;

/// What the user has a pool do with values.
pub(super) struct Hooks<T> {
    pub(super) make: Make<T>,
    pub(super) reset: Option<Reset<T>>,
    pub(super) owned_bytes: Option<OwnedBytes<T>>,
}

/// A pool of values that are expensive to make or to drop: buffers, parsers, connections. Go's
/// `sync.Pool`, with a bound where one is wanted.
///
/// Idle values lie in one shard per M, so a goroutine that gets and gives touches nothing that
/// other Ms write. A handle is a reference; a clone is the same pool. When the last handle and
/// the last [owned](PoolGuard::into_owned) guard are gone, what is idle is dropped.
///
/// ```
/// # mod millpond { pub use millpond_rt::{*, GoBuilder as Builder}; pub use millpond_sync::{self as sync, chan}; }
/// use millpond::sync::Pool;
///
/// let buffers = Pool::builder(|| Vec::<u8>::with_capacity(4096))
///     .reset(|buffer| {
///         buffer.clear();
///         true
///     })
///     .build();
/// let mut buffer = buffers.get();
/// buffer.extend_from_slice(b"hello");
/// drop(buffer); // goes back, cleared
/// assert!(buffers.get().is_empty());
/// assert_eq!(buffers.stats().makes, 1);
/// ```
pub struct Pool<T: Send + 'static> {
    shared: Arc<Shared<T>>,
}

/// What handles and guards share.
pub(super) struct Shared<T: Send + 'static> {
    pub(super) core: Core<Kept<T>>,
    hooks: Hooks<T>,
    pub(super) life: Option<Life>,
    /// The place in the registry of pools.
    registered: Option<registry::Key>,
}

/// The shard of the caller.
#[inline]
pub(super) fn here<T: Weigh>(core: &Core<T>) -> usize {
    core.shards.of(place::current_m())
}

impl<T: Send + 'static> Pool<T> {
    /// A pool without a bound that calls `make` when nothing is idle, resets nothing and keeps up
    /// to 1024 idle values.
    pub fn new(make: impl Fn() -> T + Send + Sync + 'static) -> Self {
        Self::builder(make).build()
    }

    /// A pool with settings. `make` makes a value when nothing is idle; it may park.
    pub fn builder(make: impl Fn() -> T + Send + Sync + 'static) -> PoolBuilder<T> {
        PoolBuilder::new(make)
    }

    pub(super) fn from_shared(shared: Arc<Shared<T>>) -> Self {
        Self { shared }
    }

    /// Takes a value: the newest idle one of this M, else an idle one of another, else a new one.
    /// If the bound is reached it does what [`AtBound`] says: with [`AtBound::Wait`] it parks the
    /// goroutine, or blocks the plain thread, until a value comes back or is dropped.
    ///
    /// The give of a value happens before the get that returns it.
    ///
    /// # Panics
    /// If the hook that makes values does; the place is then free again. With [`AtBound::Refuse`],
    /// if the bound is reached.
    #[inline]
    pub fn get(&self) -> PoolGuard<'_, T> {
        let got = self.get_until(Until::Forever);
        got.unwrap_or_else(|| {
            panic!("Pool::get: the bound is reached and the pool refuses; use try_get")
        })
    }

    /// As [`get`](Self::get), for at most `limit`; `None` if that passed first, and with
    /// [`AtBound::Refuse`] at once.
    pub fn get_timeout(&self, limit: Duration) -> Option<PoolGuard<'_, T>> {
        self.get_until(Until::After(limit))
    }

    /// As [`get`](Self::get), up to `deadline`.
    pub fn get_deadline(&self, deadline: Instant) -> Option<PoolGuard<'_, T>> {
        self.get_until(Until::At(deadline))
    }

    /// As [`get`](Self::get), until `ctx` is done.
    ///
    /// # Errors
    /// [`ContextError`] if the context is done first, or is done already, even if a value is idle.
    ///
    /// # Panics
    /// As [`get`](Self::get).
    ///
    /// ```
    /// # mod millpond { pub use millpond_rt::{*, GoBuilder as Builder}; pub use millpond_sync::{self as sync, chan}; }
    /// use millpond::sync::{Pool, pool::AtBound};
    /// use millpond::{Context, context::ContextError};
    /// use std::time::Duration;
    ///
    /// let (ctx, _cancel) = Context::background().with_timeout(Duration::from_millis(1));
    /// let pool = Pool::builder(|| 0).bound(1, AtBound::Wait).build();
    /// let only = pool.get();
    /// assert_eq!(pool.get_ctx(&ctx).unwrap_err(), ContextError::DeadlineExceeded);
    /// # drop(only);
    /// ```
    pub fn get_ctx(&self, ctx: &Context) -> Result<PoolGuard<'_, T>, ContextError> {
        ctx.check()?;
        let got = self.get_until(Until::Done(ctx));
        assert!(
            got.is_some() || self.shared.core.at_bound != AtBound::Refuse,
            "Pool::get_ctx: the bound is reached and the pool refuses; use try_get"
        );
        got.ok_or_else(|| ctx.why())
    }

    /// Takes a value, if need be a new one; `None` where [`get`](Self::get) would wait or panic.
    ///
    /// ```
    /// # mod millpond { pub use millpond_rt::{*, GoBuilder as Builder}; pub use millpond_sync::{self as sync, chan}; }
    /// use millpond::sync::{Pool, pool::AtBound};
    ///
    /// let pool = Pool::builder(|| 0).bound(1, AtBound::Refuse).build();
    /// let only = pool.try_get();
    /// assert!(only.is_some() && pool.try_get().is_none());
    /// ```
    pub fn try_get(&self) -> Option<PoolGuard<'_, T>> {
        coop::spend();
        self.shared.touch();
        let got = self.shared.core.try_acquire(here(&self.shared.core))?;
        Some(self.guard(got))
    }

    /// As [`get`](Self::get), as a future for tasks. Dropping it loses nothing: a value that was
    /// handed to it goes to the next who waits.
    ///
    /// # Panics
    /// As [`get`](Self::get), when polled.
    pub fn get_async(&self) -> GetFuture<'_, T> {
        GetFuture::new(self)
    }

    /// Gives a value to the pool: one that a guard let go ([`PoolGuard::into_inner`]) or one that
    /// was made elsewhere. It is reset, and dropped where a guard's would be; also when the pool has
    /// a bound and so many exist.
    pub fn put(&self, value: T) {
        let shared = &*self.shared;
        shared.touch();
        let place = shared.core.bound.as_ref().is_none_or(|bound| bound.reserve());
        if place {
            shared.take_back(value, |counts| counts.puts += 1);
        }
    }

    /// One step of shrinking, as [`shrink_all`](super::shrink_all) takes it: drops what the step
    /// before had marked and nobody has taken since, then marks what is beyond the share `keep`
    /// of what is idle, longest idle first. Returns how many were dropped.
    ///
    /// # Panics
    /// If `keep` is not between 0 and 1.
    pub fn shrink(&self, keep: f64) -> usize {
        registry::check_share("Pool::shrink", keep);
        self.shared.shrink_by(keep).values
    }

    /// [`shrink(0.0)`](Self::shrink): what is not used between two calls is dropped by the second.
    pub fn trim(&self) -> usize {
        self.shrink(0.0)
    }

    /// Drops what is idle, and from now on all that comes back. The pool can still be asked for
    /// values and then makes them; a bound still holds. Closing again does nothing.
    pub fn close(&self) {
        self.shared.core.close();
    }

    /// Whether [`close`](Self::close) was called, or the pool's [context](PoolBuilder::context) is
    /// done.
    pub fn is_closed(&self) -> bool {
        let over = self.shared.life.as_ref().is_some_and(Life::is_over);
        over || self.shared.core.shards.is_closed()
    }

    /// What has happened so far.
    pub fn stats(&self) -> PoolStats {
        PoolStats::of(&self.shared.core.shards)
    }

    fn get_until(&self, until: Until) -> Option<PoolGuard<'_, T>> {
        coop::spend();
        self.shared.touch();
        let core = &self.shared.core;
        let got = match core.try_acquire(here(core)) {
            Some(got) => got,
            None if core.at_bound == AtBound::Refuse => return None,
            None => core.wait(here(core), until)?,
        };
        Some(self.guard(got))
    }

    #[inline]
    pub(super) fn guard(&self, got: Got<Kept<T>>) -> PoolGuard<'_, T> {
        PoolGuard::new(&self.shared, self.shared.value_of(got))
    }

    #[inline]
    pub(super) fn touch(&self) {
        self.shared.touch();
    }

    #[inline]
    pub(super) fn core(&self) -> &Core<Kept<T>> {
        &self.shared.core
    }
}

impl<T: Send + 'static> Shared<T> {
    pub(super) fn new(core: Core<Kept<T>>, hooks: Hooks<T>, life: Option<Life>) -> Arc<Self> {
        Arc::new_cyclic(|weak: &Weak<Self>| {
            let registered = registry::register(weak.clone(), core.shards.on_show());
            Self { core, hooks, life, registered }
        })
    }

    /// Somebody comes: closes the pool if its context is done. What that drops.
    #[inline]
    pub(super) fn touch(&self) -> Idle {
        match &self.life {
            None => Idle::default(),
            Some(life) => life.touch(&self.core),
        }
    }

    fn shrink_by(&self, keep: f64) -> Idle {
        let mut dropped = self.touch();
        dropped += self.core.shrink(keep);
        dropped
    }

    #[inline]
    fn value_of(&self, got: Got<Kept<T>>) -> T {
        match got {
            Got::Value(kept) => kept.value,
            Got::Place => self.make_one(),
        }
    }

    #[cold]
    fn make_one(&self) -> T {
        let place = Place(&self.core);
        let value = (self.hooks.make)();
        std::mem::forget(place);
        self.core.shards.count(here(&self.core), |counts| counts.makes += 1);
        value
    }

    /// A guard's value comes back.
    #[inline]
    pub(super) fn give_back(&self, value: T) {
        self.take_back(value, |counts| counts.gives += 1);
    }

    /// A guard let its value go.
    pub(super) fn let_go(&self) {
        self.core.shards.count(here(&self.core), |counts| counts.detached += 1);
        self.core.lose();
    }

    #[inline]
    fn take_back(&self, mut value: T, count: impl Fn(&mut Counts)) {
        let at = here(&self.core);
        let unwanted = match &self.hooks.reset {
            Some(reset) if !quietly_reset(reset, &mut value) => Err(Kept { value, owned_bytes: 0 }),
            _ => self.core.give(at, self.kept(value), &count),
        };
        // After the give: if the pool is to be closed now, this value goes with the others.
        self.touch();
        self.core.discard(at, unwanted, count);
    }

    /// The value, as it is kept.
    #[inline]
    fn kept(&self, value: T) -> Kept<T> {
        let owned_bytes =
            self.hooks.owned_bytes.as_ref().map_or(0, |ask| quietly_asked(ask, &value));
        Kept { value, owned_bytes }
    }
}

/// Whether the hook wants to keep the value. One that panics does not, and neither the panic nor
/// what the drop of its payload does goes further: a guard may be dropped while unwinding.
fn quietly_reset<T>(reset: &Reset<T>, value: &mut T) -> bool {
    let mut keep = false;
    quietly(|| keep = reset(value));
    keep
}

/// What the hook says that the value owns. One that panics has said nothing.
fn quietly_asked<T>(ask: &OwnedBytes<T>, value: &T) -> usize {
    let mut bytes = 0;
    quietly(|| bytes = ask(value));
    bytes
}

/// A place whose value is being made; dropped only when that fails.
struct Place<'a, T: Weigh>(&'a Core<T>);

impl<T: Weigh> Drop for Place<'_, T> {
    fn drop(&mut self) {
        self.0.lose();
    }
}

impl<T: Send + 'static> Shrink for Shared<T> {
    fn shrink(&self, keep: f64) -> Shrunk {
        let Idle { values, bytes } = self.shrink_by(keep);
        Shrunk { pools: 1, values, bytes }
    }
}

impl<T: Send + 'static> Drop for Shared<T> {
    fn drop(&mut self) {
        if let Some(key) = self.registered.take() {
            registry::forget(key);
        }
    }
}

impl<T: Send + 'static> Clone for Pool<T> {
    fn clone(&self) -> Self {
        Self { shared: self.shared.clone() }
    }
}

impl<T: Send + 'static> fmt::Debug for Pool<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool").field("stats", &self.stats()).finish_non_exhaustive()
    }
}
