//! Where the kernel's fields lie. A field that this kernel lacks switches off the features that read it.

use std::path::Path;

use weir_abi::{FIELD_NAMES, Field};

use super::{KERNEL_TYPES, LoadError, io_error};
use crate::btf::{BtfError, Types};
use crate::features::{FEATURES, Feature};
use crate::reasons::Reasons;

/// Offset of a field that is not there. Programs that read it are not loaded.
const ABSENT: u32 = u32::MAX;

/// What the kernel's types say: the offset of each [`Field`], and what else differs from kernel to kernel.
pub(super) struct Offsets {
    pub(super) values: [u32; Field::COUNT],
    /// Why packets are dropped.
    pub(super) reasons: Reasons,
    /// Arguments of the tracepoint `kfree_skb`; 0: there is none.
    pub(super) kfree_arguments: u32,
}

impl Offsets {
    /// Of the kernel whose types are in that file.
    ///
    /// # Errors
    /// [`LoadError::Types`] where it can't be read, or lacks a field that everything needs.
    pub(super) fn of_kernel(path: &Path) -> Result<Offsets, LoadError> {
        let shown = path.display().to_string();
        let bytes = std::fs::read(path).map_err(io_error(&shown))?;
        let types_error = |source| LoadError::Types { path: shown.clone(), source };
        let types = Types::read(&bytes).map_err(types_error)?;
        let mut values = [ABSENT; Field::COUNT];
        for (index, (value, path)) in values.iter_mut().zip(FIELD_NAMES).enumerate() {
            match types.offset(path) {
                Ok(offset) => *value = offset,
                Err(BtfError::NoField(_)) if is_optional(index) => {}
                Err(error) => return Err(types_error(error)),
            }
        }
        let reasons = Reasons::read(&types).map_err(types_error)?;
        let kfree_arguments = types.tracepoint_arguments("kfree_skb").map_err(types_error)?.unwrap_or(0);
        Ok(Offsets { values, reasons, kfree_arguments })
    }

    /// Whether the feature's fields are there.
    ///
    /// # Errors
    /// [`LoadError::Types`] with the first that is not.
    pub(super) fn check(&self, feature: &Feature, path: &Path) -> Result<(), LoadError> {
        let absent = feature.fields.iter().find(|field| self.values[**field as usize] == ABSENT);
        absent.map_or(Ok(()), |field| {
            Err(LoadError::Types {
                path: path.display().to_string(),
                source: BtfError::NoField(FIELD_NAMES[*field as usize].to_owned()),
            })
        })
    }
}

/// Where fields of the running kernel lie, by `struct.member.member`.
///
/// # Errors
/// [`LoadError::Types`] with the first that it lacks.
pub fn kernel_offsets(paths: &[&str]) -> Result<Vec<u32>, LoadError> {
    let bytes = std::fs::read(KERNEL_TYPES).map_err(io_error(KERNEL_TYPES))?;
    let types_error = |source| LoadError::Types { path: KERNEL_TYPES.to_owned(), source };
    let types = Types::read(&bytes).map_err(types_error)?;
    paths.iter().map(|path| types.offset(path).map_err(types_error)).collect()
}

/// Whether only features that can be switched off read the field.
fn is_optional(index: usize) -> bool {
    FEATURES
        .iter()
        .any(|feature| !feature.needed && feature.fields.iter().any(|field| *field as usize == index))
}
