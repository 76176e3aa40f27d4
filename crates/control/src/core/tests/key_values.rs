use super::*;
use whipray_proto::messages::cluster::{KeyValueReply, KeyValueRequest, KeyValueVerb};

fn ask(stage: &mut Stage, client: WorkerId, verb: KeyValueVerb, key: &str, value: &str) {
    let request = KeyValueRequest {
        request: 1,
        verb: verb as i32,
        namespace: "fn".to_owned(),
        key: Bytes::copy_from_slice(key.as_bytes()),
        value: Bytes::copy_from_slice(value.as_bytes()),
    };
    stage.say(client, request);
}

fn answer(stage: &mut Stage, verb: KeyValueVerb, key: &str, value: &str) -> KeyValueReply {
    let client = WorkerId::random();
    ask(stage, client, verb, key, value);
    match stage.told(client).pop() {
        Some(Message::KeyValueReply(reply)) => reply,
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_is_put_is_got_until_it_is_deleted() {
    let mut stage = Stage::new();
    assert!(!answer(&mut stage, KeyValueVerb::Get, "k", "").found);
    assert!(!answer(&mut stage, KeyValueVerb::Put, "k", "1").found);
    assert!(answer(&mut stage, KeyValueVerb::Put, "k", "2").found);
    assert!(answer(&mut stage, KeyValueVerb::PutNew, "k", "3").found);
    assert_eq!(
        &answer(&mut stage, KeyValueVerb::Get, "k", "").value[..],
        b"2"
    );
    assert!(answer(&mut stage, KeyValueVerb::Exists, "k", "").found);
    assert!(answer(&mut stage, KeyValueVerb::Delete, "k", "").found);
    assert!(!answer(&mut stage, KeyValueVerb::Delete, "k", "").found);
    assert!(!answer(&mut stage, KeyValueVerb::Exists, "k", "").found);
}

#[test]
fn keys_are_listed_by_their_beginning() {
    let mut stage = Stage::new();
    for key in ["ab", "abc", "b", "a"] {
        answer(&mut stage, KeyValueVerb::Put, key, "");
    }
    let keys = answer(&mut stage, KeyValueVerb::List, "ab", "").keys;
    assert_eq!(
        keys,
        [Bytes::from_static(b"ab"), Bytes::from_static(b"abc")]
    );
    assert_eq!(answer(&mut stage, KeyValueVerb::List, "", "").keys.len(), 4);
}

#[test]
fn who_waits_for_a_key_gets_it_once_it_is_there() {
    let mut stage = Stage::new();
    let (early, gone) = (WorkerId::random(), WorkerId::random());
    ask(&mut stage, early, KeyValueVerb::GetWhenThere, "k", "");
    ask(&mut stage, gone, KeyValueVerb::GetWhenThere, "k", "");
    assert!(stage.told(early).is_empty());
    stage.process_gone(gone);
    answer(&mut stage, KeyValueVerb::Put, "k", "v");
    assert!(
        matches!(&stage.told(early)[..], [Message::KeyValueReply(reply)]
        if reply.found && &reply.value[..] == b"v")
    );
    assert!(stage.told(gone).is_empty());
    assert_eq!(
        &answer(&mut stage, KeyValueVerb::GetWhenThere, "k", "").value[..],
        b"v"
    );
}

#[test]
fn a_request_without_a_number_has_no_answer() {
    let mut stage = Stage::new();
    let client = WorkerId::random();
    let put = KeyValueRequest {
        verb: KeyValueVerb::Put as i32,
        ..KeyValueRequest::default()
    };
    stage.say(client, put);
    assert!(stage.told(client).is_empty());
}

#[test]
fn values_are_kept_apart_by_namespace() -> Result<(), Box<dyn std::error::Error>> {
    let mut stage = Stage::new();
    answer(&mut stage, KeyValueVerb::Put, "k", "1");
    let other = KeyValueRequest {
        verb: KeyValueVerb::Put as i32,
        namespace: "f".to_owned(),
        key: Bytes::from_static(b"nk"),
        ..KeyValueRequest::default()
    };
    stage.say(WorkerId::random(), other);
    assert_eq!(stage.storage.read(Table::KeyValues)?.len(), 2);
    Ok(())
}
