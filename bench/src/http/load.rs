//! The load generators: wrk for HTTP/1, h2load for HTTP/2, our own for handshakes, and what they say.

use std::path::PathBuf;
use std::time::Duration;

use testkit::{Running, Server, holds_within};

use super::arena::Cores;
use super::interrupt;
use super::measure::{Measure, Sample};

/// How long one server is under load in one round.
const SECONDS: u32 = 1;
/// How long a generator may take altogether.
const DEADLINE: Duration = Duration::from_secs(15);

/// What is asked of a server, and over how many connections.
#[derive(Debug, Clone)]
pub(crate) struct Load {
    pub(crate) generator: Generator,
    pub(crate) connections: u32,
    pub(crate) path: &'static str,
    pub(crate) cores: Cores,
}

/// Who asks.
#[derive(Debug, Clone)]
pub(crate) enum Generator {
    /// One request after the other on each connection.
    Wrk { tls: bool },
    /// A connection for each request.
    WrkClosing,
    /// With a script of wrk's.
    WrkScript(PathBuf),
    /// 16 streams on each connection.
    H2load,
    /// A session for each request, with a full handshake or a resumed one; the program is `tine-bench-shake`.
    Shake { program: PathBuf, resumed: bool },
}

impl Load {
    /// wrk over so many kept connections, on a core of its own.
    pub(crate) fn keep_alive(connections: u32, path: &'static str) -> Self {
        Self { generator: Generator::Wrk { tls: false }, connections, path, cores: Cores::Apart }
    }

    /// The same from another generator.
    pub(crate) fn by(self, generator: Generator) -> Self {
        Self { generator, ..self }
    }

    /// Runs once, against the server at `address`; how many requests were answered, and the rest of
    /// what the generator says.
    ///
    /// # Panics
    /// When it fails, or not every request has a good answer.
    pub(crate) fn run(&self, address: &str) -> (f64, Sample) {
        let words = self.words(address);
        let generator = self.cores.of_load(Server::command(&words[0]).args(&words[1..])).start();
        let ended = holds_within(DEADLINE, || {
            interrupt::check();
            generator.try_exit().is_some()
        });
        let text = output(&generator);
        assert!(ended, "{} has not ended within {DEADLINE:?}: {text}", words[0]);
        let answer = match self.generator {
            Generator::H2load => h2load(&text),
            Generator::Shake { .. } => shake(&text),
            _ => wrk(&text),
        };
        answer.unwrap_or_else(|why| panic!("{why}: {}\n{text}", words.join(" ")))
    }

    fn words(&self, address: &str) -> Vec<String> {
        let threads = match self.cores {
            Cores::Apart => 1,
            Cores::Both => 2,
        };
        let tls = matches!(self.generator, Generator::Wrk { tls: true });
        let Self { connections, path, .. } = self;
        let url = format!("http{}://{address}{path}", if tls { "s" } else { "" });
        if let Generator::Shake { program, resumed } = &self.generator {
            let kind = if *resumed { "resumed" } else { "full" };
            let rest = words(&format!("{address} {connections} {SECONDS} {kind} {path}"));
            return [vec![program.display().to_string()], rest].concat();
        }
        if matches!(self.generator, Generator::H2load) {
            return words(&format!("h2load -t1 -c{connections} -m16 -D{SECONDS} {url}"));
        }
        let mut line =
            words(&format!("wrk -t{threads} -c{connections} -d{SECONDS}s --latency {url}"));
        match &self.generator {
            Generator::WrkClosing => {
                line.extend(["-H".to_owned(), "Connection: close".to_owned()]);
            }
            Generator::WrkScript(path) => {
                line.extend(["-s".to_owned(), path.display().to_string()]);
            }
            Generator::Wrk { .. } | Generator::H2load | Generator::Shake { .. } => {}
        }
        line
    }
}

fn words(line: &str) -> Vec<String> {
    line.split(' ').map(str::to_owned).collect()
}

/// All it wrote: its end is known, and so what it wrote before is there to be read.
fn output(generator: &Running) -> String {
    generator.lines().join("\n")
}

/// What wrk 4 says.
fn wrk(text: &str) -> Result<(f64, Sample), &'static str> {
    // "Socket errors" are not looked at: wrk counts an end it was told of among them.
    if text.contains("Non-2xx or 3xx responses") {
        return Err("not every answer is good");
    }
    let requests = text.lines().find_map(|line| line.split_once(" requests in "));
    let requests = requests.and_then(|(count, _)| number(count)).ok_or("no count of requests")?;
    if requests == 0.0 {
        return Err("nothing was answered");
    }
    let value = |name: &str| text.lines().find_map(|line| line.trim().strip_prefix(name));
    let mut sample = Sample::new();
    let rate = value("Requests/sec:").and_then(number).ok_or("no rate")?;
    sample.insert(Measure::Rate, rate);
    for (name, measure) in [("50%", Measure::P50), ("99%", Measure::P99)] {
        let value = value(name).and_then(micros).ok_or("no quantiles")?;
        // Of few answers in one write wrk knows no quantile, and says 0.
        if value > 0.0 {
            sample.insert(measure, value);
        }
    }
    Ok((requests, sample))
}

