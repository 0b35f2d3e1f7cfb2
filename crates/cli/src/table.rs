//! The status of a server as people read it.

use std::fmt::Write as _;

use tine::Bytes;
use tine::control::{ListenerStatus, PoolStatus, Report, Status, WorkerStatus};
use tine::log::escaped as visible;

/// The columns of the workers' table. Numbers stand to the right.
const COLUMNS: [(&str, Side); 13] = [
    ("WORKER", Side::Right),
    ("PID", Side::Right),
    ("POOL", Side::Left),
    ("PLACE", Side::Right),
    ("GEN", Side::Right),
    ("STAGE", Side::Left),
    ("DOING", Side::Left),
    ("FOR", Side::Right),
    ("OPEN", Side::Right),
    ("CONNECTIONS", Side::Right),
    ("REQUESTS", Side::Right),
    ("PSS", Side::Right),
    ("AGE", Side::Right),
];

/// Reports that are shown.
const REPORTS: usize = 5;

#[derive(Clone, Copy)]
enum Side {
    Left,
    Right,
}

/// The whole of it: the server, its sockets, its pools, and a line a worker.
pub(crate) fn of(status: &Status) -> String {
    let mut text = format!(
        "tine {}, pid {}: {} for {}, generation {}\n",
        visible(&status.version),
        status.pid,
        visible(&status.phase),
        duration(status.uptime),
        status.generation
    );
    if let Some(rollout) = &status.rollout {
        line(&mut text, &crate::rollout::line(rollout));
    }
    if let Some(reload) = status.reload.as_ref().filter(|reload| !reload.failure.is_empty()) {
        let (ago, why) = (duration(reload.ago), visible(&reload.failure));
        line(&mut text, &format!("the last reload failed {ago} ago: {why}"));
    }
    for sockets in status.listeners.chunk_by(|_, next| next.shard.is_some_and(|shard| shard > 0)) {
        line(&mut text, &listener_line(sockets));
    }
    for pool in &status.pools {
        line(&mut text, &pool_line(pool));
    }
    text.push('\n');
    let rows = status.workers.iter().map(row).collect::<Vec<_>>();
    workers(&mut text, &rows);
    reports(&mut text, &status.reports);
    text
}

/// An address, and who waits at each of its sockets.
fn listener_line(sockets: &[ListenerStatus]) -> String {
    let address = sockets.first().map_or(String::new(), |socket| visible(&socket.address));
    let queued: Vec<String> = sockets.iter().map(|socket| socket.queued.to_string()).collect();
    match queued.len() {
        1 => format!("listening on {address}, {} queued", queued[0]),
        many => format!("listening on {address}, {many} sockets, {} queued", queued.join("+")),
    }
}

fn pool_line(pool: &PoolStatus) -> String {
    let size = match (pool.min, pool.max) {
        (_, max) if pool.every > 0.0 => {
            format!("every {}, at most {max} at once", duration(pool.every))
        }
        (min, max) if min == max => format!("{max} workers"),
        (min, max) => format!("{} of {min}..{max} workers", pool.wanted),
    };
    let mode = match pool.accept.as_str() {
        "" | "shared" => String::new(),
        other => format!(", {}", visible(other)),
    };
    format!(
        "pool {}: {size}{mode}: {} idle, {} busy, {} booting, {} draining; \
         {} connections, {} requests, {} exits, {} crashes",
        visible(&pool.name),
        pool.idle,
        pool.busy,
        pool.booting,
        pool.draining,
        pool.connections,
        pool.requests,
        pool.exits,
        pool.crashes
    )
}

/// The cells of [`COLUMNS`], and the current or last request and its client.
fn row(worker: &WorkerStatus) -> ([String; COLUMNS.len()], String) {
    let cells = [
        worker.worker.to_string(),
        worker.pid.to_string(),
        visible(&worker.pool),
        worker.place.to_string(),
        worker.generation.to_string(),
        visible(&worker.stage),
        visible(&worker.activity),
        duration(worker.in_state),
        worker.open.to_string(),
        worker.connections.to_string(),
        worker.requests.to_string(),
        worker.pss.map_or("-".to_owned(), |bytes| Bytes(bytes).to_string()),
        duration(worker.age),
    ];
    let request = [&worker.request, &worker.client].map(|text| visible(text)).join(" ");
    (cells, request)
}

fn workers(text: &mut String, rows: &[([String; COLUMNS.len()], String)]) {
    let widths: Vec<usize> = (0..COLUMNS.len())
        .map(|column| {
            let cells = rows.iter().map(|(cells, _)| cells[column].chars().count());
            cells.chain([COLUMNS[column].0.len()]).max().unwrap_or(0)
        })
        .collect();
    let mut add = |cells: &[&str], last: &str| {
        let mut row = String::new();
        for (index, cell) in cells.iter().enumerate() {
            let width = widths[index];
            // Writing to a string cannot fail.
            let _ = match COLUMNS[index].1 {
                Side::Left => write!(row, "{cell:<width$}  "),
                Side::Right => write!(row, "{cell:>width$}  "),
            };
        }
        row.push_str(last);
        line(text, row.trim_end());
    };
    add(&COLUMNS.map(|(name, _)| name), "REQUEST");
    for (cells, request) in rows {
        add(&cells.each_ref().map(String::as_str), request);
    }
}

