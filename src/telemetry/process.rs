//! What every Prometheus client says of its process, under the customary names, from `/proc`.
//!
//! Where there is no `/proc` there is nothing. Reading is done at each scrape, nothing is kept.

use std::fmt::Write as _;
use std::fs;

use super::spec::MetricSpec;

/// The customary metrics of a process.
pub const METRICS: &[MetricSpec] =
    &[CPU_SECONDS, MAX_FDS, OPEN_FDS, RESIDENT_BYTES, START_SECONDS, THREADS, VIRTUAL_BYTES];

const CPU_SECONDS: MetricSpec = MetricSpec::counter(
    "process_cpu_seconds_total",
    &[],
    "CPU time of the process, user and system.",
);
const MAX_FDS: MetricSpec =
    MetricSpec::gauge("process_max_fds", &[], "The most file descriptors the process may open.");
const OPEN_FDS: MetricSpec =
    MetricSpec::gauge("process_open_fds", &[], "File descriptors that are open.");
const RESIDENT_BYTES: MetricSpec =
    MetricSpec::gauge("process_resident_memory_bytes", &[], "Memory that is resident.");
const START_SECONDS: MetricSpec = MetricSpec::gauge(
    "process_start_time_seconds",
    &[],
    "When the process was started, in seconds since 1970.",
);
const THREADS: MetricSpec = MetricSpec::gauge("process_threads", &[], "Threads of the process.");
const VIRTUAL_BYTES: MetricSpec =
    MetricSpec::gauge("process_virtual_memory_bytes", &[], "Memory that is mapped.");

/// How many ticks of `/proc/<pid>/stat` a second has. Linux shows user space 100 on every architecture
/// that we run on, whatever its own timer does.
const TICKS_PER_SECOND: f64 = 100.0;

/// The metrics of this process in Prometheus' text format.
pub(super) fn render() -> String {
    let mut text = String::new();
    if let Ok(stat) = fs::read_to_string("/proc/self/stat") {
        put(&mut text, &CPU_SECONDS, cpu_seconds(&stat));
        let boot = fs::read_to_string("/proc/stat").ok().and_then(|stat| boot_seconds(&stat));
        let since_boot = start_seconds_since_boot(&stat);
        put(&mut text, &START_SECONDS, boot.zip(since_boot).map(|(boot, since)| boot + since));
    }
    if let Ok(limits) = fs::read_to_string("/proc/self/limits") {
        put(&mut text, &MAX_FDS, fds_max(&limits));
    }
    put(&mut text, &OPEN_FDS, open_fds());
    if let Ok(status) = fs::read_to_string("/proc/self/status") {
        put(&mut text, &RESIDENT_BYTES, kib(&status, "VmRSS:").map(|kib| kib * 1024.0));
        put(&mut text, &THREADS, kib(&status, "Threads:"));
        put(&mut text, &VIRTUAL_BYTES, kib(&status, "VmSize:").map(|kib| kib * 1024.0));
    }
    text
}

fn put(text: &mut String, metric: &MetricSpec, value: Option<f64>) {
    let Some(value) = value else { return };
    let MetricSpec { name, kind, help, .. } = metric;
    let kind = kind.as_str();
    let _fits = writeln!(text, "# HELP {name} {help}\n# TYPE {name} {kind}\n{name} {value}\n");
}

/// Field `number` of `/proc/<pid>/stat`, counted from 1 as proc(5) does. The command (field 2) is in
/// parentheses and may hold anything, so that counting begins behind its end.
fn stat_field(stat: &str, number: usize) -> Option<f64> {
    let (_, rest) = stat.rsplit_once(')')?;
    rest.split_ascii_whitespace().nth(number.checked_sub(3)?)?.parse().ok()
}

fn cpu_seconds(stat: &str) -> Option<f64> {
    Some((stat_field(stat, 14)? + stat_field(stat, 15)?) / TICKS_PER_SECOND)
}

fn start_seconds_since_boot(stat: &str) -> Option<f64> {
    Some(stat_field(stat, 22)? / TICKS_PER_SECOND)
}

fn boot_seconds(stat: &str) -> Option<f64> {
    stat.lines().find_map(|line| line.strip_prefix("btime "))?.trim().parse().ok()
}

fn fds_max(limits: &str) -> Option<f64> {
    let soft = limits.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    match soft.split_ascii_whitespace().next()? {
        "unlimited" => Some(f64::INFINITY),
        soft => soft.parse().ok(),
    }
}

fn kib(status: &str, key: &str) -> Option<f64> {
    let value = status.lines().find_map(|line| line.strip_prefix(key))?;
    value.split_ascii_whitespace().next()?.parse().ok()
}

fn open_fds() -> Option<f64> {
    let open = fs::read_dir("/proc/self/fd").ok()?.count();
    // The directory itself is open while it is read.
    u32::try_from(open.saturating_sub(1)).ok().map(f64::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_counted_behind_a_command_that_tries_to_confuse() {
        let stat = "7 (a) b 9) S 1 7 7 0 -1 4194304 100 0 0 0 250 50 0 0 20 0 3 0 1200 9000 10";
        assert_eq!(cpu_seconds(stat), Some(3.0));
        assert_eq!(start_seconds_since_boot(stat), Some(12.0));
        assert_eq!(cpu_seconds("7 (a"), None);
        assert_eq!(stat_field("7 (a) S", 1), None);
    }

    #[test]
    fn limits_and_status_are_read_by_their_names() {
        let limits = "Limit  Soft Limit  Hard Limit  Units\nMax open files   1024   4096   files\n";
        assert_eq!(fds_max(limits), Some(1_024.0));
        assert_eq!(kib("VmSize:\t 20 kB\nVmRSS:\t   12 kB\n", "VmRSS:"), Some(12.0));
        assert_eq!(boot_seconds("cpu 1\nbtime 1700000000\n"), Some(1_700_000_000.0));
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn this_process_says_everything_of_itself() {
        let text = render();
        for metric in METRICS {
            assert!(text.contains(&format!("# TYPE {} ", metric.name)), "{}: {text}", metric.name);
        }
    }
}
