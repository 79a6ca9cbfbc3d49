//! Why a goroutine waits: a closed list that feeds dumps, profiles and traces.
//!
//! Closed, and never reused, so that a number in an old trace keeps its meaning. Add at the end.
//! The texts are Go's where Go has the same wait, so that readers of Go dumps are at home.

/// What a goroutine is waiting for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
#[non_exhaustive]
pub enum WaitReason {
    /// Not waiting.
    None = 0,
    /// Receiving from a channel.
    ChanRecv = 1,
    /// Sending to a channel.
    ChanSend = 2,
    /// Several operations at once.
    Select = 3,
    /// A mutex.
    Mutex = 4,
    /// A read lock.
    RwLockRead = 5,
    /// A write lock.
    RwLockWrite = 6,
    /// A condition variable.
    Condvar = 7,
    /// A once-cell that another party fills.
    Once = 8,
    /// A wait group.
    WaitGroup = 9,
    /// A semaphore.
    Semaphore = 10,
    /// A barrier.
    Barrier = 11,
    /// Another goroutine's or task's end.
    Join = 12,
    /// A point in time.
    Sleep = 13,
    /// A descriptor to become readable.
    IoRead = 14,
    /// A descriptor to become writable.
    IoWrite = 15,
    /// A connection to arrive.
    Accept = 16,
    /// A connection to be established.
    Connect = 17,
    /// A job on the blocking pool.
    Blocking = 18,
    /// A future driven by `block_on`.
    BlockOn = 19,
    /// A Unix signal.
    Signal = 20,
    /// A place in a pool.
    Pool = 21,
    /// A runner without a task to poll.
    IdleRunner = 22,
    /// A context to be done.
    Context = 23,
}

impl WaitReason {
    const ALL: [Self; 24] = [
        Self::None,
        Self::ChanRecv,
        Self::ChanSend,
        Self::Select,
        Self::Mutex,
        Self::RwLockRead,
        Self::RwLockWrite,
        Self::Condvar,
        Self::Once,
        Self::WaitGroup,
        Self::Semaphore,
        Self::Barrier,
        Self::Join,
        Self::Sleep,
        Self::IoRead,
        Self::IoWrite,
        Self::Accept,
        Self::Connect,
        Self::Blocking,
        Self::BlockOn,
        Self::Signal,
        Self::Pool,
        Self::IdleRunner,
        Self::Context,
    ];

    /// The reason with this number; [`WaitReason::None`] for a number that is not one.
    pub fn from_u8(number: u8) -> Self {
        Self::ALL.get(usize::from(number)).copied().unwrap_or(Self::None)
    }

    /// The text used in dumps.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::None => "running",
            Self::ChanRecv => "chan receive",
            Self::ChanSend => "chan send",
            Self::Select => "select",
            Self::Mutex => "sync.Mutex.Lock",
            Self::RwLockRead => "sync.RwLock.Read",
            Self::RwLockWrite => "sync.RwLock.Write",
            Self::Condvar => "sync.Condvar.Wait",
            Self::Once => "sync.Once",
            Self::WaitGroup => "sync.WaitGroup.Wait",
            Self::Semaphore => "sync.Semaphore",
            Self::Barrier => "sync.Barrier",
            Self::Join => "join",
            Self::Sleep => "sleep",
            Self::IoRead => "IO read",
            Self::IoWrite => "IO write",
            Self::Accept => "IO accept",
            Self::Connect => "IO connect",
            Self::Blocking => "blocking job",
            Self::BlockOn => "block_on",
            Self::Signal => "signal",
            Self::Pool => "pool",
            Self::IdleRunner => "idle task runner",
            Self::Context => "context.Done",
        }
    }
}

impl std::fmt::Display for WaitReason {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.as_str())
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_reasons_agree() {
        for (number, reason) in WaitReason::ALL.into_iter().enumerate() {
            assert_eq!(reason as usize, number);
            assert_eq!(WaitReason::from_u8(number as u8), reason);
        }
        assert_eq!(WaitReason::from_u8(200), WaitReason::None);
    }
}
