//! Where servers are started: the site they serve, the certificate, their configurations, their core.

use std::fs;
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use testkit::tls::Identity;
use testkit::{DEADLINE, Running, Server, TempDir, client, process};

use super::{Programs, interrupt, peers};

/// What every server answers to [`HELLO`].
const BODY: &str = "Hello, World!";
/// 13 bytes, from a file or from memory.
pub(crate) const HELLO: &str = "/hello.txt";
/// 10 KiB.
pub(crate) const MEDIUM: &str = "/10k.bin";
/// 1 MiB.
pub(crate) const LARGE: &str = "/1m.bin";

/// Which processors server and load have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cores {
    /// The server the first one, the load the second.
    Apart,
    /// Both have both.
    Both,
}

impl Cores {
    pub(crate) fn of_load(self, command: Server) -> Server {
        command.wrap(["taskset", "-c", if self == Self::Apart { "1" } else { "0,1" }])
    }

    fn of_server(self, command: Server) -> Server {
        command.wrap(["taskset", "-c", if self == Self::Apart { "0" } else { "0,1" }])
    }
}

/// The servers that are compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Who {
    /// `tine-bench-hello`: `tine-http` with a service that answers from memory.
    TineHello,
    /// `tine serve`.
    TineFiles,
    /// `tine-bench-hyper`: hyper in a worker of Tine's, and no `tine-http`.
    Hyper,
    /// `tine-bench-floor`.
    Floor,
    Fasthttp,
    Nginx,
    Apache,
    Starman,
}

/// What a server's certificate is made with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Key {
    P256,
    /// Of 2,048 bits.
    Rsa,
}

/// How a server is set up; what it has no notion of, it leaves.
#[derive(Debug, Clone)]
pub(crate) struct Setup {
    pub(crate) who: Who,
    pub(crate) name: &'static str,
    /// Processes that answer.
    pub(crate) workers: u32,
    /// Connections a worker of Tine's serves at once.
    pub(crate) concurrency: u32,
    pub(crate) cores: Cores,
    /// TLS, with a certificate for such a key.
    pub(crate) tls: Option<Key>,
    pub(crate) http2: bool,
    pub(crate) access_log: bool,
}

impl Setup {
    /// With so many workers; Tine's multiplexed, everything alone on its core.
    pub(crate) fn new(who: Who, workers: u32) -> Self {
        let name = match who {
            Who::TineHello | Who::TineFiles => "tine",
            Who::Hyper => "hyper alone",
            Who::Floor => "floor",
            Who::Fasthttp => "fasthttp/prefork",
            Who::Nginx => "nginx",
            Who::Apache => "Apache prefork",
            Who::Starman => "Starman",
        };
        Self {
            who,
            name,
            workers,
            concurrency: 10_000,
            cores: Cores::Apart,
            tls: None,
            http2: false,
            access_log: false,
        }
    }

    /// One worker that speaks TLS, with such a key.
    pub(crate) fn secure(who: Who, key: Key) -> Self {
        Self { tls: Some(key), ..Self::new(who, 1) }
    }

    /// Isolated workers, where a server has a choice.
    pub(crate) fn isolated(self) -> Self {
        Self { concurrency: 1, ..self }
    }

    /// With the load on every processor, where nobody's work is weighed.
    pub(crate) fn together(self) -> Self {
        Self { cores: Cores::Both, ..self }
    }
}

/// A running server.
#[derive(Debug)]
pub(crate) struct Entrant {
    pub(crate) name: &'static str,
    pub(crate) address: String,
    pub(crate) running: Running,
}

/// The directory with all that servers need.
#[derive(Debug)]
pub(crate) struct Arena<'a> {
    programs: &'a Programs,
    directory: TempDir,
    p256: Identity,
    rsa: Identity,
}

impl<'a> Arena<'a> {
    /// # Panics
    /// When there is no room for it: all functions here do when a server does not do its part.
    pub(crate) fn new(programs: &'a Programs) -> Self {
        let directory = TempDir::new().expect("a temporary directory");
        let names = ["localhost"];
        let (p256, rsa) = (Identity::new(&names), Identity::rsa(&names));
        let arena = Self { programs, directory, p256, rsa };
        let site = arena.site();
        fs::create_dir(&site).expect("a directory for the site");
        // Peers' workers are nobody in particular, and must come to the files.
        for directory in [arena.directory.path(), &site] {
            let open = fs::Permissions::from_mode(0o755);
            fs::set_permissions(directory, open).expect("it is ours");
        }
        for (path, bytes) in
            [(HELLO, BODY.as_bytes().to_vec()), (MEDIUM, noise(10 << 10)), (LARGE, noise(1 << 20))]
        {
            fs::write(site.join(&path[1..]), bytes).expect("a file in the site");
        }
        arena
    }

