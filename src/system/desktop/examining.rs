//! The programs that a session is known to have, for a report about them.

use super::Directory;
use crate::system::display;
use crate::system::programs::{KnownProgram, ProcessState, ProgramReport, examine};

impl Directory {
    /// Examines the programs of the session. Reads `/proc` and files, and therefore blocks.
    pub(super) fn programs_examined(&self, with_logs: bool) -> Vec<ProgramReport> {
        let saved = self.saved().ok().flatten().map(|saved| saved.identity);
        let mut known = Vec::new();
        if let Some(desktop) = saved {
            // Tigervnc is the display and the VNC server in one.
            let is_vnc = desktop.vnc.as_ref() == Some(&desktop.xvfb);
            let name = display::stage(is_vnc).name;
            known.push(KnownProgram { name: "chromium", process: desktop.chromium });
            known.push(KnownProgram { name, process: desktop.xvfb });
            let vnc = desktop.vnc.filter(|_process| !is_vnc);
            known.extend(vnc.map(|process| KnownProgram { name: "x11vnc", process }));
            let egress = desktop.egress.map(|egress| egress.process);
            known.extend(egress.map(|process| KnownProgram { name: "egress", process }));
        }
        let mut reports =
            examine(&known, &self.started(), |name| with_logs.then(|| self.log(name)));
        // x11vnc ends with its last viewer.
        reports.retain(|report| report.name != "x11vnc" || report.state != ProcessState::Gone);
        reports
    }
}
