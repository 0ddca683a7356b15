//! Join tokens: a bootstrap kubeconfig, gzipped and in base64.

use crate::kubeconfig::{Credentials, Kubeconfig, NotAKubeconfig};
use crate::secret::Secret;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;
use std::io::{Read, Write};

/// A decoded token is never larger than this; gzip could make a small one fill the memory.
const LARGEST: u64 = 1024 * 1024;

/// Packs a bootstrap kubeconfig as `k0s token create` does.
pub fn encode(kubeconfig: &Secret) -> Secret {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    let packed =
        encoder.write_all(kubeconfig.expose()).and_then(|()| encoder.finish()).expect("memory can be written to");
    Secret::new(STANDARD.encode(packed).into_bytes())
}

/// Unpacks a join token.
pub fn decode(token: &Secret) -> Result<Secret, NotAKubeconfig> {
    let packed = STANDARD.decode(token.expose().trim_ascii()).map_err(|_| NotAKubeconfig)?;
    let mut plain = Vec::new();
    GzDecoder::new(packed.as_slice()).take(LARGEST).read_to_end(&mut plain).map_err(|_| NotAKubeconfig)?;
    Ok(Secret::new(plain))
}

/// The public part of a bearer token of the form `id.secret`: what `k0s token invalidate` takes.
pub fn id(bearer: &Secret) -> Option<String> {
    let text = std::str::from_utf8(bearer.expose()).ok()?;
    text.split_once('.').map(|(id, _)| id.to_owned()).filter(|id| is_id(id))
}

/// The id of a join token.
pub fn id_of_join_token(token: &Secret) -> Result<String, NotAKubeconfig> {
    match Kubeconfig::read(&decode(token)?)?.credentials {
        Credentials::Token(bearer) => id(&bearer).ok_or(NotAKubeconfig),
        _ => Err(NotAKubeconfig),
    }
}

/// Six lower-case letters or digits.
pub fn is_id(text: &str) -> bool {
    text.len() == 6 && text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    //! Shows that tokens survive packing and that their id is found.

    use super::*;

    /// Goal: a token made here reads like one of k0s, with or without the newline that the command prints.
    #[test]
    fn a_token_is_unpacked_to_what_was_packed() {
        let bearer = Secret::new(b"abc123.0123456789abcdef".to_vec());
        let config = crate::kubeconfig::bootstrap("https://10.0.0.1:6443", "CA", "kubelet-bootstrap", &bearer);
        let token = encode(&config);
        assert_eq!(decode(&token).unwrap().expose(), config.expose());
        let printed = Secret::new([token.expose(), b"\n"].concat());
        assert_eq!(id_of_join_token(&printed).unwrap(), "abc123");
        assert!(decode(&Secret::new(b"# overwritten by k0sctl after join\n".to_vec())).is_err());
        assert_eq!(id(&Secret::new(b"eyJhbGciOi.x.y".to_vec())), None);
    }
}
