//! The daemon: leases, objects, actors and output of workers, and what is left after deaths.

use std::collections::BTreeMap;
use std::io::Write;

use super::harness::{Client, Daemon, PATIENCE, TestResult, wait_until};
use rustix::process::{Pid, Signal};
use serde_json::json;
use whipray_net::{Connection, Endpoint};
use whipray_proto::messages::actor::{ActorState, CreateActor, KillActor};
use whipray_proto::messages::cluster::{FlushLogs, StatusRequest};
use whipray_proto::messages::lease::{LeaseGranted, LeaseLost, LeaseTarget, SchedulingClass};
use whipray_proto::messages::object::{CreateObject, PinObjects, SealObject};
use whipray_proto::messages::session::{Hello, Role};
use whipray_proto::object::WorkerAddress;
use whipray_proto::resources::CPU;
use whipray_proto::{
    ActorId, ActorSpec, DeathKind, Message, ObjectId, PROTOCOL_VERSION, Resources, TaskId, WorkerId,
};

fn object(client: &Client) -> ObjectId {
    TaskId::of(1, ActorId::none_of(client.welcome.job)).return_id(1)
}

fn ask_for_leases(client: &mut Client, target: u32) -> TestResult {
    let definition = SchedulingClass {
        resources: Resources::none().with(CPU, 1.0),
        job: client.welcome.job,
        environment: BTreeMap::new(),
        strategy: None,
        near: None,
    };
    client.say(LeaseTarget {
        class: 1,
        definition,
        target,
        example: "f".to_owned(),
        says_if_busy: false,
    })
}

fn granted(client: &mut Client) -> Result<LeaseGranted, Box<dyn std::error::Error>> {
    client.await_message(|message| match message {
        Message::LeaseGranted(granted) => Some(granted),
        _ => None,
    })
}

fn lost(client: &mut Client) -> Result<LeaseLost, Box<dyn std::error::Error>> {
    client.await_message(|message| match message {
        Message::LeaseLost(lost) => Some(lost),
        _ => None,
    })
}

/// The process of a worker, from the name of its output file.
fn pid_of(daemon: &Daemon, granted: &LeaseGranted) -> Result<u32, Box<dyn std::error::Error>> {
    let folder = format!("{}/logs", daemon.text("session_directory"));
    let prefix = format!("worker-{}-", granted.worker.worker);
    for entry in std::fs::read_dir(folder)? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        if let Some(rest) = name.strip_prefix(&prefix) {
            return Ok(rest.split('.').next().unwrap_or_default().parse()?);
        }
    }
    Err("the worker has no output file".into())
}

fn kill(pid: u32) -> TestResult {
    let pid = Pid::from_raw(i32::try_from(pid)?).ok_or("no process")?;
    rustix::process::kill_process(pid, Signal::KILL)?;
    Ok(())
}

#[test]
fn a_lease_is_granted_and_its_loss_is_explained() -> TestResult {
    let daemon = Daemon::start(json!({}))?;
    let mut driver = daemon.driver()?;
    ask_for_leases(&mut driver, 1)?;
    let first = granted(&mut driver)?;
    let pid = pid_of(&daemon, &first)?;
    kill(pid)?;
    let lost = lost(&mut driver)?;
    assert_eq!(lost.lease, first.lease);
    assert_eq!(
        (lost.cause.kind(), lost.cause.signal),
        (DeathKind::Signalled, 9)
    );
    assert_eq!(lost.cause.pid, pid);
    assert_eq!(lost.cause.stderr_tail, ["no end is in sight"]);
    assert_ne!(granted(&mut driver)?.worker.worker, first.worker.worker);
    Ok(())
}

#[test]
fn an_object_is_written_by_one_and_read_by_another() -> TestResult {
    let daemon = Daemon::start(json!({}))?;
    let (mut writer, mut reader) = (daemon.driver()?, daemon.driver()?);
    let id = object(&writer);
    writer.say(CreateObject {
        request: 1,
        object: id,
        size_bytes: 1 << 20,
    })?;
    let offset = writer.await_message(|message| match message {
        Message::ObjectCreated(created) if created.full.is_empty() => Some(created.offset),
        _ => None,
    })?;
    // SAFETY: the object is this writer's until the seal.
    unsafe { writer.arena.slice_mut(offset, 1 << 20)? }.fill(7);
    writer.say(SealObject {
        object: id,
        owner: writer.worker,
        unpin: true,
        owner_node: None,
    })?;
    // The two connections are served independently: ask until the seal was seen.
    let pinned = loop {
        reader.say(PinObjects {
            request: 2,
            objects: vec![id],
            ..PinObjects::default()
        })?;
        let answer = reader.await_message(|message| match message {
            Message::ObjectsPinned(pinned) => Some(pinned.objects),
            _ => None,
        })?;
        if let Some(pinned) = answer.into_iter().next() {
            break pinned;
        }
    };
    // SAFETY: the object is sealed, and pinned for this reader.
    let bytes = unsafe { reader.arena.slice(pinned.offset, pinned.size_bytes)? };
    assert!(bytes.len() == 1 << 20 && bytes.iter().all(|byte| *byte == 7));
    Ok(())
}

