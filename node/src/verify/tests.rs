//! The judgement itself, on chains in memory.

use super::Findings;

#[test]
fn findings_are_counted_beyond_those_that_are_kept() {
    let mut found = Findings::default();
    for number in 0..super::FINDINGS_MAX + 7 {
        found.violation("rule", number, "detail");
    }
    assert_eq!(found.violations.len(), super::FINDINGS_MAX);
    assert_eq!(found.count, super::FINDINGS_MAX + 7);
}
