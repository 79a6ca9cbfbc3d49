//! What all connections share: the keys, the commands, and who is connected.
//!
//! Only the store has state that commands change, and its locks are its own. The counters are for
//! INFO; a connection adds to them once for all that arrived together.

use crate::commands::Table;
use crate::store::Store;
use crate::sweep::Alarm;
use millpond::service::Connections;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

pub struct Server {
    /// Shared with the sweeper.
    pub store: Arc<Store>,
    pub commands: Table,
    pub connections: Connections,
    /// Atomic: connections since the start.
    pub accepted: AtomicU64,
    /// Atomic: commands since the start.
    pub processed: AtomicU64,
}

impl Server {
    /// Without keys and connections; and what its sweeper waits for.
    pub fn new() -> (Self, Alarm) {
        let (store, alarm) = Store::new();
        let server = Self {
            store: Arc::new(store),
            commands: Table::new(),
            connections: Connections::new(),
            accepted: AtomicU64::new(0),
            processed: AtomicU64::new(0),
        };
        (server, alarm)
    }
}
