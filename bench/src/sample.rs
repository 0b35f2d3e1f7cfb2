//! Several measurements of one thing, and how they are shown.

use std::time::Duration;

/// The middle one; of an even number the greater of the two in the middle, so that nothing is
/// flattered.
///
/// # Panics
/// When there is none.
pub(crate) fn median<T: Copy + PartialOrd>(values: &[T]) -> T {
    let mut sorted = values.to_vec();
    sorted.sort_by(|a, b| a.partial_cmp(b).expect("measurements are numbers"));
    sorted[sorted.len() / 2]
}

/// The greatest one.
///
/// # Panics
/// When there is none.
pub(crate) fn worst<T: Copy + PartialOrd>(values: &[T]) -> T {
    values.iter().copied().reduce(|a, b| if b > a { b } else { a }).expect("something was measured")
}

/// The least one.
///
/// # Panics
/// When there is none.
pub(crate) fn best<T: Copy + PartialOrd>(values: &[T]) -> T {
    values.iter().copied().reduce(|a, b| if b < a { b } else { a }).expect("something was measured")
}

/// A duration in milliseconds, as a table shows it.
pub(crate) fn millis(duration: Duration) -> String {
    format!("{:.1} ms", duration.as_secs_f64() * 1e3)
}

/// Something a second.
#[expect(clippy::cast_precision_loss, reason = "counts here are far below 2^52")]
pub(crate) fn per_second(count: u64, within: Duration) -> f64 {
    count as f64 / within.as_secs_f64()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_best_the_middle_and_the_worst() {
        assert_eq!((best(&[3, 1, 2]), median(&[3, 1, 2]), worst(&[3, 1, 2])), (1, 2, 3));
        assert_eq!((median(&[4.0, 1.0]), worst(&[1.0])), (4.0, 1.0));
        assert_eq!(millis(Duration::from_micros(1250)), "1.2 ms");
    }
}
