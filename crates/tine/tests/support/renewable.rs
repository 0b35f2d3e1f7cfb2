//! A fixture whose program and configuration can be replaced while it runs.

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use testkit::{Server, TempDir};
use tine::control::Client;

use super::{Service, start_in};

pub const PATIENCE: Duration = Duration::from_secs(20);

/// A fixture whose file, and a file with further arguments, can be replaced.
pub struct Renewable {
    pub service: Service,
    pub program: PathBuf,
    pub more: PathBuf,
    pub control: PathBuf,
}

impl Renewable {
    #[track_caller]
    pub fn start(arguments: &str, more: &str) -> Self {
        Self::start_with(arguments, more, |server| server)
    }

    /// The same, started in another way.
    #[track_caller]
    pub fn start_with(arguments: &str, more: &str, how: impl FnOnce(Server) -> Server) -> Self {
        let directory = TempDir::new().expect("a directory");
        let at = |name| directory.path().join(name);
        let (program, file, control) = (at("program"), at("more"), at("control"));
        install(testkit::bin("fixture").as_ref(), &program);
        fs::write(&file, more).expect("a file");
        let words = format!(
            "--listen 127.0.0.1:0 --pid-file {} {arguments} --more {}",
            at("pid").display(),
            file.display()
        );
        let service = start_in(directory, &words, |server| how(server.program(&program)));
        service.wait_line("listening on");
        Self { service, program, more: file, control }
    }

    /// Other arguments from the next start on.
    pub fn change(&self, more: &str) {
        fs::write(&self.more, more).expect("the file");
    }

    pub fn reload(&self) -> Result<u32, String> {
        let client = Client::connect(&self.control).map_err(|error| error.to_string())?;
        client.reload(PATIENCE).map_err(|error| error.to_string())
    }

    /// A reload that must fail; why. The old generation has not been touched.
    #[track_caller]
    pub fn refused(&self, workers: &[u32]) -> String {
        let generation = self.service.status().generation;
        let reason = self.reload().expect_err("it cannot reload");
        let status = self.service.status();
        assert_eq!((status.generation, &*status.phase), (generation, "running"), "{reason}");
        let told = status.reload.expect("there was one").failure;
        // What the program has said is escaped in an error, line by line.
        let lines: Vec<String> = told.lines().map(tine::log::escaped).collect();
        assert!(reason.contains(&lines.join("\n| ")), "{reason} / {told}");
        let serving = status.workers.iter().filter(|worker| worker.stage == "serving");
        let serving: Vec<u32> = serving.map(|worker| worker.pid).collect();
        assert_eq!(serving, workers, "{reason}");
        assert_eq!(self.service.ask("generation"), generation.to_string());
        self.service.wait_line("reload failed");
        reason
    }
}

/// Puts a program in the place of another, as a deploy does: by rename. Copied by another process: what a sibling test
/// forks meanwhile would have the copy open to write, and it could not be executed.
pub fn install(from: &std::path::Path, to: &std::path::Path) {
    let new = to.with_extension("new");
    assert!(Command::new("cp").arg(from).arg(&new).status().is_ok_and(|status| status.success()));
    fs::rename(&new, to).expect("in its place");
}
