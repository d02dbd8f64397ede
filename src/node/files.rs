//! The files that a node has its state from: loaded before it starts, and some of them again on a reload.

use std::fmt;
use std::sync::Arc;

use super::cluster::{Cluster, Keys};
use super::error::{ReloadError, StartError};
use super::frontends::Frontends;
use super::secret::Secret;
use crate::clock::Clock;
use crate::cluster::KeyDir;
use crate::config::Settings;
use crate::frontend::access_list::AccessList;
use crate::frontend::http::{LoadedCertificate, Tls};
use crate::frontend::udp::ConnectionIds;
use crate::partition::snapshot::DataDir;

/// All files of a starting node.
pub struct Files {
    pub access_list: AccessList,
    pub data_dir: Option<DataDir>,
    pub keys: Option<(Keys, KeyDir)>,
    pub secret: Secret,
    pub tls: Option<Arc<Tls>>,
}

impl Files {
    pub fn load(settings: &Settings, clock: &dyn Clock) -> Result<Self, StartError> {
        Ok(Self {
            access_list: AccessList::load(&settings.access_list)?,
            data_dir: settings.node.data_dir.as_deref().map(DataDir::open).transpose()?,
            keys: Keys::load(settings, clock)?,
            secret: Secret::load(settings)?,
            tls: match (&settings.tls.cert, &settings.tls.key) {
                (Some(cert), Some(key)) => Some(Arc::new(Tls::load(cert, key)?)),
                _ => None,
            },
        })
    }
}

/// The files that can change while a node runs, all loaded and found good, but not in use yet.
pub struct Reloaded {
    access_list: AccessList,
    certificate: Option<LoadedCertificate>,
    connection_ids: Option<ConnectionIds>,
    cluster_keys: Option<KeyDir>,
}

impl Reloaded {
    /// Loads the files without changing anything.
    pub fn load(
        settings: &Settings,
        frontends: &Frontends,
        cluster: Option<&Cluster>,
        clock: &dyn Clock,
    ) -> Result<Self, ReloadError> {
        // Without a shared file the secret is this process' own, and a new one would void all connection ids.
        let has_secret_file = settings.cluster.secret_file.is_some() || settings.cluster.keys.is_some();
        let secret = has_secret_file.then(|| Secret::load(settings)).transpose()?;
        let keys = cluster.and_then(Cluster::keys);
        Ok(Self {
            access_list: AccessList::load(&settings.access_list)?,
            certificate: frontends.http.tls.as_ref().map(|tls| tls.load_again()).transpose()?,
            connection_ids: secret.map(|secret| ConnectionIds::new(&secret.connection_ids)),
            cluster_keys: keys.map(|keys| keys.load_again(clock)).transpose()?,
        })
    }

    /// Puts all of them to use. Nothing here can fail, so a reload happens as a whole.
    pub fn install(self, frontends: &Frontends, cluster: Option<&Cluster>) -> Installed {
        let mut installed = Installed(Vec::new());
        if !matches!(self.access_list, AccessList::Off) {
            installed.0.push("access list");
        }
        // The UDP and HTTP frontends share it.
        frontends.http.access_list.store(Arc::new(self.access_list));
        if let (Some(certificate), Some(tls)) = (self.certificate, &frontends.http.tls) {
            tls.install(certificate);
            installed.0.push("TLS certificate");
        }
        if let Some(connection_ids) = self.connection_ids {
            frontends.udp.connection_ids.store(Arc::new(connection_ids));
            installed.0.push("connection id keys");
        }
        if let (Some(keys), Some(cluster)) = (self.cluster_keys, cluster) {
            cluster.install_keys(keys);
            installed.0.push("cluster keys");
        }
        installed
    }
}

/// What a reload put to use, as text for the log.
#[derive(Debug)]
pub struct Installed(Vec<&'static str>);

impl fmt::Display for Installed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0[..] {
            [] => f.write_str("the settings name no file that can be reloaded"),
            parts => f.write_str(&parts.join(", ")),
        }
    }
}
