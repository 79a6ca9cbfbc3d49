//! What the macros write.
//!
//! For `fn main() -> R { body }`:
//!
//! ```text
//! fn main() -> ExitCode {
//!     fn main() -> R { body }
//!     ::millpond::__private::main(::millpond::runtime::Builder::new(), || Termination::report(main()))
//! }
//! ```
//!
//! The body becomes a function and not a closure, so that everything that is legal in a function stays legal: `impl
//! Trait` as return type, `return`, and rustc's messages point at the return type that the user wrote. The inner
//! function keeps the name, so a backtrace says `main` and a call of `main` in the body still means the body.
//!
//! The result is reported *inside* the goroutine and only the exit code leaves it. Otherwise the result would have
//! to be `Send`, and `Result<(), Box<dyn Error>>`, which half of all programs return, is not. A function that
//! returns `()` is passed as it is, because `#[should_panic]` insists on `()`.
//!
//! After an error the macro writes the errors and, for `main`, an empty `fn main() {}`: else rustc would add that the
//! program has no `main`.

use crate::function::{Function, Returns};
use crate::options::Options;
use proc_macro2::TokenStream;
use quote::quote;
use syn::{Error, Result};

/// Which of the two attributes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Entry {
    /// `#[millpond::main]`
    Main,
    /// `#[millpond::test]`
    Test,
}

/// The tokens that replace attribute and function.
pub fn entry(entry: Entry, options: TokenStream, item: TokenStream) -> TokenStream {
    match parse(entry, options, item) {
        Ok((options, function)) => write(entry, &options, &function),
        Err(error) => {
            let errors = error.into_compile_error();
            match entry {
                Entry::Main => quote!(#errors fn main() {}),
                Entry::Test => errors,
            }
        }
    }
}

/// Reads both halves and reports the errors of both.
fn parse(entry: Entry, options: TokenStream, item: TokenStream) -> Result<(Options, Function)> {
    let options = syn::parse2::<Options>(options);
    let function = syn::parse2::<Function>(item).and_then(|function| {
        check(entry, &function)?;
        Ok(function)
    });
    match (options, function) {
        (Ok(options), Ok(function)) => Ok((options, function)),
        (Err(mut first), Err(second)) => {
            first.combine(second);
            Err(first)
        }
        (Err(error), _) | (_, Err(error)) => Err(error),
    }
}

/// What is wrong for one of the two attributes only.
fn check(entry: Entry, function: &Function) -> Result<()> {
    match entry {
        Entry::Main if function.name != "main" => {
            let message = "`#[millpond::main]` starts the process and belongs on `fn main()`; \
                           elsewhere use `millpond::runtime::Builder::new().run(..)`";
            Err(Error::new(function.name.span(), message))
        }
        Entry::Test => match function.attributes.iter().find(|a| is_test(a)) {
            Some(other) => {
                let message = "`#[millpond::test]` adds `#[test]` itself; with two of them the \
                               test would run twice: remove the other one";
                Err(Error::new_spanned(other, message))
            }
            None => Ok(()),
        },
        Entry::Main => Ok(()),
    }
}

/// Does this attribute make a test (`#[test]`, `#[other::test]`)?
fn is_test(attribute: &syn::Attribute) -> bool {
    attribute.path().segments.last().is_some_and(|segment| segment.ident == "test")
}

/// Writes the outer function around the inner one.
fn write(entry: Entry, options: &Options, function: &Function) -> TokenStream {
    let Function { attributes, visibility, asyncness, name, output, body } = function;
    let facade = options.facade();
    let builder = options.builder();
    let (marker, run) = match entry {
        Entry::Main => (None, quote!(#facade::__private::main)),
        Entry::Test => {
            let marker = quote!(#[::core::prelude::v1::test]);
            (Some(marker), quote!(#facade::__private::test))
        }
    };
    let value = match asyncness {
        Some(_) => quote!(#facade::block_on(#name())),
        None => quote!(#name()),
    };
    let exit_code = quote!(-> ::std::process::ExitCode);
    let (outer_output, closure) = match function.returns() {
        Returns::Unit => (None, quote!(move || #value)),
        // `report` would be unreachable code after a call that does not return.
        Returns::Never => (Some(&exit_code), quote!(move || #exit_code { #value })),
        Returns::Value => {
            (Some(&exit_code), quote!(move || ::std::process::Termination::report(#value)))
        }
    };
    quote! {
        #(#attributes)*
        #marker
        #visibility fn #name() #outer_output {
            #asyncness fn #name() #output #body
            #run(#builder, #closure)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn expanded(entry_kind: Entry, options: &str, item: &str) -> String {
        let text = entry(entry_kind, options.parse().unwrap(), item.parse().unwrap()).to_string();
        text.split_whitespace().collect::<Vec<_>>().join(" ")
    }

    fn same(found: &str, wanted: &str) {
        let wanted = wanted.parse::<TokenStream>().unwrap().to_string();
        let tokens = |text: &str| text.replace(char::is_whitespace, "");
        assert_eq!(tokens(found), tokens(&wanted), "{found}");
    }

    #[test]
    fn a_main_without_result_is_passed_as_it_is() {
        same(
            &expanded(Entry::Main, "procs = 2", "fn main() { go() }"),
            "fn main() {
                fn main() { go() }
                ::millpond::__private::main(
                    ::millpond::runtime::Builder::new().procs(2), move || main())
            }",
        );
    }

    #[test]
    fn a_result_is_reported_inside_the_goroutine() {
        same(
            &expanded(Entry::Main, "crate = pond", "/// Doc.\npub fn main() -> R { go() }"),
            "#[doc = \" Doc.\"] pub fn main() -> ::std::process::ExitCode {
                fn main() -> R { go() }
                pond::__private::main(pond::runtime::Builder::new(),
                    move || ::std::process::Termination::report(main()))
            }",
        );
    }

    #[test]
    fn a_main_that_never_returns_has_no_unreachable_code() {
        same(
            &expanded(Entry::Main, "", "fn main() -> ! { loop {} }"),
            "fn main() -> ::std::process::ExitCode {
                fn main() -> ! { loop {} }
                ::millpond::__private::main(::millpond::runtime::Builder::new(),
                    move || -> ::std::process::ExitCode { main() })
            }",
        );
    }

    #[test]
    fn an_async_test_blocks_on_its_body_and_keeps_its_attributes() {
        same(
            &expanded(
                Entry::Test,
                "",
                "#[should_panic] #[ignore = \"slow\"] async fn t() { a().await }",
            ),
            "#[should_panic] #[ignore = \"slow\"] #[::core::prelude::v1::test] fn t() {
                async fn t() { a().await }
                ::millpond::__private::test(
                    ::millpond::runtime::Builder::new(), move || ::millpond::block_on(t()))
            }",
        );
    }

    #[test]
    fn an_error_still_leaves_a_main() {
        let text = expanded(Entry::Main, "threads = 1", "fn main(a: u8) {}");
        assert!(text.contains("unknown option `threads`"), "{text}");
        assert!(text.contains("takes no arguments"), "{text}");
        assert!(text.ends_with("fn main () { }"), "{text}");
    }

    #[test]
    fn main_under_another_name_and_a_second_test_attribute_are_refused() {
        assert!(expanded(Entry::Main, "", "fn start() {}").contains("belongs on `fn main()`"));
        assert!(expanded(Entry::Test, "", "#[test] fn t() {}").contains("run twice"));
        assert!(expanded(Entry::Test, "", "#[tokio::test] fn t() {}").contains("run twice"));
    }
}
