//! The pid file against the processes and files that may be there.

use super::*;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
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
fn a_number_that_is_another_process_s_by_now_stops_nobody() {
    let (directory, path) = place();
    let sleeper = Sleeper::new();
    for number in [sleeper.0.id(), 1, std::os::unix::process::parent_id()] {
        fs::write(&path, format!("{number}\n/more\n")).unwrap();
        assert_eq!(PidFile::check(&path).unwrap(), None);
        let file = PidFile::create(&path, process::id()).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), format!("{}\n", process::id()));
        assert_eq!(PidFile::check(&path).unwrap(), Some(process::id()));
        let error = PidFile::create(&path, process::id()).unwrap_err();
        assert!(error.is_config() && error.to_string().contains("runs: stop it"), "{error}");
        file.remove().unwrap();
    }
    assert_eq!(names(&directory), 0);
}

#[test]
fn what_killed_processes_left_beside_it_is_swept_and_nothing_else() {
    let (directory, path) = place();
    let sleeper = Sleeper::new();
    let (alive, dead) = (sleeper.0.id(), 0x3fff_ffff);
    let at = |name: &str| directory.path().join(name);
    let old = std::time::SystemTime::now() - Duration::from_secs(3600);
    let make = |name: String, time: Option<std::time::SystemTime>| {
        let file = File::create(at(&name)).unwrap();
        time.map_or(Ok(()), |time| file.set_modified(time)).unwrap();
        name
    };
    let swept = [
        make(format!(".service.pid.{dead}-0"), None),
        make(format!(".service.pid.{dead}-17"), None),
        make(format!(".service.pid.{alive}-0"), Some(old)),
    ];
    let stays = [
        make(format!(".service.pid.{alive}-1"), None),
        make(format!(".other.pid.{dead}-0"), None),
        make(format!(".service.pid.{dead}"), None),
        make(format!(".service.pid.{dead}-x"), None),
        make(format!(".service.pid.{alive}-2"), Some(old)),
    ];
    let locked = File::open(at(&stays[4])).unwrap();
    locked.lock().unwrap();
    PidFile::create(&path, process::id()).unwrap().remove().unwrap();
    assert!(swept.iter().all(|name| !at(name).exists()), "{swept:?}");
    assert!(stays.iter().all(|name| at(name).exists()), "{stays:?}");
}

#[test]
fn a_link_of_another_user_s_is_not_followed() {
    if tine_os::privilege::effective_uid() != 0 {
        assert!(std::env::var_os("TINE_REQUIRE_PEERS").is_none(), "this test takes root");
        return;
    }
    let (directory, path) = place();
    let [other, secret] = ["other", "secret"].map(|name| directory.path().join(name));
    fs::create_dir(&other).unwrap();
    std::os::unix::fs::chown(&other, Some(54_321), None).unwrap();
    std::os::unix::fs::symlink(directory.path(), other.join("way")).unwrap();
    fs::write(&secret, "1\n").unwrap();
    let error = PidFile::create(&other.join("way/secret"), process::id()).unwrap_err();
    assert!(error.is_config(), "{error:?}");
    assert!(crate::statusfile::StatusFile::prepare(&other.join("way/secret")).is_err());
    assert_eq!(fs::read_to_string(&secret).unwrap(), "1\n");
    // A directory of the workers' user is no obstacle in itself.
    PidFile::create(&other.join("pid"), process::id()).unwrap().remove().unwrap();
    // And root's own links are followed, as /var/run is.
    std::os::unix::fs::symlink(&other, directory.path().join("run")).unwrap();
    PidFile::create(&directory.path().join("run/pid"), process::id()).unwrap().remove().unwrap();
    assert!(!path.exists());
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
