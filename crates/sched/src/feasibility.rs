//! Sentences that name what a request lacks.

use whipray_proto::Resources;
use whipray_proto::resources::{GPU, UNITS};

/// Why no free moment of a node with `total` could ever serve `request`; `None` where one could.
pub fn explain_infeasible(total: &Resources, request: &Resources) -> Option<String> {
    let gpu_units = request.units(GPU);
    if gpu_units > UNITS && gpu_units % UNITS != 0 {
        return Some(format!(
            "asks for {} GPUs: more than one GPU must be a whole number",
            request.amount(GPU)
        ));
    }
    if total.covers(request) {
        return None;
    }
    let missing = total.shortfall(request);
    let parts: Vec<String> = missing
        .amounts
        .keys()
        .map(|name| match total.units(name) {
            0 => format!("{} {name} and no node has any", request.amount(name)),
            _ => format!(
                "{} {name} and no node has more than {}",
                request.amount(name),
                total.amount(name)
            ),
        })
        .collect();
    Some(format!("asks for {}", parts.join(", and for ")))
}

/// Why a request that could be served has to wait for now.
pub fn explain_wait(total: &Resources, available: &Resources, request: &Resources) -> String {
    let missing = available.shortfall(request);
    let parts: Vec<String> = missing
        .amounts
        .keys()
        .map(|name| {
            format!(
                "{} {name} ({} of {} free)",
                request.amount(name),
                available.amount(name).max(0.0),
                total.amount(name)
            )
        })
        .collect();
    if parts.is_empty() {
        // The sum would do, but no single GPU has enough left.
        return format!(
            "waits for {}: no single device has enough left",
            request.describe()
        );
    }
    format!("waits for {}", parts.join(" and "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use whipray_proto::resources::CPU;

    fn cpus(amount: f64) -> Resources {
        Resources::none().with(CPU, amount)
    }

    #[test]
    fn what_fits_in_total_is_feasible() {
        assert_eq!(explain_infeasible(&cpus(2.0), &cpus(2.0)), None);
        assert_eq!(explain_infeasible(&cpus(2.0), &Resources::none()), None);
    }

    #[test]
    fn the_sentence_names_each_resource_that_is_missing() {
        assert_eq!(
            explain_infeasible(&cpus(2.0), &cpus(50.0).with("gold", 1.0)).as_deref(),
            Some("asks for 50 CPU and no node has more than 2, and for 1 gold and no node has any")
        );
    }

    #[test]
    fn a_fraction_above_one_gpu_is_infeasible() {
        let node = Resources::none().with(GPU, 4.0);
        assert!(explain_infeasible(&node, &Resources::none().with(GPU, 1.5)).is_some());
        assert_eq!(
            explain_infeasible(&node, &Resources::none().with(GPU, 0.5)),
            None
        );
    }

    #[test]
    fn a_wait_says_how_much_is_free() {
        assert_eq!(
            explain_wait(&cpus(2.0), &cpus(0.5), &cpus(1.0)),
            "waits for 1 CPU (0.5 of 2 free)"
        );
    }
}
