//! Who is at the other end.

use std::os::fd::AsFd;

/// Whether two tokens are equal, in a time that does not tell where they differ.
pub fn same_token(expected: &str, given: &str) -> bool {
    let (expected, given) = (expected.as_bytes(), given.as_bytes());
    let mut difference = expected.len() ^ given.len();
    for (index, byte) in expected.iter().enumerate() {
        difference |= usize::from(byte ^ given.get(index).copied().unwrap_or(0));
    }
    difference == 0 && !expected.is_empty()
}

/// Whether the process at the other end of a Unix socket runs as our user, or as root.
pub(crate) fn is_same_user(socket: impl AsFd) -> bool {
    match rustix::net::sockopt::socket_peercred(socket) {
        Ok(peer) => peer.uid == rustix::process::geteuid() || peer.uid.is_root(),
        Err(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::same_token;

    #[test]
    fn only_the_same_token_is_the_same() {
        assert!(same_token("abc", "abc"));
        assert!(!same_token("abc", "abd"));
        assert!(!same_token("abc", "ab"));
        assert!(!same_token("abc", "abcd"));
        assert!(!same_token("", ""));
    }
}
