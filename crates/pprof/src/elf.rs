//! The build id of a file: the note by which a reader knows that it has the same binary.
//!
//! Walk: header → program headers → the notes among them → the note of GNU's that holds the id. Only what is needed is
//! read. A file that is not what it should be has no id; that is no error, since the file may be anything by now.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

/// `PT_NOTE`.
const NOTES: u32 = 4;
/// `NT_GNU_BUILD_ID`.
const BUILD_ID: u32 = 3;
/// No binary has more notes than this at a place.
const MOST_BYTES: u64 = 64 << 10;

/// The build id in hexadecimal digits; `None` if the file is not there, or has none.
pub fn build_id(path: &Path) -> Option<String> {
    let file = File::open(path).ok()?;
    let mut header = [0; 64];
    file.read_exact_at(&mut header, 0).ok()?;
    // 64 bits, little-endian: the only kind that this project runs on.
    if !header.starts_with(b"\x7fELF\x02\x01") {
        return None;
    }
    let (table, size, count) = (u64_at(&header, 32)?, u16_at(&header, 54)?, u16_at(&header, 56)?);
    for number in 0..u64::from(count) {
        let mut entry = [0; 56];
        file.read_exact_at(&mut entry, table.checked_add(number * u64::from(size))?).ok()?;
        if u32_at(&entry, 0)? != NOTES {
            continue;
        }
        let (offset, bytes) = (u64_at(&entry, 8)?, u64_at(&entry, 32)?);
        let mut notes = vec![0; bytes.min(MOST_BYTES) as usize];
        file.read_exact_at(&mut notes, offset).ok()?;
        if let Some(id) = find(&notes) {
            return Some(id.iter().map(|byte| format!("{byte:02x}")).collect());
        }
    }
    None
}

/// The id among some notes: length of the name, length of the content, kind; then name and content, each up to a
/// multiple of 4.
fn find(mut notes: &[u8]) -> Option<&[u8]> {
    loop {
        let (name, content) = (u32_at(notes, 0)? as usize, u32_at(notes, 4)? as usize);
        let content_at = 12 + name.checked_next_multiple_of(4)?;
        let end = content_at.checked_add(content)?;
        if u32_at(notes, 8)? == BUILD_ID && notes.get(12..16)? == b"GNU\0" {
            return notes.get(content_at..end);
        }
        notes = notes.get(end.checked_next_multiple_of(4)?..)?;
    }
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_le_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(bytes.get(at..at + 8)?.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_id_is_found_behind_other_notes_and_broken_notes_have_none() {
        let note = |kind: u32, name: &[u8; 4], content: &[u8]| {
            let mut note = [4, content.len() as u32, kind].map(u32::to_le_bytes).concat();
            note.extend(name);
            note.extend(content);
            note.resize(note.len().next_multiple_of(4), 0);
            note
        };
        let other = note(BUILD_ID, b"Go\0\0", b"another's");
        let mut all =
            [other, note(5, b"GNU\0", b"12345"), note(BUILD_ID, b"GNU\0", b"\x01\xab")].concat();
        assert_eq!(find(&all), Some(&b"\x01\xab"[..]));
        (0..all.len() - 2).for_each(|end| assert_eq!(find(&all[..end]), None));
        all[4..8].fill(0xFF);
        assert_eq!(find(&all), None);
    }

    #[test]
    fn files_that_are_no_binaries_have_no_id() {
        assert_eq!(build_id(Path::new("/no/such/file")), None);
        assert_eq!(build_id(Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml"))), None);
        assert_eq!(build_id(Path::new("/dev/null")), None);
    }
}
