//! The goroutine of a model: there is none.
//!
//! loom explores threads and cannot follow a stack switch, so under `--cfg loom` the goroutine
//! case of a wait is a type without values. Everything that protocols share with goroutines (the
//! wait word, tickets, queues) is then explored with threads and futures as waiters.

use crate::wait::{Place, WaitReason, WaitWord};
use std::ptr::NonNull;
use std::time::Instant;

/// No goroutine exists in a model.
#[derive(Debug, Clone)]
pub(crate) enum GRef {}

impl GRef {
    pub(crate) fn current() -> Option<Self> {
        None
    }

    pub(crate) fn wait_word(&self) -> &WaitWord {
        match *self {}
    }

    pub(crate) fn place(&self) -> &Place {
        match *self {}
    }

    pub(crate) fn into_raw(self) -> NonNull<()> {
        match self {}
    }

    pub(crate) fn wait_for(&self, _: u64, _: WaitReason, _: Option<Instant>) -> u16 {
        match *self {}
    }
}

pub(crate) fn ready(g: GRef) {
    match g {}
}
