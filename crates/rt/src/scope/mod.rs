//! Scopes: goroutines that borrow from the one that waits for them.
//!
//! `std::thread::scope` for goroutines. [`scope()`] runs a body, which starts children through
//! `&'scope Scope`; children may borrow whatever outlives the scope; the scope returns when all of
//! them have ended. [`try_scope`] adds the first error of Go's `errgroup`, [`Builder`] its limit.
//!
//! ```text
//!   scope ── body ──┬─ s.go ─▶ enter the count ─▶ child on a goroutine of its own ─▶ leave
//!                   └─ returns or panics
//!         ── wait for the count (parks a goroutine, blocks a plain thread)
//!         ── the body's panic goes on; else a child's that nobody took; else the value
//! ```
//!
//! | file | what |
//! |---|---|
//! | `count` | the count of children: limit, wait, failures nobody was told of |
//! | `child` | closure, result and handle of a child; the one unsafe block, and its argument |
//! | `fallible` | the first error |
//!
//! # Lifetimes
//! As in `std`. `'scope` begins before the body and ends after the last child; the body is generic
//! over it, so it can let nothing of that lifetime out. `'env` is what outlives the scope. Both
//! are invariant. A local *of the body* is shorter than `'scope`, for the body ends first: children
//! cannot borrow it.
//!
//! # The context
//! A scope can have a context: [`Scope::context`], below the one that [`Builder::context`] names. It is
//! cancelled by the first failure, and at the latest when the scope has ended; so children that wait
//! with the `_ctx` forms end when another fails, and what was bound to the scope ends with it. It is
//! made when it is first asked for: a scope that nobody asks allocates none.
//!
//! # The end of a runtime
//! A goroutine that has started when its runtime ends is frozen for ever, with its borrows. If the
//! scope belongs to a goroutine of the same runtime, that one is frozen as well. But if a *plain thread*
//! called `scope`, its frame is what the frozen child refers to, and other threads may use it through
//! that child's frame; so the scope does not return, ever. It cannot be undone from outside: wait for
//! the scope before ending the runtime. Children that had not started are dropped and counted off.
//!
//! # Rejected
//! - *An async scope*: a future can be forgotten half-way, and what it borrows freed, while its
//!   children go on. Only a stack frame is sure to wait. (Inside a task, `scope` parks the runner.)
//! - *`set_limit` on a scope that runs*, as errgroup has it: it panics there if goroutines are
//!   active, because there is no good answer. The builder comes before the first child.

mod child;
mod count;
mod fallible;

pub use child::ScopedJoinHandle;
pub use fallible::{TryScope, try_scope};

use crate::context::Context;
use crate::quiet::Bomb;
use crate::spawn::GoBuilder;
use count::{Count, Failure};
use millpond_prim::sync::Arc;
use std::fmt;
use std::marker::PhantomData;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::OnceLock;

/// Runs `body`, and returns when every goroutine that was started through its [`Scope`] has ended.
/// So these may borrow from the caller. Parks the goroutine, or blocks the plain thread; in a task
/// it parks the runner that polls it.
///
/// The children of a goroutine run in its runtime, those of a plain thread in the runtime of the
/// process, as with [`go`](crate::go()).
///
/// # Panics
/// If `body` does, with its payload, after all children have ended. If a child panicked and its
/// panic was not taken by [`join`](ScopedJoinHandle::join), or a child could not run (there was no
/// stack for it, or its runtime ended) and no `join` said so.
///
/// # Never returns
/// If it was called on a plain thread and the runtime ends while a child is half-way: see the
/// [module](mod@crate::scope).
///
/// ```
/// # mod millpond { pub use millpond_rt::{*, GoBuilder as Builder}; }
/// # millpond_rt::Builder::new().procs(1).run(|| {
/// let mut numbers = vec![3, 1, 2];
/// let mut sum = 0;
/// millpond::scope(|s| {
///     let largest = s.go(|| numbers.iter().max());
///     s.go(|| sum = numbers.iter().sum());
///     assert_eq!(largest.join().unwrap(), Some(&3));
/// });
/// numbers.push(sum);
/// assert_eq!(numbers, [3, 1, 2, 6]);
/// # }).unwrap();
/// ```
#[track_caller]
pub fn scope<'env, F, T>(body: F) -> T
where
    F: for<'scope> FnOnce(&'scope Scope<'scope, 'env>) -> T,
{
    Builder::new().run(body)
}

