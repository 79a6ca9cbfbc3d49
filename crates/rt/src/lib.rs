//! The scheduler (being assembled).

#[path = "g/absent.rs"]
mod g;
pub mod wait;
