//! `whipray health-check`

use super::VerbError;
use crate::arguments::HealthCheckArguments;
use crate::tool;

/// Ends well where a cluster is there and answers. Says nothing then: scripts ask for the exit code.
pub fn run(arguments: &HealthCheckArguments) -> Result<(), VerbError> {
    if let Some(component) = &arguments.component {
        return Err(VerbError::NoComponent(component.clone()));
    }
    tool::find(arguments.address.as_deref(), tool::Which::Detached)?.status()?;
    Ok(())
}
