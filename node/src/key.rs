//! `node.key`: the Ed25519 key that a node is known by.
//!
//! The file is a PKCS #8 document of version 1 (RFC 8410, section 7) in PEM, which other tools read
//! (`openssl pkey -in node.key -text`). The node's id is the SHA-256, in lower-case hexadecimal, of the public key's
//! SubjectPublicKeyInfo. A key is made once, never overwritten and never thrown away: losing it is losing the identity.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read};
use std::path::Path;

use spacetime_network::driver::store::{NotAFile, check_free, make_private_file, open_file};
use spacetime_network::link::tls::identity::Identity;

use crate::failure::{Failure, disk_remedy};

const PEM_TAG: &str = "PRIVATE KEY";
/// A key file has about 120 bytes, with a certificate beside it a few thousand; whatever is longer than this is not one, and
/// is not read.
const FILE_LEN_MAX: u64 = 64 * 1024;

/// Who but its owner may read a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum KeyReaders {
    /// Nobody.
    Owner,
    /// The file's group, which the operator trusts (`--key-mode-group`).
    Group,
    /// Whoever can: for a look at the public part.
    Anybody,
}

impl KeyReaders {
    /// As the flag asks for it.
    pub(crate) fn of_flag(key_mode_group: bool) -> Self {
        if key_mode_group { KeyReaders::Group } else { KeyReaders::Owner }
    }

    /// The bits of a file's mode that must not be set.
    #[cfg(unix)]
    fn forbidden(self) -> u32 {
        match self {
            KeyReaders::Owner => 0o077,
            KeyReaders::Group => 0o007,
            KeyReaders::Anybody => 0,
        }
    }
}

/// The id of the key in `path`; the key is made when there is no such file.
pub(crate) fn node_id(path: &Path, readers: KeyReaders) -> Result<String, Failure> {
    identity(path, readers).map(|identity| identity.id().to_string())
}

/// The same for one who wants to know the id and does nothing with the key; with a warning where others may read the key, on a
/// file system that cannot be written. The remedy for that cannot be had there, and the id is no secret.
pub(crate) fn public_id(path: &Path, readers: KeyReaders) -> Result<(String, Option<String>), Failure> {
    match node_id(path, readers) {
        Ok(id) => Ok((id, None)),
        Err(failure) if is_on_a_read_only_file_system(path) => {
            let id = node_id(path, KeyReaders::Anybody)?;
            Ok((id, Some(format!("warning: {failure}; here that cannot be done, so do it where the key is used"))))
        }
        Err(failure) => Err(failure),
    }
}

/// Whether the file is there, and would not be written however its mode was.
fn is_on_a_read_only_file_system(path: &Path) -> bool {
    // Nothing is changed: it is neither made nor cut.
    let opened = open_file(OpenOptions::new().write(true), path);
    opened.is_err_and(|error| error.kind() == io::ErrorKind::ReadOnlyFilesystem)
}

/// The key in `path`, if there is one.
pub(crate) fn existing(path: &Path, readers: KeyReaders) -> Result<Option<Identity>, Failure> {
    load(path, readers)?.map(|key| decode(path, &key)).transpose()
}

/// The key in `path`; made when there is no such file.
pub(crate) fn identity(path: &Path, readers: KeyReaders) -> Result<Identity, Failure> {
    let key = match load(path, readers)? {
        Some(key) => key,
        None => {
            create(path)?;
            // Another process may have been faster: the file is what counts.
            load(path, readers)?.ok_or_else(|| {
                Failure::new(format!("read {}", path.display()), "it was removed meanwhile", "try again")
            })?
        }
    };
    decode(path, &key)
}

fn decode(path: &Path, key: &[u8]) -> Result<Identity, Failure> {
    Identity::from_pkcs8(key).map_err(|_| damaged(path, "not an Ed25519 key in PKCS #8, version 1"))
}

/// A private key of the operator's own making: read, unless others can read it too.
pub(crate) fn read_private(path: &Path, readers: KeyReaders) -> Result<Vec<u8>, Failure> {
    let unreadable = |error: io::Error| {
        Failure::new(format!("read {}", path.display()), error, "check its path and that this user may read it")
    };
    // Of one opening: between two, another file may take the name.
    let mut file = File::open(path).map_err(unreadable)?;
    refuse_shared(path, &file.metadata().map_err(unreadable)?, readers)?;
    let mut text = Vec::new();
    file.read_to_end(&mut text).map_err(unreadable)?;
    Ok(without_mark(&text).to_vec())
}