/// What the last workers came to grief by, the newest first; the rest is in the log and the JSON.
fn reports(text: &mut String, reports: &[Report]) {
    if !reports.is_empty() {
        line(text, "\nlast reports, all of each in the log and with --json:");
    }
    for report in reports.iter().rev().take(REPORTS) {
        let Report { worker, pid, place, .. } = report;
        let (ago, pool) = (duration(report.ago), visible(&report.pool));
        let cause = visible(&report.cause);
        let mut said =
            format!("{ago} ago worker {worker} (pid {pid}, {pool} place {place}) {cause}");
        if !report.request.is_empty() {
            let _ = write!(said, "; {} {}", visible(&report.request), visible(&report.client));
        }
        line(text, &said);
    }
}

fn line(text: &mut String, line: &str) {
    text.push_str(line);
    text.push('\n');
}

/// Two units at most: `0.4s`, `12s`, `3m12s`, `4h05m`, `2d03h`.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a cast saturates")]
fn duration(seconds: f64) -> String {
    if seconds < 9.95 {
        return format!("{seconds:.1}s");
    }
    let whole = seconds.round() as u64;
    let (minutes, hours, days) = (whole / 60, whole / 3600, whole / 86_400);
    match whole {
        0..60 => format!("{whole}s"),
        60..3600 => format!("{minutes}m{:02}s", whole % 60),
        3600..86_400 => format!("{hours}h{:02}m", minutes % 60),
        _ => format!("{days}d{:02}h", hours % 24),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_status_is_a_header_and_a_line_a_worker() {
        let worker = json!({"worker": 1, "pool": "files", "pid": 4000, "stage": "serving",
                            "activity": "idle", "age": 75.0, "in_state": 3.0});
        let mut busy = worker.clone();
        busy["worker"] = 12.into();
        busy["request"] = "GET /\u{1b}[2J".into();
        busy["client"] = "10.0.0.1".into();
        busy["pss"] = (3 << 19).into();
        let report = json!({"ago": 61.0, "worker": 7, "pid": 3999, "pool": "files", "place": 2,
                            "cause": "panicked", "request": "GET /\u{7}", "client": "10.0.0.2"});
        let pool = json!({"name": "files", "min": 1, "max": 4, "wanted": 2, "idle": 1, "busy": 1,
                          "accept": "sharded",
                          "requests": 77});
        let status = json!({"version": "1.2\u{9b}2J", "pid": 42, "phase": "running\u{1b}c\n", "generation": 3,
                            "uptime": 7384.0, "listeners": [
                                {"address": "127.0.0.1:80"},
                                {"address": "127.0.0.1:81", "shard": 0, "queued": 3},
                                {"address": "127.0.0.1:81", "shard": 1}],
                            "pools": [pool], "workers": [worker, busy], "reports": [report]});
        let text = of(&serde_json::from_value(status).expect("a status"));
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(
            lines[0],
            "tine 1.2\\u{9b}2J, pid 42: running\\u{1b}c\\n for 2h03m, generation 3"
        );
        assert_eq!(lines[1], "listening on 127.0.0.1:80, 0 queued");
        assert_eq!(lines[2], "listening on 127.0.0.1:81, 2 sockets, 3+0 queued");
        let pool = "pool files: 2 of 1..4 workers, sharded: 1 idle, 1 busy";
        assert!(lines[3].starts_with(pool), "{text}");
        assert!(lines[3].contains("77 requests"), "{text}");
        assert!(lines[5].starts_with("WORKER   PID  POOL "), "{text}");
        assert!(lines[6].starts_with("     1  4000  files "), "{text}");
        assert!(
            lines[6].contains("serving  idle   3.0s") && lines[6].ends_with("-  1m15s"),
            "{text}"
        );
        assert!(lines[7].contains("  1.5 MiB  "), "{text}");
        assert!(lines[7].ends_with("1m15s  GET /\\u{1b}[2J 10.0.0.1"), "{text}");
        assert!(lines[9].starts_with("last reports"), "{text}");
        let report = "1m01s ago worker 7 (pid 3999, files place 2) panicked; GET /\\u{7} 10.0.0.2";
        assert_eq!((lines[10], lines.len()), (report, 11));
    }

    #[test]
    fn durations_have_two_units_at_most() {
        for (seconds, expected) in [
            (0.0, "0.0s"),
            (9.96, "10s"),
            (59.7, "1m00s"),
            (192.0, "3m12s"),
            (14_700.0, "4h05m"),
            (183_600.0, "2d03h"),
        ] {
            assert_eq!(duration(seconds), expected);
        }
    }
}
