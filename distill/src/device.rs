//! Where a run computes: the CPU, or a GPU if the program was built for it.

use burn::tensor::{Device, Tensor};
use std::{any::Any, fmt, panic, str::FromStr};
use thiserror::Error;

/// A device by its name: `cpu`, `vulkan` (the GPU that burn finds best), `cuda` or `cuda:N` (the N-th one, from 0).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Compute {
    /// burn's flex backend.
    #[default]
    Cpu,
    /// burn's wgpu backend on Vulkan; needs the feature `vulkan`.
    Vulkan,
    /// burn's CUDA backend on the GPU of this index; needs the feature `cuda`.
    Cuda(usize),
}

/// Devices that cannot be used, and why.
#[derive(Debug, Error)]
pub enum DeviceError {
    /// The program lacks its backend.
    #[error("device '{device}': this program was built without it; build it with '--features {feature}'")]
    NotBuilt {
        /// The device.
        device: Compute,
        /// The feature that it takes.
        feature: &'static str,
    },
    /// The device does not answer.
    #[error("device '{device}': cannot be used: {reason}")]
    Unusable {
        /// The device.
        device: Compute,
        /// What the backend says.
        reason: String,
    },
    /// Some would have nothing to do.
    #[error(
        "{devices} devices for a batch in {shards} part(s): each needs one, so raise the recipe's 'shards' or name fewer"
    )]
    Idle {
        /// How many there are.
        devices: usize,
        /// The recipe's `shards`.
        shards: usize,
    },
}

/// The devices by their names, in this order, for a batch in `shards` parts.
///
/// # Errors
/// If one cannot be used, or if there are more devices than parts.
pub fn open(names: &[Compute], shards: usize) -> Result<Vec<Device>, DeviceError> {
    if names.len() > shards {
        return Err(DeviceError::Idle { devices: names.len(), shards });
    }
    names.iter().map(|name| name.open()).collect()
}

impl Compute {
    /// The device, once it has computed something.
    ///
    /// # Errors
    /// If the program was built without it, or it is not there.
    pub fn open(self) -> Result<Device, DeviceError> {
        let (device, feature) = match self {
            Self::Cpu => return Ok(Device::flex()),
            Self::Vulkan => (vulkan(), "vulkan"),
            Self::Cuda(index) => (cuda(index), "cuda"),
        };
        let device = device.ok_or(DeviceError::NotBuilt { device: self, feature })?;
        // burn opens a device at its first use, and panics where there is none.
        let probe = device.clone();
        let answer = panic::catch_unwind(move || Tensor::<1>::ones([1], &probe).sum().into_scalar::<f32>());
        match answer {
            Ok(1.0) => Ok(device),
            Ok(sum) => Err(DeviceError::Unusable { device: self, reason: format!("it says that 1 is {sum}") }),
            Err(cause) => Err(DeviceError::Unusable { device: self, reason: message(cause.as_ref()) }),
        }
    }
}

#[cfg(feature = "vulkan")]
fn vulkan() -> Option<Device> {
    Some(Device::vulkan(burn::tensor::DeviceKind::DefaultDevice))
}

#[cfg(not(feature = "vulkan"))]
fn vulkan() -> Option<Device> {
    None
}

#[cfg(feature = "cuda")]
fn cuda(index: usize) -> Option<Device> {
    Some(Device::cuda(index))
}

#[cfg(not(feature = "cuda"))]
fn cuda(_index: usize) -> Option<Device> {
    None
}

fn message(cause: &(dyn Any + Send)) -> String {
    let text = cause.downcast_ref::<String>().cloned();
    text.or_else(|| cause.downcast_ref::<&str>().map(|text| (*text).to_owned())).unwrap_or_else(|| "unknown".into())
}

impl fmt::Display for Compute {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cpu => f.write_str("cpu"),
            Self::Vulkan => f.write_str("vulkan"),
            Self::Cuda(index) => write!(f, "cuda:{index}"),
        }
    }
}

impl FromStr for Compute {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match (text, text.strip_prefix("cuda:").map(str::parse)) {
            ("cpu", _) => Ok(Self::Cpu),
            ("vulkan", _) => Ok(Self::Vulkan),
            ("cuda", _) => Ok(Self::Cuda(0)),
            (_, Some(Ok(index))) => Ok(Self::Cuda(index)),
            _ => Err(format!("'{text}' is no device: cpu, vulkan, cuda or cuda:N")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_and_written() {
        for name in ["cpu", "vulkan", "cuda:0", "cuda:3"] {
            assert_eq!(name.parse::<Compute>().unwrap().to_string(), name);
        }
        assert_eq!("cuda".parse(), Ok(Compute::Cuda(0)));
        for wrong in ["", "gpu", "cuda:", "cuda:-1", "cpu:0", "CUDA"] {
            assert!(wrong.parse::<Compute>().unwrap_err().contains("cuda:N"), "{wrong}");
        }
    }

    #[test]
    fn a_device_that_is_not_built_in_is_named_with_its_feature() {
        assert!(Compute::Cpu.open().is_ok());
        if cfg!(not(feature = "cuda")) {
            let error = Compute::Cuda(1).open().unwrap_err().to_string();
            assert!(error.contains("'cuda:1'") && error.contains("--features cuda"), "{error}");
        }
        if cfg!(not(feature = "vulkan")) {
            let error = Compute::Vulkan.open().unwrap_err().to_string();
            assert!(error.contains("'vulkan'") && error.contains("--features vulkan"), "{error}");
        }
    }
}
