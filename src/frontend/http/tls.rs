//! The TLS side of the listener, with certificates that can be replaced while it serves.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use rustls::ServerConfig;
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use tokio::sync::watch;

/// How often [`Tls::watch`] looks at the files.
const POLL: Duration = Duration::from_secs(10);

/// Why a certificate cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read, or is not PEM.
    #[error("cannot read {what} from {}: {error}; check {setting}", path.display())]
    Read {
        /// What the file should hold.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// Which setting names it.
        setting: &'static str,
        /// What is wrong with it.
        error: pem::Error,
    },
    /// The certificate and the key do not belong together, or are of a kind that we cannot use.
    #[error("cannot serve TLS with {} and {}: {error}", cert.display(), key.display())]
    Pair {
        /// The file with the certificate chain.
        cert: PathBuf,
        /// The file with its private key.
        key: PathBuf,
        /// What is wrong with them.
        error: rustls::Error,
    },
}

/// A TLS configuration whose certificate can change under it: connections that are open keep theirs.
#[derive(Debug)]
pub struct Tls {
    config: Arc<ServerConfig>,
    current: Arc<Current>,
    cert: PathBuf,
    key: PathBuf,
    /// When the files that were last tried had changed, be they good or bad.
    tried: Mutex<Stamp>,
}

/// A certificate that was read again but is not served yet.
#[derive(Debug)]
pub struct LoadedCertificate {
    key: CertifiedKey,
    stamp: Stamp,
}

/// The modification times of certificate and key; `None` for a file that cannot be looked at.
type Stamp = [Option<SystemTime>; 2];

#[derive(Debug)]
struct Current(ArcSwap<CertifiedKey>);

impl ResolvesServerCert for Current {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.0.load_full())
    }
}

impl Tls {
    /// Reads the certificate chain in `cert` and its private key in `key`, both PEM.
    ///
    /// # Errors
    /// See [`TlsError`].
    pub fn load(cert: &Path, key: &Path) -> Result<Self, TlsError> {
        let provider = Arc::new(ring::default_provider());
        let tried = stamp(cert, key);
        let current = Arc::new(Current(ArcSwap::from_pointee(read(cert, key, &provider)?)));
        let pair_error = |error| TlsError::Pair { cert: cert.to_owned(), key: key.to_owned(), error };
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(pair_error)?
            .with_no_client_auth()
            .with_cert_resolver(current.clone());
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        config.ticketer = ring::Ticketer::new().map_err(pair_error)?;
        Ok(Self { config: Arc::new(config), current, cert: cert.to_owned(), key: key.to_owned(), tried: tried.into() })
    }

    /// What an acceptor needs.
    pub fn config(&self) -> Arc<ServerConfig> {
        self.config.clone()
    }

    /// Reads the files again. Nothing changes until the result is installed.
    ///
    /// # Errors
    /// See [`TlsError`].
    pub fn load_again(&self) -> Result<LoadedCertificate, TlsError> {
        let stamp = stamp(&self.cert, &self.key);
        match read(&self.cert, &self.key, self.config.crypto_provider()) {
            Ok(key) => Ok(LoadedCertificate { key, stamp }),
            Err(error) => {
                *self.tried.lock() = stamp;
                Err(error)
            }
        }
    }

    /// Serves this certificate from now on.
    pub fn install(&self, certificate: LoadedCertificate) {
        *self.tried.lock() = certificate.stamp;
        self.current.0.store(Arc::new(certificate.key));
    }

    /// Reads the files again and serves what they contain.
    ///
    /// # Errors
    /// See [`TlsError`]; the certificate stays what it was.
    pub fn reload(&self) -> Result<(), TlsError> {
        self.install(self.load_again()?);
        Ok(())
    }

    /// Reloads if a file has changed since it was last tried. Says whether there was something new.
    ///
    /// # Errors
    /// Those of [`reload`](Self::reload).
    pub fn reload_if_changed(&self) -> Result<bool, TlsError> {
        if stamp(&self.cert, &self.key) == *self.tried.lock() {
            return Ok(false);
        }
        self.reload().map(|()| true)
    }

