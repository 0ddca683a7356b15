//! Asks over TLS from a host, through a TCP stream that the host opens; keys and tokens never leave our memory.

use super::frame::{find, nonce};
use super::link::{As, Link};
use crate::host::{ClientIdentity, HostError, TlsEnd, TlsRequest, TlsSeen};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{
    AlertDescription, ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme, SupportedProtocolVersion,
};
use std::any::Any;
use std::fmt::Write as _;
use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

const DIAL: &str = include_str!("dial.sh");

/// How long an answer may take.
const TLS_DEADLINE: Duration = Duration::from_secs(15);
/// How much of a body is kept.
const BODY_LIMIT: usize = 1 << 20;
/// How long a server of TLS 1.3 has to object to our certificate after the handshake.
const OBJECTION: Duration = Duration::from_secs(1);
/// What a login shell may print before the stream begins.
const NOISE_LIMIT: usize = 64 * 1024;

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

enum Dialled {
    Open(Box<dyn Stream>, Box<dyn Any + Send>),
    Closed(TlsEnd),
}

/// Asks.
pub async fn ask(link: &dyn Link, request: &TlsRequest) -> Result<TlsSeen, HostError> {
    // With TLS 1.2 the server has judged our certificate before the handshake ends, with 1.3 it objects later if at all.
    let old: &[&SupportedProtocolVersion] = &[&rustls::version::TLS12];
    let both: &[&SupportedProtocolVersion] = &[&rustls::version::TLS12, &rustls::version::TLS13];
    let judged_late = request.path.is_empty() && request.identity.is_some();
    if judged_late {
        match attempt(link, request, old).await? {
            (_, Ended::Tls(rustls::Error::AlertReceived(AlertDescription::ProtocolVersion))) => {}
            (chain, ended) => return Ok(TlsSeen { chain, end: ended.into_end() }),
        }
    }
    let (chain, ended) = attempt(link, request, both).await?;
    Ok(TlsSeen { chain, end: ended.into_end() })
}

enum Ended {
    Known(TlsEnd),
    Tls(rustls::Error),
}

impl Ended {
    fn into_end(self) -> TlsEnd {
        use AlertDescription as A;
        match self {
            Self::Known(end) => end,
            Self::Tls(rustls::Error::InvalidCertificate(_)) => TlsEnd::NotTrusted,
            Self::Tls(rustls::Error::AlertReceived(
                A::BadCertificate
                | A::UnknownCA
                | A::CertificateRequired
                | A::CertificateExpired
                | A::CertificateRevoked
                | A::CertificateUnknown
                | A::UnsupportedCertificate
                | A::NoCertificate
                | A::DecryptError
                | A::AccessDenied
                | A::HandshakeFailure,
            )) => TlsEnd::NotAccepted,
            Self::Tls(_) => TlsEnd::Broken,
        }
    }

    fn from_io(error: &std::io::Error) -> Self {
        let tls = error.get_ref().and_then(|e| e.downcast_ref::<rustls::Error>());
        tls.map_or(Self::Known(TlsEnd::Broken), |e| Self::Tls(e.clone()))
    }
}

type Chain = Vec<Vec<u8>>;

