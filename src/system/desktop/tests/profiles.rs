//! Profiles of running browsers.

use futures_util::FutureExt as _;

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn a_change_of_the_storage_waits_until_a_browser_that_is_packed_goes_on() {
    let world = World::new(Settings::default());
    let desktop = world.up(small(None)).await;
    let profile = world.desktops.directory(world.session).profile();
    // Packing takes some seconds.
    fs::File::create(profile.join("large")).unwrap().set_len(2 << 30).unwrap();
    let storage = desktop.storage();
    let archive = world.data.join("profile.tar.zst");
    let packing = tokio::spawn(desktop.pack_profile(archive.clone()));
    let begun = async {
        while !archive.exists() {
            sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(Duration::from_secs(20), begun).await.unwrap();
    let mut change = Box::pin(storage.turn());
    assert!((&mut change).now_or_never().is_none(), "the browser stands still");
    packing.await.unwrap().unwrap();
    timeout(Duration::from_secs(5), change).await.unwrap().unwrap();
    assert_eq!(desktop.shut_down().await, Vec::<String>::new());
}
