//! Commands on lists: queues with two ends.
//!
//! Positions count from 0, and backwards from -1. A list that has become empty is no key any more.

use super::{Call, Command, Fault, command};
use crate::number;
use crate::reply::Reply;
use crate::value::List;

pub const COMMANDS: &[Command] = &[
    command("lpush", -3, "key element [element ...]", "Adds at the head; the length", lpush),
    command("rpush", -3, "key element [element ...]", "Adds at the tail; the length", rpush),
    command("lpop", -2, "key [count]", "Takes from the head", lpop),
    command("rpop", -2, "key [count]", "Takes from the tail", rpop),
    command("llen", 2, "key", "Returns the length", llen),
    command("lrange", 4, "key start stop", "Returns the elements of a range", lrange),
    command("lindex", 3, "key index", "Returns one element", lindex),
];

fn lpush(call: &Call<'_>, reply: &mut Reply) -> Result<(), Fault> {
    push(call, reply, List::push_front)
}

fn rpush(call: &Call<'_>, reply: &mut Reply) -> Result<(), Fault> {
    push(call, reply, List::push_back)
}

fn push(call: &Call<'_>, reply: &mut Reply, push: fn(&mut List, Box<[u8]>)) -> Result<(), Fault> {
    let key = &call.args[1];
    let mut shard = call.server.store.lock(key);
    let list = shard.find_or_new::<List>(key, call.now)?;
    call.args.from(2).for_each(|element| push(list, element.into()));
    reply.count(list.len());
    Ok(())
}

fn lpop(call: &Call<'_>, reply: &mut Reply) -> Result<(), Fault> {
    pop(call, reply, "lpop", List::pop_front)
}

fn rpop(call: &Call<'_>, reply: &mut Reply) -> Result<(), Fault> {
    pop(call, reply, "rpop", List::pop_back)
}

fn pop(
    call: &Call<'_>,
    reply: &mut Reply,
    name: &str,
    pop: fn(&mut List) -> Option<Box<[u8]>>,
) -> Result<(), Fault> {
    if call.args.len() > 3 {
        return Err(Fault::arity(name));
    }
    let key = &call.args[1];
    let Some(count) = call.args.get(2) else {
        let popped = call.server.store.lock(key).shrink(key, call.now, pop)?;
        match popped.flatten() {
            Some(element) => reply.bulk(&element),
            None => reply.nil(),
        }
        return Ok(());
    };
    let count = number::parse(count).and_then(|count| usize::try_from(count).ok());
    let count = count.ok_or(Fault::NOT_POSITIVE)?;
    let take =
        |list: &mut List| -> Vec<_> { std::iter::from_fn(|| pop(list)).take(count).collect() };
    let popped = call.server.store.lock(key).shrink(key, call.now, take)?;
    match popped {
        Some(elements) => reply.bulks(elements.iter()),
        None => reply.nil_array(),
    }
    Ok(())
}

fn llen(call: &Call<'_>, reply: &mut Reply) -> Result<(), Fault> {
    let key = &call.args[1];
    let mut shard = call.server.store.lock(key);
    reply.count(shard.find::<List>(key, call.now)?.map_or(0, |list| list.len()));
    Ok(())
}

fn lrange(call: &Call<'_>, reply: &mut Reply) -> Result<(), Fault> {
    let (start, stop) = (call.int(2)?, call.int(3)?);
    let key = &call.args[1];
    let mut shard = call.server.store.lock(key);
    match shard.find::<List>(key, call.now)? {
        Some(list) => {
            // Both ends belong to the range, and both may lie outside the list.
            let start = position(start, list.len()).max(0) as usize;
            let end = (position(stop, list.len()) + 1).clamp(0, list.len() as i64) as usize;
            reply.bulks(list.range(start.min(end)..end));
        }
        None => reply.array(0),
    }
    Ok(())
}

fn lindex(call: &Call<'_>, reply: &mut Reply) -> Result<(), Fault> {
    let key = &call.args[1];
    let mut shard = call.server.store.lock(key);
    // In this order: of an index that is no number Redis only complains if there is a list.
    let Some(list) = shard.find::<List>(key, call.now)? else {
        reply.nil();
        return Ok(());
    };
    let at = usize::try_from(position(call.int(2)?, list.len()));
    match at.ok().and_then(|at| list.get(at)) {
        Some(element) => reply.bulk(element),
        None => reply.nil(),
    }
    Ok(())
}

/// An index from the head; negative if it lies before that.
fn position(index: i64, len: usize) -> i64 {
    // The largest index is no place, and one more is a number.
    if index < 0 { index + len as i64 } else { index.min(i64::MAX - 1) }
}
