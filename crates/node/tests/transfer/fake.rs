//! The other end of a transfer, as a test wants it.

use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use whipray_net::{BulkConnection, Endpoint, Interest, Listener, Poller};
use whipray_proto::messages::transfer::{FetchObject, FetchStarted, TransferHello};
use whipray_proto::{Message, PROTOCOL_VERSION};

use crate::harness::{Side, TOKEN, node, object};

type Asked = Arc<(Mutex<Vec<FetchObject>>, Condvar)>;

/// A node that answers as it is told.
pub struct FakeSource {
    pub endpoint: String,
    asked: Asked,
}

/// A connection to it.
pub struct FakeConnection {
    connection: BulkConnection,
}

impl FakeSource {
    /// `answer` gets the number of the question, and ends the connection with an error.
    pub fn start(
        answer: impl Fn(usize, &mut FakeConnection, &FetchObject) -> Result<(), ()>
        + Send
        + Sync
        + 'static,
    ) -> Self {
        let any: Endpoint = "tcp:127.0.0.1:0".parse().unwrap();
        let listener = Listener::bind(&any).unwrap();
        let endpoint = format!("tcp:{}", listener.tcp_address().unwrap());
        let asked = Asked::default();
        let noted = asked.clone();
        let answer = Arc::new(answer);
        std::thread::spawn(move || {
            let poller = Poller::new().unwrap();
            poller.add(&listener, 0, Interest::Read).unwrap();
            loop {
                poller.wait(None, &mut Vec::new()).unwrap();
                while let Some(connection) = listener.accept().unwrap() {
                    let (noted, answer) = (noted.clone(), answer.clone());
                    let connection = connection.into_bulk().unwrap();
                    std::thread::spawn(move || {
                        let mut connection = FakeConnection { connection };
                        while let Ok(message) = connection.connection.receive() {
                            let Message::FetchObject(fetch) = message else {
                                continue;
                            };
                            let number = {
                                let mut asked = noted.0.lock().unwrap();
                                asked.push(fetch.clone());
                                noted.1.notify_all();
                                asked.len() - 1
                            };
                            if answer(number, &mut connection, &fetch).is_err() {
                                return;
                            }
                        }
                    });
                }
            }
        });
        Self { endpoint, asked }
    }

    pub fn asked(&self) -> Vec<FetchObject> {
        self.asked.0.lock().unwrap().clone()
    }

    pub fn wait_for_asks(&self, count: usize) {
        let asked = self.asked.0.lock().unwrap();
        let waited = self
            .asked
            .1
            .wait_timeout_while(asked, Duration::from_secs(10), |asked| asked.len() < count);
        assert!(!waited.unwrap().1.timed_out());
    }
}

impl FakeConnection {
    pub fn say(&mut self, message: impl Into<Message>) -> Result<(), ()> {
        self.connection.send(&message.into()).map_err(drop)
    }

    /// Sends what was asked for, at most `end` bytes of it; then that was it.
    pub fn send_part(&mut self, bytes: &[u8], fetch: &FetchObject, end: usize) -> Result<(), ()> {
        let length = fetch.length;
        self.say(FetchStarted { length })?;
        let part = &bytes[fetch.offset as usize..][..length as usize];
        let sent = &part[..part.len().min(end)];
        self.connection.send_bytes(sent).map_err(drop)?;
        if sent.len() < part.len() {
            Err(())
        } else {
            Ok(())
        }
    }

    /// Says nothing until the other end is gone.
    pub fn wait_for_end(&mut self) -> Result<(), ()> {
        self.connection.receive().map(drop).map_err(drop)
    }
}

/// A node that asks, word by word.
pub struct RawAsker {
    connection: BulkConnection,
}

impl RawAsker {
    pub fn connect(side: &Side, number: u8) -> Self {
        let endpoint: Endpoint = side.endpoint.parse().unwrap();
        let mut connection = BulkConnection::connect(&endpoint, Duration::from_secs(5)).unwrap();
        connection.set_patience(Duration::from_secs(20)).unwrap();
        let hello = TransferHello {
            version: PROTOCOL_VERSION,
            token: TOKEN.to_owned(),
            from: node(number),
            to: side.node,
            endpoint: format!("tcp:127.0.0.1:{number}"),
        };
        connection.send(&hello.into()).unwrap();
        Self { connection }
    }

    pub fn begin(&mut self, number: u64, offset: u64, length: usize, size: usize, direct: bool) {
        let fetch = FetchObject {
            object: object(number),
            offset,
            length: length as u64,
            size_bytes: size as u64,
            is_direct: direct,
        };
        self.connection.send(&fetch.into()).unwrap();
    }

    /// The next answer that is one.
    pub fn hear(&mut self) -> Message {
        loop {
            match self.connection.receive().unwrap() {
                Message::FetchWaits(_) => {}
                other => return other,
            }
        }
    }

    pub fn ask_raw(
        &mut self,
        number: u64,
        offset: u64,
        length: u64,
        size: u64,
        direct: bool,
    ) -> Message {
        self.begin(number, offset, length as usize, size as usize, direct);
        self.hear()
    }

    pub fn ask(
        &mut self,
        number: u64,
        offset: usize,
        length: usize,
        size: usize,
        direct: bool,
    ) -> Message {
        self.begin(number, offset as u64, length, size, direct);
        self.hear()
    }

    pub fn fetch(
        &mut self,
        number: u64,
        offset: usize,
        length: usize,
        size: usize,
        direct: bool,
    ) -> Result<Vec<u8>, Box<Message>> {
        match self.ask(number, offset, length, size, direct) {
            Message::FetchStarted(_) => {
                let mut bytes = vec![0; length];
                self.connection.receive_bytes(&mut bytes).unwrap();
                Ok(bytes)
            }
            other => Err(Box::new(other)),
        }
    }
}
