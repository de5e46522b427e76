//! What a stream has for itself: ports, a database, carried files; and what is done when it ends.

use std::collections::BTreeSet;
use std::fs;
use std::net::TcpListener;

use serde_json::json;

use crate::fixture::Fixture;
use crate::stream::folder;
use crate::witness::{ended, spawn};

#[test]
fn each_stream_has_ports_and_a_database_of_its_own_and_gives_them_back() {
    let begin = TcpListener::bind("127.0.0.1:0")
        .expect("a port")
        .local_addr()
        .expect("an address")
        .port()
        .min(60_000);
    let repo = Fixture::with_config(&json!({
        "streams": {"ports": {"from": begin, "to": begin + 400, "count": 2}, "database": "{repo}_{name}"},
        "pipelines": [{"id": "diagnostics", "stages": [{"kind": "command", "id": "env", "command":
            "echo $CODEX_ORCHESTRATOR_STREAM $CODEX_ORCHESTRATOR_PORT $CODEX_ORCHESTRATOR_PORT_2 $CODEX_ORCHESTRATOR_PORT_COUNT $CODEX_ORCHESTRATOR_DATABASE"}]}],
    }));
    let children: Vec<_> = (0..8)
        .map(|at| spawn(repo.program().args(["stream", "new", &format!("s{at}"), &format!("t{at}")])))
        .collect();
    assert!(children.into_iter().all(|child| ended(child).code == 0));
    let answer = repo.orchestrate("stream list --format json").json();
    let streams = answer["streams"].as_array().expect("streams");
    let firsts: BTreeSet<_> =
        streams.iter().map(|it| it["ports"]["first"].as_u64().expect("a port")).collect();
    assert_eq!(firsts.len(), 16, "each has its own: {firsts:?}");
    assert!(firsts.iter().zip(firsts.iter().skip(1)).all(|(one, next)| next - one >= 2), "{firsts:?}");
    repo.orchestrate_in(&folder(&repo, "s1"), "start");
    let first =
        streams.iter().find(|it| it["name"] == "s1").expect("it")["ports"]["first"].as_u64().expect("a port");
    let seen = repo.orchestrate("stream logs s1 env");
    assert_eq!(seen.stdout, format!("s1 {first} {} 2 a_repo_s1\n", first + 1));
    repo.orchestrate("start");
    assert_eq!(repo.orchestrate("logs latest env").stdout, "\n", "there is no stream here");
    // What a stream gave back is free for another one.
    assert_eq!(repo.orchestrate("stream rm s1").code, 0);
    let answer = repo.orchestrate("stream new s-1 s.1 --format json").json();
    // Which of them comes first is up to them.
    let names: BTreeSet<_> =
        (0..2).map(|at| answer["streams"][at]["database"].as_str().expect("a name")).collect();
    assert_eq!(names, ["a_repo_s_1", "a_repo_s_1_2"].into());
}

#[test]
fn no_ports_left_and_a_link_that_leads_outside_refuse_the_stream_and_leave_nothing() {
    let repo =
        Fixture::with_config(&json!({"streams": {"ports": {"from": 61_000, "to": 61_000}}, "pipelines": []}));
    let held = TcpListener::bind("127.0.0.1:61000");
    let seen = repo.orchestrate("stream new a");
    assert!(seen.code == 2 && seen.stderr.contains("ports from 61000 to 61000 are free"), "{seen}");
    drop(held);
    let repo = Fixture::new("passing");
    std::os::unix::fs::symlink("../../outside", repo.path("secret")).expect("a link");
    repo.write(".git/info/exclude", "secret\n.worktreeinclude\n");
    repo.write(".worktreeinclude", "secret\n");
    let before = crate::stream::traces(&repo);
    let seen = repo.orchestrate("stream new a");
    assert!(seen.code == 3 && seen.stderr.contains("leads outside"), "{seen}");
    assert_eq!(crate::stream::traces(&repo), before);
}

