//! The walk: from the registers of a suspended stack to the return addresses on it.
//!
//! Compilers describe, for each instruction, where the frame of its function ends and where the caller's
//! registers are ([`gimli`] reads it). Of that three facts are kept per address, as a [`Rule`]: goroutines wait at
//! few places, so a walk asks a map and adds.
//!
//! ```text
//!   cfa = rsp + n, or rbp + n          where the caller's frame begins
//!   return address at cfa - 8          (or where the table says)
//!   rbp, rbx: as they are, or at cfa + n
//! ```
//!
//! What ends a walk: a frame that is described by a computation (a stack's first frame, by which
//! corosensei points to the stack of whoever resumed it), an address that no table knows, a word that cannot be
//! read, a frame that does not lie above its callee's, and enough frames. All of these are ends and not errors: words
//! of a stack are not trusted, and the worst that wrong ones do is a wrong backtrace.

use gimli::{
    BaseAddresses, CfaRule, EhFrame, EhFrameHdr, LittleEndian, Register, RegisterRule,
    UnwindContext, X86_64,
};
use millpond_sys::modules::{FrameTable, frame_tables};
use std::collections::HashMap;
use std::ops::Range;

/// Words that lie at the stack pointer of a suspended coroutine: see [`Registers::of_suspended`].
pub const SAVED_WORDS: usize = 3;

/// What a walk begins with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Registers {
    /// The instruction that comes next.
    pub ip: u64,
    /// The stack pointer at it.
    pub sp: u64,
    /// The frame pointer, or whatever is in that register.
    pub bp: u64,
    /// What is in the register that the switch keeps beside it.
    pub bx: u64,
}

impl Registers {
    /// Of a coroutine that has suspended, whose stack pointer is `sp` and whose lowest words are these. This is
    /// corosensei's order on x86-64: where it goes on, `rbx`, `rbp`.
    pub fn of_suspended(sp: usize, words: [u64; SAVED_WORDS]) -> Self {
        let [ip, bx, bp] = words;
        Self { ip, bx, bp, sp: (sp + SAVED_WORDS * 8) as u64 }
    }
}

/// Which register a frame is measured from.
#[derive(Clone, Copy, Debug)]
enum From {
    Sp,
    Bp,
    Bx,
}

/// What a register of the caller is.
#[derive(Clone, Copy, Debug)]
enum Saved {
    Same,
    /// At this distance from the frame's end.
    At(i64),
}

/// How to get from a frame to its caller's. See the module documentation.
#[derive(Clone, Copy, Debug)]
struct Rule {
    from: From,
    distance: i64,
    ip_at: i64,
    bp: Saved,
    bx: Saved,
}

/// Tables of the loaded modules, and what was found in them. For one look at stacks: it keeps the tables'
/// memory, and knows nothing of modules that are loaded later.
pub struct Unwinder {
    tables: Vec<FrameTable>,
    /// By the address that a function returns to. `None`: walks end here.
    rules: HashMap<u64, Option<Rule>>,
    context: Box<UnwindContext<usize>>,
}

impl std::fmt::Debug for Unwinder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Unwinder").field("known", &self.rules.len()).finish_non_exhaustive()
    }
}

impl Default for Unwinder {
    fn default() -> Self {
        Self::new()
    }
}

/// Places that are remembered. More than a program waits at, and a bound.
const KNOWN: usize = 1 << 16;

impl Unwinder {
    /// With no table yet: a module's is read when an address of it comes up, in some hundred microseconds.
    pub fn new() -> Self {
        let context = Box::new(UnwindContext::new());
        Self { tables: Vec::new(), rules: HashMap::new(), context }
    }

