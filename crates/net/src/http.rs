//! A door for programs that speak HTTP and only read: one `GET` for each connection, in threads of its
//! own, beside the daemon's loop.
//!
//! Everything about a visitor is bounded: how many there are, how long they take to ask and to read,
//! how much they say. Whoever is slow or talks nonsense costs a thread for that time, and holds up
//! nobody else.

use std::io::{self, Read, Write};
use std::net::{IpAddr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use rustix::net::{self, Shutdown as ShutdownKind};

/// Headers that a request may have.
const HEADERS: usize = 64;

/// How long the end of a connection is waited for, so that the answer is not lost with it.
const LAST_WORDS: Duration = Duration::from_millis(500);

const STACK_BYTES: usize = 256 * 1024;

/// What visitors may cost.
#[derive(Clone, Copy, Debug)]
pub struct HttpBounds {
    /// Visitors at the same time.
    pub visitors: usize,
    /// How long one may take to ask, and again to read the answer.
    pub exchange: Duration,
    pub request_bytes: usize,
}

/// What a path leads to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HttpAnswer {
    Page {
        content_type: &'static str,
        body: Vec<u8>,
    },
    NotFound,
    /// Nobody can say at the moment.
    Unavailable,
}

type Pages = dyn Fn(&str) -> HttpAnswer + Send + Sync;

/// A port that is taken; nobody is answered yet.
pub struct HttpListener {
    socket: TcpListener,
    address: SocketAddr,
}