async fn attempt(
    link: &dyn Link,
    request: &TlsRequest,
    versions: &[&'static SupportedProtocolVersion],
) -> Result<(Chain, Ended), HostError> {
    let judge = Arc::new(Judge::new(&request.trust)?);
    let config = client(&judge, request.identity.as_ref(), versions)?;
    let asked = async {
        match dial(link, &request.address).await? {
            Dialled::Closed(end) => Ok(Ended::Known(end)),
            Dialled::Open(stream, _keep) => Ok(talk(stream, config, request).await),
        }
    };
    let ended = timeout(TLS_DEADLINE, asked).await.unwrap_or(Ok(Ended::Known(TlsEnd::Broken)))?;
    let chain = judge.chain.lock().unwrap_or_else(PoisonError::into_inner).clone();
    Ok((chain, ended))
}

/// Opens a TCP stream from the host. Not by port forwarding: many sshd forbid it, and there a refused port looks like a closed one.
async fn dial(link: &dyn Link, address: &str) -> Result<Dialled, HostError> {
    let (host, port) = address.rsplit_once(':').ok_or_else(|| HostError::Refused("address".to_owned()))?;
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let nonce = nonce();
    let mut program = link.start(As::Us, &["sh", "-c", DIAL, "dial", &nonce, host, port]).await?;
    let mut head = Vec::new();
    let begin = format!("{nonce} ");
    // Byte by byte: what follows the line belongs to the stream.
    while !head.ends_with(b"\n") || find(&head, begin.as_bytes()).is_none() {
        let mut byte = [0];
        let read = program.stdout.read(&mut byte).await.map_err(|_| HostError::Lost)?;
        if read == 0 || head.len() > NOISE_LIMIT {
            return Ok(Dialled::Closed(TlsEnd::Broken));
        }
        head.push(byte[0]);
    }
    if head.ends_with(b" open\n") {
        return Ok(Dialled::Open(Box::new(tokio::io::join(program.stdout, program.stdin)), program.keep));
    }
    let mut complaint = Vec::new();
    let _ = program.stderr.read_to_end(&mut complaint).await;
    let refused = find(&complaint, b"Connection refused").is_some();
    Ok(Dialled::Closed(if refused { TlsEnd::Refused } else { TlsEnd::Broken }))
}

async fn talk(stream: Box<dyn Stream>, config: ClientConfig, request: &TlsRequest) -> Ended {
    // Names are not looked at, so any will do; an address sends none.
    let name = ServerName::IpAddress(Ipv4Addr::LOCALHOST.into());
    let mut tls = match TlsConnector::from(Arc::new(config)).connect(name, stream).await {
        Ok(tls) => tls,
        Err(error) => return Ended::from_io(&error),
    };
    if request.path.is_empty() {
        return objection(&mut tls, request).await;
    }
    match http_get(&mut tls, request).await {
        Ok(end) => Ended::Known(end),
        Err(error) => Ended::from_io(&error),
    }
}

/// Whether the server objects to our certificate after the handshake.
async fn objection(tls: &mut TlsStream<Box<dyn Stream>>, request: &TlsRequest) -> Ended {
    let late = tls.get_ref().1.protocol_version() == Some(rustls::ProtocolVersion::TLSv1_3);
    if request.identity.is_some()
        && late
        && let Ok(Err(error)) = timeout(OBJECTION, tls.read_u8()).await
    {
        return Ended::from_io(&error);
    }
    Ended::Known(TlsEnd::Handshake)
}

/// HTTP/1.0: the answer comes in one piece and ends with the stream.
async fn http_get(tls: &mut TlsStream<Box<dyn Stream>>, request: &TlsRequest) -> std::io::Result<TlsEnd> {
    let mut text = format!("GET {} HTTP/1.0\r\nHost: {}\r\nAccept: */*\r\n", request.path, request.address);
    for (name, value) in &request.headers {
        let _ = write!(text, "{name}: {value}\r\n");
    }
    let mut head = zeroize::Zeroizing::new(text.into_bytes());
    if let Some(token) = &request.bearer {
        head.extend_from_slice(b"Authorization: Bearer ");
        head.extend_from_slice(token.expose().trim_ascii());
        head.extend_from_slice(b"\r\n");
    }
    head.extend_from_slice(b"\r\n");
    // A server that objects closes while we write; what it says of it is still to be read.
    let _ = tls.write_all(&head).await;
    let _ = tls.flush().await;
    let mut answer = Vec::new();
    let mut piece = vec![0; 16 * 1024];
    loop {
        match tls.read(&mut piece).await {
            Ok(0) => break,
            Ok(read) => answer.extend_from_slice(&piece[..read]),
            Err(_) if parse(&answer).is_some() => break,
            Err(error) => return Err(error),
        }
        if is_whole(&answer) || answer.len() > BODY_LIMIT + NOISE_LIMIT {
            break;
        }
    }
    Ok(parse(&answer)
        .map_or(TlsEnd::Broken, |(status, body)| TlsEnd::Answer(status, body[..body.len().min(BODY_LIMIT)].to_vec())))
}

fn parse(answer: &[u8]) -> Option<(u16, &[u8])> {
    let at = find(answer, b"\r\n\r\n")?;
    let status = std::str::from_utf8(&answer[..at]).ok()?.split(' ').nth(1)?.get(..3)?.parse().ok()?;
    Some((status, &answer[at + 4..]))
}

/// Whether the body is as long as was said, so that nobody waits for a stream that is kept open.
fn is_whole(answer: &[u8]) -> bool {
    let Some(at) = find(answer, b"\r\n\r\n") else { return false };
    let head = String::from_utf8_lossy(&answer[..at]).to_lowercase();
    let length = head.lines().find_map(|l| l.strip_prefix("content-length:")?.trim().parse::<usize>().ok());
    length.is_some_and(|length| answer.len() - at - 4 >= length)
}

fn client(
    judge: &Arc<Judge>,
    identity: Option<&ClientIdentity>,
    versions: &[&'static SupportedProtocolVersion],
) -> Result<ClientConfig, HostError> {
    let unusable = || HostError::Refused("identity".to_owned());
    let builder = ClientConfig::builder_with_provider(Arc::clone(&judge.provider))
        .with_protocol_versions(versions)
        .map_err(|_| unusable())?
        .dangerous()
        .with_custom_certificate_verifier(Arc::clone(judge) as Arc<dyn ServerCertVerifier>);
    let Some(identity) = identity else { return Ok(builder.with_no_client_auth()) };
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(identity.certificate.as_bytes()).collect();
    let key = PrivateKeyDer::from_pem_slice(identity.key.expose()).map_err(|_| unusable())?;
    builder.with_client_auth_cert(chain.map_err(|_| unusable())?, key).map_err(|_| unusable())
}

/// Records what is served and judges it by the given roots; names are not looked at.
#[derive(Debug)]
struct Judge {
    provider: Arc<CryptoProvider>,
    roots: Option<RootCertStore>,
    chain: Mutex<Chain>,
}

impl Judge {
    fn new(trust: &str) -> Result<Self, HostError> {
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(trust.as_bytes()) {
            let added = certificate.ok().and_then(|c| roots.add(c).ok());
            added.ok_or_else(|| HostError::Refused("trust".to_owned()))?;
        }
        let roots = (!trust.is_empty()).then_some(roots);
        Ok(Self { provider: Arc::new(aws_lc_rs::default_provider()), roots, chain: Mutex::new(Vec::new()) })
    }
}

impl ServerCertVerifier for Judge {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let chain = std::iter::once(leaf).chain(intermediates).map(|c| c.to_vec()).collect();
        *self.chain.lock().unwrap_or_else(PoisonError::into_inner) = chain;
        if let Some(roots) = &self.roots {
            let leaf = ParsedCertificate::try_from(leaf)?;
            let algorithms = self.provider.signature_verification_algorithms.all;
            rustls::client::verify_server_cert_signed_by_trust_anchor(&leaf, roots, intermediates, now, algorithms)?;
        }
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, leaf, signed, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, leaf, signed, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
