//! Drivers and their programs.

use bytes::Bytes;
use whipray_proto::link::ControlSays;
use whipray_proto::messages::cluster::{JobReply, JobRequest, JobStatus};
use whipray_proto::messages::session::JobDescription;
use whipray_proto::object::WorkerAddress;
use whipray_proto::{DeathCause, JobId, WorkerId, limits};

use super::Control;
use crate::storage::Table;

/// One driver's program.
#[derive(Clone, Debug)]
pub struct Job {
    pub driver: WorkerAddress,
    pub description: JobDescription,
    /// The driver is gone; the job is remembered for its detached actors.
    pub is_over: bool,
    started_us: u64,
    over_us: u64,
}

impl Job {
    /// For people.
    pub fn status(&self, now_us: u64) -> JobStatus {
        let over_since_us = match self.is_over {
            true => now_us.saturating_sub(self.over_us),
            false => 0,
        };
        JobStatus {
            description: self.description.clone(),
            node: self.driver.node,
            age_us: now_us.saturating_sub(self.started_us),
            is_over: self.is_over,
            over_since_us,
        }
    }

    /// What a node without its driver hears of it.
    pub fn started(&self) -> ControlSays {
        ControlSays::JobStarted {
            description: Box::new(self.description.clone()),
            driver: self.driver.clone(),
        }
    }
}

impl Control {
    pub(super) fn driver_joined(&mut self, driver: WorkerAddress, mut description: JobDescription) {
        self.last_job += 1;
        let job = JobId::from_number(self.last_job);
        description.job = job;
        let value = prost::Message::encode_to_vec(&description).into();
        self.keep(Table::Jobs, job_key(job), Some(value));
        let entry = Job {
            driver,
            description: description.clone(),
            is_over: false,
            started_us: self.now_us,
            over_us: 0,
        };
        let (driver, home) = (entry.driver.worker, self.homes.get(&entry.driver.worker));
        let (started, home) = (entry.started(), home.copied());
        self.jobs.insert(job, entry);
        for node in self.alive_nodes() {
            if Some(node) != home {
                self.say(node, started.clone());
            }
        }
        if let Some(home) = home {
            let accepted = ControlSays::DriverAccepted {
                driver,
                description: Box::new(description),
            };
            self.say(home, accepted);
        }
    }

    pub(super) fn describe_job(&mut self, client: WorkerId, request: &JobRequest) {
        let job = self
            .jobs
            .get(&request.job)
            .map(|job| job.description.clone());
        self.tell(
            client,
            JobReply {
                request: request.request,
                job,
            },
        );
    }

    /// A driver or worker is gone: what was its own ends.
    pub(super) fn process_gone(&mut self, process: WorkerId, cause: &DeathCause) {
        self.homes.remove(&process);
        self.key_values.forget(process);
        self.scaler_gone(process);
        self.questions
            .retain(|_, question| question.client != process);
        self.unsubscribe(process, cause);
        self.unsubscribe_from_groups(process);
        self.end_actors_of_owner(process, cause);
        let over: Vec<JobId> = self
            .jobs
            .iter()
            .filter(|(_, job)| job.driver.worker == process && !job.is_over)
            .map(|(job, _)| *job)
            .collect();
        for job in over {
            self.end_actors_of_job(job, cause);
            if let Some(entry) = self.jobs.get_mut(&job) {
                entry.is_over = true;
                entry.over_us = self.now_us;
            }
            self.end_groups_of_job(job);
            for node in self.alive_nodes() {
                self.say(node, ControlSays::JobEnded { job });
            }
            self.forget_job_if_done(job);
        }
    }

    /// The driver of a job that is not over.
    pub(super) fn driver_of(&self, job: JobId) -> Option<WorkerId> {
        let entry = self.jobs.get(&job)?;
        (!entry.is_over).then_some(entry.driver.worker)
    }

    /// Forgets a job that is over and of which no actor is left.
    pub(super) fn forget_job_if_done(&mut self, job: JobId) {
        let is_over = self.jobs.get(&job).is_some_and(|entry| entry.is_over);
        let is_used = || {
            self.actors
                .values()
                .any(|actor| actor.spec.job == job && !actor.is_dead())
        };
        if is_over && !is_used() {
            self.past_jobs.extend(self.jobs.remove(&job));
            if self.past_jobs.len() > limits::PAST_JOBS_REMEMBERED {
                self.past_jobs.pop_front();
            }
            self.keep(Table::Jobs, job_key(job), None);
        }
    }
}

fn job_key(job: JobId) -> Bytes {
    Bytes::copy_from_slice(&job.to_array())
}
