//! Whole or not at all, also when writing fails in the middle.

use super::*;
use crate::error::Kind;
use std::panic::{AssertUnwindSafe, catch_unwind};

fn names(dir: &Path) -> Vec<String> {
    let mut names: Vec<_> =
        fs::read_dir(dir).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// What a careless disk would do after half of the work.
fn fail() -> Result<()> {
    Err(Error::new(Kind::Failure, "disk", "space", "none"))
}

fn fill_model(text: &'static str) -> impl Fn(&Path) -> Result<()> {
    move |dir| {
        fs::write(dir.join("config.json"), text).unwrap();
        fs::create_dir(dir.join("more")).unwrap();
        fs::write(dir.join("more/notes"), text).unwrap();
        Ok(())
    }
}

#[test]
fn a_file_is_written_and_replaced() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("weights");
    for text in ["first", "second, longer than a first"] {
        write_file(&path, |file| file.put(text.as_bytes())).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), text);
    }
    assert_eq!(names(dir.path()), ["weights"]);
}

#[test]
fn a_file_that_fails_in_the_middle_leaves_the_old_one() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("weights");
    let half = |file: &mut Writer| file.put(&[7; 3 << 20]).and_then(|()| fail());
    assert_eq!(
        write_file(&path, half).unwrap_err().to_string(),
        "disk: expected space, found none"
    );
    assert!(names(dir.path()).is_empty(), "nothing was there and nothing is");

    fs::write(&path, "old").unwrap();
    write_file(&path, half).unwrap_err();
    catch_unwind(AssertUnwindSafe(|| write_file(&path, |_| panic!("a bug")))).unwrap_err();
    assert_eq!(fs::read_to_string(&path).unwrap(), "old");
    assert_eq!(names(dir.path()), ["weights"]);
}

#[test]
fn while_a_file_is_written_its_name_holds_the_old_one() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("weights");
    fs::write(&path, "old").unwrap();
    write_file(&path, |file| {
        file.put(b"new")?;
        assert_eq!(fs::read_to_string(&path).unwrap(), "old");
        Ok(())
    })
    .unwrap();
    assert_eq!(fs::read_to_string(&path).unwrap(), "new");
}

#[test]
fn a_link_is_followed_and_kept() {
    let dir = tempfile::tempdir().unwrap();
    let (real, link) = (dir.path().join("real"), dir.path().join("link"));
    fs::write(&real, "old").unwrap();
    std::os::unix::fs::symlink(&real, &link).unwrap();
    write_file(&link, |file| file.put(b"new")).unwrap();
    assert!(link.is_symlink());
    assert_eq!(fs::read_to_string(&real).unwrap(), "new");
}

#[test]
fn a_file_is_never_written_over_something_else() {
    let dir = tempfile::tempdir().unwrap();
    let missing = dir.path().join("no/such/file");
    for (path, found) in [
        (dir.path(), "found a directory"),
        (Path::new("/dev/null"), "found something that is not a regular file"),
        (Path::new("/"), "found no file name"),
        (missing.as_path(), "found no directory to hold it"),
    ] {
        let error = write_file(path, |_| panic!("must be refused before")).unwrap_err();
        assert_eq!(error.kind(), Kind::Usage);
        assert!(error.to_string().ends_with(found), "{error}");
    }
}

#[test]
fn a_directory_is_written_with_its_parents_and_replaced() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("runs/coplas");
    for text in ["first", "second"] {
        write_dir(&path, fill_model(text)).unwrap();
        assert_eq!(fs::read_to_string(path.join("more/notes")).unwrap(), text);
        // A trace of the older one would show that directories were mixed.
        fs::write(path.join("older"), "").unwrap();
    }
    write_dir(&path, fill_model("third")).unwrap();
    assert_eq!(names(&path), ["config.json", "more"]);
    assert_eq!(names(&dir.path().join("runs")), ["coplas"]);
}

#[test]
fn a_directory_that_fails_in_the_middle_leaves_the_old_one() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("coplas");
    let half = |dir: &Path| fill_model("new")(dir).and_then(|()| fail());
    assert_eq!(write_dir(&path, half).unwrap_err().to_string(), "disk: expected space, found none");
    assert!(names(dir.path()).is_empty());

    write_dir(&path, fill_model("old")).unwrap();
    write_dir(&path, half).unwrap_err();
    catch_unwind(AssertUnwindSafe(|| write_dir(&path, |_| panic!("a bug")))).unwrap_err();
    assert_eq!(fs::read_to_string(path.join("more/notes")).unwrap(), "old");
    assert_eq!(names(dir.path()), ["coplas"]);
}

#[test]
fn a_directory_that_cannot_be_renamed_in_brings_the_old_one_back() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("coplas");
    write_dir(&path, fill_model("old")).unwrap();
    // Renamed aside is the old one already when the new one turns out to be gone.
    let error = swap_in(Path::new("/nowhere/new"), &path).unwrap_err();
    assert!(error.to_string().contains("coplas: expected a place that can be written"), "{error}");
    assert_eq!(fs::read_to_string(path.join("more/notes")).unwrap(), "old");
    assert_eq!(names(dir.path()), ["coplas"]);
}

#[test]
fn a_directory_of_something_else_is_never_deleted() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file");
    fs::write(&file, "mine").unwrap();
    let photographs = dir.path().join("photographs");
    fs::create_dir(&photographs).unwrap();
    fs::write(photographs.join("one"), "mine").unwrap();
    for (path, found) in [
        (file.as_path(), "found a file"),
        (&file.join("runs/coplas"), "found a file on the way to it"),
        (photographs.as_path(), "found a directory with other files and no config.json"),
        (Path::new("."), "found the current directory, or one above it"),
        (Path::new("/"), "found the root directory"),
        (Path::new(""), "found no directory name"),
    ] {
        let error = write_dir(path, |_| panic!("must be refused before")).unwrap_err();
        assert_eq!(error.kind(), Kind::Usage);
        assert!(error.to_string().ends_with(found), "{error}");
    }
    // And what becomes something else in the meantime is not deleted either.
    let late = dir.path().join("late");
    let error = write_dir(&late, |new| {
        fill_model("new")(new)?;
        fs::write(&late, "mine").unwrap();
        Ok(())
    });
    assert_eq!(error.unwrap_err().kind(), Kind::Usage);
    assert_eq!(fs::read_to_string(&late).unwrap(), "mine");
    assert_eq!(names(dir.path()), ["file", "late", "photographs"]);
}

#[test]
fn an_empty_directory_is_filled() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("empty");
    fs::create_dir(&path).unwrap();
    write_dir(&path, fill_model("new")).unwrap();
    assert_eq!(names(&path), ["config.json", "more"]);
    assert_eq!(names(dir.path()), ["empty"]);
}
