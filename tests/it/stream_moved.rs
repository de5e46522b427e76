//! Streams whose folder somebody moved, with git or by hand: they are found, and nothing of them is lost.

use std::fs;
use std::path::Path;

use crate::fixture::Fixture;
use crate::stream::{folder, traces};

fn git_in(repo: &Fixture, dir: &Path, args: &[&str]) -> String {
    repo.git(&[&["-C", dir.to_str().expect("UTF-8")], args].concat())
}

#[test]
fn a_stream_that_is_refused_loses_nothing_of_one_whose_folder_is_away() {
    let repo = Fixture::new("passing");
    assert_eq!(repo.orchestrate("stream new a").code, 0);
    let there = folder(&repo, "a");
    fs::write(there.join("staged"), "s\n").expect("a file");
    git_in(&repo, &there, &["add", "staged"]);
    // Too far away to be looked for, as on a disk that is not mounted.
    let away = repo.beside("away");
    fs::rename(&there, &away).expect("it moves");
    let before = traces(&repo);
    for words in ["stream new a --from HEAD", "stream new a --from HEAD~9"] {
        let seen = repo.orchestrate(words);
        assert_eq!(seen.code, 2, "{words}: {seen}");
        assert_eq!(traces(&repo), before, "{words}");
    }
    fs::create_dir(&there).expect("a folder");
    let seen = repo.orchestrate("stream new a");
    assert!(seen.code == 2 && seen.stderr.contains("is in the way"), "{seen}");
    fs::remove_dir(&there).expect("a folder");
    fs::rename(&away, &there).expect("it comes back");
    assert_eq!(git_in(&repo, &there, &["status", "--porcelain"]), "A  staged");
    assert_eq!(repo.orchestrate("stream list --format json").json()["streams"][0]["state"], "ready");
}

#[test]
fn a_stream_that_git_moved_or_that_was_renamed_by_hand_is_found() {
    let repo = Fixture::new("passing");
    assert_eq!(repo.orchestrate("stream new m h").code, 0);
    let (by_git, by_hand) = (repo.beside("by git"), folder(&repo, "h").with_file_name("by hand"));
    git_in(
        &repo,
        repo.root(),
        &["worktree", "move", folder(&repo, "m").to_str().expect("UTF-8"), by_git.to_str().expect("UTF-8")],
    );
    fs::rename(folder(&repo, "h"), &by_hand).expect("it moves");
    let answer = repo.orchestrate("stream list --format json").json();
    let streams = answer["streams"].as_array().expect("streams");
    assert_eq!(streams.len(), 2, "none is shown twice: {answer}");
    for (name, place) in [("m", &by_git), ("h", &by_hand)] {
        let row = streams.iter().find(|it| it["name"] == name).unwrap_or_else(|| panic!("{name}: {answer}"));
        assert_eq!((&row["state"], &row["managed"]), (&"ready".into(), &true.into()), "{answer}");
        let seen = repo.orchestrate(&format!("stream cd {name}"));
        assert_eq!(seen.stdout, format!("{}\n", place.display()), "{seen}");
        let seen = repo.orchestrate(&format!("stream new {name}"));
        assert!(seen.code == 2 && seen.stderr.contains("there is a stream"), "{seen}");
        fs::write(place.join("work"), "w\n").expect("a file");
        let seen = repo.orchestrate(&format!("stream rm {name}"));
        assert!(seen.code == 3 && seen.stderr.contains("something in it is not committed"), "{seen}");
        let seen = repo.orchestrate(&format!("stream rm --force {name}"));
        assert!(seen.code == 0 && !place.exists(), "{seen}");
        let seen = repo.orchestrate(&format!("stream undo {name}"));
        assert!(seen.code == 0 && seen.stdout.contains(place.to_str().expect("UTF-8")), "{seen}");
        assert_eq!(git_in(&repo, place, &["status", "--porcelain"]), "?? work", "{name}");
    }
    assert_eq!(repo.orchestrate("stream prune").stdout, "No stream could go.\n");
}

#[test]
fn what_comes_back_without_a_folder_says_so() {
    let repo = Fixture::new("passing");
    assert_eq!(repo.orchestrate("stream new a").code, 0);
    let away = repo.beside("away");
    fs::rename(folder(&repo, "a"), &away).expect("it moves");
    fs::write(away.join("work"), "w\n").expect("a file");
    let seen = repo.orchestrate("stream cd a");
    assert!(seen.code == 2 && seen.stderr.contains("git worktree repair FOLDER"), "{seen}");
    let seen = repo.orchestrate("stream rm a");
    assert!(
        seen.code == 0 && seen.stdout.contains("its folder") && seen.stdout.contains("was gone"),
        "{seen}"
    );
    let seen = repo.orchestrate("stream undo a");
    assert!(seen.code == 0 && seen.stdout.contains("git worktree repair FOLDER"), "{seen}");
    git_in(&repo, repo.root(), &["worktree", "repair", away.to_str().expect("UTF-8")]);
    assert_eq!(git_in(&repo, &away, &["status", "--porcelain"]), "?? work");
    let seen = repo.orchestrate("stream cd a");
    assert_eq!(seen.stdout, format!("{}\n", away.display()), "{seen}");
}
