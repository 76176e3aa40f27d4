//! Addresses: `unix:@name` (an abstract socket of this machine) and `tcp:host:port`.

use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs, UdpSocket};
use std::str::FromStr;

/// Where a listener can be reached.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Endpoint {
    /// An abstract Unix socket: it has no file, so that nothing is left of it when its process ends.
    Unix(String),
    Tcp(SocketAddr),
}

/// Why a text is no endpoint.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum EndpointError {
    #[error("endpoint {0:?} starts neither with unix:@ nor with tcp:")]
    UnknownScheme(String),
    #[error("endpoint {0:?} has no valid host and port")]
    BadSocketAddress(String),
    #[error("endpoint {0:?} has a name that is empty or longer than 107 bytes")]
    BadName(String),
}

/// The address of this machine that its way to `target` begins at. Nothing is sent.
///
/// # Errors
/// No way leads there.
pub fn local_address_towards(target: &SocketAddr) -> io::Result<IpAddr> {
    let any: SocketAddr = match target {
        SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
    };
    let socket = UdpSocket::bind(any)?;
    socket.connect(target)?;
    Ok(socket.local_addr()?.ip())
}

impl FromStr for Endpoint {
    type Err = EndpointError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if let Some(name) = text.strip_prefix("unix:@") {
            if name.is_empty() || name.len() > 107 {
                return Err(EndpointError::BadName(text.to_owned()));
            }
            return Ok(Self::Unix(name.to_owned()));
        }
        if let Some(address) = text.strip_prefix("tcp:") {
            let mut resolved = address
                .to_socket_addrs()
                .map_err(|_| EndpointError::BadSocketAddress(text.to_owned()))?;
            return resolved
                .next()
                .map(Self::Tcp)
                .ok_or_else(|| EndpointError::BadSocketAddress(text.to_owned()));
        }
        Err(EndpointError::UnknownScheme(text.to_owned()))
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(name) => write!(formatter, "unix:@{name}"),
            Self::Tcp(address) => write!(formatter, "tcp:{address}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints_come_back_from_their_text() {
        for text in ["unix:@whipray-1/node", "tcp:127.0.0.1:6379", "tcp:[::1]:80"] {
            assert_eq!(
                text.parse::<Endpoint>()
                    .map(|endpoint| endpoint.to_string()),
                Ok(text.into())
            );
        }
    }

    #[test]
    fn other_texts_are_refused() {
        for text in ["", "unix:@", "unix:/tmp/x", "tcp:nowhere", "http://x"] {
            assert!(text.parse::<Endpoint>().is_err(), "{text}");
        }
    }
}
