//! Bytes become commands: RESP2 requests, and inline commands for people.
//!
//! ```text
//!   *2\r\n  $3\r\nGET\r\n  $5\r\nhello\r\n          PING hello\r\n
//!   └count  └length └argument                       └anything but '*': a line of words
//! ```
//!
//! The parser copies nothing: it notes where in the input the arguments lie ([`Args`]). Only
//! an inline command is copied, because its quotes have to go. What it has read of a command that
//! is not whole yet it remembers, so input that comes byte by byte costs no more than in one piece.
//!
//! What a client announces is not believed: nothing is reserved for it, and memory grows only with
//! what has really arrived, up to [`Limits`]. Errors have Redis' texts; after one the place of the
//! next command is unknown, so the connection ends.

use crate::inline::{self, Unbalanced};
use crate::number;
use std::ops::{Index, Range};

/// The largest request.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// A line: an inline command, or a count.
    pub line_bytes: usize,
    /// Arguments of a command.
    pub args: usize,
    /// One argument.
    pub arg_bytes: usize,
    /// A whole command.
    pub command_bytes: usize,
}

impl Limits {
    /// Those of Redis as it is installed; the number of arguments is that of Redis 6.
    pub const REDIS: Self =
        Self { line_bytes: 64 << 10, args: 1 << 20, arg_bytes: 512 << 20, command_bytes: 1 << 30 };
}

/// Why the input is no command: Redis' text.
#[derive(Debug, PartialEq, Eq)]
pub struct Malformed(pub String);

fn malformed<T>(what: &str) -> Result<T, Malformed> {
    Err(Malformed(format!("Protocol error: {what}")))
}

/// What a command consists of: its name, then its arguments.
#[derive(Clone, Copy)]
pub struct Args<'a> {
    bytes: &'a [u8],
    ranges: &'a [Range<usize>],
}

impl<'a> Args<'a> {
    pub fn len(&self) -> usize {
        self.ranges.len()
    }

    pub fn get(&self, index: usize) -> Option<&'a [u8]> {
        self.ranges.get(index).map(|range| &self.bytes[range.clone()])
    }

    /// The arguments from `first` on.
    pub fn from(&self, first: usize) -> impl ExactSizeIterator<Item = &'a [u8]> + Clone + use<'a> {
        let bytes = self.bytes;
        self.ranges[first..].iter().map(move |range| &bytes[range.clone()])
    }
}

impl Index<usize> for Args<'_> {
    type Output = [u8];
    fn index(&self, index: usize) -> &[u8] {
        &self.bytes[self.ranges[index].clone()]
    }
}

/// A parser, perhaps in the middle of a command.
#[derive(Debug)]
pub struct Parser {
    limits: Limits,
    state: State,
    /// How far the command has been read, from its first byte.
    at: usize,
    /// How far from `at` there is no end of line.
    scanned: usize,
    /// Where the arguments lie: from the command's first byte, or in `text`.
    ranges: Vec<Range<usize>>,
    /// The words of an inline command.
    text: Vec<u8>,
    inline: bool,
}

#[derive(Debug, Clone, Copy)]
enum State {
    /// Before the first byte of a command, or in its first line.
    Start,
    /// `left` arguments are to come, with their lengths.
    Length { left: usize },
    /// In an argument of `len` bytes, after which `left` are to come.
    Argument { len: usize, left: usize },
}

impl Parser {
    pub fn new(limits: Limits) -> Self {
        let (ranges, text) = (Vec::new(), Vec::new());
        Self { limits, state: State::Start, at: 0, scanned: 0, ranges, text, inline: false }
    }

