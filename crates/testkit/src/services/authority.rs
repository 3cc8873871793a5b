//! A certificate authority of one's own, by OpenSSL, that nobody else trusts.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

const CONFIG: &str = "[req]\ndistinguished_name = name\nprompt = no\n[name]\nCN = Test Authority\n\
    [root]\nbasicConstraints = critical, CA:TRUE\nkeyUsage = critical, keyCertSign\n\
    [end]\nbasicConstraints = critical, CA:FALSE\nsubjectAltName = DNS:localhost, IP:127.0.0.1\n";

/// An authority, in a directory that the test owns.
#[derive(Debug)]
pub struct Authority {
    dir: PathBuf,
}

impl Authority {
    /// A new one, in a new directory `dir`, with a certificate for `localhost` and 127.0.0.1.
    ///
    /// # Panics
    /// If `openssl` does not do it; `scripts/needs.sh openssl` installs it.
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        let authority = Self { dir: dir.into() };
        fs::create_dir_all(&authority.dir).expect("a directory");
        fs::write(authority.dir.join("openssl.cnf"), CONFIG).expect("a file");
        let key = "-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes";
        let config = "-config openssl.cnf";
        authority.openssl(&format!(
            "req -x509 {key} {config} -extensions root -days 2 -keyout ca.key -out ca.pem"
        ));
        authority.openssl(&format!(
            "req -new {key} {config} -subj /CN=localhost -keyout server.key -out server.csr"
        ));
        authority.openssl(
            "x509 -req -in server.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 -extfile openssl.cnf \
             -extensions end -out server.pem",
        );
        authority
    }

    /// Its own certificate, by which others are trusted.
    pub fn root(&self) -> PathBuf {
        self.dir.join("ca.pem")
    }

    /// The server's certificate.
    pub fn certificate(&self) -> PathBuf {
        self.dir.join("server.pem")
    }

    /// The server's key.
    pub fn key(&self) -> PathBuf {
        self.dir.join("server.key")
    }

    /// Where all of it is.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    fn openssl(&self, args: &str) {
        let output = Command::new("openssl")
            .args(args.split_whitespace())
            .current_dir(&self.dir)
            .output()
            .expect("openssl is installed");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "openssl {args}: {said}");
    }
}
