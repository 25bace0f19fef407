//! `node.key`: the Ed25519 key that a node is known by.
//!
//! The file is a PKCS #8 document of version 1 (RFC 8410, section 7) in PEM, which other tools read
//! (`openssl pkey -in node.key -text`). The node's id is the SHA-256, in lower-case hexadecimal, of the public key's
//! SubjectPublicKeyInfo. A key is made once, never overwritten and never thrown away: losing it is losing the identity.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::Path;

use spacetime_network::link::tls::identity::Identity;

use crate::failure::Failure;

const PEM_TAG: &str = "PRIVATE KEY";
/// A key file has about 120 bytes; whatever is longer than this is not one, and is not read.
const FILE_LEN_MAX: u64 = 4096;

/// The id of the key in `path`; the key is made when there is no such file.
pub(crate) fn node_id(path: &Path) -> Result<String, Failure> {
    identity(path).map(|identity| identity.id().to_string())
}

/// The key in `path`; made when there is no such file.
pub(crate) fn identity(path: &Path) -> Result<Identity, Failure> {
    let key = match load(path)? {
        Some(key) => key,
        None => {
            create(path)?;
            // Another process may have been faster: the file is what counts.
            load(path)?.ok_or_else(|| {
                Failure::new(format!("read {}", path.display()), "it was removed meanwhile", "try again")
            })?
        }
    };
    Identity::from_pkcs8(&key).map_err(|_| damaged(path, "not an Ed25519 key in PKCS #8, version 1"))
}

/// A private key of the operator's own making: read, unless others can read it too.
pub(crate) fn read_private(path: &Path) -> Result<Vec<u8>, Failure> {
    let unreadable = |error: io::Error| {
        Failure::new(format!("read {}", path.display()), error, "check its path and that this user may read it")
    };
    refuse_shared(path, &fs::metadata(path).map_err(unreadable)?)?;
    fs::read(path).map_err(unreadable)
}

fn load(path: &Path) -> Result<Option<Vec<u8>>, Failure> {
    let unreadable =
        |error: io::Error| Failure::new(format!("read {}", path.display()), error, "make it readable for this user");
    let metadata = match fs::metadata(path) {
        Ok(metadata) => metadata,
        // A key must not be made where one is that cannot be reached at present.
        Err(error) if error.kind() == io::ErrorKind::NotFound && path.is_symlink() => {
            return Err(Failure::new(
                format!("read {}", path.display()),
                "it is a link to a file that is not there",
                "bring that file back, or remove the link to get a new identity",
            ));
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(unreadable(error)),
    };
    if !metadata.is_file() || metadata.len() > FILE_LEN_MAX {
        return Err(damaged(path, "not a key file"));
    }
    refuse_shared(path, &metadata)?;
    let text = fs::read(path).map_err(unreadable)?;
    contents(&text).map(Some).map_err(|why| damaged(path, why))
}

fn contents(text: &[u8]) -> Result<Vec<u8>, &'static str> {
    let document = pem::parse(text).map_err(|_| "not PEM")?;
    if document.tag() != PEM_TAG {
        return Err("not a PRIVATE KEY");
    }
    Ok(document.into_contents())
}

fn damaged(path: &Path, why: &str) -> Failure {
    Failure::new(
        format!("use the key in {}", path.display()),
        why,
        "restore it from a backup, or move it away to get a new identity",
    )
}

#[cfg(unix)]
fn refuse_shared(path: &Path, metadata: &fs::Metadata) -> Result<(), Failure> {
    use std::os::unix::fs::PermissionsExt;
    let mode = metadata.permissions().mode() & 0o777;
    if mode & 0o077 == 0 {
        return Ok(());
    }
    Err(Failure::new(
        format!("use the key in {}", path.display()),
        format!("others may read it (mode {mode:04o})"),
        format!("run chmod 600 {}", path.display()),
    ))
}

#[cfg(not(unix))]
fn refuse_shared(_: &Path, _: &fs::Metadata) -> Result<(), Failure> {
    Ok(())
}

/// Writes a new key beside its place and links it there, which fails rather than replaces when there is one.
fn create(path: &Path) -> Result<(), Failure> {
    let failed = |error: &dyn std::fmt::Display| {
        Failure::new(
            format!("create {}", path.display()),
            error,
            "make the directory writable or choose another --data-dir",
        )
    };
    let document = Identity::generate_pkcs8().map_err(|error| failed(&error))?;
    let config = pem::EncodeConfig::new().set_line_ending(pem::LineEnding::LF);
    let text = pem::encode_config(&pem::Pem::new(PEM_TAG, document), config);

    let draft = path.with_extension(format!("key.new-{}", std::process::id()));
    let written = write_private(&draft, text.as_bytes()).and_then(|()| match fs::hard_link(&draft, path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        other => other,
    });
    let removed = fs::remove_file(&draft);
    written.and(removed).and_then(|()| sync_directory(path)).map_err(|error| failed(&error))
}

fn write_private(path: &Path, text: &[u8]) -> io::Result<()> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt;
        options.mode(0o600);
    }
    let mut file = match options.open(path) {
        // Left behind by a process of the same number that was killed while it wrote.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            fs::remove_file(path)?;
            options.open(path)?
        }
        other => other?,
    };
    file.write_all(text)?;
    file.sync_all()
}

/// Makes the new name durable, where directories can be opened as files.
fn sync_directory(path: &Path) -> io::Result<()> {
    match path.parent() {
        Some(parent) if cfg!(unix) => File::open(parent)?.sync_all(),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_made_once_and_kept() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("node.key");
        let id = node_id(&path).unwrap();
        assert_eq!(id.len(), 64);
        let before = fs::read(&path).unwrap();
        create(&path).unwrap();
        assert_eq!(fs::read(&path).unwrap(), before);
        assert_eq!(node_id(&path).unwrap(), id);
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_damaged_key_is_reported_and_left_as_it_is() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("node.key");
        node_id(&path).unwrap();
        let good = fs::read_to_string(&path).unwrap();
        for bad in [String::new(), good.replace("PRIVATE", "PUBLIC"), good.replace("MC4C", "MC4D"), "x".repeat(5000)] {
            fs::write(&path, &bad).unwrap();
            let why = node_id(&path).unwrap_err().to_string();
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
        let why = node_id(&path).unwrap_err().to_string();
        assert!(why.contains("it is a link to a file that is not there; bring that file back"), "{why}");
        assert!(!target.exists());
        let other = directory.path().join("other.key");
        let id = node_id(&other).unwrap();
        fs::rename(other, target).unwrap();
        assert_eq!(node_id(&path), Ok(id));
    }

    #[cfg(unix)]
    #[test]
    fn a_key_that_others_may_read_is_refused_with_the_remedy() {
        use std::os::unix::fs::PermissionsExt;
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("node.key");
        node_id(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        for mode in [0o640, 0o604, 0o610] {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            let why = node_id(&path).unwrap_err().to_string();
            assert!(why.contains("chmod 600"), "{why}");
        }
    }
}
