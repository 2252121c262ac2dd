//! RSA keys: made, read from PEM or DER, written as PEM, and used to sign and to verify.

use std::fmt;

use aws_lc_rs::{
    encoding::{AsDer, Pkcs8V1Der},
    rand::SystemRandom,
    rsa::KeySize,
    signature::{KeyPair, RSA_PKCS1_2048_8192_SHA256, RSA_PKCS1_SHA256, RsaKeyPair, UnparsedPublicKey},
};
use zeroize::Zeroizing;

use crate::tls::pem;

/// Why there is no key.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// Neither PEM nor DER of an RSA key.
    #[error("not an RSA {0} in PEM or DER")]
    Malformed(&'static str),
    /// The crypto library does not take it, or could not make one.
    #[error("failed to generate or use an RSA key: {0}")]
    Refused(String),
}

/// A private key that signs tokens. It prints as `***` and is wiped from memory when dropped.
pub struct SigningKey(RsaKeyPair);

impl SigningKey {
    /// Makes a key of 2048 bits. This takes tens of milliseconds of computation: call it where that hurts nobody, or use
    /// [`Self::generate_pem`].
    pub fn generate() -> Result<Self, KeyError> {
        RsaKeyPair::generate(KeySize::Rsa2048).map(Self).map_err(|e| KeyError::Refused(e.to_string()))
    }

    /// Makes a key on a thread for blocking work, and returns its PEM text as it is stored in a secret.
    pub async fn generate_pem() -> Result<Zeroizing<String>, KeyError> {
        let made = tokio::task::spawn_blocking(|| Self::generate().and_then(|key| key.to_pem())).await;
        made.unwrap_or_else(|e| Err(KeyError::Refused(e.to_string())))
    }

    /// Reads `RSA PRIVATE KEY` or `PRIVATE KEY` in PEM, or the DER of either.
    pub fn parse(bytes: &[u8]) -> Result<Self, KeyError> {
        let der = private_der(bytes)?;
        RsaKeyPair::from_der(&der)
            .or_else(|_| RsaKeyPair::from_pkcs8(&der))
            .map(Self)
            .map_err(|e| KeyError::Refused(e.to_string()))
    }

    /// As `RSA PRIVATE KEY` in PEM, the form in which keys are stored.
    pub fn to_pem(&self) -> Result<Zeroizing<String>, KeyError> {
        let refused = || KeyError::Refused("the key cannot be written".to_owned());
        let der: Pkcs8V1Der<'_> = self.0.as_der().map_err(|_| refused())?;
        let inner = pkcs1_in_pkcs8(der.as_ref()).ok_or_else(refused)?;
        Ok(Zeroizing::new(pem::encode("RSA PRIVATE KEY", inner)))
    }

    /// Its public half.
    pub fn public(&self) -> PublicKey {
        PublicKey(self.0.public_key().as_ref().to_vec())
    }

    /// Signs with SHA-256 and the padding of PKCS#1.
    pub(super) fn sign(&self, message: &[u8]) -> Result<Vec<u8>, KeyError> {
        let mut signature = vec![0; self.0.public_modulus_len()];
        self.0
            .sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), message, &mut signature)
            .map_err(|e| KeyError::Refused(e.to_string()))?;
        Ok(signature)
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// A key that verifies tokens, as the DER of PKCS#1.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublicKey(Vec<u8>);

impl PublicKey {
    /// Reads `RSA PUBLIC KEY` or `PUBLIC KEY` in PEM, or the DER of PKCS#1.
    pub fn parse(bytes: &[u8]) -> Result<Self, KeyError> {
        let malformed = || KeyError::Malformed("public key");
        let der = match pem::section(bytes) {
            Some((label, der)) if label == "RSA PUBLIC KEY" => der,
            Some((label, der)) if label == "PUBLIC KEY" => {
                Zeroizing::new(pkcs1_in_spki(&der).ok_or_else(malformed)?.to_vec())
            }
            Some(_) => return Err(malformed()),
            None => Zeroizing::new(bytes.to_vec()),
        };
        // Two numbers in a sequence, and nothing else.
        let (body, rest) = der::take(&der, der::SEQUENCE).ok_or_else(malformed)?;
        let (_, exponent) = der::take(body, der::INTEGER).ok_or_else(malformed)?;
        let (_, end) = der::take(exponent, der::INTEGER).ok_or_else(malformed)?;
        if rest.is_empty() && end.is_empty() { Ok(Self(der.to_vec())) } else { Err(malformed()) }
    }

