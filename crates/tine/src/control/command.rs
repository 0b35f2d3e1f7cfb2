//! The words of the control protocol: requests read from a line, answers written to one.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::io;
use std::time::Duration;

use super::{Canary, REPLY_MAX, Status, VERSION};

/// What a client asks the supervisor for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Request {
    /// How is everybody?
    Status,
    /// End the service; `now` does not wait for what is in flight.
    Stop {
        /// At once.
        now: bool,
    },
    /// Replace program, configuration and workers.
    Reload,
    /// The same, with a trial first.
    Rollout(Canary),
    /// The trial is over: go on.
    Promote,
    /// Go back.
    Abort,
    /// How did that reload end?
    Reloaded(u64),
    /// One worker more.
    Grow,
    /// One worker fewer.
    Shrink,
}

/// What the supervisor answers.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Reply {
    /// It is done, or on its way.
    Done,
    /// To [`Request::Status`].
    Status(Box<Status>),
    /// To [`Request::Reload`]: which one answers it. To [`Request::Reloaded`]: it has not ended yet.
    Reloading(u64),
    /// The reload has ended well; the generation that serves.
    Reloaded(u32),
    /// It cannot be done, for this reason.
    Refused(String),
}

/// What a line asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verb {
    /// Is anybody there? Who?
    Ping,
    /// Tell me when the service ends.
    Wait,
    /// What the supervisor answers.
    Ask(Request),
}

/// Why a line is not done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Unread {
    /// It is no JSON object: who knows what the next line would be.
    Malformed(String),
    /// It says something that is not known here.
    Unknown(String),
}

const VERBS: &str =
    "ping, status, stop, wait, reload, rollout, promote, abort, reloaded, grow, shrink";

impl Verb {
    /// Reads a line.
    pub(super) fn read(line: &[u8]) -> Result<Self, Unread> {
        let object = match serde_json::from_slice(line) {
            Ok(Value::Object(object)) => object,
            Ok(_) => return Err(Unread::Malformed("a request is a JSON object".into())),
            Err(error) => return Err(Unread::Malformed(format!("a request is JSON: {error}"))),
        };
        check_version(&object).and_then(|()| Self::of(&object)).map_err(Unread::Unknown)
    }

    fn of(object: &Map<String, Value>) -> Result<Self, String> {
        let verb = object.get("do").and_then(Value::as_str);
        let verb =
            verb.ok_or_else(|| format!("\"do\" is missing, or no string; known: {VERBS}"))?;
        let (is, fields): (Self, &[&str]) = match verb {
            "ping" => (Self::Ping, &[]),
            "wait" => (Self::Wait, &[]),
            "status" => (Self::Ask(Request::Status), &[]),
            "stop" => (Self::Ask(Request::Stop { now: now(object)? }), &["now"]),
            "reload" => (Self::Ask(Request::Reload), &[]),
            "rollout" => (Self::Ask(Request::Rollout(canary(object)?)), &CANARY),
            "promote" => (Self::Ask(Request::Promote), &[]),
            "abort" => (Self::Ask(Request::Abort), &[]),
            "reloaded" => (Self::Ask(Request::Reloaded(which(object)?)), &["reload"]),
            "grow" => (Self::Ask(Request::Grow), &[]),
            "shrink" => (Self::Ask(Request::Shrink), &[]),
            _ => return Err(format!("{verb:?} is not known; known: {VERBS}")),
        };
        let known = [&["tine", "do"], fields].concat();
        match object.keys().find(|key| !known.contains(&key.as_str())) {
            Some(key) => {
                let known = known.join(", ");
                Err(format!("the field {key:?} of {verb:?} is not known; known: {known}"))
            }
            None => Ok(is),
        }
    }

    /// Whether asking again does no more than asking once, after a connection that ended like this: nobody has read
    /// the line, or it only asks.
    pub(super) fn may_be_repeated_after(self, ending: io::ErrorKind) -> bool {
        match ending {
            io::ErrorKind::ConnectionReset => true,
            io::ErrorKind::UnexpectedEof => matches!(
                self,
                Self::Ping | Self::Ask(Request::Status | Request::Reload | Request::Reloaded(_))
            ),
            _ => false,
        }
    }

