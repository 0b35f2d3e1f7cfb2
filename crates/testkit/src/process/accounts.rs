//! What a process and all its descendants have used, those that have ended included.

use super::{cpu_nanos, descendants, leading_number, pss_kib, read};
use crate::wait::alive;

/// Time `pid` and all its descendants have spent on a CPU, in nanoseconds. Of those that have ended
/// and were waited for, to a clock tick, 10 ms (`cutime` and `cstime` of `/proc/PID/stat`).
pub fn family_cpu_nanos(pid: u32) -> u64 {
    let living = descendants(pid).into_iter().chain([pid]);
    living.filter(|&pid| alive(pid)).map(|pid| cpu_nanos(pid) + waited_for(pid)).sum()
}

/// [`pss_kib`] of `pid` and all its descendants together.
pub fn family_pss_kib(pid: u32) -> u64 {
    descendants(pid).into_iter().chain([pid]).filter(|&pid| alive(pid)).map(pss_kib).sum()
}

/// Nanoseconds the children of `pid` had that have ended and been waited for, and theirs: fields 16
/// and 17 of `/proc/PID/stat` (proc_pid_stat(5)). A process that ends during a measurement counted
/// as living in its beginning, and so is not counted twice.
#[track_caller]
fn waited_for(pid: u32) -> u64 {
    let text = read(pid, "stat");
    // The name stands in parentheses and may have spaces in it; the third field follows it.
    let fields = text.rsplit_once(") ").map_or("", |(_, fields)| fields).split_whitespace();
    let ticks: u64 = fields.skip(16 - 3).take(2).map(leading_number).sum();
    ticks * 1_000_000_000 / rustix::param::clock_ticks_per_second()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Server;

    #[test]
    fn a_family_has_used_what_its_ended_children_used() {
        let work = "i=0; while [ $i -lt 200000 ]; do i=$((i+1)); done";
        let script = format!("sh -c '{work}'; echo done; sleep 60; :");
        let server = Server::command("sh").args(["-c", &script]).start();
        server.wait_line("done");
        let (alone, family) = (cpu_nanos(server.pid()), family_cpu_nanos(server.pid()));
        assert!(family > alone + 20_000_000, "{alone} ns of its own, {family} of all");
        let sleeping = server.wait_children(1)[0];
        assert!(family_pss_kib(server.pid()) > pss_kib(sleeping));
    }
}