fn load(path: &Path, readers: KeyReaders) -> Result<Option<Vec<u8>>, Failure> {
    let unreadable =
        |error: io::Error| Failure::new(format!("read {}", path.display()), error, "make it readable for this user");
    let mut file = match open_file(OpenOptions::new().read(true), path) {
        Ok(file) => file,
        // A key must not be made where one is that cannot be reached at present.
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return check_free(path)
                .map(|()| None)
                .map_err(|error| Failure::new(format!("read {}", path.display()), &error, disk_remedy(&error)));
        }
        Err(error) => {
            return Err(match NotAFile::behind(&error) {
                Some(found) => damaged(path, &format!("{}, not a key file", found.what)),
                None => unreadable(error),
            });
        }
    };
    let metadata = file.metadata().map_err(unreadable)?;
    if metadata.len() > FILE_LEN_MAX {
        return Err(damaged(path, "not a key file"));
    }
    refuse_shared(path, &metadata, readers)?;
    let mut text = Vec::new();
    (&mut file).take(FILE_LEN_MAX).read_to_end(&mut text).map_err(unreadable)?;
    contents(&text).map(Some).map_err(|why| damaged(path, why))
}

/// The first private key of the text, whatever else stands there.
fn contents(text: &[u8]) -> Result<Vec<u8>, &'static str> {
    let documents = pem::parse_many(without_mark(text)).map_err(|_| "not PEM")?;
    if documents.is_empty() {
        return Err("not PEM");
    }
    let key = documents.into_iter().find(|document| document.tag() == PEM_TAG);
    key.map(pem::Pem::into_contents).ok_or("there is no PRIVATE KEY in it")
}

/// The text without the byte order mark that some editors begin any text with. It would hide the first line.
pub(crate) fn without_mark(text: &[u8]) -> &[u8] {
    text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text)
}

fn damaged(path: &Path, why: &str) -> Failure {
    Failure::new(
        format!("use the key in {}", path.display()),
        why,
        "restore it from a backup, or move it away to get a new identity",
    )
}

#[cfg(unix)]
fn refuse_shared(path: &Path, metadata: &fs::Metadata, readers: KeyReaders) -> Result<(), Failure> {
    use std::os::unix::fs::PermissionsExt;
    let mode = metadata.permissions().mode() & 0o777;
    if mode & readers.forbidden() == 0 {
        return Ok(());
    }
    let path = path.display();
    let remedy = match readers {
        KeyReaders::Owner if mode & KeyReaders::Group.forbidden() == 0 => {
            format!("run chmod 600 {path}, or give --key-mode-group if its group is to be trusted")
        }
        KeyReaders::Owner => format!("run chmod 600 {path}"),
        KeyReaders::Group | KeyReaders::Anybody => format!("run chmod 640 {path}"),
    };
    Err(Failure::new(format!("use the key in {path}"), format!("others may read it (mode {mode:04o})"), remedy))
}

#[cfg(not(unix))]
fn refuse_shared(_: &Path, _: &fs::Metadata, _: KeyReaders) -> Result<(), Failure> {
    Ok(())
}

