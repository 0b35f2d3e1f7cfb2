//! `tine status`, `stop` and `reload`: what is asked of a server that runs.

use tine::control::Client;

use crate::args::{Reload, Status, Stop};
use crate::failure::{Failure, print, print_json, with_causes};
use crate::table;

pub(crate) fn status(typed: Status) -> Result<(), Failure> {
    let mut status = Client::find(&typed.which.into())?.status()?;
    if typed.ready {
        let text = format!("not ready: {}", status.phase);
        return if status.ready { Ok(()) } else { Err(Failure::Reason(1, text)) };
    }
    status.measure();
    match typed.json {
        true => print_json(serde_json::to_string_pretty(&status)),
        false => print(&table::of(&status)),
    }
}

pub(crate) fn stop(typed: Stop) -> Result<(), Failure> {
    Ok(Client::find(&typed.which.into())?.stop(typed.now, typed.timeout)?)
}

pub(crate) fn reload(typed: Reload) -> Result<(), Failure> {
    let reloaded = Client::find(&typed.which.into())?.reload(typed.timeout);
    // What the new program has said of its configuration has lines.
    reloaded.map(drop).map_err(|error| Failure::Lines(error.exit_code(), with_causes(&error)))
}