    /// Writes the line, for a client.
    pub(super) fn line(self) -> String {
        let (verb, more) = match self {
            Self::Ping => ("ping", String::new()),
            Self::Wait => ("wait", String::new()),
            Self::Ask(Request::Status) => ("status", String::new()),
            Self::Ask(Request::Stop { now: true }) => ("stop", r#","now":true"#.to_owned()),
            Self::Ask(Request::Stop { now: false }) => ("stop", String::new()),
            Self::Ask(Request::Reload) => ("reload", String::new()),
            Self::Ask(Request::Rollout(canary)) => ("rollout", canary_fields(&canary)),
            Self::Ask(Request::Promote) => ("promote", String::new()),
            Self::Ask(Request::Abort) => ("abort", String::new()),
            Self::Ask(Request::Reloaded(which)) => ("reloaded", format!(",\"reload\":{which}")),
            Self::Ask(Request::Grow) => ("grow", String::new()),
            Self::Ask(Request::Shrink) => ("shrink", String::new()),
        };
        format!("{{\"tine\":{VERSION},\"do\":\"{verb}\"{more}}}\n")
    }
}

fn check_version(object: &Map<String, Value>) -> Result<(), String> {
    match object.get("tine") {
        Some(version) if version.as_u64() == Some(VERSION) => Ok(()),
        Some(version) => {
            Err(format!("version {version} of \"tine\" is not known; known: {VERSION}"))
        }
        None => Err(format!("the version is missing: \"tine\":{VERSION}")),
    }
}

fn now(object: &Map<String, Value>) -> Result<bool, String> {
    match object.get("now") {
        None => Ok(false),
        Some(Value::Bool(now)) => Ok(*now),
        Some(other) => Err(format!("\"now\" is {other}; known: true, false")),
    }
}

const CANARY: [&str; 5] = ["share", "requests", "observe", "errors", "hold"];

/// Those that are not there are as by default.
fn canary(object: &Map<String, Value>) -> Result<Canary, String> {
    let number = |name: &str, otherwise: u64, most: u64| match object.get(name) {
        None => Ok(otherwise),
        Some(value) => {
            let number = value.as_u64().filter(|number| *number <= most);
            number.ok_or_else(|| format!("{name:?} is {value}; known: 0 to {most}"))
        }
    };
    let usual = Canary::default();
    let part = |name, otherwise: u32| {
        number(name, otherwise.into(), 1000).map(|it| u32::try_from(it).unwrap_or(1000))
    };
    let milliseconds = u64::try_from(usual.observe.as_millis()).unwrap_or(u64::MAX);
    let canary = Canary {
        share: part("share", usual.share)?,
        requests: number("requests", usual.requests, u64::MAX)?,
        observe: Duration::from_millis(number("observe", milliseconds, u64::MAX)?),
        errors: part("errors", usual.errors)?,
        hold: match object.get("hold") {
            None => usual.hold,
            Some(Value::Bool(hold)) => *hold,
            Some(other) => return Err(format!("\"hold\" is {other}; known: true, false")),
        },
    };
    match canary.share {
        0 => Err("\"share\" is 0; known: 1 to 1000".to_owned()),
        _ => Ok(canary),
    }
}

fn canary_fields(canary: &Canary) -> String {
    let Canary { share, requests, observe, errors, hold } = canary;
    let observe = observe.as_millis();
    format!(
        ",\"share\":{share},\"requests\":{requests},\"observe\":{observe},\"errors\":{errors},\"hold\":{hold}"
    )
}

fn which(object: &Map<String, Value>) -> Result<u64, String> {
    let number = object.get("reload").and_then(Value::as_u64);
    number.ok_or_else(|| "\"reload\" is missing, or no number".to_owned())
}

/// A line that answers one.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Answer {
    tine: u64,
    pub(super) ok: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) error: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) pid: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) status: Option<Box<Status>>,
    /// The reload that is waited for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) reload: Option<u64>,
    /// It has ended; what serves since.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) generation: Option<u32>,
}

impl Answer {
    pub(super) fn ok() -> Self {
        Self { tine: VERSION, ok: true, ..Self::default() }
    }

    pub(super) fn here() -> Self {
        Self { pid: Some(std::process::id()), ..Self::ok() }
    }

    pub(super) fn error(text: impl Into<String>) -> Self {
        Self { tine: VERSION, error: Some(text.into()), ..Self::default() }
    }

    /// Writes the line; one that would be longer than [`REPLY_MAX`] is an error that says so.
    pub(super) fn line(&self) -> Vec<u8> {
        let mut line = Bounded(Vec::new());
        if serde_json::to_writer(&mut line, self).is_err() {
            return Self::error(format!("the answer is longer than {REPLY_MAX} bytes")).line();
        }
        line.0.push(b'\n');
        line.0
    }
}

