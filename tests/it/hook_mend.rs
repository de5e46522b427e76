//! Stages with `fixes` that `pre-commit` requires: what they change comes back to the index and the work tree.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

use serde_json::{Value, json};

use crate::fixture::{Fixture, Seen, json_of};

/// Makes every `ugly` in a text pretty, and says no to what it cannot make so.
const FORMAT: &str = "for f in *.txt; do [ -f \"$f\" ] && [ ! -L \"$f\" ] && sed -i 's/ugly/pretty/' \"$f\"; done; \
                      echo formatted >> \"$HOME/formatted\"; ! grep -q hopeless *.txt";

fn config(format: &str, gate: &Value) -> Value {
    let stage = |id: &str, command: &str| json!({"kind": "command", "id": id, "command": command});
    json!({
        "pipelines": [{"id": "gate", "guardrailsRequired": false, "stages": [
            {"kind": "command", "id": "format", "command": format, "fixes": true},
            stage("check", "git write-tree > \"$HOME/checked\"; ! grep -q ugly *.txt"),
        ]}],
        "defaultPipeline": "gate",
        "hooks": {"pre-commit": gate},
    })
}

/// A project with such a gate, committed, in which nothing is ugly yet.
fn project_with(format: &str, gate: &Value) -> Fixture {
    let repo = Fixture::with_config(&config(format, gate));
    repo.write("a.txt", &lines("a", 20));
    repo.write("b.txt", "b\n");
    repo.git(&["add", "--all"]);
    repo.git(&["commit", "--quiet", "--amend", "--no-edit"]);
    install(&repo);
    repo
}

fn project() -> Fixture {
    project_with(FORMAT, &json!({"require": ["format", "check"]}))
}

fn install(repo: &Fixture) {
    let path = repo.path(".git/hooks/pre-commit");
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    let program = env!("CARGO_BIN_EXE_git-orchestrate");
    fs::write(&path, format!("#!/bin/sh\nexec '{program}' hook pre-commit \"$@\"\n")).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
}

/// Returns so many lines that differ.
fn lines(name: &str, count: usize) -> String {
    (1..=count).map(|number| format!("{name} {number}\n")).collect()
}

fn git(repo: &Fixture, words: &str) -> Seen {
    repo.see(repo.command("git").args(words.split(' ')))
}

/// Returns a file of the last commit.
fn committed(repo: &Fixture, name: &str) -> String {
    let output = repo.command("git").args(["show", &format!("HEAD:{name}")]).output().unwrap();
    assert!(output.status.success(), "{name}");
    String::from_utf8(output.stdout).unwrap()
}

fn status(repo: &Fixture) -> String {
    repo.git(&["status", "--porcelain"])
}

/// Returns all that is the user's: files with their modes, the index as git sees it, refs and stash.
fn of_user(repo: &Fixture) -> Vec<String> {
    let mut all: Vec<String> = repo
        .tree("")
        .into_iter()
        .filter(|name| !name.starts_with(".runs") && !name.starts_with("out"))
        .map(|name| {
            let mode = repo.path(&name).symlink_metadata().unwrap().permissions().mode();
            let content = fs::read(repo.path(&name)).unwrap_or_default();
            format!("{name} {mode:o}: {}", String::from_utf8_lossy(&content))
        })
        .collect();
    for words in ["ls-files --stage", "for-each-ref", "stash list", "symbolic-ref HEAD"] {
        all.push(repo.git(&words.split(' ').collect::<Vec<_>>()));
    }
    all
}

