//! Conditions on the labels of nodes.

use std::collections::BTreeMap;

use whipray_proto::scheduling::{LabelOperator, LabelSelector, LabelTerm};

/// The labels of a node.
pub type Labels = BTreeMap<String, String>;

/// Whether all conditions of a selector hold.
pub fn matches(selector: &LabelSelector, labels: &Labels) -> bool {
    selector.terms.iter().all(|term| holds(term, labels))
}

fn holds(term: &LabelTerm, labels: &Labels) -> bool {
    let value = labels.get(&term.key);
    let is_one_of = || value.is_some_and(|value| term.values.contains(value));
    match term.operator() {
        LabelOperator::In => is_one_of(),
        LabelOperator::NotIn => !is_one_of(),
        LabelOperator::Exists => value.is_some(),
        LabelOperator::DoesNotExist => value.is_none(),
    }
}

/// `zone in (a, b) and spot exists`, for messages to people.
pub fn describe(selector: &LabelSelector) -> String {
    let terms: Vec<String> = selector.terms.iter().map(describe_term).collect();
    terms.join(" and ")
}

fn describe_term(term: &LabelTerm) -> String {
    let (key, values) = (&term.key, term.values.join(", "));
    match term.operator() {
        LabelOperator::In => format!("{key} in ({values})"),
        LabelOperator::NotIn => format!("{key} not in ({values})"),
        LabelOperator::Exists => format!("{key} exists"),
        LabelOperator::DoesNotExist => format!("{key} does not exist"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn term(key: &str, operator: LabelOperator, values: &[&str]) -> LabelSelector {
        LabelSelector {
            terms: vec![LabelTerm {
                key: key.to_owned(),
                operator: operator as i32,
                values: values.iter().map(|value| (*value).to_owned()).collect(),
            }],
        }
    }

    #[test]
    fn each_operator_says_what_it_means() {
        let labels = Labels::from([("zone".to_owned(), "a".to_owned())]);
        let cases = [
            ("zone", LabelOperator::In, true),
            ("zone", LabelOperator::NotIn, false),
            ("zone", LabelOperator::Exists, true),
            ("zone", LabelOperator::DoesNotExist, false),
            ("spot", LabelOperator::In, false),
            ("spot", LabelOperator::NotIn, true),
            ("spot", LabelOperator::Exists, false),
            ("spot", LabelOperator::DoesNotExist, true),
        ];
        for (key, operator, expected) in cases {
            let selector = term(key, operator, &["a", "b"]);
            assert_eq!(matches(&selector, &labels), expected, "{selector:?}");
        }
        assert!(matches(&LabelSelector::default(), &labels));
    }

    #[test]
    fn a_selector_is_readable() {
        let mut selector = term("zone", LabelOperator::In, &["a", "b"]);
        selector
            .terms
            .extend(term("spot", LabelOperator::Exists, &[]).terms);
        assert_eq!(describe(&selector), "zone in (a, b) and spot exists");
    }
}
