//! OpenSSL's own time-stamping authority, with certificates of every kind, behind HTTP if wanted.

#![expect(
    clippy::missing_panics_doc,
    reason = "what cannot be set up fails the test"
)]

use std::fs;
use std::io::Write as _;
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use crate::web::read_request;

/// What a signing certificate's extensions say.
pub const GOOD: &str = "extendedKeyUsage=critical,timeStamping";

/// A certificate authority and its time-stamping certificates, in a directory of its own.
pub struct Tsa {
    dir: tempfile::TempDir,
    serial: AtomicU64,
    /// Held while the authority signs: `openssl` rewrites its files of serial numbers meanwhile.
    issuing: Mutex<()>,
}

impl Tsa {
    /// A new root, and a good signer `rsa`.
    pub fn new() -> Self {
        let tsa = Self {
            dir: tempfile::tempdir().expect("a directory"),
            serial: AtomicU64::new(1),
            issuing: Mutex::default(),
        };
        tsa.write("openssl.cnf", CONFIG);
        tsa.write("index.txt", "");
        tsa.write("tsaserial", "01\n");
        tsa.openssl(&[
            "req",
            "-x509",
            "-newkey",
            "rsa:2048",
            "-nodes",
            "-sha256",
            "-days",
            "3650",
            "-subj",
            "/CN=Test Root",
            "-keyout",
            "ca.key",
            "-out",
            "ca.pem",
            "-config",
            "openssl.cnf",
            "-extensions",
            "root",
        ]);
        tsa.issue("rsa", &["-newkey", "rsa:2048"], GOOD, None);
        tsa
    }

    /// A file of this authority.
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn write(&self, name: &str, bytes: impl AsRef<[u8]>) {
        fs::write(self.path(name), bytes).expect("a file");
    }

    /// Runs openssl, which has to succeed.
    pub fn openssl(&self, args: &[&str]) -> String {
        match self.try_openssl(args) {
            Ok(out) => out,
            Err(text) => panic!("openssl {args:?}: {text}"),
        }
    }

    /// Runs openssl; what it says, if it fails.
    ///
    /// # Errors
    /// Its standard error.
    pub fn try_openssl(&self, args: &[&str]) -> Result<String, String> {
        let output = Command::new("openssl")
            .args(args)
            .current_dir(self.dir.path())
            .output()
            .expect("openssl is installed");
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        if output.status.success() {
            Ok(text(&output.stdout))
        } else {
            Err(text(&output.stderr))
        }
    }

    /// Issues `<name>.pem` and `<name>.key`, with these extensions, valid for ten years or between
    /// these times (`YYYYMMDDHHMMSSZ`).
    pub fn issue(
        &self,
        name: &str,
        key: &[&str],
        extensions: &str,
        validity: Option<(&str, &str)>,
    ) {
        let file = |suffix: &str| format!("{name}.{suffix}");
        let (key_file, csr, pem, ext) = (file("key"), file("csr"), file("pem"), file("ext"));
        let subject = format!("/CN=Test TSA {name}");
        let mut request = vec![
            "req",
            "-new",
            "-nodes",
            "-subj",
            &subject,
            "-config",
            "openssl.cnf",
        ];
        request.extend(key);
        request.extend(["-keyout", &key_file, "-out", &csr]);
        self.openssl(&request);
        self.write(&ext, extensions);
        let _issuing = self.issuing.lock().unwrap_or_else(PoisonError::into_inner);
        let serial = self.serial.fetch_add(1, Ordering::Relaxed);
        self.write("serial", format!("{serial:04x}\n"));
        let mut sign = vec![
            "ca",
            "-batch",
            "-notext",
            "-md",
            "sha256",
            "-config",
            "openssl.cnf",
            "-extfile",
            &ext,
        ];
        match validity {
            Some((from, to)) => sign.extend(["-startdate", from, "-enddate", to]),
            None => sign.extend(["-days", "3650"]),
        }
        sign.extend(["-in", &csr, "-out", &pem]);
        self.openssl(&sign);
    }

    /// Answers a request, as OpenSSL does.
    pub fn reply(&self, request: &[u8], signer: &str) -> Vec<u8> {
        let name = format!("r{}", self.serial.fetch_add(1, Ordering::Relaxed));
        let (query, reply) = (format!("{name}.tsq"), format!("{name}.tsr"));
        self.write(&query, request);
        let _issuing = self.issuing.lock().unwrap_or_else(PoisonError::into_inner);
        self.openssl(&[
            "ts",
            "-reply",
            "-config",
            "openssl.cnf",
            "-queryfile",
            &query,
            "-signer",
            &format!("{signer}.pem"),
            "-inkey",
            &format!("{signer}.key"),
            "-out",
            &reply,
        ]);
        fs::read(self.path(&reply)).expect("a reply")
    }

