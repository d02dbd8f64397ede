//! Why a node does not start, or does not reload.

use hyper::header::InvalidHeaderName;

use super::cluster::ClusterError;
use super::secret::SecretError;
use super::sockets::BindError;
use crate::cluster::KeyDirError;
use crate::frontend::access_list::AccessListError;
use crate::frontend::http::TlsError;
use crate::partition::snapshot::DataDirError;

#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error(transparent)]
    Bind(#[from] BindError),
    #[error(transparent)]
    AccessList(#[from] AccessListError),
    #[error(transparent)]
    Tls(#[from] TlsError),
    #[error("announce.proxy_header is not the name of a header: {0}")]
    ProxyHeader(#[from] InvalidHeaderName),
    #[error(transparent)]
    Secret(#[from] SecretError),
    #[error(transparent)]
    Cluster(#[from] ClusterError),
    #[error(transparent)]
    DataDir(#[from] DataDirError),
    /// The system refuses a thread, a socket option or the like.
    #[error("the system refuses what a node needs: {0}")]
    System(#[from] std::io::Error),
    #[error("cannot start the owners of partitions: {0}")]
    Owners(#[from] ractor::SpawnErr),
}

impl StartError {
    /// Whether other settings can help.
    pub fn is_settings(&self) -> bool {
        !matches!(self, Self::System(_) | Self::Owners(_) | Self::Cluster(ClusterError::Manager(_)))
    }
}

impl From<KeyDirError> for StartError {
    fn from(error: KeyDirError) -> Self {
        Self::Cluster(error.into())
    }
}

/// Why a reload failed and changed nothing. Each message contains the path of the file.
#[derive(Debug, thiserror::Error)]
pub enum ReloadError {
    #[error(transparent)]
    AccessList(#[from] AccessListError),
    #[error(transparent)]
    Tls(#[from] TlsError),
    #[error(transparent)]
    Secret(#[from] SecretError),
    #[error(transparent)]
    Keys(#[from] KeyDirError),
}
