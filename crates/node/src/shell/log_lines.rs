//! What a worker wrote, line by line, with the name of the task or actor that wrote it.

use whipray_proto::limits;

use super::line_reader::LineReader;

/// One run of lines under one name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NamedLines {
    pub name: String,
    pub lines: Vec<String>,
}

/// Reads one output of one worker. Lines like `:task_name:NAME` and `:actor_name:NAME` say who
/// writes what follows, and are not part of the output.
#[derive(Debug)]
pub struct LogReader {
    reader: LineReader,
    name: String,
}

impl LogReader {
    pub fn new() -> Self {
        Self {
            reader: LineReader::new(limits::LOG_LINE_BYTES),
            name: String::new(),
        }
    }

    /// Takes bytes in and appends whole lines to `batches`.
    pub fn feed(&mut self, bytes: &[u8], batches: &mut Vec<NamedLines>) {
        let Self { reader, name } = self;
        reader.feed(bytes, |line| take_line(line, name, batches));
    }

    /// Whether something was written that lacks the end of its line.
    pub fn has_partial(&self) -> bool {
        self.reader.has_partial()
    }

    /// What was written without the end of a line is a line, too.
    pub fn finish(&mut self, batches: &mut Vec<NamedLines>) {
        let Self { reader, name } = self;
        reader.finish(|line| take_line(line, name, batches));
    }
}

/// The name that a line announces, where it does.
pub fn marker(line: &str) -> Option<&str> {
    line.strip_prefix(":task_name:")
        .or_else(|| line.strip_prefix(":actor_name:"))
}

fn take_line(line: &[u8], name: &mut String, batches: &mut Vec<NamedLines>) {
    let line = String::from_utf8_lossy(line);
    let line = line.strip_suffix('\r').unwrap_or(&line);
    if let Some(announced) = marker(line) {
        announced.clone_into(name);
        return;
    }
    match batches.last_mut() {
        Some(batch) if batch.name == *name => batch.lines.push(line.to_owned()),
        _ => batches.push(NamedLines {
            name: name.clone(),
            lines: vec![line.to_owned()],
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_go_under_the_name_that_was_announced_last() {
        let mut reader = LogReader::new();
        let mut batches = Vec::new();
        reader.feed(b"early\n:task_name:f\none\ntwo\r\n:task_na", &mut batches);
        reader.feed(b"me:g\nthree\nno end", &mut batches);
        reader.finish(&mut batches);
        let named = |name: &str, lines: &[&str]| NamedLines {
            name: name.to_owned(),
            lines: lines.iter().map(|line| (*line).to_owned()).collect(),
        };
        assert_eq!(
            batches,
            [
                named("", &["early"]),
                named("f", &["one", "two"]),
                named("g", &["three", "no end"])
            ]
        );
    }

    #[test]
    fn bytes_that_are_no_text_do_not_stop_it() {
        let mut reader = LogReader::new();
        let mut batches = Vec::new();
        reader.feed(b"\xff\n", &mut batches);
        assert_eq!(batches[0].lines, ["\u{fffd}"]);
    }
}
