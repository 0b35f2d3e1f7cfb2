//! The results as they are kept: every sample in `results.json`, and of that a page and a picture. A
//! part that is measured again replaces what stood there; the others stay.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::Path;
use std::process::Command;
use std::time::SystemTime;

use serde::{Deserialize, Serialize};

use super::measure::Contest;
use super::{Order, Part, peers, picture, text};

const SAMPLES: &str = "results.json";
const PAGE: &str = "RESULTS.md";
const PICTURE: &str = "results.svg";

const HEAD: &str = "\
# Results

Written by `cargo run --release -p tine-bench -- http`; how it measures, and what each part means, is in
[README.md](README.md). All rounds' values are in [results.json](results.json). Tables show medians; the
main column also what the rounds ranged over, and its multiple of the first line. The machine is what it
is: only ratios inside one table mean anything.

![Tine and its peers](results.svg)
";

/// All parts that have been measured.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Results {
    parts: BTreeMap<Part, Measured>,
}

/// One part, and what is to be known of its numbers.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Measured {
    at: String,
    /// The sources.
    tine: String,
    circumstances: String,
    rounds: usize,
    /// Packages and their versions.
    peers: Vec<String>,
    contests: Vec<Contest>,
}

impl Measured {
    pub(crate) fn now(order: &Order, contests: Vec<Contest>) -> Self {
        Self {
            at: humantime::format_rfc3339_seconds(SystemTime::now()).to_string(),
            tine: commit(),
            circumstances: order.circumstances.clone(),
            rounds: order.rounds,
            peers: peers::versions(),
            contests,
        }
    }
}

/// Which sources these are, as git names them.
fn commit() -> String {
    let mut git = Command::new("git");
    git.args(["-C", env!("CARGO_MANIFEST_DIR"), "describe", "--always", "--dirty"]);
    let output = git.output().map(|output| output.stdout).unwrap_or_default();
    String::from_utf8_lossy(&output).trim().to_owned()
}

impl Results {
    /// What stands in `directory`; nothing, if nothing does.
    ///
    /// # Errors
    /// A sentence with the file.
    pub(crate) fn read(directory: &Path) -> Result<Self, String> {
        let path = directory.join(SAMPLES);
        let wrong = |error: &dyn std::fmt::Display| format!("{}: {error}", path.display());
        match fs::read(&path) {
            Ok(bytes) => serde_json::from_slice(&bytes).map_err(|error| wrong(&error)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Self::default()),
            Err(error) => Err(wrong(&error)),
        }
    }

    pub(crate) fn put(&mut self, part: Part, measured: Measured) {
        self.parts.insert(part, measured);
    }

    /// Writes samples, page and picture.
    ///
    /// # Errors
    /// A sentence with the file.
    pub(crate) fn write(&self, directory: &Path) -> Result<(), String> {
        fs::create_dir_all(directory)
            .map_err(|error| format!("{}: {error}", directory.display()))?;
        let json = serde_json::to_string_pretty(self).map_err(|error| error.to_string())?;
        let contests: Vec<&Contest> =
            self.parts.values().flat_map(|measured| &measured.contests).collect();
        let files =
            [(SAMPLES, json + "\n"), (PAGE, self.page()), (PICTURE, picture::draw(&contests)?)];
        for (name, text) in files {
            let path = directory.join(name);
            fs::write(&path, text).map_err(|error| format!("{}: {error}", path.display()))?;
        }
        Ok(())
    }

    fn page(&self) -> String {
        let mut page = HEAD.to_owned();
        for (part, measured) in &self.parts {
            let Measured { at, tine, circumstances, rounds, peers, contests } = measured;
            page += &format!("\n## `{part}`\n\n{}", text(contests));
            page += &format!("<sub>{at}, {rounds} rounds; Tine {tine}; {circumstances}; ");
            page += &format!("{}.</sub>\n", peers.join(", "));
        }
        page
    }
}
