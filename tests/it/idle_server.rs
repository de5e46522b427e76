//! A server that drops whoever is connected and says nothing: a suite that takes long still gets its commits there.

use std::fs;
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};

use serde_json::json;

use crate::hook::{Project, config};
use crate::witness::{Gate, ended, spawn, wait_for};

/// git's own server on this machine, one process for each connection.
struct Server {
    url: String,
    open: Arc<Mutex<Vec<TcpStream>>>,
}

impl Server {
    fn new(project: &Project) -> Self {
        let socket = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = socket.local_addr().expect("an address").port();
        let base = project.remote.parent().expect("it is in a folder").to_owned();
        let open = Arc::new(Mutex::new(Vec::new()));
        let all = Arc::clone(&open);
        std::thread::spawn(move || {
            for stream in socket.incoming().map_while(Result::ok) {
                let end = |stream: &TcpStream| OwnedFd::from(stream.try_clone().expect("another end"));
                let served = Command::new("git")
                    .args(["daemon", "--inetd", "--export-all", "--enable=receive-pack"])
                    .arg(format!("--base-path={}", base.display()))
                    .env("GIT_CONFIG_GLOBAL", "/dev/null")
                    .env("GIT_CONFIG_SYSTEM", "/dev/null")
                    .stdin(Stdio::from(end(&stream)))
                    .stdout(Stdio::from(end(&stream)))
                    .stderr(Stdio::null())
                    .spawn();
                let mut served = served.expect("git daemon");
                all.lock().unwrap().push(stream.try_clone().expect("another end"));
                std::thread::spawn(move || {
                    let _ = served.wait();
                    let _ = stream.shutdown(Shutdown::Both);
                });
            }
        });
        Self { url: format!("git://127.0.0.1:{port}/remote.git"), open }
    }

    /// Drops all who are connected, as if a minute had gone by in which nobody said anything.
    fn drop_idle(&self) {
        for stream in self.open.lock().unwrap().drain(..) {
            // Those that are done are closed already.
            let _ = stream.shutdown(Shutdown::Both);
        }
    }
}

#[test]
fn a_server_that_drops_idle_connections_gets_what_took_long_to_prove() {
    let slow = "echo on > \"$HOME/on\"; read _ < \"$HOME/gate\"";
    let mut config = config(json!({"require": ["test"], "inlineSeconds": 0}));
    config["pipelines"][0]["stages"][1]["command"] = json!(slow);
    let project = Project::with(&config);
    let repo = &project.repo;
    let first = repo.git(&["rev-parse", "HEAD"]);
    let mut gate = Gate::new(repo, "gate");
    let server = Server::new(&project);
    repo.git(&["remote", "set-url", "origin", &server.url]);
    let commit = project.commit("second");
    let on = repo.beside("on");
    // A hook that runs the suite itself has git wait with an open connection.
    let hook = repo.path(".git/hooks/pre-push");
    let ours = fs::read_to_string(&hook).unwrap();
    fs::write(&hook, format!("#!/bin/sh\n{slow}\n")).unwrap();
    fs::set_permissions(&hook, fs::Permissions::from_mode(0o755)).unwrap();
    let pushed = spawn(repo.command("git").args(["push", "origin", "main"]));
    wait_for(&on);
    server.drop_idle();
    gate.open();
    let seen = ended(pushed);
    assert_ne!(seen.code, 0, "this is what goes wrong: {seen}");
    assert_eq!(project.there("refs/heads/main"), Some(first.clone()));
    fs::remove_file(&on).unwrap();
    // Ours is connected only before and after.
    fs::write(&hook, ours).unwrap();
    let pushed = spawn(repo.program().args(["push", "origin", "main"]));
    wait_for(&on);
    assert_eq!(project.there("refs/heads/main"), Some(first));
    server.drop_idle();
    gate.open();
    let seen = ended(pushed);
    assert_eq!(seen.code, 0, "{seen}");
    assert_eq!(project.there("refs/heads/main"), Some(commit));
}
