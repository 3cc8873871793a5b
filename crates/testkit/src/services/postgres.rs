//! A PostgreSQL cluster that is thrown away.

use std::fs;
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

use super::{Service, free_port, signal, wait_until};

/// A running server with an empty database.
#[derive(Debug)]
pub struct Postgres {
    dir: PathBuf,
    bin: PathBuf,
    port: u16,
    service: Option<Service>,
    /// Whether it speaks TLS.
    tls: bool,
    /// Whether it survives a power loss, as one that is used does.
    fsync: bool,
}

/// The server that all tests of this process share; each uses schemas of its own. It is not made for power losses:
/// `fsync` is off.
///
/// # Panics
/// If it cannot be started; `scripts/needs.sh postgres` installs what it takes.
pub fn postgres() -> &'static Postgres {
    static SHARED: OnceLock<Postgres> = OnceLock::new();
    SHARED.get_or_init(Postgres::start)
}

impl Postgres {
    /// Starts a server of one's own, to be stopped, paused or killed.
    ///
    /// # Panics
    /// As [`postgres`] does.
    pub fn start() -> Self {
        Self::made(false, false)
    }

    /// Starts a server whose commits reach the disk, as where it is measured.
    ///
    /// # Panics
    /// As [`postgres`] does.
    pub fn start_durable() -> Self {
        Self::made(false, true)
    }

    /// Starts a server that speaks TLS, as `localhost`, with a certificate that [`authority`](Self::authority) signed.
    ///
    /// # Panics
    /// As [`postgres`] does.
    pub fn start_with_tls() -> Self {
        Self::made(true, false)
    }

    fn made(tls: bool, fsync: bool) -> Self {
        let bin = binaries();
        let dir = run("mktemp", &["-d", "/tmp/rlhf-audit-postgres.XXXXXX"]);
        let data = format!("{dir}/data");
        run(
            &bin.join("initdb").to_string_lossy(),
            &[
                "-D",
                &data,
                "-U",
                "postgres",
                "--auth=trust",
                "--encoding=UTF8",
                "--locale=C",
                "--no-sync",
            ],
        );
        let mut server = Self {
            dir: dir.into(),
            bin,
            port: 0,
            service: None,
            tls,
            fsync,
        };
        if tls {
            server.make_certificate();
        }
        // Somebody else may take the free port first.
        for _ in 0..5 {
            server.port = free_port().expect("a free port");
            if server.serve() {
                return server;
            }
        }
        panic!("PostgreSQL does not start:\n{}", server.log());
    }

    /// Starts it again on the same port and files, after [`stop`](Self::stop).
    ///
    /// # Panics
    /// If it does not start.
    pub fn restart(&mut self) {
        assert!(
            self.serve(),
            "PostgreSQL does not start again:\n{}",
            self.log()
        );
    }

    /// Stops it as a crash would: no goodbye to clients, and recovery when it starts again.
    pub fn stop(&mut self) {
        if let Some(service) = self.service.take() {
            signal("QUIT", service.pid);
            wait_until("stopping PostgreSQL", || !service.runs());
            self.end(service);
        }
    }

    /// Lets the keeper go and keeps the files.
    fn end(&self, service: Service) {
        let keep = self.dir.join("keep");
        fs::write(&keep, "").expect("the directory is there");
        drop(service);
        fs::remove_file(&keep).expect("the directory is there");
    }

    /// Freezes the process that talks to a client: `pid` as `pg_backend_pid()` says it. [`resume`](Self::resume) wakes
    /// it.
    pub fn pause(&self, pid: u32) {
        signal("STOP", pid);
    }

    /// Wakes what was paused.
    pub fn resume(&self, pid: u32) {
        signal("CONT", pid);
    }

    /// The server's own process.
    ///
    /// # Panics
    /// If it is stopped.
    pub fn pid(&self) -> u32 {
        self.service.as_ref().expect("it runs").pid
    }

    /// Where it listens on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Where clients connect to.
    pub fn url(&self) -> String {
        format!("postgres://postgres@127.0.0.1:{}/postgres", self.port)
    }

    /// Its directory, with everything it writes.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The certificate of the authority that signed the server's.
    pub fn authority(&self) -> PathBuf {
        self.dir.join("ca.pem")
    }

    fn make_certificate(&self) {
        const SCRIPT: &str = r#"
            cd "$1"
            new="-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes"
            openssl req -x509 $new -keyout ca.key -out ca.pem -subj /CN=authority -days 2
            openssl req $new -keyout server.key -out server.csr -subj /CN=localhost
            echo subjectAltName=DNS:localhost > names
            openssl x509 -req -in server.csr -CA ca.pem -CAkey ca.key -CAcreateserial -out server.crt -days 2 -extfile names
        "#;
        run("sh", &["-ec", SCRIPT, "sh", &self.dir.to_string_lossy()]);
    }

    /// A name for a schema that no other test has.
    pub fn new_schema(&self) -> String {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        format!("ledger_{}", NEXT.fetch_add(1, Ordering::Relaxed))
    }

    /// What `psql` prints for a statement: rows by line, columns by `|`.
    ///
    /// # Panics
    /// If the statement fails.
    pub fn sql(&self, statement: &str) -> String {
        self.sql_in(&self.url(), statement)
    }

