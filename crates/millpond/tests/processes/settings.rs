//! What the environment says, understood or refused; how many Ps there are.

use crate::harness::{Run, Table, as_main};
use crate::table;
use std::fs;
use std::path::{Path, PathBuf};

pub const TESTS: Table = table![
    settings_that_make_no_sense_are_one_line_and_status_1,
    a_bad_setting_in_run_is_an_error_and_not_the_end,
    settings_that_make_sense_are_taken,
    every_guard_mode_runs_or_says_why_not,
    affinity_limits_the_ps,
    a_cgroup_quota_limits_the_ps,
];

pub const SCENARIOS: Table =
    table![start, run_with_bad_settings, tell, tell_with_one_cpu, tell_in_cgroup];

fn start() {
    as_main(|| println!("started"));
}

fn settings_that_make_no_sense_are_one_line_and_status_1() {
    let bad = [
        ("MILLPOND_PROCS", "0"),
        ("MILLPOND_PROCS", "513"),
        ("MILLPOND_PROCS", "many"),
        ("MILLPOND_PROCS", "-1"),
        ("MILLPOND_STACK", "big"),
        ("MILLPOND_STACK", "0"),
        ("MILLPOND_STACK", "64 cats"),
        ("MILLPOND_STACK", "1G"),
        ("MILLPOND_STACK", "9M"),
        ("MILLPOND_STACK", "18446744073709551615K"),
        ("MILLPOND_GUARD", "none"),
        ("MILLPOND_GUARD", "Mprotect"),
    ];
    for (name, value) in bad {
        let ended = Run::of("start").env(name, value).end();
        ended.has_code(1).says(&["millpond: cannot start: "]);
        assert_eq!(ended.stderr.trim_end().lines().count(), 1, "{name}={value}: {ended}");
        assert!(!ended.stdout.contains("started"), "{name}={value}: {ended}");
        assert!(
            ended.stderr.contains(name),
            "the line says which setting: {name}={value}: {ended}"
        );
    }
}

fn run_with_bad_settings() {
    use millpond::runtime::Builder;
    let error = Builder::new().run(|| ()).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::InvalidInput);
    assert!(error.to_string().contains("MILLPOND_PROCS=none"), "{error}");
    // What the program says goes before what the environment says.
    assert_eq!(Builder::new().procs(1).run(|| 3).unwrap(), 3);
    assert!(Builder::new().procs(0).run(|| ()).is_err());
    assert!(Builder::new().procs(2).stack_size(1 << 30).run(|| ()).is_err());
}

fn a_bad_setting_in_run_is_an_error_and_not_the_end() {
    Run::of("run_with_bad_settings").env("MILLPOND_PROCS", "none").passes();
}

/// Says how many Ps there are and how large a stack is.
fn tell() {
    as_main(|| {
        let counts = millpond::debug::counts();
        let stack_bytes = millpond::debug::goroutines().iter().next().unwrap().stack_bytes;
        println!("{} Ps, {} KiB", counts.procs, stack_bytes >> 10);
    });
}

fn told(run: Run) -> String {
    run.passes().stdout.trim().to_owned()
}

fn settings_that_make_sense_are_taken() {
    for procs in ["1", "2", "8", "512", " 3 "] {
        let wanted = format!("{} Ps", procs.trim());
        let told = told(Run::of("tell").env("MILLPOND_PROCS", procs));
        assert!(told.starts_with(&wanted), "{told}");
    }
    // The guard and the colour are taken off.
    for (stack, kib) in
        [("16K", 9..16), ("65536", 57..64), ("1MiB", 1_017..1_024), ("8m", 8_000..8_192)]
    {
        let told = told(Run::of("tell").env("MILLPOND_STACK", stack));
        let seen = told.split(' ').nth(2).unwrap().parse().unwrap();
        assert!(kib.contains(&seen), "{stack}: {told}");
    }
}

fn every_guard_mode_runs_or_says_why_not() {
    for mode in ["install", "userfault", "mprotect"] {
        let run = Run::of("start").env("MILLPOND_GUARD", mode).env("MILLPOND_DEBUG", "guard");
        let ended = run.end();
        if ended.status.success() {
            ended.says(&[mode]);
        } else {
            assert_ne!(mode, "mprotect", "mprotect works everywhere: {ended}");
            ended.has_code(1).says(&["millpond: cannot start: ", mode]);
            println!("{}", ended.stderr.trim());
        }
    }
}

fn tell_with_one_cpu() {
    // SAFETY: plain system calls with sets of the right size.
    unsafe {
        let mut allowed: libc::cpu_set_t = std::mem::zeroed();
        let bytes = size_of_val(&allowed);
        assert_eq!(libc::sched_getaffinity(0, bytes, &mut allowed), 0);
        let first = (0..1024).find(|&cpu| libc::CPU_ISSET(cpu, &allowed)).unwrap();
        let mut one: libc::cpu_set_t = std::mem::zeroed();
        libc::CPU_SET(first, &mut one);
        assert_eq!(libc::sched_setaffinity(0, bytes, &one), 0);
    }
    tell();
}

fn affinity_limits_the_ps() {
    let told = told(Run::of("tell_with_one_cpu").env_remove("MILLPOND_PROCS"));
    assert!(told.starts_with("1 Ps"), "{told}");
}

const CGROUP: &str = "MILLPOND_TEST_CGROUP";

fn tell_in_cgroup() {
    let group = PathBuf::from(std::env::var_os(CGROUP).unwrap());
    fs::write(group.join("cgroup.procs"), std::process::id().to_string()).unwrap();
    tell();
}

/// A cgroup with a quota of one processor, removed again.
struct OneCpu(PathBuf);

impl OneCpu {
    /// `None` if this machine lets nobody make one.
    fn make() -> Option<Self> {
        let membership = fs::read_to_string("/proc/self/cgroup").ok()?;
        let path_of = |wanted: fn(&str) -> bool| {
            membership.lines().find_map(|line| {
                let mut fields = line.splitn(3, ':').skip(1);
                let (controllers, path) = (fields.next()?, fields.next()?);
                wanted(controllers).then(|| path.trim_start_matches('/').to_owned())
            })
        };
        let v1 = path_of(|controllers| controllers.split(',').any(|name| name == "cpu"));
        let v2 = path_of(str::is_empty);
        let name = format!("millpond-test-{}", std::process::id());
        let v1 = v1.and_then(|path| {
            let group = Self::at(&Path::new("/sys/fs/cgroup/cpu").join(path).join(&name))?;
            fs::write(group.0.join("cpu.cfs_period_us"), "100000").ok()?;
            fs::write(group.0.join("cpu.cfs_quota_us"), "100000").ok()?;
            Some(group)
        });
        v1.or_else(|| {
            let group = Self::at(&Path::new("/sys/fs/cgroup").join(v2?).join(&name))?;
            fs::write(group.0.join("cpu.max"), "100000 100000").ok()?;
            Some(group)
        })
    }

    fn at(path: &Path) -> Option<Self> {
        fs::create_dir(path).ok()?;
        Some(Self(path.to_owned()))
    }
}

impl Drop for OneCpu {
    fn drop(&mut self) {
        let _ = fs::remove_dir(&self.0);
    }
}

fn a_cgroup_quota_limits_the_ps() {
    let Some(group) = OneCpu::make() else {
        println!("skipped: this machine lets the test make no cgroup with a CPU quota");
        return;
    };
    let run = Run::of("tell_in_cgroup").env_remove("MILLPOND_PROCS");
    let told = told(run.env(CGROUP, group.0.to_str().unwrap()));
    assert!(told.starts_with("1 Ps"), "{told}");
}
