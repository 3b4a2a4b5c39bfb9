//! Owners, permissions, extended attributes and times, set on what was made.

use std::os::fd::OwnedFd;

use rustix::fs::{Gid, Mode, Timespec, Timestamps, Uid, XattrFlags};

use super::error::{ImportError, Refusal, shown};
use super::member::{Attributes, Extended};

/// The beginnings of the names of attributes with which overlayfs works.
const OVERLAY: [&[u8]; 2] = [b"trusted.overlay.", b"user.overlay."];
/// What belongs to the machine, not to the file.
const OF_THE_MACHINE: [&[u8]; 3] = [b"security.selinux", b"security.ima", b"security.evm"];
/// Describes a file or folder, but for its time. In this order: a change of the owner takes the
/// set-user-id bit and capabilities away.
pub(super) fn describe(
    file: &OwnedFd,
    path: &[u8],
    attributes: &Attributes,
) -> Result<(), ImportError> {
    let failed = |errno| ImportError::writing(path, errno);
    let (user, group) = owner(attributes);
    rustix::fs::fchown(file, user, group).map_err(failed)?;
    rustix::fs::fchmod(file, Mode::from_raw_mode(attributes.mode)).map_err(failed)?;
    for (key, value) in settable(path, attributes)? {
        rustix::fs::fsetxattr(file, &key[..], value, XattrFlags::empty()).map_err(failed)?;
    }
    Ok(())
}

pub(super) fn owner(attributes: &Attributes) -> (Option<Uid>, Option<Gid>) {
    let user = Uid::from_raw(attributes.user);
    let group = Gid::from_raw(attributes.group);
    (Some(user), Some(group))
}

/// The extended attributes, those of the machine left out.
pub(super) fn settable<'a>(
    path: &[u8],
    attributes: &'a Attributes,
) -> Result<Vec<&'a Extended>, ImportError> {
    let mut settable = Vec::new();
    for attribute in &attributes.extended {
        let key = &attribute.0;
        if OF_THE_MACHINE.contains(&&key[..]) {
            continue;
        }
        if OVERLAY.iter().any(|own| key.starts_with(own)) {
            let refusal = Refusal::Attribute(shown(key));
            return Err(ImportError::refused(path, refusal));
        }
        if key.contains(&0) {
            return Err(ImportError::refused(path, Refusal::Nul));
        }
        settable.push(attribute);
    }
    Ok(settable)
}

/// The last access is taken to have been at the last change.
pub(super) fn timestamps((tv_sec, nanos): (i64, u32)) -> Timestamps {
    let time = Timespec {
        tv_sec,
        tv_nsec: nanos.into(),
    };
    Timestamps {
        last_access: time,
        last_modification: time,
    }
}
