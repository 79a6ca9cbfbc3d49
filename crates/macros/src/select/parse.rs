//! What stands in a `select!`: arms, guards, a default.
//!
//! ```text
//! select := [ "crate" "=" path ";" ] arm*
//! arm    := attribute* pattern "=" operation [ "," "if" guard ] "=>" body
//!         | attribute* "default" "=>" body
//! ```
//!
//! A body is ended by a comma, which may be left out after a block and at the end, as in `match`. What an
//! operation is, its last method call says; whatever has no such call is taken for an arm by itself, and
//! whether it is one, the compiler says. Rejected: a keyword for each kind of arm (users write the call
//! that they would write without the `select!`).
//!
//! Attributes are those that an arm of a `match` has: `#[cfg]` and lints.

use syn::parse::{Parse, ParseStream};
use syn::{Attribute, Error, Expr, ExprMethodCall, Ident, Pat, Path, Result, Token};

/// A whole `select!`.
pub struct Select {
    /// Where `millpond` is, if it goes by another name.
    pub krate: Option<Path>,
    /// The arms, in the order in which they stand.
    pub arms: Vec<Arm>,
    pub default: Option<Default>,
}

/// What is done if no arm is possible at once.
pub struct Default {
    pub lints: Vec<Attribute>,
    pub body: Expr,
}

/// One arm.
pub struct Arm {
    /// The conditions under which it is compiled: `#[cfg(..)]`.
    pub cfgs: Vec<Attribute>,
    pub lints: Vec<Attribute>,
    pub pattern: Pat,
    pub operation: Operation,
    pub guard: Option<Expr>,
    pub body: Expr,
}

/// What an arm waits for.
pub enum Operation {
    /// `CALLEE.recv()`, and the like without arguments: the hidden method that makes the arm.
    Call { callee: Expr, method: Ident },
    /// `CALLEE.send(VALUE)`.
    Send { callee: Expr, method: Ident, value: Expr },
    /// Anything else: a value that is an arm by itself.
    Value(Expr),
}

impl Parse for Select {
    fn parse(input: ParseStream) -> Result<Self> {
        let krate = input.peek(Token![crate]).then(|| parse_crate(input)).transpose()?;
        let mut select = Self { krate, arms: Vec::new(), default: None };
        while !input.is_empty() {
            let (cfgs, lints) = parse_attributes(input)?;
            if !is_default(input) {
                select.arms.push(Arm::parse(input, cfgs, lints)?);
                continue;
            }
            let word = input.parse::<Ident>()?;
            if let Some(cfg) = cfgs.first() {
                let error =
                    "whether there is a `default` decides what the others do: it takes no `#[cfg]`";
                return Err(Error::new_spanned(cfg, error));
            }
            let body = parse_body(input)?;
            if select.default.replace(Default { lints, body }).is_some() {
                return Err(Error::new(word.span(), "`select!` can have one `default` only"));
            }
        }
        Ok(select)
    }
}

impl Arm {
    /// What follows the attributes.
    fn parse(input: ParseStream, cfgs: Vec<Attribute>, lints: Vec<Attribute>) -> Result<Self> {
        let pattern = Pat::parse_single(input)?;
        if !input.peek(Token![=]) || input.peek(Token![=>]) {
            return Err(input.error("expected `= operation`, as in `v = rx.recv() => ..`"));
        }
        input.parse::<Token![=]>()?;
        let operation = Operation::new(input.parse()?)?;
        let guarded = input.peek(Token![,]) && input.peek2(Token![if]);
        let guard = guarded
            .then(|| {
                input.parse::<Token![,]>()?;
                input.parse::<Token![if]>()?;
                input.parse()
            })
            .transpose()?;
        Ok(Self { cfgs, lints, pattern, operation, guard, body: parse_body(input)? })
    }
}

impl Operation {
    fn new(operation: Expr) -> Result<Self> {
        let Expr::MethodCall(call) = operation else { return Ok(Self::Value(operation)) };
        let name = call.method.to_string();
        let hidden = || Ident::new(&format!("__select_{name}"), call.method.span());
        match (name.as_str(), call.args.len()) {
            ("recv" | "join" | "done" | "tick", 0) => {
                Ok(Self::Call { method: hidden(), callee: *call.receiver })
            }
            ("send", 1) => {
                let method = hidden();
                let ExprMethodCall { receiver, mut args, .. } = call;
                let value = args.pop().expect("there is one").into_value();
                Ok(Self::Send { method, callee: *receiver, value })
            }
            ("recv" | "join" | "done" | "tick" | "send", count) => Err(Error::new(
                call.method.span(),
                format!(
                    "`{name}` with {count} argument{}: an arm waits for `rx.recv()`, `tx.send(value)`, \
                     `handle.join()`, `ctx.done()`, `ticker.tick()` or `after(duration)`",
                    if count == 1 { "" } else { "s" },
                ),
            )),
            _ => Ok(Self::Value(Expr::MethodCall(call))),
        }
    }
}

fn parse_crate(input: ParseStream) -> Result<Path> {
    input.parse::<Token![crate]>()?;
    input.parse::<Token![=]>()?;
    let path = input.call(Path::parse_mod_style)?;
    input.parse::<Token![;]>()?;
    Ok(path)
}

/// Those that decide whether something is compiled, and the others.
fn parse_attributes(input: ParseStream) -> Result<(Vec<Attribute>, Vec<Attribute>)> {
    const LINTS: [&str; 6] = ["allow", "expect", "warn", "deny", "forbid", "doc"];
    let attributes = input.call(Attribute::parse_outer)?;
    let (cfgs, lints): (Vec<_>, Vec<_>) =
        attributes.into_iter().partition(|attribute| attribute.path().is_ident("cfg"));
    match lints.iter().find(|other| !LINTS.iter().any(|lint| other.path().is_ident(lint))) {
        Some(other) => Err(Error::new_spanned(other, "an arm takes `#[cfg]` and lints only")),
        None => Ok((cfgs, lints)),
    }
}

fn is_default(input: ParseStream) -> bool {
    let ahead = input.fork();
    ahead.parse::<Ident>().is_ok_and(|word| word == "default") && ahead.peek(Token![=>])
}

/// `=> body` and its comma.
fn parse_body(input: ParseStream) -> Result<Expr> {
    input.parse::<Token![=>]>()?;
    let body = input.call(Expr::parse_with_earlier_boundary_rule)?;
    if input.peek(Token![,]) {
        input.parse::<Token![,]>()?;
    } else if !input.is_empty() && !ends_itself(&body) {
        return Err(input.error("expected `,` after the body of the arm before"));
    }
    Ok(body)
}

/// Whether an expression needs no comma after it, as an arm of a `match` needs none.
fn ends_itself(body: &Expr) -> bool {
    matches!(
        body,
        Expr::Block(_)
            | Expr::If(_)
            | Expr::Match(_)
            | Expr::Loop(_)
            | Expr::While(_)
            | Expr::ForLoop(_)
            | Expr::Unsafe(_)
    )
}