/// Makes a new key, unless there is one by now.
fn create(path: &Path) -> Result<(), Failure> {
    let failed =
        |error: &dyn std::fmt::Display, remedy| Failure::new(format!("create {}", path.display()), error, remedy);
    let document = Identity::generate_pkcs8().map_err(|error| failed(&error, "try again"))?;
    let config = pem::EncodeConfig::new().set_line_ending(pem::LineEnding::LF);
    let text = pem::encode_config(&pem::Pem::new(PEM_TAG, document), config);
    make_private_file(path, text.as_bytes()).map(drop).map_err(|error| failed(&error, disk_remedy(&error)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_made_once_and_kept() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("node.key");
        let id = node_id(&path, KeyReaders::Owner).unwrap();
        assert_eq!(id.len(), 64);
        let before = fs::read(&path).unwrap();
        create(&path).unwrap();
        assert_eq!(fs::read(&path).unwrap(), before);
        assert_eq!(node_id(&path, KeyReaders::Owner).unwrap(), id);
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_damaged_key_is_reported_and_left_as_it_is() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("node.key");
        node_id(&path, KeyReaders::Owner).unwrap();
        let good = fs::read_to_string(&path).unwrap();
        for bad in [String::new(), good.replace("PRIVATE", "PUBLIC"), good.replace("MC4C", "MC4D"), "x".repeat(70_000)]
        {
            fs::write(&path, &bad).unwrap();
            let why = node_id(&path, KeyReaders::Owner).unwrap_err().to_string();
            assert!(why.contains("restore it from a backup"), "{why}");
            assert_eq!(fs::read_to_string(&path).unwrap(), bad);
        }
    }

    /// Once it was made beside the link, found there, not found behind it, and "removed meanwhile", at every start.
    #[cfg(unix)]
    #[test]
    fn a_key_that_is_a_link_to_nothing_says_so() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("node.key");
        let target = directory.path().join("elsewhere.key");
        std::os::unix::fs::symlink(&target, &path).unwrap();
        let why = node_id(&path, KeyReaders::Owner).unwrap_err().to_string();
        assert!(why.contains("elsewhere.key, which is not there; bring that back"), "{why}");
        assert!(!target.exists());
        let other = directory.path().join("other.key");
        let id = node_id(&other, KeyReaders::Owner).unwrap();
        fs::rename(other, target).unwrap();
        assert_eq!(node_id(&path, KeyReaders::Owner), Ok(id));
    }

    #[cfg(unix)]
    #[test]
    fn a_key_that_others_may_read_is_refused_with_the_remedy() {
        use std::os::unix::fs::PermissionsExt;
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("node.key");
        node_id(&path, KeyReaders::Owner).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        for mode in [0o640, 0o604, 0o610] {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            let why = node_id(&path, KeyReaders::Owner).unwrap_err().to_string();
            assert!(why.contains("chmod 600") && why.contains("--key-mode-group") == (mode & 7 == 0), "{why}");
        }
    }

    /// A copy on a CD or in a squashfs was refused with "run chmod 600", which nobody can do there.
    #[cfg(unix)]
    #[test]
    fn the_public_id_of_a_key_that_others_may_read_is_refused_where_that_can_be_mended() {
        use std::os::unix::fs::PermissionsExt;
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("node.key");
        let id = node_id(&path, KeyReaders::Owner).unwrap();
        assert_eq!(public_id(&path, KeyReaders::Owner), Ok((id.clone(), None)));
        fs::set_permissions(&path, fs::Permissions::from_mode(0o444)).unwrap();
        assert!(!is_on_a_read_only_file_system(&path), "a mode alone is no such file system");
        let why = public_id(&path, KeyReaders::Owner).unwrap_err().to_string();
        assert!(why.contains("run chmod 600"), "{why}");
        assert_eq!(node_id(&path, KeyReaders::Anybody), Ok(id), "what a look on a read-only medium reads");
    }

    /// What Kubernetes makes of a secret's and a volume's files where a pod has an fsGroup.
    #[cfg(unix)]
    #[test]
    fn a_key_that_a_trusted_group_may_read_is_used_when_that_is_asked_for() {
        use std::os::unix::fs::PermissionsExt;
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("node.key");
        let id = node_id(&path, KeyReaders::Group).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        for (mode, fits) in [(0o640, true), (0o440, true), (0o660, true), (0o644, false), (0o642, false)] {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            match node_id(&path, KeyReaders::Group) {
                Ok(found) => assert!(fits && found == id, "{mode:o}"),
                Err(why) => assert!(!fits && why.to_string().contains("chmod 640"), "{mode:o}: {why}"),
            }
        }
    }

    #[test]
    fn a_key_is_found_behind_a_byte_order_mark_and_other_blocks() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("node.key");
        let id = node_id(&path, KeyReaders::Owner).unwrap();
        let good = fs::read_to_string(&path).unwrap();
        let other = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        let attributes = "Bag Attributes\n    friendlyName: node\n";
        for text in [
            format!("\u{feff}{good}"),
            format!("{other}{good}"),
            format!("\u{feff}{other}{attributes}{good}{other}"),
            good.replace('\n', "\r\n"),
        ] {
            fs::write(&path, &text).unwrap();
            assert_eq!(node_id(&path, KeyReaders::Owner).as_ref(), Ok(&id), "{text}");
        }
        fs::write(&path, other).unwrap();
        let why = node_id(&path, KeyReaders::Owner).unwrap_err().to_string();
        assert!(why.contains("there is no PRIVATE KEY in it"), "{why}");
    }
}
