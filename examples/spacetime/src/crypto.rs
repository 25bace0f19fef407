//! SHA-256 and signatures by secp256k1.

use k256::ecdsa::signature::hazmat::{PrehashSigner, PrehashVerifier};
use k256::ecdsa::{Signature, SigningKey, VerifyingKey};
use sha2::{Digest, Sha256};

/// SHA-256 of something.
pub type Hash = [u8; 32];
/// A compressed point of secp256k1: who is paid, who signs.
pub type PublicKey = [u8; 33];
/// `r || s`.
pub type SignatureBytes = [u8; 64];

/// What stands where there is no key: the sender of the coins in the genesis block. Has no account and signs nothing.
pub const NO_KEY: PublicKey = [0; 33];

/// SHA-256 of several pieces one after the other.
pub fn sha256(pieces: &[&[u8]]) -> Hash {
    let mut hasher = Sha256::new();
    pieces.iter().for_each(|piece| hasher.update(piece));
    hasher.finalize().into()
}

/// A secret key. Does not show itself.
pub struct SecretKey(SigningKey);

impl core::fmt::Debug for SecretKey {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("SecretKey")
    }
}

impl SecretKey {
    /// A new one, from the system's randomness.
    ///
    /// # Errors
    ///
    /// When the system has none.
    pub fn random() -> Result<Self, getrandom::Error> {
        loop {
            let mut bytes = [0; 32];
            getrandom::fill(&mut bytes)?;
            // Nearly every number is a key.
            if let Some(key) = SecretKey::from_bytes(&bytes) {
                return Ok(key);
            }
        }
    }

    /// The key with these bytes; `None` for the few that are none.
    pub fn from_bytes(bytes: &[u8; 32]) -> Option<Self> {
        SigningKey::from_slice(bytes).ok().map(SecretKey)
    }

    /// Its bytes, to be kept.
    pub fn to_bytes(&self) -> [u8; 32] {
        self.0.to_bytes().into()
    }

    /// What others know it by.
    pub fn public(&self) -> PublicKey {
        let point = self.0.verifying_key().to_sec1_point(true);
        <PublicKey>::try_from(point.as_bytes()).unwrap_or(NO_KEY)
    }

    /// Signs a hash; of the two signatures that there are, the one with the low `s`.
    pub fn sign(&self, hash: &Hash) -> SignatureBytes {
        let signature: Result<Signature, _> = self.0.sign_prehash(hash);
        // A hash of 32 bytes can always be signed.
        signature.map_or([0; 64], |signature| signature.normalize_s().to_bytes().into())
    }
}

/// Does this signature of a hash belong to this key? Takes some 60 microseconds.
pub fn is_signed(key: &PublicKey, hash: &Hash, signature: &SignatureBytes) -> bool {
    let (Ok(key), Ok(signature)) = (VerifyingKey::from_sec1_bytes(key), Signature::from_slice(signature)) else {
        return false;
    };
    // The library takes either `s`, and k256 the low one alone.
    key.verify_prehash(hash, &signature.normalize_s()).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_key_signs_is_its_own_and_nobody_elses() {
        let (key, other) = (SecretKey::from_bytes(&[7; 32]).unwrap(), SecretKey::from_bytes(&[8; 32]).unwrap());
        let (hash, signature) = ([5; 32], key.sign(&[5; 32]));
        assert!(is_signed(&key.public(), &hash, &signature));
        assert!(!is_signed(&other.public(), &hash, &signature));
        assert!(!is_signed(&key.public(), &[6; 32], &signature));
        assert!(!is_signed(&NO_KEY, &hash, &signature));
        assert!(!is_signed(&key.public(), &hash, &[0; 64]));
        assert_eq!(SecretKey::from_bytes(&key.to_bytes()).unwrap().public(), key.public());
    }

    #[test]
    fn a_signature_with_the_high_s_is_taken_too() {
        let key = SecretKey::from_bytes(&[7; 32]).unwrap();
        let low = Signature::from_slice(&key.sign(&[5; 32])).unwrap();
        let high = Signature::from_scalars(low.r().to_bytes(), (-*low.s()).to_bytes()).unwrap();
        assert_ne!(low, high);
        assert!(is_signed(&key.public(), &[5; 32], &high.to_bytes().into()));
    }
}
