//! Sums over trees that do not depend on their order. In: a tree's terms, from 0 to 1; out: the same on a grid so coarse that no
//! sum over a forest is ever rounded, and so every order of adding gives the same bits.

/// Added and taken away again, it leaves a term on the grid of 2⁻⁴³: sums of up to 2¹⁰ of them, as many as there are trees at
/// most, fit the 53 bits of a float.
const ROUNDER: f64 = 768.0;

/// The nearest place on the grid, at most 2⁻⁴⁴ away.
#[inline(always)]
pub(super) fn on_grid(term: f64) -> f64 {
    (term + ROUNDER) - ROUNDER
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_sum_over_the_most_trees_there_can_be_has_no_order(
            terms in proptest::collection::vec(0.0..=1.0f64, 1000), by in 1usize..1000,
        ) {
            let in_order: f64 = terms.iter().map(|term| on_grid(*term)).sum();
            let parts = terms.chunks(by).rev().map(|part| part.iter().rev().map(|term| on_grid(*term)).sum::<f64>());
            prop_assert_eq!(in_order.to_bits(), parts.sum::<f64>().to_bits());
            let exact: f64 = terms.iter().sum();
            prop_assert!((in_order - exact).abs() < 1e-10);
        }
    }

    #[test]
    fn the_greatest_terms_do_not_lose_their_place() {
        let step = f64::powi(2.0, -43);
        let term = 1.0 - step;
        assert_eq!(on_grid(term), term);
        let sum: f64 = (0..1000).map(|_| on_grid(term)).sum();
        assert_eq!(1000.0 - sum, 1000.0 * step);
        assert_eq!(on_grid(0.0), 0.0);
    }
}
