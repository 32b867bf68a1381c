//! What a month costs. In: a scenario and the engine's share of a core. Out: what the paper pays for the same load, and the hours of a core that we take.

use serde::Serialize;

/// Hours of the paper's month.
const HOURS: f64 = 720.0;
/// The paper's day: 4 h at the peak, 20 h at a fifth of it.
const MEAN_LOAD: f64 = (4.0 + 20.0 * 0.2) / 24.0;

/// A month of a scenario by the paper's load.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(super) struct Monthly {
    /// All three patterns: by the figures in its body, and by those of its appendix (DESIGN of the paper's numbers, section 7).
    pub(super) paper_body_dollars: u32,
    pub(super) paper_appendix_dollars: u32,
    /// Hours of one core that the engine takes.
    pub(super) core_hours: f64,
}

/// Of a scenario of the paper, with the share of a core that it took at the peak.
pub(super) fn monthly(scenario: &str, cpu_share: f64) -> Option<Monthly> {
    let (paper_body_dollars, paper_appendix_dollars) = match scenario {
        "small" | "small-tables" => (841, 1_112),
        "medium" => (2_087, 4_799),
        "large" => (6_962, 20_519),
        _ => return None,
    };
    Some(Monthly {
        paper_body_dollars,
        paper_appendix_dollars,
        core_hours: cpu_share * MEAN_LOAD * HOURS,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_core_at_the_peak_is_a_third_of_a_core_over_the_day() {
        let month = monthly("large", 1.0).expect("a scenario of the paper");
        assert!((month.core_hours - 240.0).abs() < 1e-9);
        assert_eq!(monthly("unpaced", 1.0), None);
    }
}
