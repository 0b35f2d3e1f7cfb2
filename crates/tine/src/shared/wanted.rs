//! Regions that are asked for before the start, and what keeps their content up to date.

use std::fmt;
use std::rc::Rc;
use std::time::Duration;

use super::Region;
use crate::Result;

/// Brings a region's content up to date, and says when it wants to be asked again.
pub(crate) type Tend = Rc<dyn Fn(&Region) -> Duration>;

/// A region by its name.
#[derive(Clone)]
pub(crate) struct Wanted {
    pub(crate) name: String,
    pub(crate) version: u32,
    pub(crate) words: usize,
    pub(crate) tend: Option<Tend>,
}

impl fmt::Debug for Wanted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Wanted").field("name", &self.name).finish_non_exhaustive()
    }
}

impl Wanted {
    pub(crate) fn make(&self) -> Result<Region> {
        Region::create(&self.name, self.version, self.words)
    }
}
