//! The function that an attribute stands on.
//!
//! [`Function`] owns its parts, cut so that they can be put on two functions: attributes and visibility go to the
//! outer one, `async` and the body to the inner one, name and return type to both. The body stays a token tree that
//! nobody reads.
//!
//! What cannot be the first goroutine is refused at the token that makes it so: arguments (nobody would pass them),
//! generics and `where` clauses (nobody would choose them), `const`, `unsafe` and `extern` (nobody would keep their
//! promise). All complaints about one function are reported together.

use proc_macro2::{Ident, TokenStream, TokenTree};
use quote::ToTokens;
use syn::parse::{Parse, ParseStream};
use syn::{Attribute, Error, Generics, Result, ReturnType, Token, Type, Visibility, parenthesized};

/// A function without arguments, in parts.
pub struct Function {
    /// The attributes, outer ones and those at the head of the body.
    pub attributes: Vec<Attribute>,
    /// `pub` and the like.
    pub visibility: Visibility,
    /// The `async` keyword.
    pub asyncness: Option<Token![async]>,
    /// The name.
    pub name: Ident,
    /// `-> Type`, or nothing.
    pub output: ReturnType,
    /// The body with its braces.
    pub body: TokenTree,
}

impl Parse for Function {
    fn parse(input: ParseStream<'_>) -> Result<Function> {
        let attributes = input.call(Attribute::parse_outer)?;
        let visibility = input.parse()?;
        let mut complaints = Complaints::default();
        let asyncness = parse_qualifiers(input, &mut complaints)?;
        input.parse::<Token![fn]>().map_err(|error| {
            Error::new(error.span(), "this attribute belongs on a function: `fn name() { .. }`")
        })?;
        let name = input.parse()?;
        parse_parameters(input, &mut complaints)?;
        let output: ReturnType = input.parse()?;
        if input.peek(Token![where]) {
            let clause: syn::WhereClause = input.parse()?;
            complaints.add(clause, "the first goroutine has no generic parameters to bound");
        }
        let body = parse_body(input)?;
        complaints.settle()?;
        let attributes = attributes.into_iter().chain(body.attributes).collect();
        Ok(Function { attributes, visibility, asyncness, name, output, body: body.block })
    }
}

impl Function {
    /// What it returns, as far as its text tells.
    pub fn returns(&self) -> Returns {
        match &self.output {
            ReturnType::Default => Returns::Unit,
            ReturnType::Type(_, ty) => match &**ty {
                Type::Tuple(tuple) if tuple.elems.is_empty() => Returns::Unit,
                Type::Never(_) => Returns::Never,
                _ => Returns::Value,
            },
        }
    }
}

/// The three kinds of return type that are expanded differently.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Returns {
    /// `()`, written or not.
    Unit,
    /// `!`.
    Never,
    /// Anything else.
    Value,
}

/// Reads the keywords before `fn`; gives back `async`.
fn parse_qualifiers(
    input: ParseStream<'_>,
    complaints: &mut Complaints,
) -> Result<Option<Token![async]>> {
    let refused = "cannot be the first goroutine: remove this keyword";
    if let Some(keyword) = input.parse::<Option<Token![const]>>()? {
        complaints.add(keyword, &format!("a `const fn` {refused}"));
    }
    let asyncness = input.parse()?;
    if let Some(keyword) = input.parse::<Option<Token![unsafe]>>()? {
        complaints.add(keyword, &format!("an `unsafe fn` {refused}"));
    }
    if let Some(abi) = input.parse::<Option<syn::Abi>>()? {
        complaints.add(abi, &format!("an `extern fn` {refused}"));
    }
    Ok(asyncness)
}

