//! Tabs and windows under the actions of a person, a driver and misbehaving pages.

use super::*;

/// The result of a script in the first page, if that page answers.
async fn try_evaluate(connection: &Connection, script: &str) -> Option<Value> {
    let target = pages(connection).await.first()?.0.clone();
    let attach = json!({ "targetId": target, "flatten": true });
    let attached = connection.call(None, "Target.attachToTarget", attach).await.ok()?;
    let script = json!({ "expression": script, "returnByValue": true });
    let call = connection.call(attached["sessionId"].as_str(), "Runtime.evaluate", script);
    let result = timeout(Duration::from_secs(2), call).await.ok()?.ok()?;
    result.pointer("/result/value").cloned()
}

/// Repeats a script in the first page until its result is `expected`.
async fn becomes(desktop: &dyn Desktop, script: &str, expected: Value) {
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        let connection = devtools(desktop).await;
        let found = try_evaluate(&connection, script).await;
        if found.as_ref() == Some(&expected) {
            return;
        }
        assert!(Instant::now() < deadline, "{script}: {found:?}, not {expected}");
        sleep(Duration::from_millis(20)).await;
    }
}

/// Waits until the first page has loaded the site anew, without its former state.
async fn shows_anew(desktop: &dyn Desktop, site: &str) {
    let state = "document.readyState + location.href + window.kept";
    becomes(desktop, state, json!(format!("complete{site}undefined"))).await;
}

/// The target ids and URLs of all pages.
async fn pages(connection: &Connection) -> Vec<(String, String)> {
    let targets = connection.call(None, "Target.getTargets", json!({})).await.unwrap();
    let targets = targets["targetInfos"].as_array().unwrap().clone();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let pages = targets.iter().filter(|target| target["type"] == "page");
    pages.map(|page| (text(&page["targetId"]), text(&page["url"]))).collect()
}

async fn close_all(desktop: &dyn Desktop) {
    let connection = devtools(desktop).await;
    for (target, _url) in pages(&connection).await {
        let target = json!({ "targetId": target });
        connection.call(None, "Target.closeTarget", target).await.unwrap();
    }
}

async fn repairs(desktop: &dyn Desktop, cause: &str) -> Repair {
    let found = async {
        loop {
            let repair = desktop.repairs().await;
            if repair.cause == cause {
                return repair;
            }
        }
    };
    timeout(Duration::from_secs(60), found).await.unwrap_or_else(|_| panic!("never: {cause}"))
}

/// The pixel in the lower right corner of a display.
async fn corner(desktop: &dyn Desktop) -> [u8; 3] {
    let shot = desktop.screen().shot(Format::Png).await.unwrap();
    let mut reader = png::Decoder::new(std::io::Cursor::new(shot.bytes)).read_info().unwrap();
    let mut pixels = vec![0; reader.output_buffer_size().unwrap()];
    reader.next_frame(&mut pixels).unwrap();
    *pixels.last_chunk().unwrap()
}

