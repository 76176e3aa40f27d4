//! Connections between processes: whole frames, in order within a connection and a direction, late
//! by a random time. What was written before an end arrives before the end, as with sockets. Where
//! the way from one machine to another is cut, everything waits until it is open again.

use std::collections::{BTreeMap, VecDeque};

use bytes::{Bytes, BytesMut};
use whipray_node::core::IDLE;
use whipray_proto::Message;

use crate::agenda::{Agenda, Event, Micros};
use crate::random::Random;

/// One connection.
pub type LinkId = u64;

/// One machine, by its number.
pub type Machine = usize;

/// Whose end of a connection it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Party {
    Daemon(usize),
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
    machines: [Machine; 2],
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
    listeners: BTreeMap<String, (Party, Machine)>,
    /// Until when nothing goes from one machine to another one.
    cut_until: BTreeMap<(Machine, Machine), Micros>,
    random: Random,
    delay_most: Micros,
    /// The longest further delay between machines.
    far_delay_most: Micros,
    /// Frames that were sent until now.
    pub frames: u64,
}

impl Link {
    fn is_of_processes(&self) -> bool {
        let is_process = |party: &Party| matches!(party, Party::Process(_));
        self.parties.iter().all(is_process)
    }
}

impl Network {
    pub fn new(random: Random, delay_most: Micros, far_delay_most: Micros) -> Self {
        Self {
            links: BTreeMap::new(),
            next: 64,
            listeners: BTreeMap::new(),
            cut_until: BTreeMap::new(),
            random,
            delay_most,
            far_delay_most,
            frames: 0,
        }
    }

    pub fn listen(&mut self, endpoint: &str, party: Party, machine: Machine) {
        self.listeners.insert(endpoint.to_owned(), (party, machine));
    }

    /// A connection from a party on a machine to whoever listens at `endpoint`.
    pub fn connect(&mut self, from: Party, machine: Machine, endpoint: &str) -> Option<Socket> {
        let (to, to_machine) = *self.listeners.get(endpoint)?;
        let link = self.next;
        self.next += 1;
        let entry = Link {
            parties: [from, to],
            machines: [machine, to_machine],
            pipes: [Pipe::default(), Pipe::default()],
            is_closed: [false, false],
            is_cut: false,
        };
        self.links.insert(link, entry);
        Some(Socket { link, side: 0 })
    }

    /// The same to another machine: whether anybody is there turns out later.
    pub fn connect_far(
        &mut self,
        from: Party,
        machine: Machine,
        there: Machine,
        endpoint: &str,
        now: Micros,
        agenda: &mut Agenda,
    ) -> Socket {
        if let Some(socket) = self.connect(from, machine, endpoint) {
            return socket;
        }
        let link = self.next;
        self.next += 1;
        let entry = Link {
            parties: [from, from],
            machines: [machine, there],
            pipes: [Pipe::default(), Pipe::default()],
            is_closed: [false, true],
            is_cut: false,
        };
        self.links.insert(link, entry);
        let delay = self.delay(machine, there) + self.delay(there, machine);
        self.put(Socket { link, side: 1 }, Item::End, now + delay, agenda);
        Socket { link, side: 0 }
    }

    // ---- machines

    /// Nothing goes from one machine to another one until then.
    pub fn cut_way(&mut self, from: Machine, to: Machine, until: Micros) {
        let entry = self.cut_until.entry((from, to)).or_default();
        *entry = until.max(*entry);
    }

    /// Until when a way is cut, where it is.
    pub fn cut_until(&self, from: Machine, to: Machine, now: Micros) -> Option<Micros> {
        let until = self.cut_until.get(&(from, to)).copied();
        until.filter(|until| *until > now)
    }

    /// Whether any way is cut.
    pub fn has_cuts(&self, now: Micros) -> bool {
        self.cut_until.values().any(|until| *until > now)
    }

    /// Until when nothing arrives at this end, where that is so.
    pub fn held_until(&self, socket: Socket, now: Micros) -> Option<Micros> {
        let link = self.links.get(&socket.link).filter(|link| !link.is_cut)?;
        let (from, to) = (link.machines[1 - socket.side], link.machines[socket.side]);
        self.cut_until(from, to, now)
    }

    /// How long something takes from one machine to another one.
    pub fn delay(&mut self, from: Machine, to: Machine) -> Micros {
        let delay = self.random.duration(self.delay_most);
        if from == to {
            return delay;
        }
        delay + self.random.duration(self.far_delay_most)
    }

    /// Connections between processes of two machines, which have heard nothing for so long that
    /// both ends give them up. Returns whether there were any.
    pub fn give_up_between(
        &mut self,
        one: Machine,
        other: Machine,
        now: Micros,
        agenda: &mut Agenda,
    ) -> bool {
        let is_such = |link: &Link| {
            (link.machines == [one, other] || link.machines == [other, one])
                && link.is_of_processes()
        };
        let links = self.links.iter().filter(|(_, link)| is_such(link));
        let links: Vec<LinkId> = links.map(|(id, _)| *id).collect();
        for link in &links {
            self.cut(*link, now, agenda);
        }
        !links.is_empty()
    }

    /// Whose end this is.
    pub fn party(&self, socket: Socket) -> Option<Party> {
        self.links
            .get(&socket.link)
            .map(|link| link.parties[socket.side])
    }

    /// Writes frames to the other end. Where that is closed they are lost, without a word.
    pub fn send(&mut self, from: Socket, frames: Vec<Bytes>, now: Micros, agenda: &mut Agenda) {
        let delay = self.delay_of(from);
        for frame in frames {
            self.frames += 1;
            self.put(from, Item::Frame(frame), now + delay, agenda);
        }
    }

    fn delay_of(&mut self, from: Socket) -> Micros {
        let machines = self.links.get(&from.link).map(|link| link.machines);
        let [one, other] = machines.unwrap_or_default();
        self.delay(one, other)
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
        let delay = self.delay_of(socket);
        self.put(socket, Item::End, now + delay, agenda);
    }

    /// Connections between two processes, in order.
    pub fn between_processes(&self) -> Vec<LinkId> {
        let links = self
            .links
            .iter()
            .filter(|(_, link)| link.parties[0] != link.parties[1] && link.is_of_processes());
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
        if self.held_until(socket, until).is_some() {
            return read;
        }
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
        self.listeners.retain(|_, (listener, _)| *listener != party);
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

    /// Whether nothing is under way, but for the question whether idle workers leave: those that own
    /// what others refer to are asked again and again.
    pub fn is_silent(&self) -> bool {
        let pipes = self.links.values().flat_map(|link| &link.pipes);
        pipes
            .flat_map(|pipe| &pipe.items)
            .all(|(_, item)| match item {
                Item::Frame(frame) => matches!(
                    Message::decode_frame(frame),
                    Ok(Message::Goodbye(goodbye)) if goodbye.reason == IDLE
                ),
                Item::End => false,
            })
    }
}

/// A message as it travels.
pub fn encode(message: &Message) -> Bytes {
    let mut buffer = BytesMut::new();
    message.encode_frame(&mut buffer);
    buffer.freeze()
}
