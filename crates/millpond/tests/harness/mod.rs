//! Tests that need a process of their own: what it says, how it ends, what it costs.
//!
//! A test program with this harness has its own `main`, which is [`main`]: started as a test it
//! runs the tests; started again by one of them, with the name of a *scenario* in the environment,
//! it becomes that scenario. A libtest program could not do this: it has a thread more than the
//! scenario asked for, and the deadlock report counts threads.

#![allow(dead_code, reason = "each test program uses its own part")]

use libtest_mimic::{Arguments, Trial};
use std::io::Read;
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::{Duration, Instant};

/// Names and functions: the tests, or the scenarios, of a module.
pub type Table = &'static [(&'static str, fn())];

/// Makes a [`Table`] of functions in scope.
#[macro_export]
macro_rules! table {
    ($($function:ident),* $(,)?) => { &[$((stringify!($function), $function as fn())),*] };
}

const SCENARIO: &str = "MILLPOND_TEST_SCENARIO";

/// A scenario that has not ended by then hangs.
const LIMIT: Duration = Duration::from_secs(300);

/// The `main` of a test program.
pub fn main(tests: &[Table], scenarios: &[Table]) {
    if let Ok(name) = std::env::var(SCENARIO) {
        let all = || scenarios.iter().copied().flatten();
        assert_eq!(all().filter(|(known, _)| *known == name).count(), 1, "scenario {name}");
        return all().filter(|(known, _)| *known == name).for_each(|(_, run)| run());
    }
    let trials = tests.iter().copied().flatten().map(|(name, test)| {
        Trial::test(*name, move || {
            test();
            Ok(())
        })
    });
    libtest_mimic::run(&Arguments::from_args(), trials.collect()).exit();
}

/// A scenario about to run.
pub struct Run(Command);

impl Run {
    /// This program as scenario `name`, with the environment of the tests.
    pub fn of(name: &str) -> Self {
        let program = std::env::current_exe().expect("a program knows where it is");
        let mut command = Command::new(program);
        command.env(SCENARIO, name).env_remove("RUST_BACKTRACE");
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        Self(command)
    }

    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.0.env(name, value);
        self
    }

    pub fn env_remove(mut self, name: &str) -> Self {
        self.0.env_remove(name);
        self
    }

    /// Starts it and leaves it to itself, with the caller's output.
    pub fn start(mut self) -> Child {
        self.0.stdout(Stdio::inherit()).stderr(Stdio::inherit());
        self.0.spawn().expect("the scenario starts")
    }

    /// Runs it to its end. A scenario that hangs is killed, which shows in its status.
    pub fn end(mut self) -> Ended {
        let began = Instant::now();
        let mut child = self.0.spawn().expect("the scenario starts");
        let (done, both_done) = mpsc::channel::<()>();
        let stdout = read(child.stdout.take(), done.clone());
        let stderr = read(child.stderr.take(), done);
        // Disconnected: both readers came to the end of their pipes.
        if both_done.recv_timeout(LIMIT) == Err(RecvTimeoutError::Timeout) {
            child.kill().expect("a child can be killed");
        }
        let status = child.wait().expect("a child can be waited for");
        let took = began.elapsed();
        let text = |reader: std::thread::JoinHandle<String>| reader.join().expect("a reader");
        Ended { status, stdout: text(stdout), stderr: text(stderr), took }
    }

    /// Runs it; it must end with status 0. Says on the tests' output what it said.
    pub fn passes(self) -> Ended {
        let ended = self.end();
        ended.has_code(0);
        print!("{}", ended.stdout);
        ended
    }
}

fn read(
    pipe: Option<impl Read + Send + 'static>,
    done: mpsc::Sender<()>,
) -> std::thread::JoinHandle<String> {
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        pipe.expect("piped").read_to_end(&mut bytes).expect("a pipe can be read");
        drop(done);
        String::from_utf8_lossy(&bytes).into_owned()
    })
}

/// What came of a scenario.
pub struct Ended {
    pub status: ExitStatus,
    pub stdout: String,
    pub stderr: String,
    pub took: Duration,
}

impl Ended {
    #[track_caller]
    pub fn has_code(&self, code: i32) -> &Self {
        assert_eq!(self.status.code(), Some(code), "{self}");
        self
    }

    #[track_caller]
    pub fn has_signal(&self, signal: i32) -> &Self {
        assert_eq!(self.status.signal(), Some(signal), "{self}");
        self
    }

    /// All of `texts` are in its error output.
    #[track_caller]
    pub fn says(&self, texts: &[&str]) -> &Self {
        for text in texts {
            assert!(self.stderr.contains(text), "expected {text:?}\n{self}");
        }
        self
    }

    #[track_caller]
    pub fn says_not(&self, text: &str) -> &Self {
        assert!(!self.stderr.contains(text), "did not expect {text:?}\n{self}");
        self
    }
}

impl std::fmt::Display for Ended {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { status, stdout, stderr, took } = self;
        write!(f, "{status} after {took:?}\n--- stdout\n{stdout}\n--- stderr\n{stderr}")
    }
}

/// What `#[millpond::main]` makes of a body.
#[track_caller]
pub fn as_main(body: impl FnOnce() + Send + 'static) {
    millpond::__private::main(millpond::runtime::Builder::new(), body);
}

/// As [`as_main`], with so many Ps whatever the environment says.
#[track_caller]
pub fn as_main_with(procs: usize, body: impl FnOnce() + Send + 'static) {
    millpond::__private::main(millpond::runtime::Builder::new().procs(procs), body);
}

/// Waits until `condition` holds, looking again each millisecond; for what nobody announces.
#[track_caller]
pub fn eventually(what: &str, limit: Duration, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + limit;
    while !condition() {
        assert!(Instant::now() < deadline, "not within {limit:?}: {what}");
        millpond::time::sleep(Duration::from_millis(1));
    }
}

/// Waits until so many goroutines wait for `reason`.
#[track_caller]
pub fn until_parked(count: usize, reason: millpond::debug::WaitReason) {
    use millpond::debug::Status;
    let parked = || {
        let dump = millpond::debug::goroutines_in_brief();
        dump.iter().filter(|g| g.status == Status::Waiting && g.reason == reason).count()
    };
    let what = format!("{count} goroutines wait: {reason}");
    // A dump takes long, and on one P nobody else runs meanwhile: first let them start.
    let all_started = || millpond::debug::counts().live >= count;
    eventually(&what, Duration::from_secs(30), || all_started() && parked() >= count);
}

/// How many goroutines the guards of this process allow at once.
pub fn most_stacks() -> usize {
    let pool = millpond_stack::Pool::global().expect("stacks");
    match pool.guard_mode() {
        // Each costs two of `vm.max_map_count`; the default of which is 65,530.
        millpond_stack::GuardMode::Mprotect => 20_000,
        _ => usize::MAX,
    }
}