    /// Walks from `registers` and appends up to `most` addresses to `frames`, innermost first. `read` gives the word at
    /// an address of the stack, or `None` where there is none.
    ///
    /// `true`: the walk ended because `most` were found, and there may be more.
    ///
    /// ```
    /// use millpond_frames::{Registers, Unwinder};
    /// let nowhere = Registers { ip: 1, sp: 0x1000, bp: 0, bx: 0 };
    /// let mut frames = Vec::new();
    /// assert!(!Unwinder::new().walk(nowhere, |_| None, 10, &mut frames));
    /// assert_eq!(frames, [1]); // no table knows it, so nobody knows who called it
    /// ```
    pub fn walk(
        &mut self,
        registers: Registers,
        read: impl Fn(u64) -> Option<u64>,
        most: usize,
        frames: &mut Vec<usize>,
    ) -> bool {
        let mut now = registers;
        for _ in 0..most {
            frames.push(now.ip as usize);
            let Some(caller) = self.rule(now.ip).and_then(|rule| rule.apply(&now, &read)) else {
                return false;
            };
            now = caller;
        }
        true
    }

    fn rule(&mut self, ip: u64) -> Option<Rule> {
        if let Some(known) = self.rules.get(&ip) {
            return *known;
        }
        if self.rules.len() >= KNOWN {
            self.rules.clear();
        }
        // The call, not what comes after it: that may be another function.
        let rule = self.find(ip.wrapping_sub(1));
        self.rules.insert(ip, rule);
        rule
    }

    fn find(&mut self, address: u64) -> Option<Rule> {
        let is_of = |code: &Range<usize>| code.contains(&(address as usize));
        if !self.tables.iter().any(|table| is_of(&table.code)) && cfg!(target_arch = "x86_64") {
            self.tables.extend(frame_tables(is_of));
        }
        let table = self.tables.iter().find(|table| is_of(&table.code))?;
        let start = table.start as u64;
        let bases = BaseAddresses::default().set_eh_frame_hdr(start);
        let index = EhFrameHdr::new(&table.bytes, LittleEndian).parse(&bases, 8).ok()?;
        let at = index.eh_frame_ptr().direct().ok()?;
        let bytes = table.bytes.get(usize::try_from(at.checked_sub(start)?).ok()?..)?;
        let frames = EhFrame::new(bytes, LittleEndian);
        let bases = bases.set_eh_frame(at).set_text(table.code.start as u64);
        let cie = gimli::UnwindSection::cie_from_offset;
        let row = index
            .table()?
            .unwind_info_for_address(&frames, &bases, &mut self.context, address, cie)
            .ok()?;
        let CfaRule::RegisterAndOffset { register, offset } = *row.cfa() else { return None };
        let saved = |register| match row.register(register) {
            None | Some(RegisterRule::SameValue | RegisterRule::Undefined) => Some(Saved::Same),
            Some(RegisterRule::Offset(at)) => Some(Saved::At(at)),
            Some(_) => None,
        };
        let Some(RegisterRule::Offset(ip_at)) = row.register(X86_64::RA) else { return None };
        Some(Rule {
            from: From::of(register)?,
            distance: offset,
            ip_at,
            bp: saved(X86_64::RBP)?,
            bx: saved(X86_64::RBX)?,
        })
    }
}

impl From {
    fn of(register: Register) -> Option<Self> {
        match register {
            X86_64::RSP => Some(Self::Sp),
            X86_64::RBP => Some(Self::Bp),
            X86_64::RBX => Some(Self::Bx),
            _ => None,
        }
    }
}

impl Rule {
    fn apply(&self, now: &Registers, read: &impl Fn(u64) -> Option<u64>) -> Option<Registers> {
        let from = match self.from {
            From::Sp => now.sp,
            From::Bp => now.bp,
            From::Bx => now.bx,
        };
        let end = from.checked_add_signed(self.distance)?;
        let saved = |what, now| match what {
            Saved::Same => Some(now),
            Saved::At(distance) => read(end.checked_add_signed(distance)?),
        };
        let ip = read(end.checked_add_signed(self.ip_at)?).filter(|&ip| ip > 1)?;
        // A frame that is measured from its frame pointer may lie on another stack, anywhere.
        let grows = end > now.sp || !matches!(self.from, From::Sp);
        grows.then_some(())?;
        Some(Registers { ip, sp: end, bp: saved(self.bp, now.bp)?, bx: saved(self.bx, now.bx)? })
    }
}
