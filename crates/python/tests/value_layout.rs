//! The layout of values, checked without an interpreter.

#[path = "../src/value/layout.rs"]
mod layout;

use layout::{BUFFER_ALIGNMENT, BufferLayout, Kind};
use proptest::prelude::*;

#[test]
fn golden_header() {
    let plan = BufferLayout::plan(3, &[5, 0]).expect("a small layout");
    let mut value = vec![0xaa; plan.total_bytes];
    plan.write_header(&mut value);
    let mut expected = vec![8, 0, 0, 0, 2, 0, 0, 0];
    expected.extend(3_u64.to_le_bytes());
    expected.extend(64_u64.to_le_bytes());
    expected.extend(5_u64.to_le_bytes());
    expected.extend(128_u64.to_le_bytes());
    expected.extend(0_u64.to_le_bytes());
    assert_eq!(&value[..48], &expected);
    assert_eq!(plan.pickle, 48..51);
    assert_eq!(plan.buffers, [64..69, 128..128]);
    assert_eq!(plan.total_bytes, 128);
}

#[test]
fn kinds_keep_their_bytes() {
    let known: Vec<u8> = (0..=255)
        .filter(|byte| Kind::from_byte(*byte).is_some())
        .collect();
    assert_eq!(known, [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 16]);
    for byte in known {
        assert_eq!(Kind::from_byte(byte).map(|kind| kind as u8), Some(byte));
    }
}

#[test]
fn sizes_that_no_memory_has_are_refused() {
    assert_eq!(BufferLayout::plan(usize::MAX, &[]), None);
    assert_eq!(BufferLayout::plan(1, &[usize::MAX - 100]), None);
}

proptest! {
    #[test]
    fn what_is_planned_is_read(pickle in 0_usize..5000, lengths in proptest::collection::vec(0_usize..5000, 0..20)) {
        let plan = BufferLayout::plan(pickle, &lengths).expect("small");
        let mut value = vec![0; plan.total_bytes];
        plan.write_header(&mut value);
        prop_assert!(plan.buffers.iter().all(|buffer| buffer.start % BUFFER_ALIGNMENT == 0));
        prop_assert_eq!(BufferLayout::parse(&value), Some(plan));
    }

    #[test]
    fn large_buffers_lie_as_their_sources_do(
        pickle in 0_usize..5000,
        buffers in proptest::collection::vec((0_usize..4 << 20, 0_usize..1 << 30), 1..8),
        target in 0_usize..1 << 30,
    ) {
        let (lengths, sources): (Vec<usize>, Vec<usize>) = buffers.into_iter().unzip();
        let mut plan = BufferLayout::plan(pickle, &lengths).expect("small");
        let target = target * BUFFER_ALIGNMENT;
        plan.place(target, sources.iter().copied());
        let mut end = plan.pickle.end;
        for ((buffer, length), source) in plan.buffers.iter().zip(lengths).zip(sources) {
            prop_assert_eq!(buffer.len(), length);
            prop_assert!(buffer.start % BUFFER_ALIGNMENT == 0 && buffer.start >= end);
            end = buffer.end;
            if length >= 1 << 20 {
                let below = source.wrapping_sub(target + buffer.start) % 4096;
                prop_assert!(below < BUFFER_ALIGNMENT);
            }
        }
        prop_assert!(end <= plan.total_bytes);
    }

    #[test]
    fn no_bytes_lead_outside(value in proptest::collection::vec(any::<u8>(), 0..200)) {
        if let Some(layout) = BufferLayout::parse(&value) {
            prop_assert!(layout.pickle.end <= value.len());
            prop_assert!(layout.buffers.iter().all(|buffer| buffer.end <= value.len()));
        }
    }
}
