//! What stands in the parentheses of the attribute.
//!
//! [`Options`] owns the parsed values. The grammar is a comma list of `name = value`; a name may come once. Values
//! of `procs` and `stack_size` are expressions and are passed on as they are, so `stack_size = 256 * 1024` works
//! and a wrong type is rustc's error at the value. What can be seen to be wrong without types (a string, a zero) is
//! refused here, where the message can say what to write instead.
//!
//! Rejected: settings in strings (`"procs=2"`), because an error then points at the whole string.

use proc_macro2::Ident;
use quote::quote;
use syn::parse::{Parse, ParseStream};
use syn::spanned::Spanned;
use syn::{Error, Expr, Lit, Path, Result, Token, ext::IdentExt};

const KNOWN: &str = "expected `procs = N`, `stack_size = BYTES` or `crate = path`";

/// The options of one attribute.
#[derive(Default)]
pub struct Options {
    /// The number of Ps.
    procs: Option<Expr>,
    /// The default stack size, in bytes.
    stack_size: Option<Expr>,
    /// The path of the facade, where it is not `::millpond`.
    facade: Option<Path>,
}

impl Options {
    /// The path of the facade.
    pub fn facade(&self) -> proc_macro2::TokenStream {
        match &self.facade {
            Some(path) => quote!(#path),
            None => quote!(::millpond),
        }
    }

    /// The expression that builds the `runtime::Builder`.
    pub fn builder(&self) -> proc_macro2::TokenStream {
        let facade = self.facade();
        let procs = self.procs.iter();
        let stack_size = self.stack_size.iter();
        quote!(#facade::runtime::Builder::new() #(.procs(#procs))* #(.stack_size(#stack_size))*)
    }

    /// Reads one `name = value`.
    fn parse_one(&mut self, input: ParseStream<'_>) -> Result<()> {
        if !input.peek(syn::Ident::peek_any) {
            return Err(input.error(KNOWN));
        }
        let name = Ident::parse_any(input)?;
        let fresh = match name.to_string().as_str() {
            "procs" => {
                set(&mut self.procs, parse_value(input, &name, "a number of threads, as in 4")?)
            }
            "stack_size" => {
                let example = "a number of bytes, as in 256 * 1024";
                set(&mut self.stack_size, parse_value(input, &name, example)?)
            }
            "crate" => {
                expect_equals(input, &name, "the path of millpond, as in my_millpond")?;
                set(&mut self.facade, input.call(Path::parse_mod_style)?)
            }
            other => {
                return Err(Error::new(name.span(), format!("unknown option `{other}`: {KNOWN}")));
            }
        };
        if fresh { Ok(()) } else { Err(twice(&name)) }
    }
}

impl Parse for Options {
    fn parse(input: ParseStream<'_>) -> Result<Options> {
        let mut options = Options::default();
        while !input.is_empty() {
            options.parse_one(input)?;
            if input.is_empty() {
                break;
            }
            input.parse::<Token![,]>()?;
        }
        Ok(options)
    }
}

/// Fills an empty slot; false if it was filled already.
fn set<T>(slot: &mut Option<T>, value: T) -> bool {
    slot.replace(value).is_none()
}

fn twice(name: &Ident) -> Error {
    Error::new(name.span(), format!("option `{name}` is given twice: keep one"))
}

/// Reads `= value` where the value must be a number above 0, as far as its text tells.
fn parse_value(input: ParseStream<'_>, name: &Ident, wanted: &str) -> Result<Expr> {
    expect_equals(input, name, wanted)?;
    let value: Expr = input.parse()?;
    if let Expr::Lit(literal) = &value {
        let refuse = |found: &str| {
            Err(Error::new(value.span(), format!("`{name}` is {wanted}; found {found}")))
        };
        match &literal.lit {
            Lit::Int(number) if number.base10_digits() == "0" => return refuse("0"),
            Lit::Int(_) => {}
            Lit::Str(_) => return refuse("a string"),
            _ => return refuse("something else"),
        }
    }
    Ok(value)
}

fn expect_equals(input: ParseStream<'_>, name: &Ident, wanted: &str) -> Result<()> {
    if input.peek(Token![=]) {
        input.parse::<Token![=]>()?;
        return Ok(());
    }
    let place = if input.is_empty() { name.span() } else { input.span() };
    Err(Error::new(place, format!("option `{name}` needs a value: {wanted}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(text: &str) -> String {
        match syn::parse_str::<Options>(text) {
            Ok(_) => panic!("`{text}` was accepted"),
            Err(error) => error.to_string(),
        }
    }

    fn builder(text: &str) -> String {
        syn::parse_str::<Options>(text).expect(text).builder().to_string()
    }

    #[test]
    fn no_options_is_the_plain_builder() {
        assert_eq!(builder(""), ":: millpond :: runtime :: Builder :: new ()");
    }

    #[test]
    fn options_come_in_any_order_and_with_a_trailing_comma() {
        let wanted = ":: millpond :: runtime :: Builder :: new () . procs (2) . stack_size (4 * K)";
        assert_eq!(builder("procs = 2, stack_size = 4 * K"), wanted);
        assert_eq!(builder("stack_size = 4 * K, procs = 2,"), wanted);
    }

    #[test]
    fn the_facade_can_go_by_another_name() {
        assert_eq!(builder("crate = a::pond"), "a :: pond :: runtime :: Builder :: new ()");
        assert!(builder("crate = crate, procs = 1").starts_with("crate :: runtime"));
    }

    #[test]
    fn an_unknown_option_is_named_with_the_known_ones() {
        assert_eq!(error("threads = 2"), format!("unknown option `threads`: {KNOWN}"));
        assert_eq!(error("2"), KNOWN);
    }

    #[test]
    fn an_option_given_twice_is_refused() {
        assert!(error("procs = 1, procs = 2").contains("given twice"));
        assert!(error("crate = a, crate = b").contains("given twice"));
    }

    #[test]
    fn a_value_that_cannot_be_a_number_says_what_is_wanted() {
        assert!(error("procs = \"2\"").contains("found a string"));
        assert!(error("procs = 0").contains("found 0"));
        assert!(error("stack_size = 1.5").contains("256 * 1024"));
        assert!(error("procs").contains("needs a value"));
        assert!(error("procs(2)").contains("needs a value"));
        assert!(error("crate").contains("needs a value"));
    }
}
