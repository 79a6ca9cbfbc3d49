//! The attribute macros of Millpond: `#[millpond::main]` and `#[millpond::test]`.
//!
//! A program does not name this crate; it uses the macros through the facade, `millpond`. Each macro reads one function
//! and writes one function around it, and there is no more to it than that:
//!
//! 1. `options` reads what stands in the parentheses: `procs`, `stack_size`, `crate`;
//! 2. `function` reads the function that the attribute stands on, and refuses what cannot be a first goroutine;
//! 3. `expand` puts the two together into a call of `millpond::__private::main` or `::test`.
//!
//! The three work on `proc_macro2` tokens, so that their unit tests run outside a compilation.
//!
//! Rejected: `syn` with its `full` feature. It would parse the body too, which triples the build time of `syn` and
//! turns a half-typed body into an error of the macro instead of an error of the body; the body is passed through
//! unread.
#![forbid(unsafe_code)]

mod expand;
mod function;
mod options;

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
