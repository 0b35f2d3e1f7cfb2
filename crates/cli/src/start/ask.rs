//! `--restart` and `--stop`: what is asked of a superdaemon that runs, known by its pid file.

use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant};

use tine::control::{By, Client};

use crate::args::Control;
use crate::failure::Failure;

/// Between two looks at whether old workers are gone.
const LOOK: Duration = Duration::from_millis(50);

/// The pid that a file has.
pub(super) fn pid_in(path: &Path) -> Result<u32, Failure> {
    let shown = path.display();
    let failed = |why: String| Failure::Reason(2, format!("the pid file {shown}: {why}"));
    let text = std::fs::read_to_string(path).map_err(|error| failed(error.to_string()))?;
    let pid = text.split_whitespace().next().and_then(|word| word.parse().ok());
    pid.ok_or_else(|| failed("there is no pid in it".to_owned()))
}

/// The superdaemon with this pid, by the control socket that was named or by the one it has anyway.
pub(super) fn find(pid: u32, control: Option<&Control>) -> Result<Client, Failure> {
    let by = match control {
        Some(Control::At(path)) => By::Path(path.clone()),
        Some(Control::Off) | None => By::Pid(pid),
    };
    let client = Client::find(&by)?;
    match client.pid() {
        Some(other) if other != pid => {
            let path = client.path().display();
            Err(Failure::Reason(
                2,
                format!("{path} is process {other}'s, and the pid file says {pid}"),
            ))
        }
        _ => Ok(client),
    }
}

/// Has it start a new generation, and returns when that serves, with `alone`: when the old one is gone.
pub(super) fn restart(client: &Client, timeout: Duration, alone: bool) -> Result<(), Failure> {
    let end = Instant::now().checked_add(timeout);
    let generation = client.reload(timeout)?;
    if !alone {
        return Ok(());
    }
    loop {
        let status = client.status()?;
        let old = status.workers.iter().filter(|it| it.generation < u64::from(generation));
        let old: Vec<String> = old.map(|worker| worker.pid.to_string()).collect();
        if old.is_empty() {
            return Ok(());
        }
        if end.is_some_and(|end| end <= Instant::now()) {
            let old = old.join(", ");
            let text = format!("generation {generation} serves; old workers still run: {old}");
            return Err(Failure::Reason(1, text));
        }
        sleep(LOOK);
    }
}

/// Has it stop, and returns when it has.
pub(super) fn stop(client: &Client, timeout: Duration, now: bool) -> Result<(), Failure> {
    Ok(client.stop(now, timeout)?)
}
