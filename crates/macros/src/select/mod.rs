//! `select!` and `select_async!`.
//!
//! For
//!
//! ```text
//! select! {
//!     v = rx.recv() => A,
//!     r = tx.send(x), if on => B,
//! }
//! ```
//!
//! the macro writes
//!
//! ```text
//! {
//!     let mut arm0 = rx.__select_recv();
//!     let mut arm1 = match on { true => Some(tx.__select_send()), false => None };
//!     match select([&mut arm0, &mut arm1]) {
//!         Some(0) => { give_up(arm1); let v = finish(arm0); A }
//!         Some(1) => { give_up(arm0); let r = arm1.expect(..).finish(x); B }
//!         _ => unreachable!(),
//!     }
//! }
//! ```
//!
//! So `x` is made, and what it moves is moved, only if its arm has won; what is borrowed for the arms
//! is free again in values and bodies; and `return`, `?`, `break` and `await` mean there what they
//! mean around the macro. An operand that makes a temporary (`lock.lock().rx.recv()`) does not
//! compile: the guard would have to live through the body, which may lock again.
//!
//! Rejected: closures for values and bodies (they capture control flow); one type with a variant for
//! each result, so that bodies stand outside (a value that one arm moves could not be used by the
//! body of another); `macro_rules!`, which cannot number arms.

mod parse;

use parse::{Arm, Default, Operation, Select};
use proc_macro2::{Span, TokenStream};
use quote::{quote, quote_spanned};
use syn::spanned::Spanned;
use syn::{Expr, Ident, Result, Stmt};

/// More arms than this are for the dynamic `Select`.
const MAX_ARMS: usize = 64;

/// Which of the two macros.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// `select!`: parks or blocks.
    Blocking,
    /// `select_async!`: awaits.
    Async,
}

/// The tokens that replace the macro's call.
pub fn expand(form: Form, input: TokenStream) -> TokenStream {
    match syn::parse2::<Select>(input).and_then(|select| check(&select).map(|()| select)) {
        Ok(select) => write(form, &select),
        Err(error) => error.into_compile_error(),
    }
}

fn check(select: &Select) -> Result<()> {
    match select.arms.get(MAX_ARMS) {
        None => Ok(()),
        Some(arm) => Err(syn::Error::new(
            arm.pattern.span(),
            format!("`select!` takes at most {MAX_ARMS} arms; use `chan::Select` for more"),
        )),
    }
}

