use super::*;
use std::fs;
use std::io::Write;
use std::path::Path;

fn places(directories: &[&Path], full_share: f64) -> SpillPlaces {
    let folders = directories.iter().map(|path| path.to_path_buf());
    SpillPlaces::new(SpillSites {
        sites: folders.map(SpillSite::Folder).collect(),
        local_directory: PathBuf::from("/proc/nowhere"),
        full_share,
        session_name: "session_1".to_owned(),
    })
}

/// Cannot be written below this folder, if one is given.
struct Hello<'a>(Option<&'a Path>);

impl Content for Hello<'_> {
    fn size_bytes(&self) -> u64 {
        5
    }

    fn write_to(&self, mut file: &File) -> io::Result<()> {
        let descriptor = std::os::fd::AsRawFd::as_raw_fd(file);
        let path = fs::read_link(format!("/proc/self/fd/{descriptor}"))?;
        if self.0.is_some_and(|folder| path.starts_with(folder)) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        file.write_all(b"hello")
    }

    fn chunks(&self) -> impl Iterator<Item = io::Result<&[u8]>> {
        std::iter::once(Ok(&b"hello"[..]))
    }
}

fn write(places: &SpillPlaces, name: &str) -> Result<String, DiskError> {
    let place = places.write(name, &Hello(None))?;
    Ok(place.address().to_string())
}

#[test]
fn directories_take_turns_and_nothing_stays() -> Result<(), Box<dyn std::error::Error>> {
    let (one, two) = (tempfile::tempdir()?, tempfile::tempdir()?);
    let places = places(&[&one.path().join("deep"), two.path()], 1.0);
    let first = write(&places, "1")?;
    let second = write(&places, "2")?;
    assert!(first.starts_with(one.path().to_str().unwrap_or_default()));
    assert!(second.starts_with(two.path().to_str().unwrap_or_default()));
    assert_eq!(fs::read(&first)?, b"hello");
    places.end();
    assert_eq!(fs::read_dir(one.path().join("deep"))?.count(), 0);
    assert_eq!(fs::read_dir(two.path())?.count(), 0);
    assert!(write(&places, "3").is_err());
    Ok(())
}

#[test]
fn a_full_directory_is_passed_over() -> io::Result<()> {
    let (one, two) = (tempfile::tempdir()?, tempfile::tempdir()?);
    let places = places(&[one.path(), two.path()], 1.0);
    for name in ["1", "2"] {
        let path = places.write(name, &Hello(Some(one.path())));
        let path = path.map_err(io::Error::other)?;
        assert!(Path::new(&**path.address()).starts_with(two.path()));
    }
    Ok(())
}

#[test]
fn a_full_disk_is_told_from_one_that_fails() -> io::Result<()> {
    let folder = tempfile::tempdir()?;
    let full = write(&places(&[folder.path()], 0.0), "1");
    assert!(matches!(full, Err(DiskError::Full(_))), "{full:?}");
    let failed = write(&places(&[Path::new("/proc/nowhere")], 1.0), "1");
    assert!(matches!(failed, Err(DiskError::Failed(_))), "{failed:?}");
    Ok(())
}

#[test]
fn only_the_dead_are_cleaned_up_after() -> Result<(), Box<dyn std::error::Error>> {
    let folder = tempfile::tempdir()?;
    let alive = places(&[folder.path()], 1.0);
    let kept = write(&alive, "1")?;
    let dead = folder.path().join("whipray_spilled_session_0");
    fs::create_dir(&dead)?;
    fs::write(dead.join("lock"), "")?;
    fs::write(dead.join("1"), "old")?;
    let new = folder.path().join("whipray_spilled_session_2");
    fs::create_dir(&new)?;
    let others = folder.path().join("precious");
    fs::create_dir(&others)?;
    alive.remove_stale();
    assert!(!dead.exists());
    assert!(new.exists() && others.exists() && Path::new(&kept).exists());
    Ok(())
}

/// Nothing listens there: what goes to the bucket comes to nothing.
fn in_bucket(local: &Path) -> Result<SpillPlaces, Box<dyn std::error::Error>> {
    Ok(SpillPlaces::new(SpillSites {
        sites: vec![SpillSite::Bucket(Address::parse("az://container/path")?)],
        local_directory: local.to_owned(),
        full_share: 1.0,
        session_name: "session_1".to_owned(),
    }))
}

#[test]
fn what_programs_write_is_on_this_machine() -> Result<(), Box<dyn std::error::Error>> {
    let local = tempfile::tempdir()?;
    let places = in_bucket(local.path())?;
    let FilePlace::Folder(path) = places.reserve("1", 100)? else {
        return Err("programs cannot write into buckets".into());
    };
    assert_eq!(fs::metadata(&*path)?.len(), 100);
    places.end();
    assert_eq!(fs::read_dir(local.path())?.count(), 0);
    Ok(())
}

#[test]
fn what_a_bucket_says_is_told() -> Result<(), Box<dyn std::error::Error>> {
    let local = tempfile::tempdir()?;
    // The account is in the environment, and not in that of tests.
    let error = write(&in_bucket(local.path())?, "1");
    let Err(DiskError::Failed(text)) = error else {
        return Err(format!("{error:?}").into());
    };
    assert!(text.contains("az://container/path: "), "{text}");
    let from = "s3://elsewhere/1";
    let Err(error) = in_bucket(local.path())?.fetch("2", from, 0, 5) else {
        return Err("it came from nowhere".into());
    };
    assert!(error.to_string().contains(from), "{error}");
    Ok(())
}
