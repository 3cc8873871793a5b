//! Object stores: what stands in for S3, Azure Blob and Google Cloud Storage on one machine.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::Command;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

use super::{Service, free_port, installed, wait_until};

/// A running object store.
#[derive(Debug)]
pub struct Bucket {
    port: u16,
    _service: Service,
}

/// The name of the bucket or container that each of them has.
pub const BUCKET: &str = "ledger";
/// Azurite's one account; the key is in its documentation.
const AZURE_KEY: &str =
    "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==";

/// S3, by moto; all tests of this process share it.
///
/// # Panics
/// If it cannot be started; `scripts/needs.sh moto` installs it. So for the others.
pub fn s3() -> &'static Bucket {
    static SHARED: OnceLock<Bucket> = OnceLock::new();
    SHARED.get_or_init(|| {
        let python = installed("moto").join("bin/python");
        let bucket = Bucket::start(|_, port| {
            let python = python.to_string_lossy().into_owned();
            let command = [
                &python,
                "-m",
                "moto.server",
                "-H",
                "127.0.0.1",
                "-p",
                &port.to_string(),
            ];
            command.map(str::to_owned).to_vec()
        });
        let answer = bucket.ask(&format!(
            "PUT /{BUCKET} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
        ));
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        bucket
    })
}

/// Azure Blob, by Azurite.
///
/// # Panics
/// As [`s3`] does.
pub fn azure() -> &'static Bucket {
    static SHARED: OnceLock<Bucket> = OnceLock::new();
    SHARED.get_or_init(|| {
        let main = installed("azurite").join("node_modules/azurite/dist/src/blob/main.js");
        let bucket = Bucket::start(|dir, port| {
            let (main, port) = (main.to_string_lossy(), port.to_string());
            let command = [
                "node",
                &main,
                "--blobHost",
                "127.0.0.1",
                "--blobPort",
                &port,
                "--location",
                dir,
                "--skipApiVersionCheck",
                "--disableTelemetry",
            ];
            command.map(str::to_owned).to_vec()
        });
        bucket.make_container();
        bucket
    })
}

/// Google Cloud Storage, by an emulator that does not look at preconditions.
///
/// # Panics
/// As [`s3`] does.
pub fn careless_gcs() -> &'static Bucket {
    static SHARED: OnceLock<Bucket> = OnceLock::new();
    SHARED.get_or_init(|| {
        let program = installed("gcp-storage-emulator").join("bin/gcp-storage-emulator");
        Bucket::start(|_, port| {
            let (program, port) = (program.to_string_lossy(), format!("--port={port}"));
            let bucket = format!("--default-bucket={BUCKET}");
            let command = [
                &program,
                "start",
                "--host=127.0.0.1",
                &port,
                "--in-memory",
                &bucket,
            ];
            command.map(str::to_owned).to_vec()
        })
    })
}

impl Bucket {
    fn start(command: impl Fn(&str, u16) -> Vec<String>) -> Self {
        for _ in 0..5 {
            let made = Command::new("mktemp")
                .args(["-d", "/tmp/rlhf-audit-bucket.XXXXXX"])
                .output()
                .expect("mktemp runs");
            let dir = String::from_utf8_lossy(&made.stdout).trim().to_owned();
            let port = free_port().expect("a free port");
            let command = command(&dir, port);
            let command: Vec<_> = command.iter().map(String::as_str).collect();
            let log = format!("{dir}/log");
            let service = Service::start(&command, &dir, &log, "KILL").expect("a process starts");
            let answers = || TcpStream::connect(("127.0.0.1", port)).is_ok();
            wait_until(command[0], || answers() || !service.runs());
            if service.runs() && answers() {
                return Self {
                    port,
                    _service: service,
                };
            }
            eprintln!("{}", fs::read_to_string(log).unwrap_or_default());
        }
        panic!("no object store started");
    }

    /// Where it listens on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// A prefix that no other test has.
    pub fn new_prefix(&self) -> String {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        format!("test{}/log", NEXT.fetch_add(1, Ordering::Relaxed))
    }

    fn ask(&self, request: &str) -> String {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).expect("it listens");
        stream.write_all(request.as_bytes()).expect("it reads");
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).expect("it answers");
        String::from_utf8_lossy(&answer).into_owned()
    }

    /// Only a signed request makes a container. Node is there, since Azurite runs on it, and can sign.
    fn make_container(&self) {
        const SCRIPT: &str = r"
            const [port, container, key] = process.argv.slice(1);
            const account = 'devstoreaccount1', date = new Date().toUTCString(), version = '2021-12-02';
            const text = 'PUT' + '\n'.repeat(12) + `x-ms-date:${date}\nx-ms-version:${version}\n`
                + `/${account}/${account}/${container}\nrestype:container`;
            const signature = require('crypto').createHmac('sha256', Buffer.from(key, 'base64')).update(text).digest('base64');
            const headers = {
                'x-ms-date': date, 'x-ms-version': version, 'Content-Length': 0,
                Authorization: `SharedKey ${account}:${signature}`,
            };
            const path = `/${account}/${container}?restype=container`;
            require('http').request({ host: '127.0.0.1', port, path, method: 'PUT', headers }, (answer) => {
                answer.resume();
                process.exitCode = answer.statusCode === 201 ? 0 : 1;
            }).end();
        ";
        let made = Command::new("node")
            .args(["-e", SCRIPT, &self.port.to_string(), BUCKET, AZURE_KEY])
            .output()
            .expect("node runs");
        assert!(
            made.status.success(),
            "{}",
            String::from_utf8_lossy(&made.stderr)
        );
    }
}

/// What a client needs to reach S3 on `port`.
pub fn s3_options(port: u16) -> Vec<(String, String)> {
    owned(&[
        ("AWS_ACCESS_KEY_ID", "test"),
        ("AWS_SECRET_ACCESS_KEY", "test"),
        ("AWS_REGION", "us-east-1"),
        ("AWS_ENDPOINT_URL", &format!("http://127.0.0.1:{port}")),
    ])
}

/// What a client needs to reach Azure Blob on `port`.
pub fn azure_options(port: u16) -> Vec<(String, String)> {
    owned(&[
        ("AZURE_STORAGE_ACCOUNT_NAME", "devstoreaccount1"),
        ("AZURE_STORAGE_ACCOUNT_KEY", AZURE_KEY),
        (
            "AZURE_STORAGE_ENDPOINT",
            &format!("http://127.0.0.1:{port}/devstoreaccount1"),
        ),
    ])
}

/// What a client needs to reach Google Cloud Storage on `port`.
pub fn gcs_options(port: u16) -> Vec<(String, String)> {
    owned(&[
        ("GOOGLE_BASE_URL", &format!("http://127.0.0.1:{port}")),
        ("GOOGLE_BEARER_TOKEN", "anybody"),
    ])
}

fn owned(options: &[(&str, &str)]) -> Vec<(String, String)> {
    let owned = |(key, value): &(&str, &str)| ((*key).to_owned(), (*value).to_owned());
    options.iter().map(owned).collect()
}
