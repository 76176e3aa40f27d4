use std::error::Error;
use std::io::Read;

use object_store::memory::InMemory;

use super::*;

type Outcome = Result<(), Box<dyn Error>>;

const MIB: usize = 1024 * 1024;

fn bucket() -> Result<(Arc<InMemory>, Bucket), Box<dyn Error>> {
    let store = Arc::new(InMemory::new());
    let address = Address::parse("s3://bucket/path")?;
    let bucket = Bucket::over(store.clone(), address)?;
    Ok((store, bucket))
}

fn write(bucket: &Bucket, name: &str, data: &[u8]) -> Result<String, BucketError> {
    // Chunks that are cut nowhere near the parts.
    let chunks = data.chunks(3 * MIB + 7).map(Ok);
    bucket.write(name, data.len() as u64, chunks)
}

fn read(
    bucket: &Bucket,
    file: &str,
    offset: usize,
    length: usize,
) -> Result<Vec<u8>, Box<dyn Error>> {
    let mut target = tempfile::tempfile()?;
    bucket.read(file, offset as u64, length as u64, &target)?;
    let mut data = Vec::new();
    target.read_to_end(&mut data)?;
    Ok(data)
}

fn names(store: &InMemory) -> Result<Vec<String>, Box<dyn Error>> {
    let runtime = tokio::runtime::Builder::new_current_thread().build()?;
    let listed = runtime.block_on(store.list(None).try_collect::<Vec<_>>())?;
    Ok(listed
        .iter()
        .map(|file| file.location.to_string())
        .collect())
}

#[test]
fn parts_of_files_come_back_as_they_were() -> Outcome {
    let (_, bucket) = bucket()?;
    let data: Vec<u8> = (0..35 * MIB).map(|at| (at % 251) as u8).collect();
    for size in [0, 1, 16 * MIB, 16 * MIB + 1, data.len()] {
        let name = size.to_string();
        let file = write(&bucket, &name, &data[..size])?;
        assert_eq!(file, format!("s3://bucket/path/folder/{size}"));
        assert!(bucket.owns(&file));
        assert!(read(&bucket, &file, 0, size)? == data[..size]);
    }
    let file = format!("s3://bucket/path/folder/{}", data.len());
    let (offset, length) = (5 * MIB + 1, 20 * MIB + 3);
    assert!(read(&bucket, &file, offset, length)? == data[offset..offset + length]);
    assert!(
        read(&bucket, &file, 30 * MIB, 6 * MIB).is_err(),
        "beyond the end"
    );
    Ok(())
}

#[test]
fn files_go_one_by_one_and_with_the_session() -> Outcome {
    let (store, bucket) = bucket()?;
    let beside = Path::from("path/folder_of_another/1");
    let runtime = tokio::runtime::Builder::new_current_thread().build()?;
    runtime.block_on(store.put(&beside, "x".into()))?;
    let files: Vec<String> = (0..3)
        .map(|number| write(&bucket, &number.to_string(), b"hello"))
        .collect::<Result<_, _>>()?;
    bucket.remove(&files[1])?;
    bucket.remove(&files[1])?;
    assert!(read(&bucket, &files[1], 0, 5).is_err());
    assert_eq!(names(&store)?.len(), 3);
    bucket.end(Duration::from_secs(60))?;
    assert_eq!(names(&store)?, [beside.to_string()]);
    let Err(error) = write(&bucket, "4", b"late") else {
        return Err("something was written after the end".into());
    };
    assert_eq!(error.to_string(), "s3://bucket/path: the session ends");
    Ok(())
}

#[test]
fn files_of_other_buckets_are_not_ours() -> Outcome {
    let (_, bucket) = bucket()?;
    assert!(!bucket.owns("s3://bucket/path/folder_of_another/1"));
    assert!(bucket.remove("s3://other/path/folder/1").is_err());
    Ok(())
}

#[test]
fn a_chunk_that_cannot_be_read_is_the_reason() -> Outcome {
    let (store, bucket) = bucket()?;
    let first = vec![0; 20 * MIB];
    let chunks = [Ok(&first[..]), Err(io::Error::other("no such range"))];
    let Err(error) = bucket.write("1", 30 * MIB as u64, chunks.into_iter()) else {
        return Err("half a file was written".into());
    };
    assert!(error.to_string().ends_with("no such range"), "{error}");
    assert_eq!(names(&store)?, Vec::<String>::new());
    Ok(())
}

#[test]
fn nothing_is_asked_of_a_bucket_that_was_not_used() -> Outcome {
    let bucket = Bucket::new(Address::parse("s3://nowhere/path")?, "folder");
    bucket.end(Duration::ZERO)?;
    Ok(())
}