/// Waits until the window covers the display, to the last pixel.
pub(super) async fn covers(desktop: &dyn Desktop) {
    becomes(desktop, "[innerWidth, outerHeight, screenX, screenY].join()", json!("640,480,0,0"))
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn windows_have_the_size_asked_for_and_the_browser_outlives_its_last_tab_and_its_end() {
    let world = World::new(Settings::default());
    let desktop = world.up(colour("rgb(200,30,90)")).await;
    desktop.set_used(true);
    covers(&*desktop).await;
    shows(&*desktop, [200, 30, 90]).await;
    assert_eq!(corner(&*desktop).await, [200, 30, 90]);
    let connection = devtools(&*desktop).await;
    let webgl = "!!document.createElement('canvas').getContext('webgl')";
    assert_eq!(evaluate(&connection, webgl).await, true);

    // A popup has its own size; the window of a driver covers the display again.
    let open = "window.p = open('about:blank', 'p', 'width=400,height=300,left=50,top=60'); 1";
    assert_eq!(evaluate(&connection, open).await, 1);
    // Chromium itself makes the popup a line lower than requested.
    let size = "[p.innerWidth, p.innerHeight > 297 && p.innerHeight < 302].join()";
    becomes(&*desktop, size, json!("400,true")).await;
    assert_eq!(evaluate(&connection, "p.close(); 1").await, 1);
    let another = json!({ "url": "about:blank", "newWindow": true });
    let another = connection.call(None, "Target.createTarget", another).await.unwrap();
    let old = pages(&connection).await.into_iter().map(|(target, _url)| target);
    for target in old.filter(|target| another["targetId"] != *target) {
        let target = json!({ "targetId": target });
        connection.call(None, "Target.closeTarget", target).await.unwrap();
    }
    covers(&*desktop).await;

    // A page prints itself: the PDF is among the downloads, and the page continues.
    assert_eq!(evaluate(&connection, "document.title = 'receipt'; print(); 2").await, 2);
    let file = world.desktops.directory(world.session).downloads().join("receipt.pdf");
    let deadline = Instant::now() + Duration::from_secs(20);
    while !fs::read(&file).unwrap_or_default().starts_with(b"%PDF") {
        assert!(Instant::now() < deadline, "nothing is printed");
        sleep(Duration::from_millis(20)).await;
    }

    // The last tab is replaced, and a login in a session cookie stays.
    let cookie = json!({ "name": "mine", "value": "bob", "url": "http://127.0.0.1/" });
    let cookies = json!({ "cookies": [cookie] });
    connection.call(None, "Storage.setCookies", cookies).await.unwrap();
    let memory = world.desktops.directory(world.session).memory();
    let deadline = Instant::now() + Duration::from_secs(10);
    while !known(&memory).contains("bob") {
        assert!(Instant::now() < deadline, "the cookies are not kept");
        sleep(Duration::from_millis(20)).await;
    }
    let before = desktop.identity().clone();
    for _ in 0..3 {
        close_all(&*desktop).await;
        repairs(&*desktop, "the last tab was closed").await;
        assert_eq!(pages(&connection).await.len(), 1);
        covers(&*desktop).await;
        let kept = connection.call(None, "Storage.getCookies", json!({})).await.unwrap();
        assert_eq!(kept["cookies"][0]["value"], "bob", "{kept}");
    }

    // A browser that was closed is restarted, and that does not count as a crash.
    let _closing = connection.call(None, "Browser.close", json!({})).await;
    let death = timeout(Duration::from_secs(20), desktop.death()).await.unwrap();
    assert!(death.orderly, "{death:?}");
    assert_eq!(death.failure.code, "chromium_closed");
    let revived = desktop.restart(CancellationToken::new()).await;
    let desktop = revived.unwrap_or_else(|cause| panic!("{cause:?}")).desktop;
    assert_eq!(desktop.identity().xvfb, before.xvfb);
    covers(&*desktop).await;
    let connection = devtools(&*desktop).await;
    let kept = connection.call(None, "Storage.getCookies", json!({})).await.unwrap();
    assert_eq!(kept["cookies"][0]["value"], "bob", "{kept}");

    // Another server adopts it, while a page is closed and after a quit that the server has not seen.
    drop(desktop);
    close_all_by(&connection).await;
    let desktop = world.adopt().await.unwrap();
    repairs(&*desktop, "the last tab was closed").await;
    covers(&*desktop).await;
    let _closing = connection.call(None, "Browser.close", json!({})).await;
    let death = timeout(Duration::from_secs(20), desktop.death()).await.unwrap();
    assert!(death.orderly, "{death:?}");
    assert_eq!(desktop.shut_down().await, Vec::<String>::new());
    world.desktops.remove_directory(world.session).await.unwrap();
    world.nothing_is_left();
}

async fn close_all_by(connection: &Connection) {
    for (target, _url) in pages(connection).await {
        let target = json!({ "targetId": target });
        connection.call(None, "Target.closeTarget", target).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_that_never_pauses_is_ended_and_one_that_waits_for_a_person_is_not() {
    const BUSY: &str = "a script of a page did not pause";
    let settings = Settings { probe_seconds: 1, page_hang_seconds: 2, ..Settings::default() };
    let world = World::new(settings);
    let site = site().await;
    let desktop = world.up(small(Some(&site))).await;
    desktop.set_used(true);
    let connection = devtools(&*desktop).await;
    loaded(&connection, &site).await;

    // A single endless loop: its script is ended, and the page stays. A page that has not answered since
    // it was attached to cannot be interrupted; on a slow machine the loop begins before, and the page is
    // loaded anew.
    let spin = "window.kept = 'half filled'; setTimeout(() => { for (;;); }, 0); 1";
    loop {
        assert_eq!(evaluate(&connection, spin).await, 1);
        let repair = repairs(&*desktop, BUSY).await;
        assert_eq!(repair.tries, 1, "{repair:?}");
        if repair.lost == "the unfinished work of the script" {
            break;
        }
        shows_anew(&*desktop, &site).await;
    }
    assert_eq!(evaluate(&connection, "window.kept").await, "half filled");

    // A dialog waits for a person, longer than a script may run.
    let ask = "setTimeout(() => { window.answer = confirm('well?'); }, 0); 1";
    assert_eq!(evaluate(&connection, ask).await, 1);
    let waits = timeout(Duration::from_secs(6), desktop.repairs()).await;
    assert!(waits.is_err(), "{waits:?}");
    let target = pages(&connection).await[0].0.clone();
    let attach = json!({ "targetId": target, "flatten": true });
    let reload = connection.call(None, "Target.attachToTarget", attach).await.unwrap();
    let session = reload["sessionId"].as_str().map(str::to_owned);
    let navigate = json!({ "url": site });
    connection.call(session.as_deref(), "Page.navigate", navigate).await.unwrap();
    shows_anew(&*desktop, &site).await;

    // Repeated endless loops: the page is first reloaded, then emptied.
    let spins = "window.kept = 1; setInterval(() => { for (;;); }, 0); 1";
    assert_eq!(evaluate(&connection, spins).await, 1);
    repairs(&*desktop, BUSY).await;
    shows_anew(&*desktop, &site).await;
    assert_eq!(evaluate(&connection, spins).await, 1);
    assert_eq!(repairs(&*desktop, BUSY).await.lost, "the page");
    becomes(&*desktop, "location.href", json!("about:blank")).await;

    // Another server finds a page that was busy before it adopted the desktop.
    let navigate = json!({ "url": site });
    connection.call(session.as_deref(), "Page.navigate", navigate).await.unwrap();
    shows_anew(&*desktop, &site).await;
    drop(desktop);
    assert_eq!(evaluate(&connection, spins).await, 1);
    let settings = Settings { probe_seconds: 1, page_hang_seconds: 2, ..Settings::default() };
    let desktop = world.adopt_with(settings).await.unwrap();
    desktop.set_used(true);
    repairs(&*desktop, BUSY).await;
    shows_anew(&*desktop, &site).await;
    assert_eq!(desktop.shut_down().await, Vec::<String>::new());
    world.nothing_is_left();
}
