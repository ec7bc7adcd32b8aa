//! Builds the server from its parts, and stops it in order.
//!
//! ```text
//! data directory --> database --> first start --> recovery of a previous server --> registry --> HTTP
//! ```
//!
//! It stops in the reverse order, see `stopping`.

mod audit;
mod browsers;
mod data;
mod events;
mod first_start;
mod isolation;
mod recovery;
mod sealing;
mod stopping;
mod storage;
mod tickets;
pub mod upgrade;

use std::future::Future;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::num::NonZeroUsize;
use std::path::Path;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use actix::Arbiter;
use actix_web::web::Data;
use actix_web::{HttpServer, dev::Server};
use anyhow::Context as _;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use tokio::runtime::Handle;
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tracing::{error, info};

use crate::actors::ask::Address;
use crate::actors::clock::Clock;
use crate::actors::events::Events;
use crate::actors::journal::{Capacity, Journal};
use crate::actors::lanes::Lanes;
use crate::actors::ledger::Ledger;
use crate::actors::passes::{Passes, Reach};
use crate::actors::pool::{self, KeptPools, Pool};
use crate::actors::quotas::{self, Quotas};
use crate::actors::registry::Registry;
use crate::actors::secrets::Secrets;
use crate::actors::views::Views;
use crate::actors::world::World;
use crate::config::Settings;
use crate::db::Db;
use crate::domain::ids::Mint;
use crate::http;
use crate::http::connections::Connections;
use crate::http::front::Front;
use crate::live::bridge;
use crate::live::state::Live;
use crate::service::core::Core;
use crate::service::keys::{Keys, SkyvernKeys};
use crate::service::pictures::PictureTurns;
use crate::service::{debug_sessions, retention, webhooks};
use crate::system::desktop::Desktops;
use crate::system::film::Films;
use crate::system::objects::Objects;
use crate::system::python::Python;
use crate::system::stand_ins::StandIns;
use crate::traces::Traces;

/// The options of a single start, which are not settings of the installation.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ServeOptions {
    /// True if a stop leaves the browsers to the next server instead of closing them.
    pub keep_sessions: bool,
    /// True if sessions get stand-ins without programs in place of desktops.
    pub stand_ins: bool,
    /// The settings in force with the origin of each, without secrets, for operators.
    pub shown: Value,
}

/// The file in which a data directory keeps the pools that the API has made.
const POOLS: &str = "pools.json";

/// Refuses a data directory with real desktops: stand-ins would take their place, and nobody would end them.
fn without_desktops(data: &Path) -> anyhow::Result<()> {
    let sessions = std::fs::read_dir(data.join("sessions")).into_iter().flatten();
    let mut desktops = sessions.flatten().map(|entry| entry.path().join("desktop.json"));
    anyhow::ensure!(
        !desktops.any(|file| file.exists()),
        "{} has sessions with desktops: stand-ins need a data directory of their own",
        data.display()
    );
    Ok(())
}

/// Runs a future to completion on an actor system of this thread. Work that must not block a
/// mailbox runs on a runtime with its own threads.
pub fn block_on<F: Future>(future: F) -> anyhow::Result<F::Output> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("the runtime cannot be built")?;
    // The system takes the runtime by value and never returns it: this runtime lives as long as the
    // system.
    let system = actix::System::with_tokio_rt(move || runtime);
    Ok(system.block_on(future))
}