    fn site(&self) -> PathBuf {
        self.directory.path().join("site")
    }

    /// Of nobody, made for this run.
    pub(crate) fn identity(&self, key: Key) -> &Identity {
        match key {
            Key::P256 => &self.p256,
            Key::Rsa => &self.rsa,
        }
    }

    /// The files of a certificate and its key.
    fn certificate(&self, key: Key) -> (PathBuf, PathBuf) {
        let name = if key == Key::P256 { "p256" } else { "rsa" };
        self.identity(key).write(self.directory.path(), name)
    }

    /// The load of handshakes.
    pub(crate) fn shake(&self) -> PathBuf {
        self.programs.shake.clone()
    }

    /// A script of wrk's.
    pub(crate) fn script(name: &str) -> PathBuf {
        source(name)
    }

    /// Starts a server, and waits until all its workers are there and it answers; `None` if it is not
    /// installed. One of HTTP/2 is asked for that alone: nginx before 1.25 speaks nothing else there.
    pub(crate) fn start(&self, setup: &Setup) -> Option<Entrant> {
        let port = free_port();
        let address = format!("127.0.0.1:{port}");
        let command = match setup.who {
            Who::TineHello => in_memory(&self.programs.hello, setup),
            Who::Hyper => in_memory(&self.programs.hyper, setup),
            Who::TineFiles => self.tine_files(setup),
            Who::Floor => Server::command(&self.programs.floor)
                .args([address.clone(), setup.workers.to_string()]),
            Who::Fasthttp => self.fasthttp(&address)?,
            Who::Nginx => self.nginx(setup, &address)?,
            Who::Apache => self.apache(setup, &address)?,
            Who::Starman => starman(setup, &address)?,
        };
        let running = setup.cores.of_server(command).start();
        let address = match setup.who {
            Who::TineHello | Who::Hyper | Who::TineFiles => running.address(),
            _ => address,
        };
        // The floor's first process is a worker as well.
        let wanted = setup.workers as usize - usize::from(setup.who == Who::Floor);
        running.wait_until("its workers are there", || {
            interrupt::check();
            TcpStream::connect(&address).is_ok()
                && process::descendants(running.pid()).len() >= wanted
        });
        let entrant = Entrant { name: setup.name, address, running };
        if setup.http2 {
            assert!(speaks_h2c(&entrant), "{} answers", setup.name);
        } else if setup.tls.is_none() {
            assert_eq!(client::get(&entrant.address, HELLO).text(), BODY, "{} answers", setup.name);
        }
        Some(entrant)
    }

    fn tine_files(&self, setup: &Setup) -> Server {
        let Setup { workers, concurrency, .. } = setup;
        let listen = if setup.tls.is_some() { "127.0.0.1:0/tls" } else { "127.0.0.1:0" };
        let mut command = Server::command(&self.programs.tine)
            .arg("serve")
            .arg(self.site())
            .args(["--listen", listen, "--control", "off"])
            .args(["--workers", &workers.to_string(), "--concurrency", &concurrency.to_string()]);
        if let Some(key) = setup.tls {
            let (certificate, key) = self.certificate(key);
            command = command.arg("--cert").arg(certificate).arg("--key").arg(key);
        }
        if setup.access_log {
            command = command.arg("--access-log").arg(self.directory.path().join("tine.log"));
        }
        command
    }

    fn fasthttp(&self, address: &str) -> Option<Server> {
        if !(peers::has("golang-go") && peers::has("golang-github-valyala-fasthttp-dev")) {
            return None;
        }
        let program = self.directory.path().join("fasthttp");
        if !program.exists() {
            let mut go = Command::new("go");
            go.arg("build").arg("-o").arg(&program).arg(source("fasthttp/main.go"));
            // Debian's packages are sources in a place of their own, not modules.
            go.env("GO111MODULE", "off").env("GOPATH", "/usr/share/gocode");
            run(go);
        }
        Some(Server::command(program).arg(address))
    }

