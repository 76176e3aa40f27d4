//! Where programs such as Prometheus read metrics.
//!
//! It has no token: what is read there are numbers, and nothing can be done with it; the tools that
//! read it expect it so, and so does Ray. Whoever can reach the address of the node can read it: on
//! this machine alone, unless the user chose another address.

use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::sync::mpsc::{Receiver, Sender, channel};

use rustc_hash::FxHashMap;
use whipray_net::{HttpAnswer, HttpBounds, HttpDoor, HttpListener, Waker};
use whipray_proto::limits;

use crate::core::Page;

const BOUNDS: HttpBounds = HttpBounds {
    visitors: limits::METRICS_READERS,
    exchange: limits::METRICS_EXCHANGE,
    request_bytes: limits::METRICS_REQUEST_BYTES,
};

const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

type Reply = Sender<Box<Page>>;

/// The door, from the side of the daemon's loop.
pub struct MetricsDoor {
    door: HttpDoor,
    arrived: Receiver<Reply>,
    waker: Waker,
    last: u64,
    readers: FxHashMap<u64, Reply>,
}

impl MetricsDoor {
    /// Opens the door; `waker` wakes the loop when somebody wants to read.
    ///
    /// # Errors
    /// No thread can be started.
    pub fn open(listener: HttpListener, waker: Waker) -> io::Result<Self> {
        let (reader, arrived) = channel();
        let in_door = waker.clone();
        let door = listener.serve(BOUNDS, move |path| match path {
            "/metrics" | "/" => read(&reader, &in_door),
            _ => HttpAnswer::NotFound,
        })?;
        Ok(Self {
            door,
            arrived,
            waker,
            last: 0,
            readers: FxHashMap::default(),
        })
    }

    pub fn port(&self) -> u16 {
        self.door.address().port()
    }

    /// The numbers of those that came since the last call.
    pub fn take_arrived(&mut self) -> Vec<u64> {
        self.waker.reset();
        let mut numbers = Vec::new();
        for reply in self.arrived.try_iter() {
            self.last += 1;
            self.readers.insert(self.last, reply);
            numbers.push(self.last);
        }
        numbers
    }

    /// Gives a reader its page.
    pub fn answer(&mut self, reading: u64, page: Box<Page>) {
        if let Some(reply) = self.readers.remove(&reading) {
            // A reader that has waited for too long is gone.
            let _ = reply.send(page);
        }
    }

    /// Tells Prometheus where to read: it looks into such files by itself.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn publish(&self, file: &Path) -> io::Result<()> {
        let target = self.door.address().to_string();
        let found = serde_json::json!([{"labels": {"job": "ray"}, "targets": [target]}]);
        let fresh = file.with_extension("json.new");
        std::fs::write(&fresh, found.to_string())?;
        std::fs::rename(&fresh, file)
    }
}

/// A port of this address that the system chooses; of this machine alone where it is none.
///
/// # Errors
/// There is none left.
pub fn any_port(ip: &str) -> io::Result<HttpListener> {
    let loopback = IpAddr::V4(Ipv4Addr::LOCALHOST);
    HttpListener::bind(ip.parse().unwrap_or(loopback), 0)
}

/// On the thread of a reader: the loop is asked for the parts, which are put together here.
fn read(reader: &Sender<Reply>, waker: &Waker) -> HttpAnswer {
    let (reply, answer) = channel();
    if reader.send(reply).is_err() {
        return HttpAnswer::Unavailable;
    }
    waker.wake();
    // The processes have their time to answer; the loop itself is never busy for long.
    match answer.recv_timeout(limits::INQUIRY_WAIT * 2) {
        Ok(page) => HttpAnswer::Page {
            content_type: CONTENT_TYPE,
            body: page.text().into_bytes(),
        },
        Err(_) => HttpAnswer::Unavailable,
    }
}
