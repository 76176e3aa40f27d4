use super::*;

/// A class of small requests without end, and one that needs the whole node.
struct Contest {
    stage: Stage,
    driver: ClientId,
    small: Vec<LeaseGranted>,
    large: Vec<LeaseGranted>,
}

impl Contest {
    fn new() -> Self {
        let mut stage = Stage::new(cpus(2.0));
        let (driver, job) = stage.driver();
        stage.start_workers();
        stage.target(driver, 1, job, 50);
        let small = stage.granted(driver);
        assert_eq!(small.len(), 2);
        stage.target_of(driver, 2, job, 1, cpus(2.0));
        Self {
            stage,
            driver,
            small,
            large: Vec::new(),
        }
    }

    /// The oldest small lease comes back, and someone gets what it held.
    fn turn(&mut self, pause: Micros) {
        self.stage.wait(pause);
        if !self.small.is_empty() {
            let oldest = self.small.remove(0);
            self.stage.give_back(self.driver, oldest.lease);
        }
        self.stage.start_workers();
        for granted in self.stage.granted(self.driver) {
            match granted.class {
                1 => self.small.push(granted),
                _ => self.large.push(granted),
            }
        }
    }
}

#[test]
fn a_large_request_has_its_turn_beside_small_ones_without_end() {
    let mut contest = Contest::new();
    let mut turns = 0;
    while contest.large.is_empty() {
        turns += 1;
        assert!(turns < 30, "it starves");
        contest.turn(SECOND / 10);
    }
    assert!(turns > 5, "small ones are not held up at once");
    let lease = contest.large[0].lease;
    contest.stage.give_back(contest.driver, lease);
    assert_eq!(
        contest.stage.granted(contest.driver).len(),
        2,
        "then it is the turn of the small ones"
    );
}

#[test]
fn nothing_is_saved_for_ever_for_one_that_others_keep_waiting() {
    let mut contest = Contest::new();
    let holder = contest.small.pop();
    assert!(holder.is_some(), "one task goes on for ever");
    let mut granted = 0;
    for _ in 0..600 {
        let before = contest.small.len();
        contest.turn(SECOND / 10);
        granted += usize::from(contest.small.len() >= before.max(1));
    }
    assert!(contest.large.is_empty());
    assert!(
        granted > 400,
        "of 600 turns small ones had {granted}: most of the time nothing is saved"
    );
}

#[test]
fn nothing_is_saved_for_one_whose_place_an_actor_has() {
    let mut stage = Stage::new(cpus(2.0));
    let (driver, job) = stage.driver();
    stage.start_workers();
    let spec = whipray_proto::ActorSpec {
        actor: ActorId::new(job),
        job,
        resources: cpus(1.0),
        ..Default::default()
    };
    stage.control(ControlSays::PlaceActor {
        spec: Box::new(spec),
        incarnation: 0,
    });
    stage.target_of(driver, 2, job, 1, cpus(2.0));
    stage.target(driver, 1, job, 10);
    stage.start_workers();
    let mut small = stage.granted(driver);
    assert_eq!(small.len(), 1);
    for turn in 0..50 {
        stage.wait(SECOND / 10);
        let lease = small.pop().map(|granted| granted.lease);
        let Some(lease) = lease else {
            panic!("nothing was granted in turn {turn}");
        };
        stage.give_back(driver, lease);
        small = stage.granted(driver);
    }
}
