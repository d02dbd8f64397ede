//! The key directory of a node: what proves its membership of the cluster and its identity.
//!
//! | file | what it holds |
//! |---|---|
//! | `ca.pem` | the certificate of the cluster's own authority, which signs those of all nodes |
//! | `node.pem`, `node.key` | this node's certificate, with its name in it, and its private key |
//! | `gossip.keys` | the keys that seal gossip, the same on all nodes ([`KeyRing`]) |
//! | `secret` | the secret of placement and connection ids, the same on all nodes |
//!
//! `tidings keys init` makes it. The private ones of these files must not be readable by all users.

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier;
use rustls::crypto::ring;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::{ParsedCertificate, WebPkiClientVerifier};
use rustls::version::TLS13;
use rustls::{ClientConfig, RootCertStore, ServerConfig};

use crate::clock::Clock;
use crate::cluster::gossip::keyring::{KeyRing, KeyRingError};
use crate::cluster::membership::member::NodeId;

/// The certificate of the cluster's authority.
pub const CA: &str = "ca.pem";
pub const CERT: &str = "node.pem";
pub const KEY: &str = "node.key";
/// The keys that seal gossip.
pub const GOSSIP_KEYS: &str = "gossip.keys";
/// The secret that the nodes share.
pub const SECRET: &str = "secret";

/// What a key directory gives. Connections that are open keep the configuration that they were opened with.
#[derive(Clone, Debug)]
pub struct KeyDir {
    /// To accept links: TLS 1.3, and only from peers with a certificate of the cluster's authority.
    pub server: Arc<ServerConfig>,
    /// To open links: TLS 1.3, with this node's certificate. The name to ask for is [`server_name`].
    pub client: Arc<ClientConfig>,
    /// The keys that seal gossip.
    pub gossip: KeyRing,
    /// The file with the secret.
    pub secret: PathBuf,
}

/// Why a key directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum KeyDirError {
    /// A file cannot be read.
    #[error("cannot read {}: {error}; copy the whole directory that tidings keys made for this node", path.display())]
    Read {
        path: PathBuf,
        /// The system's error.
        error: io::Error,
    },
    /// All users of this host can read a file that has to be private.
    #[error("{0} can be read by all users: chmod o= {0}", path.display())]
    Exposed { path: PathBuf },
    /// A file holds something else.
    #[error("{} is not what tidings keys made: {error}", path.display())]
    Malformed { path: PathBuf, error: pem::Error },
    /// The keys for gossip cannot be used.
    #[error(transparent)]
    Gossip(#[from] KeyRingError),
    /// No certificate can be made for this name.
    #[error("the node id {id} cannot be part of a host name: use letters, digits and inner hyphens, at most 63")]
    Id { id: NodeId },
    /// The certificate is that of another node.
    #[error("{} is not the certificate of node {id}: use the directory made for it, or change node.id", path.display())]
    OtherNode { path: PathBuf, id: NodeId },
    /// The files do not belong together, or are of a kind that cannot be used.
    #[error("the certificates in {} do not fit together: {error}", dir.display())]
    Tls { dir: PathBuf, error: rustls::Error },
}

impl KeyDir {
    /// Reads the key directory of the node `id`; `clock` decides whether certificates are valid now.
    ///
    /// # Errors
    /// See [`KeyDirError`].
    pub fn load(dir: &Path, id: &NodeId, clock: &dyn Clock) -> Result<Self, KeyDirError> {
        let [ca, cert, key, gossip, secret] = [CA, CERT, KEY, GOSSIP_KEYS, SECRET].map(|name| dir.join(name));
        for path in [&key, &gossip, &secret] {
            private(path)?;
        }
        let chain = certificates(&cert)?;
        let name = server_name(id).ok_or_else(|| KeyDirError::Id { id: id.clone() })?;
        let tls = |error| KeyDirError::Tls { dir: dir.to_owned(), error };

        let mut roots = RootCertStore::empty();
        for certificate in certificates(&ca)? {
            roots.add(certificate).map_err(tls)?;
        }
        let (roots, provider) = (Arc::new(roots), Arc::new(ring::default_provider()));
        let unusable = |error: rustls::server::VerifierBuilderError| tls(rustls::Error::General(error.to_string()));
        let servers = WebPkiServerVerifier::builder_with_provider(roots.clone(), provider.clone());
        let servers = servers.build().map_err(unusable)?;
        let clients = WebPkiClientVerifier::builder_with_provider(roots, provider.clone()).build().map_err(unusable)?;

        let [end_entity, intermediates @ ..] = &chain[..] else {
            return Err(KeyDirError::Malformed { path: cert, error: pem::Error::NoItemsFound });
        };
        if !verify_node(end_entity, id) {
            return Err(KeyDirError::OtherNode { path: cert, id: id.clone() });
        }
        let now = UnixTime::since_unix_epoch(std::time::Duration::from_millis(clock.now().wall_millis));
        servers.verify_server_cert(end_entity, intermediates, &name, &[], now).map_err(tls)?;

        let private_key = || {
            let text = read(&key)?;
            PrivateKeyDer::from_pem_slice(&text).map_err(|error| KeyDirError::Malformed { path: key.clone(), error })
        };
        let mut server = ServerConfig::builder_with_provider(provider.clone())
            .with_protocol_versions(&[&TLS13])
            .map_err(tls)?
            .with_client_cert_verifier(clients)
            .with_single_cert(chain.clone(), private_key()?)
            .map_err(tls)?;
        // A link lives long; resuming would save nothing and keep old certificates in use.
        server.send_tls13_tickets = 0;
        let client = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&TLS13])
            .map_err(tls)?
            .with_webpki_verifier(servers)
            .with_client_auth_cert(chain, private_key()?)
            .map_err(tls)?;
        let gossip = KeyRing::load(&gossip)?;
        Ok(Self { server: Arc::new(server), client: Arc::new(client), gossip, secret })
    }
}

/// The host name that stands for a node in certificates; it need not exist. Case does not count in host names, so node
/// ids must not differ in case alone.
pub fn node_name(id: &NodeId) -> String {
    format!("{id}.tidings.internal")
}

/// The name of a node for TLS; `None` if the id cannot be part of a host name.
pub fn server_name(id: &NodeId) -> Option<ServerName<'static>> {
    ServerName::try_from(node_name(id)).ok()
}

/// Whether a certificate, that of the other end of a link, is for this node. That it was signed by the cluster's authority
/// was checked before.
pub fn verify_node(certificate: &CertificateDer<'_>, id: &NodeId) -> bool {
    let (Ok(certificate), Some(name)) = (ParsedCertificate::try_from(certificate), server_name(id)) else {
        return false;
    };
    rustls::client::verify_server_name(&certificate, &name).is_ok()
}

fn read(path: &Path) -> Result<Vec<u8>, KeyDirError> {
    fs::read(path).map_err(|error| KeyDirError::Read { path: path.to_owned(), error })
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, KeyDirError> {
    CertificateDer::pem_slice_iter(&read(path)?)
        .collect::<Result<Vec<_>, _>>()
        .and_then(|found| if found.is_empty() { Err(pem::Error::NoItemsFound) } else { Ok(found) })
        .map_err(|error| KeyDirError::Malformed { path: path.to_owned(), error })
}

/// Refuses a file that others than its owner and group can read or write.
fn private(path: &Path) -> Result<(), KeyDirError> {
    let metadata = fs::metadata(path).map_err(|error| KeyDirError::Read { path: path.to_owned(), error })?;
    if metadata.permissions().mode() & 0o007 != 0 {
        return Err(KeyDirError::Exposed { path: path.to_owned() });
    }
    Ok(())
}
