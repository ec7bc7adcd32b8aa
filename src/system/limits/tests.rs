//! Tests with directories that imitate control groups: the files have the kernel's names, and
//! writes to them can be read back.

use std::fs;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use super::*;
use crate::domain::ids::SessionId;
use crate::system::proc;

/// A directory tree that is removed on drop.
struct Tree(PathBuf);

static LAST: AtomicU32 = AtomicU32::new(0);

impl Tree {
    /// A tree with these delegated controllers, with the processes `inside` in it.
    fn new(controllers: &str, inside: &str) -> Self {
        let number = LAST.fetch_add(1, Ordering::Relaxed);
        let name = format!("greenroom-groups-{}-{number}", std::process::id());
        let tree = Self(std::env::temp_dir().join(name));
        fs::create_dir_all(&tree.0).unwrap();
        tree.write("cgroup.type", "domain\n");
        tree.write("cgroup.controllers", controllers);
        tree.write("cgroup.subtree_control", controllers);
        tree.write("cgroup.procs", inside);
        tree
    }

    fn write(&self, file: &str, text: &str) {
        fs::write(self.0.join(file), text).unwrap();
    }

    fn read(&self, file: &str) -> String {
        fs::read_to_string(self.0.join(file)).unwrap()
    }

    /// Creates a group as the kernel does, with the files of all controllers.
    fn group(&self, session: SessionId) -> String {
        let name = format!("session-{session}");
        fs::create_dir_all(self.0.join(&name)).unwrap();
        for (file, text) in [
            ("memory.max", "max\n"),
            ("memory.swap.max", "max\n"),
            ("memory.current", "1048576\n"),
            ("memory.events", "low 0\nhigh 0\nmax 3\noom 1\noom_kill 1\noom_group_kill 0\n"),
            ("cpu.max", "max 100000\n"),
            ("cpu.stat", "usage_usec 2500000\nuser_usec 2000000\nsystem_usec 500000\n"),
            ("pids.max", "max\n"),
            ("pids.current", "12\n"),
            ("cgroup.procs", ""),
        ] {
            self.write(&format!("{name}/{file}"), text);
        }
        name
    }
}

