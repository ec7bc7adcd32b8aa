use std::time::Instant;

use super::*;

fn session(number: u64) -> SessionId {
    SessionId::from(u64::from(std::process::id()) * 1_000 + number)
}

/// A shell that runs `script`, whose log is in a separate directory.
fn shell(session: SessionId, script: &str) -> Program {
    let directory = std::env::temp_dir().join(format!("greenroom-process-{session}"));
    std::fs::create_dir_all(&directory).unwrap();
    Program {
        path: "/bin/sh".into(),
        arguments: vec!["-c".into(), script.into()],
        environment: vec![("PATH".into(), "/usr/bin:/bin".into())],
        session,
        records: directory.clone(),
        log: directory.join("log"),
        output: None,
        open_files: None,
        confined: None,
    }
}

async fn says(program: &Program, line: &str) {
    let told = crate::system::readiness::file_says(&program.log, |text| {
        text.lines().any(|said| said == line).then_some(())
    });
    timeout(Duration::from_secs(10), told).await.expect("the shell says nothing");
}

fn nothing_is_left_of(program: &Program) {
    let left: Vec<_> = identity::all()
        .into_iter()
        .filter(|(pid, _)| identity::is_marked(*pid, program.session))
        .collect();
    assert_eq!(left, []);
    std::fs::remove_dir_all(program.log.parent().unwrap()).unwrap();
}

#[tokio::test]
async fn a_program_whose_name_is_no_text_is_seen() {
    use std::os::unix::ffi::OsStrExt as _;

    let program = shell(session(9), "");
    let path = program.log.with_file_name(std::ffi::OsStr::from_bytes(b"\xff) Z"));
    std::fs::copy("/bin/sleep", &path).unwrap();
    let program = Program { path, arguments: vec!["60".into()], ..program };
    let process = Process::spawn(&program, &Handle::current()).unwrap();
    assert!(is_alive(process.identity()));
    process.kill_now();
    process.exited().await;
    assert!(process.gone_within(Duration::from_secs(5)).await);
    nothing_is_left_of(&program);
}

#[tokio::test]
async fn a_missing_program_is_named() {
    let program = Program { path: "/nowhere/Xvfb".into(), ..shell(session(1), "") };
    let refused = Process::spawn(&program, &Handle::current());
    assert!(matches!(refused, Err(SpawnError::Missing { program }) if program.ends_with("Xvfb")));
    std::fs::remove_dir_all(program.log.parent().unwrap()).unwrap();
}

#[tokio::test]
async fn a_program_that_cannot_be_executed_is_an_error_of_its_start_also_behind_a_shell() {
    use std::os::unix::fs::PermissionsExt as _;
    let base = Program { open_files: Some(333), ..shell(session(11), "") };
    let directory = base.log.parent().unwrap().to_owned();
    let file = |name: &str, text: &str, mode: u32| {
        let path = directory.join(name);
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        path
    };
    for path in [
        file("no-interpreter", "#!/nowhere/python\nprint()\n", 0o755),
        file("no-program", "GIF89a", 0o755),
        file("not-executable", "#!/bin/sh\n", 0o644),
        directory.clone(),
    ] {
        let refused =
            Process::spawn(&Program { path: path.clone(), ..base.clone() }, &Handle::current());
        assert!(matches!(refused, Err(SpawnError::Failed { .. })), "{}", path.display());
    }
    let path = file("script", "#!/bin/sh -e\nexit 3\n", 0o755);
    let process = Process::spawn(&Program { path, ..base.clone() }, &Handle::current()).unwrap();
    assert_eq!(process.exited().await, Exit::Status(3));
    process.gone_within(Duration::from_secs(5)).await;
    nothing_is_left_of(&base);
}

#[tokio::test]
async fn an_exit_is_told_with_its_status_and_the_end_of_the_log() {
    let program = shell(session(2), "echo first; echo last >&2; exit 7");
    let process = Process::spawn(&program, &Handle::current()).unwrap();
    assert_eq!(process.exited().await, Exit::Status(7));
    assert_eq!(process.log_tail(), ["first", "last"]);
    assert!(process.gone_within(Duration::from_secs(5)).await);
    assert!(!is_alive(process.identity()));
    nothing_is_left_of(&program);
}

#[tokio::test]
async fn the_environment_and_the_limit_are_as_named() {
    let script = "env | sort | cut -d= -f1; ulimit -n; exit 0";
    let program = Program { open_files: Some(333), ..shell(session(3), script) };
    let process = Process::spawn(&program, &Handle::current()).unwrap();
    assert_eq!(process.exited().await, Exit::Status(0));
    let said = process.log_tail();
    assert!(said.contains(&"333".to_owned()), "{said:?}");
    assert!(said.contains(&MARKER.to_owned()), "{said:?}");
    assert!(!said.contains(&"HOME".to_owned()), "{said:?}");
    process.gone_within(Duration::from_secs(5)).await;
    nothing_is_left_of(&program);
}

#[tokio::test]
async fn one_that_ignores_sigterm_and_forks_is_gone_after_its_grace() {
    let script = "trap '' TERM; (trap '' TERM; sleep 600) & echo up; while :; do sleep 600; done";
    let program = shell(session(4), script);
    let process = Process::spawn(&program, &Handle::current()).unwrap();
    says(&program, "up").await;
    assert!(is_ours(process.identity(), program.session));
    assert!(!is_ours(process.identity(), session(999)));

    let began = Instant::now();
    assert!(process.stop(Duration::from_millis(200)).await);
    assert!(began.elapsed() < Duration::from_secs(10), "took {:?} of 600 s", began.elapsed());
    assert_eq!(process.exited().await, Exit::Signal(9));
    nothing_is_left_of(&program);
}

#[tokio::test]
async fn what_a_leader_leaves_behind_in_its_group_ends_with_it() {
    let program = shell(session(5), "sleep 600 & exit 0");
    let process = Process::spawn(&program, &Handle::current()).unwrap();
    assert_eq!(process.exited().await, Exit::Status(0));
    assert!(process.gone_within(LINGER * 2).await);
    nothing_is_left_of(&program);
}

#[tokio::test]
async fn what_left_its_group_is_found_by_the_marker() {
    let program = shell(session(6), "setsid sleep 600 & echo up; wait");
    let process = Process::spawn(&program, &Handle::current()).unwrap();
    says(&program, "up").await;
    // Before `setsid` has made the new group, the kill of the old one would include it.
    let left = || {
        identity::all().into_iter().any(|(pid, stat)| {
            stat.group != process.identity().pid && identity::is_marked(pid, program.session)
        })
    };
    let deadline = Instant::now() + Duration::from_secs(10);
    while !left() {
        assert!(Instant::now() < deadline, "nothing left the group");
        tokio::task::yield_now().await;
    }
    assert!(process.kill().await);
    assert!(left(), "it was to survive the kill of the group");
    assert_eq!(sweep(program.session).await, Vec::<String>::new());
    nothing_is_left_of(&program);
}

#[test]
fn a_log_that_grew_is_cut_and_keeps_its_end() {
    let path = std::env::temp_dir().join(format!("greenroom-log-{}", std::process::id()));
    let lines: String = (0..1_000).map(|number| format!("line {number}\n")).collect();
    std::fs::write(&path, lines).unwrap();
    cut(&path, 100_000).unwrap();
    assert_eq!(std::fs::metadata(&path).unwrap().len(), 8_890);
    cut(&path, 1_000).unwrap();
    assert!(std::fs::metadata(&path).unwrap().len() < 400);
    assert_eq!(tail(&path).last().unwrap(), "line 999");
    std::fs::remove_file(&path).unwrap();
}
