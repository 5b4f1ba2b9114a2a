//! TLS of the listeners: a certificate that may be renewed while connections are open.
//!
//! The files are read again every few seconds and used as soon as they have changed and fit each other; until then,
//! and where they do not, the pair before them stays. So a renewal may replace them one after the other, and needs
//! neither a signal nor a restart.

use std::fmt;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use anyhow::{Context as _, anyhow, bail};
use sha2::{Digest as _, Sha256};
use syncline_seams::{Clock, Secret};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::crypto::{CryptoProvider, ring};
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, pem};
use tokio_rustls::rustls::server::{ClientHello, ResolvesServerCert};
use tokio_rustls::rustls::sign::CertifiedKey;
use tokio_rustls::rustls::{Error, InconsistentKeys, ServerConfig};
use tokio_rustls::server::TlsStream;
use tracing::{info, warn};

/// How often the files are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(10);

/// How often what is wrong with them is said again, while it stays wrong.
const TELL_EVERY_MS: i64 = 60 * 60 * 1000;

/// The longest file that is read, in bytes: some hundred certificates.
const MAX_FILE_BYTES: u64 = 1 << 20;

/// Where the certificate and its key are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsFiles {
    /// The certificate and the intermediate ones after it, in PEM.
    pub certificate: PathBuf,
    /// The certificate's private key, in PEM.
    pub key: PathBuf,
}

/// What the listeners prove themselves with.
#[derive(Debug)]
pub struct Tls {
    files: TlsFiles,
    shown: Arc<Shown>,
    config: Arc<ServerConfig>,
    /// What is wrong with the files, and when that was said last, in milliseconds since the Unix epoch.
    wrong: Mutex<Option<(String, i64)>>,
}

/// The pair that is shown to whoever connects.
struct Shown {
    pair: RwLock<Arc<CertifiedKey>>,
    /// A hash of the files that it was read from.
    seen: RwLock<[u8; 32]>,
}

impl fmt::Debug for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shown").finish_non_exhaustive()
    }
}

impl ResolvesServerCert for Shown {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.pair.read().unwrap_or_else(PoisonError::into_inner)))
    }
}

impl Tls {
    /// Reads the files.
    ///
    /// # Errors
    /// A file that cannot be read or holds no such thing, or a certificate and a key that do not belong together.
    pub async fn read(files: &TlsFiles) -> anyhow::Result<Self> {
        let provider = Arc::new(ring::default_provider());
        let read = Contents::of(files).await?;
        let pair = read.pair(files, &provider)?;
        let shown = Arc::new(Shown { pair: RwLock::new(Arc::new(pair)), seen: RwLock::new(read.hash()) });
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .context("TLS cannot be used")?
            .with_no_client_auth()
            .with_cert_resolver(Arc::<Shown>::clone(&shown));
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(Self { files: files.clone(), shown, config: Arc::new(config), wrong: Mutex::default() })
    }

    /// Agrees on TLS with whoever connected; the caller bounds how long it takes.
    ///
    /// # Errors
    /// When the other end speaks no TLS, or does not want this one.
    pub(super) async fn accept(&self, stream: TcpStream) -> std::io::Result<TlsStream<TcpStream>> {
        TlsAcceptor::from(Arc::clone(&self.config)).accept(stream).await
    }

    /// Takes renewed files up as they come. It never ends.
    pub(crate) async fn renew(&self, clock: &dyn Clock) {
        loop {
            clock.sleep(LOOK_EVERY).await;
            if let Some(wrong) = self.look(clock.now_ms()).await {
                warn!(error = wrong, "the certificate before it is still used");
            }
        }
    }

    /// Takes up what is in the files, if it has changed and fits. What is wrong with them, where that is new or was not said
    /// for an hour: a file may be missing for long.
    async fn look(&self, now_ms: i64) -> Option<String> {
        let taken = self.take_up().await;
        let mut told = self.wrong.lock().unwrap_or_else(PoisonError::into_inner);
        let wrong = match taken {
            Ok(()) => {
                *told = None;
                return None;
            }
            Err(error) => format!("{error:#}"),
        };
        let is_known =
            told.as_ref().is_some_and(|(known, at)| *known == wrong && now_ms - at < TELL_EVERY_MS);
        if is_known {
            return None;
        }
        *told = Some((wrong.clone(), now_ms));
        Some(wrong)
    }

