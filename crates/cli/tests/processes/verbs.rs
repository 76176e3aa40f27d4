//! The verbs that start, stop and look at a cluster, as a user runs them.

use std::path::Path;
use std::process::{Command, Output};

use super::harness::{TestResult, fake_template, program, wait_until};

/// Runs a verb as a user whose temporary files are in `folder`.
fn whipray(folder: &Path, arguments: &[&str]) -> std::io::Result<Output> {
    Command::new(program())
        .args(arguments)
        .env("RAY_TMPDIR", folder)
        .env("HOME", folder)
        .env("WHIPRAY_PYTHON", fake_template())
        .env_remove("RAY_ADDRESS")
        .output()
}

fn start(folder: &Path, more: &[&str]) -> std::io::Result<Output> {
    let arguments = [
        "start",
        "--head",
        "--num-cpus=3",
        "--object-store-memory=100000000",
    ];
    whipray(folder, &[&arguments[..], more].concat())
}

fn text(output: &[u8]) -> String {
    String::from_utf8_lossy(output).into_owned()
}

#[test]
fn a_cluster_is_started_seen_and_stopped() -> TestResult {
    let folder = tempfile::tempdir()?;
    let started = start(folder.path(), &["--port=0", "--dashboard-port=1"])?;
    assert!(started.status.success(), "{}", text(&started.stderr));
    assert!(text(&started.stdout).contains("127.0.0.1:"));
    assert!(text(&started.stderr).contains("--dashboard-port"));

    let again = start(folder.path(), &["--port=0"])?;
    assert_eq!(again.status.code(), Some(1));
    assert!(
        text(&again.stderr).contains("runs already"),
        "{}",
        text(&again.stderr)
    );
    assert_eq!(text(&again.stderr).lines().count(), 1);

    let status = whipray(folder.path(), &["status", "-v"])?;
    assert!(status.status.success(), "{}", text(&status.stderr));
    assert!(
        text(&status.stdout).contains("0/3 CPU"),
        "{}",
        text(&status.stdout)
    );
    let elsewhere = whipray(folder.path(), &["status", "--address=127.0.0.1:1"])?;
    assert_eq!(elsewhere.status.code(), Some(1));

    let stopped = whipray(folder.path(), &["stop"])?;
    assert!(stopped.status.success(), "{}", text(&stopped.stderr));
    assert!(text(&stopped.stdout).contains("Stopped"));
    let status = whipray(folder.path(), &["status"])?;
    assert_eq!(status.status.code(), Some(1));
    assert_eq!(text(&status.stderr).lines().count(), 1);
    Ok(())
}

#[test]
fn a_cluster_is_stopped_by_force_and_leaves_no_trace_that_misleads() -> TestResult {
    let folder = tempfile::tempdir()?;
    assert!(start(folder.path(), &["--port=0"])?.status.success());
    assert!(
        whipray(folder.path(), &["stop", "--force"])?
            .status
            .success()
    );
    assert!(
        !folder
            .path()
            .join("whipray")
            .join("current_cluster")
            .exists()
    );
    let nothing = whipray(folder.path(), &["stop"])?;
    assert!(nothing.status.success());
    assert!(text(&nothing.stdout).contains("Did not find any active"));
    Ok(())
}

#[test]
fn a_start_that_blocks_ends_with_its_cluster() -> TestResult {
    let folder = tempfile::tempdir()?;
    let mut child = Command::new(program())
        .args([
            "start",
            "--head",
            "--block",
            "--port=0",
            "--object-store-memory=100000000",
        ])
        .env("RAY_TMPDIR", folder.path())
        .env("WHIPRAY_PYTHON", fake_template())
        .spawn()?;
    let current = folder.path().join("whipray").join("current_cluster");
    wait_until("the cluster", || current.exists())?;
    let pid = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(pid, rustix::process::Signal::INT)?;
    let ended = child.wait()?;
    whipray(folder.path(), &["stop"])?;
    assert!(ended.success(), "{ended:?}");
    assert!(!current.exists());
    Ok(())
}

#[test]
fn mistakes_are_one_line_and_exit_code_one() -> TestResult {
    let folder = tempfile::tempdir()?;
    let taken = std::net::TcpListener::bind("127.0.0.1:0")?;
    let port = format!("--port={}", taken.local_addr()?.port());
    let mistakes: [&[&str]; 6] = [
        &["start"],
        &["start", "--address=10.0.0.1:6379"],
        &["start", "--head", &port],
        &["start", "--head", "--resources=gold"],
        &["start", "--head", "--port=0", "--temp-dir=/proc/nowhere"],
        &["start", "--head", "--port=0", "--object-store-memory=1"],
    ];
    for mistake in mistakes {
        let output = whipray(folder.path(), mistake)?;
        assert_eq!(output.status.code(), Some(1), "{mistake:?}");
        assert_eq!(
            text(&output.stderr).lines().count(),
            1,
            "{}",
            text(&output.stderr)
        );
        assert!(output.stdout.is_empty());
    }
    Ok(())
}

#[test]
fn the_benchmark_is_run_by_the_python_of_the_caller() -> TestResult {
    let output = Command::new(program())
        .args(["microbenchmark", "--quick", "x"])
        .env("WHIPRAY_PYTHON", "echo")
        .output()?;
    assert_eq!(
        text(&output.stdout),
        "-m whipray._microbenchmark --quick x\n"
    );
    let missing = Command::new(program())
        .arg("microbenchmark")
        .env("WHIPRAY_PYTHON", "/nowhere")
        .output()?;
    assert_eq!(missing.status.code(), Some(1));
    Ok(())
}
