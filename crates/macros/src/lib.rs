//! The macros of Millpond: `#[millpond::main]`, `#[millpond::test]`, `select!` and `select_async!`.
//!
//! A program does not name this crate; it uses the macros through the facade, `millpond`. `select` reads arms and
//! writes a `match`; its essay shows it. Each attribute reads one function and writes one function around it, and
//! there is no more to it than that:
//!
//! 1. `options` reads what stands in the parentheses: `procs`, `stack_size`, `crate`;
//! 2. `function` reads the function that the attribute stands on, and refuses what cannot be a first goroutine;
//! 3. `expand` puts the two together into a call of `millpond::__private::main` or `::test`.
//!
//! The three work on `proc_macro2` tokens, so that their unit tests run outside a compilation.
//!
//! Rejected: reading the body of a function with `syn`, which would turn a half-typed body into an error of the macro
//! instead of an error of the body; it is passed through unread. (`select!` has to read expressions to know where an
//! arm ends, which is why `syn` is here with its `full` feature.)
#![forbid(unsafe_code)]

mod expand;
mod function;
mod options;
mod select;

use expand::Entry;
use proc_macro::TokenStream;

/// Makes the body of `main` the first goroutine of a new runtime. When it returns, the process ends.
///
/// The function takes no arguments and returns `()` or anything else that implements
/// [`Termination`](std::process::Termination), whether that is `Send` or not: it is reported inside the goroutine,
/// as the standard library reports it (`Error: ...` on standard error, status 1). An `async fn` becomes a future
/// that the first goroutine blocks on.
///
/// Options, each at most once:
///
/// - `procs = N`: how many Ps run goroutines; `MILLPOND_PROCS` and the machine decide where it is not given;
/// - `stack_size = BYTES`: the stack size of goroutines that do not ask for another one;
/// - `crate = path`: where to find `millpond` when it goes by another name.
///
/// ```
/// #[millpond::main]
/// fn main() -> std::io::Result<()> {
///     let answer = millpond::go(|| 6 * 7).join().expect("the goroutine does not panic");
///     assert_eq!(answer, 42);
///     Ok(())
/// }
/// ```
///
/// ```
/// #[millpond::main(procs = 2, stack_size = 256 * 1024)]
/// async fn main() {
///     let answer = millpond::spawn(async { 6 * 7 }).await.expect("the task does not panic");
///     assert_eq!(answer, 42);
/// }
/// ```
#[proc_macro_attribute]
pub fn main(options: TokenStream, item: TokenStream) -> TokenStream {
    expand::entry(Entry::Main, options.into(), item.into()).into()
}

/// Makes a test whose body is the first goroutine of a runtime.
///
/// It takes the same options and the same kinds of function as [`main`](macro@main), under any name. Attributes
/// such as `#[should_panic]` and `#[ignore]` work as they do under the standard `#[test]`, which this macro adds
/// itself. A panic of the body is the panic of the test.
///
/// ```
/// #[millpond::test(procs = 1)]
/// fn two_goroutines_meet() {
///     let (tx, rx) = millpond::chan::bounded(0);
///     millpond::go(move || tx.send(1));
///     assert_eq!(rx.recv(), Ok(1));
/// }
/// ```
#[proc_macro_attribute]
pub fn test(options: TokenStream, item: TokenStream) -> TokenStream {
    expand::entry(Entry::Test, options.into(), item.into()).into()
}

