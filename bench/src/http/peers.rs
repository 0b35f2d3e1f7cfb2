//! The programs to compare with, as Debian packages them: what is there, and getting the rest.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// A program, by the file that shows that it is there, and its package. Where a package would start a
/// service of its own, the one with the bare program is named.
struct Peer {
    file: &'static str,
    package: &'static str,
}

const PEERS: [Peer; 8] = [
    Peer { file: "/usr/bin/wrk", package: "wrk" },
    Peer { file: "/usr/bin/h2load", package: "nghttp2-client" },
    Peer { file: "/usr/bin/openssl", package: "openssl" },
    Peer { file: "/usr/sbin/nginx", package: "nginx" },
    Peer { file: "/usr/sbin/apache2", package: "apache2-bin" },
    Peer { file: "/usr/bin/starman", package: "starman" },
    Peer { file: "/usr/bin/go", package: "golang-go" },
    Peer {
        file: "/usr/share/gocode/src/github.com/valyala/fasthttp/server.go",
        package: "golang-github-valyala-fasthttp-dev",
    },
];

/// Whether the program of this package is there.
pub(crate) fn has(package: &str) -> bool {
    let mut peers = PEERS.iter();
    peers.any(|peer| peer.package == package && Path::new(peer.file).exists())
}

fn missing() -> Vec<&'static str> {
    let missing = PEERS.iter().filter(|peer| !Path::new(peer.file).exists());
    missing.map(|peer| peer.package).collect()
}

/// Installs what is missing, as root; otherwise, or where that fails, says what is left out.
pub(crate) fn install(tell: impl Fn(&str)) {
    let wanted = missing();
    if wanted.is_empty() {
        return;
    }
    if testkit::is_root() {
        tell(&format!("installing: {} …", wanted.join(" ")));
        let _quiet = NoServices::begin();
        // What is known of packages may be old, or nothing.
        if !apt(&["install"], &wanted) && apt(&["update"], &[]) {
            apt(&["install"], &wanted);
        }
    }
    let missing = missing();
    if !missing.is_empty() {
        tell(&format!("measured without: apt-get install {}", missing.join(" ")));
    }
}

fn apt(what: &[&str], packages: &[&str]) -> bool {
    let mut command = Command::new("timeout");
    command.args(["--foreground", "300", "apt-get", "-q", "-y", "--no-install-recommends"]);
    command.args(what).args(packages).env("DEBIAN_FRONTEND", "noninteractive");
    command.stdin(Stdio::null()).stdout(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

/// While it lives, a package that is installed does not start its service (invoke-rc.d(8): a
/// `policy-rc.d` that says 101 forbids it).
struct NoServices(Option<PathBuf>);

impl NoServices {
    fn begin() -> Self {
        let path = PathBuf::from("/usr/sbin/policy-rc.d");
        // One that is there is the machine's own, and is left as it is.
        let made = !path.exists()
            && fs::write(&path, "#!/bin/sh\nexit 101\n").is_ok()
            && fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).is_ok();
        Self(made.then_some(path))
    }
}

impl Drop for NoServices {
    fn drop(&mut self) {
        if let Some(path) = &self.0 {
            // Nothing else to do about it: the next installation would show it.
            let _ = fs::remove_file(path);
        }
    }
}

/// The versions of what is there, as Debian counts: `nginx 1.22.1-9`.
pub(crate) fn versions() -> Vec<String> {
    let packages = PEERS.iter().map(|peer| peer.package).filter(|package| has(package));
    let output = Command::new("dpkg-query")
        .args(["-W", "-f", "${Package} ${Version}\n"])
        .args(packages)
        .stderr(Stdio::null())
        .output();
    let text = output.map(|output| output.stdout).unwrap_or_default();
    String::from_utf8_lossy(&text).lines().map(str::to_owned).collect()
}