/// Serves until the process receives a signal to stop. Prints `listening on http://ADDRESS:PORT` on
/// standard output once requests are answered.
pub async fn serve(mut settings: Settings, options: ServeOptions) -> anyhow::Result<()> {
    // This comes first, because it replaces any handler that was set before.
    let signals = stopping::signals()?;
    let data = data::open(&settings.data)?;
    if options.stand_ins {
        without_desktops(&settings.data)?;
    }
    isolation::confine(&mut settings).await?;
    let transit = data::emptied(settings.data.join("transit"))?;
    let vault = Secrets::new(data.secret).vault();
    settings.desktop.vault = Some(vault);
    let db = Db::open(&settings.database, &settings.data).await?.sealed_with(vault);
    sealing::seal_former(&db, &data).await?;
    let (organization, announced) = first_start::prepare(&db, &settings.keys, &data).await?;
    let node = first_start::register_node(&db, &data, settings.http.listen).await?;

    let clock = Clock::start();
    let capacity = Capacity {
        server: settings.sessions.journal_messages,
        actor: settings.sessions.journal_messages_of_actor,
    };
    let runtime = Handle::current();
    let (traces, exporter) = Traces::start(&settings.traces, &node.to_string(), &runtime)
        .context("traces cannot be exported (traces)")?;
    let (journal, trail) = Journal::new(clock, Mint::new(rand::random()), capacity, traces);
    let (events, pending) = Events::new(clock);
    let limits = settings.limits.clone();
    let desktops =
        Desktops::limited(&settings.data, settings.desktop.clone(), limits, runtime.clone());
    let files = desktops.directories().seal_former();
    if files > 0 {
        info!("sealed the secrets in {files} files of sessions");
    }
    let closing = CancellationToken::new();
    let objects = storage::start(&settings, &closing).await?;
    let world = Arc::new(World {
        node,
        clock,
        mint: Mint::new(rand::random()),
        journal,
        metrics: Arc::default(),
        events,
        views: Views::default(),
        secrets: Secrets::new(data.secret),
        store: Arc::new(db.clone()),
        launcher: if options.stand_ins { Arc::new(StandIns) } else { Arc::new(desktops.clone()) },
        pool: Pool::new(
            &settings.pool,
            KeptPools::at(data.file(POOLS)),
            digest_for_desktops(&settings),
            clock,
            runtime.clone(),
        ),
        films: Films::new(
            desktops.directories().clone(),
            settings.recording.clone(),
            settings.desktop.path.clone(),
            settings.desktop.confinement.clone(),
            runtime.clone(),
        ),
        browsers: Arc::new(browsers::Browsers),
        settings: settings.sessions.clone(),
        python: Python::new(
            settings.workflow.python.as_deref(),
            &settings.desktop.path,
            settings.desktop.confinement.clone(),
            runtime.clone(),
        ),
        workflow: settings.blocks(),
        passes: Passes::default(),
        quotas: Quotas::new(&settings.quotas, clock),
        lanes: Lanes::default(),
        reach: OnceLock::new(),
        runtime,
        directories: desktops.directories().clone(),
        objects,
        transit,
        pictures: settings.data.join("pictures"),
    });
    let auditing = audit::start(Arc::clone(&world.store), trail);
    if let Err(cause) = events::settle(&db, node).await {
        error!("events of the former server have no numbers yet: {cause}");
    }
    let storing_events = events::start(db.clone(), clock, settings.events, pending);
    let left = recovery::settle(&db, &world).await?;
    world.quotas.refresh(&db).await?;

    let arbiters: Vec<_> = (0..2).map(|_| Arbiter::new()).collect();
    let handles = arbiters.iter().map(Arbiter::handle).collect();
    let registry = Registry::start(Arc::clone(&world), handles);
    let handed_over = tickets::restore(&data, &world, &left);
    recovery::adopt(left, &registry, &world, (&db, &desktops)).await;

    let ledger = Ledger::new(db.clone(), node, desktops.clone(), world.objects.clone())
        .of_server(registry.used_by("http"), Arc::clone(&world));
    let connections = Connections::default();
    let shown = (ledger, Arc::new(options.shown));
    let (address, server) =
        listen(&settings, &world, &db, &registry, shown, &closing, connections.clone()).await?;
    // Nothing is served before: what is revoked from now on cannot come back.
    handed_over.settle(&world, &db).await?;
    for line in announced {
        println!("{line}");
    }
    let filling = actix::spawn(pool::keep_filled(Arc::clone(&world), closing.clone()));
    info!("organization {organization} on node {node}");
    println!("listening on http://{address}");

    let handle = server.handle();
    let serving = actix::spawn(server);
    let stop = stopping::Stop {
        settings: settings.stop,
        keep_sessions: options.keep_sessions,
        data: &data,
        registry,
        world,
        closing,
        server: handle,
        connections,
        filling,
        auditing,
        storing_events,
        exporter,
        db,
        arbiters,
    };
    stopping::until_told(signals, stop).await?;
    let served = serving.await.context("the task of the HTTP server panicked");
    desktops.directories().tidy();
    served?.context("the HTTP server failed")
}

