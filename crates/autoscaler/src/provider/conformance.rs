//! What every provider does. Each calls [`check`] on a stage of its own.

use std::time::{Duration, Instant};

use whipray_proto::Resources;

use super::{Instance, Launch, Provider};
use crate::config::NodeType;

/// How long a provider may take for one step; what is slower on a real one is made fast on a stage.
const STEP: Duration = Duration::from_secs(20);

/// A place where a provider works without cost. A node type named `refused` does not start there, and
/// an instance of one named `brief` ends by itself once it has.
pub trait Stage {
    fn provider(&self) -> Box<dyn Provider>;
}

pub fn launch(number: u64, name: &str) -> Launch {
    Launch {
        number,
        node_type: NodeType {
            name: name.to_owned(),
            resources: Resources::none(),
            labels: Default::default(),
            min_workers: 0,
            max_workers: 5,
            idle_timeout: None,
            priority: 0,
        },
    }
}

/// All that holds of any provider.
pub fn check(stage: &dyn Stage) {
    what_is_launched_is_listed_until_it_is_ended(&mut *stage.provider());
    a_launch_that_fails_is_said_once_and_not_listed(&mut *stage.provider());
    what_ends_at_once_is_listed_or_has_failed(&mut *stage.provider());
    the_end_ends_all(&mut *stage.provider());
}

fn what_is_launched_is_listed_until_it_is_ended(provider: &mut dyn Provider) {
    assert_eq!(provider.instances(), []);
    provider.launch(launch(1, "small"));
    provider.launch(launch(2, "large"));
    let listed = until(provider, |listed| listed.len() == 2);
    let find = |number| listed.iter().find(|it| it.launch == Some(number));
    let (Some(small), Some(large)) = (find(1), find(2)) else {
        panic!("both launches are listed: {listed:?}");
    };
    assert_eq!(
        (small.node_type.as_str(), large.node_type.as_str()),
        ("small", "large")
    );
    assert_ne!(small.id, large.id);
    provider.terminate(&small.id);
    let left = until(provider, |listed| listed.len() == 1);
    assert_eq!(left, std::slice::from_ref(large));
    provider.terminate(&small.id);
    provider.terminate(&"never seen".to_owned());
    assert_eq!(provider.instances(), left);
    assert_eq!(
        provider.take_failures(),
        [],
        "an end on purpose is no failure"
    );
    // An id is never given twice.
    provider.launch(launch(3, "small"));
    let listed = until(provider, |listed| listed.len() == 2);
    assert!(listed.iter().all(|it| it.id != small.id), "{listed:?}");
    provider.end();
}

fn a_launch_that_fails_is_said_once_and_not_listed(provider: &mut dyn Provider) {
    provider.launch(launch(1, "refused"));
    assert!(!failure_of(provider, 1).is_empty());
    until(provider, |listed| listed.is_empty());
    assert_eq!(provider.take_failures(), []);
}

/// Whoever asked for an instance does not wait for it in vain, however short it was there.
fn what_ends_at_once_is_listed_or_has_failed(provider: &mut dyn Provider) {
    provider.launch(launch(1, "brief"));
    let deadline = Instant::now() + STEP;
    let mut is_known = false;
    loop {
        let listed = provider.instances();
        let failures = provider.take_failures();
        is_known |= listed.iter().any(|it| it.launch == Some(1));
        is_known |= failures.iter().any(|it| it.launch == 1);
        if is_known && listed.is_empty() {
            return;
        }
        assert!(
            Instant::now() < deadline,
            "launch 1 is forgotten: {listed:?}"
        );
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn the_end_ends_all(provider: &mut dyn Provider) {
    provider.launch(launch(1, "small"));
    provider.launch(launch(2, "small"));
    provider.end();
    assert_eq!(provider.instances(), []);
}

/// The reason for which a launch fails.
pub fn failure_of(provider: &mut dyn Provider, number: u64) -> String {
    let deadline = Instant::now() + STEP;
    loop {
        provider.instances();
        let failures = provider.take_failures();
        if let Some(failure) = failures.into_iter().find(|it| it.launch == number) {
            return failure.reason;
        }
        assert!(Instant::now() < deadline, "launch {number} does not fail");
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn until(provider: &mut dyn Provider, is_so: impl Fn(&[Instance]) -> bool) -> Vec<Instance> {
    let deadline = Instant::now() + STEP;
    loop {
        let listed = provider.instances();
        if is_so(&listed) {
            return listed;
        }
        assert!(Instant::now() < deadline, "the list stays {listed:?}");
        std::thread::sleep(Duration::from_millis(5));
    }
}
