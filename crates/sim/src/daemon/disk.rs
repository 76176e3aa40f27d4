//! The disk of a machine, and its buckets.

use std::sync::Arc;

use whipray_store::core::{DiskError, DiskJob, FilePlace};

use super::Daemon;
use crate::agenda::Event;
use crate::around::Around;
use crate::witness::{Block, place};

impl Daemon {
    /// A job of the disk begins.
    pub(super) fn start_disk(&mut self, job: DiskJob, around: &mut Around) {
        let blocks = match &job {
            DiskJob::Write { pieces, .. } => pieces
                .iter()
                .map(|piece| around.witness.block(self.number, piece.arena_offset))
                .collect(),
            _ => Vec::new(),
        };
        let delay = around.random.duration(50_000);
        let daemon = self.number;
        around.after(
            delay,
            Event::Disk {
                daemon,
                job,
                blocks,
            },
        );
    }

    /// The disk has done what it was asked for, or has not: now and then it is full, or a bucket
    /// does not answer.
    pub fn on_disk(&mut self, job: DiskJob, blocks: Vec<Option<Block>>, around: &mut Around) {
        let (DiskJob::Write { file, .. }
        | DiskJob::Reserve { file, .. }
        | DiskJob::Fetch { file, .. }) = job
        else {
            return;
        };
        let address: Arc<str> = file.to_string().into();
        let in_bucket = matches!(job, DiskJob::Write { .. }) && file % 2 == 0;
        let failing = match job {
            // What is lost excuses much.
            DiskJob::Fetch { .. } => 1,
            _ => 5,
        };
        let outcome = if around.random.percent(failing) {
            Err(DiskError::Full("the disk is full".to_owned()))
        } else if in_bucket {
            Ok(FilePlace::Bucket(address.clone()))
        } else {
            Ok(FilePlace::Folder(address.clone()))
        };
        match &job {
            DiskJob::Write { pieces, .. } if outcome.is_ok() => {
                for (piece, block) in pieces.iter().zip(blocks) {
                    let now = around.witness.block(self.number, piece.arena_offset);
                    if now != block {
                        around.witness.violation(format!(
                            "W-5: {block:?} was overwritten by {now:?} while it went to disk"
                        ));
                    }
                    if let Some(block) = block {
                        around.witness.copied(
                            self.number,
                            place(&address, piece.file_offset),
                            block,
                        );
                    }
                }
            }
            DiskJob::Fetch { from, offset, .. } if outcome.is_ok() => {
                around
                    .witness
                    .fetched(self.number, place(from, *offset), place(&address, 0));
            }
            DiskJob::Fetch { from, offset, .. } => {
                around
                    .witness
                    .not_fetched(self.number, place(from, *offset));
            }
            _ => {}
        }
        around.note(|| format!("disk: {job:?}: {outcome:?}"));
        self.node.on_disk(file, outcome, self.now(around));
        self.end_turn(around);
    }
}
