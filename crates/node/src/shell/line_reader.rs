//! Bytes in, whole lines out.

/// Collects bytes until a line is complete. A line longer than the limit is cut into several.
#[derive(Debug)]
pub struct LineReader {
    partial: Vec<u8>,
    /// The last line was given away before its end, which is no line of its own.
    is_cut: bool,
    limit_bytes: usize,
}

impl LineReader {
    pub fn new(limit_bytes: usize) -> Self {
        Self {
            partial: Vec::new(),
            is_cut: false,
            limit_bytes,
        }
    }

    /// Takes bytes in, and gives each line that is complete now, without its end, to `sink`.
    pub fn feed(&mut self, mut bytes: &[u8], mut sink: impl FnMut(&[u8])) {
        if let Some(first) = bytes.first()
            && std::mem::take(&mut self.is_cut)
            && *first == b'\n'
        {
            bytes = &bytes[1..];
        }
        while let Some(end) = bytes.iter().position(|byte| *byte == b'\n') {
            let (line, rest) = bytes.split_at(end);
            bytes = &rest[1..];
            if self.partial.is_empty() {
                sink(line);
            } else {
                self.partial.extend_from_slice(line);
                sink(&self.partial);
                self.partial.clear();
            }
        }
        self.partial.extend_from_slice(bytes);
        while self.partial.len() > self.limit_bytes {
            let rest = self.partial.split_off(self.limit_bytes);
            sink(&self.partial);
            self.partial = rest;
        }
    }

    /// Gives what is left without the end of a line, if there is something.
    pub fn finish(&mut self, mut sink: impl FnMut(&[u8])) {
        if !self.partial.is_empty() {
            sink(&self.partial);
            self.partial.clear();
            self.is_cut = true;
        }
    }

    /// Whether there is something that lacks the end of its line.
    pub fn has_partial(&self) -> bool {
        !self.partial.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(reader: &mut LineReader, bytes: &[u8]) -> Vec<String> {
        let mut lines = Vec::new();
        reader.feed(bytes, |line| {
            lines.push(String::from_utf8_lossy(line).into_owned())
        });
        lines
    }

    #[test]
    fn lines_may_come_in_pieces() {
        let mut reader = LineReader::new(100);
        assert_eq!(lines(&mut reader, b"one\ntw"), ["one"]);
        assert_eq!(lines(&mut reader, b"o\n\nthree"), ["two", ""]);
        let mut rest = Vec::new();
        reader.finish(|line| rest.extend_from_slice(line));
        assert_eq!(rest, b"three");
    }

    #[test]
    fn the_end_of_what_was_given_before_it_is_no_line() {
        let mut reader = LineReader::new(100);
        assert!(lines(&mut reader, b"one").is_empty());
        assert!(reader.has_partial());
        reader.finish(|_| ());
        assert!(!reader.has_partial());
        assert!(lines(&mut reader, b"").is_empty());
        assert_eq!(lines(&mut reader, b"\n\ntwo\n"), ["", "two"]);
        assert!(lines(&mut reader, b"three").is_empty());
        reader.finish(|_| ());
        assert_eq!(lines(&mut reader, b"four\n\n"), ["four", ""]);
    }

    #[test]
    fn a_line_without_end_is_cut() {
        let mut reader = LineReader::new(4);
        assert_eq!(lines(&mut reader, b"123456789"), ["1234", "5678"]);
        assert_eq!(lines(&mut reader, b"\n"), ["9"]);
    }
}
