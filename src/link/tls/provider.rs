//! The crypto library behind TLS: which one, and what is taken from it. Nothing is installed for the process or read
//! from it, so a program that uses rustls with another library beside us is not disturbed.
//!
//! | feature | key exchange, first choice first | signatures | ciphers |
//! |---|---|---|---|
//! | `tls-aws-lc` | X25519MLKEM768, X25519, P-256, P-384 | aws-lc-rs | aws-lc-rs |
//! | `tls-ring` | X25519, P-256, P-384: nothing that withstands a quantum computer | ring | ring |
//! | both | as `tls-aws-lc` | aws-lc-rs | ring on x86-64 processors with VAES and without AVX-512, else aws-lc-rs |
//!
//! On a processor with AVX-512 aws-lc-rs made more handshakes a second than ring, with the post-quantum exchange against
//! one without it, and its AES-GCM was at least as fast. That ring's is faster on processors with VAES and without AVX-512
//! is what others have measured; it was not tried here.

use rustls::SupportedCipherSuite;
use rustls::crypto::hash::HashAlgorithm;
use rustls::crypto::{CryptoProvider, hash};

/// The library's parts, put together for this processor.
pub(crate) fn provider() -> CryptoProvider {
    let mut provider = library();
    if !has_aes() {
        // Without instructions for it AES is several times slower than ChaCha20. The sort is stable.
        provider.cipher_suites.sort_by_key(|suite| !is_chacha(suite));
    }
    provider
}

#[cfg(all(feature = "tls-aws-lc", feature = "tls-ring"))]
fn library() -> CryptoProvider {
    let mut provider = rustls::crypto::aws_lc_rs::default_provider();
    if ring_encrypts_faster() {
        // Cipher suites carry their own code, so the one library's work with the other's key exchange.
        provider.cipher_suites = rustls::crypto::ring::default_provider().cipher_suites;
    }
    provider
}

#[cfg(all(feature = "tls-aws-lc", feature = "tls-ring"))]
fn ring_encrypts_faster() -> bool {
    #[cfg(target_arch = "x86_64")]
    let faster = std::arch::is_x86_feature_detected!("vaes") && !std::arch::is_x86_feature_detected!("avx512bw");
    #[cfg(not(target_arch = "x86_64"))]
    let faster = false;
    faster
}

#[cfg(all(feature = "tls-aws-lc", not(feature = "tls-ring")))]
fn library() -> CryptoProvider {
    rustls::crypto::aws_lc_rs::default_provider()
}

#[cfg(all(feature = "tls-ring", not(feature = "tls-aws-lc")))]
fn library() -> CryptoProvider {
    rustls::crypto::ring::default_provider()
}

fn is_chacha(suite: &SupportedCipherSuite) -> bool {
    format!("{:?}", suite.suite()).contains("CHACHA20")
}

/// Whether the processor has instructions for AES; where there is no way to ask, it is taken to have.
fn has_aes() -> bool {
    #[cfg(any(target_arch = "x86", target_arch = "x86_64"))]
    let has = std::arch::is_x86_feature_detected!("aes");
    #[cfg(target_arch = "aarch64")]
    let has = std::arch::is_aarch64_feature_detected!("aes");
    #[cfg(not(any(target_arch = "x86", target_arch = "x86_64", target_arch = "aarch64")))]
    let has = true;
    has
}

/// The provider's SHA-256.
pub(crate) fn sha256(provider: &CryptoProvider, data: &[u8]) -> Option<[u8; 32]> {
    let suites = provider.cipher_suites.iter().filter_map(SupportedCipherSuite::tls13);
    let mut hashes = suites.map(|suite| suite.common.hash_provider);
    let sha256: &dyn hash::Hash = hashes.find(|hash| hash.algorithm() == HashAlgorithm::SHA256)?;
    sha256.hash(data).as_ref().try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_is_sha_256() {
        // FIPS 180-2, appendix B.1.
        let hash = sha256(&provider(), b"abc").unwrap();
        assert_eq!(hash[..4], [0xba, 0x78, 0x16, 0xbf]);
        assert_eq!(hash[28..], [0xf2, 0x00, 0x15, 0xad]);
    }

    #[cfg(feature = "tls-aws-lc")]
    #[test]
    fn the_first_key_exchange_withstands_a_quantum_computer() {
        assert_eq!(provider().kx_groups[0].name(), rustls::NamedGroup::X25519MLKEM768);
    }

    #[test]
    fn aes_comes_first_only_where_the_processor_has_it() {
        assert_eq!(is_chacha(&provider().cipher_suites[0]), !has_aes());
    }
}
