//! Plays the template process and its workers for the tests of the daemon: it is run in place of
//! Python, speaks the same lines, and its workers do nothing but answer.

use std::collections::BTreeMap;
use std::error::Error;
use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::os::fd::{FromRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::process::{Child, Command};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use whipray_net::{Connection, Endpoint};
use whipray_proto::messages::actor::ActorStarted;
use whipray_proto::messages::session::{Hello, Role};
use whipray_proto::{Message, PROTOCOL_VERSION, WorkerId};

#[derive(Debug, Deserialize)]
struct FromDaemon {
    spawn: Spawn,
}

#[derive(Debug, Deserialize, Serialize)]
struct Spawn {
    worker: String,
    endpoint: String,
    token: String,
    log_directory: String,
    environment: BTreeMap<String, String>,
    number: u64,
}

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().collect();
    match &arguments[1..] {
        [module, name, number] if module == "-m" && name == "whipray._zygote" => {
            template(number.parse()?)
        }
        [verb, json, template] if verb == "worker" => {
            worker(&serde_json::from_str(json)?, template.parse()?)
        }
        other => Err(format!("unexpected arguments {other:?}").into()),
    }
}

fn template(descriptor: i32) -> Result<(), Box<dyn Error>> {
    // SAFETY: the daemon gave this process the descriptor, for this one use.
    let socket = UnixStream::from(unsafe { OwnedFd::from_raw_fd(descriptor) });
    // No worker keeps the connection of a template that is gone.
    rustix::io::fcntl_setfd(&socket, rustix::io::FdFlags::CLOEXEC)?;
    let mut answers = socket.try_clone()?;
    writeln!(
        answers,
        r#"{{"ready": {{"pid": {}, "python": "3.11"}}}}"#,
        std::process::id()
    )?;
    let (requests, received) = std::sync::mpsc::channel::<Spawn>();
    std::thread::spawn(move || {
        for line in BufReader::new(socket).lines().map_while(Result::ok) {
            if let Ok(request) = serde_json::from_str::<FromDaemon>(&line) {
                let _ = requests.send(request.spawn);
            }
        }
        std::process::exit(0);
    });
    let mut children: Vec<Child> = Vec::new();
    loop {
        if let Ok(request) = received.recv_timeout(Duration::from_millis(5)) {
            let child = fork(&request)?;
            let (worker, pid) = (&request.worker, child.id());
            writeln!(
                answers,
                r#"{{"spawned": {{"worker": "{worker}", "pid": {pid}}}}}"#
            )?;
            children.push(child);
        }
        let mut living = Vec::new();
        for mut child in children {
            match child.try_wait()? {
                None => living.push(child),
                Some(status) => {
                    use std::os::unix::process::ExitStatusExt;
                    let (pid, status) = (child.id(), status.into_raw());
                    writeln!(
                        answers,
                        r#"{{"exited": {{"pid": {pid}, "status": {status}}}}}"#
                    )?;
                }
            }
        }
        children = living;
    }
}

fn fork(request: &Spawn) -> Result<Child, Box<dyn Error>> {
    // The name of the files has the number of the process, which is known only once it runs: the
    // worker opens them itself.
    Ok(Command::new(std::env::current_exe()?)
        .args([
            "worker",
            &serde_json::to_string(request)?,
            &std::process::id().to_string(),
        ])
        .envs(&request.environment)
        .spawn()?)
}

fn worker(request: &Spawn, template: u32) -> Result<(), Box<dyn Error>> {
    rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL))?;
    if std::os::unix::process::parent_id() != template {
        return Ok(()); // It ended before the line above.
    }
    let open = |ending: &str| {
        let name = format!("worker-{}-{}.{ending}", request.worker, std::process::id());
        let path = std::path::Path::new(&request.log_directory).join(name);
        File::options().create(true).append(true).open(path)
    };
    let (mut out, mut err) = (open("out")?, open("err")?);
    let id = WorkerId::from_hex(&request.worker).ok_or("no worker id")?;
    let endpoint: Endpoint = request.endpoint.parse()?;
    let mut connection = Connection::connect(&endpoint)?;
    connection.expect_descriptors(true);
    let hello = Hello {
        version: PROTOCOL_VERSION,
        token: request.token.clone(),
        role: Role::Worker as i32,
        worker: id,
        endpoint: format!("unix:@fake/{}", request.worker),
        pid: std::process::id(),
        ..Hello::default()
    };
    connection.queue(&hello.into());
    writeln!(out, ":task_name:fake")?;
    writeln!(out, "worker {} is here", request.number)?;
    writeln!(err, "no end is in sight")?;
    while let Ok(message) = connection.exchange(Duration::from_secs(600)) {
        if let Message::StartActor(start) = message {
            let (actor, incarnation) = (start.spec.actor, start.incarnation);
            connection.queue(
                &ActorStarted {
                    actor,
                    incarnation,
                    ..ActorStarted::default()
                }
                .into(),
            );
        }
    }
    Ok(())
}
