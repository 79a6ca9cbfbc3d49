//! Commands on sets of distinct strings.
//!
//! Members come in no particular order. A set that has become empty is no key any more.

use super::{Call, Command, Fault, command};
use crate::reply::Reply;
use crate::value::Set;

pub const COMMANDS: &[Command] = &[
    command("sadd", -3, "key member [member ...]", "Adds members; how many are new", sadd),
    command("srem", -3, "key member [member ...]", "Removes members; how many there were", srem),
    command("smembers", 2, "key", "Returns all members", smembers),
    command("sismember", 3, "key member", "Whether it is a member", sismember),
    command("scard", 2, "key", "Returns the number of members", scard),
];

fn sadd(call: &Call<'_>, reply: &mut Reply) -> Result<(), Fault> {
    let key = &call.args[1];
    let mut shard = call.server.store.lock(key);
    let set = shard.find_or_new::<Set>(key, call.now)?;
    let is_new = |member: &&[u8]| !set.contains(*member) && set.insert((*member).into());
    reply.count(call.args.from(2).filter(is_new).count());
    Ok(())
}

fn srem(call: &Call<'_>, reply: &mut Reply) -> Result<(), Fault> {
    let key = &call.args[1];
    let mut shard = call.server.store.lock(key);
    let remove = |set: &mut Set| call.args.from(2).filter(|member| set.remove(*member)).count();
    reply.count(shard.shrink(key, call.now, remove)?.unwrap_or(0));
    Ok(())
}

fn smembers(call: &Call<'_>, reply: &mut Reply) -> Result<(), Fault> {
    let key = &call.args[1];
    let mut shard = call.server.store.lock(key);
    match shard.find::<Set>(key, call.now)? {
        Some(set) => reply.bulks(set.iter()),
        None => reply.array(0),
    }
    Ok(())
}

fn sismember(call: &Call<'_>, reply: &mut Reply) -> Result<(), Fault> {
    let key = &call.args[1];
    let mut shard = call.server.store.lock(key);
    let set = shard.find::<Set>(key, call.now)?;
    reply.int(set.is_some_and(|set| set.contains(&call.args[2])).into());
    Ok(())
}

fn scard(call: &Call<'_>, reply: &mut Reply) -> Result<(), Fault> {
    let key = &call.args[1];
    let mut shard = call.server.store.lock(key);
    reply.count(shard.find::<Set>(key, call.now)?.map_or(0, |set| set.len()));
    Ok(())
}
