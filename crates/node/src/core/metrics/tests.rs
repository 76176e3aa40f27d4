//! Stories of processes with metrics, and of those who read them.

use whipray_proto::Message;
use whipray_proto::messages::metrics::{MetricKind, MetricSeries};
use whipray_proto::messages::session::Goodbye;

use super::super::tests::{SECOND, SEGFAULT, Stage, cpus};
use super::*;

fn series(tag_values: &[&str], value: f64, buckets: &[u64]) -> MetricSeries {
    MetricSeries {
        tag_values: tag_values.iter().map(|it| (*it).to_owned()).collect(),
        value,
        buckets: buckets.to_vec(),
    }
}

fn family(name: &str, kind: MetricKind, series: Vec<MetricSeries>) -> MetricFamily {
    MetricFamily {
        name: name.to_owned(),
        kind: kind as i32,
        series,
        ..MetricFamily::default()
    }
}

fn counter(value: f64) -> Vec<MetricFamily> {
    vec![family(
        "calls",
        MetricKind::Counter,
        vec![series(&[], value, &[])],
    )]
}

fn said(worker: u8, families: Vec<MetricFamily>) -> Arc<ProcessMetrics> {
    Arc::new(ProcessMetrics {
        worker: WorkerId::from_array([worker; 28]),
        families,
        dropped: 0,
    })
}

/// Lines of a page without the labels that say where a value comes from.
fn lines(page: &Page) -> Vec<String> {
    let text = page.text();
    let lines = text.lines().map(|line| {
        let Some((name, rest)) = line.split_once("{Component=") else {
            return line.to_owned();
        };
        let (_, rest) = rest.split_once("WorkerId=\"").unwrap();
        let (_, rest) = rest.split_once('"').unwrap();
        format!("{name}{{{}", rest.trim_start_matches(','))
    });
    lines.collect()
}

impl Stage {
    fn metrics(&mut self, client: ClientId, request: u64, families: Vec<MetricFamily>) {
        let reported = MetricsReported {
            request,
            families,
            dropped: 0,
        };
        self.say(client, reported);
    }

    fn read(&mut self, reading: u64) {
        self.node.on_reading(reading, None, self.now);
        self.wait(0);
    }

    /// The requests for metrics that this client got since the last look at anybody's.
    fn metrics_requests(&mut self, client: ClientId) -> Vec<u64> {
        let effects = self.effects.iter();
        let requests = effects.filter_map(|effect| match effect {
            Effect::Send {
                client: to,
                message: Message::MetricsRequest(request),
            } if *to == client => Some(request.request),
            _ => None,
        });
        requests.collect()
    }

    /// The pages that were given out, by their readers.
    fn pages(&mut self) -> Vec<(u64, Page)> {
        let effects = std::mem::take(&mut self.effects);
        let pages = effects.into_iter().filter_map(|effect| match effect {
            Effect::MetricsRead { reading, page } => Some((reading, *page)),
            _ => None,
        });
        pages.collect()
    }
}

/// The values of the counter of these tests on a page.
fn calls(page: &Page) -> Vec<String> {
    let lines = lines(page).into_iter();
    let calls = lines.filter(|line| line.starts_with("ray_calls_total"));
    calls.collect()
}

#[test]
fn the_text_is_what_prometheus_reads() {
    let histogram = MetricFamily {
        description: "how long".to_owned(),
        tag_keys: vec!["le".to_owned(), "place".to_owned()],
        boundaries: vec![0.5, 10.0],
        ..family(
            "seconds",
            MetricKind::Histogram,
            vec![series(&["dropped", "here"], 20.25, &[1, 2, 1])],
        )
    };
    let gauge = MetricFamily {
        description: "one\ntwo \\ \"three\"".to_owned(),
        tag_keys: ["a-b", "WorkerId", "1st", "a_b"].map(str::to_owned).into(),
        ..family(
            "level",
            MetricKind::Gauge,
            vec![series(
                &["x\"y\\z\nü", "mine", "", "again"],
                f64::INFINITY,
                &[],
            )],
        )
    };
    let named = family(
        "done_total",
        MetricKind::Counter,
        vec![series(&[], 1e17, &[])],
    );
    let empty = family("never", MetricKind::Counter, Vec::new());
    let page = Page {
        node_ip: "10.0.0.1".to_owned(),
        session_name: "s".to_owned(),
        processes: vec![said(0xab, vec![histogram, gauge, named, empty])],
        ..Page::default()
    };
    let worker = "ab".repeat(28);
    let from = format!(
        "Component=\"core_worker\",NodeAddress=\"10.0.0.1\",SessionName=\"s\",\
         Version=\"2.60.0\",WorkerId=\"{worker}\""
    );
    let expected = format!(
        "# HELP ray_done_total \n\
         # TYPE ray_done_total counter\n\
         ray_done_total{{{from}}} 1e17\n\
         # HELP ray_level one\\ntwo \\\\ \"three\"\n\
         # TYPE ray_level gauge\n\
         ray_level{{{from},a_b=\"x\\\"y\\\\z\\nü\",_1st=\"\"}} +Inf\n\
         # HELP ray_seconds how long\n\
         # TYPE ray_seconds histogram\n\
         ray_seconds_bucket{{{from},place=\"here\",le=\"0.5\"}} 1.0\n\
         ray_seconds_bucket{{{from},place=\"here\",le=\"10.0\"}} 3.0\n\
         ray_seconds_bucket{{{from},place=\"here\",le=\"+Inf\"}} 4.0\n\
         ray_seconds_count{{{from},place=\"here\"}} 4.0\n\
         ray_seconds_sum{{{from},place=\"here\"}} 20.25\n"
    );
    assert_eq!(page.text(), expected);
}