/// What is decided about a scope before it begins: how many of its goroutines run at once, and how
/// each is started.
///
/// ```
/// # mod millpond { pub use millpond_rt::{*, GoBuilder as Builder}; }
/// # millpond_rt::Builder::new().procs(1).run(|| {
/// use std::sync::atomic::{AtomicU64, Ordering};
///
/// let workers = millpond::Builder::new().name("worker").stack_size(1 << 20);
/// let sum = AtomicU64::new(0);
/// millpond::scope::Builder::new().limit(8).goroutines(workers).run(|s| {
///     for i in 0..100 {
///         let sum = &sum;
///         // Parks while eight of them run.
///         s.go(move || sum.fetch_add(i, Ordering::Relaxed));
///     }
/// });
/// assert_eq!(sum.into_inner(), 4_950);
/// # }).unwrap();
/// ```
#[derive(Debug, Clone, Default)]
pub struct Builder {
    goroutines: GoBuilder,
    limit: Option<usize>,
    parent: Context,
}

impl Builder {
    /// As [`scope()`] has it: no limit, goroutines as [`go`](crate::go()) starts them.
    pub fn new() -> Self {
        Self::default()
    }

    /// At most `limit` of the scope's goroutines at once: starting another parks until one has
    /// ended. The body does not count. Children that start children can use up the places and then
    /// wait for one another, as with errgroup's `SetLimit`.
    ///
    /// # Panics
    /// If `limit` is 0: nothing could ever start.
    #[track_caller]
    pub fn limit(mut self, limit: usize) -> Self {
        assert!(
            limit > 0,
            "scope::Builder::limit(0): no goroutine could start; expected 1 or more"
        );
        self.limit = Some(limit);
        self
    }

    /// The scope's [context](Scope::context) is made from `ctx`: it carries its values, and is done
    /// when `ctx` is. The end of `ctx` is no failure of the scope, and goroutines can still be
    /// started; they see it where they wait with the scope's context. Default: the background.
    ///
    /// ```
    /// # mod millpond { pub use millpond_rt::{*, GoBuilder as Builder}; }
    /// # millpond_rt::Builder::new().procs(1).run(|| {
    /// use millpond::{Context, context::ContextError, scope, time::sleep_ctx};
    /// use std::time::Duration;
    ///
    /// let (ctx, cancel) = Context::background().with_cancel();
    /// scope::Builder::new().context(&ctx).run(|s| {
    ///     let child = s.go(|| sleep_ctx(s.context(), Duration::from_secs(3600)));
    ///     cancel.cancel();
    ///     assert_eq!(child.join().unwrap(), Err(ContextError::Cancelled));
    /// });
    /// # }).unwrap();
    /// ```
    pub fn context(mut self, ctx: &Context) -> Self {
        self.parent = ctx.clone();
        self
    }

    /// How each goroutine of the scope is started: name, stack size, placement.
    pub fn goroutines(mut self, goroutines: GoBuilder) -> Self {
        self.goroutines = goroutines;
        self
    }

    /// As [`scope()`].
    ///
    /// # Panics
    /// As there.
    #[track_caller]
    pub fn run<'env, F, T>(self, body: F) -> T
    where
        F: for<'scope> FnOnce(&'scope Scope<'scope, 'env>) -> T,
    {
        let scope = Scope::new(self);
        scope.enclose(|| body(&scope))
    }
}

/// Where the goroutines of a scope are started. From [`scope()`].
///
/// It can be given to children, which may then start children of their own.
pub struct Scope<'scope, 'env: 'scope> {
    count: Arc<Count>,
    goroutines: GoBuilder,
    /// What the scope's context is made from.
    parent: Context,
    /// The scope's context, once somebody has asked for it. The right to cancel it is the count's.
    context: OnceLock<Context>,
    /// Invariant, or a child could be given a borrow that is shorter than the scope.
    scope: PhantomData<&'scope mut &'scope ()>,
    env: PhantomData<&'env mut &'env ()>,
}

impl<'scope, 'env> Scope<'scope, 'env> {
    /// Private: whoever makes one must [`Self::enclose`] the only code that sees it.
    fn new(builder: Builder) -> Self {
        Self {
            count: Count::new(builder.limit.unwrap_or(usize::MAX)),
            goroutines: builder.goroutines,
            parent: builder.parent,
            context: OnceLock::new(),
            scope: PhantomData,
            env: PhantomData,
        }
    }

    /// Runs `body`, waits for the children, and only then lets a panic go on.
    #[track_caller]
    fn enclose<T>(&self, body: impl FnOnce() -> T) -> T {
        // The children borrow from this stack and use it while we wait.
        let _pin = crate::rest::Pin::of_scope();
        let result = catch_unwind(AssertUnwindSafe(body));
        let bomb = Bomb("scope: unwound while waiting for goroutines that borrow from the caller");
        if result.is_err() {
            self.count.fail();
        }
        self.count.wait();
        bomb.defuse();
        self.count.end();
        let value = result.unwrap_or_else(|payload| resume_unwind(payload));
        match self.count.unforgiven() {
            None => value,
            Some(Failure::Panic) => panic!("a scoped goroutine panicked"),
            Some(Failure::Lost) => panic!(
                "a scoped goroutine did not run: there was no stack for it, or its runtime ended"
            ),
        }
    }

