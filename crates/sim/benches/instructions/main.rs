//! How many instructions each stage of the hot path takes, for `tools/check_instructions.py`.
//!
//! Run under callgrind, which then writes one file per stage. Run alone it checks that the stages
//! work, and counts nothing; with a number as its argument it runs each so often, for a profiler.

#![allow(clippy::expect_used)]

mod calls;
mod daemon;
mod valgrind;

use std::ffi::CString;

/// Runs that are not counted: tables grow, and code is loaded.
const WARM_UP: u32 = 64;

/// Runs that are counted. The checker divides by it.
const COUNTED: u32 = 1000;

/// One stage of the hot path.
pub struct Stage {
    name: CString,
    /// One run; what is to be counted of it is inside of [`valgrind::count`].
    run: Box<dyn FnMut()>,
}

impl Stage {
    pub fn new(name: &str, run: impl FnMut() + 'static) -> Self {
        Self {
            name: CString::new(name).expect("a name of letters"),
            run: Box::new(run),
        }
    }
}

fn main() {
    let argument = std::env::args().nth(1);
    let counted = argument
        .and_then(|runs| runs.parse().ok())
        .unwrap_or(COUNTED);
    let mut stages = calls::stages("task", "");
    stages.extend(calls::stages("actor_call", "small_value"));
    stages.push(daemon::lease());
    stages.push(daemon::key_value());
    for mut stage in stages {
        for _ in 0..WARM_UP {
            (stage.run)();
        }
        valgrind::reset();
        for _ in 0..counted {
            (stage.run)();
        }
        valgrind::dump(&stage.name);
    }
    println!("runs {counted}");
}