/// The digest of all that a running desktop keeps: the version that has started it, and these settings.
fn digest_for_desktops(settings: &Settings) -> String {
    let Settings { desktop, limits, isolation, egress, workflow, .. } = settings;
    let text = json!({
        "version": env!("CARGO_PKG_VERSION"),
        "desktop": desktop,
        "limits": limits,
        "isolation": isolation,
        "egress": egress,
        "hosts": [workflow.allowed_hosts, workflow.allow_private_targets],
    });
    let digest = Sha256::digest(text.to_string());
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Returns the ledger of leaks of a data directory, whether or not a server uses it.
pub async fn ledger(settings: &Settings) -> anyhow::Result<Ledger> {
    let data = &settings.data;
    let mut desktop = settings.desktop.clone();
    desktop.placement = settings.placement();
    let node = data::node(data).with_context(|| {
        format!(
            "{} is not the data directory of a server that has run before (data)",
            data.display()
        )
    })?;
    let db = Db::open(&settings.database, data).await?;
    let desktops = Desktops::new(data, desktop, Handle::current());
    let objects = Objects::open(&settings.storage, data).context("storage cannot be used")?;
    Ok(Ledger::new(db, node, desktops, objects))
}

/// The longest time in which the head of a request must arrive.
const HEADERS: Duration = Duration::from_secs(10);

/// The longest time that closing a connection may take.
const DISCONNECT: Duration = Duration::from_secs(5);

/// The most connections that may be open at once: the setting, limited by the number of open files.
fn connections(settings: &http::Settings) -> usize {
    let files = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
    let files = files.and_then(|files| usize::try_from(files).ok()).unwrap_or(usize::MAX);
    let most = settings.max_connections.min(files / 4).max(8);
    if most < settings.max_connections {
        let set = settings.max_connections;
        info!("at most {most} connections, not {set}: the server may open {files} files");
    }
    most
}

/// Returns the address at which a program of this machine reaches a listener.
fn reachable(listening: SocketAddr) -> SocketAddr {
    let ip = match listening.ip() {
        IpAddr::V4(any) if any.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(any) if any.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
        IpAddr::V4(_) | IpAddr::V6(_) => listening.ip(),
    };
    SocketAddr::new(ip, listening.port())
}

async fn listen(
    settings: &Settings,
    world: &Arc<World>,
    db: &Db,
    registry: &Address<Registry>,
    (ledger, config): (Ledger, Arc<Value>),
    closing: &CancellationToken,
    open: Connections,
) -> anyhow::Result<(SocketAddr, Server)> {
    let wanted = settings.http.listen;
    let listener = std::net::TcpListener::bind(wanted)
        .with_context(|| format!("cannot listen on {wanted} (http.listen)"))?;
    let address = listener.local_addr().context("the socket has no address")?;
    let base_url = settings.http.base_url(address);
    let local = http::Settings { public_url: None, ..settings.http.clone() }.base_url(address);
    let _set_once =
        world.reach.set(Reach { public: base_url.clone(), local, address: reachable(address) });
    let webhooks = webhooks::Webhooks::new(settings.webhooks.clone())
        .context("the HTTP client of webhooks cannot be created")?;
    let skyvern_keys = settings.keys.skyvern_secret.as_ref().map(SkyvernKeys::new).transpose();
    let skyvern_keys = skyvern_keys.context("keys.skyvern_secret cannot be used")?;
    let keys =
        Keys::new(db.clone(), Arc::clone(world), settings.keys.wrong_key_delay(), skyvern_keys);
    let core = Core {
        registry: registry.used_by("http"),
        world: Arc::clone(world),
        db: db.clone(),
        keys,
        link_life: settings.http.link_life(),
        own_url: base_url,
        is_public: settings.http.public_url.is_some(),
        streaming: settings.http.streaming,
        turns: debug_sessions::Turns::default(),
        pictures: PictureTurns::default(),
        webhooks: Arc::new(webhooks),
        retention: Arc::new(retention::Retaining::new(settings.retention)),
        closing: closing.clone(),
    };
    let live = Live {
        core: Arc::new(core),
        policy: settings.http.policy(),
        devtools: settings.isolation.devtools(),
        address,
    };
    let front = Data::new(Front {
        live: Arc::new(live),
        operator_key: settings.keys.operator.clone(),
        metrics_key: settings.keys.metrics.clone(),
        config,
        ledger,
        waiting: http::sessions::native_seats::Waiting::default(),
        under_way: http::idempotency::UnderWay::default(),
        name_turns: http::name_turns::NameTurns::default(),
        streams: Arc::new(Semaphore::new(settings.http.max_event_streams)),
        refusals: http::quotas::Refusals::new(settings.quotas.refusal_delay()),
        request_turns: http::quotas::Turns::default(),
        suspended: Arc::default(),
        mcp: Arc::new(http::mcp::Mcp::new(settings.mcp.clone())),
    });
    front.keys.restore_leases().await.context("the leases cannot be read")?;
    actix::spawn(front.keys.clone().follow_revocations(closing.clone()));
    actix::spawn(quotas::follow(
        Arc::clone(world),
        db.clone(),
        registry.used_by("quotas"),
        closing.clone(),
    ));
    actix::spawn(http::admin::suspension::enforce(front.clone()));
    actix::spawn(debug_sessions::sweep(Arc::clone(&front.core)));
    actix::spawn(webhooks::deliver(Arc::clone(&front.core)));
    actix::spawn(retention::enforce(Arc::clone(&front.core)));
    let shared = settings.http.clone();
    let bodies = http::body::Bodies::new(&shared);
    // Each worker has an equal share of the connections.
    let workers = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
    let connections = connections(&settings.http);
    let server = HttpServer::new(move || {
        http::application(&shared, &bodies).app_data(front.clone()).configure(http::routes)
    })
    .disable_signals()
    .workers(workers)
    .max_connections(connections.div_ceil(workers))
    .client_request_timeout(HEADERS)
    .client_disconnect_timeout(DISCONNECT)
    .on_connect(move |connection, extensions| {
        bridge::remember(connection, extensions);
        open.note(connection, extensions);
    })
    .tcp_nodelay(true)
    // A request is dropped when its client disconnects, and loses its place in a queue.
    .h1_allow_half_closed(false)
    .listen(listener)
    .with_context(|| format!("cannot listen on {address}"))?
    .run();
    Ok((address, server))
}

/// A task that runs beside the actors, and ends when its input is closed.
type Task = JoinHandle<()>;
