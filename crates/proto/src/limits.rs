//! Every bound of the system in one place, with its unit in the name.

use std::time::Duration;

/// Values up to this size travel inside messages; larger ones are sealed in shared memory.
pub const INLINE_VALUE_BYTES: usize = 100 * 1024;

/// A frame longer than this closes its connection.
pub const FRAME_BYTES: usize = 512 * 1024 * 1024;

/// The longest frame that a peer may send before its token was checked.
pub const HELLO_FRAME_BYTES: usize = 64 * 1024;

/// How long an owner keeps an idle lease, so that a synchronous loop does not pay for it again.
pub const LEASE_LINGER: Duration = Duration::from_millis(400);

/// Tasks that may wait inside one leased worker, once their function is known to be short.
pub const PIPELINE_DEPTH: usize = 512;

/// Work (by measured durations) that may wait inside one leased worker.
pub const PIPELINE_WORK: Duration = Duration::from_millis(5);

/// How long an owner keeps a busy lease while others wait for what it holds.
pub const LEASE_TURN: Duration = Duration::from_millis(500);

/// How long a worker may go without an answer before tasks that wait behind its current one are
/// asked back, where another worker could run them.
pub const PIPELINE_PATIENCE: Duration = Duration::from_millis(2);

/// Tasks that are through and that their owner remembers, for those who ask what has been.
pub const ENDED_TASKS: usize = 10_000;

/// Errors of tasks that are through, which their owner remembers beside the tasks.
pub const ENDED_ERRORS: usize = 1000;

/// A larger one of them is not remembered.
pub const ENDED_ERROR_BYTES: usize = 4096;

/// Items of a stream that are made within this time of each other travel together.
pub const STREAM_GATHER: Duration = Duration::from_micros(300);

/// Output that may wait for the owner of a stream before the task that makes it pauses, in bytes.
pub const STREAM_OUTPUT_BYTES: usize = 8 * 1024 * 1024;

/// The most leases that an owner asks for per scheduling class.
pub const LEASES_PER_CLASS: u32 = 4096;

/// How long a task may wait in `get` before its worker gives its CPU back.
pub const BLOCKED_GRACE: Duration = Duration::from_millis(1);

/// How long a new worker process may take until it says hello.
pub const WORKER_START: Duration = Duration::from_secs(60);

/// How long a peer waits for the node's word on why a worker died before it reports without it.
pub const DEATH_CAUSE_WAIT: Duration = Duration::from_secs(5);

/// The same for a worker of another node, whose machine may be about to be given up: longer than
/// [`NODE_DEAD`].
pub const FAR_DEATH_CAUSE_WAIT: Duration = Duration::from_secs(25);

/// Specs of finished tasks that a process keeps, so that lost results can be made again, in bytes.
pub const LINEAGE_BYTES: u64 = 1 << 30;

/// How long a connection may take until its hello is complete.
pub const HELLO_WAIT: Duration = Duration::from_secs(10);

/// Idle workers beyond the number of CPUs are ended after this time.
pub const IDLE_WORKER: Duration = Duration::from_secs(5);

/// Lines of a dead worker's standard error that its death cause carries.
pub const STDERR_TAIL_LINES: usize = 20;

/// The alignment of every object and of every buffer inside an object, in bytes.
pub const OBJECT_ALIGNMENT: usize = 64;

/// How long a scheduling class waits without any lease until its owner hears why.
pub const PENDING_NOTICE: Duration = Duration::from_secs(10);

/// The least time between two requests to return idle leases.
pub const RECLAIM_LEAST: Duration = Duration::from_millis(2);

/// While others wait, holders are asked again for idle leases after this time.
pub const RECLAIM_REPEAT: Duration = Duration::from_millis(100);

/// How long owners may take until they say that their idle leases are back. One that lives says so at
/// once; one that does not in time is not waited for again until it does.
pub const IDLE_ANSWER_WAIT: Duration = Duration::from_secs(1);

/// How long nodes that had nothing idle for a demand are not asked again for that reason alone.
pub const HOPE_AGAIN: Duration = Duration::from_millis(100);

/// Whoever waits without anything for this long has what it lacks saved for it, for as long.
pub const STARVING: Duration = Duration::from_secs(1);

/// The longest that something is saved for one that does not get it.
pub const SAVING_LONGEST: Duration = Duration::from_secs(60);

/// Worker processes that may be starting at the same time.
pub const WORKERS_STARTING: usize = 64;

/// After this many workers in a row that did not start, those who wait for one hear of it.
pub const START_FAILURES: u32 = 3;

/// The pause before another worker is tried after that.
pub const START_RETRY: Duration = Duration::from_secs(1);

/// Deaths that a node remembers, for those who ask late.
pub const DEATHS_REMEMBERED: usize = 4096;

/// Workers that have ended, which a node tells those who ask about its processes.
pub const DEATHS_TOLD: usize = 1000;

/// Jobs that are over and that control remembers, for those who ask what has been.
pub const PAST_JOBS_REMEMBERED: usize = 1000;

