//! The profile: what is collected, and how its records refer to each other.
//!
//! All texts are numbers, their places in one table; all records but samples have ids, from 1 on. Numbers of fields are
//! those of `profile.proto`.

use crate::gzip::gzip;
use crate::message::Message;
use std::collections::BTreeMap;

/// Code of a file, where it is mapped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mapping {
    /// First address.
    pub start: u64,
    /// Address behind the last.
    pub end: u64,
    /// Offset in the file of the first address.
    pub offset: u64,
    /// The file.
    pub path: String,
    /// Its build id in hexadecimal digits; empty if there is none.
    pub build_id: String,
}

impl Mapping {
    /// Whether an address lies in it.
    pub fn contains(&self, address: u64) -> bool {
        (self.start..self.end).contains(&address)
    }
}

/// A profile that is being collected.
///
/// ```
/// use millpond_pprof::{Profile, maps};
///
/// let mut profile = Profile::new(&[("inuse_objects", "count"), ("inuse_space", "bytes")], maps::own());
/// profile.set_period(("space", "bytes"), 512 << 10);
/// profile.sample(&[0x401136, 0x401160], &[2, 200]);
/// profile.name(0x401136, "make_buffer");
/// let file = profile.gzipped();
/// assert!(file.starts_with(&[0x1f, 0x8b]));
/// ```
#[derive(Debug)]
pub struct Profile {
    strings: Strings,
    /// Name and unit of each value of a sample.
    kinds: Vec<(u64, u64)>,
    mappings: Vec<Mapping>,
    /// Samples, as they are in the file.
    samples: Message,
    /// The id of each address.
    locations: BTreeMap<u64, u64>,
    /// The function of an address, as a string; and the id of each function.
    names: BTreeMap<u64, u64>,
    period: Option<((u64, u64), u64)>,
    time_ns: u64,
    duration_ns: u64,
}

/// Texts, each once. The first is the empty one.
#[derive(Debug, Default)]
struct Strings(BTreeMap<String, u64>);

impl Strings {
    fn id(&mut self, text: &str) -> u64 {
        if let Some(&id) = self.0.get(text) {
            return id;
        }
        let id = self.0.len() as u64;
        self.0.insert(text.to_owned(), id);
        id
    }
}

impl Profile {
    /// A profile whose samples have values of these kinds (name and unit; the last is what readers show first), over
    /// addresses in these mappings.
    pub fn new(kinds: &[(&str, &str)], mappings: Vec<Mapping>) -> Self {
        let mut strings = Strings::default();
        strings.id("");
        let kinds = kinds.iter().map(|(name, unit)| (strings.id(name), strings.id(unit))).collect();
        Self {
            strings,
            kinds,
            mappings,
            samples: Message::default(),
            locations: BTreeMap::new(),
            names: BTreeMap::new(),
            period: None,
            time_ns: 0,
            duration_ns: 0,
        }
    }

    /// Of what (name and unit) there is one sample in how much.
    pub fn set_period(&mut self, (name, unit): (&str, &str), period: u64) {
        self.period = Some(((self.strings.id(name), self.strings.id(unit)), period));
    }

    /// When it was taken, in nanoseconds since 1970, and how long it took.
    pub fn set_time(&mut self, time_ns: u64, duration_ns: u64) {
        (self.time_ns, self.duration_ns) = (time_ns, duration_ns);
    }

    /// Adds a stack, innermost first, and its values, one of each kind. An address is that of a call, or within it: a
    /// return address belongs to whatever follows the call, which may be another function.
    pub fn sample(&mut self, stack: &[u64], values: &[i64]) {
        debug_assert_eq!(values.len(), self.kinds.len());
        let locations = &mut self.locations;
        let mut id = |address: &u64| {
            let next = locations.len() as u64 + 1;
            *locations.entry(*address).or_insert(next)
        };
        let ids: Vec<u64> = stack.iter().map(&mut id).collect();
        self.samples.message(2, |sample| {
            sample.packed(1, ids.into_iter()).packed(2, values.iter().map(|&value| value as u64));
        });
    }

    /// The addresses of all samples so far.
    pub fn addresses(&self) -> impl Iterator<Item = u64> {
        self.locations.keys().copied()
    }

    /// Says in which function an address lies. A reader that finds out more, from debug information, believes
    /// that instead.
    pub fn name(&mut self, address: u64, function: &str) {
        let name = self.strings.id(function);
        self.names.insert(address, name);
    }

    /// The file.
    pub fn gzipped(self) -> Vec<u8> {
        gzip(&self.message())
    }