    async fn take_up(&self) -> anyhow::Result<()> {
        let read = Contents::of(&self.files).await?;
        let hash = read.hash();
        if *self.shown.seen.read().unwrap_or_else(PoisonError::into_inner) == hash {
            return Ok(());
        }
        let pair = read.pair(&self.files, self.config.crypto_provider())?;
        *self.shown.pair.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(pair);
        *self.shown.seen.write().unwrap_or_else(PoisonError::into_inner) = hash;
        info!(file = %self.files.certificate.display(), "took up a renewed certificate");
        Ok(())
    }
}

/// What is in the files.
struct Contents {
    certificate: Vec<u8>,
    key: Secret<Vec<u8>>,
}

impl Contents {
    async fn of(files: &TlsFiles) -> anyhow::Result<Self> {
        Ok(Self {
            certificate: read("--tls-cert", &files.certificate).await?,
            key: Secret::from(read("--tls-key", &files.key).await?),
        })
    }

    fn hash(&self) -> [u8; 32] {
        let mut hash = Sha256::new();
        hash.update(u64::try_from(self.certificate.len()).unwrap_or(u64::MAX).to_be_bytes());
        hash.update(&self.certificate);
        hash.update(self.key.expose());
        hash.finalize().into()
    }

    fn pair(&self, files: &TlsFiles, provider: &CryptoProvider) -> anyhow::Result<CertifiedKey> {
        let certificate = files.certificate.display();
        let chain: Vec<_> = CertificateDer::pem_slice_iter(&self.certificate)
            .collect::<Result<_, _>>()
            .map_err(|error| anyhow!("--tls-cert {certificate} is not in PEM: {error}"))?;
        if chain.is_empty() {
            bail!("--tls-cert {certificate} holds no certificate in PEM");
        }
        let key_file = files.key.display();
        // What is wrong with a key's text may repeat some of it.
        let key = PrivateKeyDer::from_pem_slice(self.key.expose()).map_err(|error| match error {
            pem::Error::NoItemsFound => anyhow!("--tls-key {key_file} holds no private key in PEM"),
            _ => anyhow!("--tls-key {key_file} is not in PEM"),
        })?;
        CertifiedKey::from_der(chain, key, provider).map_err(|error| match error {
            Error::InconsistentKeys(InconsistentKeys::KeyMismatch) => {
                anyhow!("--tls-key {key_file} is not the key of the first certificate in {certificate}")
            }
            error => anyhow!("--tls-cert {certificate} with --tls-key {key_file} cannot be used: {error}"),
        })
    }
}

async fn read(flag: &str, path: &Path) -> anyhow::Result<Vec<u8>> {
    let told = || format!("{flag} {}", path.display());
    let length = tokio::fs::metadata(path).await.with_context(told)?.len();
    if length > MAX_FILE_BYTES {
        let too_long = std::io::Error::new(ErrorKind::FileTooLarge, "it has more than 1 MiB");
        return Err(too_long).with_context(told);
    }
    tokio::fs::read(path).await.with_context(told)
}

#[cfg(test)]
mod tests {
    use rcgen::{CertifiedKey as Made, generate_simple_self_signed};

    use super::*;