fn patches(repo: &Fixture) -> Vec<String> {
    let folder = fs::read_dir(repo.path(".git/orchestrate/fixes")).into_iter().flatten();
    folder.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

#[test]
fn what_is_mended_is_what_is_committed() {
    let repo = project();
    repo.write("a.txt", "ugly\n");
    repo.git(&["add", "a.txt"]);
    let seen = git(&repo, "commit --quiet --message ugly");
    assert_eq!(seen.code, 0, "{seen}");
    assert!(seen.stderr.contains("  mended  by format  a.txt\n"), "{seen}");
    assert!(seen.stderr.contains("  proven  the next commit  tree "), "{seen}");
    assert_eq!((committed(&repo, "a.txt").as_str(), repo.read("a.txt").as_str()), ("pretty\n", "pretty\n"));
    assert_eq!(status(&repo), "");
    // What comes after was about the tree that was committed, and nothing of it runs again.
    let tree = repo.git(&["rev-parse", "HEAD^{tree}"]);
    assert_eq!(fs::read_to_string(repo.beside("checked")).unwrap().trim_end(), tree);
    let ran = fs::read_to_string(repo.beside("formatted")).unwrap().lines().count();
    assert_eq!(ran, 2, "once on what was staged, once on what came of it");
    assert_eq!(git(&repo, "commit --quiet --amend --message pretty").code, 0);
    let known = repo.orchestrate("hook pre-commit --format json").json();
    assert_eq!((&known["standing"], &known["tree"]), (&json!("proven"), &json!(tree)));
    assert_eq!(known.get("mended"), None);
    assert_eq!(fs::read_to_string(repo.beside("formatted")).unwrap().lines().count(), ran);
    // The run says what it changed, and proves nothing.
    let runs = repo.runs("0101");
    let manifests: Vec<_> = runs.iter().map(|run| json_of(&run.join("manifest.json"))).collect();
    let mended: Vec<_> = manifests.iter().filter(|manifest| !manifest["fix"].is_null()).collect();
    let [mended] = mended[..] else { panic!("{mended:?}") };
    let fix = &mended["fix"];
    assert_eq!(fix["files"], json!([{"path": "a.txt", "change": "changed"}]));
    assert_eq!((&fix["count"], &fix["stages"]), (&json!(1), &json!(["format"])));
    assert_eq!((&fix["to"], &mended["git"]["moved"]), (&json!(tree), &json!(true)));
    let patch = repo.path(fix["patch"]["path"].as_str().unwrap());
    let digest = repo.see(repo.command("sha256sum").arg(&patch)).stdout;
    assert_eq!(digest.split(' ').next(), fix["patch"]["sha256"].as_str());
    assert!(fs::read_to_string(&patch).unwrap().contains("\n-ugly\n+pretty\n"));
}

#[test]
fn a_part_of_a_file_is_mended_in_both_places() {
    let repo = project();
    let with = |first: &str, last: &str| lines("a", 20).replace("a 1\n", first).replace("a 20\n", last);
    repo.write("a.txt", &with("ugly first\n", "a 20\n"));
    repo.git(&["add", "a.txt"]);
    repo.write("a.txt", &with("ugly first\n", "ugly last\n"));
    repo.write("b.txt", "ugly, and not staged\n");
    repo.write("c.txt", "ugly, and untracked\n");
    let seen = git(&repo, "commit --quiet --message partial");
    assert_eq!(seen.code, 0, "{seen}");
    assert_eq!(committed(&repo, "a.txt"), with("pretty first\n", "a 20\n"));
    // What is not staged stays as it is.
    assert_eq!(repo.read("a.txt"), with("pretty first\n", "ugly last\n"));
    assert_eq!(repo.read("b.txt"), "ugly, and not staged\n");
    assert_eq!(status(&repo), " M a.txt\n M b.txt\n?? c.txt");
    // All of it.
    let seen = git(&repo, "commit --quiet --all --message all");
    assert_eq!(seen.code, 0, "{seen}");
    assert_eq!(committed(&repo, "a.txt"), with("pretty first\n", "pretty last\n"));
    assert_eq!(repo.read("b.txt"), "pretty, and not staged\n");
    assert_eq!(status(&repo), "?? c.txt");
    assert!(repo.git(&["stash", "list"]).is_empty());
}

#[test]
fn some_paths_alone_leave_what_else_is_staged() {
    let repo = project();
    repo.write("a.txt", &lines("a", 20).replace("a 1\n", "staged\n"));
    repo.git(&["add", "a.txt"]);
    repo.write("b.txt", "ugly\n");
    let seen = git(&repo, "commit --quiet --only --message only b.txt");
    assert_eq!(seen.code, 0, "{seen}");
    assert_eq!((committed(&repo, "b.txt").as_str(), repo.read("b.txt").as_str()), ("pretty\n", "pretty\n"));
    assert_eq!(status(&repo), "M  a.txt", "git throws the index away that it commits, and keeps another");
    // A stage may mend what is not named at all, and then what is staged of it gets it too.
    repo.git(&["reset", "--quiet", "--hard"]);
    let ugly = lines("a", 20).replace("a 20\n", "ugly\n");
    repo.write("a.txt", &ugly);
    repo.git(&["commit", "--quiet", "--no-verify", "--all", "--message", "ugly"]);
    repo.write("a.txt", &ugly.replace("a 1\n", "staged\n"));
    repo.git(&["add", "a.txt"]);
    repo.write("b.txt", "b again\n");
    let seen = git(&repo, "commit --quiet --only --message only b.txt");
    assert_eq!(seen.code, 0, "{seen}");
    assert_eq!(committed(&repo, "a.txt"), ugly.replace("ugly", "pretty"));
    let staged = ugly.replace("a 1\n", "staged\n").replace("ugly", "pretty");
    assert_eq!((repo.git(&["show", ":a.txt"]) + "\n", repo.read("a.txt")), (staged.clone(), staged));
    assert_eq!(status(&repo), "M  a.txt");
    // The last commit takes it in.
    repo.write("a.txt", "ugly\n");
    repo.git(&["add", "a.txt"]);
    let seen = git(&repo, "commit --quiet --amend --no-edit");
    assert_eq!((seen.code, committed(&repo, "a.txt").as_str()), (0, "pretty\n"), "{seen}");
    assert_eq!(status(&repo), "");
}

#[test]
fn a_merge_under_way_and_a_linked_worktree_are_mended() {
    let repo = project();
    repo.git(&["checkout", "--quiet", "-b", "side"]);
    repo.write("b.txt", "side\n");
    repo.git(&["commit", "--quiet", "--all", "--message", "side"]);
    repo.git(&["checkout", "--quiet", "main"]);
    repo.write("b.txt", "main\n");
    repo.git(&["commit", "--quiet", "--all", "--message", "main"]);
    assert_ne!(git(&repo, "merge --quiet side").code, 0);
    repo.write("b.txt", "ugly, main and side\n");
    repo.git(&["add", "b.txt"]);
    let seen = git(&repo, "commit --quiet --no-edit");
    assert_eq!(seen.code, 0, "{seen}");
    assert_eq!(committed(&repo, "b.txt"), "pretty, main and side\n");
    assert_eq!(repo.git(&["rev-list", "--count", "--merges", "HEAD~1..HEAD"]), "1");
    assert_eq!(status(&repo), "");
    let linked = repo.beside("linked");
    repo.git(&["worktree", "add", "--quiet", "-b", "linked", linked.to_str().unwrap()]);
    fs::create_dir(linked.join("sub")).unwrap();
    fs::write(linked.join("b.txt"), "ugly here\n").unwrap();
    let mut commit = repo.command("git");
    commit.current_dir(linked.join("sub")).args(["commit", "--quiet", "--all", "--message", "linked"]);
    let seen = repo.see(&mut commit);
    assert_eq!(seen.code, 0, "{seen}");
    assert_eq!(fs::read_to_string(linked.join("b.txt")).unwrap(), "pretty here\n");
    assert_eq!(repo.read("b.txt"), "pretty, main and side\n", "the other worktree is none of it");
}

#[test]
fn every_kind_of_change_comes_back() {
    let format = "rm -f gone.txt; mkdir -p made && echo new > made/new.txt; chmod +x script; \
                  [ -L link ] && ln -sf b.txt link; printf '\\000\\001' > binary; mv -f old.txt new.txt 2>/dev/null; \
                  rm -rf folder; echo file > folder; rm -f file; mkdir -p file && echo in > file/in; true";
    let repo = project_with(format, &json!({"require": ["format"]}));
    for (name, text) in [
        ("gone.txt", "x\n"),
        ("script", "#!/bin/sh\n"),
        ("old.txt", "old\n"),
        ("folder/in", "x\n"),
        ("file", "x\n"),
    ] {
        repo.write(name, text);
    }
    fs::write(repo.path("binary"), b"\0before").unwrap();
    fs::write(repo.path("bin.txt\n -odd"), b"stays").unwrap();
    symlink("a.txt", repo.path("link")).unwrap();
    repo.git(&["add", "--all"]);
    let seen = git(&repo, "commit --quiet --message all");
    assert_eq!(seen.code, 0, "{seen}");
    assert_eq!(status(&repo), "");
    let listed = repo.git(&["ls-tree", "-r", "--name-only", "HEAD"]);
    for (name, there) in [
        ("gone.txt", false),
        ("made/new.txt", true),
        ("old.txt", false),
        ("folder/in", false),
        ("file/in", true),
    ] {
        assert_eq!(listed.lines().any(|line| line == name), there, "{name}: {listed}");
        assert_eq!(repo.path(name).exists(), there, "{name}");
    }
    assert_eq!((repo.read("new.txt").as_str(), repo.read("folder").as_str()), ("old\n", "file\n"));
    assert_eq!(fs::read(repo.path("binary")).unwrap(), b"\0\x01");
    assert_eq!(fs::read_link(repo.path("link")).unwrap(), Path::new("b.txt"));
    assert_eq!(fs::metadata(repo.path("script")).unwrap().permissions().mode() & 0o111, 0o111);
}

#[test]
fn what_somebody_deleted_or_made_besides_is_not_overwritten() {
    let format = "sed -i s/ugly/pretty/ a.txt; echo made > made.txt";
    let repo = project_with(format, &json!({"require": ["format"]}));
    repo.write("a.txt", "ugly\n");
    repo.git(&["add", "a.txt"]);
    fs::remove_file(repo.path("a.txt")).unwrap();
    repo.write("made.txt", "mine\n");
    let before = of_user(&repo);
    let seen = git(&repo, "commit --quiet --message x");
    assert_eq!(seen.code, 1, "{seen}");
    assert!(seen.stderr.contains("`made.txt` is there already, and git does not know it"), "{seen}");
    assert_eq!(of_user(&repo), before);
    fs::remove_file(repo.path("made.txt")).unwrap();
    let seen = git(&repo, "commit --quiet --message x");
    assert_eq!(seen.code, 0, "{seen}");
    assert_eq!((committed(&repo, "a.txt").as_str(), status(&repo).as_str()), ("pretty\n", " D a.txt"));
}

#[test]
fn line_ends_are_those_that_were_there() {
    let format = "sed -i 's/ugly/pretty/' *.txt";
    let repo = project_with(format, &json!({"require": ["format"]}));
    repo.write(".gitattributes", "b.txt text eol=crlf\na.txt text=auto\n");
    fs::remove_file(repo.path("b.txt")).unwrap();
    repo.git(&["add", "--all"]);
    repo.git(&["commit", "--quiet", "--no-verify", "--message", "attributes"]);
    let text = "ugly\r\nstays\r\n1\r\n2\r\n3\r\n4\r\n";
    for name in ["a.txt", "b.txt"] {
        repo.write(name, text);
    }
    // As it is, whatever git says of others.
    repo.write("c.txt", text);
    repo.write(".git/info/attributes", "c.txt -text\n");
    repo.git(&["add", "--all"]);
    repo.write("b.txt", &text.replace("4\r\n", "not staged\r\n"));
    repo.write("c.txt", &text.replace("4\r\n", "not staged\r\n"));
    let seen = git(&repo, "commit --quiet --message ends");
    assert_eq!(seen.code, 0, "{seen}");
    let pretty = text.replace("ugly", "pretty");
    assert_eq!(repo.read("a.txt"), pretty);
    let not_staged = pretty.replace("4\r\n", "not staged\r\n");
    assert_eq!((repo.read("b.txt"), repo.read("c.txt")), (not_staged.clone(), not_staged));
    assert_eq!(committed(&repo, "b.txt"), pretty.replace('\r', ""));
    assert_eq!(committed(&repo, "c.txt"), pretty);
    assert_eq!(status(&repo), " M b.txt\n M c.txt");
}

#[test]
fn the_same_lines_changed_twice_are_left_to_somebody() {
    let repo = project();
    repo.write("a.txt", "ugly\n");
    repo.write("b.txt", "ugly\n");
    repo.git(&["add", "--all"]);
    repo.write("b.txt", "written over\n");
    let before = of_user(&repo);
    let seen = git(&repo, "commit --quiet --message x");
    assert_eq!(seen.code, 1, "{seen}");
    assert_eq!(of_user(&repo), before, "all of it comes back, or nothing");
    assert!(seen.stderr.contains("NOT DONE  by format  a.txt, b.txt"), "{seen}");
    assert!(
        seen.stderr.contains("`b.txt` has other changes in the same lines that are not staged"),
        "{seen}"
    );
    // What it says works, word by word.
    let command = seen.stderr.lines().find_map(|line| line.trim_start().strip_prefix("→ git apply"));
    let command = format!("git apply{}", command.expect("a command"));
    let applied = repo.see(repo.command("sh").args(["-c", &command]));
    assert_eq!(applied.code, 0, "{command}: {applied}");
    let seen = git(&repo, "commit --quiet --message x");
    assert_eq!(seen.code, 0, "{seen}");
    assert_eq!(committed(&repo, "b.txt"), "pretty\n");
    assert_eq!(repo.read("b.txt"), "written over\n");
    // As a document.
    repo.git(&["checkout", "--quiet", "--", "."]);
    repo.write("b.txt", "ugly\n");
    repo.git(&["add", "b.txt"]);
    repo.write("b.txt", "over\n");
    let document = repo.orchestrate("hook pre-commit --format json").json();
    assert_eq!(document["standing"], "refused");
    assert_eq!(
        (&document["mended"]["came_back"], &document["mended"]["obstacles"][0]["path"]),
        (&json!(false), &json!("b.txt"))
    );
    // A reason lets what is staged pass as it is.
    let mut commit = repo.command("git");
    commit.args(["commit", "--quiet", "--message", "x"]).env("GIT_ORCHESTRATE_OVERRIDE", "it is art");
    let seen = repo.see(&mut commit);
    assert_eq!((seen.code, committed(&repo, "b.txt").as_str()), (0, "ugly\n"), "{seen}");
}

#[test]
fn what_does_not_pass_does_not_come_back() {
    let repo = project();
    repo.write("a.txt", "ugly and hopeless\n");
    repo.git(&["add", "a.txt"]);
    let before = of_user(&repo);
    let seen = git(&repo, "commit --quiet --message x");
    assert_eq!(seen.code, 1, "{seen}");
    assert!(seen.stderr.contains("the stages do not pass on what they changed"), "{seen}");
    assert_eq!(of_user(&repo), before);
    assert_eq!(patches(&repo).len(), 1);
    // One that says no when it has mended something, as many do, passes on what came of it.
    let format = "grep -q ugly a.txt || exit 0; sed -i s/ugly/pretty/ a.txt; exit 1";
    let repo = project_with(format, &json!({"require": ["format"]}));
    repo.write("a.txt", "ugly\n");
    let seen = git(&repo, "commit --quiet --all --message x");
    assert_eq!((seen.code, committed(&repo, "a.txt").as_str()), (0, "pretty\n"), "{seen}");
    // There is no end to one that always finds something.
    let repo = project_with("echo more >> a.txt", &json!({"require": ["format"]}));
    repo.write("b.txt", "other\n");
    let seen = git(&repo, "commit --quiet --all --message x");
    assert_eq!(seen.code, 1, "{seen}");
    assert!(seen.stderr.contains("the stages change something each time they run"), "{seen}");
    assert_eq!(repo.read("a.txt"), lines("a", 20));
}

#[test]
fn somebody_may_want_to_look_first() {
    let repo = project_with(FORMAT, &json!({"require": ["format", "check"], "onFix": "refuse"}));
    let head = repo.git(&["rev-parse", "HEAD"]);
    repo.write("a.txt", "ugly\n");
    let seen = git(&repo, "commit --quiet --all --message x");
    assert_eq!(seen.code, 1, "{seen}");
    assert!(seen.stderr.contains("  mended  by format  a.txt"), "{seen}");
    assert!(seen.stderr.contains("`onFix` is `refuse`"), "{seen}");
    assert_eq!((repo.git(&["rev-parse", "HEAD"]), repo.read("a.txt").as_str()), (head, "pretty\n"));
    assert!(!repo.beside("checked").exists(), "what comes after waits too");
    let seen = git(&repo, "commit --quiet --all --message x");
    assert_eq!((seen.code, committed(&repo, "a.txt").as_str()), (0, "pretty\n"), "{seen}");
}

#[test]
fn by_hand_it_mends_what_is_staged() {
    let repo = project();
    repo.write("a.txt", "ugly\n");
    repo.git(&["add", "a.txt"]);
    let seen = repo.orchestrate("hook pre-commit --format json");
    assert_eq!(seen.code, 0, "{seen}");
    let document = seen.json();
    assert_eq!(document["tree"], json!(repo.git(&["write-tree"])));
    assert_eq!(repo.git(&["show", ":a.txt"]), "pretty");
    assert_eq!(status(&repo), "M  a.txt");
    assert_eq!(repo.read("a.txt"), "pretty\n");
}

#[test]
fn whoever_writes_meanwhile_keeps_what_they_wrote() {
    // The stage itself writes into the user's worktree, as an editor would, while it runs.
    let format =
        "sed -i s/ugly/pretty/ a.txt; [ -z \"$SAYS\" ] || printf '%s\\n' \"$SAYS\" > \"$USERS/a.txt\"";
    let repo = project_with(format, &json!({"require": ["format"]}));
    let users = repo.root().to_owned();
    let commit = |says: &str| {
        let mut commit = repo.command("git");
        commit.args(["commit", "--quiet", "--message", "x"]).env("SAYS", says).env("USERS", &users);
        repo.see(&mut commit)
    };
    repo.write("a.txt", "ugly\n");
    repo.git(&["add", "a.txt"]);
    let seen = commit("mine");
    assert_eq!((seen.code, repo.read("a.txt").as_str()), (1, "mine\n"), "{seen}");
    assert_eq!(repo.git(&["show", ":a.txt"]), "ugly");
    // What was written below what is mended is merged with it.
    repo.write("a.txt", "ugly\n2\n3\n4\n5\n");
    repo.git(&["add", "a.txt"]);
    let seen = commit("ugly\n2\n3\n4\nmine");
    assert_eq!((seen.code, repo.read("a.txt").as_str()), (0, "pretty\n2\n3\n4\nmine\n"), "{seen}");
    assert_eq!(committed(&repo, "a.txt"), "pretty\n2\n3\n4\n5\n");
}

#[test]
fn wherever_git_commits_from_the_right_place_is_mended() {
    let repo = project();
    let dir = format!("--git-dir={}", repo.path(".git").display());
    let tree = format!("--work-tree={}", repo.root().display());
    let root = repo.root().to_str().unwrap().to_owned();
    for (number, words) in [vec!["-C", &root], vec![&dir, &tree]].into_iter().enumerate() {
        repo.write("a.txt", &format!("ugly {number}\n"));
        let mut commit = repo.command("git");
        commit.current_dir("/").args(&words).args(["commit", "--quiet", "--all", "--message", "x"]);
        let seen = repo.see(&mut commit);
        assert_eq!(seen.code, 0, "{words:?}: {seen}");
        let expected = format!("pretty {number}\n");
        assert_eq!((committed(&repo, "a.txt"), repo.read("a.txt")), (expected.clone(), expected));
        assert_eq!(status(&repo), "", "{words:?}");
    }
    // In the middle of a rebase, whose variables a hook inherits.
    let exec = "echo ugly rebase > b.txt && git commit --quiet --all --amend --no-edit";
    let seen = repo.see(repo.command("git").args(["rebase", "--quiet", "--exec", exec, "HEAD~1"]));
    assert_eq!(seen.code, 0, "{seen}");
    assert_eq!(
        (committed(&repo, "b.txt").as_str(), repo.read("b.txt").as_str()),
        ("pretty rebase\n", "pretty rebase\n")
    );
    assert_eq!(status(&repo), "");
    // A submodule is a repository of its own, and the outer one is none of it.
    let outer = Fixture::new("passing");
    outer.git(&["-c", "protocol.file.allow=always", "submodule", "--quiet", "add", &root, "inner"]);
    let hooks = outer.path(".git/modules/inner/hooks");
    fs::create_dir_all(&hooks).unwrap();
    fs::copy(repo.path(".git/hooks/pre-commit"), hooks.join("pre-commit")).unwrap();
    outer.write("inner/a.txt", "ugly inside\n");
    let mut commit = outer.command("git");
    commit.current_dir(outer.path("inner")).args(["commit", "--quiet", "--all", "--message", "x"]);
    let seen = outer.see(&mut commit);
    assert_eq!(seen.code, 0, "{seen}");
    assert_eq!(outer.read("inner/a.txt"), "pretty inside\n");
    let inner = outer.see(outer.command("git").current_dir(outer.path("inner")).args(["show", "HEAD:a.txt"]));
    assert_eq!(inner.stdout, "pretty inside\n");
    // A sparse checkout has not all that is mended, and stays sparse.
    repo.write("far/c.txt", "c\n");
    repo.write("near/d.txt", "d\n");
    repo.git(&["add", "--all"]);
    repo.git(&["commit", "--quiet", "--no-verify", "--message", "folders"]);
    repo.git(&["sparse-checkout", "set", "near"]);
    repo.write("near/d.txt", "ugly near\n");
    repo.write("a.txt", "ugly at the top\n");
    let seen = git(&repo, "commit --quiet --all --message sparse");
    assert_eq!((seen.code, committed(&repo, "a.txt").as_str()), (0, "pretty at the top\n"), "{seen}");
    assert!(!repo.path("far").exists() && status(&repo).is_empty(), "{}", status(&repo));
}

/// Copies a repository with all that is in it, so that every trial begins with the same.
fn copied(repo: &Fixture, name: &str) -> std::path::PathBuf {
    let to = repo.beside(name);
    let copied = repo.see(repo.command("cp").arg("-a").arg(repo.root()).arg(&to));
    assert_eq!(copied.code, 0, "{copied}");
    to
}

/// What may not be torn, of a trial.
fn pieces(repo: &Fixture, root: &Path) -> (String, String, String, String) {
    let git = |words: &[&str]| {
        let seen = repo.see(repo.command("git").current_dir(root).args(words));
        assert_eq!(seen.code, 0, "git {words:?}: {seen}");
        seen.stdout
    };
    let read = |name: &str| fs::read_to_string(root.join(name)).unwrap();
    let index = git(&["ls-files", "--stage"]);
    let others = git(&["for-each-ref"]) + &git(&["status", "--porcelain", "--untracked-files=all"]);
    let others = others.lines().filter(|line| line.contains("refs/") || line.starts_with("??")).collect();
    (read("a.txt"), read("b.txt"), index, others)
}

#[test]
fn a_kill_or_a_full_disk_at_any_moment_tears_nothing() {
    // Nothing comes after it, so the steps that matter are the last ones.
    let repo = project_with(FORMAT, &json!({"require": ["format"]}));
    let with = |first: &str, last: &str| lines("a", 20).replace("a 1\n", first).replace("a 20\n", last);
    repo.write("a.txt", &with("ugly\n", "a 20\n"));
    repo.write("b.txt", "ugly\n");
    repo.git(&["add", "--all"]);
    repo.write("a.txt", &with("ugly\n", "not staged\n"));
    let trial = |name: &str, variable: &str, step: usize| {
        let root = copied(&repo, name);
        let mut hook = repo.program();
        hook.current_dir(&root).args(["hook", "pre-commit"]).env(variable, step.to_string());
        (repo.see(&mut hook), root)
    };
    let before = pieces(&repo, repo.root());
    let (seen, whole) = trial("whole", "GIT_ORCHESTRATE_CRASH_AT", 100_000);
    assert_eq!(seen.code, 0, "{seen}");
    let after = pieces(&repo, &whole);
    assert_eq!(after.0, with("pretty\n", "not staged\n"));
    // What comes before the last steps is about runs, which have tests of their own.
    let (mut killed, mut last) = (1, 1024);
    while last - killed > 1 {
        let middle = (killed + last) / 2;
        let (seen, root) = trial("search", "GIT_ORCHESTRATE_CRASH_AT", middle);
        fs::remove_dir_all(root).unwrap();
        match seen.code {
            0 => last = middle,
            _ => killed = middle,
        }
    }
    let mut torn = false;
    for step in last - 24..last {
        let (seen, root) = trial("killed", "GIT_ORCHESTRATE_CRASH_AT", step);
        let lock = root.join(".git/index.lock");
        if lock.exists() {
            // As git says it after a kill of its own; it is whole.
            let listed = repo.see(
                repo.command("git")
                    .current_dir(&root)
                    .env("GIT_INDEX_FILE", &lock)
                    .args(["ls-files", "--stage"]),
            );
            assert_eq!(listed.stdout, after.2, "{step}: {seen}");
            fs::remove_file(&lock).unwrap();
        }
        let now = pieces(&repo, &root);
        assert!(now.0 == before.0 || now.0 == after.0, "{step}: {}", now.0);
        assert!(now.1 == before.1 || now.1 == after.1, "{step}: {}", now.1);
        assert!(now.2 == before.2 || now.2 == after.2, "{step}: {}", now.2);
        assert_eq!(now.3, before.3, "{step}");
        torn |= now != before && now != after;
        if now != before {
            // Whoever commits then gets all of it.
            let mut commit = repo.command("git");
            let seen = repo.see(commit.current_dir(&root).args(["commit", "--quiet", "--message", "next"]));
            assert_eq!(seen.code, 0, "{step}: {seen}");
            assert_eq!(pieces(&repo, &root).2, after.2, "{step}");
        }
        fs::remove_dir_all(&root).unwrap();
        // A step that fails is taken back, with all before it.
        let (seen, root) = trial("failed", "GIT_ORCHESTRATE_FAIL_AT", step);
        let now = pieces(&repo, &root);
        assert!(now == before || now == after, "{step}: {now:?}: {seen}");
        assert!(!root.join(".git/index.lock").exists(), "{step}: {seen}");
        fs::remove_dir_all(&root).unwrap();
    }
    assert!(torn, "the steps that matter were among them");
}
