//! The token of the cluster: everyone who connects shows it before anything else is read.
//!
//! The variables are those that Ray reads (`RAY_AUTH_TOKEN`, `RAY_AUTH_TOKEN_PATH`, then
//! `~/.ray/auth_token`). A token never stands on a command line, which others can see.

use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use whipray_proto::ids;

use super::DaemonOptions;
use crate::session_files;

/// Why there is no token. The text is what the user reads.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    #[error("cannot read the token in {path}: {error}")]
    Read { path: String, error: io::Error },
    #[error("cannot write a new token to {path}: {error}")]
    Write { path: String, error: io::Error },
    #[error("the token in {0} is empty, or has blanks or line breaks in it")]
    Malformed(String),
    #[error(
        "a node shows the token of its cluster, and none is known here: copy the token file of the \
         head (`token` in the folder of its session) to this machine and name it with --token-file, \
         or put the token into the variable RAY_AUTH_TOKEN"
    )]
    Unknown,
}

/// The token of a new cluster: the one that is given, else a new one. A file that is named and not
/// there is made.
///
/// # Errors
/// What is given cannot be used.
pub fn of_new_cluster(options: &DaemonOptions) -> Result<String, TokenError> {
    if let Some(path) = options.token_file.as_deref().map(Path::new) {
        return match path.exists() {
            true => read(path),
            false => {
                let token = fresh();
                write_new(path, &token).map_err(|error| TokenError::Write {
                    path: path.display().to_string(),
                    error,
                })?;
                Ok(token)
            }
        };
    }
    // A cluster of one program is nobody else's business.
    if options.port.is_none() {
        return Ok(fresh());
    }
    Ok(of_environment()?.unwrap_or_else(fresh))
}

/// The token of the cluster at `address`, which is to be joined.
///
/// # Errors
/// None is known, or what is given cannot be used.
pub fn of_cluster(options: &DaemonOptions, address: &str) -> Result<String, TokenError> {
    if let Some(path) = &options.token_file {
        return read(Path::new(path));
    }
    if let Some(token) = of_environment()? {
        return Ok(token);
    }
    let of_this_machine = session_files::known_sessions()
        .into_iter()
        .find(|node| node.cluster_address == address);
    match of_this_machine {
        Some(node) => read(Path::new(&node.token_file)),
        None => Err(TokenError::Unknown),
    }
}

fn of_environment() -> Result<Option<String>, TokenError> {
    let variable = |name: &str| std::env::var(name).ok().filter(|text| !text.is_empty());
    if let Some(token) = variable("RAY_AUTH_TOKEN") {
        return checked(&token, "the variable RAY_AUTH_TOKEN").map(Some);
    }
    if let Some(path) = variable("RAY_AUTH_TOKEN_PATH") {
        return read(Path::new(&path)).map(Some);
    }
    let default = variable("HOME").map(|home| PathBuf::from(home).join(".ray/auth_token"));
    match default.filter(|path| path.exists()) {
        Some(path) => read(&path).map(Some),
        None => Ok(None),
    }
}

fn read(path: &Path) -> Result<String, TokenError> {
    let text = fs::read_to_string(path).map_err(|error| TokenError::Read {
        path: path.display().to_string(),
        error,
    })?;
    checked(&text, &path.display().to_string())
}

fn checked(text: &str, origin: &str) -> Result<String, TokenError> {
    let token = text.trim();
    if token.is_empty() || token.contains(char::is_whitespace) {
        return Err(TokenError::Malformed(origin.to_owned()));
    }
    Ok(token.to_owned())
}

fn fresh() -> String {
    ids::to_hex(&ids::random_bytes::<32>())
}

fn write_new(path: &Path, token: &str) -> io::Result<()> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    let mut file = fs::File::options()
        .create_new(true)
        .write(true)
        .mode(0o600)
        .open(path)?;
    file.write_all(token.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_token_file_that_is_not_there_is_made_for_its_user_alone()
    -> Result<(), Box<dyn std::error::Error>> {
        let folder = tempfile::tempdir()?;
        let path = folder.path().join("deep/token");
        let options = DaemonOptions {
            token_file: Some(path.display().to_string()),
            ..DaemonOptions::default()
        };
        let token = of_new_cluster(&options)?;
        assert_eq!(fs::metadata(&path)?.permissions().mode() & 0o777, 0o600);
        assert_eq!(of_new_cluster(&options)?, token);
        assert_eq!(of_cluster(&options, "anywhere:1")?, token);
        Ok(())
    }

    #[test]
    fn what_is_no_token_is_refused() {
        assert!(checked(" \n", "here").is_err());
        assert!(checked("two words", "here").is_err());
        assert!(checked(" word\n", "here").is_ok_and(|token| token == "word"));
    }
}