    /// Reads on. `input` starts with the command's first byte, and each call sees all that the call
    /// before has seen. `Some(n)`: a command is whole and takes `n` bytes, and [`Parser::args`] has
    /// it until the next call; an empty line is a command without words. `None`: more is needed.
    pub fn parse(&mut self, input: &[u8]) -> Result<Option<usize>, Malformed> {
        if let (State::Start, 0, 0) = (self.state, self.at, self.scanned) {
            self.ranges.clear();
            self.text.clear();
        }
        loop {
            let step = match self.state {
                State::Start if input.first() == Some(&b'*') => self.count(input)?,
                State::Start => self.line_of_words(input)?,
                State::Length { left: 0 } => return Ok(Some(self.finish())),
                State::Length { left } => self.length(input, left)?,
                State::Argument { len, left } => self.argument(input, len, left),
            };
            match step {
                Some(next) => self.state = next,
                None if input.len() > self.limits.command_bytes => {
                    return malformed("too big command");
                }
                None => return Ok(None),
            }
        }
    }

    /// The command that [`Parser::parse`] has found in `input`.
    pub fn args<'a>(&'a self, input: &'a [u8]) -> Args<'a> {
        Args { bytes: if self.inline { &self.text } else { input }, ranges: &self.ranges }
    }

    /// The memory that it holds for the next commands.
    pub fn held_bytes(&self) -> usize {
        self.ranges.capacity() * size_of::<Range<usize>>() + self.text.capacity()
    }

    fn finish(&mut self) -> usize {
        self.state = State::Start;
        std::mem::take(&mut self.at)
    }

    fn count(&mut self, input: &[u8]) -> Result<Option<State>, Malformed> {
        self.inline = false;
        let Some(line) = self.header(input, "too big mbulk count string")? else { return Ok(None) };
        match number::parse(&input[line.start + 1..line.end]) {
            // Nothing to do, and nothing to say.
            Some(..=0) => Ok(Some(State::Length { left: 0 })),
            Some(count) if count as usize <= self.limits.args => {
                Ok(Some(State::Length { left: count as usize }))
            }
            _ => malformed("invalid multibulk length"),
        }
    }

    fn length(&mut self, input: &[u8], left: usize) -> Result<Option<State>, Malformed> {
        let Some(line) = self.header(input, "too big bulk count string")? else { return Ok(None) };
        if input[line.start] != b'$' {
            let found = char::from(input[line.start]);
            return malformed(&format!("expected '$', got '{found}'"));
        }
        match number::parse(&input[line.start + 1..line.end]) {
            Some(len @ 0..) if len as usize <= self.limits.arg_bytes => {
                Ok(Some(State::Argument { len: len as usize, left: left - 1 }))
            }
            _ => malformed("invalid bulk length"),
        }
    }

    fn argument(&mut self, input: &[u8], len: usize, left: usize) -> Option<State> {
        let end = self.at + len;
        if input.len() < end + 2 {
            return None;
        }
        self.ranges.push(self.at..end);
        // Like Redis, does not ask what the two bytes are.
        self.at = end + 2;
        Some(State::Length { left })
    }

    fn line_of_words(&mut self, input: &[u8]) -> Result<Option<State>, Malformed> {
        self.inline = true;
        let Some(mut line) = self.line(input, b'\n', "too big inline request")? else {
            return Ok(None);
        };
        self.at = line.end + 1;
        if input[line.clone()].ends_with(b"\r") {
            line.end -= 1;
        }
        match inline::split(&input[line], &mut self.text, &mut self.ranges) {
            Ok(()) => Ok(Some(State::Length { left: 0 })),
            Err(Unbalanced) => malformed("unbalanced quotes in request"),
        }
    }

    /// A line of the protocol, which ends with a carriage return and one more byte.
    fn header(&mut self, input: &[u8], too_long: &str) -> Result<Option<Range<usize>>, Malformed> {
        match self.line(input, b'\r', too_long)? {
            Some(line) if line.end + 1 < input.len() => {
                self.at = line.end + 2;
                Ok(Some(line))
            }
            Some(line) => {
                // Found again at the next call.
                self.scanned = line.len();
                Ok(None)
            }
            None => Ok(None),
        }
    }

