//! How much a test does, and what it prints for `tests/must_show`.

use std::time::Duration;

/// Whether this run measures: the release binary, at the scale of the promises.
pub fn is_full() -> bool {
    std::env::var("TIDINGS_CLUSTER_SCALE").is_ok_and(|scale| scale == "full")
}

/// One of two values: that of the quick form, or that of the full scale.
pub fn choose<T>(quick: T, full: T) -> T {
    if is_full() { full } else { quick }
}

/// The figures of a test. All are printed before any of them fails it.
#[derive(Default)]
pub struct Figures(bool);

impl Figures {
    /// A figure, its bound and the verdict, as a row for `tests/must_show`.
    pub fn row(&mut self, name: &str, value: impl ToString, bound: impl ToString, good: bool) {
        let (value, bound) = (value.to_string(), bound.to_string());
        println!("FIGURE\t{name}\t{value}\t{bound}\t{}", if good { "pass" } else { "FAIL" });
        self.0 |= !good;
    }

    /// A count that has to be 0.
    pub fn none(&mut self, name: &str, count: u64) {
        self.row(name, count, 0, count == 0);
    }

    /// A time that may be at most `bound`.
    pub fn within(&mut self, name: &str, time: Duration, bound: Duration) {
        self.row(name, format!("{time:.1?}"), format!("≤ {bound:.1?}"), time <= bound);
    }

    /// Fails the test if any figure is out of its bound.
    #[track_caller]
    pub fn verdict(self) {
        assert!(!self.0, "a bound is not kept: see the rows above");
    }
}
