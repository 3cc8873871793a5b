//! A Redis that is thrown away. It keeps nothing on disk: whoever stops it has lost what was in it.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::Command;

use super::{Authority, Service, free_port, wait_until};

/// A server of one's own, to be flushed, paused, stopped and started again.
#[derive(Debug)]
pub struct Redis {
    port: u16,
    /// Certificate and key, where it speaks TLS.
    tls: Option<[String; 3]>,
    service: Option<Service>,
}

impl Redis {
    /// Starts one.
    ///
    /// # Panics
    /// If it cannot be started; `scripts/needs.sh redis` installs it.
    pub fn start() -> Self {
        Self::made(None)
    }

    /// Starts one that speaks TLS and nothing else, with the authority's certificate.
    ///
    /// # Panics
    /// As [`start`](Self::start) does.
    pub fn start_with_tls(authority: &Authority) -> Self {
        let path = |path: std::path::PathBuf| path.to_string_lossy().into_owned();
        Self::made(Some(&[
            path(authority.certificate()),
            path(authority.key()),
            path(authority.root()),
        ]))
    }

    fn made(tls: Option<&[String; 3]>) -> Self {
        for _ in 0..5 {
            let mut server = Self {
                port: free_port().expect("a free port"),
                tls: tls.cloned(),
                service: None,
            };
            if server.serve() {
                return server;
            }
        }
        panic!("Redis does not start");
    }

    /// Where clients connect to.
    pub fn url(&self) -> String {
        match &self.tls {
            None => format!("redis://127.0.0.1:{}", self.port),
            Some(_) => format!("rediss://localhost:{}", self.port),
        }
    }

    /// Stops it.
    pub fn stop(&mut self) {
        self.service = None;
    }

    /// Starts it again, empty, on the same port.
    ///
    /// # Panics
    /// If it does not start.
    pub fn restart(&mut self) {
        assert!(self.serve(), "Redis does not start again");
    }

    /// Empties it.
    ///
    /// # Panics
    /// If it does not answer.
    pub fn flush(&self) {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).expect("it listens");
        stream.write_all(b"FLUSHALL\r\n").expect("it reads");
        let mut answer = [0; 5];
        stream.read_exact(&mut answer).expect("it answers");
        assert_eq!(&answer, b"+OK\r\n");
    }

    /// Sends it a signal: `STOP` and `CONT` freeze and wake it.
    ///
    /// # Panics
    /// If it is stopped.
    pub fn signal(&self, name: &str) {
        let pid = self.service.as_ref().expect("it runs").pid;
        super::signal(name, pid);
    }

    fn serve(&mut self) -> bool {
        let made = Command::new("mktemp")
            .args(["-d", "/tmp/rlhf-audit-redis.XXXXXX"])
            .output()
            .expect("mktemp runs");
        let dir = String::from_utf8_lossy(&made.stdout).trim().to_owned();
        let (port, log) = (self.port.to_string(), format!("{dir}/log"));
        let mut command = vec!["redis-server"];
        match &self.tls {
            None => command.extend(["--port", &port]),
            Some([certificate, key, root]) => command.extend([
                "--port",
                "0",
                "--tls-port",
                &port,
                "--tls-cert-file",
                certificate,
                "--tls-key-file",
                key,
                "--tls-ca-cert-file",
                root,
                "--tls-auth-clients",
                "no",
            ]),
        }
        command.extend(["--bind", "127.0.0.1", "--save", "", "--dir", &dir]);
        let Ok(service) = Service::start(&command, &dir, &log, "KILL") else {
            return false;
        };
        let answers = || TcpStream::connect(("127.0.0.1", self.port)).is_ok();
        wait_until("starting Redis", || answers() || !service.runs());
        if service.runs() && answers() {
            self.service = Some(service);
            return true;
        }
        false
    }
}
