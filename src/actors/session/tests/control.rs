//! Tickets, viewers and control, on a paused clock.

use super::*;
use crate::actors::tickets::Uses;
use crate::domain::control::{Control, Credential, Refusal as NotGiven};
use crate::domain::ids::{ApiKeyId, ViewerId};
use crate::domain::rfb::Role;
use crate::domain::ticket::TicketRole;

fn visit(name: &str, role: Role) -> Visit {
    Visit {
        credential: Credential::Key(ApiKeyId::from(1)),
        role,
        label: Some(name.to_owned()),
        client: Some(name.parse().unwrap()),
    }
}

fn join(visit: Visit) -> Join {
    Join { visit, kind: ViewerKind::Messages }
}

fn holder(view: &SessionView) -> Option<String> {
    view.control.user().and_then(|user| user.label.clone())
}

fn invite(role: TicketRole) -> Invite {
    Invite { key: 1.into(), role, label: None, ttl: Duration::from_secs(600), uses: Uses::Many }
}

#[actix::test]
async fn of_two_that_take_control_at_once_one_has_it_and_the_other_hears_who() {
    pause();
    let stage = Stage::new(Outside::default());
    let (id, view) = stage.running().await;
    let ann = ask!(stage, id, join(visit("ann", Role::Control))).unwrap();
    let bob = ask!(stage, id, join(visit("bob", Role::Control))).unwrap();
    let (first, second) = tokio::join!(
        stage.registry.ask(route(id, TakeControl { viewer: ann.id })),
        stage.registry.ask(route(id, TakeControl { viewer: bob.id })),
    );
    first.unwrap().unwrap();
    let Err(RouteError::Session(SessionError::Control(NotGiven::Held { label, .. }))) =
        second.unwrap()
    else {
        panic!("both have control");
    };
    assert_eq!(label.as_deref(), Some("ann"));
    assert_eq!(holder(&view.borrow()).as_deref(), Some("ann"));

    ask!(stage, id, CedeControl { viewer: ann.id }).unwrap();
    ask!(stage, id, TakeControl { viewer: bob.id }).unwrap();
    assert_eq!(holder(&view.borrow()).as_deref(), Some("bob"));
}

#[actix::test]
async fn who_may_only_watch_is_never_given_control() {
    pause();
    let stage = Stage::new(Outside::default());
    let (id, view) = stage.running().await;
    let ann = ask!(stage, id, join(visit("ann", Role::Watch))).unwrap();
    let refused = ask!(stage, id, TakeControl { viewer: ann.id });
    let Err(RouteError::Session(SessionError::Control(NotGiven::WatchOnly))) = refused else {
        panic!("{refused:?}");
    };
    assert_eq!(view.borrow().control, Control::Agent);
}

#[actix::test]
async fn control_survives_a_reconnect_of_the_same_page_and_not_its_absence() {
    pause();
    let stage = Stage::new(Outside::default());
    let grace = Duration::from_secs(stage.world.settings.control_grace_seconds);
    let (id, mut view) = stage.running().await;
    let ann = ask!(stage, id, join(visit("ann", Role::Control))).unwrap();
    ask!(stage, id, TakeControl { viewer: ann.id }).unwrap();
    drop(ann);
    sleep(grace / 2).await;
    let again = ask!(stage, id, join(visit("ann", Role::Control))).unwrap();
    sleep(grace * 2).await;
    assert_eq!(holder(&view.borrow()).as_deref(), Some("ann"), "lost by a reconnect");

    drop(again);
    let left = Instant::now();
    view.wait_for(|view| view.control == Control::Agent).await.unwrap();
    let after = left.elapsed();
    assert!(after >= grace && after < grace + Duration::from_secs(1), "back after {after:?}");
}

#[actix::test]
async fn a_page_is_there_as_long_as_it_has_any_connection_to_ask_over() {
    pause();
    let stage = Stage::new(Outside::default());
    let grace = Duration::from_secs(stage.world.settings.control_grace_seconds);
    let (id, mut view) = stage.running().await;
    let channel = ask!(stage, id, join(visit("ann", Role::Control))).unwrap();
    let over_devtools = Join { visit: visit("ann", Role::Control), kind: ViewerKind::Input };
    let input = ask!(stage, id, over_devtools).unwrap();
    ask!(stage, id, TakeControl { viewer: input.id }).unwrap();
    drop(channel);
    sleep(grace * 2).await;
    assert_eq!(holder(&view.borrow()).as_deref(), Some("ann"));
    assert_eq!(view.borrow().viewers, 0, "neither of them shows anything");
    drop(input);
    view.wait_for(|view| view.control == Control::Agent).await.unwrap();
}

