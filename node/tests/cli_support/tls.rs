//! A node with TLS and those who meet it, and a private authority.

#![allow(dead_code, reason = "no test uses all of it")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use rcgen::{
    BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, PKCS_ED25519,
    SignatureAlgorithm,
};

use crate::cli_support::{Done, RunningNode, program};

/// A node with TLS, and a client with a data directory of its own.
pub(crate) struct Scene {
    pub(crate) directory: tempfile::TempDir,
    pub(crate) node: RunningNode,
}

impl Scene {
    pub(crate) fn with(arguments: &[&str]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let node =
            RunningNode::start(&directory.path().join("node"), &[&["--listen", "127.0.0.1:0"], arguments].concat());
        Scene { directory, node }
    }

    pub(crate) fn address(&self) -> String {
        self.node.listening()[0].clone()
    }

    pub(crate) fn id(&self) -> String {
        self.node.lines[0].strip_prefix("node ").unwrap().to_owned()
    }

    pub(crate) fn ask(&self, command: &str, arguments: &[&str]) -> Done {
        let directory = self.directory.path().join("ours");
        program(&[command, &self.address(), "--data-dir"]).path(&directory).args(arguments).run()
    }

    pub(crate) fn ping(&self, arguments: &[&str]) -> Done {
        self.ask("ping", &[&["--count", "1"], arguments].concat())
    }

    pub(crate) fn remembered(&self) -> PathBuf {
        self.directory.path().join("ours/client/known_identities.json")
    }
}

pub(crate) fn succeeded(done: &Done) {
    assert_eq!(done.code, 0, "{done:?}");
}

/// The one line of a command that failed.
pub(crate) fn line(done: &Done) -> &str {
    assert_eq!((done.code, done.stdout.as_str()), (1, ""), "{done:?}");
    assert_eq!(done.stderr.lines().count(), 1, "{done:?}");
    done.stderr.trim_end()
}

/// A private authority in a folder of its own.
pub(crate) struct Office {
    folder: PathBuf,
    issuer: Issuer<'static, KeyPair>,
}

impl Office {
    pub(crate) fn open(folder: &Path) -> Self {
        fs::create_dir_all(folder).unwrap();
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        fs::write(folder.join("root.pem"), params.self_signed(&key).unwrap().pem()).unwrap();
        Office { folder: folder.to_owned(), issuer: Issuer::new(params, key) }
    }

    /// The flags of a node with a certificate for these names.
    pub(crate) fn flags(&self, file: &str, names: &[&str]) -> Vec<String> {
        self.sign(file, names, &rcgen::PKCS_ECDSA_P256_SHA256, &[], false)
    }

    /// The same, with a certificate whose time is over.
    pub(crate) fn expired_flags(&self, file: &str, names: &[&str]) -> Vec<String> {
        self.sign(file, names, &rcgen::PKCS_ECDSA_P256_SHA256, &[], true)
    }

    /// The same, with a certificate for these uses only.
    pub(crate) fn flags_for(&self, file: &str, names: &[&str], uses: &[ExtendedKeyUsagePurpose]) -> Vec<String> {
        self.sign(file, names, &PKCS_ED25519, uses, false)
    }

    /// What names the key of a certificate that was signed here: the SHA-256 of its SubjectPublicKeyInfo, as browsers write it. `None`
    /// where there is no OpenSSL to say it.
    pub(crate) fn key_hash(&self, file: &str) -> Option<String> {
        let script = "openssl pkey -in \"$1\" -pubout -outform der | openssl dgst -sha256 -binary | openssl base64";
        let key = self.folder.join(format!("{file}.key"));
        let done = Command::new("sh").args(["-c", script, "sh"]).arg(key).output().unwrap();
        let hash = String::from_utf8(done.stdout).unwrap().trim().to_owned();
        (!hash.is_empty()).then_some(hash)
    }

    fn sign(
        &self,
        file: &str,
        names: &[&str],
        kind: &'static SignatureAlgorithm,
        uses: &[ExtendedKeyUsagePurpose],
        is_expired: bool,
    ) -> Vec<String> {
        let key = KeyPair::generate_for(kind).unwrap();
        let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
        let mut params = CertificateParams::new(names).unwrap();
        params.distinguished_name.push(rcgen::DnType::CommonName, file);
        params.extended_key_usages = uses.to_vec();
        if is_expired {
            params.not_after = rcgen::date_time_ymd(2001, 1, 1);
        }
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        let path = |kind: &str| self.folder.join(format!("{file}.{kind}")).to_str().unwrap().to_owned();
        fs::write(path("crt"), certificate.pem()).unwrap();
        fs::write(path("key"), key.serialize_pem()).unwrap();
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            fs::set_permissions(path("key"), fs::Permissions::from_mode(0o600)).unwrap();
        }
        let root = self.folder.join("root.pem").to_str().unwrap().to_owned();
        let flags = ["--tls", "ca", "--ca", &root, "--tls-cert", &path("crt"), "--tls-key", &path("key")];
        flags.map(str::to_owned).to_vec()
    }
}

pub(crate) fn borrowed(flags: &[String]) -> Vec<&str> {
    flags.iter().map(String::as_str).collect()
}
