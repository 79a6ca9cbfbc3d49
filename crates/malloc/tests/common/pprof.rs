//! Reads profiles as a stranger would: gzip by the system's program, fields by number.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Places of the values in a sample.
#[derive(Clone, Copy, Debug)]
pub enum Kind {
    AllocObjects,
    AllocSpace,
    InUseObjects,
    InUseSpace,
}

/// What the tests want to know of a profile.
pub struct Decoded {
    /// Addresses, innermost first, and values.
    samples: Vec<(Vec<u64>, Vec<i64>)>,
    /// Bytes between samples.
    pub period: u64,
    /// Names of functions.
    pub names: Vec<String>,
}

/// A field: its number, and a number or bytes.
type Field<'a> = (u64, Result<u64, &'a [u8]>);

fn varint(bytes: &mut &[u8]) -> u64 {
    let (mut value, mut shift) = (0, 0);
    loop {
        let byte = bytes[0];
        *bytes = &bytes[1..];
        value |= u64::from(byte & 0x7F) << shift;
        if byte < 0x80 {
            return value;
        }
        shift += 7;
    }
}

fn fields(mut message: &[u8]) -> Vec<Field<'_>> {
    let mut found = Vec::new();
    while !message.is_empty() {
        let (key, value) = (varint(&mut message), varint(&mut message));
        found.push(match key & 7 {
            0 => (key >> 3, Ok(value)),
            2 => {
                let (bytes, rest) = message.split_at(value as usize);
                message = rest;
                (key >> 3, Err(bytes))
            }
            kind => panic!("a field of kind {kind}"),
        });
    }
    found
}

fn number(message: &[u8], field: u64) -> u64 {
    let found = fields(message).into_iter().find(|(number, _)| *number == field);
    found.map_or(0, |(_, value)| value.unwrap())
}

fn packed(message: &[u8], field: u64) -> Vec<u64> {
    let found = fields(message).into_iter().find(|(number, _)| *number == field);
    let mut bytes = found.map_or(&[][..], |(_, value)| value.unwrap_err());
    let mut values = Vec::new();
    while !bytes.is_empty() {
        values.push(varint(&mut bytes));
    }
    values
}

impl Decoded {
    /// Reads a file; panics if it is no profile of a heap.
    pub fn read(file: &Path) -> Decoded {
        let mut unpack = Command::new("gzip");
        let output = unpack.arg("-dc").stdin(std::fs::File::open(file).unwrap()).output().unwrap();
        assert!(output.status.success(), "gzip: {}", String::from_utf8_lossy(&output.stderr));
        let message = output.stdout;
        let all = fields(&message);
        let records = |field| {
            let of = all.iter().filter(move |(number, _)| *number == field);
            of.map(|(_, value)| value.unwrap_err())
        };
        let texts: Vec<&str> = records(6).map(|text| std::str::from_utf8(text).unwrap()).collect();
        assert_eq!(texts[0], "");
        let kinds: Vec<&str> = records(1).map(|kind| texts[number(kind, 1) as usize]).collect();
        assert_eq!(kinds, ["alloc_objects", "alloc_space", "inuse_objects", "inuse_space"]);
        let mappings: HashMap<u64, (u64, u64)> =
            records(3).map(|map| (number(map, 1), (number(map, 2), number(map, 3)))).collect();
        let locations: HashMap<u64, u64> = records(4)
            .map(|location| {
                let (address, mapping) = (number(location, 3), number(location, 2));
                if mapping > 0 {
                    let (start, end) = mappings[&mapping];
                    assert!(
                        (start..end).contains(&address),
                        "{address:#x} in {start:#x}..{end:#x}"
                    );
                }
                (number(location, 1), address)
            })
            .collect();
        let sample = |record: &[u8]| {
            let stack = packed(record, 1).iter().map(|id| locations[id]).collect();
            (stack, packed(record, 2).into_iter().map(|value| value as i64).collect())
        };
        let period =
            all.iter().find(|(number, _)| *number == 12).map_or(0, |(_, value)| value.unwrap());
        let names =
            records(5).map(|function| texts[number(function, 2) as usize].to_owned()).collect();
        Decoded { samples: records(2).map(sample).collect(), period, names }
    }

    /// The sum of the samples with such an address in their stack.
    pub fn of(&self, kind: Kind, wanted: impl Fn(u64) -> bool) -> i64 {
        let with = self.samples.iter().filter(|(stack, _)| stack.iter().any(|&at| wanted(at)));
        with.map(|(_, values)| values[kind as usize]).sum()
    }

    /// How many stacks there are.
    pub fn stacks(&self) -> usize {
        self.samples.len()
    }

    /// How many samples have such an innermost address.
    pub fn innermost(&self, wanted: impl Fn(u64) -> bool) -> usize {
        self.samples.iter().filter(|(stack, _)| stack.first().is_some_and(|&at| wanted(at))).count()
    }
}

/// Where Go is, whose `pprof` reads profiles.
pub fn go() -> Option<PathBuf> {
    let named = std::env::var_os("GO").map(PathBuf::from);
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut places =
        named.into_iter().chain(std::env::split_paths(&path).map(|folder| folder.join("go")));
    places.find(|place| place.is_file())
}