#[test]
fn an_actor_lives_and_is_killed() -> TestResult {
    let daemon = Daemon::start(json!({}))?;
    let mut driver = daemon.driver()?;
    let actor = ActorId::new(driver.welcome.job);
    let owner = WorkerAddress {
        worker: driver.worker,
        ..WorkerAddress::default()
    };
    let spec = ActorSpec {
        actor,
        job: driver.welcome.job,
        owner,
        ..ActorSpec::default()
    };
    driver.say(CreateActor {
        request: 1,
        spec,
        get_if_exists: false,
        ..CreateActor::default()
    })?;
    let state = |driver: &mut Client, wanted: ActorState| {
        driver.await_message(|message| match message {
            Message::ActorUpdate(update) if update.state() == wanted => Some(update),
            _ => None,
        })
    };
    assert!(state(&mut driver, ActorState::Alive)?.address.is_some());
    driver.say(KillActor {
        actor,
        no_restart: true,
    })?;
    let cause = state(&mut driver, ActorState::Dead)?
        .cause
        .unwrap_or_default();
    assert_eq!(cause.kind(), DeathKind::Killed);
    assert_eq!(cause.node_ip, "127.0.0.1");
    wait_until("the end of the process", || !processes_have(cause.pid))
}

fn processes_have(pid: u32) -> bool {
    std::path::Path::new(&format!("/proc/{pid}")).exists()
}

#[test]
fn output_of_workers_comes_to_their_driver() -> TestResult {
    let daemon = Daemon::start(json!({}))?;
    let mut driver = daemon.driver()?;
    ask_for_leases(&mut driver, 1)?;
    let worker = granted(&mut driver)?;
    let pid = pid_of(&daemon, &worker)?;
    let name = format!("worker-{}-{pid}.out", worker.worker.worker);
    let path = format!("{}/logs/{name}", daemon.text("session_directory"));
    let mut file = std::fs::File::options().append(true).open(path)?;
    writeln!(file, ":task_name:g\na line from g\nno end")?;
    driver.say(FlushLogs { request: 3 })?;
    let mut lines = Vec::new();
    driver.await_message(|message| match message {
        Message::LogLines(batch) if !batch.is_error => {
            assert_eq!(batch.pid, pid);
            lines.extend(
                batch
                    .lines
                    .into_iter()
                    .map(|line| (batch.name.clone(), line)),
            );
            None
        }
        Message::LogsFlushed(flushed) => Some(flushed.request),
        _ => None,
    })?;
    assert!(
        lines.contains(&("g".to_owned(), "a line from g".to_owned())),
        "{lines:?}"
    );
    writeln!(file, "and one without being asked")?;
    driver.await_message(|message| match message {
        Message::LogLines(batch) => batch
            .lines
            .iter()
            .any(|line| line.starts_with("and"))
            .then_some(()),
        _ => None,
    })
}

#[test]
fn nothing_is_left_when_the_driver_goes() -> TestResult {
    let mut daemon = Daemon::start(json!({}))?;
    let mut driver = daemon.driver()?;
    ask_for_leases(&mut driver, 2)?;
    let pids = [granted(&mut driver)?, granted(&mut driver)?];
    let pids = [pid_of(&daemon, &pids[0])?, pid_of(&daemon, &pids[1])?];
    daemon.cut_lifeline();
    assert!(daemon.child.wait()?.success());
    assert!(
        !pids.iter().any(|pid| processes_have(*pid)),
        "workers are gone before the daemon is"
    );
    assert_eq!(daemon.processes(), [] as [u32; 0]);
    Ok(())
}

#[test]
fn a_daemon_that_is_killed_takes_its_workers_with_it() -> TestResult {
    let mut daemon = Daemon::start(json!({}))?;
    let mut driver = daemon.driver()?;
    ask_for_leases(&mut driver, 1)?;
    granted(&mut driver)?;
    kill(daemon.child.id())?;
    daemon.child.wait()?;
    wait_until("the end of all processes", || daemon.processes().is_empty())
}

