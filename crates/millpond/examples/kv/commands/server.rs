//! Commands about the connection and the server: what clients send before they get to work.
//!
//! `redis-cli` asks `COMMAND DOCS`, `redis-benchmark` asks `CONFIG GET`, libraries ask `HELLO` and
//! `INFO`. What is answered is true: nothing is persisted, there is one database, and the protocol
//! is RESP2.

use super::{Call, Command, Fault, command, unknown_subcommand};
use crate::glob;
use crate::number;
use crate::reply::Reply;
use std::fmt::Write;
use std::sync::atomic::Ordering;

pub const COMMANDS: &[Command] = &[
    command("ping", -1, "[message]", "Returns the message, or PONG", ping),
    command("echo", 2, "message", "Returns the message", echo),
    command("quit", -1, "", "Closes the connection", quit),
    command("select", 2, "index", "Changes the database: there is only 0", select),
    command("hello", -1, "[protover]", "Describes the server; the protocol is 2", hello),
    command("command", -1, "[COUNT | DOCS [name ...]]", "Describes the commands", describe),
    command("config", -2, "GET pattern [pattern ...]", "Returns settings", config),
    command("info", -1, "[section]", "Returns figures about the server", info),
    command("dbsize", 1, "", "Returns the number of keys", dbsize),
    command("flushdb", -1, "[ASYNC | SYNC]", "Removes all keys", flush),
    command("flushall", -1, "[ASYNC | SYNC]", "Removes all keys", flush),
];

/// What clients that look at a version expect: that of Redis whose commands these are.
const REDIS_VERSION: &str = "7.0.0";

/// The settings that can be asked for.
const SETTINGS: &[(&str, &str)] = &[
    ("appendonly", "no"),
    ("databases", "1"),
    ("maxmemory", "0"),
    ("proto-max-bulk-len", "536870912"),
    ("save", ""),
];

fn ping(call: &Call<'_>, reply: &mut Reply) -> Result<(), Fault> {
    match call.args.len() {
        1 => reply.status("PONG"),
        2 => reply.bulk(&call.args[1]),
        _ => return Err(Fault::arity("ping")),
    }
    Ok(())
}

fn echo(call: &Call<'_>, reply: &mut Reply) -> Result<(), Fault> {
    reply.bulk(&call.args[1]);
    Ok(())
}

fn quit(_call: &Call<'_>, reply: &mut Reply) -> Result<(), Fault> {
    reply.status("OK");
    reply.close_after();
    Ok(())
}

fn select(call: &Call<'_>, reply: &mut Reply) -> Result<(), Fault> {
    match call.int(1)? {
        0 => reply.status("OK"),
        _ => return Err(Fault::of("ERR DB index is out of range")),
    }
    Ok(())
}

fn hello(call: &Call<'_>, reply: &mut Reply) -> Result<(), Fault> {
    match call.args.get(1).map(number::parse) {
        None | Some(Some(2)) => {}
        Some(Some(_)) => return Err(Fault::of("NOPROTO unsupported protocol version")),
        Some(None) => {
            let text = "ERR Protocol version is not an integer or out of range";
            return Err(Fault::of(text));
        }
    }
    if call.args.len() > 2 {
        return Err(Fault::SYNTAX);
    }
    reply.array(8);
    let texts = [("server", "millpond-kv"), ("version", REDIS_VERSION), ("mode", "standalone")];
    for (name, value) in texts {
        reply.bulk(name.as_bytes());
        reply.bulk(value.as_bytes());
    }
    reply.bulk(b"proto");
    reply.int(2);
    Ok(())
}

fn describe(call: &Call<'_>, reply: &mut Reply) -> Result<(), Fault> {
    let table = &call.server.commands;
    let Some(sub) = call.args.get(1) else {
        reply.array(table.iter().len());
        table.iter().for_each(|(_, command)| describe_one(command, reply));
        return Ok(());
    };
    if sub.eq_ignore_ascii_case(b"count") {
        if call.args.len() != 2 {
            return Err(Fault::arity("command|count"));
        }
        reply.count(table.iter().len());
    } else if sub.eq_ignore_ascii_case(b"docs") {
        let wanted = |name: &str| {
            let is_name = |arg: &[u8]| arg.eq_ignore_ascii_case(name.as_bytes());
            call.args.len() == 2 || call.args.from(2).any(is_name)
        };
        let found: Vec<_> = table.iter().filter(|(_, command)| wanted(command.name)).collect();
        reply.array(2 * found.len());
        found.into_iter().for_each(|(group, command)| document(group, command, reply));
    } else {
        return Err(unknown_subcommand(call));
    }
    Ok(())
}