    fn nginx(&self, setup: &Setup, address: &str) -> Option<Server> {
        if !peers::has("nginx") {
            return None;
        }
        let directory = self.directory_of(address);
        let (listen, tls) = match setup {
            Setup { tls: Some(key), .. } => {
                let (certificate, key) = self.certificate(*key);
                let (certificate, key) = (certificate.display(), key.display());
                // Before 1.23.4 its own choice is TLS 1.2 alone, and a session resumed there needs no key exchange.
                let tls = format!(
                    "ssl_protocols TLSv1.3; ssl_certificate {certificate}; ssl_certificate_key {key};"
                );
                (format!("{address} ssl"), tls)
            }
            Setup { http2: true, .. } => (format!("{address} http2"), String::new()),
            _ => (address.to_owned(), String::new()),
        };
        let log = directory.join("access.log");
        let log = match setup.access_log {
            true => format!("{} combined buffer=64k flush=1s", log.display()),
            false => "off".to_owned(),
        };
        let more = [("LISTEN", listen), ("TLS", tls), ("LOG", log)];
        let file = self.configure("nginx.conf", setup, &directory, &more);
        Some(Server::command("/usr/sbin/nginx").arg("-p").arg(&directory).arg("-c").arg(file))
    }

    fn apache(&self, setup: &Setup, address: &str) -> Option<Server> {
        if !peers::has("apache2-bin") {
            return None;
        }
        let directory = self.directory_of(address);
        let more = [("ADDRESS", address.to_owned())];
        let file = self.configure("apache.conf", setup, &directory, &more);
        Some(Server::command("/usr/sbin/apache2").args(["-D", "FOREGROUND", "-f"]).arg(file))
    }

    /// A directory for one server alone.
    fn directory_of(&self, address: &str) -> PathBuf {
        let directory = self.directory.path().join(address);
        fs::create_dir_all(&directory).expect("a directory for a server");
        directory
    }

    /// A peer's configuration with what is particular filled in; where it is.
    fn configure(
        &self,
        name: &str,
        setup: &Setup,
        directory: &Path,
        more: &[(&str, String)],
    ) -> PathBuf {
        let template = source(name);
        let mut text = fs::read_to_string(&template).expect("a peer's configuration is there");
        let common = [
            ("WORKERS", setup.workers.to_string()),
            ("DIRECTORY", directory.display().to_string()),
            ("SITE", self.site().display().to_string()),
        ];
        for (key, value) in common.iter().chain(more) {
            text = text.replace(&format!("@{key}@"), value);
        }
        let path = directory.join(name);
        fs::write(&path, text).expect("a configuration");
        path
    }
}

/// One of the small servers that answer from memory.
fn in_memory(program: &Path, setup: &Setup) -> Server {
    let Setup { workers, concurrency, .. } = setup;
    Server::command(program).args(["127.0.0.1:0", &workers.to_string(), &concurrency.to_string()])
}

fn starman(setup: &Setup, address: &str) -> Option<Server> {
    if !peers::has("starman") {
        return None;
    }
    let words = format!(
        "--listen {address} --workers {} --max-requests 1000000000 --keepalive-timeout 60 --preload-app",
        setup.workers
    );
    Some(Server::command("/usr/bin/starman").args(words.split(' ')).arg(source("hello.psgi")))
}

/// A peer's file among the sources.
fn source(name: &str) -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), "peers", name].iter().collect()
}

fn run(mut command: Command) {
    let output = command.stdin(Stdio::null()).output();
    let output = output.unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {}\n{said}", output.status);
}

/// One that nobody listens on now. Peers cannot be asked which one they took.
fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.local_addr().expect("its number").port()
}

/// Bytes that do not compress, the same in every run (xorshift64).
fn noise(length: usize) -> Vec<u8> {
    let mut state: u64 = 0x9e37_79b9_7f4a_7c15;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()[0]
    };
    (0..length).map(|_| next()).collect()
}

/// Whether `server` talks HTTP/2 to a client that begins with it (RFC 9113, section 3.3).
pub(crate) fn speaks_h2c(server: &Entrant) -> bool {
    use std::io::{Read as _, Write as _};
    const BEGIN: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
    /// The type of a frame of settings, the first a server sends, after three bytes of length.
    const SETTINGS: u8 = 4;
    let ask = || -> std::io::Result<bool> {
        let mut stream = TcpStream::connect(&server.address)?;
        stream.set_read_timeout(Some(DEADLINE))?;
        stream.write_all(BEGIN)?;
        let mut frame = [0; 9];
        stream.read_exact(&mut frame)?;
        Ok(!frame.starts_with(b"HTTP/") && frame[3] == SETTINGS)
    };
    // One that breaks off does not speak it.
    ask().unwrap_or(false)
}

/// The flags `tine serve` has, as its help says.
pub(crate) fn serve_has(programs: &Programs, flag: &str) -> bool {
    let output = Command::new(&programs.tine).args(["serve", "--help"]).output();
    let text = output.map(|output| output.stdout).unwrap_or_default();
    String::from_utf8_lossy(&text).split_whitespace().any(|word| word == flag)
}