/// Waits for the first of several operations; like Go's `select`. Parks the goroutine, or blocks the plain thread (in a
/// task, the goroutine that polls it; `select_async!` awaits instead).
///
/// | arm | is done when | the pattern gets |
/// |---|---|---|
/// | `v = rx.recv()` | a value is received, or the channel is closed and empty | `Result<T, RecvError>` |
/// | `r = tx.send(x)` | `x` is sent, or the channel is closed | `Result<(), SendError<T>>` |
/// | `v = handle.join()` | the goroutine (of a scope too), task or job of workers has ended | `Result<T, JoinError>` |
/// | `s = signals.recv()` | a signal has come | `io::Result<i32>` |
/// | `e = ctx.done()` | the context is cancelled or its deadline has passed | `ContextError` |
/// | `t = ticker.tick()` | the next tick is due | `Instant` |
/// | `_ = after(duration)` | so much time has passed | the `Instant` when it had |
/// | `default` | no other arm is possible at once | |
///
/// Exactly one arm is done; then its body runs, and the value of the body is the value of the whole. Of several arms
/// that are possible at once, one is drawn by lot. What the arms borrow is free again in the bodies. In bodies,
/// `return`, `?`, `break` and `continue` mean what they mean around the `select!`.
///
/// - `.., if condition` switches an arm off: its operation is not even looked at, as with a nil channel in Go. The
///   condition is evaluated once, before the wait; if it is false nothing of its arm is evaluated, so
///   `_ = limit.as_ref().unwrap(), if limit.is_some()` is right.
/// - What an arm waits on has to live outside: an operand that makes a temporary (`state.lock().rx.recv()`) does not
///   compile, because its guard would be held through the wait. Clone the handle, or bind it before.
/// - `x` in `tx.send(x)` is evaluated **only if its arm is done**, so it may move something that the other bodies use.
///   Evaluate quickly: a receiver of a rendezvous that was chosen waits meanwhile. If it panics, nothing was sent.
/// - `handle.join()` borrows the handle mutably. If its arm is done, the result is out of the handle, which is good for
///   dropping only.
/// - `after(duration)` counts from here. To count through several rounds, make it before: `let limit = after(..)`,
///   then `_ = &limit`.
/// - Without arms, or if all are switched off, it waits for ever, as in Go; with `default` it never waits.
/// - What is not in the table has no arm: locks, permits, sockets. Let a goroutine wait for it and send on a
///   channel; where the other arm would be a context or a time, use the `*_ctx` or `*_timeout` form.
/// - An arm may have `#[cfg(..)]` and lint attributes, as an arm of a `match` may; `default` takes lints only.
/// - Patterns must be irrefutable: take the `Result`, and `match` it in the body.
/// - At most 64 arms; `chan::Select` takes any number at run time. Up to 8 arms need no allocation (but the end of a
///   *task* needs one).
///
/// ```
/// use millpond::{chan, go, select};
///
/// #[millpond::main]
/// fn main() {
///     let (numbers, rx) = chan::bounded(0);
///     let (quit, stop) = chan::bounded::<()>(0);
///     go(move || {
///         for _ in 0..3 {
///             rx.recv().unwrap();
///         }
///         drop(quit);
///     });
///     let mut next = 0;
///     loop {
///         select! {
///             sent = numbers.send(next) => {
///                 sent.unwrap();
///                 next += 1;
///             }
///             _ = stop.recv() => break,
///         }
///     }
///     assert_eq!(next, 3);
/// }
/// ```
///
/// A macro that writes a `select!` for a crate that has renamed `millpond` begins it with `crate = path;`.
#[proc_macro]
pub fn select(input: TokenStream) -> TokenStream {
    select::expand(select::Form::Blocking, input.into()).into()
}

/// As [`select!`](macro@select), for `async` code: awaits instead of parking.
///
/// Dropping the future around it, while it waits, gives up all arms and loses no value. Values and bodies may await.
/// The arms are kept in the future: one that is to be `Send` needs channels of values that are.
///
/// ```
/// use millpond::{chan, select_async, spawn};
///
/// #[millpond::main]
/// async fn main() {
///     let (tx, rx) = chan::bounded(1);
///     let task = spawn(async move {
///         select_async! {
///             v = rx.recv() => v.unwrap_or(0),
///             default => -1,
///         }
///     });
///     assert_eq!(task.await.unwrap(), -1);
///     drop(tx);
/// }
/// ```
#[proc_macro]
pub fn select_async(input: TokenStream) -> TokenStream {
    select::expand(select::Form::Async, input.into()).into()
}
