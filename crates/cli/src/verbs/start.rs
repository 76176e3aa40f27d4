//! `whipray start`

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use rustix::process::Signal;
use signal_hook::consts::{SIGINT, SIGTERM};

use super::VerbError;
use crate::arguments::StartArguments;
use crate::daemon::{DaemonOptions, ReadyLine};
use crate::processes;
use crate::session_files;
use crate::tool::{Tool, ToolError};

/// Starts a cluster, and comes back once it serves; with `--block` once it has ended.
pub fn run(arguments: &StartArguments) -> Result<(), VerbError> {
    match (&arguments.address, arguments.head) {
        (Some(_), true) => return Err(VerbError::HeadAndAddress),
        (None, false) => return Err(VerbError::NeitherHeadNorAddress),
        (Some(_), false) if arguments.autoscaling_config.is_some() => {
            return Err(VerbError::AutoscalingWithoutHead);
        }
        (Some(_), false) | (None, true) => {}
    }
    let options = options(arguments)?;
    if arguments.head
        && let Some(running) = running_cluster()
    {
        return Err(VerbError::RunsAlready(running));
    }
    if !arguments.ignored.given.is_empty() {
        let names: Vec<String> = arguments
            .ignored
            .given
            .iter()
            .map(|name| format!("--{name}"))
            .collect();
        eprintln!("whipray: without effect so far: {}", names.join(", "));
    }
    // Signals that come while the daemon starts are for it, too.
    let signals = if arguments.block {
        Some(catch_signals()?)
    } else {
        None
    };
    let (child, line) = spawn_daemon(&options, arguments.tracing_startup_hook.as_deref())?;
    match line {
        ReadyLine::Failed { error } => Err(VerbError::NotStarted(error)),
        ReadyLine::Ready {
            cluster_address,
            session_directory,
            ..
        } => {
            if let Some(hook) = &arguments.tracing_startup_hook {
                publish_tracing_hook(&session_directory, hook)?;
            }
            match arguments.head {
                true => {
                    let in_session = format!("{session_directory}/token");
                    let token = arguments.token_file.as_deref().unwrap_or(&in_session);
                    print_next_steps(&cluster_address, &session_directory, token, arguments.block);
                }
                false => print_joined(&cluster_address, &session_directory, arguments.block),
            }
            match signals {
                Some(signals) => block(child, signals),
                None => Ok(()),
            }
        }
    }
}

fn options(arguments: &StartArguments) -> Result<DaemonOptions, VerbError> {
    let resources: BTreeMap<String, f64> =
        serde_json::from_str(&arguments.resources).map_err(VerbError::Resources)?;
    Ok(DaemonOptions {
        num_cpus: arguments.num_cpus.map(f64::from),
        num_gpus: arguments.num_gpus.map(f64::from),
        resources: Some(resources),
        object_store_memory: arguments.object_store_memory,
        memory: arguments.memory,
        temp_dir: arguments.temp_dir.clone(),
        port: Some(match arguments.head {
            true => arguments.port,
            false => arguments.node_manager_port,
        }),
        address: arguments.address.clone(),
        token_file: arguments.token_file.clone(),
        node_ip: arguments.node_ip_address.clone(),
        metrics_export_port: arguments.metrics_export_port,
        autoscaling_config: arguments.autoscaling_config.clone(),
        labels: parse_labels(&arguments.labels)?,
        object_spilling_directory: arguments.object_spilling_directory.clone(),
        system_config: serde_json::from_str(&arguments.system_config)
            .map_err(VerbError::SystemConfig)?,
        is_detached: true,
        ..DaemonOptions::default()
    })
}

fn parse_labels(text: &str) -> Result<BTreeMap<String, String>, VerbError> {
    let pairs = text
        .split(',')
        .map(str::trim)
        .filter(|pair| !pair.is_empty());
    pairs
        .map(|pair| match pair.split_once('=') {
            Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
            _ => Err(VerbError::Labels(pair.to_owned())),
        })
        .collect()
}

/// The address of a cluster of `start` that answers.
fn running_cluster() -> Option<String> {
    session_files::known_sessions()
        .into_iter()
        .filter(|node| node.is_detached)
        .find(|node| Tool::connect(node).is_ok())
        .map(|node| node.cluster_address)
}

