//! The pid file against the processes and files that may be there.

use super::*;
use std::process::{Child, Command, Stdio};

struct Sleeper(Child);

impl Sleeper {
    fn new() -> Self {
        Self(Command::new("sleep").arg("600").stdin(Stdio::null()).spawn().unwrap())
    }
}

impl Drop for Sleeper {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn place() -> (tempfile::TempDir, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("service.pid");
    (directory, path)
}

fn names(directory: &tempfile::TempDir) -> usize {
    fs::read_dir(directory.path()).unwrap().count()
}

#[test]
fn it_has_the_pid_can_be_read_by_all_and_is_removed() {
    let (directory, path) = place();
    let file = PidFile::create(&path, process::id()).unwrap();
    assert_eq!(fs::read_to_string(&path).unwrap(), format!("{}\n", process::id()));
    assert_eq!(fs::metadata(&path).unwrap().mode() & 0o7777, 0o644);
    assert_eq!(names(&directory), 1, "and nothing beside it");
    file.remove().unwrap();
    assert_eq!(names(&directory), 0);
}

#[test]
fn a_process_that_runs_is_refused_by_name() {
    let (_directory, path) = place();
    let sleeper = Sleeper::new();
    let pid = sleeper.0.id();
    fs::write(&path, format!("{pid}\n/more\n")).unwrap();
    let error = PidFile::create(&path, process::id()).unwrap_err();
    assert!(error.is_config(), "{error:?}");
    let wanted =
        format!("{} says that process {pid} runs: stop it or remove the file", path.display());
    assert_eq!(error.to_string(), wanted);
    assert_eq!(fs::read_to_string(&path).unwrap(), format!("{pid}\n/more\n"));
}

#[test]
fn what_a_dead_process_left_is_replaced() {
    let (directory, path) = place();
    let sleeper = Sleeper::new();
    let dead = sleeper.0.id();
    drop(sleeper);
    let own = process::id();
    for left in
        [format!("{dead}\n"), format!("{own}\n"), String::new(), "nonsense".into(), "0".into()]
    {
        fs::write(&path, &left).unwrap();
        let file = PidFile::create(&path, own).unwrap_or_else(|error| panic!("{left:?}: {error}"));
        assert_eq!(fs::read_to_string(&path).unwrap(), format!("{own}\n"), "{left:?}");
        file.remove().unwrap();
    }
    assert_eq!(names(&directory), 0);
}

#[test]
fn one_that_has_ended_and_waits_to_be_reaped_is_dead() {
    let mut sleeper = Sleeper::new();
    let process = pidfd(Pid::from_raw(sleeper.0.id()).unwrap()).unwrap();
    assert!(is_alive(sleeper.0.id()).unwrap());
    sleeper.0.kill().unwrap();
    assert!(readable(process, Some(Duration::from_secs(10))).unwrap());
    assert!(!is_alive(sleeper.0.id()).unwrap());
}

#[test]
fn a_locked_file_is_refused_whatever_is_in_it() {
    let (_directory, path) = place();
    for text in [String::new(), "nonsense".into(), format!("{}\n", process::id())] {
        fs::write(&path, &text).unwrap();
        let other = File::open(&path).unwrap();
        other.lock().unwrap();
        let error = PidFile::create(&path, process::id()).unwrap_err();
        assert!(error.is_config() && error.to_string().contains("runs"), "{text:?}: {error:?}");
        assert_eq!(fs::read_to_string(&path).unwrap(), text);
    }
}

#[test]
fn of_many_at_once_one_has_it() {
    for old in [None, Some("4194304999\n")] {
        let (directory, path) = place();
        old.iter().for_each(|text| fs::write(&path, text).unwrap());
        let start = std::sync::Barrier::new(16);
        let results: Vec<_> = std::thread::scope(|scope| {
            let create = || {
                start.wait();
                PidFile::create(&path, process::id())
            };
            let threads: Vec<_> = (0..16).map(|_| scope.spawn(create)).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        let (made, refused): (Vec<_>, Vec<_>) = results.into_iter().partition(Result::is_ok);
        assert_eq!(made.len(), 1, "{refused:?}");
        assert!(refused.iter().all(|it| it.as_ref().unwrap_err().is_config()), "{refused:?}");
        assert_eq!(names(&directory), 1);
    }
}

#[test]
fn what_is_not_ours_stays() {
    let (directory, path) = place();
    let file = PidFile::create(&path, process::id()).unwrap();
    fs::remove_file(&path).unwrap();
    fs::write(&path, "1\n").unwrap();
    file.remove().unwrap();
    assert_eq!(fs::read_to_string(&path).unwrap(), "1\n");
    fs::remove_file(&path).unwrap();
    PidFile::create(&path, process::id()).map(drop).unwrap();
    assert_eq!(names(&directory), 1, "only who is told to removes it");
}

#[test]
fn what_is_no_pid_file_is_not_overwritten() {
    let (directory, path) = place();
    let long = "root:x:0:0:root:/root:/bin/sh\n".repeat(9);
    fs::write(&path, &long).unwrap();
    let error = PidFile::create(&path, process::id()).unwrap_err();
    assert!(error.to_string().contains("no pid file"), "{error}");
    assert_eq!(fs::read_to_string(&path).unwrap(), long);
    let error = PidFile::create(directory.path(), process::id()).unwrap_err();
    assert!(error.is_config() && error.to_string().contains("no plain file"), "{error}");
    let error = PidFile::create(&directory.path().join("no/s.pid"), process::id()).unwrap_err();
    assert!(error.is_config() && error.to_string().contains("no directory"), "{error}");
}
