//! What a process of this runtime costs, and who gets a turn, when there are many.

#[path = "../harness/mod.rs"]
mod harness;

mod crowd;
mod fairness;
mod idle;
mod idle_tcp;
mod runtimes;
mod spread;
mod stuck;
mod tree;

fn main() {
    harness::main(
        &[
            crowd::TESTS,
            fairness::TESTS,
            idle::TESTS,
            idle_tcp::TESTS,
            runtimes::TESTS,
            spread::TESTS,
            stuck::TESTS,
            tree::TESTS,
        ],
        &[
            crowd::SCENARIOS,
            fairness::SCENARIOS,
            idle::SCENARIOS,
            idle_tcp::SCENARIOS,
            runtimes::SCENARIOS,
            spread::SCENARIOS,
            stuck::SCENARIOS,
            tree::SCENARIOS,
        ],
    );
}
