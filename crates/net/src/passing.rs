//! Connections of other machines that a daemon has accepted for one of its processes.

use std::io;

use rustix::io::Errno;
use rustix::net::{self, AddressFamily, SocketAddrUnix, SocketFlags, SocketType};
use whipray_proto::messages::membership::PassedPeer;
use whipray_proto::messages::session::PeerHello;

use crate::connection::{Connection, ConnectionError};
use crate::endpoint::Endpoint;

/// Hands a connection, whose hello was read, to the process that the hello names, which listens at
/// `to`. What was read behind the hello goes with it. Never waits; a process that is too busy to take
/// connections gets none, and the peer sees the end.
///
/// # Errors
/// Nobody listens there, or has room. The connection is closed.
pub fn pass_peer(connection: Connection, hello: PeerHello, to: &Endpoint) -> io::Result<()> {
    let Endpoint::Unix(name) = to else {
        return Err(io::ErrorKind::InvalidInput.into());
    };
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    let address = SocketAddrUnix::new_abstract_name(name.as_bytes())?;
    loop {
        match net::connect(&socket, &address) {
            Ok(()) => break,
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    let mut messenger = Connection::from_socket(socket);
    let (passed, early) = connection.into_parts();
    messenger.queue_with_descriptor(&PassedPeer { hello, early }.into(), passed);
    match messenger.flush() {
        Ok(true) => Ok(()),
        Ok(false) => Err(io::ErrorKind::WouldBlock.into()),
        Err(ConnectionError::Io(error)) => Err(error),
        Err(error) => Err(io::Error::other(error)),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::listener::Listener;
    use whipray_proto::Message;
    use whipray_proto::messages::session::Goodbye;

    type Tested = Result<(), Box<dyn std::error::Error>>;

    fn goodbye(reason: &str) -> Message {
        Goodbye {
            reason: reason.to_owned(),
        }
        .into()
    }

    #[test]
    fn a_passed_connection_speaks_with_the_peer_itself() -> Tested {
        let number = whipray_proto::ids::random_bytes::<8>();
        let name = format!("whipray-test-{}", whipray_proto::ids::to_hex(&number));
        let endpoint = Endpoint::Unix(name);
        let process = Listener::bind(&endpoint)?;
        let door = Listener::bind(&"tcp:127.0.0.1:0".parse()?)?;
        let mut peer = Connection::connect(&Endpoint::Tcp(door.tcp_address()?))?;
        peer.queue(&PeerHello::default().into());
        peer.queue(&goodbye("behind the hello"));
        peer.flush()?;
        let mut accepted = door.accept()?.ok_or("nobody came")?;
        let hello = accepted.exchange(Duration::from_secs(60))?;
        let Message::PeerHello(hello) = hello else {
            return Err("no hello".into());
        };
        pass_peer(accepted, hello, &endpoint)?;
        let mut messenger = process.accept()?.ok_or("nothing was passed")?;
        messenger.expect_descriptors(true);
        let Message::PassedPeer(passed) = messenger.exchange(Duration::from_secs(60))? else {
            return Err("no passed peer".into());
        };
        let socket = messenger.take_descriptor().ok_or("no descriptor")?;
        let mut own = Connection::from_passed(socket, &passed.early)?;
        assert_eq!(
            own.exchange(Duration::from_secs(60))?,
            goodbye("behind the hello")
        );
        own.queue(&goodbye("back"));
        own.flush()?;
        assert_eq!(peer.exchange(Duration::from_secs(60))?, goodbye("back"));
        Ok(())
    }

    #[test]
    fn nobody_to_pass_it_to_is_an_error() -> Tested {
        let (_peer, accepted) = Connection::pair()?;
        let nobody = Endpoint::Unix("whipray-test-nobody-listens".into());
        assert!(pass_peer(accepted, PeerHello::default(), &nobody).is_err());
        Ok(())
    }
}
