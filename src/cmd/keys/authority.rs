//! The cluster's own certificate authority.

use std::path::Path;

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};

use super::error::KeysError;
use super::files::{read, write_new};
use crate::cluster::NodeId;
use crate::cluster::key_dir::{CA, node_name};

/// The authority's private key.
pub(super) const CA_KEY: &str = "ca.key";

/// Signs the certificates of nodes. They never expire: to exclude a node, create a new authority.
pub(super) struct Authority {
    /// Its certificate in PEM.
    pub(super) certificate: String,
    key: String,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    pub(super) fn new() -> Result<Self, KeysError> {
        let key = KeyPair::generate()?;
        let (certificate, text) = (params().self_signed(&key)?.pem(), key.serialize_pem());
        Ok(Self { certificate, key: text, issuer: Issuer::new(params(), key) })
    }

    pub(super) fn load(dir: &Path) -> Result<Self, KeysError> {
        let (certificate, path) = (read(&dir.join(CA))?, dir.join(CA_KEY));
        let text = read(&path)?;
        let key = KeyPair::from_pem(&text).map_err(|error| {
            KeysError::Usage(format!("{} was not created by tidings keys: {error}", path.display()))
        })?;
        Ok(Self { certificate, key: text, issuer: Issuer::new(params(), key) })
    }

    pub(super) fn save(&self, dir: &Path) -> Result<(), KeysError> {
        write_new(&dir.join(CA), &self.certificate)?;
        write_new(&dir.join(CA_KEY), &self.key)
    }

    /// A certificate for a node, and its private key, both PEM.
    pub(super) fn issue(&self, id: &NodeId) -> Result<(String, String), KeysError> {
        let mut params = CertificateParams::new([node_name(id)])?;
        params.distinguished_name = name(id.as_str());
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        let key = KeyPair::generate()?;
        Ok((params.signed_by(&key, &self.issuer)?.pem(), key.serialize_pem()))
    }
}

/// Always the same, so that an authority can be restored from its private key.
fn params() -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = name("Tidings cluster authority");
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    params
}

fn name(common: &str) -> DistinguishedName {
    let mut name = DistinguishedName::new();
    name.push(DnType::CommonName, common);
    name
}
