//! The commands: which there are, and how one is run.
//!
//! Each file here has the commands of one kind of value, and lists them in a table with name,
//! arity and a line of help. [`Table`] puts the tables together; `COMMAND DOCS` gives them to
//! `redis-cli`, whose `help` and completion come from there.
//!
//! A command reads its arguments from a [`Call`], locks what it needs, and writes its reply while
//! it holds the lock: that is only a copy into memory. It writes nothing before it knows that it
//! will succeed; if it does not, it returns a [`Fault`], which becomes the error reply.

mod hashes;
mod keys;
mod lists;
mod server;
mod set;
mod sets;
mod strings;

use crate::number;
use crate::parser::Args;
use crate::reply::Reply;
use crate::server::Server;
use crate::shard::Millis;
use std::borrow::Cow;

/// A command as it arrived.
pub struct Call<'a> {
    /// The name, and what follows it.
    pub args: Args<'a>,
    pub server: &'a Server,
    /// The time for all commands that arrived with this one.
    pub now: Millis,
}

impl Call<'_> {
    /// An argument that must be an integer.
    fn int(&self, index: usize) -> Result<i64, Fault> {
        number::parse(&self.args[index]).ok_or(Fault::NOT_AN_INTEGER)
    }
}

/// Why a command was refused: Redis' text, with its code.
#[derive(Debug)]
pub struct Fault(Cow<'static, str>);

impl Fault {
    pub const WRONG_TYPE: Self =
        Self::of("WRONGTYPE Operation against a key holding the wrong kind of value");
    const NOT_AN_INTEGER: Self = Self::of("ERR value is not an integer or out of range");
    const NOT_POSITIVE: Self = Self::of("ERR value is out of range, must be positive");
    const SYNTAX: Self = Self::of("ERR syntax error");
    const OVERFLOW: Self = Self::of("ERR increment or decrement would overflow");
    const TOO_LONG: Self = Self::of("ERR string exceeds maximum allowed size (proto-max-bulk-len)");

    const fn of(text: &'static str) -> Self {
        Self(Cow::Borrowed(text))
    }

    fn arity(name: &str) -> Self {
        Self(format!("ERR wrong number of arguments for '{name}' command").into())
    }
}

type Run = fn(&Call<'_>, &mut Reply) -> Result<(), Fault>;

/// One command.
pub struct Command {
    /// In lower case.
    name: &'static str,
    /// How many words it has, with its name; negative for "at least".
    arity: i32,
    /// For `help` in `redis-cli`: arguments, and what it does.
    usage: &'static str,
    summary: &'static str,
    run: Run,
}

/// A line of a table.
const fn command(
    name: &'static str,
    arity: i32,
    usage: &'static str,
    summary: &'static str,
    run: Run,
) -> Command {
    Command { name, arity, usage, summary, run }
}

impl Command {
    fn accepts(&self, words: usize) -> bool {
        let least = self.arity.unsigned_abs() as usize;
        if self.arity < 0 { words >= least } else { words == least }
    }
}

/// All commands.
pub struct Table {
    /// Sorted by name: with the group that each belongs to.
    commands: Vec<(&'static str, &'static Command)>,
}

impl Table {
    pub fn new() -> Self {
        let groups: [(&'static str, &'static [Command]); 6] = [
            ("server", server::COMMANDS),
            ("generic", keys::COMMANDS),
            ("string", strings::COMMANDS),
            ("list", lists::COMMANDS),
            ("hash", hashes::COMMANDS),
            ("set", sets::COMMANDS),
        ];
        let entries = |(group, list): (&'static str, &'static [Command])| {
            list.iter().map(move |command| (group, command))
        };
        let mut commands: Vec<_> = groups.into_iter().flat_map(entries).collect();
        commands.sort_by_key(|(_, command)| command.name);
        Self { commands }
    }

    /// Runs a command. Whatever comes of it is in `reply`.
    pub fn run(&self, call: &Call<'_>, reply: &mut Reply) {
        let result = match self.find(&call.args[0]) {
            Some(command) if command.accepts(call.args.len()) => (command.run)(call, reply),
            Some(command) => Err(Fault::arity(command.name)),
            None => Err(unknown(call.args)),
        };
        if let Err(Fault(text)) = result {
            reply.error(&text);
        }
    }

    /// The command of this name, in any case.
    fn find(&self, name: &[u8]) -> Option<&'static Command> {
        let mut lower = [0; 16];
        let lower = lower.get_mut(..name.len())?;
        lower.copy_from_slice(name);
        lower.make_ascii_lowercase();
        let at = self.commands.binary_search_by_key(&&*lower, |(_, known)| known.name.as_bytes());
        at.ok().map(|at| self.commands[at].1)
    }

    fn iter(&self) -> impl ExactSizeIterator<Item = (&'static str, &'static Command)> {
        self.commands.iter().copied()
    }
}

/// The error for a command that does not exist: with what was sent, shortened, so that whoever
/// reads the log of a client sees what it tried.
fn unknown(args: Args<'_>) -> Fault {
    const SHOWN: usize = 128;
    let text = |bytes: &[u8], most: usize| {
        String::from_utf8_lossy(&bytes[..bytes.len().min(most)]).into_owned()
    };
    let mut rest = String::new();
    for arg in args.from(1) {
        if rest.len() >= SHOWN {
            break;
        }
        rest += &format!("'{}' ", text(arg, SHOWN - rest.len()));
    }
    let name = text(&args[0], SHOWN);
    Fault(format!("ERR unknown command '{name}', with args beginning with: {rest}").into())
}

fn unknown_subcommand(call: &Call<'_>) -> Fault {
    let name = String::from_utf8_lossy(&call.args[0]).to_uppercase();
    let sub = String::from_utf8_lossy(&call.args[1]).into_owned();
    Fault(format!("ERR unknown subcommand '{sub}'. Try {name} HELP.").into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_command_is_found_by_its_name_in_any_case() {
        let table = Table::new();
        for (_, command) in table.iter() {
            for name in [command.name.to_owned(), command.name.to_uppercase()] {
                let found = table.find(name.as_bytes()).unwrap();
                assert!(std::ptr::eq(found, command), "{name}: there are two");
            }
        }
        for name in ["", "g", "gett", "a name that is far too long"] {
            assert!(table.find(name.as_bytes()).is_none());
        }
    }
}
