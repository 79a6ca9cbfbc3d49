//! Commands on strings, which may hold any bytes, and on strings that are integers.
//!
//! A counter is stored as its text, as in Redis' protocol: INCR reads and writes at most twenty
//! digits, and everything else that can be done with a string can be done with a counter.

use super::set::{set, until};
use super::{Call, Command, Fault, command};
use crate::number;
use crate::parser::Limits;
use crate::reply::Reply;
use crate::value::{Text, Value};

const SET_USAGE: &str = "key value [NX | XX] [GET] [EX seconds | PX ms | KEEPTTL]";

pub const COMMANDS: &[Command] = &[
    command("set", -3, SET_USAGE, "Sets a string", set),
    command("setex", 4, "key seconds value", "Sets a string with its time to live", setex),
    command("psetex", 4, "key ms value", "Sets a string with its time to live", psetex),
    command("setnx", 3, "key value", "Sets a string if there is none", setnx),
    command("get", 2, "key", "Returns a string", get),
    command("getset", 3, "key value", "Sets a string and returns the old one", getset),
    command("getdel", 2, "key", "Returns a string and removes it", getdel),
    command("mget", -2, "key [key ...]", "Returns strings", mget),
    command("mset", -3, "key value [key value ...]", "Sets strings at one moment", mset),
    command("append", 3, "key value", "Appends to a string; its length", append),
    command("strlen", 2, "key", "Returns the length of a string", strlen),
    command("incr", 2, "key", "Adds one", |call, reply| add(call, reply, 1)),
    command("decr", 2, "key", "Subtracts one", |call, reply| add(call, reply, -1)),
    command("incrby", 3, "key increment", "Adds", |call, reply| add(call, reply, call.int(2)?)),
    command("decrby", 3, "key decrement", "Subtracts", decrby),
];

fn setex(call: &Call<'_>, reply: &mut Reply) -> Result<(), Fault> {
    set_until(call, reply, 1000, "setex")
}

fn psetex(call: &Call<'_>, reply: &mut Reply) -> Result<(), Fault> {
    set_until(call, reply, 1, "psetex")
}

fn set_until(call: &Call<'_>, reply: &mut Reply, unit_ms: i64, name: &str) -> Result<(), Fault> {
    let (key, at) = (&call.args[1], until(call.now, &call.args[2], unit_ms, name)?);
    let mut shard = call.server.store.lock(key);
    let old = shard.put(key, Value::Text(Text::new(&call.args[3])));
    shard.set_deadline(key, Some(at));
    drop(shard);
    drop(old);
    reply.status("OK");
    Ok(())
}

fn setnx(call: &Call<'_>, reply: &mut Reply) -> Result<(), Fault> {
    let key = &call.args[1];
    let mut shard = call.server.store.lock(key);
    let is_new = shard.entry(key, call.now).is_none();
    if is_new {
        shard.put(key, Value::Text(Text::new(&call.args[2])));
    }
    reply.int(is_new.into());
    Ok(())
}

fn get(call: &Call<'_>, reply: &mut Reply) -> Result<(), Fault> {
    let key = &call.args[1];
    let mut shard = call.server.store.lock(key);
    match shard.find::<Text>(key, call.now)? {
        Some(text) => reply.text(text),
        None => reply.nil(),
    }
    Ok(())
}

fn getset(call: &Call<'_>, reply: &mut Reply) -> Result<(), Fault> {
    let key = &call.args[1];
    let mut shard = call.server.store.lock(key);
    match shard.find::<Text>(key, call.now)? {
        Some(text) => reply.text(text),
        None => reply.nil(),
    }
    let old = shard.put(key, Value::Text(Text::new(&call.args[2])));
    drop(shard);
    drop(old);
    Ok(())
}

fn getdel(call: &Call<'_>, reply: &mut Reply) -> Result<(), Fault> {
    let key = &call.args[1];
    let mut shard = call.server.store.lock(key);
    match shard.find::<Text>(key, call.now)? {
        Some(text) => reply.text(text),
        None => reply.nil(),
    }
    let old = shard.remove(key);
    drop(shard);
    drop(old);
    Ok(())
}

fn mget(call: &Call<'_>, reply: &mut Reply) -> Result<(), Fault> {
    let mut locked = call.server.store.lock_all(call.args.from(1));
    reply.array(call.args.len() - 1);
    for key in call.args.from(1) {
        match locked.of(key).find::<Text>(key, call.now) {
            Ok(Some(text)) => reply.text(text),
            // Of another kind: no string, so none.
            Ok(None) | Err(_) => reply.nil(),
        }
    }
    Ok(())
}

fn mset(call: &Call<'_>, reply: &mut Reply) -> Result<(), Fault> {
    if call.args.len().is_multiple_of(2) {
        return Err(Fault::arity("mset"));
    }
    let mut locked = call.server.store.lock_all(call.args.from(1).step_by(2));
    let mut old = Vec::new();
    for (key, value) in call.args.from(1).step_by(2).zip(call.args.from(2).step_by(2)) {
        old.extend(locked.of(key).put(key, Value::Text(Text::new(value))));
    }
    drop(locked);
    drop(old);
    reply.status("OK");
    Ok(())
}

fn append(call: &Call<'_>, reply: &mut Reply) -> Result<(), Fault> {
    let (key, more) = (&call.args[1], &call.args[2]);
    let mut shard = call.server.store.lock(key);
    let len = match shard.find::<Text>(key, call.now)? {
        Some(text) => {
            let len = text.bytes().len() + more.len();
            if len > Limits::REDIS.arg_bytes {
                return Err(Fault::TOO_LONG);
            }
            text.append(more);
            len
        }
        None => {
            shard.put(key, Value::Text(Text::new(more)));
            more.len()
        }
    };
    reply.count(len);
    Ok(())
}

fn strlen(call: &Call<'_>, reply: &mut Reply) -> Result<(), Fault> {
    let key = &call.args[1];
    let mut shard = call.server.store.lock(key);
    reply.count(shard.find::<Text>(key, call.now)?.map_or(0, |text| text.bytes().len()));
    Ok(())
}

fn decrby(call: &Call<'_>, reply: &mut Reply) -> Result<(), Fault> {
    let by = call.int(2)?.checked_neg().ok_or(Fault::of("ERR decrement would overflow"))?;
    add(call, reply, by)
}

fn add(call: &Call<'_>, reply: &mut Reply, by: i64) -> Result<(), Fault> {
    let key = &call.args[1];
    let mut shard = call.server.store.lock(key);
    let mut digits = [0; 20];
    let sum = match shard.find::<Text>(key, call.now)? {
        Some(text) => {
            let old = number::parse(text.bytes()).ok_or(Fault::NOT_AN_INTEGER)?;
            let sum = old.checked_add(by).ok_or(Fault::OVERFLOW)?;
            text.set(number::format(sum, &mut digits));
            sum
        }
        None => {
            shard.put(key, Value::Text(Text::new(number::format(by, &mut digits))));
            by
        }
    };
    reply.int(sum);
    Ok(())
}