fn write(form: Form, select: &Select) -> TokenStream {
    let krate = select.krate.as_ref().map_or_else(|| quote!(::millpond), |path| quote!(#path));
    let private = quote!(#krate::__private::select);
    let arms = &select.arms;
    if arms.is_empty() && select.default.is_none() {
        return match form {
            Form::Blocking => quote!(#private::forever()),
            Form::Async => quote!(::core::future::pending::<::core::convert::Infallible>().await),
        };
    }
    let names: Vec<Ident> = (0..arms.len()).map(|number| local(&format!("arm{number}"))).collect();
    let make = arms.iter().zip(&names).map(|(arm, name)| declare(&private, arm, name));
    let ask = ask(form, &private, &names, select.default.is_some());
    let branches = arms.iter().enumerate().map(|(number, arm)| {
        let others = names.iter().enumerate().filter(|(other, _)| *other != number).map(|(_, o)| o);
        let value = finish(&private, arm, &names[number]);
        let (Arm { cfgs, lints, pattern, .. }, body) = (arm, body(&arm.body));
        quote! {
            #(#cfgs)* #(#lints)*
            ::core::option::Option::Some(#number) => {
                #(#private::give_up(#others);)*
                #[allow(unreachable_code, reason = "a value may diverge, as in `tx.send(return)`")]
                let #pattern = #value;
                #body
            }
        }
    });
    let default = select.default.iter().map(|Default { lints, body }| {
        let body = self::body(body);
        quote! {
            #(#lints)*
            ::core::option::Option::None => { #(#private::give_up(#names);)* #body }
        }
    });
    quote! {{
        #(#make)*
        match #ask {
            #(#branches)*
            #(#default)*
            _ => ::core::unreachable!("an arm that there is"),
        }
    }}
}

/// A name that the user's code cannot see.
fn local(name: &str) -> Ident {
    Ident::new(name, Span::mixed_site())
}

/// The expression whose value is the number of the arm that won, or `None` for the default.
fn ask(form: Form, private: &TokenStream, names: &[Ident], default: bool) -> TokenStream {
    match (form, default) {
        (Form::Blocking, false) => {
            quote!(::core::option::Option::Some(#private::select([#(&mut #names),*])))
        }
        (Form::Blocking, true) => quote!(#private::try_select([#(&mut #names),*])),
        (Form::Async, default) => {
            let (selection, cx) = (local("selection"), local("cx"));
            let poll = match default {
                false => quote! {
                    #private::poll(&mut #selection, #cx, [#(&mut #names),*])
                        .map(::core::option::Option::Some)
                },
                true => quote!(#private::poll_now(&mut #selection, #cx, [#(&mut #names),*])),
            };
            quote! {{
                let mut #selection = #private::Selection::new();
                ::core::future::poll_fn(|#cx| #poll).await
            }}
        }
    }
}

/// A body, to stand behind other statements. A block of one expression gives up its braces, which the
/// compiler would call unnecessary: in a `match`, which an arm looks like, they are not. (One with items
/// keeps them: the value of the arm must not see those.)
fn body(body: &Expr) -> &Expr {
    match body {
        Expr::Group(group) => self::body(&group.expr),
        Expr::Block(block) if block.label.is_none() && block.attrs.is_empty() => {
            match &block.block.stmts[..] {
                [Stmt::Expr(expression, None)] => expression,
                _ => body,
            }
        }
        _ => body,
    }
}

/// The statement that makes an arm. One that is not compiled keeps its number, and is never possible.
fn declare(private: &TokenStream, arm: &Arm, name: &Ident) -> TokenStream {
    let make = make(private, arm);
    if arm.cfgs.is_empty() {
        return quote!(let mut #name = #make;);
    }
    let cfgs = &arm.cfgs;
    let conditions = cfgs.iter().filter_map(|cfg| cfg.meta.require_list().ok()).map(|c| &c.tokens);
    quote! {
        #(#cfgs)* let mut #name = #make;
        #[cfg(not(all(#(#conditions),*)))] let mut #name = #private::Off;
    }
}

/// The expression that makes an arm.
fn make(private: &TokenStream, arm: &Arm) -> TokenStream {
    let make = match &arm.operation {
        Operation::Call { callee, method } | Operation::Send { callee, method, .. } => {
            // The method's span, so that "no such method" points at the user's word.
            quote_spanned!(method.span()=> (#callee).#method())
        }
        Operation::Value(value) => {
            quote_spanned!(value.span()=> #private::IntoArm::into_arm(#value))
        }
    };
    match &arm.guard {
        None => make,
        Some(guard) => quote! {
            match #guard {
                true => ::core::option::Option::Some(#make),
                false => ::core::option::Option::None,
            }
        },
    }
}

/// The expression that takes the result out of an arm that has won.
fn finish(private: &TokenStream, arm: &Arm, name: &Ident) -> TokenStream {
    let arm_that_won = match arm.guard {
        None => quote!(#name),
        Some(_) => quote!(#name.expect("an arm that won was there")),
    };
    match &arm.operation {
        Operation::Send { value, .. } => quote!(#arm_that_won.finish(#value)),
        _ => quote!(#private::Finish::finish(#arm_that_won)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(input: TokenStream) -> String {
        match syn::parse2::<Select>(input).and_then(|select| check(&select)) {
            Ok(()) => panic!("it was accepted"),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn arms_guards_bodies_and_commas_are_taken_apart() {
        let select: Select = syn::parse2(quote! {
            (Ok(v) | Err(v)) = self.rx.recv(), if a && b => f::<A, B>(v, |x, y| x + y),
            r = tx.send((1, 2)) => { body }
            _ = after(Duration::from_secs(1)) => if c { d } else { e }
            default => {}
        })
        .ok()
        .unwrap();
        assert!(matches!(select.arms[0].operation, Operation::Call { .. }));
        assert!(select.arms[0].guard.is_some() && select.arms[1].guard.is_none());
        assert!(matches!(select.arms[1].operation, Operation::Send { .. }));
        assert!(matches!(select.arms[2].operation, Operation::Value(_)));
        assert!(select.default.is_some());
    }

    #[test]
    fn what_is_wrong_is_said_with_what_is_expected() {
        assert!(error(quote!(v => 1)).contains("v = rx.recv() => .."));
        assert!(error(quote!(v = rx.recv(3) => 1)).contains("`recv` with 1 argument: an arm"));
        assert!(error(quote!(v = tx.send() => 1)).contains("`send` with 0 arguments"));
        assert!(error(quote!(default => 1, default => 2)).contains("one `default`"));
        assert!(error(quote!(v = rx.recv() => 1 w = rx.recv() => 2)).contains("expected `,`"));
        let many: TokenStream = (0..=MAX_ARMS).map(|_| quote!(_ = rx.recv() => (),)).collect();
        assert!(error(many).contains("at most 64 arms"));
    }

    #[test]
    fn another_name_of_the_crate_is_used() {
        let tokens =
            expand(Form::Blocking, quote!(crate = my::pond; v = rx.recv() => v)).to_string();
        assert!(
            tokens.contains("my :: pond :: __private :: select") && !tokens.contains("millpond ::")
        );
    }
}