/// Reads generics and arguments, which both have to be empty.
fn parse_parameters(input: ParseStream<'_>, complaints: &mut Complaints) -> Result<()> {
    let generics: Generics = input.parse()?;
    if !generics.params.is_empty() {
        let problem = "the first goroutine cannot be generic: nobody chooses the parameters";
        complaints.add(&generics.params, problem);
    }
    let content;
    parenthesized!(content in input);
    if !content.is_empty() {
        let arguments: TokenStream = content.parse()?;
        let problem = "the first goroutine takes no arguments: nobody passes them";
        complaints.add(&arguments, problem);
    }
    Ok(())
}

/// A body and the inner attributes that stood at its head.
struct Body {
    attributes: Vec<Attribute>,
    block: TokenTree,
}

/// Reads the braces; moves `#![..]` out of them, where it means the same in front of the function.
fn parse_body(input: ParseStream<'_>) -> Result<Body> {
    let content;
    let braces = syn::braced!(content in input);
    if !input.is_empty() {
        return Err(input.error("expected nothing after the function"));
    }
    let mut attributes = content.call(Attribute::parse_inner)?;
    for attribute in &mut attributes {
        attribute.style = syn::AttrStyle::Outer;
    }
    let statements: TokenStream = content.parse()?;
    let mut group = proc_macro2::Group::new(proc_macro2::Delimiter::Brace, statements);
    group.set_span(braces.span.join());
    Ok(Body { attributes, block: group.into() })
}

/// Everything that is wrong with one function, in one error.
#[derive(Default)]
struct Complaints(Option<Error>);

impl Complaints {
    fn add(&mut self, culprit: impl ToTokens, message: &str) {
        let error = Error::new_spanned(culprit, message);
        match &mut self.0 {
            Some(all) => all.combine(error),
            none => *none = Some(error),
        }
    }

    fn settle(self) -> Result<()> {
        self.0.map_or(Ok(()), Err)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn errors(text: &str) -> Vec<String> {
        match syn::parse_str::<Function>(text) {
            Ok(_) => panic!("`{text}` was accepted"),
            Err(error) => error.into_iter().map(|e| e.to_string()).collect(),
        }
    }

    #[test]
    fn a_body_is_passed_through_unread() {
        let f: Function = syn::parse_str("pub fn main() { let = half typed }").unwrap();
        assert_eq!(f.body.to_string(), "{ let = half typed }");
        assert!(f.asyncness.is_none());
        assert_eq!(f.returns(), Returns::Unit);
    }

    #[test]
    fn attributes_inside_the_body_move_outside() {
        let f: Function = syn::parse_str("#[a] fn main() -> R { #![allow(x)] go() }").unwrap();
        assert_eq!(f.attributes.len(), 2);
        assert!(matches!(f.attributes[1].style, syn::AttrStyle::Outer));
        assert_eq!(f.body.to_string(), "{ go () }");
        assert_eq!(f.returns(), Returns::Value);
    }

    #[test]
    fn unit_and_never_are_seen_in_the_text() {
        let returns = |text| syn::parse_str::<Function>(text).unwrap().returns();
        assert_eq!(returns("fn main() -> () {}"), Returns::Unit);
        assert_eq!(returns("fn main() -> ! { loop {} }"), Returns::Never);
        assert_eq!(returns("fn main() -> ((),) { ((),) }"), Returns::Value);
    }

    #[test]
    fn every_thing_that_is_wrong_is_said_at_once() {
        let all = errors("const unsafe extern \"C\" fn main<T>(a: u8, b: u8) where T: Copy {}");
        for word in ["const", "unsafe", "extern", "generic:", "arguments", "bound"] {
            assert!(all.iter().any(|e| e.contains(word)), "{word} is missing in {all:?}");
        }
        assert_eq!(all.len(), 6);
    }

    #[test]
    fn what_is_not_a_function_is_refused() {
        assert!(errors("struct Main;")[0].contains("belongs on a function"));
        assert!(errors("fn main();")[0].contains("expected curly braces"));
        assert!(errors("fn main() {} fn more() {}")[0].contains("nothing after"));
    }
}
