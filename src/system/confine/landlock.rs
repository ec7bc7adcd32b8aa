//! The Landlock domain of a program: the rules of its kind and of its session, as far as the kernel
//! supports them. See the kernel's `Documentation/userspace-api/landlock.rst`.

use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::OnceLock;

use landlock::{
    ABI, Access as _, AccessFs, AccessNet, BitFlags, LandlockStatus, NetPort, PathBeneath, Ruleset,
    RulesetAttr as _, RulesetCreated, RulesetCreatedAttr as _, RulesetError, Scope,
};
use rustix::fs::{FileType, Mode, OFlags};
use rustix::io::Errno;

use super::rules::{self, Access};
use super::spec::{Feature, Landlock, ProgramKind};
use super::status::{ConfineError, Step, failed};

/// The newest Landlock ABI that the rules use.
const NEWEST: i32 = 10;

/// The level of Landlock in force.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Level {
    /// The ABI in force; 0 means none.
    pub abi: i32,
    /// Features that were requested and are not enforced.
    pub unenforced: Vec<Feature>,
}

/// A domain that is created and not entered yet.
#[derive(Debug)]
pub struct Prepared {
    /// The ruleset; none if the absence of Landlock is simulated.
    ruleset: Option<RulesetCreated>,
    newest: i32,
    asked: Vec<Feature>,
    require: Vec<Feature>,
}

impl Prepared {
    /// Creates the domain, and opens the path of each rule.
    pub fn of(kind: ProgramKind, spec: &Landlock) -> Result<Self, ConfineError> {
        let newest = spec.simulate_abi.map_or(NEWEST, |abi| abi.clamp(0, NEWEST));
        let asked = asked(spec);
        let ruleset = if newest == 0 { None } else { Some(ruleset(kind, spec, newest)?) };
        Ok(Self { ruleset, newest, asked, require: spec.require.clone() })
    }

    /// Enters the domain irrevocably, for the calling thread and all its descendants.
    pub fn enter(self) -> Result<Level, ConfineError> {
        let kernel = match self.ruleset.map(RulesetCreated::restrict_self).transpose() {
            Ok(Some(entered)) => number(entered.landlock),
            Ok(None) => 0,
            Err(cause) => return Err(refused(cause)),
        };
        let abi = kernel.min(self.newest);
        let lacks = |feature: &Feature| abi < feature.since();
        let missing: Vec<_> = self.require.into_iter().filter(lacks).collect();
        if !missing.is_empty() {
            return Err(ConfineError::Unenforceable { abi, features: missing });
        }
        Ok(Level { abi, unenforced: self.asked.into_iter().filter(lacks).collect() })
    }
}

/// The Landlock ABI of this machine; 0 means none. A temporary thread enters a domain to find out.
pub fn abi() -> i32 {
    let tried = std::thread::spawn(|| {
        let ruleset = Ruleset::default().handle_access(AccessFs::MakeChar)?.create()?;
        ruleset.restrict_self()
    });
    tried.join().ok().and_then(Result::ok).map_or(0, |entered| number(entered.landlock))
}

/// The cached result of [`abi`].
pub fn known_abi() -> i32 {
    static ABI_OF_MACHINE: OnceLock<i32> = OnceLock::new();
    *ABI_OF_MACHINE.get_or_init(abi)
}

fn number(status: LandlockStatus) -> i32 {
    let LandlockStatus::Available { effective_abi, .. } = status else { return 0 };
    (1..=NEWEST).rev().find(|abi| ABI::from(*abi) == effective_abi).unwrap_or(0)
}

/// The features that a specification requests and that some kernels lack.
fn asked(spec: &Landlock) -> Vec<Feature> {
    let has_ports = spec.connect.is_some() || spec.bind.is_some();
    let is_asked = |feature: &Feature| match feature {
        Feature::Files | Feature::Truncation | Feature::Devices | Feature::PathSockets => true,
        Feature::Ports => has_ports,
        Feature::Udp => spec.connect.is_some(),
        Feature::Scopes => spec.signals || spec.abstract_sockets,
    };
    Feature::ALL.into_iter().filter(is_asked).collect()
}

fn refused(cause: RulesetError) -> ConfineError {
    failed(Step::Landlock, "the domain is refused")(io::Error::other(cause))
}

fn ruleset(
    kind: ProgramKind,
    spec: &Landlock,
    newest: i32,
) -> Result<RulesetCreated, ConfineError> {
    let abi = ABI::from(newest);
    let mut handled = Ruleset::default().handle_access(AccessFs::from_all(abi)).map_err(refused)?;
    let (binds, connects) = ports(spec, abi);
    if !(binds | connects).is_empty() {
        handled = handled.handle_access(binds | connects).map_err(refused)?;
    }
    if newest >= Feature::Scopes.since() {
        let scopes =
            [(spec.signals, Scope::Signal), (spec.abstract_sockets, Scope::AbstractUnixSocket)];
        for (_, scope) in scopes.into_iter().filter(|(is_asked, _)| *is_asked) {
            handled = handled.scope(scope).map_err(refused)?;
        }
    }
    let mut ruleset = handled.create().map_err(refused)?;

    for (path, access) in rules::of(kind) {
        if let Some(opened) = open(Path::new(path), true)? {
            ruleset = add(ruleset, opened, access, abi)?;
        }
    }
    let own = [
        (&spec.execute, Access::Execute),
        (&spec.read, Access::Read),
        (&spec.write, Access::Write),
    ];
    for (paths, access) in own {
        for path in paths {
            if let Some(opened) = open(path, false)? {
                ruleset = add(ruleset, opened, access, abi)?;
            }
        }
    }
    for (allowed, access) in [(&spec.connect, connects), (&spec.bind, binds)] {
        if access.is_empty() {
            continue;
        }
        for port in allowed.iter().flatten() {
            // UDP stays refused: rules for ports cover TCP only.
            let tcp = access & (AccessNet::BindTcp | AccessNet::ConnectTcp);
            ruleset = ruleset.add_rule(NetPort::new(*port, tcp)).map_err(refused)?;
        }
    }
    Ok(ruleset)
}

