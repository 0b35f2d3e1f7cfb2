//! What a handshake has come to.

use rustls::{CipherSuite, HandshakeKind, ProtocolVersion, ServerConnection};

/// What client and server have agreed upon.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Agreed {
    protocol: &'static str,
    cipher: &'static str,
    server_name: Option<String>,
    alpn: Option<String>,
    resumed: bool,
}

impl Agreed {
    /// Of a connection whose handshake is done.
    #[must_use]
    pub fn of(tls: &ServerConnection) -> Self {
        let suite = tls.negotiated_cipher_suite().map(|suite| suite.suite());
        let alpn = tls.alpn_protocol().map(|name| String::from_utf8_lossy(name).into_owned());
        Self {
            protocol: tls.protocol_version().map_or("unknown", protocol_name),
            cipher: suite.map_or("unknown", cipher_name),
            server_name: tls.server_name().map(str::to_owned),
            alpn,
            resumed: tls.handshake_kind() == Some(HandshakeKind::Resumed),
        }
    }

    /// The protocol as OpenSSL and Apache (`%{SSL_PROTOCOL}x`) call it: `TLSv1.3`.
    #[must_use]
    pub fn protocol(&self) -> &'static str {
        self.protocol
    }

    /// The cipher as OpenSSL and Apache (`%{SSL_CIPHER}x`) call it: `TLS_AES_256_GCM_SHA384`.
    #[must_use]
    pub fn cipher(&self) -> &'static str {
        self.cipher
    }

    /// The host the client has asked for (SNI). Anybody can ask for anything: it need not be one of ours.
    #[must_use]
    pub fn server_name(&self) -> Option<&str> {
        self.server_name.as_deref()
    }

    /// The protocol inside it (ALPN), if there was an offer that suited: `h2`.
    #[must_use]
    pub fn alpn(&self) -> Option<&str> {
        self.alpn.as_deref()
    }

    /// Whether the client has resumed an earlier session with a ticket.
    #[must_use]
    pub fn resumed(&self) -> bool {
        self.resumed
    }
}

fn protocol_name(version: ProtocolVersion) -> &'static str {
    match version {
        ProtocolVersion::TLSv1_2 => "TLSv1.2",
        ProtocolVersion::TLSv1_3 => "TLSv1.3",
        _ => "unknown",
    }
}

/// All that rustls has.
fn cipher_name(suite: CipherSuite) -> &'static str {
    match suite {
        CipherSuite::TLS13_AES_256_GCM_SHA384 => "TLS_AES_256_GCM_SHA384",
        CipherSuite::TLS13_AES_128_GCM_SHA256 => "TLS_AES_128_GCM_SHA256",
        CipherSuite::TLS13_CHACHA20_POLY1305_SHA256 => "TLS_CHACHA20_POLY1305_SHA256",
        CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384 => "ECDHE-ECDSA-AES256-GCM-SHA384",
        CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256 => "ECDHE-ECDSA-AES128-GCM-SHA256",
        CipherSuite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256 => {
            "ECDHE-ECDSA-CHACHA20-POLY1305"
        }
        CipherSuite::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384 => "ECDHE-RSA-AES256-GCM-SHA384",
        CipherSuite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256 => "ECDHE-RSA-AES128-GCM-SHA256",
        CipherSuite::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256 => "ECDHE-RSA-CHACHA20-POLY1305",
        other => other.as_str().unwrap_or("unknown"),
    }
}