#[test]
fn the_end_of_the_template_is_survived() -> TestResult {
    let daemon = Daemon::start(json!({}))?;
    let mut driver = daemon.driver()?;
    ask_for_leases(&mut driver, 1)?;
    let first = granted(&mut driver)?;
    let worker = pid_of(&daemon, &first)?;
    let status = std::fs::read_to_string(format!("/proc/{worker}/status"))?;
    let template = status
        .lines()
        .find_map(|line| line.strip_prefix("PPid:"))
        .ok_or("the worker has no parent")?;
    kill(template.trim().parse()?)?;
    assert_eq!(lost(&mut driver)?.cause.kind(), DeathKind::TemplateDied);
    assert_ne!(granted(&mut driver)?.lease, first.lease);
    Ok(())
}

#[test]
fn a_bad_peer_is_closed_and_nobody_else() -> TestResult {
    let daemon = Daemon::start(json!({}))?;
    let mut tool = daemon.client(Role::Tool, daemon.text("token"))?;
    assert!(daemon.client(Role::Driver, "wrong").is_err());
    let frames: [&[u8]; 5] = [
        b"\xff\xff\xff\xff\xff\xff\xff\xff",
        b"\x04\x00\x00\x00\x01\x00\x00\x00\xff\xff\xff\xff",
        b"\x00\x00\x00\x00\x99\x99\x00\x00",
        b"GET / HTTP/1.1\r\n\r\n",
        b"\x00\x00\x00\x00\x82\x00\x00\x00",
    ];
    for frame in frames {
        let bad = daemon.raw_connection()?;
        rustix::net::send(&bad, frame, rustix::net::SendFlags::NOSIGNAL)?;
        let mut bad = bad;
        let answer = bad.exchange(PATIENCE);
        assert!(
            matches!(answer, Err(_) | Ok(Message::Refused(_))),
            "{answer:?}"
        );
    }
    tool.say(StatusRequest { request: 1 })?;
    tool.await_message(|message| matches!(message, Message::StatusReply(_)).then_some(()))
}

#[test]
fn a_python_that_cannot_be_run_is_named_to_who_waits() -> TestResult {
    let daemon = Daemon::start(json!({"python": "/nowhere/python"}))?;
    let mut driver = daemon.driver()?;
    ask_for_leases(&mut driver, 1)?;
    let reason = driver.await_message(|message| match message {
        Message::LeasePending(pending) => Some(pending.reason),
        _ => None,
    })?;
    assert!(reason.contains("/nowhere/python"), "{reason}");
    Ok(())
}

#[test]
fn bad_options_are_one_clear_line() -> TestResult {
    let error = |options| -> Result<String, Box<dyn std::error::Error>> {
        let mut daemon = Daemon::start(options)?;
        assert!(!daemon.child.wait()?.success());
        Ok(daemon.text("error").to_owned())
    };
    assert!(error(json!({"temp_dir": "/proc/nowhere"}))?.contains("/proc/nowhere"));
    assert!(error(json!({"object_store_memory": 5}))?.contains("too small"));
    assert!(error(json!({"num_cpus": -1}))?.contains("num_cpus"));
    assert!(error(json!({"num_cpus": "many"}))?.contains("invalid type"));
    let taken = std::net::TcpListener::bind("127.0.0.1:0")?;
    let port = taken.local_addr()?.port();
    assert!(error(json!({"port": port}))?.contains(&format!("port {port}")));
    Ok(())
}

#[test]
fn over_tcp_there_is_everything_but_the_arena() -> TestResult {
    let daemon = Daemon::start(json!({"port": 0}))?;
    let address = daemon.text("cluster_address").to_owned();
    assert!(address.starts_with("127.0.0.1:"), "{address}");
    let endpoint: Endpoint = format!("tcp:{address}").parse()?;
    let mut connection = Connection::connect(&endpoint)?;
    let hello = Hello {
        version: PROTOCOL_VERSION,
        token: daemon.text("token").to_owned(),
        role: Role::Tool as i32,
        worker: WorkerId::random(),
        ..Hello::default()
    };
    connection.queue(&hello.into());
    let answer = connection.exchange(PATIENCE)?;
    assert!(matches!(answer, Message::Welcome(welcome) if !welcome.has_arena));
    connection.queue(&StatusRequest { request: 1 }.into());
    let answer = connection.exchange(PATIENCE)?;
    assert!(matches!(answer, Message::StatusReply(reply) if reply.cluster_address == address));
    Ok(())
}
