//! A point put back.

use ledger::{Location, Options, Restoration, Restored, checked_checkpoint};

use crate::blob::Joined;
use crate::error::BackupError;
use crate::place::Place;
use crate::point::Object;
use crate::{Progress, work};

/// Where to, and what for.
#[derive(Debug)]
pub struct Aim<'a> {
    /// A place that holds no ledger.
    pub location: &'a Location,
    /// The point, unless it is the newest.
    pub point: Option<&'a str>,
    /// A checkpoint of the log that somebody else holds.
    pub expected: Option<&'a [u8]>,
    /// That records may be missing is known.
    pub accept_loss: bool,
}

/// Puts a point back. The ledger is one only if what was put back holds ([`Restored::is_good`], or loss is accepted).
///
/// # Errors
/// The place holds a ledger or cannot be written, a blob is damaged or missing, the checkpoint is not the log's.
pub fn restore(
    place: &Place,
    aim: &Aim<'_>,
    options: &Options,
    progress: Progress<'_>,
) -> Result<Restored, BackupError> {
    let point = place.point(aim.point)?;
    let kept = point.kept(place)?;
    let expected = aim
        .expected
        .map(|note| checked_checkpoint(&kept, note))
        .transpose()?;
    let objects = point.objects(place)?;
    let restoration = Restoration::begin(aim.location)?;
    let target = restoration.objects();
    work::each(&objects, progress, |object: &Object| {
        let names = object.names();
        let mut joined = Joined::new(place, &names);
        let put = Restoration::put(&*target, &object.key, object.bytes, &mut joined);
        match joined.failed {
            Some(error) => Err(error),
            None => Ok(put?),
        }
    })?;
    Ok(restoration.finish(&kept, options, expected.as_ref(), aim.accept_loss)?)
}
