//! `node.key`: the Ed25519 key that a node is known by.
//!
//! The file is a PKCS #8 document of version 1 (RFC 8410, section 7) in PEM, which other tools read
//! (`openssl pkey -in node.key -text`). The node's id is the SHA-256, in lower-case hexadecimal, of the public key's
//! SubjectPublicKeyInfo. A key is made once, never overwritten and never thrown away: losing it is losing the identity.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::Path;

use ring::digest;
use ring::signature::{Ed25519KeyPair, KeyPair};

use crate::failure::Failure;

/// What stands before the 32 bytes of the seed in a version 1 document: 48 bytes in all.
const PKCS8_PREFIX: [u8; 16] =
    [0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20];
/// What stands before the 32 bytes of the public key in a SubjectPublicKeyInfo.
const SPKI_PREFIX: [u8; 12] = [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];
const PEM_TAG: &str = "PRIVATE KEY";
/// A key file has about 120 bytes; whatever is longer than this is not one, and is not read.
const FILE_LEN_MAX: u64 = 4096;

/// The id of the key in `path`; the key is made when there is no such file.
pub(crate) fn node_id(path: &Path) -> Result<String, Failure> {
    let seed = match load(path)? {
        Some(seed) => seed,
        None => {
            create(path)?;
            // Another process may have been faster: the file is what counts.
            load(path)?.ok_or_else(|| {
                Failure::new(format!("read {}", path.display()), "it was removed meanwhile", "try again")
            })?
        }
    };
    id_of_seed(&seed).map_err(|why| damaged(path, why))
}

/// The id that belongs to a seed.
fn id_of_seed(seed: &[u8]) -> Result<String, &'static str> {
    let pair = Ed25519KeyPair::from_seed_unchecked(seed).map_err(|_| "the seed is not 32 bytes")?;
    let mut spki = SPKI_PREFIX.to_vec();
    spki.extend_from_slice(pair.public_key().as_ref());
    Ok(digest::digest(&digest::SHA256, &spki).as_ref().iter().map(|byte| format!("{byte:02x}")).collect())
}

fn load(path: &Path) -> Result<Option<Vec<u8>>, Failure> {
    let unreadable =
        |error: io::Error| Failure::new(format!("read {}", path.display()), error, "make it readable for this user");
    let metadata = match fs::metadata(path) {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(unreadable(error)),
    };
    if !metadata.is_file() || metadata.len() > FILE_LEN_MAX {
        return Err(damaged(path, "not a key file"));
    }
    refuse_shared(path, &metadata)?;
    let text = fs::read(path).map_err(unreadable)?;
    seed_from(&text).map(Some).map_err(|why| damaged(path, why))
}

fn seed_from(text: &[u8]) -> Result<Vec<u8>, &'static str> {
    let document = pem::parse(text).map_err(|_| "not PEM")?;
    if document.tag() != PEM_TAG {
        return Err("not a PRIVATE KEY");
    }
    match document.contents().strip_prefix(&PKCS8_PREFIX) {
        Some(seed) if seed.len() == 32 => Ok(seed.to_vec()),
        _ => Err("not an Ed25519 key in PKCS #8, version 1"),
    }
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
    let mut seed = [0; 32];
    getrandom::fill(&mut seed).map_err(|error| failed(&error))?;
    let document = [&PKCS8_PREFIX[..], &seed[..]].concat();
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
    fn the_id_is_the_hash_of_the_public_key_of_rfc_8410() {
        // The example key of RFC 8410, section 10.3; the id is what
        // `openssl pkey -pubout -outform DER | sha256sum` says of it.
        let text = b"-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEINTuctv5E1hK1bbY8fdp+K06/nwoy/HU++CXqI9EdVhC\n-----END PRIVATE KEY-----\n";
        let seed = seed_from(text).unwrap();
        assert_eq!(id_of_seed(&seed).unwrap(), EXAMPLE_ID);
    }

    const EXAMPLE_ID: &str = "a1e9156054e04fac899ae9f275132cdc07a5dbc4ea2c2ad3a1ffc6e0d253681f";

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
