//! The five sizes that a stack can have, and the arithmetic that follows from each.
//!
//! Few classes, because every class has its own reservation and its own warm stacks: a stack of
//! one class never becomes a stack of another. The factor between neighbours is 4 or 8; a parked
//! stack costs the pages that it touched and not its size, so rounding up wastes addresses only.
//!
//! Chunks are 2 MiB, what one page of page tables maps: a chunk that is wholly free gives back
//! that page as well. A stack of 8 MiB is a chunk of its own.
//!
//! Address space, when every class is in use: 32 + 128 + 512 + 256 + 256 GiB, of 128 TiB.

use std::error::Error;
use std::fmt;
use std::io;

/// Bytes of the guard at the bottom of each stack: one page.
pub(crate) const GUARD_BYTES: usize = 4096;

/// How far apart the colours of neighbouring slots are, and how many there are.
const COLOUR_BYTES: usize = 128;
const COLOURS: usize = 16;

/// A size that stacks come in. The size is that of the whole slot: one page of it is the guard,
/// and up to 1920 bytes are left unused at the top (see the crate's essay).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum SizeClass {
    /// 16 KiB: for small callbacks that call little foreign code.
    Kib16,
    /// 64 KiB: the default of release builds.
    Kib64,
    /// 256 KiB: the default with debug assertions, whose frames are several times larger.
    Kib256,
    /// 1 MiB.
    Mib1,
    /// 8 MiB: what a main thread usually has.
    Mib8,
}

impl SizeClass {
    /// How many classes there are.
    pub const COUNT: usize = 5;

    /// All of them, smallest first.
    pub const ALL: [Self; Self::COUNT] =
        [Self::Kib16, Self::Kib64, Self::Kib256, Self::Mib1, Self::Mib8];

    /// Bytes of a stack of this class, guard included.
    #[inline]
    pub const fn bytes(self) -> usize {
        1 << self.shift()
    }

    const fn shift(self) -> u32 {
        match self {
            Self::Kib16 => 14,
            Self::Kib64 => 16,
            Self::Kib256 => 18,
            Self::Mib1 => 20,
            Self::Mib8 => 23,
        }
    }

    /// Bytes that a goroutine can use at least: without the guard and the largest colour.
    pub const fn usable_bytes(self) -> usize {
        self.bytes() - GUARD_BYTES - COLOUR_BYTES * (COLOURS - 1)
    }

    /// Position in [`Self::ALL`].
    #[inline]
    pub const fn index(self) -> usize {
        self as usize
    }

    /// Bytes of a chunk, the unit in which stacks are opened and closed.
    pub(crate) const fn chunk_bytes(self) -> usize {
        match self {
            Self::Mib8 => 8 << 20,
            _ => 2 << 20,
        }
    }

    /// Stacks in a chunk: 1 to 128.
    pub(crate) const fn slots_per_chunk(self) -> usize {
        self.chunk_bytes() / self.bytes()
    }

    /// Bytes of a region: two million stacks of the sizes that come by the million.
    pub(crate) const fn region_bytes(self) -> usize {
        match self {
            Self::Kib16 => 32 << 30,
            Self::Kib64 => 128 << 30,
            Self::Kib256 => 512 << 30,
            Self::Mib1 | Self::Mib8 => 256 << 30,
        }
    }

    /// Warm stacks that an M keeps by default. A warm stack usually holds one or two pages, but
    /// may hold all that it ever touched: the large classes keep few.
    pub(crate) const fn warm_stacks(self) -> usize {
        match self {
            Self::Kib16 | Self::Kib64 => 512,
            Self::Kib256 => 256,
            Self::Mib1 => 8,
            Self::Mib8 => 1,
        }
    }
}

impl fmt::Display for SizeClass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.bytes() {
            bytes if bytes < 1 << 20 => write!(f, "{} KiB", bytes >> 10),
            bytes => write!(f, "{} MiB", bytes >> 20),
        }
    }
}

/// Where the stack with lowest address `limit` begins: its end less its colour. Slots are numbered
/// by address here, so that a stack needs to remember one address only.
#[inline]
pub(crate) const fn base_of(class: SizeClass, limit: usize) -> usize {
    limit + class.bytes() - (limit >> class.shift()) % COLOURS * COLOUR_BYTES
}

/// A stack was asked for that is larger than the largest class.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooLarge {
    /// What was asked for.
    pub asked_bytes: usize,
}

impl fmt::Display for TooLarge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "stack of {} bytes: expected at most {} (8 MiB), the largest size class; put large \
             arrays on the heap, or run deep recursion on a thread of your own",
            self.asked_bytes,
            SizeClass::Mib8.bytes()
        )
    }
}

impl Error for TooLarge {}

impl From<TooLarge> for io::Error {
    fn from(error: TooLarge) -> Self {
        Self::new(io::ErrorKind::InvalidInput, error)
    }
}

/// The smallest class whose stacks are `bytes` large, guard included.
///
/// # Errors
/// [`TooLarge`] beyond 8 MiB.
///
/// ```
/// use millpond_stack::{SizeClass, class_for};
/// assert_eq!(class_for(20_000), Ok(SizeClass::Kib64));
/// assert!(class_for(9 << 20).is_err());
/// ```
pub fn class_for(bytes: usize) -> Result<SizeClass, TooLarge> {
    SizeClass::ALL
        .into_iter()
        .find(|class| bytes <= class.bytes())
        .ok_or(TooLarge { asked_bytes: bytes })
}

/// The class of a goroutine that asked for none: 64 KiB, or 256 KiB with debug assertions.
pub const fn default_class() -> SizeClass {
    if cfg!(debug_assertions) { SizeClass::Kib256 } else { SizeClass::Kib64 }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn a_size_finds_the_smallest_class_that_holds_it() {
        assert_eq!(class_for(0), Ok(SizeClass::Kib16));
        for class in SizeClass::ALL {
            assert_eq!(class_for(class.bytes()), Ok(class));
            assert_eq!(class_for(class.bytes() - 1), Ok(class));
            assert_ne!(class_for(class.bytes() + 1), Ok(class));
        }
        let refused = class_for((8 << 20) + 1).unwrap_err();
        assert!(refused.to_string().contains("stack of 8388609 bytes: expected at most 8388608"));
    }

    #[test]
    fn geometry_fits_together() {
        for class in SizeClass::ALL {
            assert!((1..=128).contains(&class.slots_per_chunk()));
            assert_eq!(class.slots_per_chunk() * class.bytes(), class.chunk_bytes());
            assert_eq!(class.region_bytes() % class.chunk_bytes(), 0);
            assert!(class.usable_bytes() >= 4096);
            assert!(class.region_bytes() / class.chunk_bytes() <= u32::MAX as usize);
        }
        assert!(SizeClass::Kib64.region_bytes() / SizeClass::Kib64.bytes() >= 2_000_000);
    }
}