fn spawn_daemon(
    options: &DaemonOptions,
    tracing_hook: Option<&str>,
) -> Result<(Child, ReadyLine), VerbError> {
    let program = std::env::current_exe().map_err(VerbError::Spawn)?;
    let json = serde_json::to_string(options).map_err(VerbError::Resources)?;
    let (ours, theirs) = UnixStream::pair().map_err(VerbError::Spawn)?;
    rustix::io::fcntl_setfd(&theirs, rustix::io::FdFlags::empty())
        .map_err(|error| VerbError::Spawn(error.into()))?;
    let child = Command::new(program)
        .args([
            "daemon",
            "--ready-fd",
            &theirs.as_raw_fd().to_string(),
            "--options-json",
            &json,
        ])
        // For the workers, which inherit it.
        .envs(tracing_hook.map(|hook| ("WHIPRAY_TRACING_STARTUP_HOOK", hook)))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .map_err(VerbError::Spawn)?;
    drop(theirs);
    let mut line = String::new();
    BufReader::new(ours)
        .read_line(&mut line)
        .map_err(VerbError::Spawn)?;
    let line = serde_json::from_str(&line).map_err(|_| VerbError::NoReadyLine)?;
    Ok((child, line))
}

/// Writes the hook where drivers look for it when they join.
fn publish_tracing_hook(session_directory: &str, hook: &str) -> Result<(), VerbError> {
    let node = session_files::read_node_file(Path::new(session_directory))
        .ok_or(ToolError::Unexpected("no file that says where it is"))?;
    Tool::connect(&node)?.put("tracing", "tracing_startup_hook", hook)?;
    Ok(())
}

fn print_next_steps(address: &str, session_directory: &str, token_file: &str, blocks: bool) {
    println!("The cluster is up at {address}.");
    println!();
    println!("Use it from Python on this machine:");
    println!("    import whipray as ray");
    println!("    ray.init(address=\"auto\")");
    println!();
    println!("See what it does:   whipray status");
    println!("End it:             whipray stop");
    println!("Its logs are in     {session_directory}/logs");
    println!();
    println!("Another machine joins with a copy of {token_file}:");
    println!("    whipray start --address={address} --token-file=COPY");
    if address.starts_with("127.") || address.starts_with("[::1]") {
        println!("once the head listens on an address that it can reach (--node-ip-address).");
    }
    if blocks {
        println!();
        println!("This command stays until the cluster ends; Ctrl-C ends it.");
    }
}

fn print_joined(address: &str, session_directory: &str, blocks: bool) {
    println!("This machine is a node of the cluster at {address}.");
    println!();
    println!("See the cluster:    whipray status");
    println!("Leave it:           whipray stop");
    println!("Logs are in         {session_directory}/logs");
    if blocks {
        println!();
        println!("This command stays until the node ends; Ctrl-C ends it.");
    }
}

/// Something to read a byte from for each signal that asks this command to end.
fn catch_signals() -> Result<UnixStream, VerbError> {
    let (reader, writer) = UnixStream::pair().map_err(VerbError::Spawn)?;
    for signal in [SIGINT, SIGTERM] {
        let writer = writer.try_clone().map_err(VerbError::Spawn)?;
        signal_hook::low_level::pipe::register(signal, writer).map_err(VerbError::Spawn)?;
    }
    Ok(reader)
}

/// Waits for the end of the daemon, and passes signals on to it.
fn block(mut child: Child, mut signals: UnixStream) -> Result<(), VerbError> {
    let pid = child.id();
    std::thread::spawn(move || {
        while signals.read_exact(&mut [0]).is_ok() {
            processes::signal(pid, Signal::TERM);
        }
    });
    let status = child.wait().map_err(VerbError::Spawn)?;
    if status.success() {
        Ok(())
    } else {
        Err(VerbError::EndedBadly(status))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_pairs() {
        let parsed = parse_labels("zone=a, kind=large,").unwrap_or_default();
        assert_eq!(parsed.get("zone").map(String::as_str), Some("a"));
        assert_eq!(parsed.get("kind").map(String::as_str), Some("large"));
        assert!(parse_labels("zone").is_err());
        assert!(parse_labels("=a").is_err());
    }
}