/// Dead actors of which nothing is remembered any more but that they are dead.
pub const ACTORS_REMEMBERED: usize = 256 * 1024;

/// The pause before a task runs again whose worker was ended for its memory; each further one is
/// twice as long.
pub const OOM_RETRY_PAUSE: Duration = Duration::from_secs(1);

/// The longest of these pauses.
pub const OOM_RETRY_LONGEST: Duration = Duration::from_secs(60);

/// The least time between two words of a node on what waits there, for the autoscaler; also how long
/// something has to wait until it counts.
pub const WANTS_INTERVAL: Duration = Duration::from_millis(250);

/// How often a node that has something to do looks whether it has become idle.
pub const IDLE_LOOK: Duration = Duration::from_secs(1);

/// How long idle workers may take to leave a node that is to go because it is idle.
pub const IDLE_LEAVE: Duration = Duration::from_secs(2);

/// The least time between two views of the cluster for the autoscaler.
pub const SCALING_INTERVAL: Duration = Duration::from_millis(200);

/// How long processes may take to say what they know, for those who ask.
pub const INQUIRY_WAIT: Duration = Duration::from_secs(2);

/// Questions to processes that a node passes on at the same time.
pub const INQUIRIES: usize = 1024;

/// Values of metrics (a metric with one set of tags each) that a process keeps.
pub const METRIC_SERIES: usize = 32 * 1024;

/// How long a process keeps new values of its metrics to itself. What it has not said is lost where
/// it is killed.
pub const METRICS_UNSAID: Duration = Duration::from_secs(2);

/// Values of metrics of processes that are gone, each on its own; the oldest are then added up.
pub const METRIC_SERIES_DEPARTED: usize = 4096;

/// Sums of such values that are kept.
pub const METRIC_SERIES_SUMMED: usize = 4096;

/// Requests for metrics that are answered at the same time.
pub const METRICS_READERS: usize = 8;

/// How long whoever fetches metrics may take to ask for them, and again to read them.
pub const METRICS_EXCHANGE: Duration = Duration::from_secs(5);

/// The longest request for metrics, in bytes.
pub const METRICS_REQUEST_BYTES: usize = 8 * 1024;

/// Objects that a blocked thread names as what it waits for.
pub const WAIT_OBJECTS: usize = 64;

/// How long a task is blocked until it looks for a cycle that it is part of; then again after twice
/// the time, and so on.
pub const CYCLE_PROBE: Duration = Duration::from_secs(1);

/// The same for the program of a driver, which nobody waits for.
pub const CYCLE_PROBE_DRIVER: Duration = Duration::from_secs(5);

/// The longest time between two such looks.
pub const CYCLE_PROBE_LONGEST: Duration = Duration::from_secs(60);

/// What a worker process is by itself, before its work: no reason to end it, in bytes.
pub const WORKER_BASE_BYTES: u64 = 64 * 1024 * 1024;

/// Processes that a report on memory names.
pub const MEMORY_CONSUMERS: usize = 10;

/// The fastest that the memory of a machine fills: while more is left, it need not be looked at.
pub const MEMORY_FILL_BYTES_PER_MICROSECOND: u64 = 8 * 1024;

/// The memory is looked at after this many times the shortest pause at the latest.
pub const MEMORY_PAUSE_FACTOR: u64 = 8;

/// Placement groups that a cluster remembers after their removal.
pub const GROUPS_REMEMBERED: usize = 4096;

/// Output that may wait for one client of a daemon before the connection is given up, in bytes.
pub const CLIENT_OUTPUT_BYTES: usize = 1024 * 1024 * 1024;

/// Output above which a driver gets no more lines of its workers until it has read some, in bytes.
pub const LOG_BACKLOG_BYTES: usize = 4 * 1024 * 1024;

/// The most that is read of one worker's output at once, in bytes.
pub const LOG_BATCH_BYTES: usize = 128 * 1024;

/// A line of a worker's output that is longer is cut into several, in bytes.
pub const LOG_LINE_BYTES: usize = 64 * 1024;

/// How long the beginning of a line waits for the rest before it is forwarded as a line.
pub const LOG_LINE_WAIT: Duration = Duration::from_secs(1);

/// The least time between two looks at the output of workers.
pub const LOG_INTERVAL: Duration = Duration::from_millis(10);

/// Writes of the control state that may wait for the disk.
pub const STORAGE_QUEUE: usize = 8192;

/// The smallest object store that can be asked for, in bytes.
pub const STORE_LEAST_BYTES: u64 = 75 * 1024 * 1024;

/// The largest object store that is chosen unasked, in bytes.
pub const STORE_MOST_BYTES: u64 = 200_000_000_000;

/// How long a request for shared memory waits for what others may give back, where nothing can be
/// written to disk for it: in the node without a disk, in the process that asks where that is full.
pub const ROOM_WAIT: Duration = Duration::from_secs(2);

/// How long clients that were asked to let go of mappings may take until others stop waiting for it.
pub const RELEASE_WAIT: Duration = Duration::from_millis(50);

