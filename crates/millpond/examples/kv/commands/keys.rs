//! Commands about keys, whatever they hold: existence, removal, type, time to live.
//!
//! A time to live is stored as a point on the store's clock. One that has passed already removes
//! the key at once.

use super::{Call, Command, Fault, command};
use crate::glob;
use crate::reply::Reply;
use crate::shard::Millis;

pub const COMMANDS: &[Command] = &[
    command("del", -2, "key [key ...]", "Removes keys; how many there were", del),
    command("unlink", -2, "key [key ...]", "As DEL: freeing never holds up others", del),
    command("exists", -2, "key [key ...]", "Counts the keys that exist", exists),
    command("type", 2, "key", "Returns what a key holds", kind),
    command("keys", 2, "pattern", "Returns all keys that match", keys),
    command("expire", -3, "key seconds [NX | XX | GT | LT]", "Sets the time to live", expire),
    command("pexpire", -3, "key ms [NX | XX | GT | LT]", "Sets the time to live", pexpire),
    command("ttl", 2, "key", "Returns the time to live in seconds", ttl),
    command("pttl", 2, "key", "Returns the time to live in milliseconds", pttl),
    command("persist", 2, "key", "Removes the time to live", persist),
];

fn del(call: &Call<'_>, reply: &mut Reply) -> Result<(), Fault> {
    let mut locked = call.server.store.lock_all(call.args.from(1));
    let mut removed = Vec::new();
    for key in call.args.from(1) {
        let shard = locked.of(key);
        if shard.entry(key, call.now).is_some() {
            removed.extend(shard.remove(key));
        }
    }
    reply.count(removed.len());
    drop(locked);
    // Not under the locks: a list of a million elements takes long to free.
    drop(removed);
    Ok(())
}

fn exists(call: &Call<'_>, reply: &mut Reply) -> Result<(), Fault> {
    let mut locked = call.server.store.lock_all(call.args.from(1));
    let there = |key: &&[u8]| locked.of(key).entry(key, call.now).is_some();
    reply.count(call.args.from(1).filter(there).count());
    Ok(())
}

fn kind(call: &Call<'_>, reply: &mut Reply) -> Result<(), Fault> {
    let key = &call.args[1];
    let mut shard = call.server.store.lock(key);
    reply.status(shard.entry(key, call.now).map_or("none", |entry| entry.value.name()));
    Ok(())
}

fn keys(call: &Call<'_>, reply: &mut Reply) -> Result<(), Fault> {
    let mut found: Vec<Box<[u8]>> = Vec::new();
    // One shard at a time: nobody waits for the whole search.
    for shard in call.server.store.shards() {
        let names = shard.names(call.now).filter(|name| glob::matches(&call.args[1], name));
        found.extend(names.map(Box::from));
    }
    reply.bulks(found.iter());
    Ok(())
}

fn expire(call: &Call<'_>, reply: &mut Reply) -> Result<(), Fault> {
    expire_in(call, reply, 1000)
}

fn pexpire(call: &Call<'_>, reply: &mut Reply) -> Result<(), Fault> {
    expire_in(call, reply, 1)
}

/// Which deadlines may be set.
#[derive(Default)]
struct Condition {
    /// Only where there is none.
    none: bool,
    /// Only where there is one.
    some: bool,
    /// Only a later one, or only an earlier one; no deadline is later than all.
    later: bool,
    earlier: bool,
}

impl Condition {
    fn parse<'a>(options: impl Iterator<Item = &'a [u8]>) -> Result<Self, Fault> {
        let mut condition = Self::default();
        for option in options {
            match &*option.to_ascii_lowercase() {
                b"nx" => condition.none = true,
                b"xx" => condition.some = true,
                b"gt" => condition.later = true,
                b"lt" => condition.earlier = true,
                _ => {
                    let text =
                        format!("ERR Unsupported option {}", String::from_utf8_lossy(option));
                    return Err(Fault(text.into()));
                }
            }
        }
        let Self { none, some, later, earlier } = condition;
        if none && (some || later || earlier) {
            let text = "ERR NX and XX, GT or LT options at the same time are not compatible";
            return Err(Fault::of(text));
        }
        if later && earlier {
            return Err(Fault::of("ERR GT and LT options at the same time are not compatible"));
        }
        Ok(condition)
    }

    fn allows(&self, old: Option<Millis>, new: i128) -> bool {
        let (old_or_never, is_some) = (old.map_or(i128::MAX, i128::from), old.is_some());
        !(self.none && is_some
            || self.some && !is_some
            || self.later && new <= old_or_never
            || self.earlier && new >= old_or_never)
    }
}

fn expire_in(call: &Call<'_>, reply: &mut Reply, unit_ms: i64) -> Result<(), Fault> {
    let condition = Condition::parse(call.args.from(3))?;
    let time = call.int(2)?;
    let name = if unit_ms == 1 { "pexpire" } else { "expire" };
    let at = deadline(call.now, time, unit_ms).ok_or_else(|| invalid_time(name))?;
    let key = &call.args[1];
    let mut shard = call.server.store.lock(key);
    let done = match shard.entry(key, call.now) {
        Some(entry) if condition.allows(entry.expires_at(), at) => {
            if at <= i128::from(call.now) {
                let removed = shard.remove(key);
                drop(shard);
                drop(removed);
            } else {
                shard.set_deadline(key, Some(at as Millis));
            }
            true
        }
        _ => false,
    };
    reply.int(done.into());
    Ok(())
}

/// `time` units from now, on the store's clock; `None` if that cannot be told in milliseconds.
pub fn deadline(now: Millis, time: i64, unit_ms: i64) -> Option<i128> {
    let ms = time.checked_mul(unit_ms)?;
    let at = i128::from(now) + i128::from(ms);
    // Room for the time since 1970, so that the same numbers are refused as by Redis.
    (ms <= i64::MAX - (1 << 41)).then_some(at)
}

pub fn invalid_time(command: &str) -> Fault {
    Fault(format!("ERR invalid expire time in '{command}' command").into())
}

fn ttl(call: &Call<'_>, reply: &mut Reply) -> Result<(), Fault> {
    time_to_live(call, reply, |ms| (ms + 500) / 1000)
}

fn pttl(call: &Call<'_>, reply: &mut Reply) -> Result<(), Fault> {
    time_to_live(call, reply, |ms| ms)
}

fn time_to_live(
    call: &Call<'_>,
    reply: &mut Reply,
    unit: fn(Millis) -> Millis,
) -> Result<(), Fault> {
    let key = &call.args[1];
    let mut shard = call.server.store.lock(key);
    reply.int(match shard.entry(key, call.now).map(|entry| entry.expires_at()) {
        None => -2,
        Some(None) => -1,
        Some(Some(at)) => unit(at - call.now) as i64,
    });
    Ok(())
}

fn persist(call: &Call<'_>, reply: &mut Reply) -> Result<(), Fault> {
    let key = &call.args[1];
    let mut shard = call.server.store.lock(key);
    let had = shard.entry(key, call.now).is_some_and(|entry| entry.expires_at().is_some());
    shard.set_deadline(key, None);
    reply.int(had.into());
    Ok(())
}