    /// The scope's context. It is done, as cancelled, as soon as anything has failed: a goroutine
    /// panicked or could not run (also if a join has dealt with it), the body panicked, or in a
    /// [`TryScope`] an error was kept; else when the scope has ended. And it is done when the
    /// context that it was [made from](Builder::context) is. Go's `errgroup.WithContext`.
    ///
    /// Children that wait with it end when another fails. A clone may outlive the scope.
    ///
    /// ```
    /// # mod millpond { pub use millpond_rt::{*, GoBuilder as Builder}; }
    /// # millpond_rt::Builder::new().procs(1).run(|| {
    /// use millpond::{context::ContextError, time::sleep_ctx, try_scope};
    /// use std::time::Duration;
    ///
    /// let result = try_scope(|s| {
    ///     let patient = s.go(|| sleep_ctx(s.context(), Duration::from_secs(3600)));
    ///     s.go_try(|| "seven".parse::<u32>());
    ///     assert_eq!(patient.join().unwrap(), Err(ContextError::Cancelled));
    ///     Ok(())
    /// });
    /// assert!(result.is_err());
    /// # }).unwrap();
    /// ```
    pub fn context(&self) -> &Context {
        self.context.get_or_init(|| {
            let (ctx, cancel) = self.parent.with_cancel();
            self.count.cancels(cancel);
            ctx
        })
    }

    /// Starts a goroutine that may borrow what outlives the scope. While as many run as the scope's
    /// [limit](Builder::limit) allows, parks the caller (blocks a plain thread) until one has ended.
    ///
    /// # Panics
    /// If the stack size that the [`Builder`] asked for is larger than any class.
    #[track_caller]
    pub fn go<F, T>(&'scope self, f: F) -> ScopedJoinHandle<'scope, T>
    where
        F: FnOnce() -> T + Send + 'scope,
        T: Send + 'scope,
    {
        self.goroutines.go_scoped(self, f)
    }

    /// As [`go`](Self::go), but never waits.
    ///
    /// # Errors
    /// `f` itself if as many run as the scope's limit allows.
    ///
    /// ```
    /// # mod millpond { pub use millpond_rt::{*, GoBuilder as Builder}; }
    /// # millpond_rt::Builder::new().procs(1).run(|| {
    /// use std::sync::atomic::{AtomicBool, Ordering};
    ///
    /// let go_on = AtomicBool::new(false);
    /// millpond::scope::Builder::new().limit(1).run(|s| {
    ///     let first = s.try_go(|| {
    ///         while !go_on.load(Ordering::Relaxed) {
    ///             millpond::yield_now();
    ///         }
    ///         1
    ///     });
    ///     let refused = s.try_go(|| 2).expect_err("one runs");
    ///     go_on.store(true, Ordering::Relaxed);
    ///     assert_eq!(first.ok().unwrap().join().unwrap() + refused(), 3);
    /// });
    /// # }).unwrap();
    /// ```
    #[track_caller]
    pub fn try_go<F, T>(&'scope self, f: F) -> Result<ScopedJoinHandle<'scope, T>, F>
    where
        F: FnOnce() -> T + Send + 'scope,
        T: Send + 'scope,
    {
        match Count::try_enter(&self.count) {
            Some(member) => Ok(child::start(self, &self.goroutines, member, f)),
            None => Err(f),
        }
    }
}

impl fmt::Debug for Scope<'_, '_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scope").field("live", &self.count.live()).finish_non_exhaustive()
    }
}

impl GoBuilder {
    /// As [`Scope::go`], with this name, stack and placement instead of the scope's.
    ///
    /// # Panics
    /// If the stack size is larger than any class.
    ///
    /// ```
    /// # mod millpond { pub use millpond_rt::{*, GoBuilder as Builder}; }
    /// # millpond_rt::Builder::new().procs(1).run(|| {
    /// let text = String::from("nested (deeply)");
    /// let deep = millpond::Builder::new().name("parser").stack_size(1 << 20);
    /// let found = millpond::scope(|s| deep.go_scoped(s, || text.find('(')).join().unwrap());
    /// assert_eq!(found, Some(7));
    /// # }).unwrap();
    /// ```
    #[track_caller]
    pub fn go_scoped<'scope, 'env, F, T>(
        &self,
        scope: &'scope Scope<'scope, 'env>,
        f: F,
    ) -> ScopedJoinHandle<'scope, T>
    where
        F: FnOnce() -> T + Send + 'scope,
        T: Send + 'scope,
    {
        child::start(scope, self, Count::enter(&scope.count), f)
    }
}
