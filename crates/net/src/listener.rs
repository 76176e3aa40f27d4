//! Accepts connections.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::net::{self, AddressFamily, SocketAddrUnix, SocketFlags, SocketType};

use crate::connection::{self, Connection};
use crate::credentials;
use crate::endpoint::Endpoint;

const BACKLOG: i32 = 1024;

/// A bound socket that accepts connections without blocking.
pub struct Listener {
    socket: OwnedFd,
    is_unix: bool,
}

impl Listener {
    /// Binds and listens.
    ///
    /// # Errors
    /// The address is taken or not allowed.
    pub fn bind(endpoint: &Endpoint) -> io::Result<Self> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket = match endpoint {
            Endpoint::Unix(name) => {
                let socket =
                    net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
                net::bind(
                    &socket,
                    &SocketAddrUnix::new_abstract_name(name.as_bytes())?,
                )?;
                socket
            }
            Endpoint::Tcp(address) => {
                let family = match address {
                    std::net::SocketAddr::V4(_) => AddressFamily::INET,
                    std::net::SocketAddr::V6(_) => AddressFamily::INET6,
                };
                let socket = net::socket_with(family, SocketType::STREAM, flags, None)?;
                net::sockopt::set_socket_reuseaddr(&socket, true)?;
                net::bind(&socket, address)?;
                socket
            }
        };
        net::listen(&socket, BACKLOG)?;
        Ok(Self {
            socket,
            is_unix: matches!(endpoint, Endpoint::Unix(_)),
        })
    }

    /// The endpoint with the port that the system chose, for a TCP listener.
    ///
    /// # Errors
    /// The socket has no TCP address.
    pub fn tcp_address(&self) -> io::Result<std::net::SocketAddr> {
        let address = net::getsockname(&self.socket)?;
        address
            .try_into()
            .map_err(|_| io::Error::from(io::ErrorKind::AddrNotAvailable))
    }

    /// The next connection, or `None` where nobody waits. Processes of other users are turned away.
    ///
    /// # Errors
    /// The system is out of file descriptors or memory.
    pub fn accept(&self) -> io::Result<Option<Connection>> {
        loop {
            let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
            match net::accept_with(&self.socket, flags) {
                Ok(socket) => {
                    if self.is_unix && !credentials::is_same_user(&socket) {
                        continue;
                    }
                    if !self.is_unix {
                        connection::tune(&socket)?;
                    }
                    return Ok(Some(Connection::from_socket(socket)));
                }
                Err(rustix::io::Errno::AGAIN) => return Ok(None),
                Err(rustix::io::Errno::INTR | rustix::io::Errno::CONNABORTED) => continue,
                Err(error) => return Err(error.into()),
            }
        }
    }
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}