    /// The line at `at`, without its end.
    fn line(
        &mut self,
        input: &[u8],
        end: u8,
        too_long: &str,
    ) -> Result<Option<Range<usize>>, Malformed> {
        let rest = &input[self.at..];
        let found = rest[self.scanned..].iter().position(|&byte| byte == end);
        match found.map(|at| self.scanned + at) {
            Some(len) if len <= self.limits.line_bytes => {
                self.scanned = 0;
                Ok(Some(self.at..self.at + len))
            }
            None if rest.len() <= self.limits.line_bytes => {
                self.scanned = rest.len();
                Ok(None)
            }
            _ => malformed(too_long),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SMALL: Limits = Limits { line_bytes: 16, args: 4, arg_bytes: 8, command_bytes: 40 };

    type Commands = Vec<Vec<Vec<u8>>>;

    /// The commands of `input`, of which `step` bytes come at a time; what is left over.
    fn commands(limits: Limits, input: &[u8], step: usize) -> Result<(Commands, usize), Malformed> {
        let (mut parser, mut found, mut start) = (Parser::new(limits), Vec::new(), 0);
        for end in (step..input.len() + step).step_by(step) {
            let end = end.min(input.len());
            while let Some(used) = parser.parse(&input[start..end])? {
                let args = parser.args(&input[start..end]);
                found.push(args.from(0).map(<[u8]>::to_vec).collect());
                start += used;
            }
        }
        Ok((found, input.len() - start))
    }

    #[test]
    fn commands_are_found_however_the_input_is_cut() {
        let input = b"*2\r\n$3\r\nGET\r\n$4\r\n\r\n\0\xff\r\nPING\r\n\r\n*0\r\n*-1\r\n\
            set 'a b' \"\\x00\"\n*1\r\n$0\r\n\r\n*1\r\n$1";
        let expected: Commands = vec![
            vec![b"GET".to_vec(), b"\r\n\0\xff".to_vec()],
            vec![b"PING".to_vec()],
            vec![],
            vec![],
            vec![],
            vec![b"set".to_vec(), b"a b".to_vec(), b"\0".to_vec()],
            vec![vec![]],
        ];
        for step in 1..=input.len() {
            let (found, left) = commands(Limits::REDIS, input, step).unwrap();
            assert_eq!((&found, left), (&expected, 6), "{step} bytes at a time");
        }
    }

    #[test]
    fn what_is_no_command_is_refused_with_the_text_of_redis() {
        let cases = [
            ("*x\r\n", "invalid multibulk length"),
            ("*01\r\n", "invalid multibulk length"),
            ("*5\r\n", "invalid multibulk length"),
            ("*999999999999\r\n", "invalid multibulk length"),
            ("*1\r\nGET\r\n", "expected '$', got 'G'"),
            ("*1\r\n$x\r\n", "invalid bulk length"),
            ("*1\r\n$-1\r\n", "invalid bulk length"),
            ("*1\r\n$9\r\n", "invalid bulk length"),
            ("*11111111111111111", "too big mbulk count string"),
            ("*1\r\n$1111111111111111", "too big bulk count string"),
            ("a b c d e f g h i j", "too big inline request"),
            ("\"a\r\n", "unbalanced quotes in request"),
        ];
        for (input, text) in cases {
            for step in [1, input.len()] {
                let found = commands(SMALL, input.as_bytes(), step).unwrap_err();
                assert_eq!(found.0, format!("Protocol error: {text}"), "{input:?}");
            }
        }
    }

    #[test]
    fn a_command_that_is_too_big_as_a_whole_is_refused_before_it_is_whole() {
        let input = b"*4\r\n$8\r\n12345678\r\n$8\r\n12345678\r\n$8\r\n12345678\r\n";
        let found = commands(SMALL, input, 1).unwrap_err();
        assert_eq!(found.0, "Protocol error: too big command");
    }

    #[test]
    fn what_is_announced_reserves_nothing() {
        let mut parser = Parser::new(Limits::REDIS);
        assert_eq!(parser.parse(b"*1048576\r\n$536870912\r\n"), Ok(None));
        assert!(parser.held_bytes() < 1024);
    }
}
