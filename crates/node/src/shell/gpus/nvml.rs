//! NVIDIA's management library, as far as devices are listed by it.

use std::ffi::{CStr, c_char, c_int, c_uint, c_void};

use libloading::{Library, Symbol};

use super::Device;

const LIBRARY: &str = "libnvidia-ml.so.1";
const SUCCESS: c_int = 0;
/// The longest text that the library writes for a name or a UUID.
const TEXT_BYTES: usize = 96;
const PARTITIONED: c_uint = 1;

type Handle = *mut c_void;
type Init = unsafe extern "C" fn() -> c_int;
type Count = unsafe extern "C" fn(*mut c_uint) -> c_int;
type ByIndex = unsafe extern "C" fn(c_uint, *mut Handle) -> c_int;
type Text = unsafe extern "C" fn(Handle, *mut c_char, c_uint) -> c_int;
type Mode = unsafe extern "C" fn(Handle, *mut c_uint, *mut c_uint) -> c_int;
type CountOf = unsafe extern "C" fn(Handle, *mut c_uint) -> c_int;
type PartByIndex = unsafe extern "C" fn(Handle, c_uint, *mut Handle) -> c_int;

/// Why the library tells nothing.
#[derive(Debug, thiserror::Error)]
pub enum NvmlError {
    #[error("{LIBRARY} cannot be used: {0}")]
    Library(#[from] libloading::Error),
    #[error("{LIBRARY} answers with error {0}")]
    Code(c_int),
}

fn check(code: c_int) -> Result<(), NvmlError> {
    match code {
        SUCCESS => Ok(()),
        code => Err(NvmlError::Code(code)),
    }
}

/// The GPUs of the machine in the order of their indexes.
///
/// # Errors
/// The library is not there, or does not answer.
pub fn devices() -> Result<Vec<Device>, NvmlError> {
    // SAFETY: loading runs the initializers of the driver's own library, which are made for that.
    let library = unsafe { Library::new(LIBRARY) }?;
    let nvml = Nvml { library: &library };
    // SAFETY: the signature is the library's; no argument is passed.
    check(unsafe { nvml.symbol::<Init>(b"nvmlInit_v2\0")?() })?;
    let devices = nvml.devices();
    // SAFETY: as above; handles of the devices are not used any more.
    check(unsafe { nvml.symbol::<Init>(b"nvmlShutdown\0")?() })?;
    devices
}

struct Nvml<'a> {
    library: &'a Library,
}

impl Nvml<'_> {
    /// # Safety
    /// `T` is the type of the function of this name.
    unsafe fn symbol<T>(&self, name: &[u8]) -> Result<Symbol<'_, T>, NvmlError> {
        // SAFETY: passed on to the caller.
        Ok(unsafe { self.library.get(name) }?)
    }

    fn devices(&self) -> Result<Vec<Device>, NvmlError> {
        let mut count = 0;
        // SAFETY: the signature is the library's, and the pointer is valid for the call.
        check(unsafe { self.symbol::<Count>(b"nvmlDeviceGetCount_v2\0")?(&mut count) })?;
        (0..count)
            .map(|index| {
                let mut device: Handle = std::ptr::null_mut();
                // SAFETY: as above.
                check(unsafe {
                    self.symbol::<ByIndex>(b"nvmlDeviceGetHandleByIndex_v2\0")?(index, &mut device)
                })?;
                self.describe(device)
            })
            .collect()
    }

    fn describe(&self, device: Handle) -> Result<Device, NvmlError> {
        Ok(Device {
            uuid: self.text(b"nvmlDeviceGetUUID\0", device)?,
            name: self.text(b"nvmlDeviceGetName\0", device)?,
            // Most devices cannot be partitioned, and say so with an error.
            partitions: self.partitions(device).unwrap_or(None),
        })
    }

    fn text(&self, function: &[u8], device: Handle) -> Result<String, NvmlError> {
        let mut text = [0 as c_char; TEXT_BYTES];
        let length = TEXT_BYTES as c_uint - 1;
        // SAFETY: the signature is that of both functions; they write `length` bytes at most, so
        // that the last byte remains zero.
        let text = unsafe {
            check(self.symbol::<Text>(function)?(
                device,
                text.as_mut_ptr(),
                length,
            ))?;
            CStr::from_ptr(text.as_ptr())
        };
        Ok(text.to_string_lossy().into_owned())
    }

    /// The UUIDs of the partitions of a device; `None` where it is whole.
    fn partitions(&self, device: Handle) -> Result<Option<Vec<String>>, NvmlError> {
        let (mut mode, mut pending, mut most) = (0, 0, 0);
        // SAFETY: the signatures are the library's, and the pointers are valid for the calls.
        unsafe {
            check(self.symbol::<Mode>(b"nvmlDeviceGetMigMode\0")?(
                device,
                &mut mode,
                &mut pending,
            ))?;
            if mode != PARTITIONED {
                return Ok(None);
            }
            check(self
                .symbol::<CountOf>(b"nvmlDeviceGetMaxMigDeviceCount\0")?(
                device, &mut most,
            ))?;
        }
        let mut found = Vec::new();
        for index in 0..most {
            let mut part: Handle = std::ptr::null_mut();
            // SAFETY: as above.
            let code = unsafe {
                self.symbol::<PartByIndex>(b"nvmlDeviceGetMigDeviceHandleByIndex\0")?(
                    device, index, &mut part,
                )
            };
            // Indexes without a partition are errors.
            if check(code).is_ok() {
                found.push(self.text(b"nvmlDeviceGetUUID\0", part)?);
            }
        }
        Ok(Some(found))
    }
}