    fn message(mut self) -> Vec<u8> {
        let mut out = Message::default();
        let value_type = |out: &mut Message, field, (name, unit): (u64, u64)| {
            out.message(field, |kind| {
                kind.number(1, name).number(2, unit);
            });
        };
        self.kinds.iter().for_each(|&kind| value_type(&mut out, 1, kind));
        for (number, mapping) in self.mappings.iter().enumerate() {
            let (path, id) = (self.strings.id(&mapping.path), self.strings.id(&mapping.build_id));
            out.message(3, |record| {
                record.number(1, number as u64 + 1).number(2, mapping.start);
                record.number(3, mapping.end).number(4, mapping.offset);
                record.number(5, path).number(6, id);
            });
        }
        let functions: BTreeMap<u64, u64> = {
            let mut names: Vec<u64> = self.names.values().copied().collect();
            names.sort_unstable();
            names.dedup();
            names.into_iter().zip(1..).collect()
        };
        for (&address, &id) in &self.locations {
            let mapping = self.mappings.iter().position(|mapping| mapping.contains(address));
            let function = self.names.get(&address).and_then(|name| functions.get(name));
            out.message(4, |location| {
                location.number(1, id).number(2, mapping.map_or(0, |number| number as u64 + 1));
                location.number(3, address);
                if let Some(&function) = function {
                    location.message(4, |line| {
                        line.number(1, function);
                    });
                }
            });
        }
        for (name, id) in functions {
            out.message(5, |function| {
                function.number(1, id).number(2, name).number(3, name);
            });
        }
        out.number(9, self.time_ns).number(10, self.duration_ns);
        if let Some((kind, period)) = self.period {
            value_type(&mut out, 11, kind);
            out.number(12, period);
        }
        let mut texts: Vec<(String, u64)> = self.strings.0.into_iter().collect();
        texts.sort_by_key(|(_, id)| *id);
        texts.iter().for_each(|(text, _)| {
            out.bytes(6, text.as_bytes());
        });
        let mut message = out.finish();
        // Fields may come in any order.
        message.extend(self.samples.finish());
        message
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The fields of a message: number, and a number or bytes.
    fn fields(mut message: &[u8]) -> Vec<(u64, Result<u64, &[u8]>)> {
        fn varint(bytes: &mut &[u8]) -> u64 {
            let (mut value, mut shift) = (0, 0);
            loop {
                let byte = bytes[0];
                *bytes = &bytes[1..];
                value |= u64::from(byte & 0x7F) << shift;
                shift += 7;
                if byte < 0x80 {
                    return value;
                }
            }
        }
        let mut found = Vec::new();
        while !message.is_empty() {
            let key = varint(&mut message);
            let value = varint(&mut message);
            found.push(if key & 7 == 0 {
                (key >> 3, Ok(value))
            } else {
                let (bytes, rest) = message.split_at(value as usize);
                message = rest;
                (key >> 3, Err(bytes))
            });
        }
        found
    }

    fn mapping(start: u64, path: &str) -> Mapping {
        let (path, build_id) = (path.to_owned(), "ab12".to_owned());
        Mapping { start, end: start + 0x1000, offset: 0x2000, path, build_id }
    }

    #[test]
    fn records_refer_to_each_other_by_id_and_to_texts_by_place() {
        let mappings = vec![mapping(0x1000, "/bin/a"), mapping(0x8000, "/lib/b")];
        let mut profile = Profile::new(&[("objects", "count"), ("space", "bytes")], mappings);
        profile.set_period(("space", "bytes"), 77);
        profile.sample(&[0x8010, 0x1010], &[1, -2]);
        profile.sample(&[0x1020, 0x1010, 0xFFFF_0000], &[0, 200]);
        profile.name(0x8010, "inner");
        let message = profile.message();
        let all = fields(&message);
        let of = |field| {
            let bytes = all.iter().filter(move |(number, _)| *number == field);
            bytes.map(|(_, value)| value.unwrap_err()).collect::<Vec<_>>()
        };
        let texts = of(6);
        assert_eq!(texts[0], b"");
        let text = |id: u64| std::str::from_utf8(texts[id as usize]).unwrap();
        let number = |record: &[u8], field| {
            fields(record)
                .into_iter()
                .find(|(number, _)| *number == field)
                .map_or(0, |(_, v)| v.unwrap())
        };
        let kinds: Vec<_> =
            of(1).iter().map(|kind| (text(number(kind, 1)), text(number(kind, 2)))).collect();
        assert_eq!(kinds, [("objects", "count"), ("space", "bytes")]);
        let samples = of(2);
        assert_eq!(
            samples[0],
            b"\x0a\x02\x01\x02\x12\x0b\x01\xfe\xff\xff\xff\xff\xff\xff\xff\xff\x01"
        );
        assert_eq!(samples[1], b"\x0a\x03\x03\x02\x04\x12\x03\x00\xc8\x01");
        let mappings = of(3);
        assert_eq!((number(mappings[1], 1), text(number(mappings[1], 5))), (2, "/lib/b"));
        assert_eq!((number(mappings[1], 2), number(mappings[1], 4)), (0x8000, 0x2000));
        assert_eq!(text(number(mappings[0], 6)), "ab12");
        let locations: BTreeMap<u64, (u64, u64)> =
            of(4).iter().map(|l| (number(l, 1), (number(l, 3), number(l, 2)))).collect();
        let expected =
            [(1, (0x8010, 2)), (2, (0x1010, 1)), (3, (0x1020, 1)), (4, (0xFFFF_0000, 0))];
        assert_eq!(locations.into_iter().collect::<Vec<_>>(), expected);
        assert_eq!(text(number(of(5)[0], 2)), "inner");
        assert_eq!(all.iter().find(|(number, _)| *number == 12), Some(&(12, Ok(77))));
    }
}