/// The least time between two words of control to a node on what other nodes have to give.
pub const VIEW_INTERVAL: Duration = Duration::from_millis(50);

/// How often a node says to the head that it is alive.
pub const HEARTBEAT: Duration = Duration::from_secs(1);

/// After so much silence a node gets nothing new.
pub const NODE_SUSPECT: Duration = Duration::from_secs(3);

/// A node that has no answer of the head for so long ends its processes: soon they do not count.
pub const NODE_FENCE: Duration = Duration::from_secs(15);

/// After so much silence a node is dead, for ever.
pub const NODE_DEAD: Duration = Duration::from_secs(20);

/// How long a node whose connections ended may take to come back.
pub const NODE_RETURN: Duration = Duration::from_secs(2);

/// How long nodes that find nobody at the head's address try again before they end.
pub const HEAD_LOST: Duration = Duration::from_secs(5);

/// A connection between daemons ends where nothing is heard of the other machine for so long; its
/// stream goes on over the next one.
pub const STREAM_SILENCE: Duration = Duration::from_secs(4);

/// The pause before a connection between daemons is tried again; each further one is twice as long.
pub const STREAM_RETRY: Duration = Duration::from_millis(50);

/// The longest of these pauses.
pub const STREAM_RETRY_LONGEST: Duration = Duration::from_secs(1);

/// How long a node may take from its hello until the head has spoken to it over a stream of its own.
pub const JOIN_WAIT: Duration = Duration::from_secs(10);

/// How long a node that was given up tries to join its cluster again.
pub const REJOIN_WAIT: Duration = Duration::from_secs(600);

/// The most time between two looks of control at silent nodes; a pause of its own counts as no more
/// than two of these.
pub const HEALTH_TICK: Duration = Duration::from_millis(500);

/// How long control waits for the reports of nodes, for those who ask for the cluster's state.
pub const STATUS_WAIT: Duration = Duration::from_secs(2);

/// Dead nodes that people can still look at.
pub const DEAD_NODES_REMEMBERED: usize = 1000;

/// How long the machine of a peer may be silent until the connection counts as lost: longer than until
/// a node is dead, since that is the news that matters.
pub const PEER_SILENCE: Duration = Duration::from_secs(30);

/// How long the news of the death of a process on another machine waits for the end of what it said.
pub const LAST_WORDS_WAIT: Duration = Duration::from_secs(2);

/// How long control waits beyond the deadline of a node that is to go for its own word on what it
/// leaves behind. Longer than [`NODE_SUSPECT`]: one that cannot be heard is found silent before.
pub const DRAIN_LAST_WORD: Duration = Duration::from_secs(4);

/// Objects that a node which is to go has others take at the same time; more wait.
pub const MOVES_AT_ONCE: usize = 16;

/// The same in bytes; a larger object moves alone.
pub const MOVES_AT_ONCE_BYTES: u64 = 512 * 1024 * 1024;

/// The pause before nodes are asked again to take an object that none of them could.
pub const MOVE_RETRY: Duration = Duration::from_millis(500);

/// How long an object that can be read by no node, for reasons other than room, is tried again before
/// it is left behind.
pub const MOVE_FAILING: Duration = Duration::from_secs(60);

/// How long an object whose owner does not know of it waits for the word that is on its way, once
/// nothing runs any more.
pub const MOVE_UNKNOWN: Duration = Duration::from_secs(2);

/// The longest pause before the owner of such an object is asked again while something runs.
pub const MOVE_RETRY_LONGEST: Duration = Duration::from_secs(5);

/// How long the owner of an object that has moved may take to say that it knows.
pub const COPY_ANSWER_WAIT: Duration = Duration::from_secs(10);

/// Arguments on other nodes that are worth to run a task there, in bytes.
pub const LOCALITY_BYTES: u64 = 1 << 20;

/// Objects that come from other nodes at the same time; more wait.
pub const TRANSFERS_IN: usize = 8;

/// How many of these from the same node.
pub const TRANSFERS_IN_PER_SOURCE: usize = 4;

/// Parts of objects that are sent to other nodes at the same time; more wait.
pub const TRANSFERS_OUT: usize = 8;

/// Objects travel in parts of this size, each on any of several connections, in bytes.
pub const TRANSFER_PART_BYTES: u64 = 32 * 1024 * 1024;

/// The most connections that one object comes by.
pub const TRANSFER_STREAMS: u64 = 4;

/// Nodes that one node sends the same object to at the same time; more are sent to one of those.
pub const TRANSFER_FAN_OUT: usize = 2;

/// How often whoever asks for an object may be sent on.
pub const TRANSFER_HOPS: u32 = 8;

/// A transfer that gets no byte for so long fails: its source would be dead by now.
pub const TRANSFER_STALL: Duration = Duration::from_secs(25);

/// How long a connection for transfers is kept for the next one.
pub const TRANSFER_LINGER: Duration = Duration::from_secs(10);

/// Connections of other nodes for transfers; more are turned away.
pub const TRANSFER_CONNECTIONS: usize = 1024;
