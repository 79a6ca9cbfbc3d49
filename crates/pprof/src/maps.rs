//! What is mapped where: the parts of `/proc/self/maps` that hold code of a file.
//!
//! A reader finds an address's function in three steps: which mapping, which file, and where in the file. Data and
//! anonymous memory hold no functions, and the kernel's own page (`[vdso]`) is no file; they are left out.
//!
//! Rejected: `dl_iterate_phdr`, which knows what the dynamic linker has loaded, and not what a program has mapped
//! itself.

use crate::Mapping;
use crate::elf;
use std::path::Path;

/// The mappings of code of this process, the program's own first, as readers expect it.
///
/// An empty list where the kernel does not say.
///
/// ```
/// let maps = millpond_pprof::maps::own();
/// assert!(maps[0].contains(main as fn() as usize as u64));
/// # fn main() {}
/// ```
pub fn own() -> Vec<Mapping> {
    let text = std::fs::read_to_string("/proc/self/maps").unwrap_or_default();
    let mut found: Vec<Mapping> = text.lines().filter_map(parse).collect();
    let program = std::fs::read_link("/proc/self/exe").unwrap_or_default();
    found.sort_by_key(|mapping| Path::new(&mapping.path) != program);
    for mapping in &mut found {
        mapping.build_id = elf::build_id(Path::new(&mapping.path)).unwrap_or_default();
    }
    found
}

/// `start-end permissions offset device inode   path`.
fn parse(line: &str) -> Option<Mapping> {
    let mut words = line.split_ascii_whitespace();
    let (range, permissions, offset) = (words.next()?, words.next()?, words.next()?);
    // A path may have blanks in it.
    let path = &line[line.find('/')?..];
    let (start, end) = range.split_once('-')?;
    let number = |text| u64::from_str_radix(text, 16).ok();
    permissions.contains('x').then_some(Mapping {
        start: number(start)?,
        end: number(end)?,
        offset: number(offset)?,
        path: path.to_owned(),
        build_id: String::new(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn code_of_files_is_taken_and_all_else_left() {
        let line = "55d0c0a02000-55d0c0a07000 r-xp 00002000 fe:00 9 /usr/bin/a program";
        let mapping = parse(line).unwrap();
        assert_eq!((mapping.start, mapping.end), (0x55d0c0a02000, 0x55d0c0a07000));
        assert_eq!((mapping.offset, mapping.path.as_str()), (0x2000, "/usr/bin/a program"));
        assert_eq!(parse(&line.replace("r-xp", "rw-p")), None);
        assert_eq!(parse("7ffd1000-7ffd3000 r-xp 00000000 00:00 0   [vdso]"), None);
        assert_eq!(parse(""), None);
    }

    #[test]
    fn the_test_itself_comes_first_and_has_an_id() {
        let maps = own();
        assert!(maps[0].contains(own as fn() -> Vec<Mapping> as usize as u64), "{maps:?}");
        assert!(maps.iter().any(|mapping| mapping.path.contains("libc")), "{maps:?}");
        // Every linker of a distribution writes an id into the C library.
        let has_id = |mapping: &Mapping| mapping.build_id.len() >= 16;
        assert!(maps.iter().filter(|mapping| has_id(mapping)).count() > 0, "{maps:?}");
    }
}
