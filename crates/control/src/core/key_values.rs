//! The key-value store of the cluster.

use std::collections::BTreeMap;

use bytes::{BufMut, Bytes, BytesMut};
use rustc_hash::FxHashMap;
use whipray_proto::WorkerId;
use whipray_proto::messages::cluster::{KeyValueReply, KeyValueRequest, KeyValueVerb};

use super::Control;
use crate::storage::Table;

/// Someone who waits for a key, with the number of the question.
type Waiter = (WorkerId, u64);

/// All keys with their values, apart by namespace.
#[derive(Default)]
pub struct KeyValues {
    namespaces: FxHashMap<String, BTreeMap<Bytes, Bytes>>,
    waiters: FxHashMap<(String, Bytes), Vec<Waiter>>,
}

impl KeyValues {
    fn get(&self, namespace: &str, key: &Bytes) -> Option<&Bytes> {
        self.namespaces.get(namespace)?.get(key)
    }

    /// A process is gone, and waits for nothing.
    pub fn forget(&mut self, process: WorkerId) {
        if self.waiters.is_empty() {
            return;
        }
        self.waiters.retain(|_, waiters| {
            waiters.retain(|(client, _)| *client != process);
            !waiters.is_empty()
        });
    }
}

impl Control {
    pub(super) fn key_value(&mut self, client: WorkerId, request: KeyValueRequest) {
        let verb = request.verb();
        let KeyValueRequest {
            request: number,
            namespace,
            key,
            value,
            ..
        } = request;
        let existing = self.key_values.get(&namespace, &key).cloned();
        let found = existing.is_some();
        let mut reply = KeyValueReply {
            request: number,
            found,
            ..KeyValueReply::default()
        };
        match verb {
            KeyValueVerb::Get => reply.value = existing.unwrap_or_default(),
            KeyValueVerb::Exists => {}
            KeyValueVerb::Put => self.put(namespace, key, value),
            KeyValueVerb::PutNew if found => {}
            KeyValueVerb::PutNew => self.put(namespace, key, value),
            KeyValueVerb::Delete => self.delete(&namespace, &key),
            KeyValueVerb::List => {
                if let Some(keys) = self.key_values.namespaces.get(&namespace) {
                    let of_prefix = keys.range(key.clone()..).map(|(name, _)| name);
                    reply.keys = of_prefix
                        .take_while(|name| name.starts_with(&key))
                        .cloned()
                        .collect();
                }
            }
            KeyValueVerb::GetWhenThere => match existing {
                Some(value) => reply.value = value,
                None => {
                    let waiters = self.key_values.waiters.entry((namespace, key)).or_default();
                    waiters.push((client, number));
                    return;
                }
            },
        }
        if number != 0 {
            self.tell(client, reply);
        }
    }

    fn put(&mut self, namespace: String, key: Bytes, value: Bytes) {
        self.keep(
            Table::KeyValues,
            storage_key(&namespace, &key),
            Some(value.clone()),
        );
        let waiters = if self.key_values.waiters.is_empty() {
            Vec::new()
        } else {
            let waited_for = (namespace.clone(), key.clone());
            self.key_values
                .waiters
                .remove(&waited_for)
                .unwrap_or_default()
        };
        for (client, request) in waiters {
            let keys = Vec::new();
            self.tell(
                client,
                KeyValueReply {
                    request,
                    found: true,
                    value: value.clone(),
                    keys,
                },
            );
        }
        self.key_values
            .namespaces
            .entry(namespace)
            .or_default()
            .insert(key, value);
    }

    fn delete(&mut self, namespace: &str, key: &Bytes) {
        let Some(keys) = self.key_values.namespaces.get_mut(namespace) else {
            return;
        };
        if keys.remove(key).is_some() {
            if keys.is_empty() {
                self.key_values.namespaces.remove(namespace);
            }
            self.keep(Table::KeyValues, storage_key(namespace, key), None);
        }
    }
}

/// The length of the namespace (four bytes, little-endian), the namespace, the key.
fn storage_key(namespace: &str, key: &[u8]) -> Bytes {
    let mut bytes = BytesMut::with_capacity(4 + namespace.len() + key.len());
    bytes.put_u32_le(namespace.len() as u32);
    bytes.put_slice(namespace.as_bytes());
    bytes.put_slice(key);
    bytes.freeze()
}
