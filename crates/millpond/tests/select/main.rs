//! `select!` and `select_async!` as a user meets them: from goroutines, plain threads and tasks.
//!
//! Many of the scenarios are those that Go tests its `select` with, written anew.

mod callers;
mod contention;
mod fairness;
mod forms;
mod given_up;
mod hygiene;
mod late;
mod signals;
mod switched;