impl From<Reply> for Answer {
    fn from(reply: Reply) -> Self {
        match reply {
            Reply::Done => Self::ok(),
            Reply::Status(status) => Self { status: Some(status), ..Self::ok() },
            Reply::Reloading(which) => Self { reload: Some(which), ..Self::ok() },
            Reply::Reloaded(generation) => Self { generation: Some(generation), ..Self::ok() },
            Reply::Refused(text) => Self::error(text),
        }
    }
}

/// Bytes that do not become more than fit into a reply with its newline.
struct Bounded(Vec<u8>);

impl io::Write for Bounded {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.0.len() + bytes.len() >= REPLY_MAX {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        self.0.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [Verb; 12] = [
        Verb::Ping,
        Verb::Wait,
        Verb::Ask(Request::Status),
        Verb::Ask(Request::Stop { now: false }),
        Verb::Ask(Request::Stop { now: true }),
        Verb::Ask(Request::Reload),
        Verb::Ask(Request::Reloaded(7)),
        Verb::Ask(Request::Rollout(Canary {
            share: 1000,
            requests: 0,
            observe: Duration::from_millis(1500),
            errors: 7,
            hold: true,
        })),
        Verb::Ask(Request::Promote),
        Verb::Ask(Request::Abort),
        Verb::Ask(Request::Grow),
        Verb::Ask(Request::Shrink),
    ];

    #[test]
    fn what_a_client_writes_a_server_reads() {
        for verb in ALL {
            let line = verb.line();
            assert_eq!(Verb::read(line.trim_end().as_bytes()), Ok(verb), "{line}");
        }
    }

    #[test]
    fn what_is_not_known_is_named_with_what_is() {
        for (line, named, known) in [
            (r#"{"do":"ping"}"#, "version is missing", "\"tine\":1"),
            (r#"{"tine":2,"do":"ping"}"#, "version 2", "known: 1"),
            (r#"{"tine":"1","do":"ping"}"#, "version \"1\"", "known: 1"),
            (r#"{"tine":1}"#, "\"do\" is missing", VERBS),
            (r#"{"tine":1,"do":7}"#, "\"do\" is missing, or no string", VERBS),
            (r#"{"tine":1,"do":"explode"}"#, "\"explode\"", VERBS),
            (r#"{"tine":1,"do":"ping","x":1}"#, "field \"x\" of \"ping\"", "known: tine, do"),
            (r#"{"tine":1,"do":"stop","npw":true}"#, "\"npw\" of \"stop\"", "tine, do, now"),
            (r#"{"tine":1,"do":"reloaded"}"#, "\"reload\" is missing", "no number"),
            (r#"{"tine":1,"do":"rollout","share":0}"#, "\"share\" is 0", "1 to 1000"),
            (r#"{"tine":1,"do":"rollout","errors":1001}"#, "\"errors\" is 1001", "0 to 1000"),
            (r#"{"tine":1,"do":"stop","now":1}"#, "\"now\" is 1", "known: true, false"),
        ] {
            let Err(Unread::Unknown(text)) = Verb::read(line.as_bytes()) else { panic!("{line}") };
            assert!(text.contains(named) && text.contains(known), "{line}: {text}");
        }
    }

    #[test]
    fn what_is_no_object_is_malformed() {
        let deep = "[".repeat(4096);
        for line in ["", "{", "[]", "1", "ping", "{\"tine\":1,\"do\":\"ping\"} x", "\u{0}", &deep] {
            let answer = Verb::read(line.as_bytes());
            assert!(matches!(answer, Err(Unread::Malformed(_))), "{line}: {answer:?}");
        }
        assert!(matches!(Verb::read(b"{\"tine\":1,\"\xff\":1}"), Err(Unread::Malformed(_))));
    }

    #[test]
    fn an_answer_too_long_says_so_instead() {
        let status = Status { phase: "x".repeat(REPLY_MAX), ..Status::default() };
        let line = Answer::from(Reply::Status(Box::new(status))).line();
        let answer: Answer = serde_json::from_slice(&line).unwrap();
        assert!(!answer.ok && answer.error.unwrap().contains("longer than"));
    }

    #[test]
    fn a_status_of_another_version_can_be_read() {
        let line =
            r#"{"tine":1,"ok":true,"new":1,"status":{"pid":7,"mood":"good","workers":[{}]}}"#;
        let answer: Answer = serde_json::from_str(line).unwrap();
        let status = answer.status.unwrap();
        assert_eq!((status.pid, status.workers.len(), status.uptime), (7, 1, 0.0));
    }
}