/// What h2load says; it knows no quantiles.
fn h2load(text: &str) -> Result<(f64, Sample), &'static str> {
    let counts = text.lines().find_map(|line| line.strip_prefix("requests: "));
    let counts = counts.ok_or("no count of requests")?;
    let count = |name: &str| {
        let part = counts.split(", ").find(|part| part.ends_with(name));
        part.and_then(|part| number(part.trim_end_matches(name)))
    };
    let (done, good) = (count(" done"), count(" succeeded"));
    let done = done.filter(|done| *done > 0.0).ok_or("nothing was answered")?;
    if good != Some(done) {
        return Err("not every answer is good");
    }
    let rate = text.lines().find_map(|line| line.strip_prefix("finished in ")?.split(", ").nth(1));
    let rate = rate.and_then(|rate| number(rate.trim_end_matches(" req/s"))).ok_or("no rate")?;
    Ok((done, Sample::from([(Measure::Rate, rate)])))
}

/// What `tine-bench-shake` says: a word and a number, again and again.
fn shake(text: &str) -> Result<(f64, Sample), &'static str> {
    let mut words = text.split_whitespace().skip_while(|word| *word != "handshakes:");
    let mut next = |name: &str| {
        let found = words.next().filter(|word| word.strip_suffix(':') == Some(name));
        found.and_then(|_| words.next()).and_then(number).ok_or("not what it should say")
    };
    let count = next("handshakes")?;
    let sample = [(Measure::Rate, "rate"), (Measure::P50, "p50"), (Measure::P99, "p99")]
        .into_iter()
        .map(|(measure, name)| next(name).map(|value| (measure, value)))
        .collect::<Result<Sample, &'static str>>()?;
    Ok((count, sample))
}

fn number(text: &str) -> Option<f64> {
    text.trim().parse().ok()
}

/// `850.00us`, `1.25ms` or `1.02s`, in microseconds.
fn micros(text: &str) -> Option<f64> {
    let text = text.trim();
    let digits = text.trim_end_matches(|last: char| last.is_ascii_alphabetic());
    let factor = match &text[digits.len()..] {
        "us" => 1.0,
        "ms" => 1e3,
        "s" => 1e6,
        "m" => 60e6,
        _ => return None,
    };
    Some(number(digits)? * factor)
}

#[cfg(test)]
mod tests {
    use super::*;

    const WRK: &str = "\
Running 1s test @ http://127.0.0.1:8080/
  1 threads and 64 connections
  Thread Stats   Avg      Stdev     Max   +/- Stdev
    Latency     1.10ms  104.23us   3.20ms   91.15%
    Req/Sec    58.01k     1.22k   59.40k    80.00%
  Latency Distribution
     50%    1.07ms
     75%    1.11ms
     90%    1.19ms
     99%  850.00us
  63504 requests in 1.10s, 7.02MB read
Requests/sec:  57735.56
Transfer/sec:      6.39MB";

    #[test]
    fn what_wrk_says_is_understood_and_a_bad_answer_is_no_measurement() {
        let (requests, sample) = wrk(WRK).expect("it is understood");
        assert_eq!(requests, 63504.0);
        let wanted = [(Measure::Rate, 57735.56), (Measure::P50, 1070.0), (Measure::P99, 850.0)];
        assert_eq!(sample, Sample::from(wanted));
        assert!(wrk(&format!("{WRK}\n  Non-2xx or 3xx responses: 3")).is_err());
        let (_, sample) = wrk(&WRK.replace("850.00us", "0.00us")).expect("it is understood");
        assert_eq!(sample.get(&Measure::P99), None);
        assert!(wrk(&WRK.replace("63504", "0")).is_err());
        assert!(wrk("unable to connect to 127.0.0.1:1 Connection refused").is_err());
    }

    #[test]
    fn what_our_own_load_says_is_understood() {
        let (count, sample) =
            shake("handshakes: 4120 rate: 4100.9 p50: 6925 p99: 29682").expect("it is understood");
        let wanted = [(Measure::Rate, 4100.9), (Measure::P50, 6925.0), (Measure::P99, 29682.0)];
        assert_eq!((count, sample), (4120.0, Sample::from(wanted)));
        assert!(shake("127.0.0.1:1: connection refused").is_err());
        assert!(shake("handshakes: 4120 rate:").is_err());
    }

    #[test]
    fn what_h2load_says_is_understood() {
        let text = "finished in 1.00s, 98304.00 req/s, 3.77MB/s\n\
            requests: 98304 total, 98560 started, 98304 done, 98304 succeeded, 0 failed, 0 errored, 0 timeout";
        let (requests, sample) = h2load(text).expect("it is understood");
        assert_eq!((requests, sample), (98304.0, Sample::from([(Measure::Rate, 98304.0)])));
        assert!(h2load(&text.replace("98304 succeeded", "98303 succeeded")).is_err());
    }
}
