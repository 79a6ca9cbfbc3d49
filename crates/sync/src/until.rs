//! How long an operation may wait: the [`Until`] of `rt`, which is a time limit, a context, or
//! both. Each primitive here has one internal form that takes it; the plain, `_timeout` and `_ctx`
//! forms differ in the `Until` that they make.

pub(crate) use millpond_rt::wait::Until;
