//! What a key can hold: a text, a list, a hash, or a set.
//!
//! A command knows which kind it works on, and asks a shard for it by type: [`Kind`] turns the
//! question into "there is one", "there is none" or `WRONGTYPE`.
//!
//! A [`Text`] changes its form with its size. A small one is a `Vec`, which SET, APPEND and INCR
//! change in place. A big one is shared with the replies that are being written: a change finds it
//! shared and copies, and a reply goes on with what was true when it was asked for.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;

/// From this length on a text is shared with replies instead of copied.
const SHARED_BYTES: usize = 16 << 10;

/// A binary string.
#[derive(Debug)]
pub enum Text {
    Own(Vec<u8>),
    Shared(Arc<Vec<u8>>),
}

impl Text {
    pub fn new(bytes: &[u8]) -> Self {
        Self::from_vec(bytes.to_vec())
    }

    fn from_vec(bytes: Vec<u8>) -> Self {
        if bytes.len() < SHARED_BYTES { Self::Own(bytes) } else { Self::Shared(Arc::new(bytes)) }
    }

    pub fn bytes(&self) -> &[u8] {
        match self {
            Self::Own(bytes) => bytes,
            Self::Shared(bytes) => bytes,
        }
    }

    /// Replaces all of it, in the memory that it has if that is not far too much.
    pub fn set(&mut self, new: &[u8]) {
        let most = (4 * new.len()).max(64);
        match self {
            Self::Own(bytes) if new.len() < SHARED_BYTES && bytes.capacity() <= most => {
                bytes.clear();
                bytes.extend_from_slice(new);
            }
            _ => *self = Self::new(new),
        }
    }

    pub fn append(&mut self, more: &[u8]) {
        match self {
            Self::Own(bytes) => {
                bytes.extend_from_slice(more);
                if bytes.len() >= SHARED_BYTES {
                    *self = Self::from_vec(std::mem::take(bytes));
                }
            }
            // Copies only if a reply that is being written has it too.
            Self::Shared(bytes) => Arc::make_mut(bytes).extend_from_slice(more),
        }
    }
}

pub type List = VecDeque<Box<[u8]>>;
pub type Hash = HashMap<Box<[u8]>, Box<[u8]>>;
pub type Set = HashSet<Box<[u8]>>;

/// The value of a key. Lists, hashes and sets are never empty: a key without elements is no key.
#[derive(Debug)]
pub enum Value {
    Text(Text),
    List(List),
    Hash(Hash),
    Set(Set),
}

impl Value {
    /// The answer of TYPE.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Text(_) => "string",
            Self::List(_) => "list",
            Self::Hash(_) => "hash",
            Self::Set(_) => "set",
        }
    }
}

/// A type that a value may be of.
pub trait Kind: Sized {
    fn of(value: &mut Value) -> Option<&mut Self>;
}

/// A kind whose first element makes the key.
pub trait Collection: Kind {
    fn empty() -> Value;
    fn is_empty(&self) -> bool;
}

macro_rules! kind {
    ($type:ident) => {
        impl Kind for $type {
            fn of(value: &mut Value) -> Option<&mut Self> {
                match value {
                    Value::$type(value) => Some(value),
                    _ => None,
                }
            }
        }
    };
    ($type:ident, collection) => {
        kind!($type);
        impl Collection for $type {
            fn empty() -> Value {
                Value::$type($type::new())
            }

            fn is_empty(&self) -> bool {
                $type::is_empty(self)
            }
        }
    };
}

kind!(Text);
kind!(List, collection);
kind!(Hash, collection);
kind!(Set, collection);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reply_keeps_what_it_was_given_while_the_text_goes_on() {
        let mut text = Text::new(b"a");
        text.append(&[b'b'; SHARED_BYTES]);
        let Text::Shared(given) = &text else { panic!("a big text is shared") };
        let given = given.clone();
        text.append(b"c");
        assert_eq!(given.len(), SHARED_BYTES + 1);
        assert_eq!(text.bytes().len(), SHARED_BYTES + 2);
        text.set(b"d");
        assert_eq!((text.bytes(), given.len()), (&b"d"[..], SHARED_BYTES + 1));
    }

    #[test]
    fn a_short_text_does_not_keep_the_memory_of_a_long_one() {
        let mut text = Text::new(&[b'a'; SHARED_BYTES - 1]);
        text.set(b"b");
        let Text::Own(bytes) = &text else { panic!("a small text is its own") };
        assert!(bytes.capacity() < 100);
    }
}