    /// As [`sql`](Self::sql), in the database of `url`.
    ///
    /// # Panics
    /// If the statement fails.
    pub fn sql_in(&self, url: &str, statement: &str) -> String {
        let output = Command::new(self.bin.join("psql"))
            .args(["-qAtX", "-v", "ON_ERROR_STOP=1", "-d", url, "-c"])
            .arg(statement)
            .output()
            .expect("psql runs");
        assert!(
            output.status.success(),
            "{statement}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        String::from_utf8_lossy(&output.stdout)
            .trim_end()
            .to_owned()
    }

    /// The database of `url` as `pg_dump` writes it, in SQL.
    ///
    /// # Panics
    /// If it fails.
    pub fn dump(&self, url: &str) -> String {
        let output = Command::new(self.bin.join("pg_dump"))
            .args(["--no-owner", "--no-privileges", "-d", url])
            .output()
            .expect("pg_dump runs");
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        let text = String::from_utf8(output.stdout).expect("the database is in UTF-8");
        // What another version of psql or the server does not know.
        let portable = text.lines().filter(|line| {
            !line.starts_with("\\restrict")
                && !line.starts_with("\\unrestrict")
                && !line.starts_with("SET transaction_timeout")
        });
        portable.flat_map(|line| [line, "\n"]).collect()
    }

    /// Reads a file that [`dump`](Self::dump) wrote into the database of `url`.
    ///
    /// # Panics
    /// If it fails.
    pub fn load(&self, url: &str, file: &Path) {
        let output = Command::new(self.bin.join("psql"))
            .args(["-qAtX", "-v", "ON_ERROR_STOP=1", "-d", url, "-f"])
            .arg(file)
            .output()
            .expect("psql runs");
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
    }

    fn serve(&mut self) -> bool {
        let (dir, port) = (self.dir.to_string_lossy(), self.port.to_string());
        let (data, log) = (format!("{dir}/data"), format!("{dir}/log"));
        let postgres = self.bin.join("postgres").to_string_lossy().into_owned();
        let mut command = unprivileged();
        command.extend([&*postgres, "-D", &data, "-p", &port, "-k", &dir]);
        for setting in [
            "listen_addresses=127.0.0.1",
            if self.fsync { "fsync=on" } else { "fsync=off" },
            "max_connections=200",
            "shared_buffers=32MB",
        ] {
            command.extend(["-c", setting]);
        }
        let (certificate, key) = (
            format!("ssl_cert_file={dir}/server.crt"),
            format!("ssl_key_file={dir}/server.key"),
        );
        if self.tls {
            command.extend(["-c", "ssl=on", "-c", &certificate, "-c", &key]);
        }
        let service = Service::start(&command, &dir, &log, "QUIT").expect("PostgreSQL starts");
        let ready = self.bin.join("pg_isready");
        let mut answers = false;
        wait_until("starting PostgreSQL", || {
            answers = TcpStream::connect(("127.0.0.1", self.port)).is_ok()
                && Command::new(&ready)
                    .args(["-q", "-h", "127.0.0.1", "-p", &port])
                    .status()
                    .is_ok_and(|status| status.success());
            answers || !service.runs()
        });
        if answers && service.runs() {
            self.service = Some(service);
            return true;
        }
        self.end(service);
        false
    }

    fn log(&self) -> String {
        fs::read_to_string(self.dir.join("log")).unwrap_or_default()
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        if self.service.is_none() {
            let _ = fs::remove_dir_all(&self.dir);
        }
    }
}

/// PostgreSQL refuses to run as root: then it runs as the user its package made.
fn unprivileged() -> Vec<&'static str> {
    use std::os::unix::fs::MetadataExt;
    let root = fs::metadata("/proc/self").is_ok_and(|me| me.uid() == 0);
    if root {
        vec![
            "setpriv",
            "--reuid=postgres",
            "--regid=postgres",
            "--clear-groups",
            "--",
        ]
    } else {
        Vec::new()
    }
}

fn run(program: &str, arguments: &[&str]) -> String {
    let mut command = unprivileged();
    command.push(program);
    command.extend(arguments);
    let output = Command::new(command[0])
        .args(&command[1..])
        .current_dir("/")
        .stdin(Stdio::null())
        .output()
        .unwrap_or_else(|error| panic!("{program}: {error}"));
    assert!(
        output.status.success(),
        "{program}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

/// The newest version that is installed. Debian keeps the binaries out of the path.
fn binaries() -> PathBuf {
    let packaged = fs::read_dir("/usr/lib/postgresql").into_iter().flatten();
    let packaged = packaged
        .filter_map(|version| Some(version.ok()?.path().join("bin")))
        .filter(|bin| bin.join("initdb").exists())
        .max_by_key(|bin| {
            let version = bin.parent().and_then(Path::file_name);
            version.and_then(|version| version.to_string_lossy().parse::<u32>().ok())
        });
    let path = std::env::var_os("PATH").unwrap_or_default();
    packaged
        .or_else(|| std::env::split_paths(&path).find(|bin| bin.join("initdb").exists()))
        .expect("PostgreSQL is missing; run `scripts/needs.sh postgres`")
}