    #[tokio::test]
    async fn what_does_not_fit_says_which_file_and_shows_nothing_of_a_key() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let made = || generate_simple_self_signed(["a.example".to_owned()]).expect("a certificate");
        let (Made { cert, signing_key }, other) = (made(), made());
        let (cert, key, other) = (cert.pem(), signing_key.serialize_pem(), other.signing_key.serialize_pem());
        let files =
            TlsFiles { certificate: directory.path().join("cert"), key: directory.path().join("key") };
        let check = async |cert: Option<&str>, key: Option<&str>, expect: &str| {
            for (path, text) in [(&files.certificate, cert), (&files.key, key)] {
                match text {
                    Some(text) => std::fs::write(path, text).expect("written"),
                    None => drop(std::fs::remove_file(path)),
                }
            }
            let told = match Tls::read(&files).await {
                Ok(_) => "fits".to_owned(),
                Err(error) => format!("{error:#}").replace(&directory.path().display().to_string(), ""),
            };
            assert!(told.starts_with(expect), "{told}, not {expect}");
            assert!(!told.contains("canary"), "{told}");
        };
        check(Some(&cert), Some(&key), "fits").await;
        check(Some(&format!("{key}{cert}{cert}")), Some(&format!("{cert}{key}")), "fits").await;
        let mismatch = "--tls-key /key is not the key of the first certificate in /cert";
        check(Some(&cert), Some(&other), mismatch).await;
        check(None, Some(&key), "--tls-cert /cert: No such file").await;
        check(Some(&cert), None, "--tls-key /key: No such file").await;
        check(Some(""), Some(&key), "--tls-cert /cert holds no certificate").await;
        check(Some(&key), Some(&key), "--tls-cert /cert holds no certificate").await;
        check(Some(&cert), Some("canary"), "--tls-key /key holds no private key").await;
        let half = "-----BEGIN PRIVATE KEY-----\ncanary!";
        check(Some(&cert), Some(half), "--tls-key /key is not in PEM").await;
        check(Some(half), Some(&key), "--tls-cert /cert is not in PEM").await;
        let broken = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        check(Some(broken), Some(&key), "--tls-cert /cert with --tls-key /key cannot be used").await;
        check(Some(&"x".repeat(2 << 20)), Some(&key), "--tls-cert /cert: it has more than 1 MiB").await;
    }

    #[tokio::test]
    async fn a_renewed_pair_is_taken_up_once_it_fits() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let files =
            TlsFiles { certificate: directory.path().join("cert"), key: directory.path().join("key") };
        let write = |certificate: &str, key: &str| {
            std::fs::write(&files.certificate, certificate).expect("written");
            std::fs::write(&files.key, key).expect("written");
        };
        let pair = || {
            let made = generate_simple_self_signed(["a.example".to_owned()]).expect("a certificate");
            (made.cert.pem(), made.signing_key.serialize_pem())
        };
        let (first, second) = (pair(), pair());
        write(&first.0, &first.1);
        let tls = Tls::read(&files).await.expect("fits");
        let shown = || {
            let pair = tls.shown.pair.read().expect("not poisoned");
            let shown = pair.cert[0].clone();
            let is = |pem: &str| CertificateDer::from_pem_slice(pem.as_bytes()).expect("PEM") == shown;
            (is(&first.0), is(&second.0))
        };
        for (certificate, key, expect) in [
            (&*first.0, &*first.1, (true, false)),
            // One file is replaced before the other; what is half written is no reason to stop either.
            (&*second.0, &*first.1, (true, false)),
            ("", &*first.1, (true, false)),
            (&*second.0, &*second.1, (false, true)),
            (&*second.0, "", (false, true)),
            (&*first.0, &*first.1, (true, false)),
        ] {
            write(certificate, key);
            tls.look(0).await;
            assert_eq!(shown(), expect);
        }
        std::fs::remove_file(&files.key).expect("removed");
        tls.look(0).await;
        assert_eq!(shown(), (true, false));
        write(&second.0, &second.1);
        tls.look(0).await;
        assert_eq!(shown(), (false, true));

        // What is wrong is said when it begins, when it changes, and once in an hour.
        let told = async |now_ms: i64, expect: Option<&str>| {
            let told = tls.look(now_ms).await;
            let is_meant = match (&told, expect) {
                (Some(told), Some(expect)) => told.contains(expect),
                (told, expect) => told.is_none() && expect.is_none(),
            };
            assert!(is_meant, "{now_ms}: {told:?}, not {expect:?}");
        };
        std::fs::remove_file(&files.key).expect("removed");
        told(0, Some("No such file")).await;
        told(10_000, None).await;
        told(TELL_EVERY_MS - 1, None).await;
        told(TELL_EVERY_MS, Some("No such file")).await;
        write(&first.0, &second.1);
        let before = TELL_EVERY_MS + 10_000;
        told(before, Some("is not the key")).await;
        told(before + 10_000, None).await;
        told(before + TELL_EVERY_MS, Some("is not the key")).await;
        write(&second.0, &second.1);
        told(before + TELL_EVERY_MS + 1, None).await;
        write(&first.0, &second.1);
        told(before + TELL_EVERY_MS + 2, Some("is not the key")).await;
        assert_eq!(shown(), (false, true));
    }
}
