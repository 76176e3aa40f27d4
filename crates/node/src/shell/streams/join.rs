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

/// How long a daemon tries to join.
pub struct Patience<'a> {
    /// While the head is silent: its machine, or the way there, may come back.
    pub silence: Duration,
    /// While the head's machine says that nobody listens there.
    pub nobody: Duration,
    /// Lets so much time pass; false where the daemon is to end instead.
    pub pause: &'a mut dyn FnMut(Duration) -> bool,
}

/// The same, again and again while nobody answers.
///
/// # Errors
/// The last failure, once patience is over; at once where the node is not wanted.
pub fn join_patiently(
    address: &str,
    identity: &Identity,
    patience: &mut Patience<'_>,
) -> Result<Joined, JoinError> {
    let begin = Instant::now();
    let mut nobody_since = None;
    loop {
        let error = match join(address, identity) {
            Err(JoinError::Unreachable { address, error }) => {
                let now = Instant::now();
                nobody_since = match error.kind() {
                    io::ErrorKind::ConnectionRefused => nobody_since.or(Some(now)),
                    _ => None,
                };
                let is_over = now.duration_since(begin) >= patience.silence
                    || nobody_since.is_some_and(|since| now - since >= patience.nobody);
                let error = JoinError::Unreachable { address, error };
                if is_over {
                    return Err(error);
                }
                error
            }
            outcome => return outcome,
        };
        if !(patience.pause)(limits::STREAM_RETRY_LONGEST) {
            return Err(error);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOWHERE: &str = "127.0.0.1:1";

    /// How often it was tried until it was given up, with pauses that take no time.
    fn tries(silence: Duration, nobody: Duration, pauses: usize) -> usize {
        let mut left = pauses;
        let mut patience = Patience {
            silence,
            nobody,
            pause: &mut |_| {
                left = left.saturating_sub(1);
                left > 0
            },
        };
        let outcome = join_patiently(NOWHERE, &Identity::default(), &mut patience);
        assert!(matches!(outcome, Err(JoinError::Unreachable { .. })));
        pauses - left
    }

    #[test]
    fn whoever_has_no_patience_tries_once() {
        assert_eq!(tries(Duration::ZERO, Duration::MAX, 5), 0);
    }

    #[test]
    fn a_machine_where_nobody_listens_is_given_up_sooner_than_a_silent_one() {
        assert_eq!(tries(Duration::MAX, Duration::ZERO, 5), 0);
    }

    #[test]
    fn a_daemon_that_is_to_end_tries_no_more() {
        assert_eq!(tries(Duration::MAX, Duration::MAX, 5), 5);
    }
}
