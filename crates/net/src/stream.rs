//! Messages of one daemon to another one, in order and each once, over as many connections as it
//! takes. Pure: whoever has the connections says what was written and what came.

use std::collections::VecDeque;

use bytes::{Bytes, BytesMut};
use whipray_proto::Message;

/// The sending end: every message is kept until the other end has it.
#[derive(Debug, Default)]
pub struct SendingStream {
    /// Frames that are not acknowledged.
    kept: VecDeque<Bytes>,
    kept_bytes: usize,
    /// How many are acknowledged, which is the number of the first one that is kept.
    acknowledged: u64,
}

/// The other end says of a stream what cannot be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the other end has {received} messages of the stream, of which {first} to {end} are kept")]
pub struct StreamBroken {
    received: u64,
    first: u64,
    end: u64,
}

impl SendingStream {
    /// Takes a message in; the frame to be written where a connection stands.
    pub fn push(&mut self, message: &Message) -> Bytes {
        let mut frame = BytesMut::new();
        message.encode_frame(&mut frame);
        let frame = frame.freeze();
        self.kept_bytes += frame.len();
        self.kept.push_back(frame.clone());
        frame
    }

    /// How many messages were let go of: the next one that can be sent again is the one after.
    pub fn first(&self) -> u64 {
        self.acknowledged
    }

    /// What is kept, in bytes.
    pub fn kept_bytes(&self) -> usize {
        self.kept_bytes
    }

    /// The other end has so many messages.
    ///
    /// # Errors
    /// It cannot have: they were never sent, or it has forgotten some.
    pub fn acknowledge(&mut self, received: u64) -> Result<(), StreamBroken> {
        let end = self.acknowledged + self.kept.len() as u64;
        if received < self.acknowledged || received > end {
            let first = self.acknowledged;
            return Err(StreamBroken {
                received,
                first,
                end,
            });
        }
        while self.acknowledged < received {
            if let Some(frame) = self.kept.pop_front() {
                self.kept_bytes -= frame.len();
            }
            self.acknowledged += 1;
        }
        Ok(())
    }

    /// A connection stands, and the other end has so many messages: what is to be written, in order.
    ///
    /// # Errors
    /// It cannot have that many.
    pub fn resume(&mut self, received: u64) -> Result<impl Iterator<Item = &Bytes>, StreamBroken> {
        self.acknowledge(received)?;
        Ok(self.kept.iter())
    }
}

/// The receiving end: counts.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct ReceivingStream {
    received: u64,
    said: u64,
}

impl ReceivingStream {
    /// A message came.
    pub fn on_message(&mut self) {
        self.received += 1;
    }

    /// How many have come.
    pub fn count(&self) -> u64 {
        self.received
    }

    /// How many have come, for the answer to a new connection.
    pub fn received(&mut self) -> u64 {
        self.said = self.received;
        self.received
    }

    /// How many have come, where the other end does not know yet.
    pub fn take_news(&mut self) -> Option<u64> {
        (self.said != self.received).then(|| self.received())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use whipray_proto::messages::session::Goodbye;

    fn numbered(number: u64) -> Message {
        Goodbye {
            reason: number.to_string(),
        }
        .into()
    }

    fn number_of(frame: &Bytes) -> Option<u64> {
        match Message::decode_frame(frame) {
            Ok(Message::Goodbye(goodbye)) => goodbye.reason.parse().ok(),
            _ => None,
        }
    }

    #[test]
    fn what_is_not_acknowledged_is_sent_again() -> Result<(), StreamBroken> {
        let mut sender = SendingStream::default();
        for number in 0..5 {
            sender.push(&numbered(number));
        }
        sender.acknowledge(2)?;
        let again: Vec<_> = sender.resume(3)?.filter_map(number_of).collect();
        assert_eq!(again, [3, 4]);
        assert_eq!(sender.first(), 3);
        sender.acknowledge(5)?;
        assert_eq!(sender.kept_bytes(), 0);
        Ok(())
    }

    #[test]
    fn counts_that_cannot_be_are_errors() -> Result<(), StreamBroken> {
        let mut sender = SendingStream::default();
        sender.push(&numbered(0));
        assert!(sender.acknowledge(2).is_err());
        sender.acknowledge(1)?;
        assert!(sender.resume(0).map(|_| ()).is_err());
        Ok(())
    }

    /// Connections that break anywhere: each message arrives once, in order.
    #[test]
    fn each_message_arrives_once_over_connections_that_break() -> Result<(), StreamBroken> {
        for seed in 0_u64..200 {
            let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
            let mut random = move |below: u64| {
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                state % below
            };
            let (mut sender, mut receiver) = (SendingStream::default(), ReceivingStream::default());
            let mut arrived = Vec::new();
            let mut wire: VecDeque<Bytes> = VecDeque::new();
            let mut is_up = false;
            let mut sent = 0;
            while arrived.len() < 50 {
                match random(10) {
                    0 => {
                        // What was on the way is lost with the connection.
                        wire.clear();
                        is_up = false;
                    }
                    1 | 2 if !is_up => {
                        wire = sender.resume(receiver.received())?.cloned().collect();
                        is_up = true;
                    }
                    3..=5 if sent < 50 => {
                        let frame = sender.push(&numbered(sent));
                        sent += 1;
                        if is_up {
                            wire.push_back(frame);
                        }
                    }
                    6..=8 => {
                        if let Some(frame) = wire.pop_front() {
                            receiver.on_message();
                            arrived.extend(number_of(&frame));
                        }
                    }
                    _ if is_up => {
                        if let Some(received) = receiver.take_news() {
                            sender.acknowledge(received)?;
                        }
                    }
                    _ => {}
                }
            }
            assert_eq!(arrived, (0..50).collect::<Vec<_>>(), "seed {seed}");
        }
        Ok(())
    }
}
