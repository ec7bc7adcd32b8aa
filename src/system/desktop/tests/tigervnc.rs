//! The same tests with Xtigervnc, which is the X server and the VNC server in one.

use rustix::process::{Pid, Signal, kill_process};
use secrecy::ExposeSecret as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::*;
use crate::domain::rfb::{Connecting, Step};
use crate::system::process::is_ours;
use crate::system::settings::VncProgram;

fn within() -> Settings {
    Settings { vnc_server: VncProgram::Tigervnc, ..Settings::default() }
}

/// Does the handshake with a password; returns the display's size if the server admits the client.
async fn enter(endpoint: &VncEndpoint, password: &str) -> Option<(u16, u16)> {
    let mut stream = tokio::net::TcpStream::connect(endpoint.address).await.unwrap();
    stream.write_all(&crate::domain::rfb::VERSION).await.unwrap();
    let mut handshake = Connecting::new(password.as_bytes());
    let mut input = Vec::new();
    loop {
        let mut rest: &[u8] = &input;
        let step = handshake.next(&mut rest).ok()?;
        input = rest.to_vec();
        match step {
            Step::More => {
                let read = timeout(Duration::from_secs(5), stream.read_buf(&mut input)).await;
                if read.expect("it does not answer").ok()? == 0 {
                    return None;
                }
            }
            Step::Send(bytes) => stream.write_all(&bytes).await.unwrap(),
            Step::Done(init) => return Some((init.width, init.height)),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_display_that_serves_vnc_lets_in_who_has_the_password_and_leaves_nothing() {
    let world = World::new(within());
    let desktop = world.up(colour("rgb(200,30,90)")).await;
    let identity = desktop.identity().clone();
    assert_eq!(identity.vnc.as_ref(), Some(&identity.xvfb));
    shows(&*desktop, [200, 30, 90]).await;
    super::windows::covers(&*desktop).await;

    let seat = desktop.vnc().take_seat().await.unwrap();
    assert_eq!(seat.endpoint.address.port(), identity.vnc_port);
    // A probe and clients with a wrong password do not lock others out.
    for _ in 0..8 {
        assert_eq!(banner(&seat.endpoint).await, b"RFB 003.008\n");
        assert_eq!(enter(&seat.endpoint, "wrong").await, None);
    }
    let password = seat.endpoint.password.expose_secret();
    assert_eq!(enter(&seat.endpoint, password).await, Some((640, 480)));

    let death = desktop.death();
    assert_eq!(desktop.shut_down().await, Vec::<String>::new());
    assert!(timeout(Duration::from_millis(300), death).await.is_err(), "it was asked to end");
    no_display_is_left(&identity).await;
    assert!(TcpListener::bind(("127.0.0.1", identity.vnc_port)).is_ok());
    world.nothing_is_left();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_display_that_serves_vnc_comes_back_from_its_death_where_it_was() {
    let world = World::new(within());
    let desktop = world.up(colour("rgb(1,2,3)")).await;
    let before = desktop.identity().clone();
    let seat = desktop.vnc().take_seat().await.unwrap();
    shows(&*desktop, [1, 2, 3]).await;
    kill_process(Pid::from_raw(before.xvfb.pid).unwrap(), Signal::KILL).unwrap();
    let death = timeout(Duration::from_secs(20), desktop.death()).await.unwrap();
    assert_eq!(death.failure.code, "tigervnc_died");
    let revived = desktop.restart(CancellationToken::new()).await;
    let desktop = revived.unwrap_or_else(|cause| panic!("{cause:?}")).desktop;
    let after = desktop.identity().clone();
    assert_eq!((after.display_number, after.vnc_port), (before.display_number, before.vnc_port));
    assert_eq!(after.vnc.as_ref(), Some(&after.xvfb));
    assert_ne!(after.xvfb, before.xvfb);
    shows(&*desktop, [1, 2, 3]).await;
    let password = seat.endpoint.password.expose_secret();
    assert_eq!(enter(&seat.endpoint, password).await, Some((640, 480)));
    assert_eq!(desktop.shut_down().await, Vec::<String>::new());
    no_display_is_left(&after).await;
    world.nothing_is_left();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_display_that_serves_vnc_is_taken_over_by_a_server_that_would_start_another_kind() {
    let world = World::new(within());
    let desktop = world.up(colour("rgb(9,9,200)")).await;
    let identity = desktop.identity().clone();
    let password = desktop.vnc().take_seat().await.unwrap().endpoint.password;
    drop(desktop);

    let runtime = tokio::runtime::Handle::current();
    let another = Desktops::new(&world.data, sealed(Settings::default()), runtime);
    let order = Order::new(world.session, small(None));
    let desktop = another.adopt(order).await.unwrap();
    assert_eq!(desktop.identity(), &identity);
    shows(&*desktop, [9, 9, 200]).await;
    let seat = desktop.vnc().take_seat().await.unwrap();
    assert_eq!(enter(&seat.endpoint, password.expose_secret()).await, Some((640, 480)));
    assert!(is_ours(&identity.xvfb, world.session));
    assert_eq!(desktop.shut_down().await, Vec::<String>::new());
    no_display_is_left(&identity).await;
    world.nothing_is_left();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_display_that_finds_its_vnc_port_taken_gets_the_next_one() {
    let late = World::fake(
        "Xtigervnc",
        "[ -e \"$0.flag\" ] && rm \"$0.flag\" && exec Xtigervnc \"$@\"\n\
         touch \"$0.flag\"; echo 'unable to bind: Address already in use (98)' >&2; exit 1",
    );
    let world = World::new(Settings { tigervnc: late.0.clone(), ..within() });
    let desktop = world.up(small(None)).await;
    let seat = desktop.vnc().take_seat().await.unwrap();
    assert_eq!(seat.endpoint.address.port(), desktop.identity().vnc_port);
    assert_ne!(desktop.identity().vnc_port, Settings::default().vnc_port_first);
    assert_eq!(
        enter(&seat.endpoint, seat.endpoint.password.expose_secret()).await,
        Some((640, 480))
    );
    assert_eq!(desktop.shut_down().await, Vec::<String>::new());
    world.nothing_is_left();
}
