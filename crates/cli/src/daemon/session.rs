//! The folder of a session, and the files in it.

use std::fs;
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::{DaemonOptions, StartError, token};
use crate::session_files::{self, CurrentCluster, NodeFile};

/// One life of a daemon, as it shows on disk.
pub struct Session {
    name: String,
    directory: PathBuf,
    temp_directory: PathBuf,
    token: String,
    is_detached: bool,
    /// It joined the cluster of another daemon.
    is_joined: bool,
}

impl Session {
    /// Makes the folder, for this user alone, with the token of the cluster in it.
    ///
    /// # Errors
    /// The folder for temporary files cannot be used, or there is no token.
    pub fn create(options: &DaemonOptions) -> Result<Self, StartError> {
        let token = match &options.address {
            None => token::of_new_cluster(options)?,
            Some(address) => token::of_cluster(options, address)?,
        };
        let temp_directory = match &options.temp_dir {
            Some(folder) => PathBuf::from(folder),
            None => session_files::default_temp_directory(),
        };
        let name = session_name(SystemTime::now(), std::process::id());
        let directory = temp_directory.join(&name);
        make_folders(&temp_directory, &directory).map_err(|error| StartError::TempDir {
            folder: temp_directory.display().to_string(),
            error,
        })?;
        write_private(&directory.join(session_files::TOKEN_FILE), token.as_bytes())?;
        let is_detached = options.is_detached;
        let session = Self {
            name,
            directory,
            temp_directory,
            token,
            is_detached,
            is_joined: options.address.is_some(),
        };
        session.link_latest();
        Ok(session)
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// The folder that has the folders of all sessions.
    pub fn temp_directory(&self) -> &Path {
        &self.temp_directory
    }

    pub fn log_directory(&self) -> PathBuf {
        self.directory.join("logs")
    }

    pub fn token(&self) -> &str {
        &self.token
    }

    /// Lets others find the daemon.
    ///
    /// # Errors
    /// The files cannot be written.
    pub fn publish(
        &self,
        endpoint: &str,
        tcp: Option<SocketAddr>,
        cluster_address: &str,
        node_ip: &str,
    ) -> Result<(), StartError> {
        let node = NodeFile {
            endpoint: endpoint.to_owned(),
            tcp: tcp.map(|address| address.to_string()),
            token_file: self
                .directory
                .join(session_files::TOKEN_FILE)
                .display()
                .to_string(),
            pid: std::process::id(),
            cluster_address: cluster_address.to_owned(),
            node_ip: node_ip.to_owned(),
            session_directory: self.directory.display().to_string(),
            is_detached: self.is_detached,
        };
        let text = serde_json::to_vec(&node)?;
        // A daemon that joins again has said before where it was.
        let path = self.directory.join(session_files::NODE_FILE);
        let fresh = path.with_extension("fresh");
        let _ = fs::remove_file(&fresh);
        write_private(&fresh, &text)?;
        fs::rename(&fresh, &path).map_err(|error| StartError::SessionFile {
            path: path.display().to_string(),
            error,
        })?;
        // A program that looks for any cluster finds the head, where that is on this machine, too.
        let has_better = self.is_joined
            && session_files::read_current_cluster().is_some_and(|current| {
                session_files::read_node_file(Path::new(&current.session_directory)).is_some()
            });
        if self.is_detached && !has_better {
            let current = CurrentCluster {
                address: cluster_address.to_owned(),
                session_directory: node.session_directory,
            };
            let text = serde_json::to_vec(&current)?;
            let path = session_files::current_cluster_path();
            make_temp_directory(&session_files::default_temp_directory())
                .and_then(|()| replace(&path, &text))
                .map_err(|error| StartError::SessionFile {
                    path: path.display().to_string(),
                    error,
                })?;
        }
        Ok(())
    }

    /// The daemon ends: nobody is to look for it any more. The logs stay.
    pub fn end(&self) {
        let _ = fs::remove_file(self.directory.join(session_files::NODE_FILE));
        let _ = fs::remove_file(self.directory.join(session_files::TOKEN_FILE));
        let _ = fs::remove_file(self.directory.join(session_files::METRICS_FILE));
        let ours = session_files::read_current_cluster()
            .is_some_and(|current| Path::new(&current.session_directory) == self.directory);
        if ours {
            let _ = fs::remove_file(session_files::current_cluster_path());
        }
    }

    /// The daemon never served: nothing is left of it.
    pub fn discard(&self) {
        self.end();
        let _ = fs::remove_dir_all(&self.directory);
    }

    /// `session_latest` leads to this session. A convenience: without it all else works.
    fn link_latest(&self) {
        let link = self.temp_directory.join("session_latest");
        let fresh = self
            .temp_directory
            .join(format!(".session_latest_{}", std::process::id()));
        let _ = fs::remove_file(&fresh);
        if symlink(&self.directory, &fresh).is_ok() && fs::rename(&fresh, &link).is_err() {
            let _ = fs::remove_file(&fresh);
        }
    }
}

fn make_folders(temp_directory: &Path, directory: &Path) -> io::Result<()> {
    make_temp_directory(temp_directory)?;
    fs::DirBuilder::new().mode(0o700).create(directory)?;
    fs::create_dir(directory.join("logs"))
}

/// Makes the folder that holds the sessions. The default one is shared by all users of the machine,
/// each of whom can only remove what is their own.
fn make_temp_directory(folder: &Path) -> io::Result<()> {
    if folder.is_dir() {
        return Ok(());
    }
    fs::create_dir_all(folder)?;
    if folder == session_files::default_temp_directory() {
        fs::set_permissions(folder, fs::Permissions::from_mode(0o1777))?;
    }
    Ok(())
}

fn write_private(path: &Path, content: &[u8]) -> Result<(), StartError> {
    let write = || -> io::Result<()> {
        let mut file = fs::File::options()
            .create_new(true)
            .write(true)
            .mode(0o600)
            .open(path)?;
        io::Write::write_all(&mut file, content)
    };
    write().map_err(|error| StartError::SessionFile {
        path: path.display().to_string(),
        error,
    })
}

/// Writes a file so that readers see the old content or the new one, never a part.
fn replace(path: &Path, content: &[u8]) -> io::Result<()> {
    let fresh = path.with_extension(std::process::id().to_string());
    fs::write(&fresh, content)?;
    fs::rename(&fresh, path).inspect_err(|_| {
        let _ = fs::remove_file(&fresh);
    })
}

/// `session_2026-01-31_13-05-59_012345_77`, in UTC.
fn session_name(time: SystemTime, pid: u32) -> String {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    let (year, month, day) = civil_date(since.as_secs() / 86_400);
    let second = since.as_secs() % 86_400;
    format!(
        "session_{year:04}-{month:02}-{day:02}_{:02}-{:02}-{:02}_{:06}_{pid}",
        second / 3600,
        second / 60 % 60,
        second % 60,
        since.subsec_micros()
    )
}

/// Year, month and day of a number of days since 1970, by the Gregorian calendar. Counts from the
/// first of March, so that the day that leap years add is the last one of a year.
fn civil_date(days_since_1970: u64) -> (u64, u64, u64) {
    let days = days_since_1970 + 719_468;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 {
        month_from_march + 3
    } else {
        month_from_march - 9
    };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    (year, month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sessions_are_named_by_date_and_process() {
        let time = UNIX_EPOCH + Duration::from_micros(1_709_210_096_012_345);
        assert_eq!(
            session_name(time, 77),
            "session_2024-02-29_12-34-56_012345_77"
        );
    }

    #[test]
    fn dates_are_right_at_their_edges() {
        assert_eq!(civil_date(0), (1970, 1, 1));
        assert_eq!(civil_date(19_782), (2024, 2, 29));
        assert_eq!(civil_date(19_783), (2024, 3, 1));
        assert_eq!(civil_date(20_088), (2024, 12, 31));
        assert_eq!(civil_date(47_540), (2100, 2, 28));
        assert_eq!(civil_date(47_541), (2100, 3, 1));
    }

    #[test]
    fn the_token_is_for_its_user_alone() -> Result<(), Box<dyn std::error::Error>> {
        let folder = tempfile::tempdir()?;
        let options = DaemonOptions {
            temp_dir: Some(folder.path().join("deep").display().to_string()),
            ..DaemonOptions::default()
        };
        let session = Session::create(&options)?;
        let mode = |path: PathBuf| fs::metadata(path).map(|data| data.permissions().mode() & 0o777);
        assert_eq!(mode(session.directory().to_owned())?, 0o700);
        assert_eq!(mode(session.directory().join("token"))?, 0o600);
        assert_eq!(
            fs::read_to_string(session.directory().join("token"))?,
            session.token()
        );
        assert_eq!(session.token().len(), 64);
        let latest = fs::read_link(folder.path().join("deep").join("session_latest"))?;
        assert_eq!(latest, session.directory());
        Ok(())
    }

    #[test]
    fn a_daemon_that_joins_again_says_anew_where_it_is() -> Result<(), Box<dyn std::error::Error>> {
        let folder = tempfile::tempdir()?;
        let options = DaemonOptions {
            temp_dir: Some(folder.path().display().to_string()),
            ..DaemonOptions::default()
        };
        let session = Session::create(&options)?;
        for endpoint in ["unix:@first", "unix:@second"] {
            session.publish(endpoint, None, "10.0.0.1:6379", "10.0.0.2")?;
            let node = session_files::read_node_file(session.directory());
            assert_eq!(node.map(|node| node.endpoint).as_deref(), Some(endpoint));
        }
        let path = session.directory().join(session_files::NODE_FILE);
        assert_eq!(fs::metadata(path)?.permissions().mode() & 0o777, 0o600);
        Ok(())
    }

    #[test]
    fn a_folder_that_cannot_be_made_is_named() {
        let options = DaemonOptions {
            temp_dir: Some("/proc/nowhere".into()),
            ..DaemonOptions::default()
        };
        let error = Session::create(&options)
            .err()
            .map(|error| error.to_string());
        assert!(error.is_some_and(|text| text.contains("/proc/nowhere")));
    }
}
