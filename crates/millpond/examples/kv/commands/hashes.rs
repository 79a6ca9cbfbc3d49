//! Commands on hashes: keys within a key.
//!
//! Fields come in no particular order. A hash that has become empty is no key any more.

use super::{Call, Command, Fault, command};
use crate::reply::Reply;
use crate::value::Hash;

pub const COMMANDS: &[Command] = &[
    command("hset", -4, "key field value [field value ...]", "Sets fields; how many are new", hset),
    command("hget", 3, "key field", "Returns the value of a field", hget),
    command("hdel", -3, "key field [field ...]", "Removes fields; how many there were", hdel),
    command("hgetall", 2, "key", "Returns all fields with their values", hgetall),
    command("hlen", 2, "key", "Returns the number of fields", hlen),
];

fn hset(call: &Call<'_>, reply: &mut Reply) -> Result<(), Fault> {
    if !call.args.len().is_multiple_of(2) {
        return Err(Fault::arity("hset"));
    }
    let key = &call.args[1];
    let mut shard = call.server.store.lock(key);
    let hash = shard.find_or_new::<Hash>(key, call.now)?;
    let mut new = 0;
    for (field, value) in call.args.from(2).step_by(2).zip(call.args.from(3).step_by(2)) {
        match hash.get_mut(field) {
            Some(old) => *old = value.into(),
            None => {
                hash.insert(field.into(), value.into());
                new += 1;
            }
        }
    }
    reply.int(new);
    Ok(())
}

fn hget(call: &Call<'_>, reply: &mut Reply) -> Result<(), Fault> {
    let key = &call.args[1];
    let mut shard = call.server.store.lock(key);
    let hash = shard.find::<Hash>(key, call.now)?;
    match hash.and_then(|hash| hash.get(&call.args[2])) {
        Some(value) => reply.bulk(value),
        None => reply.nil(),
    }
    Ok(())
}

fn hdel(call: &Call<'_>, reply: &mut Reply) -> Result<(), Fault> {
    let key = &call.args[1];
    let mut shard = call.server.store.lock(key);
    let remove =
        |hash: &mut Hash| call.args.from(2).filter(|field| hash.remove(*field).is_some()).count();
    reply.count(shard.shrink(key, call.now, remove)?.unwrap_or(0));
    Ok(())
}

fn hgetall(call: &Call<'_>, reply: &mut Reply) -> Result<(), Fault> {
    let key = &call.args[1];
    let mut shard = call.server.store.lock(key);
    match shard.find::<Hash>(key, call.now)? {
        Some(hash) => {
            reply.array(2 * hash.len());
            for (field, value) in hash {
                reply.bulk(field);
                reply.bulk(value);
            }
        }
        None => reply.array(0),
    }
    Ok(())
}

fn hlen(call: &Call<'_>, reply: &mut Reply) -> Result<(), Fault> {
    let key = &call.args[1];
    let mut shard = call.server.store.lock(key);
    reply.count(shard.find::<Hash>(key, call.now)?.map_or(0, |hash| hash.len()));
    Ok(())
}
