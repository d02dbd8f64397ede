//! How much a test does, and the figures that it prints for `tests/must_show`.

use std::time::Duration;

/// Whether this run measures: the release binary at full scale, on a machine that does nothing else. `tests/must_show`
/// asks for it with `TEST_SCALE=full`.
pub fn is_full() -> bool {
    std::env::var("TEST_SCALE").is_ok_and(|scale| scale == "full")
}

/// The first value in the quick form of a test, the second at full scale.
pub fn choose<T>(quick: T, full: T) -> T {
    if is_full() { full } else { quick }
}

/// The cores of tracker and load: one each at full scale.
pub fn cores() -> [Option<u64>; 2] {
    choose([None; 2], [Some(0), Some(1)])
}

/// The figures of a test. All are printed before any of them fails it.
#[derive(Default)]
pub struct Figures {
    failed: bool,
}

impl Figures {
    /// A figure, its bound, and whether it keeps the bound.
    pub fn row(&mut self, name: &str, value: impl ToString, bound: impl ToString, good: bool) {
        let (value, bound) = (value.to_string(), bound.to_string());
        println!("FIGURE\t{name}\t{value}\t{bound}\t{}", if good { "pass" } else { "FAIL" });
        self.failed |= !good;
    }

    /// A count that has to be 0.
    pub fn none(&mut self, name: &str, count: u64) {
        self.row(name, count, 0, count == 0);
    }

    /// A figure that depends on how busy the machine is. It is judged at full scale only.
    pub fn timing(&mut self, name: &str, value: impl ToString, bound: impl ToString, good: bool) {
        if is_full() {
            self.row(name, value, bound, good);
        } else {
            println!("{name}: {} (tests/must_show asks for {})", value.to_string(), bound.to_string());
        }
    }

    /// A time of at most `bound`, at full scale.
    pub fn within(&mut self, name: &str, time: Duration, bound: Duration) {
        self.timing(name, format!("{time:.1?}"), format!("≤ {bound:.1?}"), time <= bound);
    }

    /// Fails the test if any figure exceeds its bound.
    #[track_caller]
    pub fn verdict(self) {
        assert!(!self.failed, "a figure exceeds its bound: see the rows above");
    }
}
