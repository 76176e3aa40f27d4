//! A daemon joins a cluster: the first words of its stream to the head.

use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::time::{Duration, Instant};

use whipray_net::{Connection, ConnectionError, Endpoint};
use whipray_proto::messages::membership::StreamWelcome;
use whipray_proto::{Message, limits};

use super::Identity;

/// The head, and the connection over which it was joined.
pub struct Joined {
    pub welcome: StreamWelcome,
    pub address: SocketAddr,
    pub connection: Connection,
}

/// Why a cluster cannot be joined. The text is the one line that the user reads.
#[derive(Debug, thiserror::Error)]
pub enum JoinError {
    #[error(
        "{0:?} is no address of a cluster: it is host:port, as `whipray start --head` shows it"
    )]
    Address(String),
    #[error(
        "no head answers at {address}: {error}. Is the cluster up, does it listen on that address \
         (`whipray start --head --node-ip-address=...`), and is the way there open?"
    )]
    Unreachable { address: String, error: io::Error },
    #[error("the head at {address} refuses this node: {reason}")]
    Refused { address: String, reason: String },
    #[error("{address} is not the head of a cluster; the head is {head}")]
    NotTheHead { address: String, head: String },
    #[error("what listens at {0} does not speak as a head of a cluster does")]
    Stranger(String),
}

/// Says hello to the head of a cluster. Blocks, for a bounded time.
///
/// # Errors
/// Nobody is there, or this daemon is not wanted.
pub fn join(address: &str, identity: &Identity) -> Result<Joined, JoinError> {
    let unreachable = |error| JoinError::Unreachable {
        address: address.to_owned(),
        error,
    };
    let mut resolved = address
        .to_socket_addrs()
        .map_err(|_| JoinError::Address(address.to_owned()))?;
    let target = resolved
        .next()
        .ok_or_else(|| JoinError::Address(address.to_owned()))?;
    let mut connection = Connection::connect(&Endpoint::Tcp(target)).map_err(unreachable)?;
    connection
        .notice_silence(limits::STREAM_SILENCE)
        .map_err(unreachable)?;
    connection.queue(&identity.hello(None, 0).into());
    match connection.exchange(limits::HELLO_WAIT) {
        Ok(Message::StreamWelcome(welcome)) if welcome.is_head => Ok(Joined {
            welcome,
            address: target,
            connection,
        }),
        Ok(Message::StreamWelcome(welcome)) => Err(JoinError::NotTheHead {
            address: address.to_owned(),
            head: welcome.cluster_address,
        }),
        Ok(Message::Refused(refused)) => Err(JoinError::Refused {
            address: address.to_owned(),
            reason: refused.reason,
        }),
        Ok(_) | Err(ConnectionError::Protocol(_)) => Err(JoinError::Stranger(address.to_owned())),
        Err(ConnectionError::Io(error)) => Err(unreachable(error)),
        Err(ConnectionError::Closed) => Err(JoinError::Stranger(address.to_owned())),
        Err(ConnectionError::Timeout(_)) => Err(unreachable(io::ErrorKind::TimedOut.into())),
    }
}

/// The same, again and again while nobody answers.
///
/// # Errors
/// The last failure, once `patience` is over; at once where the node is not wanted.
pub fn join_patiently(
    address: &str,
    identity: &Identity,
    patience: Duration,
) -> Result<Joined, JoinError> {
    let deadline = Instant::now() + patience;
    loop {
        match join(address, identity) {
            Err(JoinError::Unreachable { .. }) if Instant::now() < deadline => {
                std::thread::sleep(limits::STREAM_RETRY_LONGEST);
            }
            outcome => return outcome,
        }
    }
}
