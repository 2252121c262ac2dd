//! gRPC messages in the bytes of one direction of an HTTP/2 connection.

use std::collections::BTreeMap;

const PREFACE: usize = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".len();
const FRAME_HEADER: usize = 9;
const DATA: u8 = 0;
const END_STREAM: u8 = 0x1;
const PADDED: u8 = 0x8;
/// Flag and length before each message.
const MESSAGE_HEADER: usize = 5;

/// What has come of messages that are not complete yet.
pub(crate) struct Messages {
    /// Bytes of the preface that are still to come.
    preface: usize,
    frame: Vec<u8>,
    streams: BTreeMap<u32, Vec<u8>>,
}

impl Messages {
    /// What the side sends that opened the connection.
    pub(crate) fn of_client() -> Self {
        Self { preface: PREFACE, frame: Vec::new(), streams: BTreeMap::new() }
    }

    /// What the other side sends.
    pub(crate) fn of_server() -> Self {
        Self { preface: 0, ..Self::of_client() }
    }

    /// Takes the next bytes; `found` gets each message that is complete with them, and the stream that it is of.
    pub(crate) fn take(&mut self, bytes: &[u8], mut found: impl FnMut(u32, &[u8])) {
        let skipped = self.preface.min(bytes.len());
        self.preface -= skipped;
        self.frame.extend_from_slice(&bytes[skipped..]);
        let mut at = 0;
        while let Some(frame) = whole(&self.frame[at..], FRAME_HEADER, |head| number(&head[..3])) {
            at += frame.len();
            let (kind, flags, stream) = (frame[3], frame[4], number(&frame[5..9]) as u32 & (u32::MAX >> 1));
            if kind != DATA {
                continue;
            }
            let payload = &frame[FRAME_HEADER..];
            let payload =
                if flags & PADDED == 0 { payload } else { &payload[1..payload.len() - usize::from(payload[0])] };
            let pending = self.streams.entry(stream).or_default();
            pending.extend_from_slice(payload);
            let mut taken = 0;
            while let Some(message) = whole(&pending[taken..], MESSAGE_HEADER, |head| number(&head[1..5])) {
                taken += message.len();
                found(stream, &message[MESSAGE_HEADER..]);
            }
            pending.drain(..taken);
            if flags & END_STREAM != 0 {
                self.streams.remove(&stream);
            }
        }
        self.frame.drain(..at);
    }
}

/// The first item of `bytes` with its header, if all of it is there.
fn whole(bytes: &[u8], header: usize, length: impl FnOnce(&[u8]) -> usize) -> Option<&[u8]> {
    bytes.get(..header + length(bytes.get(..header)?))
}

fn number(big_endian: &[u8]) -> usize {
    big_endian.iter().fold(0, |number, byte| number << 8 | usize::from(*byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn data(stream: u8, flags: u8, payload: &[u8]) -> Vec<u8> {
        [&[0, 0, payload.len() as u8, DATA, flags, 0, 0, 0, stream], payload].concat()
    }

    #[test]
    fn messages_are_found_however_bytes_are_cut() {
        let settings = vec![0, 0, 0, 4, 0, 0, 0, 0, 0];
        let padded = data(1, PADDED, &[&[2][..], &[0, 0, 0, 0, 1], b"c", &[0, 0]].concat());
        let parts = [
            vec![b'x'; PREFACE],
            settings,
            data(1, 0, &[0, 0, 0, 0, 3, b'o']),
            data(3, 0, &[0, 0, 0, 0, 2, b'h', b'i', 0, 0, 0, 0, 0]),
            data(1, 0, b"ne"),
            padded,
        ];
        let bytes = parts.concat();
        let expected = [(3, "hi"), (3, ""), (1, "one"), (1, "c")];
        for chunk in [1, 2, 7, bytes.len()] {
            let (mut messages, mut seen) = (Messages::of_client(), Vec::new());
            for chunk in bytes.chunks(chunk) {
                messages
                    .take(chunk, |stream, message| seen.push((stream, String::from_utf8(message.to_vec()).unwrap())));
            }
            let seen: Vec<_> = seen.iter().map(|(stream, text)| (*stream, text.as_str())).collect();
            assert_eq!(seen, expected, "in chunks of {chunk}");
        }
    }
}
