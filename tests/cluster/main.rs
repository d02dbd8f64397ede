//! A whole cluster of real processes, with the configurations of `cluster-configs/` and with keys: what clients see while
//! operators, failures and attackers act on it.
//!
//! One cluster runs at a time. The quick form, which `tests/run` runs, checks answers, errors and copies at a scale that two
//! cores and a binary without optimisation can carry. `tests/must_show cluster-…` also measures: with the release binary, at
//! full scale.

#![expect(
    clippy::disallowed_methods,
    reason = "what clients of running processes wait for is measured by the real clock"
)]

mod agreement;
mod attacks;
mod cut;
mod death;
mod joining;
mod load;
mod newcomers;
mod regions;
