//! The HTTP client under the SDK: rustls over ring, a proxy, and certificates of one's own.
//!
//! It reads the certificates to trust and checks what the configuration says; it opens no connection.

use std::fs;

use aws_smithy_http_client::proxy::ProxyConfig;
use aws_smithy_http_client::tls::rustls_provider::CryptoMode;
use aws_smithy_http_client::tls::{Provider, TlsContext, TrustStore};
use aws_smithy_http_client::{Builder, Connector};
use aws_smithy_runtime_api::client::http::SharedHttpClient;
use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;

use super::{BadUpstream, Credentials, Upstream};

/// The client for this upstream.
pub(super) fn http_client(upstream: &Upstream) -> Result<SharedHttpClient, BadUpstream> {
    check_endpoint(upstream)?;
    let proxy = proxy(upstream)?;
    let is_plain = upstream.endpoint.as_deref().is_some_and(|url| url.starts_with("http://"));
    if is_plain && upstream.credentials == Credentials::Embedded {
        // Nothing needs TLS then, and reading the system's certificates takes time.
        return Ok(Builder::new().build_http());
    }
    let (context, roots) = tls_context(upstream)?;
    if roots.is_empty() && !is_plain {
        return Err(BadUpstream::NoCertificates);
    }
    let connector = move || {
        Connector::builder()
            .tls_provider(Provider::Rustls(CryptoMode::Ring))
            .tls_context(context.clone())
            .proxy_config(proxy.clone())
    };
    if !is_plain {
        // It reads the system's certificates once, and keeps what it found: now, while there are files to
        // be had, and not before the first record.
        drop(connector().build());
    }
    let client = Builder::new().build_with_connector_fn(move |settings, components| {
        let mut connector = connector();
        connector.set_connector_settings(settings.cloned());
        connector.set_sleep_impl(components.and_then(|components| components.sleep_impl()));
        connector.build()
    });
    Ok(client)
}

/// The client for `upstream`, which differs from that of `http` in its endpoint only: the same one, unless
/// only one of both needs certificates.
pub(super) fn beside(
    http: Option<&SharedHttpClient>,
    of_http: &Upstream,
    upstream: &Upstream,
) -> Result<SharedHttpClient, BadUpstream> {
    let is_plain = |upstream: &Upstream| {
        upstream.endpoint.as_deref().is_some_and(|url| url.starts_with("http://"))
    };
    match http.filter(|_| is_plain(of_http) == is_plain(upstream)) {
        None => http_client(upstream),
        Some(http) => {
            check_endpoint(upstream)?;
            Ok(http.clone())
        }
    }
}

fn check_endpoint(upstream: &Upstream) -> Result<(), BadUpstream> {
    let Some(endpoint) = &upstream.endpoint else { return Ok(()) };
    let is_good = endpoint.parse::<http::Uri>().is_ok_and(|uri| {
        uri.host().is_some() && matches!(uri.scheme_str(), Some("http" | "https"))
    });
    if is_good { Ok(()) } else { Err(BadUpstream::Endpoint { url: endpoint.clone() }) }
}

/// The configured proxy for HTTPS, and none out of the environment.
///
/// The addresses from which credentials come are asked over plain HTTP, and so never through it.
fn proxy(upstream: &Upstream) -> Result<ProxyConfig, BadUpstream> {
    match &upstream.proxy {
        None => Ok(ProxyConfig::disabled()),
        Some(url) => ProxyConfig::https(url.as_str())
            .map_err(|error| BadUpstream::Proxy { message: error.to_string() }),
    }
}

/// What is trusted: the system's certificates as far as they can be read, and those of the CA file, all
/// of which have to be.
fn tls_context(upstream: &Upstream) -> Result<(TlsContext, RootCertStore), BadUpstream> {
    let bad = |message: String| BadUpstream::CaFile {
        path: upstream.ca_file.clone().unwrap_or_default(),
        message,
    };
    let mut roots = RootCertStore::empty();
    let system = rustls_native_certs::load_native_certs();
    let (from_system, _unreadable) = roots.add_parsable_certificates(system.certs);
    let mut store = TrustStore::empty().with_native_roots(from_system > 0);
    if let Some(path) = &upstream.ca_file {
        let pem = fs::read(path).map_err(|error| bad(error.to_string()))?;
        let mut certificates = CertificateDer::pem_slice_iter(&pem).peekable();
        if certificates.peek().is_none() {
            return Err(bad("it has no certificate in PEM".to_owned()));
        }
        for certificate in certificates {
            let certificate = certificate.map_err(|error| bad(error.to_string()))?;
            roots.add(certificate).map_err(|error| bad(error.to_string()))?;
        }
        store = store.with_pem_certificate(pem);
    }
    let context = TlsContext::builder().with_trust_store(store).build();
    Ok((context.map_err(|error| bad(error.to_string()))?, roots))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_can_not_be_used_is_refused_at_start() {
        let upstream = |set: fn(&mut Upstream)| {
            let mut upstream = Upstream::default();
            set(&mut upstream);
            http_client(&upstream).map(|_| ())
        };
        assert!(upstream(|_| ()).is_ok());
        assert!(upstream(|u| u.endpoint = Some("http://127.0.0.1:1/".into())).is_ok());
        let endpoint = upstream(|u| u.endpoint = Some("127.0.0.1:1".into()));
        assert!(matches!(endpoint, Err(BadUpstream::Endpoint { .. })));
        let proxy = upstream(|u| u.proxy = Some("::".into()));
        assert!(matches!(proxy, Err(BadUpstream::Proxy { .. })));
        let ca_file = upstream(|u| u.ca_file = Some("/nonexistent/ca.pem".into()));
        assert!(matches!(ca_file, Err(BadUpstream::CaFile { .. })));
    }

    #[test]
    fn a_ca_file_that_can_not_be_read_to_its_end_is_refused_at_start() {
        let refused = |pem: &str| {
            let file = tempfile::NamedTempFile::new().unwrap();
            fs::write(file.path(), pem).unwrap();
            let upstream =
                Upstream { ca_file: Some(file.path().to_owned()), ..Upstream::default() };
            matches!(http_client(&upstream), Err(BadUpstream::CaFile { .. }))
        };
        assert!(refused("nothing of the kind"));
        for middle in ["not base64!", "AAAA", ""] {
            let pem = format!("-----BEGIN CERTIFICATE-----\n{middle}\n-----END CERTIFICATE-----\n");
            assert!(refused(&pem), "{middle}");
        }
    }
}