impl Drop for Tree {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn settings() -> Settings {
    Settings {
        session_memory_mib: 512,
        session_cpu_percent: 150,
        session_tasks: 300,
        ..Settings::default()
    }
}

#[test]
fn a_group_gets_its_limits_and_gets_them_again_from_the_next_server() {
    let tree = Tree::new("cpu memory pids\n", "");
    let session = SessionId::from(7);
    let name = tree.group(session);
    let subtree = Subtree::of(tree.0.clone(), &settings()).unwrap();
    assert_eq!(subtree.controllers(), ["memory", "cpu", "pids"]);
    let group = subtree.group(session).unwrap();
    assert_eq!(tree.read(&format!("{name}/memory.max")), "536870912");
    assert_eq!(tree.read(&format!("{name}/memory.swap.max")), "0");
    assert_eq!(tree.read(&format!("{name}/cpu.max")), "150000 100000");
    assert_eq!(tree.read(&format!("{name}/pids.max")), "300");

    let unlimited = Settings { session_memory_mib: 0, session_tasks: 0, ..settings() };
    let next = Subtree::of(tree.0.clone(), &unlimited).unwrap();
    next.limit_again(&group).unwrap();
    assert_eq!(tree.read(&format!("{name}/memory.max")), "max");
    assert_eq!(tree.read(&format!("{name}/pids.max")), "max");
}

#[test]
fn what_a_session_uses_is_read_and_what_is_not_counted_is_none() {
    let tree = Tree::new("cpu memory pids\n", "");
    let name = tree.group(SessionId::from(7));
    let group = Group::at(tree.0.join(&name));
    assert_eq!(
        group.usage(),
        Usage {
            memory_bytes: Some(1_048_576),
            memory_limit_bytes: None,
            cpu_seconds: Some(2.5),
            tasks: Some(12),
            out_of_memory_kills: Some(1),
        }
    );
    assert_eq!(Group::at(tree.0.join("none")).usage(), Usage::default());
}

#[tokio::test]
async fn a_kill_for_want_of_memory_is_noticed_when_it_happens() {
    let tree = Tree::new("memory\n", "");
    let name = tree.group(SessionId::from(7));
    let group = Group::at(tree.0.join(&name));
    assert_eq!(group.more_out_of_memory_kills(0).await, 1);
    let more = group.more_out_of_memory_kills(1);
    let happens = async {
        tokio::task::yield_now().await;
        tree.write(&format!("{name}/memory.events"), "oom 4\noom_kill 3\noom_group_kill 0\n");
    };
    let limit = Duration::from_secs(5);
    let (count, ()) = tokio::join!(tokio::time::timeout(limit, more), happens);
    assert_eq!(count, Ok(3));
}

#[test]
fn a_server_that_is_not_alone_in_its_group_does_not_divide_it() {
    let tree = Tree::new("memory\n", "1\n");
    let refused = Subtree::of(tree.0.clone(), &settings()).unwrap_err().to_string();
    assert!(refused.contains("shares its control group"), "{refused}");
    assert!(refused.contains("Delegate=yes"), "{refused}");
    assert!(!tree.0.join("server").exists());
}

#[test]
fn a_server_that_is_alone_in_its_group_moves_into_one_of_its_own_below() {
    let own = format!("{}\n", std::process::id());
    let tree = Tree::new("memory\n", &own);
    let subtree = Subtree::of(tree.0.clone(), &settings()).unwrap();
    assert_eq!(subtree.base(), tree.0);
    assert_eq!(tree.read("server/cgroup.procs"), own.trim());

    // The next server is started in that group, as systemd can be configured.
    let subtree = Subtree::of(tree.0.join("server"), &settings());
    assert!(subtree.is_err(), "it may not write there yet");
    tree.write("server/cgroup.type", "domain\n");
    tree.write("server/cgroup.subtree_control", "");
    let subtree = Subtree::of(tree.0.join("server"), &settings()).unwrap();
    assert_eq!(subtree.base(), tree.0);
}

#[test]
fn the_servers_own_group_is_found_also_in_a_container() {
    let mounts = "24 30 0:22 / /sys rw - sysfs sysfs rw\n\
                  30 24 0:26 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw\n";
    let found =
        |mounts, groups| proc::control_group(mounts, groups).map(|path| path.display().to_string());
    assert_eq!(
        found(mounts, "0::/system.slice/greenroom.service\n").unwrap(),
        "/sys/fs/cgroup/system.slice/greenroom.service"
    );
    let contained = "30 24 0:26 /docker/abc /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n";
    assert_eq!(found(contained, "0::/docker/abc/x\n").unwrap(), "/sys/fs/cgroup/x");
    assert_eq!(found(contained, "0::/\n").unwrap(), "/sys/fs/cgroup/");
    assert_eq!(found("", "0::/\n"), None);
    let hybrid = "4:memory:/a\n0::/b\n";
    assert_eq!(found(mounts, hybrid).unwrap(), "/sys/fs/cgroup/b");
}

#[test]
fn a_session_needs_what_it_takes_and_what_must_be_left() {
    let data = std::env::temp_dir();
    let all = Settings { spare_shared_memory_mib: 0, spare_disk_mib: 0, ..Settings::default() };
    let fits = Settings { new_session_memory_mib: 0, spare_memory_mib: 0, ..all.clone() };
    assert_eq!(room(&fits, &data, 1_000), Ok(()));

    let memory = Settings { new_session_memory_mib: 1 << 30, ..all };
    let refused = room(&memory, &data, 1).unwrap_err();
    assert_eq!((refused.what.as_str(), refused.setting), ("memory", "limits.spare_memory_mib"));
    assert_eq!(refused.needed, (1 << 30) + memory.spare_memory_mib);

    let disk = Settings { spare_disk_mib: 1 << 40, ..fits };
    let refused = room(&disk, &data, 1).unwrap_err();
    assert_eq!(refused.what, data.display().to_string());
}

#[test]
fn the_memory_that_is_left_is_that_of_the_machine_or_of_a_group() {
    let text = "MemTotal:       24684092 kB\nMemAvailable:    2048 kB\n";
    assert_eq!(proc::available_memory(text), Some(2 * MIB));
    let tree = Tree::new("memory\n", "");
    assert_eq!(room::left_in(&tree.0), None);
    tree.write("memory.max", "max\n");
    tree.write("memory.current", "900\n");
    assert_eq!(room::left_in(&tree.0), None);
    tree.write("memory.max", "1000\n");
    tree.write("memory.stat", "anon 500\ninactive_file 300\n");
    assert_eq!(room::left_in(&tree.0), Some(400));
}

#[tokio::test]
async fn a_program_is_in_the_group_of_its_session_before_it_is_executed() {
    use crate::system::process::{GROUP, Process, Program};
    let tree = Tree::new("memory\n", "");
    let session = SessionId::from(9);
    let name = tree.group(session);
    let logs = tree.0.join("logs");
    fs::create_dir_all(&logs).unwrap();
    fs::write(logs.join(GROUP), tree.0.join(&name).display().to_string()).unwrap();
    let program = Program {
        path: "/bin/sleep".into(),
        arguments: vec!["60".into()],
        environment: Vec::new(),
        session,
        records: logs.clone(),
        log: tree.0.join("elsewhere.log"),
        output: None,
        open_files: Some(64),
        confined: None,
    };
    let process = Process::spawn(&program, &tokio::runtime::Handle::current()).unwrap();
    let pid = process.identity().pid.to_string();
    // The shell writes it before it becomes the program.
    let procs = tree.0.join(&name).join("cgroup.procs");
    let written =
        crate::system::readiness::file_says(&procs, |text| (text.trim() == pid).then_some(()));
    tokio::time::timeout(Duration::from_secs(5), written).await.unwrap();
    process.kill().await;
    assert_eq!(fs::read_to_string(tree.0.join("elsewhere.log")).unwrap(), "");
    let known = crate::system::process::started(&logs.join(crate::system::process::STARTED));
    assert_eq!(known.iter().map(|it| it.pid.to_string()).collect::<Vec<_>>(), [pid]);
}