    /// Signs the content of a reply again, under any certificate: what `openssl ts` would refuse to do.
    ///
    /// # Errors
    /// What openssl says, where it cannot sign with that key.
    pub fn sign_again(&self, reply: &[u8], signer: &str) -> Result<Vec<u8>, String> {
        self.write("again.tsr", reply);
        self.openssl(&[
            "ts",
            "-reply",
            "-in",
            "again.tsr",
            "-token_out",
            "-out",
            "again.token",
        ]);
        self.openssl(&[
            "cms",
            "-verify",
            "-noverify",
            "-binary",
            "-inform",
            "DER",
            "-in",
            "again.token",
            "-out",
            "again.info",
        ]);
        self.try_openssl(&[
            "cms",
            "-sign",
            "-cades",
            "-binary",
            "-nodetach",
            "-md",
            "sha256",
            "-econtent_type",
            "1.2.840.113549.1.9.16.1.4",
            "-in",
            "again.info",
            "-signer",
            &format!("{signer}.pem"),
            "-inkey",
            &format!("{signer}.key"),
            "-outform",
            "DER",
            "-out",
            "again.cms",
        ])?;
        let token = fs::read(self.path("again.cms")).expect("a token");
        let mut response = vec![0x30, 0x82, 0, 0, 0x30, 3, 2, 1, 0];
        response.extend(token);
        let length = u16::try_from(response.len() - 4)
            .expect("a short token")
            .to_be_bytes();
        response[2..4].copy_from_slice(&length);
        Ok(response)
    }

    /// Answers over HTTP until dropped.
    pub fn serve(self: &Arc<Self>, signer: &str) -> Service {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let url = format!("http://{}/tsa", listener.local_addr().expect("an address"));
        let stop = Arc::new(AtomicBool::new(false));
        let (tsa, stopped, signer) = (Arc::clone(self), Arc::clone(&stop), signer.to_owned());
        let answered = Arc::new(AtomicU64::new(0));
        let count = Arc::clone(&answered);
        let thread = thread::spawn(move || {
            for stream in listener.incoming() {
                if stopped.load(Ordering::Acquire) {
                    return;
                }
                let Ok(mut stream) = stream else { continue };
                let Ok((_, request)) = read_request(&mut stream) else {
                    continue;
                };
                let reply = tsa.reply(&request, &signer);
                let head = format!(
                    "HTTP/1.1 200 OK\r\ncontent-type: application/timestamp-reply\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
                    reply.len()
                );
                // A client that hung up is its own concern.
                let _ = stream
                    .write_all(head.as_bytes())
                    .and_then(|()| stream.write_all(&reply));
                count.fetch_add(1, Ordering::Release);
            }
        });
        Service {
            url,
            stop,
            answered,
            thread: Some(thread),
        }
    }
}

impl Default for Tsa {
    fn default() -> Self {
        Self::new()
    }
}

/// A time-stamping authority that listens.
pub struct Service {
    /// Where.
    pub url: String,
    /// How many requests it has answered.
    pub answered: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
    thread: Option<thread::JoinHandle<()>>,
}

impl Drop for Service {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
        // Wakes it from `accept`.
        let address = self
            .url
            .trim_start_matches("http://")
            .trim_end_matches("/tsa");
        let _ = std::net::TcpStream::connect(address);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

const CONFIG: &str = "\
[req]
distinguished_name=dn
prompt=no
[dn]
CN=unused
[root]
basicConstraints=critical,CA:TRUE
keyUsage=critical,keyCertSign,cRLSign
subjectKeyIdentifier=hash
[ca]
default_ca=ca_default
[ca_default]
dir=.
database=index.txt
serial=serial
new_certs_dir=.
certificate=ca.pem
private_key=ca.key
default_days=3650
default_md=sha256
policy=policy
unique_subject=no
[policy]
CN=supplied
[tsa]
default_tsa=tsa_config
[tsa_config]
serial=tsaserial
crypto_device=builtin
digests=sha256
signer_digest=sha256
default_policy=1.2.3.4.1
accuracy=secs:1
ess_cert_id_alg=sha256
";
