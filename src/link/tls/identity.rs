//! Who we are under TLS: a private key and the certificate that shows its public half.
//!
//! A node's own certificate carries nothing but the key: the node id as its name, and dates that never matter (1975 to
//! 4096). It exists because TLS wants one. Those who run an authority bring a certificate of theirs instead.

use core::fmt;
use std::sync::Arc;

use rustls::SignatureScheme;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::sign::{CertifiedKey, SigningKey};

use crate::id::VerifiedId;
use crate::link::tls::error::TlsError;
use crate::link::tls::provider::{provider, sha256};

/// What stands before the 32 bytes of the seed in a PKCS #8 document of version 1 (RFC 8410, section 7).
const PKCS8_PREFIX: [u8; 16] =
    [0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20];
/// What stands before the 32 bytes of the key in an Ed25519 SubjectPublicKeyInfo. There is no other way to write one, so a
/// key has one id.
pub(crate) const SPKI_PREFIX: [u8; 12] = [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];

/// A private key, the certificate for it, and the id that follows from it.
#[derive(Clone)]
pub struct Identity {
    certified: Arc<CertifiedKey>,
    id: VerifiedId,
}

impl Identity {
    /// A new identity that is gone with this value: for tests, and for clients that nobody needs to know again.
    ///
    /// # Errors
    ///
    /// The operating system gives no randomness.
    pub fn generate() -> Result<Self, TlsError> {
        Self::from_pkcs8(&Self::generate_pkcs8()?)
    }

    /// A new Ed25519 key as a PKCS #8 document, to be kept secret and given to [`Identity::from_pkcs8`].
    ///
    /// # Errors
    ///
    /// The operating system gives no randomness.
    pub fn generate_pkcs8() -> Result<Vec<u8>, TlsError> {
        let mut seed = [0; 32];
        provider().secure_random.fill(&mut seed).map_err(|_| TlsError::Randomness)?;
        Ok([&PKCS8_PREFIX[..], &seed].concat())
    }

    /// The identity of an Ed25519 key in a PKCS #8 document of version 1, in DER.
    ///
    /// # Errors
    ///
    /// It is no such key.
    pub fn from_pkcs8(der: &[u8]) -> Result<Self, TlsError> {
        let seed = der.strip_prefix(&PKCS8_PREFIX).ok_or(TlsError::Key)?;
        if seed.len() != 32 {
            return Err(TlsError::Key);
        }
        let provider = provider();
        let key = load(&provider, PrivatePkcs8KeyDer::from(der.to_vec()).into())?;
        let spki = key.public_key().ok_or(TlsError::Key)?;
        let id = VerifiedId::from_bytes(sha256(&provider, &spki).ok_or(TlsError::Key)?);
        let certificate = self_signed(&*key, &spki, id)?;
        Ok(Identity { certified: Arc::new(CertifiedKey::new(vec![certificate], key)), id })
    }

    /// The identity of a key's 32 secret bytes.
    #[cfg(feature = "sim")]
    pub(crate) fn from_seed(seed: &[u8; 32]) -> Result<Self, TlsError> {
        Self::from_pkcs8(&[&PKCS8_PREFIX[..], seed].concat())
    }

    /// The identity of a certificate that an authority has signed, with its intermediates after it, and its private key,
    /// both in PEM. The key may be of any kind that TLS knows.
    ///
    /// # Errors
    ///
    /// One of them cannot be read, or they do not belong together.
    pub fn from_pem(certificates: &[u8], key: &[u8]) -> Result<Self, TlsError> {
        let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_slice_iter(certificates)
            .collect::<Result<_, _>>()
            .map_err(|_| TlsError::Certificate)?;
        let provider = provider();
        let key = load(&provider, PrivateKeyDer::from_pem_slice(key).map_err(|_| TlsError::Key)?)?;
        let end = chain.first().ok_or(TlsError::Certificate)?;
        let spki = rustls::server::ParsedCertificate::try_from(end)
            .map_err(|_| TlsError::Certificate)?
            .subject_public_key_info();
        let id = VerifiedId::from_bytes(sha256(&provider, &spki).ok_or(TlsError::Key)?);
        let certified = CertifiedKey::new(chain, key);
        certified.keys_match().map_err(|_| TlsError::KeyMismatch)?;
        Ok(Identity { certified: Arc::new(certified), id })
    }

    /// The id that the other side sees.
    pub const fn id(&self) -> VerifiedId {
        self.id
    }

    /// The certificate that is shown, in DER.
    pub fn certificate(&self) -> &[u8] {
        self.certified.cert.first().map_or(&[], |certificate| certificate.as_ref())
    }

    pub(crate) fn certified(&self) -> Arc<CertifiedKey> {
        Arc::clone(&self.certified)
    }
}

impl fmt::Debug for Identity {
    /// Says who, never the key.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Identity({})", self.id)
    }
}

