//! Links with certificates.

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::RootCertStore;
use rustls::crypto::ring;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;

use super::*;

/// An authority of its own.
struct Authority {
    issuer: Issuer<'static, KeyPair>,
    certificate: CertificateDer<'static>,
}

impl Authority {
    fn new() -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let certificate = params.self_signed(&key).unwrap().der().clone();
        Self { issuer: Issuer::new(params, key), certificate }
    }

    /// What a node has that got its certificate here.
    fn security(&self, node: &str) -> Security {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new([name(&node.into())]).unwrap();
        let chain = vec![params.signed_by(&key, &self.issuer).unwrap().der().clone()];
        let key = || PrivateKeyDer::try_from(key.serialize_der()).unwrap();
        let mut roots = RootCertStore::empty();
        roots.add(self.certificate.clone()).unwrap();
        let roots = Arc::new(roots);
        let provider = Arc::new(ring::default_provider());
        let verifier = WebPkiClientVerifier::builder_with_provider(roots.clone(), provider.clone()).build().unwrap();
        let versions = [&rustls::version::TLS13];
        let server = rustls::ServerConfig::builder_with_provider(provider.clone())
            .with_protocol_versions(&versions)
            .unwrap()
            .with_client_cert_verifier(verifier)
            .with_single_cert(chain.clone(), key())
            .unwrap();
        let client = rustls::ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&versions)
            .unwrap()
            .with_root_certificates(roots)
            .with_client_auth_cert(chain, key())
            .unwrap();
        Security::Tls { server: Arc::new(server), client: Arc::new(client), name, verify }
    }
}

fn name(node: &NodeId) -> String {
    format!("{node}.tidings.internal")
}

fn verify(certificate: &CertificateDer<'_>, node: &NodeId) -> bool {
    // Any that holds the name will do: the issuer was checked.
    let name = name(node);
    certificate.windows(name.len()).any(|bytes| bytes == name.as_bytes())
}

pub fn secured(node: &str, security: Security) -> LinkConfig {
    let mut config = LinkConfig { security, ..config(node) };
    config.limits.retry_refused = SECOND / 20;
    config
}

/// The configurations of two nodes with certificates that fit.
pub fn pair() -> [LinkConfig; 2] {
    let authority = Authority::new();
    ["a", "b"].map(|node| secured(node, authority.security(node)))
}

#[tokio::test]
async fn nodes_with_certificates_of_one_authority_talk() {
    let [a, b] = pair();
    let (a, b) = (Node::start(a).await, Node::start(b).await);
    let link = up(&a.links, b.target("b")).await;
    let long = vec![7; 900_000];
    for class in [Class::Request, Class::Bulk] {
        assert_eq!(link.call(class, &announces(b"who"), SECOND).await, Ok(Reply::Announces(ByteBuf::from("a"))));
        let reply = link.call(class, &announces(&long), 5 * SECOND).await;
        assert_eq!(reply, Ok(Reply::Announces(ByteBuf::from(long.clone()))));
    }
}

/// Both have to notice.
async fn refused(a: &Node, b: &Node) -> String {
    a.links.set_peers(&[b.target("b")]);
    until("it is refused", || a.links.status()[0].refusal.is_some() && b.links.inbound().refused > 1).await;
    a.links.status().remove(0).refusal.unwrap()
}

#[tokio::test]
async fn a_foreign_authority_is_refused_by_both_sides() {
    let (ours, theirs) = (Authority::new(), Authority::new());
    let b = Node::start(secured("b", ours.security("b"))).await;
    let a = Node::start(secured("a", theirs.security("a"))).await;
    let text = refused(&a, &b).await;
    assert!(text.starts_with("TLS: ") && text.contains("check the cluster's key files"), "{text}");

    // One that trusts, but is not trusted.
    let Security::Tls { client: foreign, .. } = theirs.security("a") else { panic!() };
    let mut trusting = rustls::ClientConfig::clone(&foreign);
    let Security::Tls { client, server, .. } = ours.security("a") else { panic!() };
    trusting = {
        let mut config = rustls::ClientConfig::clone(&client);
        config.client_auth_cert_resolver = trusting.client_auth_cert_resolver.clone();
        config
    };
    a.links.set_security(Security::Tls { server, client: Arc::new(trusting), name, verify });
    until("it hears of it", || a.links.status()[0].refusal.as_ref().is_some_and(|text| text.contains("alert"))).await;

    // The operator fixes it.
    a.links.set_security(ours.security("a"));
    up(&a.links, b.target("b")).await;
}

#[tokio::test]
async fn a_certificate_of_another_node_is_refused() {
    let authority = Authority::new();
    let b = Node::start(secured("b", authority.security("b"))).await;
    // The caller is not who it says it is.
    let a = Node::start(secured("a", authority.security("c"))).await;
    let text = refused(&a, &b).await;
    assert!(text.contains("the certificate is not that of \"a\""), "{text}");
    // The node that is called is not.
    let a = Node::start(secured("a", authority.security("a"))).await;
    let c = Node::start(secured("c", authority.security("b"))).await;
    a.links.set_peers(&[c.target("c")]);
    until("it is refused", || a.links.status()[0].refusal.is_some()).await;
    // No node without a certificate.
    let plain = Node::start(secured("p", Security::Plain)).await;
    plain.links.set_peers(&[b.target("b")]);
    until("it is down", || b.links.inbound().refused > 4).await;
    assert!(!plain.links.link(&"b".into()).unwrap().is_connected(Class::Request));
}