#[test]
fn one_name_is_one_kind_and_stands_together() {
    let gauge = |value| {
        vec![family(
            "calls_total",
            MetricKind::Gauge,
            vec![series(&[], value, &[])],
        )]
    };
    let page = Page {
        processes: vec![
            said(3, gauge(9.0)),
            said(1, counter(1.0)),
            said(2, counter(2.0)),
        ],
        ..Page::default()
    };
    let expected = [
        "# HELP ray_calls_total ",
        "# TYPE ray_calls_total counter",
        "ray_calls_total{} 1.0",
        "ray_calls_total{} 2.0",
    ];
    assert_eq!(lines(&page), expected);
}

#[test]
fn whoever_reads_gets_what_the_processes_say_then() {
    let mut stage = Stage::new(cpus(1.0));
    let (driver, _) = stage.driver();
    let (other, _) = stage.driver();
    stage.metrics(driver, 0, counter(1.0));
    assert!(stage.effects.contains(&Effect::OpenMetricsDoor));
    stage.node.on_metrics_door(1234);
    stage.effects.clear();
    stage.read(7);
    assert!(stage.metrics_requests(other).is_empty());
    let requests = stage.metrics_requests(driver);
    assert_eq!((requests.len(), stage.pages().len()), (1, 0));
    stage.metrics(driver, requests[0], counter(5.0));
    let pages = stage.pages();
    assert_eq!((pages.len(), pages[0].0), (1, 7));
    assert_eq!(calls(&pages[0].1), ["ray_calls_total{} 5.0"]);
}

#[test]
fn nobody_is_asked_where_there_are_no_metrics() {
    let mut stage = Stage::new(cpus(2.0));
    stage.driver();
    stage.read(1);
    let pages = stage.pages();
    let shown = lines(&pages[0].1);
    let cpu = "ray_resources{Name=\"CPU\",State=\"AVAILABLE\"} 2.0".to_owned();
    assert!(shown.contains(&cpu), "{shown:#?}");
    assert_eq!(stage.node.metrics.port(), 0);
}

#[test]
fn who_does_not_answer_is_shown_as_before() {
    let mut stage = Stage::new(cpus(1.0));
    let (driver, _) = stage.driver();
    stage.metrics(driver, 0, counter(1.0));
    stage.read(1);
    assert_eq!(stage.pages().len(), 0);
    stage.wait(micros(limits::INQUIRY_WAIT));
    let pages = stage.pages();
    assert_eq!(calls(&pages[0].1), ["ray_calls_total{} 1.0"]);
    let silent = "whipray_metrics_silent_processes{} 1.0".to_owned();
    assert!(lines(&pages[0].1).contains(&silent));
    // An answer that comes too late is still news.
    stage.metrics(driver, 1, counter(2.0));
    assert_eq!(stage.pages().len(), 0);
}

#[test]
fn counters_of_a_killed_process_stay_and_its_gauges_go() {
    let mut stage = Stage::new(cpus(1.0));
    let (driver, job) = stage.driver();
    stage.target(driver, 1, job, 1);
    let worker = stage.start_workers()[0];
    let client = stage.worker_clients[&worker];
    let mut families = counter(3.0);
    families.push(family(
        "level",
        MetricKind::Gauge,
        vec![series(&[], 1.0, &[])],
    ));
    stage.metrics(client, 0, families);
    stage.read(1);
    assert_eq!(stage.pages().len(), 0);
    // Whoever reads does not wait for the dead.
    stage.exited(worker, SEGFAULT);
    let pages = stage.pages();
    assert_eq!(calls(&pages[0].1), ["ray_calls_total{} 3.0"]);
    assert!(!pages[0].1.text().contains("ray_level"));
    assert!(pages[0].1.text().contains(&worker.to_hex()));
}

