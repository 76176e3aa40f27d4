//! Connections between processes: whole frames, in order within a connection and a direction, late
//! by a random time. What was written before an end arrives before the end, as with sockets.

use std::collections::{BTreeMap, VecDeque};

use bytes::{Bytes, BytesMut};
use whipray_proto::Message;

use crate::agenda::{Agenda, Event, Micros};
use crate::random::Random;

/// One connection.
pub type LinkId = u64;

/// Whose end of a connection it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Party {
    Daemon,
    Process(usize),
}

enum Item {
    Frame(Bytes),
    End,
}

/// One direction: what is under way to the party of the same index.
#[derive(Default)]
struct Pipe {
    items: VecDeque<(Micros, Item)>,
    latest: Micros,
}

struct Link {
    parties: [Party; 2],
    pipes: [Pipe; 2],
    is_closed: [bool; 2],
    is_cut: bool,
}

/// What a party reads from a link.
pub struct Read {
    pub messages: Vec<Message>,
    pub is_over: bool,
}

/// One end of a connection: side 0 connected, side 1 was connected to. Both may be of one process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Socket {
    pub link: LinkId,
    pub side: usize,
}

/// All connections, and who listens.
pub struct Network {
    links: BTreeMap<LinkId, Link>,
    next: LinkId,
    listeners: BTreeMap<String, Party>,
    random: Random,
    delay_most: Micros,
    /// Frames that were sent until now.
    pub frames: u64,
}

impl Network {
    pub fn new(random: Random, delay_most: Micros) -> Self {
        Self {
            links: BTreeMap::new(),
            next: 64,
            listeners: BTreeMap::new(),
            random,
            delay_most,
            frames: 0,
        }
    }

    pub fn listen(&mut self, endpoint: &str, party: Party) {
        self.listeners.insert(endpoint.to_owned(), party);
    }

    /// A connection to whoever listens at `endpoint`.
    pub fn connect(&mut self, from: Party, endpoint: &str) -> Option<Socket> {
        let to = *self.listeners.get(endpoint)?;
        let link = self.next;
        self.next += 1;
        let entry = Link {
            parties: [from, to],
            pipes: [Pipe::default(), Pipe::default()],
            is_closed: [false, false],
            is_cut: false,
        };
        self.links.insert(link, entry);
        Some(Socket { link, side: 0 })
    }

    /// Whose end this is.
    pub fn party(&self, socket: Socket) -> Option<Party> {
        self.links
            .get(&socket.link)
            .map(|link| link.parties[socket.side])
    }

    /// Writes frames to the other end. Where that is closed they are lost, without a word.
    pub fn send(&mut self, from: Socket, frames: Vec<Bytes>, now: Micros, agenda: &mut Agenda) {
        let delay = self.random.duration(self.delay_most);
        for frame in frames {
            self.frames += 1;
            self.put(from, Item::Frame(frame), now + delay, agenda);
        }
    }

    fn put(&mut self, from: Socket, item: Item, at: Micros, agenda: &mut Agenda) {
        let Some(link) = self.links.get_mut(&from.link) else {
            return;
        };
        let to = Socket {
            link: from.link,
            side: 1 - from.side,
        };
        if link.is_closed[to.side] || link.is_cut {
            return;
        }
        let pipe = &mut link.pipes[to.side];
        pipe.latest = pipe.latest.max(at);
        let at = pipe.latest;
        // One event for everything that arrives at the same moment: it is read as one batch.
        if pipe.items.back().is_none_or(|(last, _)| *last != at) {
            agenda.add(at, Event::Readable { socket: to });
        }
        pipe.items.push_back((at, item));
    }

    /// Closes one end: nothing more is read there, and the other end sees it after all that was
    /// written before.
    pub fn close(&mut self, socket: Socket, now: Micros, agenda: &mut Agenda) {
        let Some(link) = self.links.get_mut(&socket.link) else {
            return;
        };
        if std::mem::replace(&mut link.is_closed[socket.side], true) {
            return;
        }
        link.pipes[socket.side].items.clear();
        if link.is_closed == [true, true] {
            self.links.remove(&socket.link);
            return;
        }
        let delay = self.random.duration(self.delay_most);
        self.put(socket, Item::End, now + delay, agenda);
    }

    /// Connections between two processes, in order.
    pub fn between_processes(&self) -> Vec<LinkId> {
        let is_such = |link: &Link| {
            let [one, other] = link.parties;
            one != other && one != Party::Daemon && other != Party::Daemon
        };
        let links = self.links.iter().filter(|(_, link)| is_such(link));
        links.map(|(id, _)| *id).collect()
    }

    /// Ends a connection in the middle: both ends see its end, and what was under way is lost.
    pub fn cut(&mut self, id: LinkId, now: Micros, agenda: &mut Agenda) {
        let Some(link) = self.links.get_mut(&id) else {
            return;
        };
        link.is_cut = true;
        for side in 0..2 {
            if !link.is_closed[side] {
                link.pipes[side].items.clear();
                link.pipes[side].items.push_back((now, Item::End));
                let socket = Socket { link: id, side };
                agenda.add(now, Event::Readable { socket });
            }
        }
    }

    /// The ends that `to` has of its connections with `from`.
    pub fn sockets_from(&self, from: Party, to: Party) -> Vec<Socket> {
        let ends = self.links.iter().flat_map(|(link, entry)| {
            let is_such =
                move |side: &usize| entry.parties[*side] == to && entry.parties[1 - *side] == from;
            let sides = [0, 1].into_iter().filter(is_such);
            sides.map(|side| Socket { link: *link, side })
        });
        ends.collect()
    }

    /// What has arrived until `until`; with `Micros::MAX` all that was written.
    pub fn read(&mut self, socket: Socket, until: Micros) -> Read {
        let mut read = Read {
            messages: Vec::new(),
            is_over: false,
        };
        let Some(link) = self.links.get_mut(&socket.link) else {
            return read;
        };
        let pipe = &mut link.pipes[socket.side];
        while pipe.items.front().is_some_and(|(at, _)| *at <= until) {
            match pipe.items.pop_front() {
                Some((_, Item::Frame(frame))) => match Message::decode_frame(&frame) {
                    Ok(message) => read.messages.push(message),
                    Err(_) => read.is_over = true,
                },
                Some((_, Item::End)) => read.is_over = true,
                None => break,
            }
        }
        read
    }

    /// A process is gone: nobody listens there, and all its connections end.
    pub fn party_gone(&mut self, party: Party, now: Micros, agenda: &mut Agenda) {
        self.listeners.retain(|_, listener| *listener != party);
        let sockets: Vec<Socket> = self
            .links
            .iter()
            .flat_map(|(link, entry)| {
                let is_its = |side: &usize| entry.parties[*side] == party;
                [0, 1]
                    .into_iter()
                    .filter(is_its)
                    .map(|side| Socket { link: *link, side })
            })
            .collect();
        for socket in sockets {
            self.close(socket, now, agenda);
        }
    }

    /// Whether any frame is under way.
    pub fn is_silent(&self) -> bool {
        self.links
            .values()
            .all(|link| link.pipes.iter().all(|pipe| pipe.items.is_empty()))
    }
}

/// A message as it travels.
pub fn encode(message: &Message) -> Bytes {
    let mut buffer = BytesMut::new();
    message.encode_frame(&mut buffer);
    buffer.freeze()
}
