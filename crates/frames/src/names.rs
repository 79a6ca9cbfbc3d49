//! Names of addresses: function, file, line, and what was inlined there.
//!
//! The `backtrace` crate reads the debug information that the program carries (or the symbols alone, if it has no
//! more), as `std` does for a panic. What it reads it keeps mapped, tens of megabytes for a large program, so it is
//! told to forget when a look at stacks is over ([`Names`] is dropped). What is remembered are the names that were
//! found: a program waits at few places, and a page that shows them is loaded again and again.

use millpond_prim::sync::Lock;
use millpond_sys::modules::unloads;
use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

/// One function on a stack.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Frame {
    /// Its name with its path; the address, if nothing is known of it.
    pub function: Arc<str>,
    /// The file and the line of the call, or of what is to be done next.
    pub place: Option<(Arc<str>, u32)>,
}

/// In Go's form: the function, and on a second line where it is.
impl fmt::Display for Frame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.function)?;
        match &self.place {
            Some((file, line)) => write!(f, "\n\t{file}:{line}"),
            None => Ok(()),
        }
    }
}

/// Addresses of which one look asks the debug information; further ones are shown as numbers.
const MOST: usize = 10_000;

/// Addresses that are remembered from one look to the next: about a megabyte.
const KEPT: usize = 4096;

/// What is remembered. A leaf lock.
static KEEP: Lock<Option<Arc<Known>>> = Lock::new(None);

#[derive(Clone, Debug, Default)]
struct Known {
    frames: HashMap<usize, Arc<[Frame]>>,
    files: HashMap<String, Arc<str>>,
    /// How often something had been unloaded: afterwards an address may be another function's.
    unloads: u64,
}

/// The names of one look at stacks.
#[derive(Debug)]
pub struct Names {
    /// Shared with other looks, until there is something to add.
    known: Arc<Known>,
    asked: usize,
}

impl Default for Names {
    fn default() -> Self {
        Self::new()
    }
}

impl Names {
    /// With what the last look has left.
    pub fn new() -> Self {
        let unloads = unloads();
        let kept = KEEP.lock().clone().filter(|kept| kept.unloads == unloads);
        let known = kept.unwrap_or_else(|| Arc::new(Known { unloads, ..Known::default() }));
        Self { known, asked: 0 }
    }

    /// What is at a return address: the innermost function that was inlined there first, the one that was
    /// compiled last. Takes tens of milliseconds the first time, and some 20 KiB of stack.
    ///
    /// ```
    /// # #[inline(never)]
    /// # fn here() -> usize {
    /// #     let mut frames = [0; 1];
    /// #     millpond_sys::unwind::frames(&mut frames, 0);
    /// #     frames[0]
    /// # }
    /// let frames = millpond_frames::Names::new().of(here());
    /// assert!(frames.iter().any(|frame| frame.function.contains("here")));
    /// ```
    pub fn of(&mut self, address: usize) -> Arc<[Frame]> {
        if let Some(known) = self.known.frames.get(&address) {
            return known.clone();
        }
        let mut frames = Vec::new();
        if self.asked < MOST {
            self.asked += 1;
            backtrace::resolve(address as *mut std::ffi::c_void, |symbol| {
                // Without the hash at its end, which says nothing to anybody.
                let function = symbol.name().map(|name| format!("{name:#}").into());
                let file = symbol.filename().map(|file| file.to_string_lossy().into_owned());
                let place = file.zip(symbol.lineno()).map(|(file, line)| (self.file(file), line));
                frames.extend(function.map(|function| Frame { function, place }));
            });
        }
        if frames.is_empty() {
            frames.push(Frame { function: format!("{address:#x}").into(), place: None });
        }
        let frames: Arc<[Frame]> = frames.into();
        Arc::make_mut(&mut self.known).frames.insert(address, frames.clone());
        frames
    }

    fn file(&mut self, name: String) -> Arc<str> {
        let shared = Arc::from(name.as_str());
        Arc::make_mut(&mut self.known).files.entry(name).or_insert(shared).clone()
    }
}

impl Drop for Names {
    fn drop(&mut self) {
        if self.asked == 0 {
            return;
        }
        backtrace::clear_symbol_cache();
        if self.known.frames.len() <= KEPT {
            let older = KEEP.lock().replace(self.known.clone());
            drop(older);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_no_name_is_shown_as_a_number_and_what_was_found_is_remembered() {
        let mut names = Names::new();
        assert_eq!(&*names.of(3)[0].function, "0x3");
        assert_eq!(names.of(3)[0].to_string(), "0x3");
        let here = Names::new as fn() -> Names as usize + 1;
        let found = names.of(here);
        assert!(found.iter().any(|frame| frame.function.contains("Names")), "{found:?}");
        drop(names);
        let mut again = Names::new();
        assert!(Arc::ptr_eq(&again.of(here), &found) && again.asked == 0);
    }
}