/// Name, arity, flags, and three numbers that say which arguments are keys.
fn describe_one(command: &Command, reply: &mut Reply) {
    reply.array(6);
    reply.bulk(command.name.as_bytes());
    reply.int(command.arity.into());
    reply.array(0);
    let (first, last, step) = match command.usage.split(' ').next() {
        Some("key") if command.usage.starts_with("key [key") => (1, -1, 1),
        Some("key") if command.usage.starts_with("key value [key") => (1, -1, 2),
        Some("key") => (1, 1, 1),
        _ => (0, 0, 0),
    };
    [first, last, step].into_iter().for_each(|number| reply.int(number));
}

/// What `redis-cli` shows for `help NAME`.
fn document(group: &str, command: &Command, reply: &mut Reply) {
    reply.bulk(command.name.as_bytes());
    let fields = [("summary", command.summary), ("since", "1.0.0"), ("group", group)];
    reply.array(2 * fields.len() + 2);
    for (name, value) in fields {
        reply.bulk(name.as_bytes());
        reply.bulk(value.as_bytes());
    }
    reply.bulk(b"arguments");
    let words = command.usage.split(' ').filter(|word| !word.is_empty());
    let words: Vec<&str> = words.collect();
    reply.array(words.len());
    for word in words {
        reply.array(4);
        for text in ["name", word, "type", "string"] {
            reply.bulk(text.as_bytes());
        }
    }
}

fn config(call: &Call<'_>, reply: &mut Reply) -> Result<(), Fault> {
    if !call.args[1].eq_ignore_ascii_case(b"get") {
        return Err(unknown_subcommand(call));
    }
    if call.args.len() < 3 {
        return Err(Fault::arity("config|get"));
    }
    let wanted = |name: &str| {
        let mut patterns = call.args.from(2).map(<[u8]>::to_ascii_lowercase);
        patterns.any(|pattern| glob::matches(&pattern, name.as_bytes()))
    };
    let found: Vec<_> = SETTINGS.iter().filter(|(name, _)| wanted(name)).collect();
    reply.bulks(found.iter().flat_map(|(name, value)| [*name, *value]).collect::<Vec<_>>().iter());
    Ok(())
}

fn info(call: &Call<'_>, reply: &mut Reply) -> Result<(), Fault> {
    let server = call.server;
    let (mut keys, mut expires) = (0, 0);
    for shard in server.store.shards() {
        keys += shard.len();
        expires += shard.deadlines();
    }
    let count = |counter: &std::sync::atomic::AtomicU64| counter.load(Ordering::Relaxed);
    let keyspace = match keys {
        0 => String::new(),
        _ => format!("db0:keys={keys},expires={expires},avg_ttl=0\r\n"),
    };
    let sections = [
        (
            "Server",
            format!(
                "redis_version:{REDIS_VERSION}\r\nserver_name:millpond-kv\r\nprocess_id:{}\r\n\
                 uptime_in_seconds:{}\r\n",
                std::process::id(),
                call.now / 1000
            ),
        ),
        ("Clients", format!("connected_clients:{}\r\n", server.connections.open())),
        (
            "Stats",
            format!(
                "total_connections_received:{}\r\ntotal_commands_processed:{}\r\n",
                count(&server.accepted),
                count(&server.processed)
            ),
        ),
        ("Keyspace", keyspace),
    ];
    let mut text = String::new();
    for (name, lines) in sections {
        let is_wanted = |arg: &[u8]| {
            let all = ["all", "everything", "default", name];
            all.iter().any(|word| arg.eq_ignore_ascii_case(word.as_bytes()))
        };
        if call.args.len() == 1 || call.args.from(1).any(is_wanted) {
            let gap = if text.is_empty() { "" } else { "\r\n" };
            write!(text, "{gap}# {name}\r\n{lines}").expect("a String takes everything");
        }
    }
    reply.bulk(text.as_bytes());
    Ok(())
}

fn dbsize(call: &Call<'_>, reply: &mut Reply) -> Result<(), Fault> {
    reply.count(call.server.store.shards().map(|shard| shard.len()).sum());
    Ok(())
}

fn flush(call: &Call<'_>, reply: &mut Reply) -> Result<(), Fault> {
    let is_mode =
        |arg: &[u8]| arg.eq_ignore_ascii_case(b"async") || arg.eq_ignore_ascii_case(b"sync");
    if call.args.len() > 2 || !call.args.from(1).all(is_mode) {
        return Err(Fault::SYNTAX);
    }
    call.server.store.clear();
    reply.status("OK");
    Ok(())
}
