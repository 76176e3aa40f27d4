//! Visitors of all kinds.

use std::net::Ipv4Addr;

use super::*;

const BOUNDS: HttpBounds = HttpBounds {
    visitors: 3,
    exchange: Duration::from_millis(300),
    request_bytes: 2048,
};

/// A visitor that has its answer may hold its place for a moment yet, and a machine may be busy.
const PATIENT: HttpBounds = HttpBounds {
    visitors: 100,
    exchange: Duration::from_secs(20),
    ..BOUNDS
};

fn open() -> HttpDoor {
    open_for(BOUNDS)
}

fn open_for(bounds: HttpBounds) -> HttpDoor {
    let listener = HttpListener::bind(Ipv4Addr::LOCALHOST.into(), 0).unwrap();
    let pages = |path: &str| match path {
        "/page" => HttpAnswer::Page {
            content_type: "text/plain",
            body: b"hello".to_vec(),
        },
        "/long" => HttpAnswer::Page {
            content_type: "text/plain",
            body: vec![b'x'; 64 * 1024 * 1024],
        },
        "/nobody" => HttpAnswer::Unavailable,
        "/defect" => panic!("a defect of the page"),
        _ => HttpAnswer::NotFound,
    };
    listener.serve(bounds, pages).unwrap()
}

fn come(door: &HttpDoor) -> TcpStream {
    let stream = TcpStream::connect(door.address()).unwrap();
    stream
        .set_read_timeout(Some(Duration::from_secs(20)))
        .unwrap();
    stream
}

/// All that the door says to this.
fn ask(door: &HttpDoor, request: &[u8]) -> String {
    let mut stream = come(door);
    stream.write_all(request).unwrap();
    listen(&mut stream)
}

fn listen(stream: &mut TcpStream) -> String {
    let mut said = Vec::new();
    // A connection that is reset has been given up, too.
    let _ = stream.read_to_end(&mut said);
    String::from_utf8_lossy(&said).into_owned()
}

/// The page comes as soon as one of the places is free again.
fn page_comes(door: &HttpDoor) -> bool {
    (0..200).any(|_| {
        let is_there = ask(door, b"GET /page HTTP/1.1\r\n\r\n").ends_with("\r\n\r\nhello");
        if !is_there {
            std::thread::sleep(Duration::from_millis(20));
        }
        is_there
    })
}

#[test]
fn a_page_is_read() {
    let door = open_for(PATIENT);
    let said = ask(&door, b"GET /page?x=1 HTTP/1.1\r\nHost: here\r\n\r\n");
    assert_eq!(
        said,
        "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 5\r\n\
         Connection: close\r\n\r\nhello"
    );
    let head = ask(&door, b"HEAD /page HTTP/1.0\r\n\r\n");
    assert!(head.contains("Content-Length: 5\r\n") && head.ends_with("\r\n\r\n"));
}

#[test]
fn what_is_no_request_for_a_page_gets_its_status() {
    let door = open_for(PATIENT);
    let long = [b"GET /page HTTP/1.1\r\nX: ", &[b'y'; 4096][..]].concat();
    let crowded = [
        b"GET /page HTTP/1.1\r\n",
        &b"A: b\r\n".repeat(HEADERS + 1)[..],
    ]
    .concat();
    let body = [
        b"POST /page HTTP/1.1\r\nContent-Length: 5000\r\n\r\n",
        &[b'z'; 5000][..],
    ]
    .concat();
    let cases: [(&[u8], &str); 7] = [
        (b"GET /else HTTP/1.1\r\n\r\n", "404"),
        (b"GET /nobody HTTP/1.1\r\n\r\n", "503"),
        (b"\x16\x03\x01\x02\x00 hello", "400"),
        (b"GET  HTTP/9\r\n\r\n", "400"),
        (&long, "431"),
        (&crowded, "431"),
        (&body, "405"),
    ];
    for (request, status) in cases {
        let said = ask(&door, request);
        assert!(
            said.starts_with(&format!("HTTP/1.1 {status} ")),
            "{status}: {said:?}"
        );
    }
}

#[test]
fn slow_visitors_are_given_up_and_hold_up_nobody() {
    let door = open();
    let mut silent = come(&door);
    let mut halting = come(&door);
    halting.write_all(b"GET /pa").unwrap();
    assert!(page_comes(&door));
    for slow in [&mut silent, &mut halting] {
        assert!(listen(slow).starts_with("HTTP/1.1 408 "));
    }
}

#[test]
fn who_does_not_read_is_given_up() {
    let door = open();
    let mut deaf: Vec<TcpStream> = (0..BOUNDS.visitors).map(|_| come(&door)).collect();
    for visitor in &mut deaf {
        visitor.write_all(b"GET /long HTTP/1.1\r\n\r\n").unwrap();
    }
    assert!(page_comes(&door));
}

#[test]
fn more_than_there_are_places_for_are_turned_away() {
    let door = open();
    let waiting: Vec<TcpStream> = (0..BOUNDS.visitors).map(|_| come(&door)).collect();
    let is_turned_away = (0..20).any(|_| ask(&door, b"").is_empty());
    assert!(is_turned_away);
    drop(waiting);
    assert!(page_comes(&door));
}

#[test]
fn a_defect_costs_one_visitor() {
    let door = open();
    for _ in 0..BOUNDS.visitors + 1 {
        assert_eq!(ask(&door, b"GET /defect HTTP/1.1\r\n\r\n"), "");
    }
    assert!(page_comes(&door));
}

#[test]
fn a_closed_door_gives_its_port_back() {
    let door = open();
    let address = door.address();
    drop(door);
    let is_free = (0..200).any(|_| {
        std::thread::sleep(Duration::from_millis(10));
        HttpListener::bind(address.ip(), address.port()).is_ok()
    });
    assert!(is_free);
}

#[test]
fn a_taken_port_is_an_error() {
    let door = open();
    let second = HttpListener::bind(door.address().ip(), door.address().port());
    assert_eq!(
        second.err().map(|error| error.kind()),
        Some(io::ErrorKind::AddrInUse)
    );
}
