//! `tine rollout`: a reload with a trial, begun, looked at, hurried or called off.

use std::time::Duration;

use clap::{Args, Subcommand};
use tine::control::{Canary, Client, RolloutStatus, TrialStatus};
use tine::log::escaped;

use crate::args::{EXIT_CODES, Which, seconds};
use crate::failure::{Failure, print, print_json};

/// How long a reload may take beside its trial.
const REST: Duration = Duration::from_secs(120);

#[derive(Debug, Subcommand)]
pub(crate) enum Rollout {
    /// Try the new program with a share of the connections, and replace all workers if it does well
    ///
    /// As `tine reload`, but first only some workers are replaced. They get their share of new connections, and what they
    /// do is compared with what the others do. If more of their requests fail (over HTTP: answers of 500 and above), if one of
    /// them crashes or hangs, or if they have had too few requests to tell, the old program and workers come back, and the
    /// reason is said here.
    Start(Start),
    /// Show the rollout that is under way, or how the last one ended
    Status(Look),
    /// End the trial: replace all workers now
    Promote(Only),
    /// Have the old program and workers come back
    Abort(Only),
}

#[derive(Debug, Args)]
#[command(after_help = EXIT_CODES)]
pub(crate) struct Start {
    #[command(flatten)]
    which: Which,

    /// The share of new connections that the new workers get, in percent; so many of the workers, rounded up, are replaced
    #[arg(long, value_name = "PERCENT", default_value = "5", value_parser = share)]
    canary: u32,

    /// How many requests they must answer, or else nothing is proved
    #[arg(long, value_name = "N", default_value_t = 100)]
    requests: u64,

    /// How long they are watched
    #[arg(long, value_name = "SECONDS", default_value = "60", value_parser = seconds)]
    observe: Duration,

    /// How many more of a hundred requests may fail than fail in the old workers
    #[arg(long, value_name = "PERCENT", default_value = "1", value_parser = thousandths)]
    errors: u32,

    /// Replace the others only after `tine rollout promote`
    #[arg(long)]
    hold: bool,

    /// Say the rollout's number, and do not wait for its end
    #[arg(long)]
    detach: bool,

    /// How long to wait for its end; it goes on after that [default: the time of --observe and two minutes; with --hold a
    /// day]
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    timeout: Option<Duration>,
}

#[derive(Debug, Args)]
#[command(after_help = EXIT_CODES)]
pub(crate) struct Look {
    #[command(flatten)]
    which: Which,

    /// As JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
#[command(after_help = EXIT_CODES)]
pub(crate) struct Only {
    #[command(flatten)]
    which: Which,
}

pub(crate) fn run(typed: Rollout) -> Result<(), Failure> {
    match typed {
        Rollout::Start(typed) => start(typed),
        Rollout::Status(typed) => status(typed),
        Rollout::Promote(typed) => Ok(Client::find(&typed.which.into())?.promote()?),
        Rollout::Abort(typed) => Ok(Client::find(&typed.which.into())?.abort()?),
    }
}

fn start(typed: Start) -> Result<(), Failure> {
    let Start { which, canary: share, requests, observe, errors, hold, detach, timeout } = typed;
    let client = Client::find(&which.into())?;
    let number = client.begin_rollout(Canary { share, requests, observe, errors, hold })?;
    if detach {
        return print(&format!("{number}\n"));
    }
    let usual = if hold { Duration::from_secs(24 * 3600) } else { observe.saturating_add(REST) };
    client.wait_reloaded(number, timeout.unwrap_or(usual))?;
    Ok(())
}

fn status(typed: Look) -> Result<(), Failure> {
    let status = Client::find(&typed.which.into())?.status()?;
    if typed.json {
        let both = serde_json::json!({ "rollout": status.rollout, "last": status.reload });
        return print_json(serde_json::to_string_pretty(&both));
    }
    let last = status.reload.as_ref().map(|last| match last.failure.as_str() {
        "" => format!("rollout {}: went well", last.number),
        why => format!("rollout {}: failed: {}", last.number, escaped(why)),
    });
    let text = status.rollout.as_ref().map(line).or(last);
    print(&format!("{}\n", text.unwrap_or_else(|| "there was no rollout yet".to_owned())))
}

/// A rollout that is under way, in one line.
pub(crate) fn line(rollout: &RolloutStatus) -> String {
    let RolloutStatus { number, phase, trial, .. } = rollout;
    match trial {
        None => format!("rollout {number}: {}", escaped(phase)),
        Some(trial) => format!("rollout {number}: {}", trial_text(trial)),
    }
}

fn trial_text(trial: &TrialStatus) -> String {
    let TrialStatus { workers, seconds, observe, requests, errors, .. } = trial;
    let (least, hold) = (trial.least_requests, if trial.hold { ", held" } else { "" });
    let share = trial.share * 100.0;
    format!(
        "{workers} new workers on trial with {share} % of the connections for {seconds:.0} of {observe:.0} s{hold}: \
         {} connections, {requests} of {least} requests, {errors} failed; the others {}, {}, {}",
        trial.connections, trial.old_connections, trial.old_requests, trial.old_errors
    )
}

/// A part of a hundred, as thousandths.
fn thousandths(text: &str) -> Result<u32, String> {
    let number = text.trim_end_matches('%').trim_end().parse::<f64>().ok();
    let number = number.filter(|number| (0.0..=100.0).contains(number));
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it is 0 to 1000")]
    let thousandths = number.map(|number| (number * 10.0).round() as u32);
    thousandths.ok_or_else(|| "it is a part of a hundred, such as 5 or 0.5".to_owned())
}

fn share(text: &str) -> Result<u32, String> {
    match thousandths(text)? {
        0 => Err("it is more than nothing: 0.1 is the least".to_owned()),
        share => Ok(share),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_of_a_hundred_are_read_with_a_decimal() {
        assert_eq!(
            (thousandths("5"), thousandths("0.5%"), share("100")),
            (Ok(50), Ok(5), Ok(1000))
        );
        for wrong in ["", "x", "-1", "101", "NaN"] {
            assert!(thousandths(wrong).is_err(), "{wrong}");
        }
        assert!(share("0").is_err() && share("0.01").is_err());
    }
}