#[test]
fn what_worktreeinclude_names_and_git_ignores_is_carried() {
    let repo = Fixture::new("passing");
    repo.write(".gitignore", ".env\nnode_modules/\nother\n");
    repo.write(".worktreeinclude", "# carried\n.env\nnode_modules\ncodex.orchestrator.json\nuntracked\n");
    repo.git(&["add", ".gitignore", ".worktreeinclude"]);
    repo.git(&["commit", "--quiet", "--message", "rules"]);
    for (name, text) in [(".env", "KEY=1"), ("node_modules/a/b.js", "b"), ("other", "o"), ("untracked", "u")]
    {
        repo.write(name, text);
    }
    assert_eq!(repo.orchestrate("stream new a").code, 0);
    let there = folder(&repo, "a");
    assert_eq!(fs::read_to_string(there.join(".env")).expect("it was carried"), "KEY=1");
    assert_eq!(fs::read_to_string(there.join("node_modules/a/b.js")).expect("it was carried"), "b");
    assert!(!there.join("other").exists() && !there.join("untracked").exists());
    fs::write(there.join(".env"), "KEY=2").expect("a file");
    assert_eq!(repo.read(".env"), "KEY=1", "nothing that happens there reaches us");
    assert_eq!(repo.git(&["-C", there.to_str().expect("UTF-8"), "status", "--porcelain"]), "");
}

#[test]
fn a_stream_is_not_carried_into_itself() {
    let repo = Fixture::with_config(&json!({"streams": {"path": ".trees/{name}"}, "pipelines": []}));
    repo.write(".git/info/exclude", "cache\n");
    repo.write(".worktreeinclude", "*\n");
    repo.write("cache", "c\n");
    assert_eq!(repo.orchestrate("stream new a b").code, 0);
    for name in ["a", "b"] {
        let there = repo.path(&format!(".trees/{name}"));
        assert_eq!(fs::read_to_string(there.join("cache")).expect("it was carried"), "c\n");
        assert!(!there.join(".trees").exists(), "{name}");
    }
}

#[test]
fn what_ends_a_stream_runs_before_it_goes_and_a_failure_keeps_it() {
    let config = json!({"streams": {"teardown": ["echo $CODEX_ORCHESTRATOR_STREAM >> \"$HOME/ended\"; test ! -e keep"]}, "pipelines": []});
    let repo = Fixture::with_config(&config);
    repo.orchestrate("stream new a b");
    repo.write(".git/info/exclude", "keep\n");
    fs::write(folder(&repo, "a").join("keep"), "").expect("a file");
    let seen = repo.orchestrate("stream rm a");
    assert!(seen.code == 1 && seen.stderr.contains("what ends it failed in run"), "{seen}");
    assert!(folder(&repo, "a").exists());
    assert_eq!(repo.orchestrate("stream rm b").code, 0);
    let seen = repo.orchestrate("stream rm --force a");
    assert!(seen.code == 0 && seen.stdout.contains("what ends it failed"), "{seen}");
    assert_eq!(fs::read_to_string(repo.beside("ended")).expect("it ran"), "a\nb\na\n");
}

#[test]
fn a_stream_that_comes_back_shares_nothing_with_one_that_was_made_meanwhile() {
    let begin = TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("an address").port();
    let begin = begin.min(60_000);
    let repo = Fixture::with_config(&json!({
        "streams": {"ports": {"from": begin, "to": begin + 400, "count": 2}, "database": "{repo}_{name}"},
        "pipelines": [],
    }));
    for words in ["stream new s-1", "stream rm s-1", "stream new s.1"] {
        assert_eq!(repo.orchestrate(words).code, 0, "{words}");
    }
    let file = |name: &str| repo.json(format!(".git/orchestrate/streams/{name}.json"));
    // Whatever ports the other one got, it says that it has those of the removed one.
    let mut other = file("s.1");
    let had = {
        let trash = fs::read_dir(repo.path(".git/orchestrate/streams/trash")).expect("a trash");
        let bin = trash.map(|bin| bin.expect("an entry").path()).next().expect("a stream");
        crate::fixture::json_of(&bin.join("entry.json"))["stream"].clone()
    };
    other["ports"] = had["ports"].clone();
    repo.write(".git/orchestrate/streams/s.1.json", &other.to_string());
    assert_eq!(other["database"], had["database"]);
    let seen = repo.orchestrate("stream undo s-1");
    assert_eq!(seen.code, 0, "{seen}");
    assert!(
        seen.stdout.contains("another stream has its ports") && seen.stdout.contains("its database"),
        "{seen}"
    );
    let back = file("s-1");
    let first = |stream: &serde_json::Value| stream["ports"]["first"].as_u64().expect("a port");
    assert!(first(&back).abs_diff(first(&other)) >= 2, "{back}");
    assert_ne!(back["database"], other["database"]);
    // Nothing is leased again without need.
    for words in ["stream rm s-1", "stream undo s-1"] {
        let seen = repo.orchestrate(words);
        assert!(seen.code == 0 && !seen.stdout.contains("warning"), "{seen}");
    }
    assert_eq!((&file("s-1")["ports"], &file("s-1")["database"]), (&back["ports"], &back["database"]));
}

