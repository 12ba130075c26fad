//! What passes at interfaces: connections there that ended, and all that moved at an interval's end.

use super::Watch;
use crate::handshakes::Context;
use crate::load::LoadError;

impl Watch {
    /// Follows interfaces that come and go, and tells connections there that ended.
    pub(super) fn look_at_path(&mut self) -> Result<(), LoadError> {
        self.kernel.follow_interfaces()?;
        let (Some(path), Some(maps)) = (&mut self.path, &self.kernel.path) else { return Ok(()) };
        let Some(interfaces) = self.kernel.interfaces() else { return Ok(()) };
        let context = &mut Context { node: &self.node, clock: self.clock, identities: &mut self.identities };
        path.look_for_ended(maps, interfaces, context, &mut self.rows.flows)
    }

    /// After dropped packets: what those tell of is not told twice.
    pub(super) fn cut_path(&mut self, cut_ns: i64) -> Result<(), LoadError> {
        let (Some(path), Some(maps)) = (&mut self.path, &self.kernel.path) else { return Ok(()) };
        let Some(interfaces) = self.kernel.interfaces() else { return Ok(()) };
        let denied = self.drops.denied_on_path();
        let context = &mut Context { node: &self.node, clock: self.clock, identities: &mut self.identities };
        path.cut(self.clock.boot(cut_ns), maps, interfaces, &denied, context, &mut self.rows.flows)?;
        (self.losses.path_late, self.losses.interfaces_not_watched) = (path.late, interfaces.not_watched);
        Ok(())
    }
}