    /// The public half of a private key. The private numbers are not checked: nothing is signed with them here.
    pub fn of_private(bytes: &[u8]) -> Result<Self, KeyError> {
        let malformed = || KeyError::Malformed("private key");
        let der = private_der(bytes)?;
        let pkcs1 = pkcs1_in_pkcs8(&der).unwrap_or(&der);
        let (body, _) = der::take(pkcs1, der::SEQUENCE).ok_or_else(malformed)?;
        let (_, modulus) = der::take(body, der::INTEGER).ok_or_else(malformed)?;
        let (_, exponent) = der::take(modulus, der::INTEGER).ok_or_else(malformed)?;
        let (_, rest) = der::take(exponent, der::INTEGER).ok_or_else(malformed)?;
        let numbers = &modulus[..modulus.len() - rest.len()];
        Ok(Self(der::sequence(numbers)))
    }

    /// As `RSA PUBLIC KEY` in PEM.
    pub fn to_pem(&self) -> String {
        pem::encode("RSA PUBLIC KEY", &self.0)
    }

    /// Is it the signature of this message, with SHA-256 and the padding of PKCS#1?
    pub(super) fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, &self.0).verify(message, signature).is_ok()
    }
}

/// The DER in a PEM text of a private key, or the bytes themselves: early versions stored them so.
fn private_der(bytes: &[u8]) -> Result<Zeroizing<Vec<u8>>, KeyError> {
    match pem::section(bytes) {
        Some((label, der)) if label == "RSA PRIVATE KEY" || label == "PRIVATE KEY" => Ok(der),
        Some(_) => Err(KeyError::Malformed("private key")),
        None => Ok(Zeroizing::new(bytes.to_vec())),
    }
}

/// `SEQUENCE { version, algorithm, OCTET STRING { key } }`
fn pkcs1_in_pkcs8(der: &[u8]) -> Option<&[u8]> {
    let (body, _) = der::take(der, der::SEQUENCE)?;
    let (_, rest) = der::take(body, der::INTEGER)?;
    let (_, rest) = der::take(rest, der::SEQUENCE)?;
    Some(der::take(rest, der::OCTETS)?.0)
}

/// `SEQUENCE { algorithm, BIT STRING { no unused bits, key } }`
fn pkcs1_in_spki(der: &[u8]) -> Option<&[u8]> {
    let (body, _) = der::take(der, der::SEQUENCE)?;
    let (_, rest) = der::take(body, der::SEQUENCE)?;
    der::take(rest, der::BITS)?.0.strip_prefix(&[0])
}

/// The little of DER that takes a key out of its wrapping.
mod der {
    pub(super) const INTEGER: u8 = 2;
    pub(super) const BITS: u8 = 3;
    pub(super) const OCTETS: u8 = 4;
    pub(super) const SEQUENCE: u8 = 0x30;

    /// The content of the element at the front, if it is of this tag, and what follows it.
    pub(super) fn take(bytes: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
        let rest = bytes.strip_prefix(&[tag])?;
        let (&first, rest) = rest.split_first()?;
        let (length, rest) = if first < 0x80 {
            (usize::from(first), rest)
        } else {
            let (digits, rest) =
                rest.split_at_checked(usize::from(first & 0x7f)).filter(|(d, _)| (1..=4).contains(&d.len()))?;
            (digits.iter().fold(0, |n, d| n << 8 | usize::from(*d)), rest)
        };
        rest.split_at_checked(length)
    }

    /// A sequence of elements that are encoded already.
    pub(super) fn sequence(body: &[u8]) -> Vec<u8> {
        let mut out = vec![SEQUENCE];
        if body.len() < 0x80 {
            out.push(body.len() as u8);
        } else {
            let digits: Vec<u8> = body.len().to_be_bytes().into_iter().skip_while(|d| *d == 0).collect();
            out.push(0x80 | digits.len() as u8);
            out.extend(digits);
        }
        out.extend(body);
        out
    }
}
