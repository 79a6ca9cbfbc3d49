//! SET, the command with the most options: when to set, for how long, and what to answer.
//!
//! ```text
//!   SET key value [NX | XX] [GET] [EX seconds | PX milliseconds | KEEPTTL]
//! ```

use super::keys::{deadline, invalid_time};
use super::{Call, Fault};
use crate::number;
use crate::reply::Reply;
use crate::shard::Millis;
use crate::value::{Text, Value};

/// What becomes of the time to live.
#[derive(Clone, Copy, PartialEq)]
enum Life {
    /// There is none after that.
    Endless,
    Keep,
    Until(Millis),
}

struct Options {
    /// Only if the key exists (`true`), or only if it does not.
    if_exists: Option<bool>,
    get: bool,
    life: Life,
}

impl Options {
    fn parse(call: &Call<'_>) -> Result<Self, Fault> {
        let mut options = Self { if_exists: None, get: false, life: Life::Endless };
        // Of two deadlines, or of NX and XX, neither would be right.
        let mut words = call.args.from(3);
        let mut time = None;
        while let Some(word) = words.next() {
            let is_free = options.life == Life::Endless && time.is_none();
            match &*word.to_ascii_lowercase() {
                b"nx" if options.if_exists != Some(true) => options.if_exists = Some(false),
                b"xx" if options.if_exists != Some(false) => options.if_exists = Some(true),
                b"get" => options.get = true,
                b"keepttl" if time.is_none() => options.life = Life::Keep,
                b"ex" if is_free => time = Some((words.next().ok_or(Fault::SYNTAX)?, 1000)),
                b"px" if is_free => time = Some((words.next().ok_or(Fault::SYNTAX)?, 1)),
                _ => return Err(Fault::SYNTAX),
            }
        }
        if let Some((text, unit_ms)) = time {
            options.life = Life::Until(until(call.now, text, unit_ms, "set")?);
        }
        Ok(options)
    }
}

/// The end of a life that must be longer than nothing.
pub fn until(now: Millis, text: &[u8], unit_ms: i64, command: &str) -> Result<Millis, Fault> {
    let time = number::parse(text).ok_or(Fault::NOT_AN_INTEGER)?;
    let at = deadline(now, time, unit_ms).filter(|_| time > 0);
    at.map(|at| at as Millis).ok_or_else(|| invalid_time(command))
}

pub fn set(call: &Call<'_>, reply: &mut Reply) -> Result<(), Fault> {
    let options = Options::parse(call)?;
    let (key, value) = (&call.args[1], &call.args[2]);
    let mut shard = call.server.store.lock(key);
    let entry = shard.entry(key, call.now);
    let exists = entry.is_some();
    let mut old = None;
    if options.get {
        match entry.as_ref().map(|entry| &entry.value) {
            Some(Value::Text(text)) => reply.text(text),
            Some(_) => return Err(Fault::WRONG_TYPE),
            None => reply.nil(),
        }
    }
    let allowed = options.if_exists.is_none_or(|wanted| wanted == exists);
    if allowed {
        match entry {
            // In its own memory. The deadline is dealt with below.
            Some(entry) if matches!(entry.value, Value::Text(_)) => {
                let Value::Text(text) = &mut entry.value else { unreachable!("matched above") };
                text.set(value);
                if entry.expires_at().is_some() && options.life == Life::Endless {
                    shard.set_deadline(key, None);
                }
            }
            other => {
                let kept = other.and_then(|entry| entry.expires_at());
                old = shard.put(key, Value::Text(Text::new(value)));
                if options.life == Life::Keep && kept.is_some() {
                    shard.set_deadline(key, kept);
                }
            }
        }
        if let Life::Until(at) = options.life {
            shard.set_deadline(key, Some(at));
        }
    }
    drop(shard);
    drop(old);
    match (options.get, allowed) {
        (true, _) => {}
        (false, true) => reply.status("OK"),
        (false, false) => reply.nil(),
    }
    Ok(())
}
