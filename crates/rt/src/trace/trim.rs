//! What of a stack is worth showing: the program's functions, without what the runtime does at both ends.
//!
//! Below the function of the goroutine, the runtime calls it; `std` marks this place for its own backtraces, and so
//! do we ([`crate::panics`]). Above what the goroutine called in order to wait, there are the functions by which it
//! came to the switch: of these the outermost stays, which is the one that was called.
//!
//! Whose a function is, its name says, which begins with its crate. But debug information that consists of
//! lines alone (`debug = "line-tables-only"`) has names without paths; then the file says it.

use millpond_frames::Frame;

/// Where [`crate::panics::short_backtrace`] calls the user's function.
const BEGIN: &str = "__rust_begin_short_backtrace";

/// Crates of the runtime, without what they have in common.
const PARTS: [&str; 7] = ["rt", "sys", "stack", "sync", "net", "observe", "frames"];

/// See the module documentation.
pub(super) fn without_runtime(mut frames: Vec<Frame>) -> Vec<Frame> {
    if let Some(begin) = frames.iter().position(|frame| frame.function.contains(BEGIN)) {
        frames.truncate(begin);
    }
    let owners = frames.iter().map(owner).take_while(|owner| *owner != Owner::Program);
    let owners: Vec<Owner> = owners.collect();
    let runtime = owners.iter().rposition(|owner| *owner != Owner::Std).map_or(0, |at| at + 1);
    // The switch itself is nobody's to call. It is all that is left where everything else was inlined and no
    // debug information says so.
    let called = runtime > 0 && owners[runtime - 1] == Owner::Runtime;
    frames.drain(..runtime - usize::from(called));
    frames
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Owner {
    Program,
    Runtime,
    /// The crate that switches stacks.
    Switch,
    /// What the runtime's functions go through on their way to each other.
    Std,
}

fn owner(frame: &Frame) -> Owner {
    let path = frame.function.trim_start_matches(['<', '&']);
    let Some((first, _)) = path.split_once("::").filter(|(first, _)| is_name(first)) else {
        return frame.place.as_ref().map_or(Owner::Program, |(file, _)| owner_of_file(file));
    };
    match first {
        "core" | "alloc" | "std" => Owner::Std,
        "corosensei" => Owner::Switch,
        "millpond" => Owner::Runtime,
        _ if first.strip_prefix("millpond_").is_some_and(|part| PARTS.contains(&part)) => {
            Owner::Runtime
        }
        _ => Owner::Program,
    }
}

/// Whether the first part of a path is one, and not the beginning of a name with parameters.
fn is_name(first: &str) -> bool {
    first.bytes().all(|byte| byte == b'_' || byte.is_ascii_alphanumeric())
}

fn owner_of_file(file: &str) -> Owner {
    // A crate of ours lies beside this one: in the folder `crates`, or, from a registry, as `millpond-rt-0.1.0`.
    let in_workspace = !file!().contains("millpond-rt-");
    let is_of = |part: &str| match in_workspace {
        true => file.contains(&format!("crates/{part}/src/")),
        false => file.contains(&format!("/millpond-{part}-")),
    };
    let facade = concat!("/millpond-", env!("CARGO_PKG_VERSION"), "/src/");
    if file.contains("/library/core/src/")
        || file.contains("/library/alloc/src/")
        || file.contains("/library/std/src/")
    {
        Owner::Std
    } else if file.contains("/corosensei-") {
        Owner::Switch
    } else if PARTS.iter().any(|part| is_of(part))
        || in_workspace && is_of("millpond")
        || file.contains(facade)
    {
        Owner::Runtime
    } else {
        Owner::Program
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use millpond_frames::Names;

    fn frame(name: &str, file: Option<&str>) -> Frame {
        let mut frame = Names::new().of(1)[0].clone();
        frame.function = name.into();
        frame.place = file.map(|file| (file.into(), 1));
        frame
    }

    #[test]
    fn of_the_runtimes_frames_the_one_that_was_called_stays() {
        let all = [
            "corosensei::coroutine::Yielder<Input,Yield>::suspend",
            "millpond_rt::m::park::park",
            "core::option::Option<T>::or_else",
            "<millpond_sync::chan::receiver::Receiver<T>>::recv",
            "millpond_routing::serve",
            "millpond_rt::scope::scope",
            "app::work",
            "millpond_rt::panics::short_backtrace::__rust_begin_short_backtrace",
            "millpond_rt::g::cell::run",
        ];
        let frames = all.iter().map(|name| frame(name, None)).collect();
        let left = without_runtime(frames);
        let left: Vec<&str> = left.iter().map(|frame| &*frame.function).collect();
        assert_eq!(left, &all[3..7]);
        let inlined = without_runtime(vec![frame(all[0], None), frame(all[6], None)]);
        assert_eq!(inlined, [frame(all[6], None)]);
        assert!(without_runtime(Vec::new()).is_empty());
        assert!(without_runtime(vec![frame(BEGIN, None)]).is_empty());
    }

    #[test]
    fn names_without_paths_belong_to_whose_file_they_are_in() {
        let all = [
            ("suspend<(), ()>", "/registry/corosensei-0.3.4/src/coroutine.rs"),
            ("leave<millpond_rt::wait::line::Taken<()>>", "/home/crates/rt/src/wait/line.rs"),
            ("map<u8>", "/rustc/hash/library/core/src/option.rs"),
            ("recv<()>", "/home/crates/sync/src/chan/receiver.rs"),
            ("work<app::Item>", "/home/app/src/main.rs"),
        ];
        let frames = all.iter().map(|(name, file)| frame(name, Some(file))).collect();
        let left = without_runtime(frames);
        let left: Vec<&str> = left.iter().map(|frame| &*frame.function).collect();
        assert_eq!(left, ["recv<()>", "work<app::Item>"]);
        assert_eq!(owner(&frame("work", None)), Owner::Program);
    }
}