#[actix::test]
async fn of_two_pages_that_come_at_once_with_a_ticket_for_one_the_second_is_refused() {
    pause();
    let stage = Stage::new(Outside::default());
    let (id, _view) = stage.running().await;
    let made = ask!(stage, id, Invite { uses: Uses::Single, ..invite(TicketRole::Watch) }).unwrap();
    let credential = Credential::Ticket(made.ticket.id);
    let page = |name: &str| Visit { credential, ..visit(name, Role::Watch) };
    let _ann = ask!(stage, id, Watch { visit: page("ann") }).unwrap();
    let refused = ask!(stage, id, Watch { visit: page("bob") });
    assert!(matches!(refused, Err(RouteError::Session(SessionError::TicketUsed))));
    ask!(stage, id, join(page("ann"))).unwrap();
}

#[actix::test]
async fn control_goes_back_when_nothing_is_typed_and_stays_with_whoever_types() {
    pause();
    let stage = Stage::new(Outside::default());
    let idle = Duration::from_secs(stage.world.settings.control_idle_seconds);
    let (id, mut view) = stage.running().await;
    let ann = ask!(stage, id, join(visit("ann", Role::Control))).unwrap();
    ask!(stage, id, TakeControl { viewer: ann.id }).unwrap();
    sleep(idle / 2).await;
    ann.activity.note(stage.world.clock.now());
    let typed = Instant::now();
    view.wait_for(|view| view.control == Control::Agent).await.unwrap();
    let after = typed.elapsed();
    assert!(after + Duration::from_secs(1) >= idle, "back after {after:?}");
    assert!(after < idle + Duration::from_secs(2), "back after {after:?}");
}

#[actix::test]
async fn a_ticket_opens_its_own_session_until_it_expires_or_is_revoked() {
    pause();
    let stage = Stage::new(Outside::default());
    let (id, _view) = stage.running().await;
    let (other, _other_view) = stage.running().await;
    let opened = |session, secret: &str| {
        stage.world.views.tickets.opened(session, secret, stage.world.clock.now())
    };
    let made = ask!(stage, id, invite(TicketRole::Watch)).unwrap();
    let secret = made.secret.reveal();
    assert_eq!(opened(id, secret).map(|ticket| ticket.role), Some(TicketRole::Watch));
    assert!(opened(other, secret).is_none());
    assert!(opened(id, "vt_nonsense").is_none());
    sleep(Duration::from_secs(600)).await;
    assert!(opened(id, secret).is_none(), "it has expired");

    let made = ask!(stage, id, invite(TicketRole::Control)).unwrap();
    let visit =
        Visit { credential: Credential::Ticket(made.ticket.id), ..visit("ann", Role::Control) };
    let ann = ask!(stage, id, join(visit.clone())).unwrap();
    let seen = ask!(stage, id, Watch { visit }).unwrap();
    ask!(stage, id, TakeControl { viewer: ann.id }).unwrap();
    ask!(stage, id, Kick { viewer: made.ticket.id }).unwrap();
    assert!(opened(id, made.secret.reveal()).is_none(), "it was revoked");
    assert!(ann.out.is_cancelled() && seen.connected.out.is_cancelled());
    assert_eq!(ann.view.borrow().control, Control::Agent);

    let unknown = ask!(stage, id, Kick { viewer: ViewerId::from(9) });
    assert!(matches!(unknown, Err(RouteError::Session(SessionError::UnknownViewer(_)))));
}

#[actix::test]
async fn more_viewers_and_tickets_than_may_be_are_refused_and_a_leaver_makes_room() {
    pause();
    let settings = crate::actors::Settings { max_viewers: 2, max_tickets: 1, ..Default::default() };
    let stage = Stage::new(Outside { settings, ..Outside::default() });
    let (id, mut view) = stage.running().await;
    let watch = |name: &str| Watch { visit: visit(name, Role::Watch) };
    let ann = ask!(stage, id, watch("ann")).unwrap();
    let _bob = ask!(stage, id, watch("bob")).unwrap();
    let refused = ask!(stage, id, watch("cyd"));
    assert!(matches!(
        refused,
        Err(RouteError::Session(SessionError::TooManyViewers { limit: 2, .. }))
    ));
    drop(ann);
    view.wait_for(|view| view.viewers == 1).await.unwrap();
    ask!(stage, id, watch("cyd")).unwrap();

    ask!(stage, id, invite(TicketRole::Watch)).unwrap();
    let refused = ask!(stage, id, invite(TicketRole::Watch));
    assert!(matches!(refused, Err(RouteError::Session(SessionError::TooManyTickets { limit: 1 }))));
}
