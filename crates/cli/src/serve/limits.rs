//! The flags that say what a client may take of a worker.

use std::time::Duration;

use clap::Args;
use tine::Bytes;
use tine_http::Limits;

use crate::args::seconds;

/// The longest time: a year. Whatever is longer was mistyped.
const TIME_MOST: Duration = Duration::from_secs(365 * 24 * 3600);
/// The longest target, in bytes: more the parser of targets cannot take.
const TARGET_MOST: u64 = 65_534;
/// The longest header, in bytes: it is held in memory for each connection that sends one.
const HEADER_MOST: u64 = 16 << 20;
/// The most streams of a connection, as RFC 9113 counts them.
const STREAMS_MOST: i64 = 0x7fff_ffff;

/// See the module.
#[derive(Debug, Args)]
#[command(next_help_heading = "Limits of HTTP")]
pub(crate) struct HttpLimits {
    /// How long a request's header may take, from its first byte on; then 408
    ///
    /// A worker that other clients wait for gives a header 250 ms, or four round trips to a distant client.
    #[arg(long, value_name = "SECONDS", default_value = "15", value_parser = time)]
    header_timeout: Duration,

    /// How long the service may wait in all for a body that is slower than --min-body-rate; then 408
    #[arg(long, value_name = "SECONDS", default_value = "20", value_parser = time)]
    body_timeout: Duration,

    /// Bytes of a body that make one second of waiting good
    #[arg(long, value_name = "SIZE", default_value = "500", value_parser = rate)]
    min_body_rate: u32,

    /// How long a connection without a request is kept open (keep-alive)
    ///
    /// Set it longer than the idle time of a load balancer in front: a request that meets a closing connection is answered
    /// 502 there. A worker that other clients wait for closes silent connections sooner.
    #[arg(long, value_name = "SECONDS", default_value = "75", value_parser = time)]
    #[arg(visible_alias = "keep-alive-timeout")]
    idle_timeout: Duration,

    /// How long a client may take nothing of its answer; then the connection ends
    #[arg(long, value_name = "SECONDS", default_value = "60", value_parser = time)]
    send_timeout: Duration,

    /// How long a client that was refused while it sends is read from, so that it sees the answer
    #[arg(long, value_name = "SECONDS", default_value = "30", value_parser = time)]
    linger_timeout: Duration,

    /// How long a TLS handshake may take
    #[arg(long, value_name = "SECONDS", default_value = "10", value_parser = time)]
    handshake_timeout: Duration,

    /// The longest request target (path and query); longer ones are answered 414
    #[arg(long, value_name = "SIZE", default_value = "8K", value_parser = target)]
    max_target_size: usize,

    /// The longest request header, its first line included; longer ones are answered 431
    #[arg(long, value_name = "SIZE", default_value = "64K", value_parser = header)]
    max_header_size: usize,

    /// The longest request body; longer ones are answered 413; 0 for no limit
    #[arg(long, value_name = "SIZE", default_value = "1G", value_parser = size)]
    max_body_size: u64,

    /// How many requests a connection may bring; 0 for no limit
    #[arg(long, value_name = "N", default_value_t = 10_000)]
    max_requests_per_connection: u64,

    /// How many requests at once an HTTP/2 connection may bring
    #[arg(long, value_name = "N", default_value_t = 100)]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=STREAMS_MOST))]
    max_streams: u32,
}

impl HttpLimits {
    pub(crate) fn limits(&self) -> Limits {
        Limits {
            target_bytes: self.max_target_size,
            header_bytes: self.max_header_size,
            handshake_timeout: self.handshake_timeout,
            header_timeout: self.header_timeout,
            idle_timeout: self.idle_timeout,
            body_bytes: self.max_body_size,
            body_timeout: self.body_timeout,
            body_rate: self.min_body_rate,
            send_timeout: self.send_timeout,
            linger_timeout: self.linger_timeout,
            requests: self.max_requests_per_connection,
            streams: self.max_streams,
            ..Limits::default()
        }
    }
}

