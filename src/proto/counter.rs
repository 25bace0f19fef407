//! Counters that are kept in step with a table: where one would go below zero, we have miscounted.

/// Lowers a counter of ours. In debug builds it asserts that so many were counted; elsewhere it stays at zero.
pub(super) fn lower(counter: &mut usize, by: usize) {
    debug_assert!(*counter >= by, "{by} leave where {counter} are counted");
    *counter = counter.saturating_sub(by);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_counter_goes_down_to_zero() {
        let mut counter = 3;
        lower(&mut counter, 1);
        lower(&mut counter, 2);
        assert_eq!(counter, 0);
    }

    #[test]
    #[cfg(debug_assertions)]
    #[should_panic(expected = "4 leave where 3 are counted")]
    fn a_counter_that_was_miscounted_says_so() {
        lower(&mut 3, 4);
    }
}
