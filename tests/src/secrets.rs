//! Private keys and tokens, learned wherever they lie open, and the search for them where they must not.

mod watched;

pub use watched::{Seen, Watched};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use k0rotate_activities::secret::Secret;
use k0rotate_activities::token;
use std::collections::{BTreeSet, HashMap};

/// A secret is looked for by this many of its first bytes.
const HEAD: usize = 8;
/// Lines of a PEM body that say less are not looked for.
const SHORTEST: usize = 12;
/// How often base64 is unpacked in base64.
const DEEPEST: usize = 3;
/// PKCS#8 and SEC1: version 1 and an octet string of 32 bytes, the scalar of P-256.
const SCALAR: &[u8] = &[0x02, 0x01, 0x01, 0x04, 0x20];
/// What lies before this in an RSA key of 2048 bits is public.
const RSA_PUBLIC: usize = 310;

/// What is looked for.
#[derive(Default)]
pub struct Marked {
    by_head: HashMap<[u8; HEAD], Vec<(Vec<u8>, &'static str)>>,
    count: BTreeSet<&'static str>,
}

impl Marked {
    /// Kinds of secrets that were learned.
    pub fn kinds(&self) -> Vec<&'static str> {
        self.count.iter().copied().collect()
    }

    /// Learns every private key and token in these bytes, also in base64 and in join tokens.
    pub fn learn(&mut self, bytes: &[u8]) {
        self.learn_at(bytes, DEEPEST);
    }

    fn learn_at(&mut self, bytes: &[u8], depth: usize) {
        let text = String::from_utf8_lossy(bytes);
        self.learn_keys(&text);
        for word in text.split(|c: char| !(c.is_ascii_alphanumeric() || "+/=_.-".contains(c))) {
            self.learn_word(word, depth);
        }
    }

    fn learn_keys(&mut self, text: &str) {
        for block in text.split("-----BEGIN ").skip(1) {
            let Some((label, rest)) = block.split_once("-----") else { continue };
            let Some((body, _)) = rest.split_once("-----END") else { continue };
            if label.ends_with("PRIVATE KEY") {
                self.learn_key(&body.split_whitespace().collect::<Vec<_>>());
            }
        }
    }

    /// The part of a key that is secret: raw, and each line of the PEM body that holds some of it.
    fn learn_key(&mut self, lines: &[&str]) {
        let Ok(der) = STANDARD.decode(lines.concat()) else { return };
        let scalar = der.windows(SCALAR.len()).position(|w| w == SCALAR).map(|at| at + SCALAR.len());
        let (from, to) = scalar.map_or((RSA_PUBLIC, der.len()), |at| (at, at + 32));
        let Some(secret) = der.get(from..to) else { return };
        secret.chunks(64).for_each(|part| self.add(part, "key"));
        let mut at = 0;
        for line in lines {
            let (begins, ends) = (at, at + line.len() / 4 * 3);
            at = ends;
            // Half a line of it tells this key from others, whatever stands before it.
            if begins.max(from) + SHORTEST <= ends.min(to) {
                self.add_encoded(line.as_bytes(), "line of a key");
            }
        }
    }

    fn learn_word(&mut self, word: &str, depth: usize) {
        let parts: Vec<&str> = word.split('.').collect();
        match parts[..] {
            [_, _, signature] if word.starts_with("eyJ") && signature.len() > 40 => {
                self.add_encoded(signature.as_bytes(), "service-account token");
            }
            [id, secret]
                if token::is_id(id) && secret.len() == 16 && secret.bytes().all(|b| b.is_ascii_alphanumeric()) =>
            {
                self.add_encoded(secret.as_bytes(), "bootstrap token");
            }
            _ if word.starts_with("AGE-SECRET-KEY-") => self.add_encoded(word.as_bytes(), "identity"),
            _ if word.len() >= 64 && depth > 0 => self.unpack(word, depth),
            _ => {}
        }
    }

    fn unpack(&mut self, word: &str, depth: usize) {
        if let Ok(plain) = token::decode(&Secret::new(word.as_bytes().to_vec())) {
            self.add_encoded(&word.as_bytes()[word.len() / 2..], "join token");
            self.learn_at(plain.expose(), depth - 1);
        } else if let Ok(plain) = STANDARD.decode(word) {
            self.learn_at(&plain, depth - 1);
        }
    }

    /// As it is, and in base64 of whatever holds it.
    fn add_encoded(&mut self, secret: &[u8], kind: &'static str) {
        self.add(secret, kind);
        for skip in 0..3 {
            let whole = secret.len().saturating_sub(skip) / 3 * 3;
            self.add(STANDARD.encode(&secret[skip..skip + whole]).as_bytes(), kind);
        }
    }

    fn add(&mut self, secret: &[u8], kind: &'static str) {
        let Some(head) = secret.first_chunk::<HEAD>().filter(|_| secret.len() >= SHORTEST) else { return };
        let known = self.by_head.entry(*head).or_default();
        if known.iter().all(|(other, _)| other != secret) {
            known.push((secret.to_vec(), kind));
            self.count.insert(kind);
        }
    }

    /// What of it lies open in these bytes, by kind and place; never the secret itself.
    pub fn found_in(&self, bytes: &[u8]) -> Vec<String> {
        let mut found = Vec::new();
        for (at, head) in bytes.windows(HEAD).enumerate() {
            let head: &[u8; HEAD] = head.first_chunk().expect("a window is so long");
            for (secret, kind) in self.by_head.get(head).into_iter().flatten() {
                if bytes[at..].starts_with(secret) {
                    found.push(format!("{kind} at byte {at}"));
                }
            }
        }
        found
    }
}

#[cfg(test)]
mod tests {
    //! Shows that the search finds what it was taught.

    use super::*;

    /// Goal: each kind is found raw, in base64 of something larger at any offset, and not where only its like is.
    #[test]
    fn what_was_learned_is_found() {
        let kubeconfig = "client-key-data: QUJD\ntoken: abc123.0123456789abcdef\n";
        let join = token::encode(&Secret::new(kubeconfig.as_bytes().to_vec()));
        let mut marked = Marked::default();
        marked.learn(join.expose());
        assert_eq!(marked.kinds(), ["bootstrap token", "join token"]);
        for skip in 0..3 {
            let around = STANDARD.encode(&"...token: abc123.0123456789abcdef and more"[skip..]);
            assert_eq!(marked.found_in(around.as_bytes()).len(), 1, "{around}");
        }
        assert_eq!(marked.found_in(b"id abc123, 0123456789abcdee"), Vec::<String>::new());
        assert_ne!(marked.found_in(join.expose()), Vec::<String>::new());
    }
}
