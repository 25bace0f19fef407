//! Certificates that are renewed while a node runs: looked for every few seconds, and at once on SIGHUP. New connections get
//! them; those that stand are left alone.
//!
//! A thread of its own reads the files, for they may be on a disk that is slow. What is written half, or does not belong
//! together, is told and tried again; until then what is in use stays in use.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread;
use std::time::{Duration, SystemTime};

use spacetime_network::driver::node::{NodeCommand, NodeMut};
use spacetime_network::link::tls::Tls;
use spacetime_network::link::tls::identity::Identity;
use spacetime_network::link::tls::trust::{Authority, Trust};
use spacetime_network::time::UnixTime;

use crate::failure::Failure;
use crate::full_node::NodeHandle;
use crate::key::{self, KeyReaders};

/// Time between two looks at the files.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// The files of `--tls ca`.
#[derive(Clone, Debug)]
pub(crate) struct CertificateFiles {
    pub(crate) certificate: PathBuf,
    pub(crate) key: PathBuf,
    pub(crate) authority: PathBuf,
    /// Names that the certificates of others must be for.
    pub(crate) names: Vec<String>,
    pub(crate) key_readers: KeyReaders,
}

/// What tells one version of a file from the next: where it is, how long, and when it was written. A directory that is
/// exchanged as a whole, as Kubernetes does it, gives other files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Stamp(Vec<Option<(u64, u64, Option<SystemTime>)>>);

impl CertificateFiles {
    /// Who we are by these files, and whom we trust.
    pub(crate) fn load(&self) -> Result<(Identity, Authority), Failure> {
        let authority = Authority::from_pem(&read(&self.authority)?, &self.names).map_err(|error| {
            Failure::new(
                format!("use the authority in {}", self.authority.display()),
                error,
                "give root certificates as PEM, and names like node-0.example.org or 192.0.2.7",
            )
        })?;
        let (certificate, key) = (read(&self.certificate)?, key::read_private(&self.key, self.key_readers)?);
        let identity = Identity::from_pem(&certificate, &key).map_err(|error| {
            Failure::new(
                format!("use the certificate in {} with the key in {}", self.certificate.display(), self.key.display()),
                error,
                "give the node's certificate with its intermediates, and its private key, as PEM",
            )
        })?;
        Ok((identity, authority))
    }

    /// What is to be said of a certificate that everybody will refuse.
    pub(crate) fn out_of_time(&self) -> Failure {
        Failure::new(
            format!("use the certificate in {}", self.certificate.display()),
            "it is expired or not valid yet, and others refuse it",
            "renew it, or set the clock of this machine",
        )
    }

    /// Which versions of the files there are.
    pub(crate) fn stamp(&self) -> Stamp {
        let stamp = |path: &PathBuf| {
            let metadata = fs::metadata(path).ok()?;
            #[cfg(unix)]
            let place = std::os::unix::fs::MetadataExt::ino(&metadata);
            #[cfg(not(unix))]
            let place = 0;
            Some((place, metadata.len(), metadata.modified().ok()))
        };
        Stamp([&self.certificate, &self.key, &self.authority].map(stamp).to_vec())
    }
}

/// The wall clock.
pub(crate) fn unix_time() -> UnixTime {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    UnixTime::from_millis(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}

fn read(path: &Path) -> Result<Vec<u8>, Failure> {
    fs::read(path).map(|text| key::without_mark(&text).to_vec()).map_err(|error| {
        Failure::new(format!("read {}", path.display()), error, "check its path and that this user may read it")
    })
}

/// Certificates in use, and the files that they came from.
#[derive(Clone, Debug)]
pub(crate) struct Renewal {
    files: CertificateFiles,
    tls: Tls,
    /// The files as they were when what is in use was read.
    used: Stamp,
}

/// Asks for a look at once.
#[derive(Clone, Debug)]
pub(crate) struct Bell(SyncSender<()>);

impl Bell {
    pub(crate) fn ring(&self) {
        // One that waits is as good as two.
        let _ = self.0.try_send(());
    }
}

impl Renewal {
    /// `used` says what the files were before `tls` was made of them.
    pub(crate) fn new(files: CertificateFiles, used: Stamp, tls: Tls) -> Self {
        Renewal { files, tls, used }
    }

    /// Looks after the certificates of the node of `handle` until the bell is gone.
    pub(crate) fn start(self, handle: NodeHandle) -> Result<Bell, Failure> {
        let (bell, rung) = sync_channel(1);
        thread::Builder::new()
            .name("certificates".to_owned())
            .spawn(move || self.watch(&handle, &rung))
            .map_err(|error| Failure::new("start a thread that looks after certificates", error, "try again"))?;
        Ok(Bell(bell))
    }

    fn watch(mut self, handle: &NodeHandle, rung: &Receiver<()>) {
        let mut told = None;
        loop {
            let was_asked = match rung.recv_timeout(LOOK_EVERY) {
                Ok(()) => true,
                Err(RecvTimeoutError::Timeout) => false,
                Err(RecvTimeoutError::Disconnected) => return,
            };
            // Before they are read: what changes after that is looked at again.
            let found = self.files.stamp();
            if !was_asked && found == self.used {
                continue;
            }
            match self.files.load() {
                Ok((identity, authority)) if !authority.is_in_time(&identity, unix_time()) => {
                    let failure = self.files.out_of_time();
                    if was_asked || told.as_ref() != Some(&failure) {
                        tracing::warn!("{failure}; the certificate of before stays in use");
                    }
                    told = Some(failure);
                }
                Ok((identity, authority)) => {
                    if self.take_up(handle, &identity, authority) {
                        (self.used, told) = (found, None);
                    }
                }
                Err(failure) => {
                    // It is tried again and again: said once, until it fails in another way, or somebody asks.
                    if was_asked || told.as_ref() != Some(&failure) {
                        tracing::warn!("{failure}; the certificate of before stays in use");
                    }
                    told = Some(failure);
                }
            }
        }
    }

    /// Gives new connections what was read. On the loop's thread, so that no connection greets under one id and has shown
    /// the certificate of another. False when the loop is too busy to be told.
    fn take_up(&self, handle: &NodeHandle, identity: &Identity, authority: Authority) -> bool {
        let (tls, identity) = (self.tls.clone(), identity.clone());
        let take_up = NodeCommand::With(Box::new(move |mut node: NodeMut<'_, _>, now| {
            let former = tls.id();
            if let Err(error) = tls.replace_identity(&identity) {
                tracing::error!(%error, "the renewed certificate cannot be used");
                return;
            }
            tls.set_trust(Trust::Authority(authority));
            let node_id = tls.id();
            node.set_node_id(now, node_id.to_string());
            if node_id == former {
                tracing::info!("certificates read again: new connections get them");
            } else {
                tracing::info!(%node_id, %former, "certificates read again: new connections get them, with a new key");
            }
        }));
        handle.send(take_up).is_ok()
    }
}