#[test]
fn a_file_that_says_odd_things_of_ports_ends_nobody() {
    let repo =
        Fixture::with_config(&json!({"streams": {"ports": {"from": 40_000, "to": 40_400}}, "pipelines": []}));
    assert_eq!(repo.orchestrate("stream new a").code, 0);
    for ports in [json!({"first": 40_000, "count": 0}), json!({"first": 65_535, "count": 65_535})] {
        let mut odd = repo.json(".git/orchestrate/streams/a.json");
        odd["ports"] = ports;
        repo.write(".git/orchestrate/streams/a.json", &odd.to_string());
        let seen = repo.orchestrate("stream new b");
        assert_eq!(seen.code, 0, "{seen}");
        assert_eq!(repo.orchestrate("stream rm b").code, 0);
    }
}

#[test]
fn what_a_stream_has_no_stream_of_another_repository_gets() {
    let begin = TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("an address").port();
    let begin = begin.min(60_000);
    let config = json!({
        "streams": {"ports": {"from": begin, "to": begin + 400}, "database": "db_{name}"},
        "pipelines": [],
    });
    let (one, other) = (Fixture::with_config(&config), Fixture::with_config(&config));
    let home = one.beside("it").with_file_name("");
    let there = |words: &str| other.see(other.program().env("HOME", &home).args(words.split(' ')));
    let file = |repo: &Fixture, name: &str| repo.json(format!(".git/orchestrate/streams/{name}.json"));
    assert_eq!(one.orchestrate("stream new a").code, 0);
    // Only the last of them are left.
    let mut had = file(&one, "a");
    had["ports"] = json!({"first": begin, "count": 301});
    one.write(".git/orchestrate/streams/a.json", &had.to_string());
    let seen = there("stream new a");
    assert_eq!(seen.code, 0, "{seen}");
    let got = file(&other, "a");
    assert!(got["ports"]["first"].as_u64().expect("a port") > u64::from(begin) + 300, "{got}");
    assert_eq!((&had["database"], &got["database"]), (&"db_a".into(), &"db_a_2".into()));
    // What one gives back, and what a repository that is gone had, is free.
    assert_eq!(there("stream rm a").code, 0);
    fs::remove_dir_all(one.path(".git")).expect("a repository");
    assert_eq!(there("stream new a").code, 0);
    assert_eq!(file(&other, "a")["database"], "db_a");
    let kept = crate::witness::files(&home.join(".local/state"));
    let repositories = kept.iter().filter(|path| path.display().to_string().contains("/repositories/"));
    assert_eq!(repositories.count(), 1, "{kept:?}");
}

#[test]
fn a_damaged_file_of_a_stream_gives_nothing_away_and_force_removes_the_stream() {
    let repo =
        Fixture::with_config(&json!({"streams": {"ports": {"from": 40_000, "to": 40_400}}, "pipelines": []}));
    assert_eq!(repo.orchestrate("stream new fix/a").code, 0);
    let there = crate::stream::folder(&repo, "fix/a");
    fs::write(there.join("work"), "w\n").expect("a file");
    repo.write(".git/orchestrate/streams/fix-a.json", "{\"version\": 1, \"ports\":");
    for words in ["stream new b", "stream new fix/a", "stream rm fix/a", "stream cd fix-a"] {
        let seen = repo.orchestrate(words);
        let said = "git orchestrate stream rm --force fix-a";
        assert!(seen.code == 2 && seen.stderr.contains(said), "{words}: {seen}");
    }
    let seen = repo.orchestrate("stream prune --yes");
    assert!(seen.code == 0 && seen.stderr.contains("stream rm --force fix-a"), "{seen}");
    assert!(there.join("work").exists());
    let seen = repo.orchestrate("stream rm --force fix-a");
    assert!(seen.code == 0 && !there.exists(), "{seen}");
    assert_ne!(repo.git(&["branch", "--list", "fix/a"]), "");
    assert_eq!(repo.orchestrate("stream new b").code, 0);
    let seen = repo.orchestrate("stream undo fix/a");
    assert!(seen.code == 0 && there.join("work").exists(), "{seen}");
    assert_eq!(repo.orchestrate("stream status fix/a --format json").json()["stream"]["state"], "ready");
    // One of which nothing else is left.
    repo.write(".git/orchestrate/streams/c.json", "{");
    assert_eq!(repo.orchestrate("stream rm --force c").code, 0);
    assert!(!repo.path(".git/orchestrate/streams/c.json").exists());
}