fn load(provider: &CryptoProvider, key: PrivateKeyDer<'static>) -> Result<Arc<dyn SigningKey>, TlsError> {
    provider.key_provider.load_private_key(key).map_err(|_| TlsError::Key)
}

/// `AlgorithmIdentifier` of Ed25519 (RFC 8410, section 3).
const ED25519: [u8; 7] = [0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70];
/// `version` of an X.509 version 3 certificate, with its tag.
const VERSION_3: [u8; 5] = [0xa0, 0x03, 0x02, 0x01, 0x02];
/// The object identifier of `commonName`.
const COMMON_NAME: [u8; 5] = [0x06, 0x03, 0x55, 0x04, 0x03];
const INTEGER: u8 = 0x02;
const BIT_STRING: u8 = 0x03;
const UTF8_STRING: u8 = 0x0c;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;
const SEQUENCE: u8 = 0x30;
const SET: u8 = 0x31;

/// An X.509 certificate (RFC 5280, section 4.1) without extensions: the key, its id as subject and issuer, and a serial number
/// made of the id, so that one key has one certificate.
fn self_signed(key: &dyn SigningKey, spki: &[u8], id: VerifiedId) -> Result<CertificateDer<'static>, TlsError> {
    let mut serial = *id.as_bytes().first_chunk::<16>().ok_or(TlsError::Key)?;
    if let Some(first) = serial.first_mut() {
        // Positive and without a leading zero byte, as DER wants a number.
        *first = *first & 0x7f | 0x40;
    }
    let common_name = der(SEQUENCE, &[&COMMON_NAME, &der(UTF8_STRING, &[id.to_string().as_bytes()])]);
    let name = der(SEQUENCE, &[&der(SET, &[&common_name])]);
    let validity = der(SEQUENCE, &[&der(UTC_TIME, &[b"750101000000Z"]), &der(GENERALIZED_TIME, &[b"40960101000000Z"])]);
    let body = der(SEQUENCE, &[&VERSION_3, &der(INTEGER, &[&serial]), &ED25519, &name, &validity, &name, spki]);
    let signer = key.choose_scheme(&[SignatureScheme::ED25519]).ok_or(TlsError::Key)?;
    let signature = signer.sign(&body).map_err(|_| TlsError::Key)?;
    // The zero says that no bits of the last byte are unused.
    Ok(der(SEQUENCE, &[&body, &ED25519, &der(BIT_STRING, &[&[0], &signature])]).into())
}

/// A DER value of less than 64 KiB: tag, length, content.
fn der(tag: u8, content: &[&[u8]]) -> Vec<u8> {
    let content = content.concat();
    let [high, low] = u16::try_from(content.len()).unwrap_or(u16::MAX).to_be_bytes();
    let mut value = match (high, low) {
        (0, 0..=0x7f) => vec![tag, low],
        (0, _) => vec![tag, 0x81, low],
        _ => vec![tag, 0x82, high, low],
    };
    value.extend_from_slice(&content);
    value
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example key of RFC 8410, section 10.3; the id is what `openssl pkey -pubout -outform DER | sha256sum` says of it.
    const EXAMPLE_SEED: [u8; 32] = [
        0xd4, 0xee, 0x72, 0xdb, 0xf9, 0x13, 0x58, 0x4a, 0xd5, 0xb6, 0xd8, 0xf1, 0xf7, 0x69, 0xf8, 0xad, 0x3a, 0xfe,
        0x7c, 0x28, 0xcb, 0xf1, 0xd4, 0xfb, 0xe0, 0x97, 0xa8, 0x8f, 0x44, 0x75, 0x58, 0x42,
    ];
    const EXAMPLE_ID: &str = "a1e9156054e04fac899ae9f275132cdc07a5dbc4ea2c2ad3a1ffc6e0d253681f";

    #[test]
    fn the_id_is_the_hash_of_the_public_key_of_rfc_8410() {
        let identity = Identity::from_pkcs8(&[&PKCS8_PREFIX[..], &EXAMPLE_SEED].concat()).unwrap();
        assert_eq!(identity.id().to_string(), EXAMPLE_ID);
        assert_eq!(format!("{identity:?}"), format!("Identity({EXAMPLE_ID})"));
    }

    #[test]
    fn one_key_has_one_certificate_and_two_keys_have_two() {
        let key = Identity::generate_pkcs8().unwrap();
        let (one, again) = (Identity::from_pkcs8(&key).unwrap(), Identity::from_pkcs8(&key).unwrap());
        assert_eq!(one.certificate(), again.certificate());
        assert_ne!(one.id(), Identity::generate().unwrap().id());
    }

    #[test]
    fn what_is_no_ed25519_key_is_refused() {
        let key = Identity::generate_pkcs8().unwrap();
        for bad in [&key[1..], &key[..47], &[], &[&key[..], &[0]].concat()] {
            assert!(matches!(Identity::from_pkcs8(bad), Err(TlsError::Key)));
        }
    }
}