/// The port rights that the ruleset handles: to bind, and to connect.
fn ports(spec: &Landlock, abi: ABI) -> (BitFlags<AccessNet>, BitFlags<AccessNet>) {
    let all = AccessNet::from_all(abi);
    let of = |is_asked: bool, some: BitFlags<AccessNet>| {
        if is_asked { all & some } else { BitFlags::EMPTY }
    };
    // Binding UDP stays permitted: only the destination of a datagram matters.
    let binds = of(spec.bind.is_some(), AccessNet::BindTcp.into());
    let connects = of(spec.connect.is_some(), AccessNet::ConnectTcp | AccessNet::ConnectSendUdp);
    (binds, connects)
}

struct Opened {
    path: OwnedFd,
    is_directory: bool,
}

/// Opens the path of a rule. Returns none if it may be absent and is.
fn open(path: &Path, may_be_absent: bool) -> Result<Option<Opened>, ConfineError> {
    let opened = rustix::fs::open(path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty());
    let descriptor = match opened {
        Ok(descriptor) => descriptor,
        Err(Errno::NOENT | Errno::NOTDIR | Errno::ACCESS) if may_be_absent => return Ok(None),
        Err(cause) => return Err(failed(Step::Landlock, path.display())(cause)),
    };
    let stat = rustix::fs::fstat(&descriptor).map_err(failed(Step::Landlock, path.display()))?;
    let is_directory = FileType::from_raw_mode(stat.st_mode) == FileType::Directory;
    Ok(Some(Opened { path: descriptor, is_directory }))
}

fn add(
    ruleset: RulesetCreated,
    opened: Opened,
    access: Access,
    abi: ABI,
) -> Result<RulesetCreated, ConfineError> {
    let mut rights = rights(access, abi);
    if !opened.is_directory {
        // The kernel rejects directory rights for files.
        rights &= AccessFs::from_file(abi);
    }
    ruleset.add_rule(PathBeneath::new(opened.path, rights)).map_err(refused)
}

/// The rights of an access, limited to those that the ABI knows.
fn rights(access: Access, abi: ABI) -> BitFlags<AccessFs> {
    let read = AccessFs::ReadFile | AccessFs::ReadDir | AccessFs::ResolveUnix;
    let plain = AccessFs::ReadFile
        | AccessFs::WriteFile
        | AccessFs::Truncate
        | AccessFs::MakeReg
        | AccessFs::MakeSock
        | AccessFs::RemoveFile;
    let rights = match access {
        Access::Execute => read | AccessFs::Execute,
        Access::Read => read,
        Access::Use => read | AccessFs::WriteFile | AccessFs::Truncate | AccessFs::IoctlDev,
        Access::Drop => plain,
        Access::Write => {
            let folders = AccessFs::MakeDir | AccessFs::RemoveDir | AccessFs::Refer;
            read | plain | folders | AccessFs::MakeSym | AccessFs::MakeFifo
        }
    };
    rights & AccessFs::from_all(abi)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_access_writes_and_executes_and_none_makes_a_device() {
        for access in [Access::Execute, Access::Read, Access::Use, Access::Write, Access::Drop] {
            let rights = rights(access, ABI::V10);
            assert!(!rights.intersects(AccessFs::MakeChar | AccessFs::MakeBlock), "{access:?}");
            let executes = rights.contains(AccessFs::Execute);
            assert!(!(executes && rights.contains(AccessFs::WriteFile)), "{access:?}");
        }
    }

    #[test]
    fn what_a_kernel_lacks_is_reported_or_refused() {
        let spec = |require: &[Feature]| Landlock {
            connect: Some(vec![80]),
            signals: true,
            abstract_sockets: true,
            require: require.to_vec(),
            simulate_abi: Some(0),
            ..Landlock::default()
        };
        let level = Prepared::of(ProgramKind::Ffmpeg, &spec(&[])).unwrap().enter().unwrap();
        assert_eq!((level.abi, level.unenforced), (0, Feature::ALL.to_vec()));
        let refused = Prepared::of(ProgramKind::Ffmpeg, &spec(&[Feature::Files])).unwrap().enter();
        assert!(matches!(refused, Err(ConfineError::Unenforceable { abi: 0, .. })));
    }

    #[test]
    fn each_abi_gives_a_domain_that_holds() {
        for abi in 1..=NEWEST {
            let outcome = std::thread::spawn(move || {
                let spec = Landlock {
                    connect: Some(vec![1]),
                    bind: Some(vec![0]),
                    signals: true,
                    abstract_sockets: true,
                    simulate_abi: Some(abi),
                    ..Landlock::default()
                };
                let level = Prepared::of(ProgramKind::Ffmpeg, &spec).unwrap().enter().unwrap();
                (level, std::fs::read("/etc/hosts").is_err(), std::fs::read("/etc/passwd").is_ok())
            });
            let (level, refused, read) = outcome.join().unwrap();
            assert!(level.abi <= abi && level.abi >= 1, "{abi}: this kernel has no Landlock");
            assert!(refused && read, "{abi}");
        }
    }

    #[test]
    fn a_path_of_a_session_that_is_missing_is_an_error() {
        let spec = Landlock { read: vec!["/nowhere/xauthority".into()], ..Landlock::default() };
        let refused = Prepared::of(ProgramKind::Xvfb, &spec).unwrap_err();
        assert!(refused.to_string().contains("/nowhere/xauthority"), "{refused}");
    }
}