    /// The worker `tls-reload`: takes up changed files within ten seconds, until `shutdown` turns true.
    pub async fn watch(self: Arc<Self>, mut shutdown: watch::Receiver<bool>) {
        loop {
            tokio::select! {
                _ = shutdown.wait_for(|stop| *stop) => return,
                () = tokio::time::sleep(POLL) => {}
            }
            let tls = self.clone();
            match tokio::task::spawn_blocking(move || tls.reload_if_changed()).await {
                Ok(Ok(false)) => {}
                Ok(Ok(true)) => tracing::info!(worker = "tls-reload", "serving the new certificate"),
                Ok(Err(error)) => tracing::warn!(worker = "tls-reload", "keeping the old certificate: {error}"),
                Err(error) => tracing::error!(worker = "tls-reload", "a reload failed: {error}"),
            }
        }
    }
}

fn stamp(cert: &Path, key: &Path) -> Stamp {
    [cert, key].map(|path| std::fs::metadata(path).and_then(|metadata| metadata.modified()).ok())
}

fn read(cert: &Path, key: &Path, provider: &CryptoProvider) -> Result<CertifiedKey, TlsError> {
    let read_error = |what, path: &Path, setting| {
        let path = path.to_owned();
        move |error| TlsError::Read { what, path, setting, error }
    };
    let chain = CertificateDer::pem_file_iter(cert)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .and_then(|chain| if chain.is_empty() { Err(pem::Error::NoItemsFound) } else { Ok(chain) })
        .map_err(read_error("a certificate", cert, "tls.cert"))?;
    let private = PrivateKeyDer::from_pem_file(key).map_err(read_error("a private key", key, "tls.key"))?;
    CertifiedKey::from_der(chain, private, provider).map_err(|error| TlsError::Pair {
        cert: cert.to_owned(),
        key: key.to_owned(),
        error,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A fresh self-signed certificate in `directory`; the files that hold it and its key.
    fn write_pair(directory: &Path) -> (PathBuf, PathBuf) {
        let pair = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let (cert, key) = (directory.join("cert.pem"), directory.join("key.pem"));
        std::fs::write(&cert, pair.cert.pem()).unwrap();
        std::fs::write(&key, pair.signing_key.serialize_pem()).unwrap();
        (cert, key)
    }

    fn served(tls: &Tls) -> Vec<u8> {
        tls.current.0.load().cert[0].to_vec()
    }

    #[test]
    fn new_files_are_taken_up_and_broken_ones_are_not() {
        let directory = tempfile::tempdir().unwrap();
        let (cert, key) = write_pair(directory.path());
        let tls = Tls::load(&cert, &key).unwrap();
        let first = served(&tls);
        assert!(!tls.reload_if_changed().unwrap());

        write_pair(directory.path());
        tls.reload().unwrap();
        let second = served(&tls);
        assert_ne!(first, second);

        std::fs::write(&cert, "no certificate").unwrap();
        let error = tls.reload().unwrap_err().to_string();
        assert!(error.contains("cert.pem") && error.contains("tls.cert"), "{error}");
        assert_eq!(served(&tls), second);
        assert!(!tls.reload_if_changed().unwrap(), "a broken file is tried once, not every ten seconds");
    }

    #[test]
    fn a_change_is_noticed_by_its_time() {
        let directory = tempfile::tempdir().unwrap();
        let (cert, key) = write_pair(directory.path());
        let tls = Tls::load(&cert, &key).unwrap();
        let file = std::fs::File::options().write(true).open(&key).unwrap();
        let later = file.metadata().unwrap().modified().unwrap() + Duration::from_secs(5);
        file.set_modified(later).unwrap();
        assert!(tls.reload_if_changed().unwrap());
        assert!(!tls.reload_if_changed().unwrap());
    }

    #[test]
    fn a_key_of_another_certificate_is_refused() {
        let (ours, theirs) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let (cert, _) = write_pair(ours.path());
        let (_, key) = write_pair(theirs.path());
        assert!(matches!(Tls::load(&cert, &key), Err(TlsError::Pair { .. })));
        assert!(matches!(Tls::load(&cert, Path::new("/nonexistent")), Err(TlsError::Read { setting: "tls.key", .. })));
    }
}
