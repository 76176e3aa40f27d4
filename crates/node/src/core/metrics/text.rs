//! Prometheus' text format, version 0.0.4.

use std::collections::BTreeMap;
use std::fmt::Write;

/// How a metric shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shown {
    Counter,
    Gauge,
    Histogram,
}

impl Shown {
    fn name(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
        }
    }
}

struct Block {
    shown: Shown,
    description: String,
    lines: String,
}

/// Lines by metric: all of one name must stand together.
#[derive(Default)]
pub struct Text {
    blocks: BTreeMap<String, Block>,
}

impl Text {
    /// Where lines of this metric go; `None` where its name belongs to one of another kind.
    pub fn lines(&mut self, name: &str, shown: Shown, description: &str) -> Option<&mut String> {
        if !self.blocks.contains_key(name) {
            let block = Block {
                shown,
                description: description.to_owned(),
                lines: String::new(),
            };
            self.blocks.insert(name.to_owned(), block);
        }
        let block = self.blocks.get_mut(name)?;
        (block.shown == shown).then_some(&mut block.lines)
    }

    /// The whole.
    pub fn finish(self) -> String {
        let mut text = String::new();
        for (name, block) in self.blocks {
            let description = block.description.replace('\\', "\\\\").replace('\n', "\\n");
            let kind = block.shown.name();
            // Writing into a string never fails.
            let _ = writeln!(text, "# HELP {name} {description}\n# TYPE {name} {kind}");
            text.push_str(&block.lines);
        }
        text
    }
}

/// Appends one line: `name{labels} value`.
pub fn push_line(lines: &mut String, name: &str, labels: &str, value: f64) {
    let _ = match labels {
        "" => writeln!(lines, "{name} {}", number(value)),
        labels => writeln!(lines, "{name}{{{labels}}} {}", number(value)),
    };
}

/// Appends a label to those that are there.
pub fn push_label(labels: &mut String, key: &str, value: &str) {
    if !labels.is_empty() {
        labels.push(',');
    }
    labels.push_str(key);
    labels.push_str("=\"");
    for character in value.chars() {
        match character {
            '\\' => labels.push_str("\\\\"),
            '"' => labels.push_str("\\\""),
            '\n' => labels.push_str("\\n"),
            other => labels.push(other),
        }
    }
    labels.push('"');
}

/// A number as the format writes it: `1.0`, `+Inf`, `NaN`.
pub fn number(value: f64) -> String {
    if value == f64::INFINITY {
        "+Inf".to_owned()
    } else if value == f64::NEG_INFINITY {
        "-Inf".to_owned()
    } else {
        format!("{value:?}")
    }
}

/// The name of a metric or a label with nothing in it that the format does not allow.
pub fn plain_name(name: &str, allows_colons: bool) -> String {
    let is_allowed = |it: char| it.is_ascii_alphanumeric() || (allows_colons && it == ':');
    let mut plain: String = name
        .chars()
        .map(|it| if is_allowed(it) { it } else { '_' })
        .collect();
    if plain.starts_with(|first: char| first.is_ascii_digit()) || plain.is_empty() {
        plain.insert(0, '_');
    }
    plain
}
