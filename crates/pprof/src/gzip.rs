//! gzip (RFC 1952): a header, a deflated stream, a checksum and a length.
//!
//! Deflating is `miniz_oxide`'s, which `std` itself uses. What stands around it is thirty lines.
//!
//! Rejected: leaving the profile unpacked, which readers take as well. It would be four times as long, and who keeps
//! one an hour keeps many.

use miniz_oxide::deflate::compress_to_vec;

/// Fast, and within some per cent of the smallest for what profiles hold.
const LEVEL: u8 = 3;

/// Packs a text.
///
/// ```
/// let packed = millpond_pprof::gzip(&[7; 1000]);
/// assert!(packed.starts_with(&[0x1f, 0x8b]) && packed.len() < 100);
/// ```
pub fn gzip(text: &[u8]) -> Vec<u8> {
    // Deflated; no name, no time, an unknown system.
    let mut packed = vec![0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255];
    packed.extend(compress_to_vec(text, LEVEL));
    packed.extend(crc32(text).to_le_bytes());
    packed.extend((text.len() as u32).to_le_bytes());
    packed
}

/// The checksum of a byte after `n` zeros are counted in.
const TABLE: [u32; 256] = {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        let mut rest = byte as u32;
        let mut bit = 0;
        while bit < 8 {
            rest = rest >> 1 ^ if rest & 1 == 1 { 0xEDB8_8320 } else { 0 };
            bit += 1;
        }
        table[byte] = rest;
        byte += 1;
    }
    table
};

fn crc32(text: &[u8]) -> u32 {
    let step = |sum: u32, byte: &u8| sum >> 8 ^ TABLE[usize::from(sum as u8 ^ byte)];
    !text.iter().fold(!0, step)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checksum_is_that_of_the_standard() {
        assert_eq!(crc32(b"123456789"), 0xCBF4_3926);
        assert_eq!(crc32(b""), 0);
    }

    #[test]
    fn what_was_packed_can_be_unpacked() {
        for length in [0, 1, 100_000] {
            let text: Vec<u8> = (0..length).map(|n: u32| (n.wrapping_mul(n) >> 3) as u8).collect();
            let packed = gzip(&text);
            let end = packed.len() - 8;
            let unpacked = miniz_oxide::inflate::decompress_to_vec(&packed[10..end]).unwrap();
            assert_eq!(unpacked, text);
            assert_eq!(packed[end + 4..], length.to_le_bytes());
        }
    }
}