impl HttpListener {
    /// Port 0 lets the system choose.
    ///
    /// # Errors
    /// The port is taken, or the address is none of this machine.
    pub fn bind(ip: IpAddr, port: u16) -> io::Result<Self> {
        let socket = TcpListener::bind((ip, port))?;
        let address = socket.local_addr()?;
        Ok(Self { socket, address })
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Opens the door. `pages` is called on the thread of a visitor, with the path.
    ///
    /// # Errors
    /// No thread can be started.
    pub fn serve(
        self,
        bounds: HttpBounds,
        pages: impl Fn(&str) -> HttpAnswer + Send + Sync + 'static,
    ) -> io::Result<HttpDoor> {
        let socket = Arc::new(self.socket);
        let is_closing = Arc::new(AtomicBool::new(false));
        let door = HttpDoor {
            socket: socket.clone(),
            is_closing: is_closing.clone(),
            address: self.address,
        };
        let pages: Arc<Pages> = Arc::new(pages);
        std::thread::Builder::new()
            .name("http-door".to_owned())
            .stack_size(STACK_BYTES)
            .spawn(move || receive(&socket, &is_closing, bounds, &pages))?;
        Ok(door)
    }
}

/// A door that is open until this is dropped.
pub struct HttpDoor {
    socket: Arc<TcpListener>,
    is_closing: Arc<AtomicBool>,
    address: SocketAddr,
}

impl HttpDoor {
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for HttpDoor {
    fn drop(&mut self) {
        self.is_closing.store(true, Ordering::SeqCst);
        // Ends the wait for visitors. Where that failed, the next one would end it.
        let _ = net::shutdown(&self.socket, ShutdownKind::Both);
    }
}

/// Lets visitors in.
fn receive(socket: &TcpListener, is_closing: &AtomicBool, bounds: HttpBounds, pages: &Arc<Pages>) {
    let inside = Arc::new(AtomicUsize::new(0));
    loop {
        let visitor = socket.accept();
        if is_closing.load(Ordering::SeqCst) {
            return;
        }
        let Ok((stream, _)) = visitor else {
            // Out of descriptors, perhaps: without a pause this would spin.
            std::thread::sleep(Duration::from_millis(10));
            continue;
        };
        // Whoever finds no place sees the end of the connection, and so does whoever gets no thread.
        let Some(place) = Place::take(&inside, bounds.visitors) else {
            continue;
        };
        let pages = pages.clone();
        let spawned = std::thread::Builder::new()
            .name("http-visitor".to_owned())
            .stack_size(STACK_BYTES)
            .spawn(move || {
                let mut visitor = Visitor {
                    stream,
                    deadline: Instant::now() + bounds.exchange,
                };
                let _place = place;
                // A visitor that goes early is nobody's problem.
                let _ = visitor.answer(bounds, &*pages);
            });
        drop(spawned);
    }
}

/// One of the places for visitors.
struct Place(Arc<AtomicUsize>);

impl Place {
    fn take(inside: &Arc<AtomicUsize>, most: usize) -> Option<Self> {
        if inside.fetch_add(1, Ordering::AcqRel) < most {
            return Some(Self(inside.clone()));
        }
        inside.fetch_sub(1, Ordering::AcqRel);
        None
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

/// What came of listening to a visitor.
enum Request {
    Get { path: String, is_head: bool },
    Refused(&'static str),
}

struct Visitor {
    stream: TcpStream,
    deadline: Instant,
}

impl Visitor {
    fn answer(&mut self, bounds: HttpBounds, pages: &Pages) -> io::Result<()> {
        let request = self.listen(bounds.request_bytes)?;
        let (answer, is_head) = match &request {
            Request::Get { path, is_head } => (Ok(pages(path)), *is_head),
            Request::Refused(status) => (Err(*status), false),
        };
        let (status, content_type, body) = match answer {
            Ok(HttpAnswer::Page { content_type, body }) => ("200 OK", content_type, body),
            Ok(HttpAnswer::NotFound) => plain("404 Not Found"),
            Ok(HttpAnswer::Unavailable) => plain("503 Service Unavailable"),
            Err(status) => plain(status),
        };
        let mut text = format!(
            "HTTP/1.1 {status}\r\nContent-Type: {content_type}\r\nContent-Length: {}\r\n\
             Connection: close\r\n\r\n",
            body.len()
        )
        .into_bytes();
        if !is_head {
            text.extend(body);
        }
        self.deadline = Instant::now() + bounds.exchange;
        self.say(&text)?;
        self.stream.shutdown(Shutdown::Write)?;
        // What was not read of a request would end the connection before the answer was.
        self.deadline = Instant::now() + LAST_WORDS;
        let mut rest = [0; 1024];
        while self.read(&mut rest)? > 0 {}
        Ok(())
    }

    fn listen(&mut self, most_bytes: usize) -> io::Result<Request> {
        let mut said = Vec::new();
        let mut piece = [0; 1024];
        loop {
            let count = match self.read(&mut piece) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(count) => count,
                Err(error) if is_late(&error) => {
                    return Ok(Request::Refused("408 Request Timeout"));
                }
                Err(error) => return Err(error),
            };
            said.extend_from_slice(&piece[..count]);
            let mut headers = [httparse::EMPTY_HEADER; HEADERS];
            let mut request = httparse::Request::new(&mut headers);
            match request.parse(&said) {
                Ok(httparse::Status::Complete(_)) => return Ok(understand(&request)),
                Ok(httparse::Status::Partial) if said.len() < most_bytes => {}
                Ok(httparse::Status::Partial) | Err(httparse::Error::TooManyHeaders) => {
                    return Ok(Request::Refused("431 Request Header Fields Too Large"));
                }
                Err(_) => return Ok(Request::Refused("400 Bad Request")),
            }
        }
    }

    fn left(&self) -> io::Result<Duration> {
        let left = self.deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        Ok(left)
    }

    fn read(&mut self, piece: &mut [u8]) -> io::Result<usize> {
        loop {
            self.stream.set_read_timeout(Some(self.left()?))?;
            match self.stream.read(piece) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                outcome => return outcome,
            }
        }
    }

    fn say(&mut self, mut text: &[u8]) -> io::Result<()> {
        while !text.is_empty() {
            self.stream.set_write_timeout(Some(self.left()?))?;
            match self.stream.write(text) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(count) => text = &text[count..],
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

fn is_late(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut
    )
}

fn plain(status: &'static str) -> (&'static str, &'static str, Vec<u8>) {
    let body = format!("{status}\n").into_bytes();
    (status, "text/plain; charset=utf-8", body)
}

fn understand(request: &httparse::Request<'_, '_>) -> Request {
    let is_head = request.method == Some("HEAD");
    if request.method != Some("GET") && !is_head {
        return Request::Refused("405 Method Not Allowed");
    }
    let path = request.path.unwrap_or_default();
    let path = path.split_once('?').map_or(path, |(path, _)| path);
    Request::Get {
        path: path.to_owned(),
        is_head,
    }
}

#[cfg(test)]
#[path = "http_tests.rs"]
mod tests;