/// A time in which something can happen.
fn time(text: &str) -> Result<Duration, String> {
    match seconds(text)? {
        Duration::ZERO => Err("0 would leave no time for anything".to_owned()),
        time if time > TIME_MOST => Err("it is at most a year, 31536000".to_owned()),
        time => Ok(time),
    }
}

fn size(text: &str) -> Result<u64, String> {
    let size: Bytes = text.parse().map_err(|error: tine::Error| error.to_string())?;
    Ok(size.0)
}

/// A size within these bounds.
fn within<T: TryFrom<u64>>(text: &str, least: u64, most: u64) -> Result<T, String> {
    let size = size(text)?;
    let fits = (least..=most).contains(&size);
    let value = fits.then(|| T::try_from(size).ok()).flatten();
    value.ok_or_else(|| format!("it is between {least} and {most} bytes"))
}

fn rate(text: &str) -> Result<u32, String> {
    within(text, 1, u32::MAX.into())
}

fn target(text: &str) -> Result<usize, String> {
    within(text, 1, TARGET_MOST)
}

fn header(text: &str) -> Result<usize, String> {
    within(text, 256, HEADER_MOST)
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;

    #[derive(Debug, clap::Parser)]
    struct Line {
        #[command(flatten)]
        limits: HttpLimits,
    }

    fn parse(line: &str) -> Result<Limits, clap::Error> {
        let words = std::iter::once("tine").chain(line.split_whitespace());
        Line::try_parse_from(words).map(|line| line.limits.limits())
    }

    #[test]
    fn the_defaults_are_those_of_the_library() {
        let limits = parse("").expect("no flag is needed");
        assert_eq!(format!("{limits:?}"), format!("{:?}", Limits::default()));
    }

    #[test]
    fn each_flag_sets_its_own_limit() {
        let Limits { header_timeout, body_timeout, body_rate, idle_timeout, .. } = parse(
            "--header-timeout 1 --body-timeout 2 --min-body-rate 1K --keep-alive-timeout 3.5",
        )
        .expect("flags");
        let times = [header_timeout, body_timeout, idle_timeout].map(|time| time.as_millis());
        assert_eq!((times, body_rate), ([1000, 2000, 3500], 1024));
        let Limits { send_timeout, linger_timeout, handshake_timeout, streams, .. } =
            parse("--send-timeout 4 --linger-timeout 5 --handshake-timeout 6 --max-streams 7")
                .expect("flags");
        let times = [send_timeout, linger_timeout, handshake_timeout].map(|time| time.as_secs());
        assert_eq!((times, streams), ([4, 5, 6], 7));
        let Limits { target_bytes, header_bytes, body_bytes, requests, .. } = parse(
            "--max-target-size 1K --max-header-size 2K --max-body-size 3M --max-requests-per-connection 4",
        )
        .expect("flags");
        let sizes = (target_bytes, header_bytes, body_bytes, requests);
        assert_eq!(sizes, (1 << 10, 2 << 10, 3 << 20, 4));
    }

    #[test]
    fn values_that_cannot_be_meant_are_refused_by_name_and_with_the_way_out() {
        for (line, flag, reason) in [
            ("--header-timeout 0", "--header-timeout", "no time"),
            ("--idle-timeout soon", "--idle-timeout", "number of seconds"),
            ("--idle-timeout 1e18", "--idle-timeout", "at most a year"),
            ("--body-timeout inf", "--body-timeout", "number of seconds"),
            ("--max-header-size 1", "--max-header-size", "between 256 and 16777216 bytes"),
            ("--max-header-size 1T", "--max-header-size", "between 256 and 16777216 bytes"),
            ("--max-target-size 64K", "--max-target-size", "between 1 and 65534 bytes"),
            ("--max-body-size much", "--max-body-size", "a number of bytes, or one with K"),
            ("--max-body-size 1GB", "--max-body-size", "a number of bytes, or one with K"),
            ("--min-body-rate 0", "--min-body-rate", "between 1 and"),
            ("--max-streams 0", "--max-streams", "1..="),
            ("--max-requests-per-connection x", "--max-requests-per-connection", "invalid digit"),
        ] {
            let error = parse(line).expect_err(line).to_string();
            assert!(error.contains(flag) && error.contains(reason), "{line}: {error}");
        }
    }
}
