//! Bytes that must never be printed, compared or stored in the clear.

use std::fmt;
use zeroize::Zeroizing;

/// Secret bytes, for example a private key or a token: zeroised when dropped, redacted by `Debug`, no `Serialize`.
#[derive(Clone, Default)]
pub struct Secret(Zeroizing<Vec<u8>>);

impl Secret {
    /// Takes the bytes over.
    pub fn new(bytes: Vec<u8>) -> Self {
        Self(Zeroizing::new(bytes))
    }

    /// The bytes. Whoever calls this sees to it that they go nowhere but a host, a sealed file or a signer.
    pub fn expose(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Secret({} bytes)", self.0.len())
    }
}
