//! The table in `docs/parity.md` is as it says: each row has a state, and the tests it names exist.

use std::fs;
use std::path::PathBuf;

fn root() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))
}

/// One line of the table.
struct Row {
    name: String,
    state: String,
    tests: String,
}

fn rows() -> Vec<Row> {
    let text = fs::read_to_string(root().join("docs/parity.md")).expect("the table");
    let rows = text.lines().filter_map(|line| {
        let line = line.strip_prefix("| ")?.strip_suffix('|')?;
        // What is behind an escaped bar is in the same cell.
        let line = line.replace("\\|", "/");
        let cells: Vec<&str> = line.split('|').map(str::trim).collect();
        let (&name, rest) = cells.split_first()?;
        let (letter, number) = name.split_at_checked(1)?;
        let is_row = "NSTMAF".contains(letter) && number.parse::<u8>().is_ok();
        is_row.then(|| {
            assert_eq!(rest.len(), 3, "{name} has four cells");
            Row { name: name.into(), state: rest[1].into(), tests: rest[2].into() }
        })
    });
    rows.collect()
}

#[test]
fn every_row_is_there_once_with_a_state_that_is_known() {
    let rows = rows();
    let mut names: Vec<&str> = rows.iter().map(|row| &*row.name).collect();
    let count = names.len();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), count, "none is there twice");
    // The last of each system's, some numbers of which stand for nothing.
    for last in ["N46", "S24", "T18", "M27", "A35", "F22"] {
        assert!(names.contains(&last), "{last}");
    }
    for row in &rows {
        let known = ["done", "partial", "different", "not yet"];
        assert!(known.contains(&&*row.state), "{}: {}", row.name, row.state);
        let shown = row.state == "not yet" || !row.tests.is_empty();
        assert!(shown, "{} is {} and names no test", row.name, row.state);
    }
}

/// The text without what stands in parentheses.
fn without_remarks(text: &str) -> String {
    let mut inside = false;
    let mut keep = |letter: &char| {
        let kept = !inside && *letter != '(';
        inside = *letter == '(' || (inside && *letter != ')');
        kept
    };
    text.chars().filter(|letter| keep(letter)).collect()
}

#[test]
fn every_test_that_a_row_names_exists() {
    for row in rows() {
        for place in
            without_remarks(&row.tests).split(';').map(str::trim).filter(|place| !place.is_empty())
        {
            let (path, tests) = place.split_once(": ").unwrap_or((place, ""));
            let file = root().join(path.trim());
            assert!(file.exists(), "{}: there is no {path}", row.name);
            let names = tests.split(',').map(str::trim).filter(|name| !name.is_empty());
            for name in names {
                let text = fs::read_to_string(&file).expect("a file of tests");
                let found = text.contains(&format!("fn {name}("));
                assert!(found, "{}: there is no {name} in {path}", row.name);
            }
        }
    }
}
