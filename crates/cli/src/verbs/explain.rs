//! `whipray explain`

use whipray_diagnosis::{Explanation, Step, explain};
use whipray_proto::ids::from_hex;

use super::VerbError;
use crate::arguments::ExplainArguments;
use crate::tool;

/// Says why an object, task or actor is where it is.
pub fn run(arguments: &ExplainArguments) -> Result<(), VerbError> {
    let no_id = || VerbError::NoId(arguments.id.clone());
    let id = from_hex(&arguments.id).ok_or_else(no_id)?;
    let mut tool = tool::find(arguments.address.as_deref(), tool::Which::Any)?;
    let explanation = explain(&mut tool, &id).ok_or_else(no_id)?;
    print!("{}", describe(&explanation));
    Ok(())
}

fn describe(explanation: &Explanation) -> String {
    let mut text = format!("{} {}\n", explanation.kind, explanation.subject);
    for step in &explanation.steps {
        text.push_str(&describe_step(step));
    }
    text
}

fn describe_step(step: &Step) -> String {
    let indent = "  ".repeat(step.depth as usize);
    let since = step.age_us.map_or_else(String::new, |age| {
        format!(", for {:.1} s", age as f64 / 1e6)
    });
    let (code, text, authority) = (step.reason.code(), &step.text, &step.authority);
    format!("{indent}{code}{since}: {text} (decided by {authority})\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use whipray_proto::messages::inquiry::Reason;

    #[test]
    fn a_step_has_its_code_since_when_and_who_decides() {
        let step = Step {
            reason: Reason::WaitsForResources,
            subject: "00".into(),
            age_us: Some(2_500_000),
            authority: "the node 127.0.0.1".into(),
            text: "f waits for 1 CPU (0 of 1 free)".into(),
            depth: 1,
        };
        assert_eq!(
            describe_step(&step),
            "  WAITS_FOR_RESOURCES, for 2.5 s: f waits for 1 CPU (0 of 1 free) \
             (decided by the node 127.0.0.1)\n"
        );
    }
}
