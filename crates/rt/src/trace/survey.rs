//! Asking an M about goroutines of its own.
//!
//! ```text
//!   who asks                                    the M
//!   1. puts a question into the M's list        3. between two turns, at latest every seventh, and before it sleeps:
//!   2. rings its bell, and waits                   takes the list, answers each, wakes who asked
//!   4. takes the answer; or, out of patience, takes the question back
//! ```
//!
//! A question holds its goroutines, so none of them is freed meanwhile; what has become of them is looked at when it
//! is answered. Answers may come when nobody wants them any more, and are dropped then.

use super::image::Image;
use crate::g::GRef;
use crate::m::{CurrentM, M};
use crate::queue::questions::Questions;
use crate::wait::{Ticket, WaitReason, Waiting};
use millpond_prim::sync::Lock;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long an M is waited for. One that is awake answers in microseconds; one that the kernel keeps from its
/// processor, in tens of milliseconds; one that a goroutine keeps, never.
pub(super) const PATIENCE: Duration = Duration::from_millis(200);

type Images = Vec<Option<Image>>;

struct Question {
    about: Vec<GRef>,
    /// Written by the M, once. Taken by who asked.
    answer: Arc<Lock<Option<Images>>>,
    asker: Ticket,
}

/// The questions that an M has not answered yet, at most one of each who asks.
pub(crate) struct Survey(Questions<Question>);

impl Survey {
    pub(crate) fn new() -> Self {
        Self(Questions::new())
    }
}

/// Images of goroutines of another M; `None` if it does not answer in time.
pub(super) fn ask(m: &M, about: Vec<GRef>) -> Option<Images> {
    let answer = Arc::new(Lock::new(None));
    let waiting = Waiting::begin();
    let question = Question { about, answer: answer.clone(), asker: waiting.ticket() };
    m.survey.0.put(question);
    m.rouse();
    let outcome = waiting.park(WaitReason::Blocking, Some(Instant::now() + PATIENCE));
    if !outcome.is_fired() {
        drop(m.survey.0.withdraw(|question| Arc::ptr_eq(&question.answer, &answer)));
    }
    answer.lock().take()
}

impl CurrentM {
    /// Answers what this M was asked. Costs one load when that is nothing.
    #[inline]
    pub(crate) fn answer_survey(&self) {
        if self.survey.0.any() {
            self.answer_all();
        }
    }

    #[cold]
    fn answer_all(&self) {
        for Question { about, answer, asker } in self.survey.0.take() {
            let images = self.images(&about);
            *answer.lock() = Some(images);
            asker.fire(0);
        }
    }
}
