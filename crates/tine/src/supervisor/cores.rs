//! Where the kernel has put a core: its pattern with what is known filled in (core(5)).

use std::path::Path;

use tine_os::inspect;

/// Where the core of a worker is that has just died by this signal, in words; `cwd` is the working directory
/// it had.
pub(super) fn place(pid: u32, signal: i32, name: &str, cwd: Option<&Path>) -> String {
    match inspect::core_pattern() {
        Ok((pattern, uses_pid)) => fill(&pattern, uses_pid, (pid, signal, name), cwd),
        Err(_) => "somewhere".to_owned(),
    }
}

fn fill(
    pattern: &str,
    uses_pid: bool,
    (pid, signal, name): (u32, i32, &str),
    cwd: Option<&Path>,
) -> String {
    if let Some(program) = pattern.strip_prefix('|') {
        return format!("with {}", program.split(' ').next().unwrap_or(program));
    }
    if let Some(socket) = pattern.strip_prefix('@') {
        return format!("with whoever listens at {}", socket.trim_start_matches('@'));
    }
    let mut file = String::new();
    let mut chars = pattern.chars();
    while let Some(c) = chars.next() {
        match (c, if c == '%' { chars.next() } else { None }) {
            ('%', Some('%')) => file.push('%'),
            ('%', Some('p' | 'i')) => file.push_str(&pid.to_string()),
            ('%', Some('s')) => file.push_str(&signal.to_string()),
            // The kernel writes a name's slashes like this.
            ('%', Some('e')) => file.push_str(&name.replace('/', "!")),
            ('%', Some(_)) => file.push('*'),
            ('%', None) => {}
            (c, _) => file.push(c),
        }
    }
    if uses_pid && !pattern.contains("%p") {
        file = format!("{file}.{pid}");
    }
    match cwd {
        Some(cwd) => cwd.join(&file).display().to_string(),
        None if file.starts_with('/') => file,
        None => format!("{file} in its working directory"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_core_is_found_by_the_kernels_pattern() {
        for (pattern, uses_pid, cwd, place) in [
            ("core", false, Some("/srv"), "/srv/core"),
            ("core", true, Some("/srv"), "/srv/core.7"),
            ("core", false, None, "core in its working directory"),
            ("/var/%e-%s.%p%%", true, Some("/srv"), "/var/tine: a!b-11.7%"),
            ("/var/core.%t.%p", false, None, "/var/core.*.7"),
            ("core%", false, None, "core in its working directory"),
            (
                "|/usr/lib/systemd/systemd-coredump %P %u",
                true,
                None,
                "with /usr/lib/systemd/systemd-coredump",
            ),
            ("@@/run/coredump", false, None, "with whoever listens at /run/coredump"),
        ] {
            let found = fill(pattern, uses_pid, (7, 11, "tine: a/b"), cwd.map(Path::new));
            assert_eq!(found, place, "{pattern}");
        }
    }
}