#[test]
fn a_process_that_is_let_go_says_its_last_values() {
    let mut stage = Stage::new(cpus(1.0));
    let (driver, job) = stage.driver();
    stage.target(driver, 1, job, 1);
    let worker = stage.start_workers()[0];
    let client = stage.worker_clients[&worker];
    let lease = stage.node.leases.keys().copied().next().unwrap();
    stage.metrics(client, 0, counter(1.0));
    let give_back = whipray_proto::messages::lease::LeaseReturn {
        lease,
        end_worker: true,
    };
    stage.say(driver, give_back);
    assert!(!stage.is_closed(client));
    let requests = stage.metrics_requests(client);
    stage.metrics(client, requests[0], counter(4.0));
    assert!(stage.is_closed(client));
    stage.exited(worker, 0);
    stage.read(1);
    assert_eq!(calls(&stage.pages()[0].1), ["ray_calls_total{} 4.0"]);
}

#[test]
fn a_process_that_is_let_go_and_says_nothing_is_not_waited_for_long() {
    let mut stage = Stage::new(cpus(1.0));
    let (driver, job) = stage.driver();
    stage.target(driver, 1, job, 1);
    let worker = stage.start_workers()[0];
    let client = stage.worker_clients[&worker];
    stage.metrics(client, 0, counter(1.0));
    let lease = stage.node.leases.keys().copied().next().unwrap();
    stage.target(driver, 1, job, 0);
    stage.give_back(driver, lease);
    stage.control(whipray_proto::link::ControlSays::JobEnded { job });
    assert!(!stage.is_closed(client));
    stage.wait(2 * SECOND);
    assert!(stage.is_closed(client));
}

#[test]
fn a_process_whose_owner_is_gone_says_its_last_values_before_it_is_killed() {
    let mut stage = Stage::new(cpus(2.0));
    let (driver, job) = stage.driver();
    stage.target(driver, 1, job, 2);
    let workers = stage.start_workers();
    let client = stage.worker_clients[&workers[0]];
    stage.metrics(client, 0, counter(1.0));
    stage.gone(driver);
    assert!(!stage.is_killed(workers[0]) && stage.is_killed(workers[1]));
    let requests = stage.metrics_requests(client);
    stage.metrics(client, requests[0], counter(4.0));
    assert!(stage.is_killed(workers[0]));
    stage.exited(workers[0], 9);
    stage.read(1);
    assert_eq!(calls(&stage.pages()[0].1), ["ray_calls_total{} 4.0"]);
}

#[test]
fn what_a_driver_hands_over_stays() {
    let mut stage = Stage::new(cpus(1.0));
    let (driver, _) = stage.driver();
    stage.metrics(driver, 0, counter(1.0));
    stage.metrics(driver, 0, counter(2.0));
    stage.say(driver, Goodbye::default());
    stage.gone(driver);
    stage.read(1);
    assert_eq!(calls(&stage.pages()[0].1), ["ray_calls_total{} 2.0"]);
}

#[test]
fn what_the_departed_leave_is_bounded_and_nothing_of_it_is_lost() {
    let mut departed = Departed::default();
    let of_one = |value: f64| {
        let many = (0..limits::METRIC_SERIES_DEPARTED / 2)
            .map(|index| series(&[&index.to_string()], value, &[]));
        let buckets = MetricFamily {
            boundaries: vec![1.0],
            ..family(
                "sizes",
                MetricKind::Histogram,
                vec![series(&[], value, &[1, 2])],
            )
        };
        let many = MetricFamily {
            tag_keys: vec!["index".to_owned()],
            ..family("calls", MetricKind::Counter, many.collect())
        };
        vec![many, buckets]
    };
    for process in 1..=4 {
        departed.add(said(process, of_one(f64::from(process))));
    }
    assert_eq!(departed.recent().count(), 1);
    let page = Page {
        departed: Arc::new(departed),
        ..Page::default()
    };
    let of_first: Vec<String> = lines(&page)
        .into_iter()
        .filter(|line| line.starts_with("ray_calls_total{index=\"0\"}") || line.contains("_bucket"))
        .collect();
    let expected = [
        "ray_calls_total{index=\"0\"} 4.0",
        "ray_calls_total{index=\"0\"} 6.0",
        "ray_sizes_bucket{le=\"1.0\"} 1.0",
        "ray_sizes_bucket{le=\"+Inf\"} 3.0",
        "ray_sizes_bucket{le=\"1.0\"} 3.0",
        "ray_sizes_bucket{le=\"+Inf\"} 9.0",
    ];
    assert_eq!(of_first, expected);
}

#[test]
fn sums_without_room_are_counted() {
    let mut departed = Departed::default();
    for process in 1..=3 {
        let many = (0..limits::METRIC_SERIES_DEPARTED)
            .map(|index| series(&[&format!("{process} {index}")], 1.0, &[]));
        let calls = MetricFamily {
            tag_keys: vec!["index".to_owned()],
            ..family("calls", MetricKind::Counter, many.collect())
        };
        departed.add(said(process, vec![calls]));
    }
    assert_eq!(departed.dropped, 4096);
}
