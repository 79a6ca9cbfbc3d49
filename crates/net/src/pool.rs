//! The blocking pool.

pub(crate) fn blocking<T>(f: impl FnOnce() -> T) -> T {
    f()
}

pub(crate) async fn blocking_async<T>(f: impl FnOnce() -> T) -> T {
    f()
}
